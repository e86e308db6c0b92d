//! Bulk loads: sorted entries that go straight into tables, and are one commit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use orlop::env::{Env, SimEnv};
use orlop::sim::{Death, structure};
use orlop::{
    Background, Builder, Compression, DatabaseOptions, Durability, Error, Expiry, LevelStats,
    Progress, Store,
};
use orlop_tests::watched::WatchedEnv;
use orlop_tests::ways::{found, key};
use proptest::prelude::*;

fn builder(env: &SimEnv) -> Builder {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(64 << 10)
        .table_size(4 << 10)
        .level_base(16 << 10)
        .block_size(512)
        .compression(Compression::None)
}

fn open(env: &SimEnv) -> Store {
    builder(env).open("/store").unwrap()
}

fn settle(store: &Store) {
    while store.step().unwrap() != Progress::Idle {}
}

/// Loads the keys of these numbers.
fn load(store: &Store, name: &str, numbers: impl IntoIterator<Item = u64>, value: &[u8]) {
    let mut load = store.database(name).unwrap().bulk_load().unwrap();
    for n in numbers {
        load.put(key(n), value).unwrap();
    }
    load.finish().unwrap();
}

/// How many sstables lie in the directory.
fn tables(env: &SimEnv) -> usize {
    let listed = env.list(Path::new("/store")).unwrap();
    listed.iter().filter(|entry| entry.name.ends_with(".sst")).count()
}

/// Tells other threads that it is over, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn numbers(upto: u64) -> Vec<u64> {
    (0..upto).collect()
}

#[test]
fn what_is_loaded_is_there_all_at_once_and_for_good() {
    for compression in [Compression::None, Compression::Snappy] {
        let env = SimEnv::new(1);
        let store = builder(&env).compression(compression).open("/store").unwrap();
        let database = store.database("d").unwrap();
        let mut load = database.bulk_load().unwrap();
        assert_eq!(load.last_key(), None);
        for n in 0..400 {
            load.put(key(n), [7; 60]).unwrap();
        }
        assert_eq!(load.last_key(), Some(&key(399)[..]));
        assert_eq!(found(&database, &store, 400), [] as [u64; 0]);
        let before = store.snapshot();
        load.finish().unwrap();
        assert_eq!(found(&database, &store, 400), numbers(400));
        assert_eq!(before.iter(&database).count(), 0, "a snapshot from before sees nothing");
        let levels = store.stats().levels;
        let [LevelStats { level, runs, .. }] = levels.as_slice() else { panic!("{levels:?}") };
        assert_eq!((*level > 0, runs.len()), (true, 1), "below all that there will be");
        assert_eq!(store.stats().flushes, 0, "past memory");
        drop(before);
        settle(&store);
        drop(database);
        store.close().unwrap();
        for _ in 0..2 {
            let store = open(&env);
            let database = store.database("d").unwrap();
            assert_eq!(found(&database, &store, 400), numbers(400), "opened again");
            let reader = Store::builder().env(Arc::new(env.clone()));
            let reader = reader.open_read_only("/store").unwrap();
            let database = reader.database("d").unwrap();
            assert_eq!(found(&database, &reader, 400), numbers(400), "for a reader");
            store.close().unwrap();
        }
    }
}

#[test]
fn what_is_loaded_is_newer_than_what_was_there_wherever_that_lies() {
    for (flushed, compacted) in [(false, false), (true, false), (true, true)] {
        let env = SimEnv::new(1);
        let store = open(&env);
        let database = store.database("d").unwrap();
        let other = store.database("e").unwrap();
        for n in 0..300 {
            database.put(key(n), "old").unwrap();
            other.put(key(n), "other").unwrap();
        }
        if flushed {
            store.flush().unwrap();
        }
        if compacted {
            store.compact().unwrap();
        }
        database.delete_range(key(50)..key(60)).unwrap();
        let before = store.snapshot();
        let mut load = database.bulk_load().unwrap();
        for n in (0..300).step_by(3) {
            match n % 2 {
                0 => load.put(key(n), "loaded").unwrap(),
                _ => load.delete(key(n)).unwrap(),
            }
        }
        // Written before the load is finished: older than it.
        database.put(key(30), "between").unwrap();
        database.put(key(31), "between").unwrap();
        load.finish().unwrap();
        database.put(key(60), "new").unwrap();
        database.delete(key(66)).unwrap();
        let value = |n: u64| match n {
            60 => Some("new"),
            66 => None,
            31 => Some("between"),
            n if n % 6 == 0 => Some("loaded"),
            n if n % 3 == 0 => None,
            50..60 => None,
            _ => Some("old"),
        };
        for _ in 0..3 {
            for n in 0..300 {
                let now = database.get(key(n)).unwrap();
                assert_eq!(now.as_deref(), value(n).map(str::as_bytes), "key {n}");
                let was = before.get(&database, key(n)).unwrap();
                let expected = (!(50..60).contains(&n)).then_some(&b"old"[..]);
                assert_eq!(was.as_deref(), expected, "key {n} before");
            }
            let there = (0..300).filter(|n| value(*n).is_some()).collect::<Vec<_>>();
            assert_eq!(found(&database, &store, 300), there);
            assert_eq!(found(&other, &store, 300), numbers(300));
            store.compact().unwrap();
        }
    }
}

