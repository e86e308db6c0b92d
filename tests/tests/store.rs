//! The public face on a real file system: limits, errors, handles, databases, opens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop::{Background, Batch, Database, DatabaseOptions, Durability, Error, Store};
use tempfile::TempDir;

fn temp() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.orlop");
    (dir, path)
}

/// Bytes on the device below a directory.
fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().metadata().map_or(0, |meta| meta.blocks() * 512)).sum()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn keys(database: &Database) -> Vec<Vec<u8>> {
    database.iter().map(|entry| entry.unwrap().0).collect()
}

#[test]
fn keys_and_values_have_limits_at_every_door() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    let database = store.database("d").unwrap();
    let (longest, too_long) = (vec![7_u8; 65_535], vec![7_u8; 65_536]);
    let largest = vec![9_u8; 64 << 20];
    let too_large = vec![9_u8; (64 << 20) + 1];
    let refused = |result: orlop::Result<()>, what: &str| match result {
        Err(Error::TooLarge { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{what}: {other:?}"),
    };
    refused(database.put(&too_long, "v"), "key");
    refused(database.put("k", &too_large), "value");
    refused(database.delete(&too_long), "key");
    refused(database.get(&too_long).map(|_| ()), "key");
    refused(store.snapshot().get(&database, &too_long).map(|_| ()), "key");
    refused(database.cursor().unwrap().seek(&too_long), "key");
    refused(database.range(&too_long[..]..).next().unwrap().map(|_| ()), "key");
    refused(database.range(..&too_long[..]).next_back().unwrap().map(|_| ()), "key");
    let mut batch = store.batch();
    batch.put(&database, "kept", "1").unwrap();
    refused(batch.put(&database, &too_long, "v"), "key");
    refused(batch.put(&database, "k", &too_large), "value");
    refused(batch.delete(&database, &too_long), "key");
    assert_eq!(batch.len(), 1);
    batch.commit().unwrap();
    assert_eq!(keys(&database), [b"kept".to_vec()]);

    database.put(&longest, &largest).unwrap();
    for key in ["", "a", "a\0"] {
        database.put(key, "").unwrap();
    }
    for flushed in [false, true] {
        if flushed {
            store.flush().unwrap();
        }
        assert!(database.get(&longest).unwrap().unwrap()[..] == largest[..]);
        assert_eq!(database.get("").unwrap().as_deref(), Some(&b""[..]));
        let sorted = [b"".to_vec(), longest.clone(), b"a".to_vec(), b"a\0".to_vec()];
        assert_eq!(keys(&database), [&sorted[..], &[b"kept".to_vec()]].concat());
    }
    store.close().unwrap();
    let store = Store::open_read_only(&path).unwrap();
    let database = store.database("d").unwrap();
    assert!(database.get(&longest).unwrap().unwrap()[..] == largest[..]);
}

#[test]
fn a_batch_over_its_limit_is_refused_and_stays_as_it_was() {
    let store = Store::in_memory().unwrap();
    let database = store.database("d").unwrap();
    let value = vec![1_u8; 60 << 20];
    let mut batch = store.batch();
    for key in 0..4_u8 {
        batch.put(&database, [key], &value).unwrap();
    }
    assert!(matches!(
        batch.put(&database, [4], &value),
        Err(Error::TooLarge { what: "batch", .. })
    ));
    assert_eq!(batch.len(), 4);
    batch.commit_with(Durability::Buffered).unwrap();
    assert_eq!(keys(&database).len(), 4);
}

#[test]
fn every_change_of_the_catalog_is_worth_the_stores_default() {
    type Change = fn(&mut Batch) -> orlop::Result<()>;
    let changes: [(&str, Change); 4] = [
        ("create", |batch| batch.create_database("new", DatabaseOptions::default())),
        ("rename", |batch| batch.rename_database("new", "newer")),
        ("swap", |batch| batch.swap_databases("newer", "other")),
        ("drop", |batch| batch.drop_database("other")),
    ];
    let store = Store::in_memory().unwrap();
    let careless =
        DatabaseOptions { durability: Some(Durability::Memory), ..DatabaseOptions::default() };
    store.create_database("d", careless).unwrap();
    let database = store.database("d").unwrap();
    let syncs_of = |change: Option<Change>| {
        let before = store.stats().log_syncs;
        let mut batch = store.batch();
        batch.put(&database, "k", "v").unwrap();
        change.map_or(Ok(()), |change| change(&mut batch)).unwrap();
        batch.commit().unwrap();
        store.stats().log_syncs - before
    };
    assert_eq!(syncs_of(None), 0);
    for (name, change) in changes {
        assert_eq!(syncs_of(Some(change)), 1, "{name}");
    }
}

#[test]
fn every_refusal_is_its_own_error_and_changes_nothing() {
    let (guard, path) = temp();
    assert!(matches!(Store::open_read_only(&path), Err(Error::StoreMissing { .. })));
    assert!(matches!(Store::builder().create(false).open(&path), Err(Error::StoreMissing { .. })));
    assert!(matches!(Store::open(path.join("a/b")), Err(Error::Io { .. })));
    assert!(!path.exists());

    let foreign = guard.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("notes.txt"), "hello").unwrap();
    assert!(matches!(Store::open(&foreign), Err(Error::NotAStore { .. })));
    assert!(matches!(Store::open(foreign.join("notes.txt")), Err(Error::NotAStore { .. })));
    assert_eq!(names(&foreign), ["notes.txt"]);

    let store = Store::open(&path).unwrap();
    store.database("d").unwrap().put("k", "v").unwrap();
    let before = names(&path);
    match Store::open(&path) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&path), before);
    store.close().unwrap();

    let super_path = path.join("SUPER");
    let good = fs::read(&super_path).unwrap();
    let mut newer = good.clone();
    newer[8] = 99;
    fs::write(&super_path, &newer).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::TooNew { .. })));
    fs::write(&super_path, &good[..5000]).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
    fs::remove_file(&super_path).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::NotAStore { .. })));
    fs::write(&super_path, &good).unwrap();

    // A file of another store under the right name.
    let other = guard.path().join("other");
    let store = Store::open(&other).unwrap();
    store.database("d").unwrap().put("k", "v").unwrap();
    store.close().unwrap();
    let log = |dir: &Path| dir.join(names(dir).into_iter().find(|n| n.ends_with("log")).unwrap());
    fs::copy(log(&other), log(&path)).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
}

