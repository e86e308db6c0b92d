//! Opens behind logs that are long, or in many pieces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use orlop::{Background, Durability, Progress, Store};
use orlop_formats::log::was_never_begun;

/// What a process leaves that is killed now: its files, as the system has them. Nothing may happen meanwhile, so
/// that the store has no thread of its own.
fn kill_image(store: &Path, image: &Path) {
    fs::create_dir(image).unwrap();
    for entry in fs::read_dir(store).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), image.join(entry.file_name())).unwrap();
    }
}

fn count(dir: &Path, extension: &str) -> usize {
    let is_one = |name: &Path| name.extension().is_some_and(|found| found == extension);
    fs::read_dir(dir).unwrap().filter(|entry| is_one(&entry.as_ref().unwrap().path())).count()
}

/// Waits until the background has removed what an open has found.
fn wait_until_gone(dir: &Path, extension: &str, left: usize) {
    let begun = Instant::now();
    while count(dir, extension) > left {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} are left", count(dir, extension));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn fifteen_hundred_small_segments_are_opened_at_once_and_gone_soon() {
    const SEGMENTS: usize = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("store"), dir.path().join("image"));
    let builder = Store::builder().background(Background::Manual);
    let store = builder.segment_size(64 << 10).open(&path).unwrap();
    let database = store.database("d").unwrap();
    // A frame of more than a quarter of a segment gets one of its own.
    for n in 0..SEGMENTS as u32 {
        database.put_with(n.to_be_bytes(), vec![n as u8; 17 << 10], Durability::Buffered).unwrap();
    }
    kill_image(&path, &image);
    assert!(count(&image, "log") >= SEGMENTS, "{} segments", count(&image, "log"));

    let begun = Instant::now();
    let after = Store::open(&image).unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let found = after.database("d").unwrap();
    for n in 0..SEGMENTS as u32 {
        let value = found.get(n.to_be_bytes()).unwrap().unwrap();
        assert!(value.len() == 17 << 10 && value.iter().all(|byte| *byte == n as u8), "{n}");
    }
    // But for one that the next commit will need.
    wait_until_gone(&image, "log", 1);
    wait_until_gone(&image, "stage", 0);
    after.close().unwrap();
    assert_eq!(count(&image, "log"), 0);
}

/// Several memtables of log, whose segments are read by two threads and sorted in two halves: every database,
/// the newest version of each key, and what was deleted.
#[test]
fn a_long_tail_of_several_databases_is_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("store"), dir.path().join("image"));
    let builder = || Store::builder().memtable_size(8 << 20);
    let store = builder().background(Background::Manual).open(&path).unwrap();
    let databases = ["a", "b", "c"].map(|name| store.database(name).unwrap());
    const KEYS: u32 = 40_000;
    for round in 0..3_u8 {
        for n in 0..KEYS {
            let key = (n.wrapping_mul(2_654_435_761) % KEYS).to_be_bytes();
            let mut batch = store.batch();
            for (at, database) in databases.iter().enumerate() {
                if round == 2 && n % 7 == at as u32 {
                    batch.put(database, key, "to be deleted").unwrap();
                    batch.delete(database, key).unwrap();
                } else {
                    batch.put(database, key, [round, at as u8]).unwrap();
                }
            }
            batch.commit_with(Durability::Buffered).unwrap();
        }
    }
    let expected = databases.each_ref().map(|database| {
        let entry = |entry: orlop::Result<(Vec<u8>, orlop::Value)>| {
            let (key, value) = entry.unwrap();
            (key, value.to_vec())
        };
        database.iter().map(entry).collect::<Vec<_>>()
    });
    kill_image(&path, &image);
    for _ in 0..2 {
        // The second one opens what the first has made of it.
        let after = builder().open(&image).unwrap();
        for (name, expected) in ["a", "b", "c"].into_iter().zip(&expected) {
            let database = after.database(name).unwrap();
            let found = database.iter().map(|entry| {
                let (key, value) = entry.unwrap();
                (key, value.to_vec())
            });
            assert!(found.eq(expected.iter().cloned()), "{name}");
        }
        after.close().unwrap();
    }
}

/// As the read-only open of a store whose process was killed, which puts the log into memory and nothing
/// anywhere else.
#[test]
fn a_long_tail_is_read_beside_what_the_killed_process_left() {
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("store"), dir.path().join("image"));
    let store = Store::builder().background(Background::Manual).open(&path).unwrap();
    let database = store.database("d").unwrap();
    for n in 0..100_000_u32 {
        database.put_with(n.to_be_bytes(), [7; 100], Durability::Buffered).unwrap();
    }
    kill_image(&path, &image);
    let before: Vec<_> = names(&image);
    let reader = Store::open_read_only(&image).unwrap();
    assert_eq!(reader.database("d").unwrap().iter().count(), 100_000);
    drop(reader);
    assert_eq!(names(&image), before);
}

fn names(dir: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name(), entry.metadata().unwrap().len())
    };
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(entry).collect();
    names.sort();
    names
}

/// What this thread has read from files so far, in bytes; `None` where the system does not say.
#[cfg(target_os = "linux")]
fn bytes_read() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())
}

/// Every segment that was made ahead of its time was read from end to end: zeros, or what it held in an earlier
/// life.
#[test]
#[cfg(target_os = "linux")]
fn segments_that_were_not_begun_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("store"), dir.path().join("image"));
    let builder = || Store::builder().memtable_size(1 << 20).background(Background::Manual);
    let store = builder().segment_size(2 << 20).open(&path).unwrap();
    let database = store.database("d").unwrap();
    let mut n = 0_u32;
    // Until segments have been recycled, and a spare is there just now.
    while n < 2_000 && (n < 800 || spares(&path).1 < 2 << 20) {
        database.put(n.to_be_bytes(), [n as u8; 4_000]).unwrap();
        while store.step().unwrap() != Progress::Idle {}
        n += 1;
    }
    let (count, large) = spares(&path);
    assert!(count >= 1 && large >= 2 << 20, "{count} spares, {large} bytes");
    kill_image(&path, &image);
    let begun = all_segments(&image) - large;
    let before = bytes_read();
    let after = builder().open(&image).unwrap();
    let read = bytes_read().zip(before).map(|(after, before)| after - before);
    // The stage, manifests and the catalog are read, too.
    assert!(read.is_none_or(|read| read < begun + (1 << 20)), "{read:?} bytes, {begun} of log");
    let database = after.database("d").unwrap();
    assert!((0..n).all(|n| database.contains(n.to_be_bytes()).unwrap()));
}

fn logs(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == "log"))
}

#[cfg(target_os = "linux")]
fn all_segments(dir: &Path) -> u64 {
    logs(dir).map(|path| fs::metadata(path).unwrap().len()).sum()
}

/// How many segments were not begun, and their bytes.
#[cfg(target_os = "linux")]
fn spares(dir: &Path) -> (usize, u64) {
    let lens = logs(dir).filter_map(|path| {
        let bytes = fs::read(&path).unwrap();
        let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        was_never_begun(&bytes, number, None).then_some(bytes.len() as u64)
    });
    lens.fold((0, 0), |(count, bytes), len| (count + 1, bytes + len))
}