#[test]
fn a_table_lies_as_low_as_it_can() {
    let env = SimEnv::new(1);
    let store = open(&env);
    // The level, runs and tables of each that has some.
    let levels = || {
        let of = |level: &LevelStats| {
            let tables = level.runs.iter().map(|run| run.tables).sum::<u64>();
            (level.level, level.runs.len(), tables > 1)
        };
        store.stats().levels.iter().map(of).collect::<Vec<_>>()
    };
    load(&store, "d", 0..100, &[1; 100]);
    // The catalog is in memory.
    assert_eq!(levels(), [(1, 1, true)]);
    // Beside it, in the same run.
    load(&store, "d", 200..300, &[1; 100]);
    assert_eq!(levels(), [(1, 1, true), (2, 1, true)]);
    // Over a part of both, and between them: each table for itself.
    load(&store, "d", 90..210, &[2; 100]);
    assert_eq!(levels(), [(0, 1, false), (1, 1, true), (2, 1, true)]);
    let database = store.database("d").unwrap();
    assert_eq!(found(&database, &store, 300), numbers(300));
    settle(&store);
    assert_eq!(found(&database, &store, 300), numbers(300));
}

#[test]
fn what_a_load_has_left_goes_on_or_goes() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut load = database.bulk_load().unwrap();
    for n in 0..200 {
        load.put(key(n), [1; 60]).unwrap();
    }
    load.checkpoint().unwrap();
    for n in 200..210 {
        load.put(key(n), [1; 60]).unwrap();
    }
    drop(load);
    assert_eq!(found(&database, &store, 300), [] as [u64; 0]);
    let left = store.stats();
    assert!(left.loading_tables > 2 && left.loading_bytes > 200 * 60, "{left:?}");
    assert_eq!(tables(&env) as u64, left.loading_tables, "what was not brought there is gone");
    store.close().unwrap();

    // Its tables are there after a crash, too.
    let env = env.kill();
    let store = open(&env);
    settle(&store);
    assert_eq!(store.stats().loading_tables, left.loading_tables);
    let database = store.database("d").unwrap();
    let mut load = database.resume_bulk_load().unwrap();
    assert_eq!(load.last_key(), Some(&key(199)[..]));
    let error = load.put(key(199), "again").unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    load.put(key(250), "more").unwrap();
    load.finish().unwrap();
    let all: Vec<u64> = (0..200).chain([250]).collect();
    assert_eq!(found(&database, &store, 300), all);
    assert_eq!(store.stats().loading_tables, 0);

    // Another one takes the place of what was left; or it goes.
    for _ in 0..2 {
        let mut load = database.bulk_load().unwrap();
        assert_eq!(load.last_key(), None);
        load.put(key(0), "left").unwrap();
        load.checkpoint().unwrap();
        assert_eq!(store.stats().loading_tables, 1);
    }
    let load = database.resume_bulk_load().unwrap();
    load.abandon().unwrap();
    assert_eq!(store.stats().loading_tables, 0);
    let mut load = database.resume_bulk_load().unwrap();
    assert_eq!(load.last_key(), None);
    load.put(key(299), "last").unwrap();
    load.finish().unwrap();
    assert_eq!(database.get(key(0)).unwrap().as_deref(), Some(&[1; 60][..]));
    assert!(database.contains(key(299)).unwrap());
    settle(&store);
    let runs = store.stats().levels.into_iter().flat_map(|level| level.runs);
    let named: u64 = runs.map(|run| run.tables).sum();
    assert_eq!(tables(&env) as u64, named, "nothing lies around");
}