#[test]
fn an_existing_empty_directory_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.database("d").unwrap().put("k", "v").unwrap();
    store.close().unwrap();
    assert!(Store::open_read_only(dir.path()).is_ok());
}

#[test]
fn handles_of_another_store_are_refused() {
    let (one, other) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    let database = other.database("d").unwrap();
    let mut batch = one.batch();
    assert!(matches!(batch.put(&database, "k", "v"), Err(Error::WrongStore)));
    assert!(matches!(one.snapshot().get(&database, "k"), Err(Error::WrongStore)));
}

#[test]
fn a_closed_store_says_so() {
    let store = Store::in_memory().unwrap();
    let database = store.database("d").unwrap();
    database.put("k", "v").unwrap();
    let mut cursor = database.cursor().unwrap();
    store.clone().close().unwrap();
    assert!(matches!(database.put("k", "v"), Err(Error::Closed)));
    assert!(matches!(database.get("k"), Err(Error::Closed)));
    assert!(matches!(store.flush(), Err(Error::Closed)));
    assert!(store.close().is_ok());
    assert_eq!(cursor.next().unwrap(), Some((&b"k"[..], &b"v"[..])));
}

#[test]
fn a_read_only_open_writes_nothing_and_refuses_to() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    let database = store.database("d").unwrap();
    database.put("k", "1").unwrap();
    let before = names(&path);
    let reader = Store::open_read_only(&path).unwrap();
    database.put("k", "2").unwrap();
    let seen = reader.database("d").unwrap();
    assert_eq!(seen.get("k").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(matches!(seen.put("k", "3"), Err(Error::ReadOnly)));
    assert!(matches!(reader.flush(), Err(Error::ReadOnly)));
    assert_eq!(names(&path), before);
    drop((reader, store));
}

