//! Large batches: written apart, beside others, at every size and in every shape.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use orlop::env::{Env, FaultKind, Keep, SimEnv};
use orlop::{Background, Database, Durability, Error, Progress, Store};
use orlop_tests::dice::Dice;
use orlop_tests::held::Gate;
use orlop_tests::model::{self, Model};
use orlop_tests::watched::WatchedEnv;

const DIR: &str = "/store";

/// With a memtable of this size a batch of 16 KiB is large.
const MEMTABLE: usize = 256 << 10;
const LARGE: usize = 16 << 10;

fn open_on(env: Arc<dyn Env>) -> orlop::Result<Store> {
    let builder = Store::builder().env(env).background(Background::Manual);
    builder.memtable_size(MEMTABLE).open(Path::new(DIR))
}

fn open(env: &SimEnv) -> Store {
    open_on(Arc::new(env.clone())).unwrap()
}

/// Commits one value that is a large batch.
fn put_large(database: &Database, key: &str, durability: Durability) -> orlop::Result<()> {
    database.put_with(key, vec![key.len() as u8; LARGE], durability)
}

fn segments(env: &SimEnv) -> usize {
    let entries = env.list(Path::new(DIR)).unwrap();
    entries.iter().filter(|entry| entry.name.contains(".log")).count()
}

/// Small commits waited for a copy, a checksum and a write of all of a large batch.
#[test]
fn small_commits_go_on_while_a_large_one_is_written() {
    for durability in [Durability::Memory, Durability::Buffered, Durability::Synced] {
        let (env, gate) = (SimEnv::new(1), Gate::default());
        let store = open_on(gate.before(&env)).unwrap();
        let database = store.database("d").unwrap();
        database.put("there", "is a database").unwrap();
        let (done, went_on) = gate.meanwhile(
            || put_large(&database, "large", durability),
            || {
                database.put_with("small", "1", Durability::Buffered)?;
                database.put_with("small", "2", Durability::Synced)?;
                // Were it in line, it would be before these.
                Ok::<_, Error>(!database.contains("large")? && database.contains("small")?)
            },
        );
        done.unwrap();
        assert!(went_on.unwrap().unwrap(), "{durability:?}");
        assert!(database.contains("large").unwrap());
    }
}

/// What a store holds, read forward, backward and key by key, now and through a snapshot.
fn check(store: &Store, model: &Model) {
    model::check(store, model).unwrap();
}

#[test]
fn large_and_small_batches_are_as_one_after_the_other() {
    for seed in 0..12 {
        let dice = &mut Dice::new(seed);
        let env = SimEnv::new(seed);
        let mut store = open(&env);
        let mut model = Model::new();
        let mut held = Vec::new();
        for _ in 0..60 {
            let mut batch = store.batch();
            let count = dice.pick(&[1, 3, 3, 40, 700]);
            let longest = dice.pick(&[0, 30, 30, 200]) + 1;
            for _ in 0..count {
                let name = dice.pick(&["a", "b"]);
                let key = format!("k{}", dice.below(500)).into_bytes();
                let contents = model.entry(name.to_owned()).or_default();
                let database = store.database(name).unwrap();
                if dice.below(6) == 0 {
                    batch.delete(&database, &key).unwrap();
                    contents.remove(&key);
                } else {
                    let value = vec![dice.below(256) as u8; dice.below(longest) as usize];
                    batch.put(&database, &key, &value).unwrap();
                    contents.insert(key, value);
                }
            }
            let durability =
                dice.pick(&[Durability::Memory, Durability::Buffered, Durability::Synced]);
            batch.commit_with(durability).unwrap();
            match dice.below(12) {
                0 => check(&store, &model),
                1 => held.push((store.snapshot(), model.clone())),
                2 => drop(store.step().unwrap()),
                3 => store.flush().unwrap(),
                4 => {
                    for (snapshot, expected) in held.drain(..) {
                        assert_eq!(model::contents_of(&store, &snapshot).unwrap(), expected);
                    }
                }
                5 => {
                    held.clear();
                    if dice.below(2) == 0 {
                        store.close().unwrap();
                    } else {
                        store.sync().unwrap();
                        drop(store);
                    }
                    store = open(&env);
                    check(&store, &model);
                }
                _ => {}
            }
        }
        check(&store, &model);
    }
}

