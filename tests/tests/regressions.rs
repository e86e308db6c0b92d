//! Every bug that was found gets a test that failed before.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop::env::{Env, FaultKind, Keep, SimEnv};
use orlop::{Background, DatabaseOptions, Durability, Error, Progress, Store};
use orlop_tests::watched::WatchedEnv;

fn open(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(256 << 10)
        .open("/s")
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    (dir, path)
}

/// A segment's sync was skipped because its batches were durable in an sstable; but recovery
/// reads the segment to its end, since a later memtable's batches begin in it.
#[test]
fn a_segment_is_synced_for_its_own_sake() {
    let open = |env: &SimEnv| {
        let builder = Store::builder().env(Arc::new(env.clone())).memtable_size(100 << 10);
        builder.background(Background::Manual).open("/s")
    };
    for (synced, close) in [(1, false), (2, false), (0, true)] {
        let env = SimEnv::new(1);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        // Fill a memtable over two segments; the next group seals it and begins a third.
        for n in 0..10_u8 {
            database.put_with([n], vec![n; 10 << 10], Durability::Buffered).unwrap();
        }
        database.put_with("large", vec![1; 300 << 10], Durability::Buffered).unwrap();
        store.step().unwrap();
        for n in 0..synced {
            database.put(format!("synced {n}"), "v").unwrap();
        }
        if close {
            store.close().unwrap();
        } else {
            std::mem::forget(store);
        }
        let store = open(&env.crash(Keep::Nothing)).unwrap();
        let database = store.database("d").unwrap();
        assert_eq!(database.prefix("synced").count(), synced);
        assert!(database.contains([0]).unwrap());
        assert!(database.contains("large").unwrap());
    }
}

/// Replay knew only the ids that the catalog kept, and gave the others out again.
#[test]
fn the_id_of_a_database_born_and_dropped_in_one_batch_is_never_used_again() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let ghost = store.database("x").unwrap();
    let mut batch = store.batch();
    batch.put(&ghost, "k", "ghost").unwrap();
    batch.drop_database("x").unwrap();
    batch.commit().unwrap();
    std::mem::forget(store);
    let store = open(&env.kill()).unwrap();
    let other = store.database("y").unwrap();
    other.put("a", "b").unwrap();
    let keys: Vec<Vec<u8>> = other.iter().map(|entry| entry.unwrap().0).collect();
    assert_eq!(keys, [b"a".to_vec()]);
}

/// With a background that could not go on, writers and `close` waited for ever.
#[test]
fn a_background_that_cannot_go_on_is_told_to_writers() {
    let (_guard, path) = temp();
    let store = Store::builder()
        .memtable_size(8 << 10)
        .table_size(8 << 10)
        .durability(Durability::Memory)
        .open(&path)
        .unwrap();
    let database = store.database("d").unwrap();
    database.put("a", vec![0; 9 << 10]).unwrap();
    store.flush().unwrap();
    // Rot under a table that the next compaction reads.
    let table = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&table, bytes).unwrap();
    let start = Instant::now();
    let mut outcome = Ok(());
    while outcome.is_ok() && start.elapsed() < Duration::from_secs(20) {
        outcome = database.put("a", vec![1; 9 << 10]);
    }
    assert!(matches!(outcome, Err(Error::Corrupt { .. })), "{outcome:?}");
    assert!(store.stats().background_error.is_some());
    drop(database);
    let _ = store.close();
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// Handles looked names up in the catalog of now, also for a snapshot of then.
#[test]
fn a_snapshot_resolves_names_as_of_its_commit() {
    let store = Store::in_memory().unwrap();
    store.database("x").unwrap().put("k", "old").unwrap();
    let snapshot = store.snapshot();
    store.drop_database("x").unwrap();
    let fresh = store.database("x").unwrap();
    assert_eq!(snapshot.get(&fresh, "k").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(fresh.get("k").unwrap(), None);
    fresh.put("k", "new").unwrap();
    assert_eq!(snapshot.get(&fresh, "k").unwrap().as_deref(), Some(&b"old"[..]));
    store.rename_database("x", "y").unwrap();
    let renamed = store.database("y").unwrap();
    assert_eq!(snapshot.get(&renamed, "k").unwrap(), None);
    assert_eq!(renamed.get("k").unwrap().as_deref(), Some(&b"new"[..]));
}

/// A drop whose commit failed had already taken the name away from new handles.
#[test]
fn a_drop_is_seen_only_once_it_is_acknowledged() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    store.database("x").unwrap().put("k", "v").unwrap();
    env.fail_at(env.operations() + 2, FaultKind::Io);
    assert!(store.drop_database("x").is_err());
    assert_eq!(store.databases().unwrap(), ["x"]);
    let fresh = store.database("x").unwrap();
    assert_eq!(fresh.get("k").unwrap().as_deref(), Some(&b"v"[..]));
}

