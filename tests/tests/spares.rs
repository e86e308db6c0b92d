//! Segments that are ready before they are needed: made, recycled, taken in turn, and gone at the end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use orlop::env::{Env, Keep, SimEnv};
use orlop::{Background, Builder, Database, Durability, Progress, Store};
use orlop_formats::filename::FileName;
use orlop_formats::log::was_never_begun;
use orlop_tests::watched::WatchedEnv;

const DIR: &str = "/store";

fn open(env: &SimEnv) -> Store {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(8 << 10)
        .segment_size(64 << 10)
        .open(Path::new(DIR))
        .unwrap()
}

fn segments(env: &SimEnv) -> usize {
    let entries = env.list(Path::new(DIR)).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".log")).count()
}

fn settle(store: &Store) -> u64 {
    let mut prepared = 0;
    loop {
        match store.step().unwrap() {
            Progress::Idle => return prepared,
            Progress::Prepared => prepared += 1,
            _ => {}
        }
    }
}

/// Bytes of zeros that were written into segments ahead of their time.
fn zeros(env: &SimEnv) -> u64 {
    let trace = env.trace();
    let of_zeros = |line: &&String| line.starts_with("submit") && line.contains(" zeros");
    let len = |line: &String| {
        let len = line.split('+').nth(1).and_then(|rest| rest.split(' ').next());
        len.and_then(|len| len.parse::<u64>().ok()).unwrap()
    };
    trace.iter().filter(of_zeros).map(len).sum()
}

/// An operation, and what to do then.
type Due = (&'static str, Box<dyn FnOnce() + Send>);

/// Operations of the store, and what to do at the next one of a name, on the thread that does it.
#[derive(Clone, Default)]
struct Watch {
    seen: Arc<Mutex<Vec<&'static str>>>,
    next: Arc<Mutex<Option<Due>>>,
}

impl Watch {
    fn builder(&self, env: &SimEnv) -> Builder {
        let Watch { seen, next } = self.clone();
        let watch = Arc::new(move |operation: &'static str| {
            seen.lock().unwrap().push(operation);
            let due = next.lock().unwrap().take_if(|(name, _)| *name == operation);
            if let Some((_, due)) = due {
                due();
            }
        });
        Store::builder()
            .env(Arc::new(WatchedEnv { env: env.clone(), watch }))
            .background(Background::Manual)
            .segment_size(64 << 10)
    }

    fn at_next(&self, operation: &'static str, due: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((operation, Box::new(due)));
    }

    /// How often an operation was seen since the last question.
    fn count(&self, operation: &str) -> usize {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.iter().filter(|seen| **seen == operation).count()
    }
}

/// So many synced commits, of a sector each.
fn sectors(database: &Database, count: u64) {
    for n in 0..count {
        database.put(n.to_be_bytes(), [n as u8; 3_000]).unwrap();
    }
}

/// Every commit up to `last` is there, and none behind.
fn check(image: &SimEnv, last: u64) {
    let store = open(image);
    let database = store.database("d").unwrap();
    for n in 0..=last + 3 {
        let found = database.get(n.to_be_bytes()).unwrap();
        assert_eq!(found.is_some(), n <= last, "{n} of {last}");
        assert!(found.is_none_or(|found| found.iter().all(|byte| *byte == n as u8)));
    }
}

#[test]
fn segments_are_recycled_and_nothing_of_their_earlier_life_comes_back() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut most = 0;
    for n in 0..400_u64 {
        // Frames of many lengths, so that old ones lie at every place behind new ones.
        let value = vec![n as u8; 1 + n as usize * 37 % 900];
        let durability = if n % 7 == 3 { Durability::Buffered } else { Durability::Synced };
        database.put_with(n.to_be_bytes(), value, durability).unwrap();
        settle(&store);
        most = most.max(segments(&env));
        if n % 5 == 0 {
            check(&env.kill(), n);
            check(&env.kill_late(2), n);
        }
        if durability == Durability::Synced && n % 3 == 0 {
            for keep in [Keep::Nothing, Keep::Everything, Keep::Random(n)] {
                check(&env.crash(keep), n);
            }
        }
    }
    let recycled = env
        .trace()
        .iter()
        .filter(|line| line.starts_with("rename") && line.ends_with(".log.tmp"))
        .count();
    assert!(recycled > 5, "{recycled} segments were used again");
    assert!(most < 12, "{most} segments at a time");
    store.close().unwrap();
    assert!(segments(&env) <= 1, "what was not begun is gone");
}