#[test]
fn readers_beside_a_busy_writer_always_see_a_prefix() {
    let (_guard, path) = temp();
    let store = Store::builder()
        .memtable_size(20 << 10)
        .table_size(16 << 10)
        .level_base(32 << 10)
        .durability(Durability::Buffered)
        .open(&path)
        .unwrap();
    let (a, b) = (store.database("a").unwrap(), store.database("b").unwrap());
    let writer = std::thread::spawn(move || {
        for n in 0_u32..4_000 {
            let mut batch = store.batch();
            batch.put(&a, "n", n.to_be_bytes()).unwrap();
            batch.put(&b, format!("{:05}", n % 500), n.to_be_bytes()).unwrap();
            batch.commit().unwrap();
        }
        store
    });
    let mut last = 0;
    let mut opens = 0;
    while !writer.is_finished() {
        let reader = match Store::open_read_only(&path) {
            Ok(reader) => reader,
            Err(error) => panic!("open beside a writer: {error}"),
        };
        opens += 1;
        let Some(n) = reader.database("a").unwrap().get("n").unwrap() else { continue };
        let n = u32::from_be_bytes(n[..].try_into().unwrap());
        assert!(n >= last, "went back from {last} to {n}");
        last = n;
        let b = reader.database("b").unwrap();
        assert_eq!(b.get(format!("{:05}", n % 500)).unwrap().unwrap()[..], n.to_be_bytes());
        assert_eq!(keys(&b).len() as u32, (n + 1).min(500));
    }
    assert!(opens > 3, "only {opens} opens");
    writer.join().unwrap();
}

#[test]
fn many_writers_and_readers_agree() {
    let (_guard, path) = temp();
    let store = Store::builder()
        .memtable_size(64 << 10)
        .table_size(64 << 10)
        .level_base(128 << 10)
        .open(&path)
        .unwrap();
    let database = store.database("d").unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            let (store, database) = (&store, &database);
            scope.spawn(move || {
                for n in 0..400_u32 {
                    let durability = [Durability::Memory, Durability::Buffered, Durability::Synced];
                    let mut batch = store.batch();
                    batch.put(database, format!("{writer}/{n:04}"), vec![1; 200]).unwrap();
                    batch.put(database, format!("last/{writer}"), n.to_be_bytes()).unwrap();
                    batch.commit_with(durability[n as usize % 3]).unwrap();
                    assert!(database.contains(format!("{writer}/{n:04}")).unwrap());
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                let snapshot = store.snapshot();
                for writer in 0..4_u32 {
                    let last = snapshot.get(&database, format!("last/{writer}")).unwrap();
                    let Some(last) = last else { continue };
                    let last = u32::from_be_bytes(last[..].try_into().unwrap());
                    let seen = snapshot.prefix(&database, format!("{writer}/")).count() as u32;
                    assert_eq!(seen, last + 1);
                }
            }
        });
    });
    assert_eq!(keys(&database).len(), 1604);
    store.compact().unwrap();
    assert_eq!(keys(&database).len(), 1604);
    let stats = store.stats();
    assert!(stats.commit_groups < stats.commits, "four writers share some groups");
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(keys(&store.database("d").unwrap()).len(), 1604);
}

