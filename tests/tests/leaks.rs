//! After the last handle, cursor and value are gone, nothing of a store is left in the process.
//! A binary of its own: it counts what the whole process holds.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use orlop::{Durability, Store};

/// Threads, descriptors, and mappings of files below `dir`.
fn held(dir: &Path) -> (usize, usize, usize) {
    let count = |path: &str| fs::read_dir(path).unwrap().count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains(dir.to_str().unwrap())).count();
    (count("/proc/self/task"), count("/proc/self/fd"), mapped)
}

fn use_a_store(path: &Path) {
    let store = Store::builder()
        .memtable_size(64 << 10)
        .table_size(64 << 10)
        .level_base(128 << 10)
        .durability(Durability::Buffered)
        .open(path)
        .unwrap();
    let database = store.database("d").unwrap();
    let mut cursors = Vec::new();
    let mut values = Vec::new();
    for n in 0..5_000_u32 {
        database.put((n % 1_000).to_be_bytes(), vec![n as u8; 300]).unwrap();
        if n % 500 == 0 {
            store.flush().unwrap();
            let mut cursor = database.cursor().unwrap();
            cursor.next().unwrap();
            cursors.push(cursor);
            values.push(database.get((n % 1_000).to_be_bytes()).unwrap().unwrap());
        }
    }
    let snapshot = store.snapshot();
    let sstables = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        entries
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "sst"))
            .count()
    };
    store.compact().unwrap();
    drop((snapshot, cursors));
    assert_eq!(values.iter().map(|value| value.len()).sum::<usize>(), 3_000);
    drop((database, values));
    // Not closed: dropping the last handle does it.
    drop(store);
    let stats = Store::open_read_only(path).unwrap().stats();
    let live: u64 = stats.levels.iter().flat_map(|level| &level.runs).map(|run| run.tables).sum();
    assert_eq!(sstables(path) as u64, live, "files that no version names");
}

#[test]
fn nothing_is_left_when_the_last_handle_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    use_a_store(&dir.path().join("warm-up"));
    let before = held(dir.path());
    for round in 0..5 {
        use_a_store(&dir.path().join(format!("s{round}")));
    }
    let after = held(dir.path());
    assert_eq!(before, after, "threads, descriptors, mappings");
    assert_eq!(after.2, 0);
    let names = fs::read_dir(dir.path().join("s1")).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        assert!(!name.ends_with(".tmp"), "{name}");
    }
}