/// They have the next segment in time, too; but nobody writes zeros into large ones for them.
#[test]
fn nothing_large_is_filled_for_commits_that_are_not_synced() {
    let env = SimEnv::new(3);
    let store = Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .segment_size(4 << 20)
        .open(Path::new(DIR))
        .unwrap();
    let database = store.database("d").unwrap();
    let mut prepared = 0;
    for n in 0..400_u64 {
        database.put_with(n.to_be_bytes(), vec![n as u8; 50_000], Durability::Buffered).unwrap();
        prepared += settle(&store);
        if n % 50 == 0 {
            check(&env.kill(), n);
        }
    }
    assert!(prepared > 3, "{prepared} spares");
    // Of 20 MB of log: the small ones at its beginning.
    let filled = zeros(&env);
    assert!(filled < 3 << 20, "{filled} bytes of zeros");
}

#[test]
fn a_store_that_rests_gives_its_spares_back() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..100_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
        settle(&store);
    }
    store.flush().unwrap();
    settle(&store);
    assert!(segments(&env) <= 1);
    check(&env.kill(), 99);
}

/// A log of synced commits is a sector for each: it would be as long as the memtable has entries.
#[test]
fn a_long_log_is_flushed_however_little_is_in_it() {
    let env = SimEnv::new(3);
    let store = Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .segment_size(64 << 10)
        .memtable_size(64 << 10)
        .open(Path::new(DIR))
        .unwrap();
    let database = store.database("d").unwrap();
    for _ in 0..1_000_u64 {
        database.put_with("k", "v", Durability::Synced).unwrap();
        settle(&store);
    }
    assert!(store.stats().flushes > 5, "{}", store.stats().flushes);
    assert!(segments(&env) < 12);
}

/// A spare that could not be made kept everything else in the background from being done.
#[test]
fn a_full_disk_stops_nothing_but_the_spares() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..10_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
    }
    env.set_full(true);
    for _ in 0..20 {
        assert!(!matches!(store.step(), Err(_) | Ok(Progress::Prepared)));
    }
    assert_eq!(store.step().unwrap(), Progress::Idle);
    env.set_full(false);
    for n in 10..60_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
        settle(&store);
    }
    check(&env.kill(), 59);
}

/// A spare whose number the log had passed counted as one, until the log threw it away.
#[test]
fn a_spare_that_comes_too_late_gets_another_number() {
    // While it is filled, and when it has its number already.
    for moment in ["submit", "rename"] {
        let env = SimEnv::new(3);
        let watch = Watch::default();
        let store = watch.builder(&env).open(Path::new(DIR)).unwrap();
        let database = store.database("d").unwrap();
        // Of 16 sectors, one has the prologue: the next segment is asked for.
        sectors(&database, 6);
        let others = database.clone();
        watch.at_next(moment, move || sectors(&others, 12));
        assert_eq!(store.step().unwrap(), Progress::Prepared);
        assert!(watch.next.lock().unwrap().is_none());
        sectors(&database, 4);
        settle(&store);
        watch.count("");
        for _ in 0..3 {
            sectors(&database, 12);
            assert_eq!(watch.count("create_log"), 0, "nobody waits for a segment");
            settle(&store);
            watch.count("");
        }
        for keep in [Keep::Nothing, Keep::Everything] {
            let store = open(&env.crash(keep));
            assert_eq!(store.database("d").unwrap().iter().count(), 12);
        }
    }
}

/// Whoever had the log removed the files that it had no use for.
#[test]
fn a_commit_removes_nothing() {
    let env = SimEnv::new(3);
    let watch = Watch::default();
    let store = watch.builder(&env).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    sectors(&database, 6);
    settle(&store);
    assert_eq!(segments(&env), 2);
    watch.count("");
    database.put("large", vec![1; 200 << 10]).unwrap();
    assert_eq!(watch.count("remove"), 0);
    settle(&store);
    assert_eq!(segments(&env), 3, "the one that was too small is gone, and there is another");
}

/// While sstables were merged, no segment was made.
#[test]
fn a_compaction_lets_spares_be_made() {
    let env = SimEnv::new(3);
    let watch = Watch::default();
    let store = watch.builder(&env).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    for round in 0..2_u64 {
        for n in 0..2_000_u64 {
            database.put_with(n.to_be_bytes(), [round as u8; 40], Durability::Memory).unwrap();
        }
        store.flush().unwrap();
    }
    let others = database.clone();
    watch.at_next("create", move || sectors(&others, 6));
    // It does nothing but merge.
    store.compact().unwrap();
    assert_eq!(segments(&env), 2);
    assert!(watch.next.lock().unwrap().is_none());
}