#[test]
fn databases_come_and_go() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    let early = store.database("7").unwrap();
    assert!(!early.exists().unwrap());
    assert_eq!(early.get("k").unwrap(), None);
    assert!(store.databases().unwrap().is_empty());
    store.database("7").unwrap().put("k", "v").unwrap();
    assert_eq!(early.get("k").unwrap().as_deref(), Some(&b"v"[..]));
    let options =
        DatabaseOptions { durability: Some(Durability::Buffered), ..DatabaseOptions::default() };
    let fast = store.create_database("fast", options).unwrap();
    assert_eq!(fast.durability(), Durability::Buffered);
    assert!(matches!(store.create_database("fast", options), Err(Error::DatabaseExists { .. })));
    assert!(matches!(store.drop_database("nope"), Err(Error::DatabaseMissing { .. })));
    for bad in ["", "a\0b", &"x".repeat(256)] {
        assert!(matches!(store.database(bad), Err(Error::InvalidName { .. })));
    }
    assert!(store.database("x".repeat(255)).is_ok());

    let snapshot = store.snapshot();
    store.drop_database("7").unwrap();
    assert!(matches!(early.get("k"), Err(Error::DatabaseDropped { .. })));
    assert!(matches!(early.put("k", "v"), Err(Error::DatabaseDropped { .. })));
    assert_eq!(snapshot.get(&early, "k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(snapshot.databases().unwrap(), ["7", "fast"]);
    let again = store.database("7").unwrap();
    assert_eq!(again.get("k").unwrap(), None);
    again.put("k", "new").unwrap();

    fast.put("f", "1").unwrap();
    store.swap_databases("7", "fast").unwrap();
    assert_eq!(again.get("f").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(fast.get("k").unwrap().as_deref(), Some(&b"new"[..]));
    store.swap_databases("fast", "empty").unwrap();
    assert_eq!(fast.get("k").unwrap(), None);
    fast.put("k", "afresh").unwrap();
    store.rename_database("empty", "moved").unwrap();
    assert!(matches!(store.rename_database("7", "moved"), Err(Error::DatabaseExists { .. })));
    again.clear().unwrap();
    assert_eq!(keys(&again).len(), 0);
    store.close().unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(store.databases().unwrap(), ["7", "fast", "moved"]);
    let get = |name: &str, key: &str| store.database(name).unwrap().get(key).unwrap();
    assert_eq!(get("moved", "k").as_deref(), Some(&b"new"[..]));
    assert_eq!(get("fast", "k").as_deref(), Some(&b"afresh"[..]));
    assert_eq!(get("7", "f"), None);
}

#[test]
fn ten_thousand_databases_are_cheap() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    store.close().unwrap();
    // The fastest of several: what somebody else does to the machine only ever adds.
    let time_open = || {
        let times = (0..7).map(|_| {
            let start = Instant::now();
            let store = Store::open(&path).unwrap();
            let time = start.elapsed();
            store.close().unwrap();
            time
        });
        times.min().unwrap_or_default()
    };
    let (empty_open, empty_size) = (time_open(), disk_usage(&path));
    let store = Store::open(&path).unwrap();
    let options =
        DatabaseOptions { durability: Some(Durability::Buffered), ..DatabaseOptions::default() };
    let start = Instant::now();
    for n in 0..10_000 {
        let mut batch = store.batch();
        batch.create_database(&n.to_string(), options).unwrap();
        batch.commit_with(Durability::Buffered).unwrap();
    }
    let created = start.elapsed();
    store.close().unwrap();
    let (full_open, full_size) = (time_open(), disk_usage(&path));
    let each = (full_size - empty_size) / 10_000;
    let slower = full_open.saturating_sub(empty_open);
    println!("created in {created:?}, open {slower:?} slower, {each} bytes each");
    assert!(created < Duration::from_secs(2), "created in {created:?}");
    assert!(slower < Duration::from_millis(20), "open {slower:?} slower");
    assert!(each <= 300, "{each} bytes each");
    let store = Store::open_read_only(&path).unwrap();
    assert_eq!(store.databases().unwrap().len(), 10_000);
}

#[test]
fn the_space_of_a_dropped_database_comes_back_by_itself() {
    let (_guard, path) = temp();
    let store = Store::builder().memtable_size(4 << 20).table_size(2 << 20).open(&path).unwrap();
    let (big, small) = (store.database("big").unwrap(), store.database("small").unwrap());
    for n in 0..200_u32 {
        let mut batch = store.batch();
        for m in 0..100_u32 {
            let key = (n * 100 + m).wrapping_mul(2_654_435_761).to_be_bytes();
            // Bytes that do not compress, so that what is left can be compared.
            let value: Vec<u8> = (0..500_u32).map(|i| ((i * i) ^ m ^ (n * 31)) as u8).collect();
            batch.put(&big, key, &value).unwrap();
            if m % 10 == 0 {
                batch.put(&small, key, &value).unwrap();
            }
        }
        batch.commit_with(Durability::Buffered).unwrap();
    }
    // What the rest takes alone, in its smallest shape.
    let (_other_guard, other_path) = temp();
    let other = Store::open(&other_path).unwrap();
    let alone = other.database("small").unwrap();
    for entry in small.iter() {
        let (key, value) = entry.unwrap();
        alone.put_with(key, value, Durability::Memory).unwrap();
    }
    other.compact().unwrap();
    other.close().unwrap();
    let rest = disk_usage(&other_path);

    store.drop_database("big").unwrap();
    let start = Instant::now();
    let mut usage = disk_usage(&path);
    while usage > rest * 110 / 100 && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
        usage = disk_usage(&path);
    }
    if usage > rest * 110 / 100 {
        for name in names(&path) {
            println!("{name} {}", fs::metadata(path.join(&name)).unwrap().len());
        }
        println!("{:?}", store.stats());
    }
    println!("{usage} bytes for {rest} bytes of rest after {:?}", start.elapsed());
    assert!(usage <= rest * 110 / 100, "{usage} bytes on disk for a rest of {rest}");
    assert_eq!(keys(&small).len(), 2_000);
}

