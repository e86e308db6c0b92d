//! Ranges of keys that are deleted: they are gone at once, for those who come behind it, and so is their space.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop::env::SimEnv;
use orlop::{Background, Builder, Compression, Durability, Error, Progress, Store};
use orlop_tests::ways::{found, key};
use proptest::prelude::*;

fn builder(env: &SimEnv) -> Builder {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(64 << 10)
        .table_size(16 << 10)
        .level_base(64 << 10)
        .block_size(512)
}

fn open(env: &SimEnv) -> Store {
    builder(env).open("/store").unwrap()
}

fn settle(store: &Store) {
    while store.step().unwrap() != Progress::Idle {}
}

/// Steps until nothing is left to do, also for a store that has rested.
fn rest(store: &Store) {
    for _ in 0..3 {
        settle(store);
    }
}

#[test]
fn what_was_deleted_with_its_range_is_gone_wherever_it_lies() {
    for compression in [Compression::None, Compression::Snappy] {
        for (flush_before, flush_behind, compact) in
            [(false, false, false), (true, false, false), (true, true, false), (true, true, true)]
        {
            let env = SimEnv::new(1);
            let store = builder(&env).compression(compression).open("/store").unwrap();
            let database = store.database("d").unwrap();
            let other = store.database("e").unwrap();
            for n in 0..400 {
                database.put(key(n), [7; 40]).unwrap();
                other.put(key(n), [7; 40]).unwrap();
            }
            if flush_before {
                store.flush().unwrap();
            }
            database.delete_range(key(10)..key(20)).unwrap();
            database.delete_range(key(15)..=key(30)).unwrap();
            database.delete_range((Bound::Excluded(key(50)), Bound::Excluded(key(52)))).unwrap();
            database.delete_prefix("key001").unwrap();
            database.delete_range(key(390)..).unwrap();
            database.delete_range(..key(3)).unwrap();
            // What comes behind it stays; what holds no key deletes nothing.
            database.put(key(12), "again").unwrap();
            database.put(key(150), "again").unwrap();
            database.delete_range(key(300)..key(300)).unwrap();
            database.delete_range((Bound::Included(key(300)), Bound::Excluded(key(200)))).unwrap();
            if flush_behind {
                store.flush().unwrap();
            }
            if compact {
                store.compact().unwrap();
                assert_eq!(store.stats().range_deletes, 0);
            }
            let gone = |n: &u64| {
                matches!(n, 0..3 | 10..=30 | 51 | 100..200 | 390..) && !matches!(n, 12 | 150)
            };
            let left: Vec<u64> = (0..400).filter(|n| !gone(n)).collect();
            assert_eq!(found(&database, &store, 400), left);
            assert_eq!(found(&other, &store, 400), (0..400).collect::<Vec<_>>());
            drop((database, other));
            store.close().unwrap();
            let store = open(&env);
            let database = store.database("d").unwrap();
            assert_eq!(found(&database, &store, 400), left, "opened again");
            let reader =
                Store::builder().env(Arc::new(env.clone())).open_read_only("/store").unwrap();
            let database = reader.database("d").unwrap();
            assert_eq!(found(&database, &reader, 400), left, "for a reader");
        }
    }
}

#[test]
fn a_snapshot_from_before_keeps_what_it_sees() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..300 {
        database.put(key(n), [1; 50]).unwrap();
    }
    store.compact().unwrap();
    let before = store.snapshot();
    database.delete_range(key(0)..key(200)).unwrap();
    let between = store.snapshot();
    database.put(key(7), "seven").unwrap();
    database.delete_range(key(5)..key(250)).unwrap();
    let mut cursor = before.cursor(&database).unwrap();
    store.flush().unwrap();
    store.compact().unwrap();
    rest(&store);
    assert_eq!(found(&database, &store, 300), (250..300).collect::<Vec<_>>());
    assert_eq!(before.iter(&database).count(), 300);
    assert_eq!(between.iter(&database).count(), 100);
    assert_eq!(before.get(&database, key(7)).unwrap().as_deref(), Some(&[1; 50][..]));
    assert_eq!(between.get(&database, key(7)).unwrap(), None);
    let mut steps = 0;
    while cursor.next().unwrap().is_some() {
        steps += 1;
    }
    assert_eq!(steps, 300);
    assert!(store.stats().range_deletes > 0);
    drop((before, between, cursor));
    store.compact().unwrap();
    assert_eq!(store.stats().range_deletes, 0, "nothing is left that they could delete");
    let entries: u64 =
        store.stats().levels.iter().flat_map(|of| &of.runs).map(|run| run.entries).sum();
    assert_eq!(entries, 51, "and one of the catalog");
    assert_eq!(found(&database, &store, 300), (250..300).collect::<Vec<_>>());
}