/// A segment of many pieces was filled to its end whatever waited behind it.
#[test]
fn a_sealed_memtable_does_not_wait_until_a_segment_is_filled() {
    let env = SimEnv::new(3);
    let watch = Watch::default();
    let builder = watch.builder(&env).segment_size(1 << 20).memtable_size(128 << 10);
    let store = builder.open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    // The segment behind this one has 1 MiB.
    database.put("large", vec![1; 50 << 10]).unwrap();
    sectors(&database, 8);
    let others = database.clone();
    watch.at_next("submit", move || {
        for n in 0..5_u64 {
            others.put_with(n.to_be_bytes(), vec![2; 15_000], Durability::Memory).unwrap();
        }
    });
    assert_eq!(store.step().unwrap(), Progress::Prepared);
    assert!(zeros(&env) < 512 << 10, "{} bytes are filled", zeros(&env));
    assert_eq!(store.step().unwrap(), Progress::Flushed);
    settle(&store);
    assert!(zeros(&env) > 900 << 10, "it goes on where it was");
    check_large(&store);
    check_large(&open(&env.kill()));
}

fn check_large(store: &Store) {
    let database = store.database("d").unwrap();
    assert!(database.contains("large").unwrap());
    assert!((0..4_u64).all(|n| database.get(n.to_be_bytes()).unwrap().unwrap().len() == 15_000));
}

/// It was filled as fast as the device takes zeros, and four times as large as the one before: commits beside that took
/// twenty times as long as others. And behind each one of the same size was made, which nobody needed.
#[test]
fn a_large_segment_is_filled_in_step_with_the_use_of_the_one_before() {
    let env = SimEnv::new(3);
    let watch = Watch::default();
    let store = watch.builder(&env).segment_size(4 << 20).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    let (mut most, mut before) = (0, 0);
    for n in 0..2_500_u64 {
        watch.count("create_log");
        database.put(n.to_be_bytes(), [n as u8; 3_000]).unwrap();
        assert!(n < 20 || watch.count("create_log") == 0, "commit {n} made its segment itself");
        settle(&store);
        if n % 10 == 0 {
            let filled = zeros(&env);
            most = most.max(filled - before);
            before = filled;
        }
    }
    assert!(most <= 1 << 20, "{most} bytes at once");
    assert!(before < 2_500 * 4_096 * 3 / 2, "{before} bytes of zeros");
    check(&env.crash(Keep::Nothing), 2_499);
}

#[test]
fn a_close_does_not_wait_until_a_segment_is_filled() {
    let env = SimEnv::new(3);
    let watch = Watch::default();
    let builder = watch.builder(&env).segment_size(1 << 20).background(Background::Thread);
    let store = builder.open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    database.put("large", vec![1; 50 << 10]).unwrap();
    let before = zeros(&env);
    let (making, closing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begun, go) = (Arc::clone(&making), Arc::clone(&closing));
    watch.at_next("create_log", move || {
        begun.store(true, Ordering::Release);
        until(|| go.load(Ordering::Acquire));
        // The close is on its way.
        thread::sleep(Duration::from_millis(100));
    });
    sectors(&database, 8);
    assert!(until(|| making.load(Ordering::Acquire)));
    closing.store(true, Ordering::Release);
    store.close().unwrap();
    assert!(zeros(&env) - before <= 256 << 10, "{} bytes were filled", zeros(&env) - before);
    assert!(segments(&env) <= 1);
}

fn until(holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() && begun.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(1));
    }
    holds()
}

/// Commits until there are many segments, of which one is in use.
fn burst(env: &SimEnv, store: &Store) -> u64 {
    let database = store.database("d").unwrap();
    let mut n = 0_u64;
    while segments(env) < 5 || store.stats().flushes < 2 {
        assert!(n < 2_000, "there are never so many");
        database.put(n.to_be_bytes(), [n as u8; 9]).unwrap();
        settle(store);
        n += 1;
    }
    n - 1
}

/// What a burst had left stayed until a flush or the close.
#[test]
fn a_store_that_rests_keeps_one_spare() {
    let env = SimEnv::new(3);
    let builder = Store::builder().env(Arc::new(env.clone())).background(Background::Manual);
    let store =
        builder.segment_size(64 << 10).memtable_size(64 << 10).open(Path::new(DIR)).unwrap();
    let last = burst(&env, &store);
    // Time passes with steps that find nothing to do.
    settle(&store);
    settle(&store);
    assert!(segments(&env) <= 2, "{}", segments(&env));
    check(&env.kill(), last);
    store.database("d").unwrap().put((last + 1).to_be_bytes(), [last as u8 + 1; 9]).unwrap();
    check(&env.crash(Keep::Nothing), last + 1);
}

