//! What goes on while a synced group is on its way to the device.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use orlop::env::{FaultKind, SimEnv};
use orlop::{Background, Durability, Error, Store};
use orlop_tests::watched::WatchedEnv;

const LONG: Duration = Duration::from_secs(20);

/// What to do at the next operation of a name, on the thread that does it.
type Next = Arc<Mutex<Option<(&'static str, Box<dyn FnOnce() + Send>)>>>;

fn open(env: &SimEnv) -> (Store, Next) {
    let next = Next::default();
    let watched = Arc::clone(&next);
    let watch = Arc::new(move |operation: &'static str| {
        let mut next = watched.lock().unwrap();
        let due = next.take_if(|(name, _)| *name == operation);
        drop(next);
        if let Some((_, due)) = due {
            due();
        }
    });
    let store = Store::builder()
        .env(Arc::new(WatchedEnv { env: env.clone(), watch }))
        .background(Background::Manual)
        .open(Path::new("/store"))
        .unwrap();
    // The first segment and its stage are there.
    let database = store.database("d").unwrap();
    database.put_with("first", "v", Durability::Buffered).unwrap();
    database.put_with("first", "v", Durability::Synced).unwrap();
    (store, next)
}

/// Waits until something is so, and says whether it came about.
fn until(holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() && begun.elapsed() < LONG {
        thread::sleep(Duration::from_millis(1));
    }
    holds()
}

/// Puts a synced commit on its way, and does something before it has arrived.
fn meanwhile<R>(store: &Store, next: &Next, work: impl FnOnce() -> R) -> R {
    let (here, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (arrived, may_go) = (Arc::clone(&here), Arc::clone(&go));
    let hold = move || {
        arrived.store(true, Ordering::Release);
        until(|| may_go.load(Ordering::Acquire));
    };
    *next.lock().unwrap() = Some(("reap", Box::new(hold)));
    thread::scope(|scope| {
        let synced = scope.spawn(|| store.database("d").unwrap().put("synced", "v"));
        assert!(until(|| here.load(Ordering::Acquire)), "it is on its way");
        let result = work();
        go.store(true, Ordering::Release);
        synced.join().unwrap().unwrap();
        result
    })
}

#[test]
fn weaker_commits_do_not_wait_for_a_sync() {
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let database = store.database("d").unwrap();
    meanwhile(&store, &next, || {
        assert!(!database.contains("synced").unwrap(), "it is not durable");
        for n in 0..100_u64 {
            let durability = if n % 2 == 0 { Durability::Buffered } else { Durability::Memory };
            let begun = Instant::now();
            database.put_with(n.to_be_bytes(), "v", durability).unwrap();
            assert!(begun.elapsed() < LONG / 2, "it has waited");
            assert!(database.contains(n.to_be_bytes()).unwrap());
        }
        // What comes before in the order of commits can be seen, too, and outlives the process.
        assert!(database.contains("synced").unwrap());
        let image = env.kill_late(u64::MAX);
        let (store, _) = open(&image);
        let database = store.database("d").unwrap();
        assert!(database.contains("synced").unwrap());
        assert!((0..100_u64).step_by(2).all(|n| database.contains(n.to_be_bytes()).unwrap()));
    });
    store.close().unwrap();
}

#[test]
fn who_needs_the_device_gathers_in_one_group() {
    const WRITERS: u64 = 8;
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let before = store.stats();
    let started = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers = meanwhile(&store, &next, || {
            let write = |n: u64| {
                started.fetch_add(1, Ordering::Release);
                store.database("d").unwrap().put(n.to_be_bytes(), "v")
            };
            let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(n))).collect();
            assert!(until(|| started.load(Ordering::Acquire) == WRITERS));
            thread::sleep(Duration::from_millis(50));
            writers
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
    });
    let after = store.stats();
    assert_eq!(after.commits - before.commits, 1 + WRITERS);
    assert_eq!(after.commit_groups - before.commit_groups, 2);
}

/// The writers of a group that fails.
const MANY: u64 = 16;