#[test]
fn in_a_batch_the_order_counts() {
    // Also in one that is written apart, and in one that creates its database.
    for len in [40, 40 << 10] {
        for exists in [false, true] {
            let env = SimEnv::new(1);
            let store = open(&env);
            let database = store.database("d").unwrap();
            if exists {
                database.put(key(9), "nine").unwrap();
            }
            let mut batch = store.batch();
            batch.put(&database, key(1), vec![1; len]).unwrap();
            batch.put(&database, key(5), "before").unwrap();
            batch.delete_range(&database, key(0)..key(4)).unwrap();
            batch.put(&database, key(2), vec![2; len]).unwrap();
            batch.delete_range(&database, key(5)..key(10)).unwrap();
            batch.put(&database, key(6), "behind").unwrap();
            batch.delete_range(&database, key(5)..key(10)).unwrap();
            batch.put(&database, key(7), "behind").unwrap();
            batch.delete_prefix(&database, key(3)).unwrap();
            batch.commit().unwrap();
            assert_eq!(found(&database, &store, 12), [2, 7]);
            drop(database);
            store.close().unwrap();
            let store = open(&env);
            let database = store.database("d").unwrap();
            assert_eq!(found(&database, &store, 12), [2, 7]);
            store.compact().unwrap();
            assert_eq!(found(&database, &store, 12), [2, 7]);
        }
    }
}

#[test]
fn tables_of_which_nothing_is_left_go_unread() {
    let (guard, path) = temp();
    let store = Store::builder()
        .background(Background::Manual)
        .memtable_size(64 << 10)
        .table_size(16 << 10)
        .level_base(64 << 10)
        .open(&path)
        .unwrap();
    let database = store.database("d").unwrap();
    for n in 0..4_000 {
        database.put_with(key(n), [7; 60], Durability::Buffered).unwrap();
    }
    store.compact().unwrap();
    settle(&store);
    let tables = || -> u64 {
        store.stats().levels.iter().flat_map(|of| &of.runs).map(|run| run.tables).sum()
    };
    let (before, read) = (tables(), store.stats().compacted_bytes_in);
    assert!(before > 15, "{before} tables");
    database.delete_range(key(500)..key(3_800)).unwrap();
    store.flush().unwrap();
    while store.stats().compactions == 0 || tables() > before / 3 {
        assert_eq!(store.step().unwrap(), Progress::Compacted);
    }
    assert_eq!(store.stats().compacted_bytes_in, read, "none of them was read");
    settle(&store);
    let left = fs::read_dir(&path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".sst"));
    assert_eq!(left.count() as u64, tables());
    let left: Vec<u64> = (0..4_000).filter(|n| !(500..3_800).contains(n)).collect();
    assert_eq!(found(&database, &store, 4_000), left);
    drop(guard);
}

/// A scan that came to what a range delete deletes would read these blocks, and they are damaged.
#[test]
fn scans_pass_over_what_was_deleted_without_reading_it() {
    let (_guard, path) = temp();
    let open =
        || Store::builder().background(Background::Manual).table_size(1 << 20).open(&path).unwrap();
    let store = open();
    let database = store.database("d").unwrap();
    for n in 0..20_000 {
        database.put_with(key(n), [7; 60], Durability::Buffered).unwrap();
    }
    store.compact().unwrap();
    drop(database);
    store.close().unwrap();
    let sst = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> =
        sst.filter(|path| path.extension().is_some_and(|of| of == "sst")).collect();
    tables.sort();
    assert!(!tables.is_empty());
    for path in &tables {
        let mut bytes = fs::read(path).unwrap();
        let len = bytes.len();
        bytes[len / 4..len / 2].fill(0x55);
        fs::write(path, bytes).unwrap();
    }
    let store = open();
    let database = store.database("d").unwrap();
    assert!(database.iter().any(|entry| matches!(entry, Err(Error::Corrupt { .. }))));
    database.delete_range(key(100)..key(19_900)).unwrap();
    let keys: Vec<Vec<u8>> = database.iter().map(|entry| entry.unwrap().0).collect();
    assert_eq!((keys.len(), &keys[99], &keys[100]), (200, &key(99), &key(19_900)));
    let back: Vec<Vec<u8>> = database.iter().rev().map(|entry| entry.unwrap().0).collect();
    assert_eq!(back.iter().rev().collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    let mut cursor = database.cursor().unwrap();
    for _ in 0..3 {
        cursor.seek(key(2_000)).unwrap();
        assert_eq!(cursor.next().unwrap().unwrap().0, key(19_900));
    }
    assert_eq!(cursor.prev().unwrap().unwrap().0, key(19_900));
    assert_eq!(cursor.prev().unwrap().unwrap().0, key(99));
    store.flush().unwrap();
    assert_eq!(database.iter().filter(|entry| entry.is_ok()).count(), 200);
}

#[test]
fn space_comes_back_without_a_write() {
    let (_guard, path) = temp();
    let store = Store::builder().memtable_size(1 << 20).table_size(1 << 20).open(&path).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..100_000 {
        database.put_with(key(n), [7; 100], Durability::Buffered).unwrap();
    }
    store.settle().unwrap();
    let on_disk = || -> u64 {
        let entries = fs::read_dir(&path).unwrap().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|of| of.len()).sum()
    };
    let peak = on_disk();
    assert!(peak > 10 << 20);
    database.delete_range::<&str>(..).unwrap();
    assert!(database.iter().next().is_none());
    let begun = Instant::now();
    while on_disk() > peak / 20 || store.stats().range_deletes > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {peak}", on_disk());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(database.iter().next().is_none());
}

