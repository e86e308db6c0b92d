//! What readers find on a real file system: checks once and always, scrubs, compressed blocks and their cache, and what
//! a reader keeps.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orlop::{Background, Builder, Compression, Database, Durability, Error, Store, Verify};
use tempfile::TempDir;

fn temp() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.orlop");
    (dir, path)
}

fn builder() -> Builder {
    Store::builder().durability(Durability::Memory).background(Background::Manual)
}

fn key(at: usize) -> Vec<u8> {
    format!("{at:08}").into_bytes()
}

/// A value that a compressor finds something in, and that is like no other.
fn value(at: usize) -> Vec<u8> {
    format!("{at:08} is a value of {at:>60}, {}", at.wrapping_mul(0x9e37_79b9)).into_bytes()
}

fn fill(database: &Database, count: usize) {
    (0..count).for_each(|at| database.put(key(at), value(at)).unwrap());
}

/// The sstables of a store, in the order of their numbers.
fn tables(path: &Path) -> Vec<PathBuf> {
    let mut tables: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    tables.sort();
    tables
}

/// Turns one bit around.
fn spoil(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Where the value of an entry lies in a file that holds it plain.
fn place_of(path: &Path, at: usize) -> u64 {
    let (bytes, value) = (fs::read(path).unwrap(), value(at));
    bytes.windows(value.len()).position(|window| window == value).unwrap() as u64
}

fn is_corrupt<T: std::fmt::Debug>(result: orlop::Result<T>) {
    assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
}

#[test]
fn what_rots_after_it_was_read_is_told_by_verify_always_and_by_a_scrub() {
    for verify in [Verify::Once, Verify::Always] {
        let (_guard, path) = temp();
        let store = builder().verify(verify).compression(Compression::None).open(&path).unwrap();
        let database = store.database("d").unwrap();
        fill(&database, 2000);
        store.compact().unwrap();
        assert_eq!(store.scrub().unwrap().damaged, 0);
        assert_eq!(database.iter().count(), 2000);
        let table = tables(&path).pop().unwrap();
        spoil(&table, place_of(&table, 777));
        if verify == Verify::Always {
            is_corrupt(database.get(key(777)));
            is_corrupt(database.get_with(key(777), |_| ()));
            is_corrupt(database.multi_get(&[key(777)]));
            is_corrupt(database.iter().collect::<orlop::Result<Vec<_>>>());
        } else {
            // Nobody looks twice, but for the scrub, and then who comes next.
            assert!(database.get(key(777)).unwrap().is_some());
        }
        let found = store.scrub().unwrap();
        assert_eq!(found.damaged, 1);
        let sentence = &found.damage[0];
        let name = table.file_name().unwrap().to_str().unwrap();
        assert!(sentence.contains(name) && sentence.contains("data block"), "{sentence}");
        is_corrupt(database.get(key(777)));
        assert_eq!(database.get(key(1999)).unwrap().unwrap(), value(1999));
        let stats = store.stats().scrub;
        assert_eq!((stats.passes, stats.damaged, stats.damage), (2, 1, found.damage));
    }
}

#[test]
fn a_scrub_finds_a_turned_bit_in_every_part_of_a_table() {
    let (_guard, path) = temp();
    let store = builder().filter_bits(10).open(&path).unwrap();
    for name in ["one", "two"] {
        fill(&store.database(name).unwrap(), 3000);
    }
    store.compact().unwrap();
    store.settle().unwrap();
    assert!(store.scrub().unwrap().tables == tables(&path).len() as u64);
    let (mut tried, mut between) = (0, 0);
    for table in tables(&path) {
        let bytes = fs::read(&table).unwrap();
        for at in (0..bytes.len() as u64).step_by(701).chain([0, 63, bytes.len() as u64 - 1]) {
            spoil(&table, at);
            let found = store.scrub().unwrap();
            spoil(&table, at);
            assert!(found.damaged <= 1, "byte {at}: {found:?}");
            assert!(found.damaged == 1 || bytes[at as usize] == 0, "byte {at} is not noticed");
            (tried, between) = (tried + 1, between + u64::from(found.damaged == 0));
        }
    }
    // Nothing is said about zeros between blocks.
    assert!(between * 20 < tried, "{between} of {tried} are not noticed");
    let clean = store.scrub().unwrap();
    assert_eq!(clean.damaged, 0);
    let len: u64 = tables(&path).iter().map(|table| fs::metadata(table).unwrap().len()).sum();
    assert!(clean.bytes > len / 100 * 95, "{} of {len}", clean.bytes);
    // Read-only opens can do it, too.
    assert_eq!(Store::open_read_only(&path).unwrap().scrub().unwrap().damaged, 0);
}

#[test]
fn the_background_scrubs_at_its_rate_and_tells() {
    let (_guard, path) = temp();
    let begun = Instant::now();
    let store = Store::builder()
        .durability(Durability::Memory)
        .compression(Compression::None)
        .scrub_rate(4 << 20)
        .open(&path)
        .unwrap();
    let database = store.database("d").unwrap();
    fill(&database, 10_000);
    store.settle().unwrap();
    let table = tables(&path).pop().unwrap();
    spoil(&table, place_of(&table, 9_000));
    while store.stats().scrub.damaged == 0 || store.stats().scrub.passes == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", store.stats().scrub);
        std::thread::sleep(Duration::from_millis(10));
    }
    let (bytes, took) = (store.stats().scrub.bytes, begun.elapsed().as_secs_f64());
    // One piece may be paid for later.
    assert!(bytes as f64 <= took * (4 << 20) as f64 + 600e3, "{bytes} bytes in {took} s");
    is_corrupt(database.get(key(9_000)));
    assert!(store.stats().background_error.is_none());
    // A rate, and damage, that hold nobody up.
    database.put("more", "1").unwrap();
    store.settle().unwrap();
    store.close().unwrap();
}