#[test]
fn every_length_around_sectors_and_pieces_is_written_and_read() {
    const HEAD: usize = 48;
    let lengths = [LARGE, 5 * 4096 - HEAD, (1 << 20) - HEAD, (1 << 20) + 4096 - HEAD, 3 << 20];
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    database.put("there", "is a database").unwrap();
    let mut expected = Vec::new();
    for around in lengths {
        for len in around - 14..around + 3 {
            let value = vec![len as u8; len];
            database.put_with(len.to_be_bytes(), &value, Durability::Buffered).unwrap();
            expected.push((len, value));
        }
        let image = open(&env.kill());
        let found = image.database("d").unwrap();
        for (len, value) in &expected {
            let stored = found.get(len.to_be_bytes()).unwrap();
            assert_eq!(stored.as_deref(), Some(&value[..]), "{len}");
        }
        expected.clear();
        store.flush().unwrap();
    }
}

#[test]
fn a_batch_of_deletes_and_one_of_nothing_but_one_key_are_large_ones_too() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let keys: Vec<[u8; 4]> = (0..3_000_u32).map(u32::to_be_bytes).collect();
    let mut puts = store.batch();
    keys.iter().for_each(|key| puts.put(&database, key, "").unwrap());
    puts.commit().unwrap();
    let mut once = store.batch();
    for n in 0..3_000_u32 {
        once.put(&database, b"", n.to_be_bytes()).unwrap();
    }
    once.commit_with(Durability::Buffered).unwrap();
    let mut deletes = store.batch();
    keys.iter().for_each(|key| deletes.delete(&database, key).unwrap());
    deletes.commit_with(Durability::Buffered).unwrap();
    drop(store.snapshot());
    for store in [open(&env.kill()), store] {
        let database = store.database("d").unwrap();
        assert_eq!(database.iter().count(), 1);
        assert_eq!(database.get("").unwrap().as_deref(), Some(&2_999_u32.to_be_bytes()[..]));
    }
}

/// Its databases are others when its turn comes: it goes where it must, or is refused, and leaves nothing.
#[test]
fn a_database_that_changes_meanwhile_is_noticed() {
    let during = |change: &(dyn Fn(&Store) -> orlop::Result<()> + Sync)| {
        let (env, gate) = (SimEnv::new(1), Gate::default());
        let store = open_on(gate.before(&env)).unwrap();
        let database = store.database("d").unwrap();
        database.put("old", "1").unwrap();
        let work = || put_large(&database, "large", Durability::Synced);
        let (done, changed) = gate.meanwhile(work, || change(&store));
        changed.unwrap().unwrap();
        let keys = |name: &str| {
            let mut cursor = store.database(name).unwrap().iter();
            let keys = cursor.by_ref().map(|entry| entry.unwrap().0.to_vec());
            keys.map(|key| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
        };
        let found = (done, keys("d"), keys("other"));
        store.flush().unwrap();
        while store.step().unwrap() != Progress::Idle {}
        store.close().unwrap();
        assert!(segments(&env) <= 1, "the segment that was written in vain is gone");
        found
    };
    let (done, keys, _) = during(&|store| store.database("d")?.clear());
    assert!(done.is_ok() && keys == ["large"]);
    let (done, keys, other) = during(&|store| {
        let mut batch = store.batch();
        batch.swap_databases("d", "other")?;
        batch.commit()
    });
    assert!(done.is_ok() && keys == ["large"] && other == ["old"]);
    let (done, keys, _) = during(&|store| {
        let mut batch = store.batch();
        batch.drop_database("d")?;
        batch.commit()
    });
    assert!(matches!(done, Err(Error::DatabaseDropped { .. })), "{done:?}");
    assert!(keys.is_empty());
}

#[test]
fn a_full_disk_refuses_it_and_nothing_is_left() {
    for at in 1.. {
        let env = SimEnv::new(1);
        let store = open(&env);
        let database = store.database("d").unwrap();
        database.put("there", "is a database").unwrap();
        let before = segments(&env);
        let failing = env.operations() + at;
        env.fail_at(failing, FaultKind::StorageFull);
        let done = put_large(&database, "large", Durability::Synced);
        let poisoned = store.stats().poisoned.is_some();
        match done {
            // Behind its last operation.
            Ok(()) if env.operations() < failing => return assert!(at > 5),
            Ok(()) => assert!(!poisoned),
            Err(Error::DiskFull { .. }) => {
                assert!(!poisoned && !database.contains("large").unwrap());
                while store.step().unwrap() != Progress::Idle {}
                assert_eq!(segments(&env), before, "operation {at}");
                put_large(&database, "large", Durability::Synced).unwrap();
            }
            Err(_) => assert!(poisoned, "operation {at}"),
        }
    }
}

/// Batches that are large for a commit, and small for a memtable.
#[test]
fn several_are_flushed_as_one_run_and_none_is_forgotten() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    database.put("there", "is a database").unwrap();
    for n in 0..100_u32 {
        let durability = if n % 3 == 0 { Durability::Memory } else { Durability::Synced };
        database.put_with(n.to_be_bytes(), vec![n as u8; LARGE], durability).unwrap();
        if n % 2 == 0 {
            database.put_with("small", n.to_be_bytes(), durability).unwrap();
        }
        while store.step().unwrap() != Progress::Idle {}
        // A reader looks into each.
        assert!(store.stats().sealed_memtables <= 16);
        assert!(segments(&env) <= 20, "{}", segments(&env));
    }
    let space: u64 = env
        .list(Path::new(DIR))
        .unwrap()
        .iter()
        .filter_map(|entry| env.disk_usage(&Path::new(DIR).join(&entry.name)).ok())
        .sum();
    assert!(space < 8 << 20, "{space} bytes for two megabytes of data");
    let flushes = store.stats().flushes;
    assert!((7..=13).contains(&flushes), "{flushes}");
    assert_eq!(open(&env.kill()).database("d").unwrap().iter().count(), 102);
    store.flush().unwrap();
    assert_eq!(store.stats().sealed_memtables, 0);
    while store.step().unwrap() != Progress::Idle {}
    assert!(segments(&env) <= 1, "{}", segments(&env));
    assert_eq!(database.iter().count(), 102);
}