#[test]
fn a_drop_of_the_database_takes_the_load_with_it() {
    let env = SimEnv::new(1);
    let store = open(&env);
    for leave in [false, true] {
        let database = store.create_database("d", DatabaseOptions::default()).unwrap();
        let mut load = database.bulk_load().unwrap();
        load.put(key(1), [1; 60]).unwrap();
        load.checkpoint().unwrap();
        if leave {
            drop(load);
            store.drop_database("d").unwrap();
        } else {
            store.drop_database("d").unwrap();
            settle(&store);
            let error = load.finish().unwrap_err();
            assert!(matches!(error, Error::DatabaseDropped { .. }), "{error}");
        }
        assert!(matches!(database.bulk_load(), Err(Error::DatabaseDropped { .. })));
        settle(&store);
        assert_eq!((store.stats().loading_tables, tables(&env)), (0, 0));
    }
    // A clear ends what the load was for; a swap does not.
    let database = store.database("d").unwrap();
    let mut cleared = database.bulk_load().unwrap();
    cleared.put(key(1), "one").unwrap();
    database.clear().unwrap();
    assert!(matches!(cleared.finish(), Err(Error::DatabaseDropped { .. })));
    let mut swapped = database.bulk_load().unwrap();
    swapped.put(key(1), "one").unwrap();
    let mut batch = store.batch();
    batch.swap_databases("d", "e").unwrap();
    batch.commit().unwrap();
    swapped.finish().unwrap();
    assert_eq!(store.database("e").unwrap().iter().count(), 1);
    assert_eq!(database.iter().count(), 0);
    // The swap has left no database under that name; a load makes one.
    load(&store, "d", [7], b"seven");
    assert_eq!(database.iter().count(), 1);
}

#[test]
fn entries_of_a_load_expire() {
    let env = SimEnv::new(1);
    env.set_now(1_000);
    let store = open(&env);
    let options =
        DatabaseOptions { time_to_live: Some(Duration::from_millis(100)), ..Default::default() };
    let database = store.create_database("d", options).unwrap();
    let mut load = database.bulk_load().unwrap();
    load.put(key(0), "by default").unwrap();
    load.put_expiring(key(1), "never", Expiry::Never).unwrap();
    load.put_expiring(key(2), "soon", Expiry::At(1_050)).unwrap();
    load.put_expiring(key(3), "gone", Expiry::At(1)).unwrap();
    load.finish().unwrap();
    assert_eq!(found(&database, &store, 4), [0, 1, 2]);
    env.set_now(1_060);
    drop(store.snapshot());
    assert_eq!(found(&database, &store, 4), [0, 1]);
    env.set_now(1_200);
    drop(store.snapshot());
    assert_eq!(found(&database, &store, 4), [1]);
    store.compact().unwrap();
    assert_eq!(found(&database, &store, 4), [1]);

    // What is loaded lives as long as the database says that it is for, whatever its name is by then.
    let other = store.database("e").unwrap();
    let mut load = other.bulk_load().unwrap();
    let mut batch = store.batch();
    batch.swap_databases("d", "e").unwrap();
    batch.commit().unwrap();
    load.put(key(7), "for ever").unwrap();
    load.finish().unwrap();
    env.set_now(9_000);
    drop(store.snapshot());
    assert!(database.contains(key(7)).unwrap());
}