/// A handle that had only written stayed a bare name, and created the database again.
#[test]
fn a_handle_that_created_its_database_sees_the_drop() {
    let store = Store::in_memory().unwrap();
    let (one, two) = (store.database("x").unwrap(), store.database("x").unwrap());
    one.put("k", "v").unwrap();
    let mut batch = store.batch();
    batch.put(&two, "l", "v").unwrap();
    batch.commit().unwrap();
    store.drop_database("x").unwrap();
    for handle in [one, two] {
        assert!(matches!(handle.put("k", "v"), Err(Error::DatabaseDropped { .. })));
        assert!(matches!(handle.get("k"), Err(Error::DatabaseDropped { .. })));
    }
    assert!(store.databases().unwrap().is_empty());
}

/// A reader could see a database cleared by a batch and not yet what the same batch had put.
#[test]
fn a_batch_that_clears_and_writes_is_seen_whole() {
    let store =
        Store::builder().memtable_size(4 << 10).durability(Durability::Memory).in_memory().unwrap();
    let database = store.database("d").unwrap();
    database.put("k", "0").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for scan in [false, true] {
            let (database, done) = (&database, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let there = if scan {
                        database.iter().next().is_some_and(|entry| entry.is_ok())
                    } else {
                        database.contains("k").unwrap()
                    };
                    assert!(there, "half a batch was seen, scan: {scan}");
                }
            });
        }
        for n in 0..6_000_u32 {
            let mut batch = store.batch();
            batch.clear(&database).unwrap();
            batch.put(&database, "k", n.to_be_bytes()).unwrap();
            batch.commit().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A segment whose creation failed after its prologue was written broke the chain of the log.
#[test]
fn a_failed_segment_creation_poisons() {
    for at in 1..=3 {
        let env = SimEnv::new(1);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        database.put("k", "v").unwrap();
        // A flush ends the segment; the next one: create, submit, reap, sync-dir.
        store.flush().unwrap();
        env.fail_at(env.operations() + 1 + at, FaultKind::Io);
        assert!(database.put("l", "v").is_err());
        assert!(store.stats().poisoned.is_some(), "failure {at} of a creation");
        assert!(matches!(database.put("m", "v"), Err(Error::Poisoned { .. })));
        std::mem::forget(store);
        for keep in (0..40).map(Keep::Random) {
            let store = open(&env.crash(keep)).unwrap();
            assert!(store.database("d").unwrap().contains("k").unwrap());
        }
    }
}

/// A full disk met by the background's own sync poisoned the store. That sync needs no more room.
#[test]
fn a_full_disk_in_the_background_is_not_poison() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("x").unwrap();
    database.put_with("k", "v", Durability::Memory).unwrap();
    let mut batch = store.batch();
    batch.drop_database("x").unwrap();
    batch.commit_with(Durability::Memory).unwrap();
    env.set_full(true);
    assert!((0..100).all(|_| store.step().is_ok()));
    assert!(store.stats().durable_seqno > 0);
    assert_eq!(store.stats().poisoned, None);
    env.set_full(false);
    store.database("y").unwrap().put("k", "v").unwrap();
}