/// A store whose values all lie in compressed blocks.
fn compressed(path: &Path, cache: u64, count: usize) -> Store {
    let builder = builder().memtable_size(64 << 10).level_base(16 << 10).cache_size(cache);
    let store = builder.open(path).unwrap();
    fill(&store.database("d").unwrap(), count);
    store.settle().unwrap();
    let stats = store.stats();
    assert!(stats.levels.iter().any(|level| level.level >= 2), "{stats:?}");
    store
}

#[test]
fn compressed_values_are_right_with_and_without_a_cache() {
    for cache in [0, 20 << 10, 64 << 20] {
        let (_guard, path) = temp();
        let store = compressed(&path, cache, 8000);
        let database = store.database("d").unwrap();
        for round in 0..3 {
            for at in (0..8000).step_by(7).chain(0..50) {
                assert_eq!(database.get(key(at)).unwrap().unwrap(), value(at));
                let lent = database.get_with(key(at), <[u8]>::to_vec).unwrap();
                assert_eq!(lent.unwrap(), value(at));
            }
            let mut cursor = database.cursor().unwrap();
            for from in (0..8000).step_by(997) {
                cursor.seek(key(from)).unwrap();
                for at in from..(from + 300).min(8000) {
                    let (found, at) = (cursor.next().unwrap().unwrap(), (key(at), value(at)));
                    assert_eq!(found, (&at.0[..], &at.1[..]), "round {round}");
                }
            }
            cursor.seek_last();
            for at in (7000..8000).rev() {
                assert_eq!(cursor.prev().unwrap().unwrap().1, value(at));
            }
        }
        let stats = store.stats();
        // Other tests of this process may keep what is put out for a while.
        assert!(stats.cache_bytes <= cache + (3 << 20), "{} of {cache}", stats.cache_bytes);
        let kept = database.multi_get(&[key(5), key(4000)]).unwrap();
        store.close().unwrap();
        drop(database);
        assert_eq!(kept[1].as_deref().unwrap(), value(4000), "values outlive the store");
    }
}

#[test]
fn what_is_in_the_cache_is_not_decompressed_again() {
    let (_guard, path) = temp();
    let store = compressed(&path, 64 << 20, 8000);
    let database = store.database("d").unwrap();
    let read = || (0..8000).for_each(|at| drop(database.get(key(at)).unwrap().unwrap()));
    read();
    let misses = store.stats().cache_misses;
    assert!(misses > 50);
    read();
    assert_eq!(store.stats().cache_misses, misses);
    assert_eq!(database.iter().count(), 8000);
    assert_eq!(store.stats().cache_misses, misses);
    // When its table goes, what was in the cache goes, too.
    database.put(key(0), "another").unwrap();
    store.compact().unwrap();
    let mut others = 0..1000;
    while store.stats().cache_bytes > 0 && others.next().is_some() {
        let _ = database.get("nothing").unwrap();
        store.step().unwrap();
        store.settle().unwrap();
    }
    assert_eq!(store.stats().cache_bytes, 0, "{:?}", store.stats());
}

#[test]
fn what_a_cursor_keeps_is_told() {
    let (_guard, path) = temp();
    let store = builder().compression(Compression::None).open(&path).unwrap();
    let database = store.database("d").unwrap();
    fill(&database, 1000);
    let mut in_memory = database.cursor().unwrap();
    store.flush().unwrap();
    let stats = store.stats();
    assert_eq!((stats.pinned_memtables, stats.pinned_tables), (1, 0));
    assert!(stats.pinned_memtable_bytes > 50_000);
    let mut in_tables = database.cursor().unwrap();
    fill(&database, 1000);
    store.compact().unwrap();
    let stats = store.stats();
    assert!(stats.pinned_tables >= 1 && stats.pinned_table_bytes > 50_000, "{stats:?}");
    for cursor in [&mut in_memory, &mut in_tables] {
        let mut count = 0;
        while cursor.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 1000);
    }
    drop((in_memory, in_tables));
    // Views are freed by epochs, which go on as somebody reads.
    let begun = Instant::now();
    loop {
        let stats = store.stats();
        if (stats.pinned_memtables, stats.pinned_tables, stats.pinned_table_bytes) == (0, 0, 0) {
            assert_eq!(stats.pinned_memtable_bytes, 0);
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{stats:?}");
        store.settle().unwrap();
    }
}