#[test]
fn what_cannot_be_loaded_is_said() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut load = database.bulk_load().unwrap();
    load.put("b", "1").unwrap();
    for wrong in ["b", "a", ""] {
        let error = load.put(wrong, "2").unwrap_err().to_string();
        assert!(error.contains("greater than \"b\""), "{error}");
        assert!(load.delete(wrong).is_err());
    }
    let error = load.put([b'c'; 70_000], "").unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "key", .. }), "{error}");
    let error = load.put("c", vec![0; (64 << 20) + 1]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "value", .. }), "{error}");
    // None of it has changed anything.
    load.put("c", "3").unwrap();
    let error = database.bulk_load().unwrap_err();
    assert!(error.to_string().contains("one at a time into database d"), "{error}");
    let other = store.database("e").unwrap();
    let mut beside = other.bulk_load().unwrap();
    beside.put("a", "beside").unwrap();
    load.finish().unwrap();
    beside.finish().unwrap();
    assert_eq!((database.iter().count(), other.iter().count()), (2, 1));
    // An empty one is none, but makes its database.
    let none = store.database("f").unwrap();
    none.bulk_load().unwrap().finish().unwrap();
    none.resume_bulk_load().unwrap().abandon().unwrap();
    assert!(none.exists().unwrap() && none.iter().next().is_none());
    // The store is closed beside one.
    let mut load = database.bulk_load().unwrap();
    load.put("x", "1").unwrap();
    store.clone().close().unwrap();
    assert!(matches!(load.put("y", "1"), Err(Error::Closed)));
    assert!(matches!(load.finish(), Err(Error::Closed)));
    assert!(matches!(database.bulk_load(), Err(Error::Closed)));
    let reader = Store::builder().env(Arc::new(env.clone())).open_read_only("/store").unwrap();
    assert!(matches!(reader.database("d").unwrap().bulk_load(), Err(Error::ReadOnly)));
    let again = open(&env);
    assert_eq!(again.database("d").unwrap().iter().count(), 2);
    assert_eq!(again.stats().loading_tables, 0);
}

#[test]
fn a_full_disk_ends_a_load_and_another_goes_on_from_there() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut load = database.bulk_load().unwrap();
    for n in 0..100 {
        load.put(key(n), [1; 60]).unwrap();
    }
    load.checkpoint().unwrap();
    env.set_full(true);
    let met = (100..400).find_map(|n| load.put(key(n), [1; 60]).err());
    assert!(matches!(met, Some(Error::DiskFull { .. })), "{met:?}");
    assert!(matches!(load.put(key(500), "more"), Err(Error::DiskFull { .. })), "it has ended");
    assert!(matches!(load.finish(), Err(Error::DiskFull { .. })));
    assert_eq!(found(&database, &store, 400), [] as [u64; 0]);
    env.set_full(false);
    let mut load = database.resume_bulk_load().unwrap();
    assert_eq!(load.last_key(), Some(&key(99)[..]));
    for n in 100..400 {
        load.put(key(n), [1; 60]).unwrap();
    }
    load.finish().unwrap();
    assert_eq!(found(&database, &store, 400), numbers(400));
}

/// Whatever the machine dies at, what a checkpoint has brought there goes on, and nobody has seen anything of it.
#[test]
fn a_load_goes_on_after_a_crash_at_any_moment() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    database.put(key(5), "old").unwrap();
    env.keep_moments();
    let mut load = database.bulk_load().unwrap();
    for n in 0..60 {
        load.put(key(n), [n as u8; 150]).unwrap();
        if n == 29 {
            load.checkpoint().unwrap();
            env.set_mark(1);
        }
    }
    load.finish().unwrap();
    env.set_mark(2);
    let moments = env.moments();
    env.cut_after(env.operations());
    assert!(moments.len() > 20);
    let (mut finished, mut resumed) = (0, 0);
    for moment in moments {
        for death in Death::ways(&moment, 5) {
            let image = death.image(&moment.disk);
            let store = open(&image);
            let database = store.database("d").unwrap();
            let is_there = database.contains(key(59)).unwrap();
            assert!(is_there || moment.mark < 2, "it was acknowledged");
            if is_there {
                finished += 1;
            } else {
                assert_eq!(database.get(key(5)).unwrap().as_deref(), Some(&b"old"[..]));
                assert_eq!(database.iter().count(), 1);
                let mut load = database.resume_bulk_load().unwrap();
                let last = load.last_key().map(<[u8]>::to_vec);
                assert!(moment.mark == 0 || last >= Some(key(29)), "{last:?}");
                resumed += u64::from(last.is_some());
                for n in (0..60).filter(|n| Some(key(*n)) > last) {
                    load.put(key(n), [n as u8; 150]).unwrap();
                }
                load.finish().unwrap();
            }
            for n in 0..60 {
                assert_eq!(database.get(key(n)).unwrap().as_deref(), Some(&[n as u8; 150][..]));
            }
            structure(&store).unwrap();
        }
    }
    assert!(finished > 0 && resumed > 10, "{finished} {resumed}");
}