/// Steps of several threads ran into each other.
#[test]
fn manual_steps_of_several_threads_take_turns() {
    let env = SimEnv::new(1);
    let store = Store::builder()
        .env(Arc::new(env))
        .background(Background::Manual)
        .memtable_size(4 << 10)
        .table_size(4 << 10)
        .level_base(8 << 10)
        .durability(Durability::Buffered)
        .open("/s")
        .unwrap();
    let database = store.database("d").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u32 {
            let (store, database) = (&store, &database);
            scope.spawn(move || {
                for n in 0..400_u32 {
                    database.put((n * 3 + thread).to_be_bytes(), [1; 60]).unwrap();
                    if n % 7 == 0 {
                        store.step().unwrap();
                    }
                    if n % 97 == 0 {
                        store.flush().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(database.iter().count(), 1_200);
}

/// Numbers near the end of 64 bits overflowed.
#[test]
fn hostile_numbers_are_refused_or_ignored() {
    let (_guard, path) = temp();
    Store::open(&path).unwrap().close().unwrap();
    for name in ["18446744073709551615.log", "18446744073709551614.sst"] {
        fs::write(path.join(name), "").unwrap();
        Store::open(&path).unwrap().close().unwrap();
        fs::remove_file(path.join(name)).unwrap();
    }
    for first in [u64::MAX, u64::MAX - 1, 1 << 60] {
        hostile_segment(&path, first);
        let opened = panic::catch_unwind(AssertUnwindSafe(|| {
            let store = Store::open(&path)?;
            store.database("d")?.put("a", "b")
        }));
        assert!(matches!(opened, Ok(Err(Error::Corrupt { .. }))), "{first}: {opened:?}");
        fs::remove_file(path.join("000077.log")).unwrap();
    }
}

/// A segment whose first sequence number is `first`, every checksum right.
fn hostile_segment(path: &Path, first: u64) {
    use orlop_formats::file_header::{FileHeader, FileKind};
    use orlop_formats::ids::FileId;
    use orlop_formats::log::SegmentHeader;
    let bytes = fs::read(path.join("SUPER")).unwrap();
    let store = orlop_formats::superblock::decode_file(&bytes).unwrap().newest.store;
    let id = FileId([9; 16]);
    let mut bytes = FileHeader { kind: FileKind::Log, store, number: 77, id }.encode().to_vec();
    let header = SegmentHeader { predecessor: 0, predecessor_end: 0, first_seqno: first };
    bytes.extend_from_slice(&header.encode(&id));
    bytes.resize(8_192, 0);
    fs::write(path.join("000077.log"), bytes).unwrap();
}

/// What a cursor had kept was removed when the cursor went, though the directory was another open's by then.
#[test]
fn a_cursor_that_outlives_the_store_touches_no_file() {
    let env = SimEnv::new(1);
    let tables = || {
        let entries = env.list(Path::new("/s")).unwrap().into_iter();
        entries.filter(|entry| entry.name.ends_with(".sst")).count()
    };
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    let mut cursors = Vec::new();
    for n in 0..3_u32 {
        database.put(n.to_be_bytes(), "v").unwrap();
        store.flush().unwrap();
        cursors.push(database.cursor().unwrap());
    }
    store.compact().unwrap();
    drop(database);
    store.close().unwrap();
    assert_eq!(tables(), 4);
    let operations = env.trace().len();
    drop(cursors);
    assert_eq!(env.trace().len(), operations);
    open(&env).unwrap().close().unwrap();
    assert_eq!(tables(), 1);
}

/// A cursor that had come into a block from behind gave keys without what all keys of the block share.
#[test]
fn keys_of_a_shared_head_and_eight_bytes_are_whole_in_both_directions() {
    let store = open(&SimEnv::new(1)).unwrap();
    let database = store.database("d").unwrap();
    let mut keys: Vec<Vec<u8>> = (0..5_000_u64)
        .map(|n| {
            [b"user:".as_slice(), &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()].concat()
        })
        .collect();
    keys.iter().for_each(|key| database.put(key, "v").unwrap());
    keys.sort();
    store.flush().unwrap();
    for (at, key) in keys.iter().enumerate().skip(1).step_by(7) {
        let before = database.range(..key.clone()).next_back().unwrap().unwrap().0;
        assert_eq!(before, keys[at - 1]);
        let mut cursor = database.cursor().unwrap();
        cursor.seek(key).unwrap();
        assert_eq!(cursor.prev().unwrap().unwrap().0, keys[at - 1]);
        assert_eq!(cursor.next().unwrap().unwrap().0, keys[at - 1]);
        assert_eq!(cursor.next().unwrap().unwrap().0, *key);
        assert_eq!(cursor.prev().unwrap().unwrap().0, *key);
    }
}

/// A segment that had got no commit ended while the sync of its prologue was on its way. Nobody waited for that,
/// and a synced commit in the next one was acknowledged, which names it.
#[test]
fn an_empty_segment_is_on_the_device_before_the_next_one_counts() {
    for large in [100 << 10, 61 << 10] {
        let env = SimEnv::new(1);
        let open = |env: &SimEnv| {
            let builder = Store::builder().env(Arc::new(env.clone())).memtable_size(1 << 20);
            builder.background(Background::Manual).segment_size(64 << 10).open("/s")
        };
        let store = open(&env).unwrap();
        let (database, gone) = (store.database("a").unwrap(), store.database("x").unwrap());
        gone.put_with("k", "v", Durability::Synced).unwrap();
        store.drop_database("x").unwrap();
        store.sync().unwrap();
        for n in 0..27_u32 {
            let value = vec![n as u8 | 1; 3_900];
            database.put_with(n.to_be_bytes(), value, Durability::Buffered).unwrap();
            store.step().unwrap();
            store.step().unwrap();
        }
        gone.put_with("z", vec![7; 14 << 10], Durability::Buffered).unwrap_err();
        database.put_with("large", vec![9; large], Durability::Synced).unwrap();
        let after = open(&env.crash(Keep::Nothing)).unwrap();
        assert!(after.database("a").unwrap().get("large").unwrap().is_some());
    }
}

/// Dropping a database took no part in the durability of its batch.
#[test]
fn a_drop_is_as_durable_as_the_store() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    store.database("x").unwrap().put("k", "v").unwrap();
    let options =
        DatabaseOptions { durability: Some(Durability::Memory), ..DatabaseOptions::default() };
    let careless = store.create_database("careless", options).unwrap();
    let mut batch = store.batch();
    batch.put(&careless, "k", "v").unwrap();
    batch.drop_database("x").unwrap();
    batch.commit().unwrap();
    std::mem::forget(store);
    let store = open(&env.crash(Keep::Nothing)).unwrap();
    assert_eq!(store.databases().unwrap(), ["careless"]);
}

/// Only plain files were looked at when an open asked whether the directory is vacant.
#[test]
fn a_directory_of_other_directories_is_not_taken_for_a_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("photos")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The last edit had no witness: damage to it passed for a torn write, and the tables that it named
/// for litter.
#[test]
fn damage_to_any_edit_is_told_or_harmless() {
    for shape in 0..3 {
        let (guard, path) = temp();
        for round in 0..3_u32 {
            let store = Store::open(&path).unwrap();
            let database = store.database("d").unwrap();
            for n in 0..40_u32 {
                database
                    .put_with((round * 100 + n).to_be_bytes(), [7; 100], Durability::Buffered)
                    .unwrap();
            }
            match shape {
                0 => store.flush().unwrap(),
                1 => store.compact().unwrap(),
                _ => {}
            }
            store.close().unwrap();
        }
        let manifest = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "manifest"))
            .unwrap();
        let good = fs::read(&manifest).unwrap();
        let copy = guard.path().join("copy");
        let mut told = 0;
        for at in (0..good.len()).filter(|at| good[*at] != 0) {
            copy_dir(&path, &copy);
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(copy.join(manifest.file_name().unwrap()), bad).unwrap();
            for read_only in [true, false] {
                let opened =
                    if read_only { Store::open_read_only(&copy) } else { Store::open(&copy) };
                match opened {
                    Err(_) => told += 1,
                    Ok(store) => {
                        let found = store.database("d").unwrap().iter().count();
                        assert_eq!(found, 120, "shape {shape}, byte {at} of the manifest");
                    }
                }
            }
        }
        assert!(told > 200, "shape {shape}: only {told} were told");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A compaction that only the close wanted failed for want of space, and took the last sync of
/// the log with it.
#[test]
fn a_close_on_a_full_disk_still_ends_the_log() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..4_u8 {
        database.put_with([n], [n; 50], Durability::Memory).unwrap();
        store.flush().unwrap();
    }
    database.put_with("last", "v", Durability::Buffered).unwrap();
    drop(database);
    // The close wants to compact four runs: its first table cannot be created.
    env.fail_at(env.operations() + 1, FaultKind::StorageFull);
    store.close().unwrap();
    let store = open(&env.crash(Keep::Nothing)).unwrap();
    assert!(store.database("d").unwrap().contains("last").unwrap());
}

/// Background work of a store that was closed went on in the files of whoever had opened it since.
#[test]
fn a_closed_store_does_no_background_work() {
    let env = SimEnv::new(1);
    let first = open(&env).unwrap();
    let database = first.database("d").unwrap();
    for n in 0..4_u8 {
        database.put_with([n], [n; 50], Durability::Synced).unwrap();
        first.flush().unwrap();
    }
    // What the close would merge stays as it is, for want of space.
    env.fail_at(env.operations() + 1, FaultKind::StorageFull);
    first.clone().close().unwrap();
    let second = open(&env).unwrap();
    let before = env.operations();
    let done = first.step();
    assert!(matches!(done, Err(Error::Closed)), "{done:?}");
    assert_eq!(env.operations(), before, "nothing was touched");
    second.database("d").unwrap().put_with("k", "v", Durability::Synced).unwrap();
    let third = open(&env.crash(Keep::Nothing)).unwrap();
    assert_eq!(third.database("d").unwrap().iter().count(), 5);
}

/// Garbage in the free space behind an ended segment was taken for a torn tail of the log.
#[test]
fn garbage_behind_an_ended_segment_is_nothing() {
    use orlop::env::Env;
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..90_u8 {
        database.put_with([n], vec![n; 1_000], Durability::Buffered).unwrap();
    }
    std::mem::forget(store);
    let image = env.kill();
    let logs: Vec<_> = image.list(Path::new("/s")).unwrap();
    let logs: Vec<_> = logs.into_iter().filter(|entry| entry.name.ends_with(".log")).collect();
    assert!(logs.len() > 1, "{logs:?}");
    let first = Path::new("/s").join(&logs[0].name);
    let bytes = image.read(&first).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    image.open_write(&first).unwrap().write_at(end + 70, b"garbage").unwrap();
    let store = open(&image).unwrap();
    assert_eq!(store.database("d").unwrap().iter().count(), 90);
}

/// What a later version may have written is refused, and not taken for something else.
#[test]
fn entries_of_a_later_version_are_refused() {
    use orlop_formats::batch::{self, Op};
    use orlop_formats::file_header::{FileHeader, FileKind};
    use orlop_formats::frame::{self, Fields, FrameKind};
    use orlop_formats::ids::{DatabaseId, FileId, Kind};
    use orlop_formats::log::{self, SegmentHeader};
    let (_guard, path) = temp();
    Store::open(&path).unwrap().close().unwrap();
    let superblock = fs::read(path.join("SUPER")).unwrap();
    let store = orlop_formats::superblock::decode_file(&superblock).unwrap().newest.store;
    let id = FileId([9; 16]);
    let later = [
        (16, Kind::PutBlob, None),
        (16, Kind::Merge, None),
        (16, Kind::Merge, Some(5)),
        (16, Kind::Delete, Some(5)),
        (0, Kind::Put, Some(5)),
    ];
    for (database, kind, expiry) in later {
        let header = FileHeader { kind: FileKind::Log, store, number: 77, id };
        let mut bytes = header.encode().to_vec();
        let header = SegmentHeader { predecessor: 0, predecessor_end: 0, first_seqno: 1 };
        bytes.extend_from_slice(&header.encode(&id));
        let mut group = Vec::new();
        frame::begin(&mut group);
        let start = batch::begin(&mut group);
        let value = if kind == Kind::Delete { &b""[..] } else { b"v" };
        let op = Op { kind, database: DatabaseId(database), key: b"k", value, expiry };
        batch::push(&mut group, &op);
        batch::finish(&mut group, start, 1);
        let fields = Fields {
            kind: FrameKind::Group,
            count: 1,
            first: 1,
            synced: 0,
            offset: log::PROLOGUE_LEN,
            previous_end: log::PROLOGUE_LEN,
        };
        frame::finish(&mut group, 0, &id, &fields);
        bytes.extend_from_slice(&group);
        fs::write(path.join("000077.log"), &bytes).unwrap();
        let opened = Store::open(&path).map(|_| ());
        assert!(matches!(opened, Err(Error::TooNew { .. })), "{kind:?}: {opened:?}");
    }
}

/// A manifest that was cut short was just an older manifest.
#[test]
fn a_closed_store_misses_every_byte_that_is_cut_off() {
    let (guard, path) = temp();
    let store = Store::open(&path).unwrap();
    for round in 0..3_u32 {
        store.database("d").unwrap().put(round.to_be_bytes(), "v").unwrap();
        store.flush().unwrap();
    }
    store.database("d").unwrap().put("last", "v").unwrap();
    store.close().unwrap();
    let copy = guard.path().join("copy");
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in files.iter().filter(|file| !file.ends_with("LOCK")) {
        let bytes = fs::read(file).unwrap();
        let name = file.file_name().unwrap();
        let steps = (0..bytes.len()).step_by(61);
        for len in steps.chain([bytes.len() / 2, bytes.len() - 1]) {
            copy_dir(&path, &copy);
            fs::write(copy.join(name), &bytes[..len]).unwrap();
            for read_only in [true, false] {
                let opened =
                    if read_only { Store::open_read_only(&copy) } else { Store::open(&copy) };
                assert!(opened.is_err(), "{name:?} cut to {len}, read-only {read_only}");
            }
        }
    }
}

/// A refused open had written its process id into LOCK.
#[test]
fn a_refused_open_changes_no_byte() {
    let (guard, path) = temp();
    let store = Store::open(&path).unwrap();
    store.database("d").unwrap().put("k", "v").unwrap();
    store.close().unwrap();
    fs::write(path.join("LOCK"), "pid 1\n").unwrap();
    let mut superblock = fs::read(path.join("SUPER")).unwrap();
    superblock[8] = 99;
    fs::write(path.join("SUPER"), superblock).unwrap();
    let copy = guard.path().join("copy");
    copy_dir(&path, &copy);
    assert!(matches!(Store::open(&path), Err(Error::TooNew { .. })));
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        let before = fs::read(copy.join(entry.file_name())).unwrap();
        assert_eq!(fs::read(entry.path()).unwrap(), before, "{:?}", entry.file_name());
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), fs::read_dir(&copy).unwrap().count());
}

/// A commit inside a drop of an unwinding thread was taken for a panic of the engine's own.
#[test]
fn a_commit_while_unwinding_is_a_commit() {
    struct PutsWhenDropped(orlop::Database);
    impl Drop for PutsWhenDropped {
        fn drop(&mut self) {
            self.0.put("farewell", "v").unwrap();
        }
    }
    let store = Store::in_memory().unwrap();
    let database = store.database("d").unwrap();
    let guard = PutsWhenDropped(database.clone());
    let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
        let _guard = guard;
        panic::resume_unwind(Box::new("a caller's own panic"));
    }));
    assert!(unwound.is_err());
    assert_eq!(store.stats().poisoned, None);
    database.put("k", "v").unwrap();
    assert!(database.contains("farewell").unwrap());
}