/// … also where it lies in memory only.
#[test]
fn memory_comes_back_without_a_write() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..20_000 {
        database.put_with(key(n), [7; 100], Durability::Buffered).unwrap();
    }
    database.delete_range_with::<&str>(.., Durability::Buffered).unwrap();
    let begun = Instant::now();
    while store.stats().memtable_entries > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", store.stats());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(database.iter().next().is_none());
}

#[test]
fn what_newer_ones_delete_as_well_is_forgotten() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    database.put("a", "first").unwrap();
    database.put("z", "last").unwrap();
    store.compact().unwrap();
    for n in 0..60 {
        database.put(format!("tmp/{n}"), "value").unwrap();
        database.delete_prefix("tmp/").unwrap();
        database.delete_range(..="m").unwrap();
        if n % 3 == 2 {
            store.flush().unwrap();
        }
    }
    assert!(store.stats().range_deletes <= 2, "{}", store.stats().range_deletes);
    // One that a reader sees, and not the newer one, stays for it.
    let held = store.snapshot();
    database.delete_prefix("tmp/").unwrap();
    store.flush().unwrap();
    assert!(store.stats().range_deletes <= 4);
    assert_eq!(held.iter(&database).count(), 1);
    assert_eq!(database.iter().count(), 1);
    drop(held);
    store.compact().unwrap();
    assert_eq!(store.stats().range_deletes, 0);
    assert_eq!(database.iter().count(), 1);
}

/// Its tables may lie beside those of others that hold none of its keys.
#[test]
fn a_database_without_tables_has_no_range_deletes() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let [a, b, c] = ["a", "b", "c"].map(|name| store.database(name).unwrap());
    for database in [&a, &b, &c] {
        database.put("k", "v").unwrap();
    }
    b.delete("k").unwrap();
    store.compact().unwrap();
    for _ in 0..5 {
        b.put("k", "v").unwrap();
        b.delete_range::<&str>(..).unwrap();
        store.flush().unwrap();
    }
    assert_eq!(store.stats().range_deletes, 0);
    // Those of a dropped one go with it.
    c.delete_range("a".."b").unwrap();
    c.delete_range("j".."l").unwrap();
    store.flush().unwrap();
    assert!(store.stats().range_deletes > 0);
    store.drop_database("c").unwrap();
    store.sync().unwrap();
    store.compact().unwrap();
    assert_eq!(store.stats().range_deletes, 0);
}

#[test]
fn to_delete_the_same_again_is_no_work() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..4_000 {
        database.put_with(key(n), [7; 60], Durability::Memory).unwrap();
    }
    store.compact().unwrap();
    database.delete_range(..key(300)).unwrap();
    store.flush().unwrap();
    rest(&store);
    let flushes = store.stats().flushes;
    for _ in 0..5 {
        database.delete_range(..key(300)).unwrap();
        rest(&store);
    }
    assert_eq!(store.stats().flushes, flushes);
    // There is something to delete again.
    database.delete_range(..key(3_000)).unwrap();
    rest(&store);
    assert!(store.stats().flushes > flushes);
    assert_eq!(found(&database, &store, 4_000), (3_000..4_000).collect::<Vec<_>>());
}