/// Has writers line up behind a synced commit that is on its way, and makes an operation of their group fail:
/// the next of a name. Gives what they are told.
fn failing(
    (env, store, next): (&SimEnv, &Store, &Next),
    operation: &'static str,
    kind: FaultKind,
) -> Vec<orlop::Result<()>> {
    let started = AtomicU64::new(0);
    let write = |n: u64| {
        started.fetch_add(1, Ordering::Release);
        store.database("d").unwrap().put(n.to_be_bytes(), "v")
    };
    thread::scope(|scope| {
        let writers = meanwhile(store, next, || {
            let writers: Vec<_> = (0..MANY).map(|n| scope.spawn(move || write(n))).collect();
            assert!(until(|| started.load(Ordering::Acquire) == MANY));
            thread::sleep(Duration::from_millis(50));
            let failing = env.clone();
            let fail = move || failing.fail_at(failing.operations() + 1, kind);
            *next.lock().unwrap() = Some((operation, Box::new(fail)));
            writers
        });
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// A group has failed, and what is in the log is unknown.
fn all_are_told_and_nothing_is_shown(store: &Store, told: &[orlop::Result<()>]) {
    let database = store.database("d").unwrap();
    // Who comes behind the group would be told that the store is poisoned.
    assert!(told.iter().all(|told| matches!(told, Err(Error::Io { .. }))), "{told:?}");
    assert!(store.stats().poisoned.is_some());
    assert_eq!(store.stats().durable_seqno, store.stats().visible_seqno, "nothing of it is shown");
    assert!((0..MANY).all(|n| !database.contains(n.to_be_bytes()).unwrap()));
    assert!(database.contains("synced").unwrap(), "reads go on");
    assert_eq!(database.iter().count(), 2);
    assert!(matches!(database.put("more", "v"), Err(Error::Poisoned { .. })));
    assert!(matches!(store.clone().close(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_failed_sync_is_told_to_everybody_in_its_group_and_shows_nothing() {
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let told = failing((&env, &store, &next), "reap", FaultKind::Io);
    all_are_told_and_nothing_is_shown(&store, &told);
}

/// A file system that has to find space where it was told to reserve it.
#[test]
fn a_disk_that_is_full_when_a_group_is_written_is_told_to_everybody_in_it_and_shows_nothing() {
    for operation in ["submit", "reap"] {
        let env = SimEnv::new(1);
        let (store, next) = open(&env);
        let told = failing((&env, &store, &next), operation, FaultKind::StorageFull);
        all_are_told_and_nothing_is_shown(&store, &told);
        // What the next process finds is all of the group or nothing.
        let (image, _) = open(&env.kill());
        let found = image.database("d").unwrap().iter().count() as u64;
        assert!([2, 2 + MANY].contains(&found), "{operation}: {found}");
    }
}

#[test]
fn a_close_waits_for_what_is_on_its_way() {
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let closing = thread::scope(|scope| {
        meanwhile(&store, &next, || {
            let other = store.clone();
            let closing = scope.spawn(move || other.close());
            thread::sleep(Duration::from_millis(30));
            assert!(!closing.is_finished());
            closing
        })
        .join()
    });
    closing.unwrap().unwrap();
    let (store, _) = open(&env);
    assert!(store.database("d").unwrap().contains("synced").unwrap());
}

/// A close that stood in line when a panic poisoned the store was Ok.
#[test]
fn a_close_that_was_in_line_hears_of_a_panic() {
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let (here, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (arrived, may_go) = (Arc::clone(&here), Arc::clone(&go));
    let fall = move || {
        arrived.store(true, Ordering::Release);
        until(|| may_go.load(Ordering::Acquire));
        panic!("on the way to the device");
    };
    *next.lock().unwrap() = Some(("reap", Box::new(fall)));
    let closed = thread::scope(|scope| {
        let synced = scope.spawn(|| store.database("d").unwrap().put("synced", "v"));
        assert!(until(|| here.load(Ordering::Acquire)), "it is on its way");
        let other = store.clone();
        let closing = scope.spawn(move || other.close());
        thread::sleep(Duration::from_millis(30));
        assert!(!closing.is_finished());
        go.store(true, Ordering::Release);
        assert!(synced.join().is_err());
        closing.join().unwrap()
    });
    assert!(matches!(closed, Err(Error::Poisoned { .. })), "{closed:?}");
}

/// The disk is full when a group of four needs a new segment: all are told, and nothing has happened.
#[test]
fn a_full_disk_is_told_to_everybody_in_the_group_and_harms_nothing() {
    const WRITERS: u64 = 4;
    let env = SimEnv::new(1);
    let (store, next) = open(&env);
    let database = store.database("d").unwrap();
    let started = AtomicU64::new(0);
    let write = |n: u64| {
        started.fetch_add(1, Ordering::Release);
        // Together they are more than the first segment holds.
        store.database("d").unwrap().put(n.to_be_bytes(), vec![n as u8; 40 << 10])
    };
    thread::scope(|scope| {
        let writers = meanwhile(&store, &next, || {
            env.set_full(true);
            let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(n))).collect();
            assert!(until(|| started.load(Ordering::Acquire) == WRITERS));
            thread::sleep(Duration::from_millis(50));
            writers
        });
        for writer in writers {
            let error = writer.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        }
    });
    assert_eq!(store.stats().poisoned, None);
    assert_eq!(database.iter().count(), 2, "what was there before");
    let (image, _) = open(&env.crash(orlop::env::Keep::Nothing));
    assert_eq!(image.database("d").unwrap().iter().count(), 2);
    env.set_full(false);
    (0..WRITERS).for_each(|n| write(n).unwrap());
    assert_eq!(database.iter().count(), 2 + WRITERS as usize);
}