/// A full disk that the write or the sync of the log met was told as `DiskFull`, which promises
/// that nothing of the commit has happened; yet it could be there after a restart.
#[test]
fn a_commit_that_a_full_disk_leaves_in_doubt_is_not_called_refused() {
    for (at, durability) in
        (1..=8).flat_map(|at| [(at, Durability::Buffered), (at, Durability::Synced)])
    {
        for rotates in [false, true] {
            let env = SimEnv::new(1);
            let store = open(&env).unwrap();
            let database = store.database("d").unwrap();
            database.put("k", "v").unwrap();
            env.fail_at(env.operations() + at, FaultKind::StorageFull);
            let value = vec![1; if rotates { 60 << 10 } else { 1 }];
            let done = database.put_with("l", value, durability);
            let poisoned = store.stats().poisoned.is_some();
            std::mem::forget(store);
            let there = open(&env.kill()).unwrap().database("d").unwrap().contains("l").unwrap();
            match done {
                Ok(()) => assert!(there && !poisoned),
                Err(Error::DiskFull { .. }) => assert!(!there && !poisoned, "operation {at}"),
                Err(Error::Io { .. }) => assert!(poisoned, "operation {at}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// The files of a store on a simulated disk, by name.
fn names(env: &SimEnv, kind: &str) -> Vec<PathBuf> {
    let entries = env.list(Path::new("/s")).unwrap().into_iter();
    let names = entries.map(|entry| entry.name).filter(|name| name.ends_with(kind));
    names.map(|name| Path::new("/s").join(name)).collect()
}

/// Behind a flush the log is empty, and nothing missed the edits that said so: a manifest cut short was
/// an older store, and the tables with synced commits were removed as orphans.
#[test]
fn a_manifest_that_is_cut_behind_a_flush_is_missed() {
    for reopens in [false, true] {
        let env = SimEnv::new(1);
        let mut store = open(&env).unwrap();
        for round in 0..3_u8 {
            store.database("d").unwrap().put([round], "synced").unwrap();
            store.flush().unwrap();
            if reopens {
                store.close().unwrap();
                store = open(&env).unwrap();
            }
        }
        std::mem::forget(store);
        let killed = env.kill();
        let whole = open(&killed.kill()).unwrap().database("d").unwrap().iter().count();
        assert_eq!(whole, 3);
        let manifest = names(&killed, ".manifest").pop().unwrap();
        let bytes = killed.read(&manifest).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for len in (0..=used as u64).rev().step_by(40) {
            let image = killed.kill();
            image.open_write(&manifest).unwrap().set_len(len).unwrap();
            match open(&image) {
                Ok(store) => {
                    let found = store.database("d").unwrap().iter().count();
                    assert_eq!(found, 3, "the manifest was cut at {len} of {used} bytes");
                }
                Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
            }
        }
    }
}

/// A killed process had its first prologue in flight: it landed in a segment that the next open had
/// taken for never begun, and the open after that found a chain that did not hold.
#[test]
fn a_prologue_that_lands_late_harms_nothing() {
    for landing in 0..60 {
        let env = SimEnv::new(1);
        let store = open(&env).unwrap();
        store.database("d").unwrap().put("first", "v").unwrap();
        store.close().unwrap();
        let store = open(&env).unwrap();
        // create, submit of the prologue
        env.cut_after(env.operations() + 2);
        assert!(store.database("d").unwrap().put("second", "v").is_err());
        assert!(env.in_flight() > 0);
        std::mem::forget(store);
        let next = env.kill_late(landing);
        for name in ["third", "fourth", "fifth"] {
            let store = open(&next).unwrap();
            store.database("d").unwrap().put(name, "v").unwrap();
            let database = store.database("d").unwrap();
            assert!(database.contains("first").unwrap() && database.contains(name).unwrap());
            drop(database);
            store.close().unwrap();
        }
    }
}

/// A batch that did not fit onto the disk made every later segment as large as its own.
#[test]
fn a_refused_large_batch_leaves_small_ones_alone() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    database.put("k", "v").unwrap();
    let sizes = || names(&env, ".log").iter().map(|path| env.disk_usage(path).unwrap()).max();
    let before = sizes().unwrap();
    env.set_full(true);
    let refused = database.put("large", vec![0; 12 << 20]);
    assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    env.set_full(false);
    for n in 0..40_u8 {
        database.put([n], vec![n; 4 << 10]).unwrap();
    }
    assert!(sizes().unwrap() <= 16 * before, "{:?} after {before}", sizes());
}

/// The close of a store that a panic had poisoned was Ok, although commits had gone with the log.
#[test]
fn the_close_of_a_store_that_a_panic_poisoned_is_an_error() {
    let armed = Arc::new(AtomicBool::new(false));
    let store = watched(&armed, "submit", "");
    let database = store.database("d").unwrap();
    database.put_with("k", "v", Durability::Memory).unwrap();
    armed.store(true, Ordering::Relaxed);
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| database.put("l", "v")));
    assert!(panicked.is_err());
    armed.store(false, Ordering::Relaxed);
    drop(database);
    let closed = store.close();
    assert!(matches!(closed, Err(Error::Poisoned { .. })), "{closed:?}");
}

/// A store on a disk that panics, once armed, at a call of this name on threads of this name.
fn watched(armed: &Arc<AtomicBool>, verb: &'static str, thread: &'static str) -> Store {
    let armed = Arc::clone(armed);
    let watch = Arc::new(move |call: &'static str| {
        let here = std::thread::current();
        let on = thread.is_empty() || here.name() == Some(thread);
        assert!(!(armed.load(Ordering::Relaxed) && on && call == verb), "armed");
    });
    let env = Arc::new(WatchedEnv { env: SimEnv::new(1), watch });
    let background = if thread.is_empty() { Background::Manual } else { Background::Thread };
    Store::builder().env(env).background(background).memtable_size(16 << 10).open("/s").unwrap()
}

/// A panic of the background left writers waiting for room for ever.
#[test]
fn a_panic_of_the_background_is_told_to_writers() {
    let armed = Arc::new(AtomicBool::new(true));
    let store = watched(&armed, "create", "orlop-background");
    let database = store.database("d").unwrap();
    let start = Instant::now();
    let mut outcome = Ok(());
    while outcome.is_ok() && start.elapsed() < Duration::from_secs(20) {
        outcome = database.put_with("k", vec![0; 4 << 10], Durability::Memory);
    }
    assert!(matches!(outcome, Err(Error::Poisoned { .. })), "{outcome:?}");
}

/// A file that claims to be a hundred gigabytes long was read into memory.
#[test]
fn a_file_longer_than_its_kind_can_be_is_not_read() {
    let long = |path: &Path| {
        let file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.set_len(100 << 30)
    };
    let (_guard, path) = temp();
    Store::open(&path).unwrap().close().unwrap();
    // Where the file system has no such files, there is nothing to see.
    if long(&path.join("LOCK")).is_err() {
        return;
    }
    Store::open(&path).unwrap().close().unwrap();
    long(&path.join("000099.log")).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
    fs::remove_file(path.join("000099.log")).unwrap();
    let manifest = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|p| p.extension().is_some_and(|e| e == "manifest"));
    long(&manifest.unwrap()).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
    long(&path.join("SUPER")).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Corrupt { .. })));
}