/// A queue: each range begins where all others do.
#[test]
fn what_is_deleted_from_the_front_is_passed_over() {
    let env = SimEnv::new(1);
    let store = builder(&env).memtable_size(4 << 20).open("/store").unwrap();
    let database = store.database("d").unwrap();
    let begun = Instant::now();
    let (mut head, most) = (0, 5_000);
    for n in 0..most {
        database.put_with(key(n), [7; 30], Durability::Memory).unwrap();
        if n % 3 > 0 {
            let first = database.iter().next().unwrap().unwrap().0;
            assert_eq!(first, key(head));
            database.delete_range_with(..=first, Durability::Memory).unwrap();
            head += 1;
        }
        if n % 1_000 == 999 {
            store.flush().unwrap();
        }
    }
    assert_eq!(database.iter().next().unwrap().unwrap().0, key(head));
    assert_eq!(database.iter().count() as u64, most - head);
    store.flush().unwrap();
    assert!(store.stats().range_deletes <= 1);
    // Half a second here; each look took milliseconds when stretches were passed over one by one.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn many_small_ranges_stay_few() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..8_000 {
        database.put_with(key(n), [7; 30], Durability::Memory).unwrap();
    }
    store.compact().unwrap();
    for n in 0..2_000 {
        database.delete_range_with(key(4 * n)..key(4 * n + 2), Durability::Memory).unwrap();
        if n % 100 == 99 {
            store.flush().unwrap();
        }
    }
    assert!(store.stats().range_deletes > 0);
    let left: Vec<u64> = (0..8_000).filter(|n| n % 4 > 1).collect();
    assert_eq!(found(&database, &store, 8_000), left);
    rest(&store);
    assert!(store.stats().range_deletes < 100, "{}", store.stats().range_deletes);
    assert_eq!(found(&database, &store, 8_000), left);
    store.compact().unwrap();
    assert_eq!(store.stats().range_deletes, 0);
    assert_eq!(found(&database, &store, 8_000), left);
}

#[test]
fn a_manifest_with_many_of_them_is_not_written_again_for_each_edit() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    database.put(key(0), "first").unwrap();
    database.put(key(99_999), "last").unwrap();
    store.compact().unwrap();
    let held = store.snapshot();
    let long = |n: u64| [key(n), vec![b'.'; 1_000]].concat();
    for n in 1..2_000 {
        database.delete_range_with(long(n)..long(n + 1), Durability::Memory).unwrap();
    }
    store.flush().unwrap();
    assert_eq!(store.stats().range_deletes, 1_999);
    let manifests = |operations: u64| {
        for n in 0..operations {
            database.put(key(50_000 + n), "value").unwrap();
            store.flush().unwrap();
        }
        let files = orlop::env::Env::list(&env, "/store".as_ref()).unwrap();
        files.into_iter().find(|file| file.name.ends_with(".manifest")).unwrap().name
    };
    let first = manifests(1);
    assert_eq!(manifests(20), first);
    drop(held);
}

#[test]
fn what_cannot_be_is_refused() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let long: &[u8] = &[1; 65_536];
    assert!(matches!(database.delete_range(long..), Err(Error::TooLarge { what: "key", .. })));
    assert!(matches!(database.delete_range(..long), Err(Error::TooLarge { .. })));
    // A range that holds no key is checked all the same.
    assert!(matches!(database.delete_range(long..long), Err(Error::TooLarge { .. })));
    assert!(matches!(database.delete_prefix(long), Err(Error::TooLarge { .. })));
    let elsewhere = Store::in_memory().unwrap().database("d").unwrap();
    let mut batch = store.batch();
    assert!(matches!(batch.delete_range(&elsewhere, "a".."b"), Err(Error::WrongStore)));
    assert!(matches!(batch.delete_range(&elsewhere, "b".."a"), Err(Error::WrongStore)));
    assert!(batch.is_empty());
    database.put("k", "v").unwrap();
    let mut batch = store.batch();
    batch.drop_database("d").unwrap();
    batch.commit().unwrap();
    assert!(matches!(database.delete_range("a".."z"), Err(Error::DatabaseDropped { .. })));
    // Bounds of the longest keys that there are.
    let database = store.database("d").unwrap();
    let longest = vec![255; 65_535];
    database.put(&longest, "last").unwrap();
    database.put(b"k", "first").unwrap();
    database.delete_range::<Vec<u8>>((Bound::Excluded(&longest), Bound::Unbounded)).unwrap();
    assert_eq!(database.iter().count(), 2);
    database.delete_range(&longest[..65_534]..=&longest[..]).unwrap();
    assert_eq!(database.iter().count(), 1);
}