#[test]
fn short_scans_are_right_wherever_they_begin() {
    let (_guard, path) = temp();
    let store = builder().compression(Compression::None).open(&path).unwrap();
    let database = store.database("d").unwrap();
    fill(&database, 20_000);
    store.compact().unwrap();
    drop(database);
    store.close().unwrap();
    // A cursor that goes far, comes back, and goes on: what it asks for ahead is where it is.
    let store = builder().open(&path).unwrap();
    let database = store.database("d").unwrap();
    let mut cursor = database.cursor().unwrap();
    for (from, len) in [(19_000, 1000), (0, 5), (3, 500), (10_000, 9000), (500, 60), (0, 20_000)] {
        cursor.seek(key(from)).unwrap();
        for at in from..from + len {
            assert_eq!(cursor.next().unwrap().unwrap().0, key(at));
        }
    }
}

#[test]
fn a_scrub_goes_on_behind_an_index_that_nobody_can_read() {
    let (_guard, path) = temp();
    let store = builder().compression(Compression::None).open(&path).unwrap();
    for name in ["one", "two"] {
        fill(&store.database(name).unwrap(), 3000);
    }
    store.compact().unwrap();
    store.settle().unwrap();
    let [table] = &tables(&path)[..] else { panic!("one table") };
    // The index of the last database lies before the filter, where the footer says that this is.
    let bytes = fs::read(table).unwrap();
    let footer = &bytes[bytes.len() - 128..];
    let filter = u64::from_le_bytes(footer[16..24].try_into().unwrap());
    let (index, value) = (filter - 100, place_of(table, 700));
    store.close().unwrap();
    spoil(table, index);
    spoil(table, value);
    let store = builder().open(&path).unwrap();
    let found = store.scrub().unwrap();
    assert!(found.damaged >= 2, "{found:?}");
    let told = |what: &str| found.damage.iter().any(|sentence| sentence.contains(what));
    assert!(told("data block"), "{found:?}");
    assert_eq!(found.passes, 1);
}

#[test]
fn a_scrub_ends_when_its_store_is_closed() {
    let (_guard, path) = temp();
    let store = builder().open(&path).unwrap();
    fill(&store.database("d").unwrap(), 20_000);
    store.compact().unwrap();
    let other = store.clone();
    let scrubbing = std::thread::spawn(move || {
        loop {
            match other.scrub() {
                Ok(found) => assert_eq!(found.damaged, 0, "{found:?}"),
                Err(error) => return error,
            }
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    store.close().unwrap();
    assert!(matches!(scrubbing.join().unwrap(), Error::Closed));
}

#[test]
fn cached_blocks_are_right_beside_merges_that_take_their_tables() {
    let (_guard, path) = temp();
    let builder = Store::builder().durability(Durability::Memory).memtable_size(64 << 10);
    let store = builder.level_base(16 << 10).cache_size(64 << 10).open(&path).unwrap();
    let database = store.database("d").unwrap();
    fill(&database, 4000);
    store.settle().unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2_usize {
            let database = &database;
            scope.spawn(move || {
                let mut at = thread;
                while begun.elapsed() < Duration::from_secs(2) {
                    at = (at + 997) % 4000;
                    assert_eq!(database.get(key(at)).unwrap().unwrap(), value(at));
                }
            });
        }
        let mut at = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            database.put(key(at % 4000), value(at % 4000)).unwrap();
            at += 13;
        }
    });
    assert!(store.stats().compactions > 3);
}

#[test]
fn a_cursor_keeps_only_tables_of_its_database() {
    let (_guard, path) = temp();
    let builder = builder().compression(Compression::None).table_size(64 << 10);
    let store = builder.level_base(1 << 20).open(&path).unwrap();
    let (one, two) = (store.database("one").unwrap(), store.database("two").unwrap());
    fill(&one, 3000);
    fill(&two, 3000);
    store.compact().unwrap();
    store.settle().unwrap();
    let mut cursor = one.cursor().unwrap();
    let begun = Instant::now();
    two.put(key(1), "another").unwrap();
    for at in (0..3000).step_by(10) {
        two.put(key(at), "another").unwrap();
    }
    store.compact().unwrap();
    // Until views are freed it may be more.
    while store.stats().pinned_tables > 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", store.stats());
        let _ = one.get(key(5)).unwrap();
        store.settle().unwrap();
    }
    let mut count = 0;
    while cursor.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 3000);
}