/// A lock on a file that had lost its name was a lock of nothing.
#[test]
fn a_lock_belongs_to_its_name() {
    use orlop::env::PosixEnv;
    let (_guard, path) = temp();
    fs::create_dir(&path).unwrap();
    let (env, lock) = (PosixEnv::new(), path.join("LOCK"));
    let holder = env.lock(&lock).unwrap();
    // Somebody waits with the file open; its name goes, and comes back for another file.
    let ghost = fs::File::open(&lock).unwrap();
    fs::remove_file(&lock).unwrap();
    let other = env.lock(&lock).unwrap();
    drop(holder);
    assert!(ghost.try_lock().is_ok(), "the old file is free");
    assert!(env.lock(&lock).is_err(), "the name is taken");
    drop(other);
    env.lock(&lock).unwrap();
}

/// A disk too full for the witness of an edit and for the slot in its place: the edit stood, and the
/// tables that it names were discarded as if it had never been written.
#[test]
fn an_edit_without_witness_and_slot_keeps_its_tables() {
    for at in 1..20 {
        let env = SimEnv::new(1);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        database.put("k", "v").unwrap();
        let next = env.operations() + at;
        env.fail_at(next, FaultKind::StorageFull);
        env.fail_at(next + 1, FaultKind::StorageFull);
        // What may be in effect is not what a full disk has refused.
        let full = matches!(store.flush(), Err(Error::DiskFull { .. }));
        assert!(!full || store.stats().poisoned.is_none(), "operation {at}");
        std::mem::forget(store);
        for left in [env.kill(), env.crash(Keep::Nothing)] {
            let store = open(&left).unwrap_or_else(|error| panic!("operation {at}: {error}"));
            assert!(store.database("d").unwrap().contains("k").unwrap(), "operation {at}");
        }
    }
}