/// The flush counted a file that got its name just then for a segment, though it could be gone after a crash:
/// then nothing missed the edits that the flush had made.
#[test]
fn a_flush_does_not_rely_on_a_segment_whose_name_is_not_durable() {
    let env = SimEnv::new(5);
    let (began, has_named) = channel();
    let (go_on, told) = channel();
    let (begin, told_to_begin) = channel();
    let told = Mutex::new((Some(told), Some(began)));
    let armed = Mutex::new(Some((begin, has_named)));
    let watch = move |operation: &'static str| {
        let is_writer = thread::current().name() == Some("large");
        if is_writer && operation == "sync_dir" {
            let mut told = told.lock().unwrap();
            if let (Some(told), Some(began)) = (told.0.take(), told.1.take()) {
                began.send(()).unwrap();
                let () = told.recv().unwrap();
            }
        } else if thread::current().name() == Some("flush") && operation == "list" {
            let armed = armed.lock().unwrap().take();
            if let Some((begin, has_named)) = armed {
                begin.send(()).unwrap();
                let () = has_named.recv().unwrap();
            }
        }
    };
    let store = open_on(Arc::new(WatchedEnv { env: env.clone(), watch: Arc::new(watch) })).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..50_u64 {
        database.put_with(n.to_be_bytes(), "v", Durability::Synced).unwrap();
    }
    thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let beside = database.clone();
        let large = move || {
            let () = told_to_begin.recv().unwrap();
            put_large(&beside, "large", Durability::Buffered).unwrap();
        };
        let large = named("large").spawn_scoped(scope, large).unwrap();
        let flush = named("flush").spawn_scoped(scope, || store.flush().unwrap()).unwrap();
        flush.join().unwrap();
        let image = env.crash(Keep::Nothing);
        go_on.send(()).unwrap();
        large.join().unwrap();
        // The edits of the flush are gone, with what bears witness to them.
        let entries = image.list(Path::new(DIR)).unwrap();
        let manifest = entries.iter().find(|entry| entry.name.ends_with(".manifest")).unwrap();
        let path = Path::new(DIR).join(&manifest.name);
        let mut file = image.open_write(&path).unwrap();
        file.write_at(8192, &vec![0; manifest.len as usize - 8192]).unwrap();
        let opened = open_on(Arc::new(image.clone()));
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "what was synced is missed");
    });
}