/// The same, with a thread and a clock.
#[test]
fn a_store_that_rests_for_some_seconds_keeps_one_spare() {
    let env = SimEnv::new(3);
    let builder = Store::builder().env(Arc::new(env.clone())).segment_size(64 << 10);
    let store = builder.memtable_size(64 << 10).open(Path::new(DIR)).unwrap();
    let spares = || {
        let entries = env.list(Path::new(DIR)).unwrap().into_iter();
        let logs = entries.filter_map(|entry| match FileName::parse(&entry.name) {
            // One that is gone meanwhile is none.
            Some(FileName::Log(number)) => {
                Some((number, env.read(&Path::new(DIR).join(entry.name)).ok()?))
            }
            _ => None,
        });
        logs.filter(|(number, bytes)| was_never_begun(bytes, *number, None)).count()
    };
    let database = store.database("d").unwrap();
    let begun = Instant::now();
    while spares() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "there are never so many");
        sectors(&database, 16);
    }
    assert!(until(|| spares() <= 1));
    store.close().unwrap();
    assert_eq!(open(&env).database("d").unwrap().iter().count(), 16);
}

/// A segment that was ended early, and recycled, counted as one whose every sector was written.
#[test]
fn what_a_recycled_segment_lacks_is_filled() {
    let env = SimEnv::new(3);
    let builder = Store::builder().env(Arc::new(env.clone())).background(Background::Manual);
    let store = builder.segment_size(4 << 20).memtable_size(8 << 20).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    // Up to a segment of 4 MiB, of which a little is used.
    for n in 0..34_u64 {
        database.put_with(n.to_be_bytes(), vec![1; 50_000], Durability::Buffered).unwrap();
    }
    let large = |env: &SimEnv| {
        let entries = env.list(Path::new(DIR)).unwrap();
        entries.iter().filter(|entry| entry.len == 4 << 20).count()
    };
    assert_eq!(large(&env), 1);
    database.put_with(34_u64.to_be_bytes(), vec![1; 3_900_000], Durability::Buffered).unwrap();
    // One behind has 4 MiB, too, and wants one that is filled.
    for n in 35..70_u64 {
        let durability = if n < 55 { Durability::Buffered } else { Durability::Synced };
        database.put_with(n.to_be_bytes(), vec![1; 100_000], durability).unwrap();
    }
    assert_eq!(large(&env), 2);
    let before = zeros(&env);
    assert_eq!(store.step().unwrap(), Progress::Flushed);
    settle(&store);
    assert!(
        env.trace().iter().any(|line| line.ends_with(".log.tmp") && line.starts_with("rename"))
    );
    // In step with the use of the one before.
    for n in 70..92_u64 {
        database.put(n.to_be_bytes(), vec![1; 100_000]).unwrap();
        settle(&store);
    }
    let filled = zeros(&env) - before;
    assert!((3 << 20..4 << 20).contains(&filled), "{filled} bytes");
}

/// The first commit behind an open finds its segment made: it makes no file. A store with few tables begins small.
#[test]
fn a_large_store_has_its_first_segment_made_beforehand() {
    let open = |env: &SimEnv| {
        let builder = Store::builder().env(Arc::new(env.clone())).background(Background::Manual);
        builder.open(Path::new(DIR)).unwrap()
    };
    for (large, files) in [(true, 0), (false, 1)] {
        let env = SimEnv::new(5);
        let store = open(&env);
        let big = store.database("big").unwrap();
        for n in 0..if large { 17 * 16_u32 } else { 16 } {
            let value: Vec<u8> =
                (0..64_u32 << 10).map(|at| ((at.wrapping_mul(at) >> 7) ^ (n * 31)) as u8).collect();
            big.put_with(n.to_be_bytes(), value, Durability::Memory).unwrap();
        }
        store.flush().unwrap();
        store.close().unwrap();
        let store = open(&env);
        while store.step().unwrap() != Progress::Idle {}
        let before = env.trace().len();
        let database = store.database("big").unwrap();
        database.put_with("first", "v", Durability::Synced).unwrap();
        let trace = env.trace();
        let made = trace[before..].iter().filter(|line| line.starts_with("create")).count();
        assert_eq!(made, files, "{:?}", &trace[before..]);
        drop(store);
        let store = open(&env.crash(Keep::Nothing));
        assert!(store.database("big").unwrap().contains("first").unwrap());
    }
}