/// A synced commit that only the log held was taken for a torn tail when its frame was lost, although an
/// edit had been written behind it.
#[test]
fn an_edit_says_how_far_commits_were_on_the_device() {
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..8_u8 {
        database.put([n], "v").unwrap();
        store.flush().unwrap();
    }
    database.put("last", "v").unwrap();
    assert_eq!(store.step().unwrap(), Progress::Compacted);
    std::mem::forget(store);
    let left = env.kill();
    let mut logs = left.list(Path::new("/s")).unwrap().into_iter().map(|entry| entry.name);
    let last = logs.rfind(|name| name.ends_with(".log")).unwrap();
    let mut file = left.open_write(&Path::new("/s").join(last)).unwrap();
    file.write_at(128, &[0; 8 << 10]).unwrap();
    for opened in [open(&left), Store::builder().env(Arc::new(left.clone())).open_read_only("/s")] {
        match opened {
            Err(Error::Corrupt { source, .. }) => assert!(source.expected.contains("was synced")),
            other => panic!("{other:?}"),
        }
    }
}

/// The edit of a recovery that flushes in several parts said of the log's tail that it was on the device,
/// when a killed process had left it in the page cache.
#[test]
fn a_recovery_does_not_vouch_for_the_page_cache() {
    let small = |env: &SimEnv| {
        let builder = Store::builder().env(Arc::new(env.clone())).memtable_size(4 << 10);
        builder.background(Background::Manual).open("/s")
    };
    let env = SimEnv::new(1);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    database.put("first", "v").unwrap();
    for n in 0..30_u8 {
        database.put_with([n], [n; 600], Durability::Buffered).unwrap();
    }
    std::mem::forget(store);
    for operation in 1.. {
        let left = env.kill();
        left.cut_after(operation);
        let whole = small(&left).map(std::mem::forget).is_ok();
        let store = open(&left.crash(Keep::Nothing)).unwrap_or_else(|error| {
            panic!("the power went after operation {operation} of the recovery: {error}")
        });
        assert!(store.database("d").unwrap().contains("first").unwrap());
        if whole {
            break;
        }
    }
}