#[test]
fn a_load_goes_on_beside_writers_readers_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::builder()
        .memtable_size(64 << 10)
        .table_size(32 << 10)
        .level_base(128 << 10)
        .open(dir.path().join("s"))
        .unwrap();
    let database = store.database("d").unwrap();
    let rounds = 12_u64;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Odd keys are written all the time; even ones are loaded, each round with its number.
        scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(Ordering::Acquire) {
                let value = [&n.to_le_bytes()[..], &[3; 100]].concat();
                let odd = key(2 * (n * 7919 % 2000) + 1);
                database.put_with(odd, value, Durability::Buffered).unwrap();
                n += 1;
            }
        });
        scope.spawn(|| {
            let mut least = 0;
            while !done.load(Ordering::Acquire) {
                let snapshot = store.snapshot();
                let rounds: Vec<u8> = (0..2000)
                    .step_by(97)
                    .filter_map(|n| snapshot.get(&database, key(2 * n)).unwrap().map(|v| v[0]))
                    .collect();
                assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]), "one load: {rounds:?}");
                let many: Vec<Vec<u8>> = (0..2000).step_by(97).map(|n| key(2 * n)).collect();
                let many = database.multi_get(&many).unwrap();
                let many: Vec<Option<u8>> = many.iter().map(|v| v.as_ref().map(|v| v[0])).collect();
                assert!(many.windows(2).all(|pair| pair[0] == pair[1]), "one commit: {many:?}");
                let now = rounds.first().copied().unwrap_or(0);
                assert!(now >= least, "loads do not go back");
                least = now;
                let all = snapshot.iter(&database).map(|entry| entry.unwrap().0);
                let even = all.filter(|key| (key[key.len() - 1] - b'0').is_multiple_of(2)).count();
                assert_eq!(even, if now == 0 { 0 } else { 2000 });
            }
        });
        let ends = Ends(&done);
        for round in 1..=rounds {
            let mut load = database.bulk_load().unwrap();
            for n in 0..2000 {
                load.put(key(2 * n), [round as u8; 100]).unwrap();
                if n == 1000 && round % 3 == 0 {
                    load.checkpoint().unwrap();
                }
            }
            load.finish().unwrap();
        }
        drop(ends);
    });
    store.settle().unwrap();
    structure(&store).unwrap();
    let even = (0..2000).filter(|n| database.get(key(2 * n)).unwrap().unwrap()[0] == rounds as u8);
    assert_eq!(even.count(), 2000);
}

/// A merge makes one table of two, and a load comes between them before it is done.
#[test]
fn a_load_keeps_out_of_the_way_of_a_merge() {
    let env = SimEnv::new(1);
    let watched: Arc<Mutex<Option<Store>>> = Arc::default();
    let to_load = Arc::clone(&watched);
    let watch = move |operation: &'static str| {
        let merging = (operation == "create").then(|| to_load.lock().unwrap().take()).flatten();
        if let Some(store) = merging {
            load(&store, "d", 60..90, &[7; 700]);
        }
    };
    let watched_env = WatchedEnv { env: env.clone(), watch: Arc::new(watch) };
    let store = builder(&env).env(Arc::new(watched_env)).table_size(64 << 10);
    let store = store.level_base(1 << 20).open("/store").unwrap();
    let database = store.database("d").unwrap();
    for round in 0..2 {
        for first in [0, 100] {
            for n in first..first + 50 {
                database.put(key(n), format!("{round}")).unwrap();
            }
            store.flush().unwrap();
        }
    }
    *watched.lock().unwrap() = Some(store.clone());
    while store.stats().compactions == 0 {
        store.step().unwrap();
    }
    assert!(watched.lock().unwrap().is_none(), "it was loaded meanwhile");
    let levels: Vec<u8> = store.stats().levels.iter().map(|of| of.level).collect();
    assert_eq!(levels, [0, 1]);
    let all: Vec<u64> = (0..50).chain(60..90).chain(100..150).collect();
    assert_eq!(found(&database, &store, 150), all);
    structure(&store).unwrap();
    store.compact().unwrap();
    assert_eq!(found(&database, &store, 150), all);
}

#[test]
fn loads_that_overlap_wait_for_merges() {
    let env = SimEnv::new(1);
    let store = open(&env);
    for round in 0..60 {
        load(&store, "d", (0..200).step_by(7).map(|n| n + round % 3), &[round as u8; 60]);
        let level0 = store.stats().levels.first().map_or(0, |level| level.runs.len());
        assert!(level0 <= 21, "{level0} runs");
    }
    assert!(store.stats().compactions > 0);
    structure(&store).unwrap();
}