#[test]
fn readers_beside_it_see_all_of_a_batch_or_nothing() {
    let store = Store::builder()
        .env(Arc::new(orlop::env::MemoryEnv::new()))
        .memtable_size(64 << 10)
        .table_size(64 << 10)
        .level_base(128 << 10)
        .open("/s")
        .unwrap();
    let database = store.database("d").unwrap();
    database.put(key(0), "0").unwrap();
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let reader = || {
            let mut rounds = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                // One key at any time.
                let keys: Vec<_> = database.iter().map(|entry| entry.unwrap().0).collect();
                assert_eq!(keys.len(), 1, "{keys:?}");
                let snapshot = store.snapshot();
                let back: Vec<_> =
                    snapshot.iter(&database).rev().map(|entry| entry.unwrap().0).collect();
                assert_eq!(back.len(), 1);
                assert!(snapshot.get(&database, &back[0]).unwrap().is_some());
                rounds += 1;
            }
            rounds
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        let begun = Instant::now();
        let mut n = 1;
        while begun.elapsed() < Duration::from_secs(2) {
            let mut batch = store.batch();
            match n % 3 {
                0 => batch.delete_range(&database, ..key(50_000)).unwrap(),
                1 => batch.delete_prefix(&database, "key").unwrap(),
                _ => batch.delete_range(&database, key(0)..).unwrap(),
            }
            batch.put(&database, key(n * 7919 % 50_000), [n as u8; 100]).unwrap();
            batch.commit_with(Durability::Memory).unwrap();
            n += 1;
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>()
    });
    assert!(rounds > 10, "{rounds}");
}

/// Writes of few keys, deletes of ranges of them, and what goes on in between.
#[derive(Debug, Clone)]
enum Act {
    Put(u8),
    Delete(u8),
    DeleteRange(u8, u8),
    Flush,
    Step,
    Compact,
    Snapshot,
    LetGo,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => any::<u8>().prop_map(Act::Put),
        2 => any::<u8>().prop_map(Act::Delete),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Act::DeleteRange(a.min(b), a.max(b))),
        2 => Just(Act::Flush),
        2 => Just(Act::Step),
        1 => Just(Act::Compact),
        1 => Just(Act::Snapshot),
        1 => Just(Act::LetGo),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A range delete is a delete of each of its keys, for whoever reads at whatever time.
    #[test]
    fn it_is_a_delete_of_each_key(acts in proptest::collection::vec(act(), 1..120)) {
        let env = SimEnv::new(1);
        let tiny = || builder(&env).memtable_size(2 << 10).table_size(1 << 10).level_base(2 << 10);
        let mut store = tiny().open("/store").unwrap();
        let mut database = store.database("d").unwrap();
        database.put("", "").unwrap();
        let mut model = BTreeMap::from([(vec![], vec![])]);
        let mut snapshots = Vec::new();
        for (act, n) in acts.iter().zip(0_u64..) {
            match act {
                Act::Put(k) => {
                    let value = n.to_le_bytes().repeat(1 + usize::from(k % 9));
                    database.put_with([*k], &value, Durability::Memory).unwrap();
                    model.insert(vec![*k], value);
                }
                Act::Delete(k) => {
                    database.delete([*k]).unwrap();
                    model.remove(&vec![*k]);
                }
                Act::DeleteRange(a, b) => {
                    database.delete_range([*a]..[*b]).unwrap();
                    model.retain(|key, _| !(vec![*a]..vec![*b]).contains(key));
                }
                Act::Flush => store.flush().unwrap(),
                Act::Step => drop(store.step().unwrap()),
                Act::Compact => store.compact().unwrap(),
                Act::Snapshot => snapshots.push((store.snapshot(), model.clone())),
                Act::LetGo => drop(snapshots.pop()),
                Act::Reopen => {
                    snapshots.clear();
                    drop(database);
                    store.close().unwrap();
                    store = tiny().open("/store").unwrap();
                    database = store.database("d").unwrap();
                }
            }
        }
        snapshots.push((store.snapshot(), model));
        for (snapshot, model) in &snapshots {
            let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            let entries = || snapshot.iter(&database);
            let own = |entry: orlop::Result<(Vec<u8>, orlop::Value)>| {
                entry.map(|(key, value)| (key, value.to_vec())).unwrap()
            };
            let forward: Vec<_> = entries().map(own).collect();
            prop_assert_eq!(&forward, &expected);
            let mut back: Vec<_> = entries().rev().map(own).collect();
            back.reverse();
            prop_assert_eq!(&back, &expected);
            for k in 0..=255_u8 {
                let value = snapshot.get(&database, [k]).unwrap();
                prop_assert_eq!(value.as_deref(), model.get(&vec![k]).map(Vec::as_slice));
            }
        }
    }
}

/// A directory for one store.
fn temp() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}