/// A large batch waited until no flush at all was due, which others saw to that it never came.
#[test]
fn it_is_not_overtaken_for_ever() {
    let watch = |operation: &'static str| {
        if operation == "sync" && thread::current().name() == Some("orlop-background") {
            thread::sleep(Duration::from_millis(30));
        }
    };
    let env = Arc::new(WatchedEnv { env: SimEnv::new(2), watch: Arc::new(watch) });
    let store = Store::builder().env(env).memtable_size(MEMTABLE).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    database.put("there", "is a database").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0_u64.. {
                    let value = vec![n as u8; 1_000];
                    let key = (n % 3_000).to_be_bytes();
                    database.put_with(key, value, Durability::Memory).unwrap();
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        let began = Instant::now();
        put_large(&database, "large", Durability::Memory).unwrap();
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

/// The third of three waited for the flush of the first with the log in hand, and small commits with it.
#[test]
fn small_commits_go_on_while_many_large_ones_wait_for_a_flush() {
    let held = Arc::new(AtomicBool::new(true));
    let hold = Arc::clone(&held);
    let watch = move |operation: &'static str| {
        let is_flush = thread::current().name() == Some("orlop-background");
        while operation == "sync" && is_flush && hold.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let env = Arc::new(WatchedEnv { env: SimEnv::new(2), watch: Arc::new(watch) });
    let store = Store::builder().env(env).memtable_size(MEMTABLE).open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    held.store(false, Ordering::Relaxed);
    database.put("there", "is a database").unwrap();
    store.settle().unwrap();
    held.store(true, Ordering::Relaxed);
    let large = |n: u8| {
        let mut batch = store.batch();
        batch.put(&database, [n], vec![n; 2 * MEMTABLE]).unwrap();
        batch.submit_with(Durability::Synced).wait()
    };
    thread::scope(|scope| {
        let large: Vec<_> = (0..5).map(|n| scope.spawn(move || large(n))).collect();
        thread::sleep(Duration::from_millis(300));
        let (done, small) = channel();
        let of_small = database.clone();
        scope.spawn(move || {
            of_small.put_with("small", "v", Durability::Memory).unwrap();
            done.send(()).unwrap();
        });
        let went_on = small.recv_timeout(Duration::from_secs(10));
        held.store(false, Ordering::Relaxed);
        assert!(went_on.is_ok(), "a small commit waits for the flush");
        large.into_iter().for_each(|large| large.join().unwrap().unwrap());
    });
    assert!((0..5_u8).all(|n| database.get([n]).unwrap().unwrap().len() == 2 * MEMTABLE));
}

/// A flush that had failed failed a large batch, too, for which there was room.
#[test]
fn it_does_not_fail_for_what_it_does_not_need() {
    let env = SimEnv::new(1);
    let builder = Store::builder().env(Arc::new(env.clone())).memtable_size(MEMTABLE);
    let store = builder.open(Path::new(DIR)).unwrap();
    let database = store.database("d").unwrap();
    database.put_with("there", "is a database", Durability::Memory).unwrap();
    let put = |n: u64| database.put_with(n.to_be_bytes(), vec![1; 1_000], Durability::Memory);
    (0..100).for_each(|n| put(n).unwrap());
    // The log has room for the rest, and the table has none.
    env.set_full(true);
    let mut written: u64 = 100;
    while store.stats().background_error.is_none() {
        if store.stats().sealed_memtables == 0 {
            put(written).unwrap();
            written += 1;
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    env.set_full(false);
    put_large(&database, "large", Durability::Memory).unwrap();
    assert!(database.contains("large").unwrap());
}

/// Writers of large batches, of small ones, and a close among them.
#[test]
fn many_write_at_once_and_a_close_waits_for_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6_u64 {
        let open = || Store::builder().memtable_size(MEMTABLE).open(dir.path());
        let store = open().unwrap();
        let database = store.database("d").unwrap();
        database.put("there", "is a database").unwrap();
        let writer = |writer: u64| {
            let database = &database;
            move || {
                let mut acknowledged = 0_u64;
                for n in 0..u64::MAX {
                    let len = if writer < 3 { LARGE << (n % 3) } else { 20 };
                    let key = [round, writer, n].map(u64::to_be_bytes).concat();
                    let durability = [Durability::Buffered, Durability::Synced][(n % 2) as usize];
                    match database.put_with(key, vec![writer as u8; len], durability) {
                        Ok(()) => acknowledged = n + 1,
                        Err(Error::Closed) => return acknowledged,
                        Err(error) => panic!("{error}"),
                    }
                }
                acknowledged
            }
        };
        let acknowledged: Vec<u64> = thread::scope(|scope| {
            let writers: Vec<_> = (0..5).map(|at| scope.spawn(writer(at))).collect();
            thread::sleep(Duration::from_millis(60));
            store.close().unwrap();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(acknowledged.iter().all(|commits| *commits > 0), "{acknowledged:?}");
        let store = open().unwrap();
        let found = store.database("d").unwrap();
        for (writer, commits) in (0_u64..).zip(&acknowledged) {
            for n in 0..*commits {
                let key = [round, writer, n].map(u64::to_be_bytes).concat();
                let value = found.get(key).unwrap().unwrap();
                assert!(value.iter().all(|byte| *byte == writer as u8));
            }
        }
        store.close().unwrap();
    }
}