/// Each would leave a table.
#[test]
fn small_loads_become_large_tables() {
    let env = SimEnv::new(1);
    let store = builder(&env).table_size(16 << 10).open("/store").unwrap();
    for round in 0..200 {
        load(&store, "d", 3 * round..3 * round + 3, &[7; 20]);
    }
    settle(&store);
    assert!(tables(&env) < 12, "{} tables", tables(&env));
    assert_eq!(found(&store.database("d").unwrap(), &store, 600), numbers(600));
    structure(&store).unwrap();
}

#[test]
fn the_log_of_one_open_that_only_loads_ends() {
    let env = SimEnv::new(1);
    let store = builder(&env).memtable_size(1 << 10).segment_size(64 << 10).open("/store").unwrap();
    for round in 0..300 {
        load(&store, "d", round..round + 1, b"value");
    }
    settle(&store);
    let listed = env.list(Path::new("/store")).unwrap();
    let logs = listed.iter().filter(|entry| entry.name.ends_with(".log"));
    let bytes: u64 = logs.map(|entry| entry.len).sum();
    assert!(bytes <= 6 * (64 << 10), "{bytes} bytes");
    assert!(store.stats().flushes > 0);
}

/// A store into which is only loaded has a log, too: of commits that have nothing in it.
#[test]
fn a_store_that_is_only_loaded_into_keeps_a_short_log() {
    let env = SimEnv::new(1);
    for round in 0..40 {
        let store = open(&env);
        load(&store, "d", round..round + 3, b"value");
        store.close().unwrap();
        let listed = env.list(Path::new("/store")).unwrap();
        let logs = listed.iter().filter(|entry| entry.name.ends_with(".log")).count();
        assert!(logs <= 10, "{logs} segments after {round} loads");
    }
    let store = open(&env);
    load(&store, "d", 100..103, b"value");
    store.flush().unwrap();
    assert_eq!(found(&store.database("d").unwrap(), &store, 200).len(), 45);
}

#[test]
fn what_is_noted_outlives_a_power_cut_as_its_database_does() {
    let env = SimEnv::new(1);
    let store = builder(&env).durability(Durability::Memory).open("/store").unwrap();
    let database = store.database("d").unwrap();
    let mut load = database.bulk_load().unwrap();
    load.put(key(1), "one").unwrap();
    load.checkpoint().unwrap();
    env.cut_after(env.operations());
    for keep in env.ways(3) {
        let store = open(&env.crash(keep));
        settle(&store);
        let load = store.database("d").unwrap().resume_bulk_load().unwrap();
        assert_eq!(load.last_key(), Some(&key(1)[..]));
    }
}

/// Nobody reads it before the load is finished. Then its ends are looked at, and its blocks as they are read; who looks for
/// damage is told before.
#[test]
fn a_damaged_table_of_an_unfinished_load_is_told() {
    for (at, is_told_by_finish) in [(20, true), (120, false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let store = Store::open(&path).unwrap();
        let database = store.database("d").unwrap();
        database.put("b", "there").unwrap();
        let mut load = database.bulk_load().unwrap();
        load.put("a", [7; 3000]).unwrap();
        load.checkpoint().unwrap();
        drop(load);
        store.clone().close().unwrap();
        assert_eq!(orlop_tools::verify(&path), Ok(vec![]));
        let mut files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
        let is_table = |path: &PathBuf| path.extension().is_some_and(|of| of == "sst");
        let table = files.find(is_table).unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&table, &bytes).unwrap();
        assert!(!orlop_tools::verify(&path).unwrap().is_empty(), "a flip at {at}");

        let store = Store::open(&path).unwrap();
        let database = store.database("d").unwrap();
        let finished = database.resume_bulk_load().unwrap().finish();
        if is_told_by_finish {
            let error = finished.unwrap_err().to_string();
            assert!(error.contains(table.to_str().unwrap()), "{error}");
            assert_eq!(store.stats().loading_tables, 1, "it is left as it is");
            database.bulk_load().unwrap().abandon().unwrap();
            assert_eq!(store.stats().loading_tables, 0);
        } else {
            finished.unwrap();
            assert!(matches!(database.get("a"), Err(Error::Corrupt { .. })), "as in every table");
        }
        assert_eq!(database.get("b").unwrap().as_deref(), Some(&b"there"[..]));
        store.close().unwrap();
    }
}