#[test]
fn an_empty_store_and_a_thousand_small_opens_stay_small() {
    let (_guard, path) = temp();
    Store::open(&path).unwrap().close().unwrap();
    assert!(disk_usage(&path) <= 256 << 10, "{} bytes when empty", disk_usage(&path));
    for n in 0..1_000_u32 {
        let store = Store::open(&path).unwrap();
        store.database("d").unwrap().put(n.to_be_bytes(), "value").unwrap();
        store.close().unwrap();
    }
    let files = names(&path);
    assert!(files.len() < 30, "{} files: {files:?}", files.len());
    let store = Store::open(&path).unwrap();
    assert_eq!(keys(&store.database("d").unwrap()).len(), 1_000);
}

#[test]
fn values_outlive_their_store() {
    let (_guard, path) = temp();
    let store = Store::open(&path).unwrap();
    let database = store.database("d").unwrap();
    database.put("large", vec![5; 10_000]).unwrap();
    let from_memory = database.get("large").unwrap().unwrap();
    store.flush().unwrap();
    let from_table = database.get("large").unwrap().unwrap();
    drop(database);
    store.close().unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(from_memory, vec![5; 10_000]);
    assert_eq!(from_table, vec![5; 10_000]);
    fn is_shareable<T: Send + Sync + 'static>(_: &T) {}
    is_shareable(&from_table);
}

#[test]
fn a_snapshot_keeps_what_compactions_would_drop() {
    let store = Store::builder().memtable_size(16 << 10).in_memory().unwrap();
    let database = store.database("d").unwrap();
    for n in 0..300_u32 {
        database.put(n.to_be_bytes(), [1; 100]).unwrap();
    }
    let snapshot = Arc::new(store.snapshot());
    for n in 0..300_u32 {
        if n % 2 == 0 {
            database.put(n.to_be_bytes(), [2; 100]).unwrap();
        } else {
            database.delete(n.to_be_bytes()).unwrap();
        }
    }
    store.compact().unwrap();
    assert!(snapshot.iter(&database).all(|entry| entry.unwrap().1 == [1; 100]));
    assert_eq!(snapshot.iter(&database).count(), 300);
    assert_eq!(database.iter().count(), 150);
    drop(snapshot);
    store.compact().unwrap();
    assert_eq!(database.iter().count(), 150);
}

#[test]
fn what_is_left_to_do_and_what_writers_wait_for_is_told() {
    let (_dir, path) = temp();
    let small = Store::builder().memtable_size(32 << 10).table_size(32 << 10);
    let store = small.level_base(64 << 10).background(Background::Manual).open(&path).unwrap();
    let database = store.database("d").unwrap();
    assert_eq!((store.stats().compaction_debt, store.stats().write_stalls), (0, 0));
    let (mut most, mut n) = (0, 0_u32);
    while store.stats().write_stalls == 0 {
        let key = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
        database.put_with(key, [7; 100], Durability::Buffered).unwrap();
        most = most.max(store.stats().compaction_debt);
        n += 1;
    }
    let waited = store.stats().write_stall_time;
    assert!(waited > Duration::ZERO, "a writer did the work itself");
    while store.stats().compactions == 0 {
        database.put_with([1; 4], [7; 20_000], Durability::Buffered).unwrap();
        most = most.max(store.stats().compaction_debt);
    }
    assert!(most >= 64 << 10, "level 0 was to be merged: {most}");
    assert!(store.stats().write_stall_time > waited);
    store.settle().unwrap();
    assert_eq!(store.stats().compaction_debt, 0);
}

#[test]
fn a_settled_store_has_nothing_left_to_do() {
    for background in [Background::Thread, Background::Manual] {
        let (_dir, path) = temp();
        let small = Store::builder().memtable_size(32 << 10).table_size(32 << 10);
        let store = small.level_base(64 << 10).background(background).open(&path).unwrap();
        let database = store.database("d").unwrap();
        for n in 0..20_000_u32 {
            let key = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
            database.put_with(key, [7; 30], Durability::Buffered).unwrap();
        }
        store.settle().unwrap();
        let settled = store.stats();
        assert_eq!((settled.memtable_entries, settled.sealed_memtables), (0, 0));
        assert!(settled.levels.iter().any(|level| level.level > 0), "{settled:?}");
        assert_eq!(settled.compaction_debt, 0);
        std::thread::sleep(Duration::from_millis(30));
        store.settle().unwrap();
        assert_eq!(store.stats(), settled, "the second time there is nothing to do");
        assert_eq!(keys(&database).len(), 20_000);
        store.close().unwrap();
        let reader = Store::open_read_only(&path).unwrap();
        assert!(matches!(reader.settle(), Err(Error::ReadOnly)));
    }
}