/// The name of an empty directory that was there already could be lost after a sync of its parent had
/// failed and the next one had not.
#[test]
fn a_creation_whose_parent_was_not_synced_leaves_no_directory() {
    for at in 1..10 {
        let env = SimEnv::new(1);
        env.create_dir(Path::new("/s")).unwrap();
        env.fail_at(env.operations() + at, FaultKind::Io);
        drop(open(&env));
        let store = open(&env).unwrap();
        store.database("d").unwrap().put("k", "v").unwrap();
        let store = open(&env.crash(Keep::Nothing)).unwrap();
        assert!(store.database("d").unwrap().contains("k").unwrap(), "operation {at}");
    }
}

/// A directory that could not be opened to be synced, since no descriptor was left, poisoned the store: the
/// new segment had its prologue by then. Nothing had been written for the commit.
#[test]
fn a_segment_that_cannot_get_its_name_for_want_of_descriptors_harms_nothing() {
    let (mut refused, mut accepted) = (0, 0);
    for at in 1.. {
        let env = SimEnv::new(1);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        database.put("small", "v").unwrap();
        // It needs a segment of its own.
        let failing = env.operations() + at;
        env.fail_at(failing, FaultKind::TooManyFiles);
        match database.put("large", vec![1; 100 << 10]) {
            Ok(()) if env.operations() < failing => break,
            Ok(()) => accepted += 1,
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                refused += 1;
            }
        }
        assert_eq!(store.stats().poisoned, None, "operation {at}");
        database.put("small", "w").unwrap();
        database.put("large", vec![2; 100 << 10]).unwrap();
        let store = open(&env.crash(Keep::Nothing)).unwrap();
        let database = store.database("d").unwrap();
        assert_eq!(&*database.get("small").unwrap().unwrap(), b"w");
        assert_eq!(&*database.get("large").unwrap().unwrap(), &[2; 100 << 10][..]);
    }
    // The creation of the file, and the sync of its directory.
    assert_eq!(refused, 2);
    assert!(accepted > 3, "{accepted}");
}

/// The first segment of a store with tables is larger than the least. A drop took that for a log that is worth a
/// flush, and the next one began as large again.
#[test]
fn dropping_small_databases_does_not_flush_a_large_store_each_time() {
    let (_dir, path) = temp();
    let builder = Store::builder().background(Background::Manual).durability(Durability::Buffered);
    let store = builder.clone().open(&path).unwrap();
    let big = store.database("big").unwrap();
    for n in 0..20 * 16_u32 {
        let value: Vec<u8> =
            (0..64_u32 << 10).map(|at| ((at.wrapping_mul(at) >> 7) ^ (n * 31)) as u8).collect();
        big.put(n.to_be_bytes(), value).unwrap();
    }
    store.flush().unwrap();
    store.close().unwrap();
    let idle = |store: &Store| while store.step().unwrap() != Progress::Idle {};
    let store = builder.open(&path).unwrap();
    idle(&store);
    for n in 0..20_u32 {
        let small = store.database("small").unwrap();
        small.put(n.to_be_bytes(), b"x").unwrap();
        store.drop_database("small").unwrap();
        idle(&store);
    }
    // Of the large segments that there were.
    assert!(store.stats().flushes <= 2, "{} flushes", store.stats().flushes);
}