#[test]
fn a_close_does_not_wait_for_a_load_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for _ in 0..4 {
        let store = Store::builder().table_size(64 << 10).open(&path).unwrap();
        let database = store.database("d").unwrap();
        thread::scope(|scope| {
            let loader = scope.spawn(|| {
                let mut load = database.bulk_load().unwrap();
                let mut n = 0;
                loop {
                    match load.put(key(n), [1; 1000]) {
                        Ok(()) => n += 1,
                        Err(error) => return error,
                    }
                }
            });
            thread::sleep(Duration::from_millis(30));
            store.clone().close().unwrap();
            let error = loader.join().unwrap();
            assert!(matches!(error, Error::Closed), "{error}");
        });
        let store = Store::open(&path).unwrap();
        assert_eq!(store.database("d").unwrap().iter().count(), 0);
        store.close().unwrap();
    }
}

/// What is done to a store, one thing after the other.
#[derive(Debug, Clone)]
enum Deed {
    Put(u64),
    Delete(u64),
    DeleteRange(u64, u64),
    Load(Vec<(u64, bool)>),
    Flush,
    Compact,
    Step,
    Snapshot,
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = || 0..60_u64;
    prop_oneof![
        6 => n().prop_map(Deed::Put),
        2 => n().prop_map(Deed::Delete),
        1 => (n(), n()).prop_map(|(a, b)| Deed::DeleteRange(a.min(b), a.max(b))),
        4 => prop::collection::vec((n(), prop::bool::weighted(0.8)), 1..30).prop_map(Deed::Load),
        2 => Just(Deed::Flush),
        1 => Just(Deed::Compact),
        2 => Just(Deed::Step),
        1 => Just(Deed::Snapshot),
        1 => Just(Deed::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A load is a batch of its entries: for everybody, from before and from behind it.
    #[test]
    fn a_load_is_a_batch(deeds in prop::collection::vec(deed(), 1..60)) {
        let env = SimEnv::new(1);
        let small = || {
            builder(&env).memtable_size(2 << 10).table_size(1 << 10).level_base(2 << 10).open("/store")
        };
        let mut store = small().unwrap();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut held = Vec::new();
        for (at, deed) in deeds.iter().enumerate() {
            let database = store.database("d").unwrap();
            let value = |n: u64| format!("{at}.{n}.{}", "v".repeat(n as usize * 3)).into_bytes();
            match deed {
                Deed::Put(n) => {
                    database.put_with(key(*n), value(*n), Durability::Buffered).unwrap();
                    model.insert(*n, value(*n));
                }
                Deed::Delete(n) => {
                    database.delete_with(key(*n), Durability::Memory).unwrap();
                    model.remove(n);
                }
                Deed::DeleteRange(a, b) => {
                    database.delete_range(key(*a)..key(*b)).unwrap();
                    model.retain(|n, _| !(a..b).contains(&n));
                }
                Deed::Load(entries) => {
                    let mut load = database.bulk_load().unwrap();
                    for (n, is_put) in entries.iter().copied().collect::<BTreeMap<u64, bool>>() {
                        if is_put {
                            load.put(key(n), value(n)).unwrap();
                            model.insert(n, value(n));
                        } else {
                            load.delete(key(n)).unwrap();
                            model.remove(&n);
                        }
                    }
                    load.finish().unwrap();
                }
                Deed::Flush => store.flush().unwrap(),
                Deed::Compact => store.compact().unwrap(),
                Deed::Step => drop(store.step().unwrap()),
                Deed::Snapshot => held.push((store.snapshot(), model.clone())),
                Deed::Reopen => {
                    held.clear();
                    drop(database);
                    store.close().unwrap();
                    store = small().unwrap();
                }
            }
            structure(&store).unwrap();
        }
        let database = store.database("d").unwrap();
        let there: Vec<u64> = model.keys().copied().collect();
        prop_assert_eq!(found(&database, &store, 60), there);
        for (n, value) in &model {
            let found = database.get(key(*n)).unwrap();
            prop_assert_eq!(found.as_deref(), Some(&value[..]));
        }
        for (snapshot, model) in &held {
            let entries = snapshot.iter(&database).map(|entry| entry.unwrap());
            let entries: Vec<(Vec<u8>, Vec<u8>)> = entries.map(|(k, v)| (k, v.to_vec())).collect();
            let expected: Vec<(Vec<u8>, Vec<u8>)> =
                model.iter().map(|(n, value)| (key(*n), value.clone())).collect();
            prop_assert_eq!(entries, expected);
        }
    }
}
