//! Entries that expire: they are gone at once, for good, and so is their space.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop::env::{Env, Keep, SimEnv};
use orlop::{
    Background, Builder, Compression, Database, DatabaseOptions, Durability, Expiry, Progress,
    Store,
};
use orlop_tests::ways::{found, key};

const START: u64 = 1_700_000_000_000;

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

#[test]
fn what_expires_is_gone_at_once_wherever_it_lies() {
    for compression in [Compression::None, Compression::Snappy] {
        let env = SimEnv::new(1);
        let store = builder(&env).compression(compression).open("/store").unwrap();
        let database = store.database("d").unwrap();
        // Most never expire, some do so one after the other, and two at the same time.
        let time = |n: u64| match n % 7 {
            3 => Some(START + n),
            5 => Some(START + 500),
            _ => None,
        };
        for n in 0..400 {
            let expiry = time(n).map_or(Expiry::Never, Expiry::At);
            database.put_expiring(key(n), [7; 40], expiry).unwrap();
        }
        let there = |now: u64| -> Vec<u64> {
            (0..400).filter(|n| time(*n).is_none_or(|time| time > now)).collect()
        };
        let look = |what: &str, now: u64| {
            env.set_now(now);
            assert_eq!(found(&database, &store, 400), there(now), "{what} at {now}");
        };
        look("in memory", START);
        look("in memory", START + 38);
        assert_eq!(database.expiry(key(3)).unwrap(), None);
        assert_eq!(database.expiry(key(45)).unwrap(), Some(Expiry::At(START + 45)));
        assert_eq!(database.expiry(key(4)).unwrap(), Some(Expiry::Never));
        store.flush().unwrap();
        look("in level 0", START + 44);
        look("in level 0", START + 45);
        store.compact().unwrap();
        look("below", START + 45);
        look("below", START + 200);
        look("below", START + 499);
        look("below", START + 500);
    }
}

#[test]
fn who_stands_still_does_so_in_time() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..200 {
        database.put_expiring(key(n), [1; 50], Expiry::At(START + 10 + n % 2)).unwrap();
    }
    store.flush().unwrap();
    let (early, mut cursor, mut range) =
        (store.snapshot(), database.cursor().unwrap(), database.iter());
    let first = range.next().unwrap().unwrap().0;
    env.set_now(START + 10);
    let middle = store.snapshot();
    env.set_now(START + 11);
    // Nothing is left for others, and a compaction keeps it for these.
    assert_eq!(found(&database, &store, 200), Vec::<u64>::new());
    store.compact().unwrap();
    while store.step().unwrap() != Progress::Idle {}
    assert_eq!(early.iter(&database).filter(|entry| entry.is_ok()).count(), 200);
    assert_eq!(middle.iter(&database).filter(|entry| entry.is_ok()).count(), 100);
    assert_eq!(early.get(&database, key(0)).unwrap().as_deref(), Some(&[1; 50][..]));
    assert_eq!(early.expiry(&database, key(1)).unwrap(), Some(Expiry::At(START + 11)));
    assert_eq!(middle.get(&database, key(0)).unwrap(), None);
    assert_eq!(middle.multi_get(&database, &[key(0), key(1)]).unwrap()[0], None);
    let mut steps = 0;
    while let Some((_, _, expiry)) = cursor.next_with_expiry().unwrap() {
        assert_eq!(expiry, Expiry::At(START + 10 + steps % 2));
        steps += 1;
    }
    assert_eq!((steps, first), (200, key(0)));
    // From both ends, at one time.
    assert_eq!(range.next_back().unwrap().unwrap().0, key(199));
    assert_eq!(range.count(), 198);
    let kept = || -> (u64, u64) {
        let levels = store.stats().levels;
        let runs = || levels.iter().flat_map(|level| &level.runs);
        (runs().map(|run| run.expiring).sum(), runs().map(|run| run.entries).sum())
    };
    // One is that of the catalog.
    assert_eq!(kept(), (200, 201));
    drop((early, middle));
    store.compact().unwrap();
    assert_eq!(kept(), (0, 1), "nobody sees anything any more");
}

#[test]
fn what_lies_below_does_not_come_back() {
    let env = SimEnv::new(1);
    let mut store = open(&env);
    let database = store.database("d").unwrap();
    database.put("kept", "old").unwrap();
    database.put("lost", "old").unwrap();
    store.compact().unwrap();
    database.put_expiring("lost", "new", Expiry::At(START + 5)).unwrap();
    let shown = |store: &Store| {
        let database = store.database("d").unwrap();
        let keys: Vec<Vec<u8>> = database.iter().map(|entry| entry.unwrap().0).collect();
        (database.get("lost").unwrap().map(|value| value.to_vec()), keys.len())
    };
    assert_eq!(shown(&store), (Some(b"new".to_vec()), 2));
    for now in [START + 4, START + 5, START + 9] {
        env.set_now(now);
        let expected = if now < START + 5 { (Some(b"new".to_vec()), 2) } else { (None, 1) };
        assert_eq!(shown(&store), expected, "in memory");
        store.flush().unwrap();
        assert_eq!(shown(&store), expected, "in a table");
        store.close().unwrap();
        store = open(&env);
        assert_eq!(shown(&store), expected, "after an open");
    }
    // Flushed when it had expired, above the old one.
    let database = store.database("d").unwrap();
    database.put_expiring("kept", "new", Expiry::At(START + 12)).unwrap();
    env.set_now(START + 12);
    for work in [Store::flush, Store::compact, Store::settle, Store::compact] {
        work(&store).unwrap();
        assert_eq!(shown(&store), (None, 0));
    }
    // A newer write counts again.
    database.put("kept", "newest").unwrap();
    assert_eq!(database.get("kept").unwrap().as_deref(), Some(&b"newest"[..]));
    assert_eq!(database.expiry("kept").unwrap(), Some(Expiry::Never));
}

#[test]
fn a_database_has_a_time_to_live() {
    let env = SimEnv::new(1);
    let mut store = open(&env);
    let options = DatabaseOptions {
        time_to_live: Some(Duration::from_micros(9_001)),
        ..DatabaseOptions::default()
    };
    store.create_database("d", options).unwrap();
    for round in 0..3 {
        let database = store.database("d").unwrap();
        let now = env.now_ms();
        database.put("own", "1").unwrap();
        database.put_with("weaker", "1", Durability::Memory).unwrap();
        database.put_expiring("never", "1", Expiry::Never).unwrap();
        database.put_expiring("later", "1", Expiry::After(Duration::from_millis(20))).unwrap();
        let mut batch = store.batch();
        batch.put(&database, "of a batch", "1").unwrap();
        batch.put_expiring(&database, "of a batch, never", "1", Expiry::Never).unwrap();
        batch.commit().unwrap();
        let expiry = |key: &str| database.expiry(key).unwrap();
        // A part of a millisecond is one.
        for key in ["own", "weaker", "of a batch"] {
            assert_eq!(expiry(key), Some(Expiry::At(now + 10)), "{key} in round {round}");
        }
        assert_eq!(expiry("later"), Some(Expiry::At(now + 20)));
        assert_eq!(expiry("never"), Some(Expiry::Never));
        assert_eq!(expiry("of a batch, never"), Some(Expiry::Never));
        env.set_now(now + 10);
        assert_eq!(database.iter().count(), 3);
        match round {
            0 => store.rename_database("d", "e").unwrap(),
            1 => store.database("d").unwrap().clear().unwrap(),
            _ => {}
        }
        if round == 0 {
            store.rename_database("e", "d").unwrap();
        }
        store.close().unwrap();
        store = open(&env);
    }
    assert_eq!(store.database("other").unwrap().expiry("absent").unwrap(), None);
}

#[test]
fn any_time_is_a_time() {
    let store = Store::in_memory().unwrap();
    let database = store.database("d").unwrap();
    for (key, expiry, is_there) in [
        ("0", Expiry::At(0), false),
        ("1", Expiry::At(1), false),
        ("last", Expiry::At(u64::MAX), true),
        ("now", Expiry::After(Duration::ZERO), false),
        ("long", Expiry::After(Duration::MAX), true),
    ] {
        database.put(key, "before").unwrap();
        database.put_expiring(key, "v", expiry).unwrap();
        assert_eq!(database.get(key).unwrap().is_some(), is_there, "{key}");
        store.flush().unwrap();
        assert_eq!(database.get(key).unwrap().is_some(), is_there, "{key} in a table");
    }
    let options =
        DatabaseOptions { time_to_live: Some(Duration::MAX), ..DatabaseOptions::default() };
    let ever = store.create_database("ever", options).unwrap();
    ever.put("k", "v").unwrap();
    assert_eq!(ever.expiry("k").unwrap(), Some(Expiry::At(u64::MAX)));
}

#[test]
fn a_clock_that_goes_back_brings_nothing_back() {
    let env = SimEnv::new(1);
    let mut store = open(&env);
    let database = store.database("d").unwrap();
    database.put_expiring("k", "v", Expiry::At(START + 100)).unwrap();
    env.set_now(START + 100);
    assert_eq!(database.get("k").unwrap(), None);
    env.set_now(START + 1);
    assert_eq!(database.get("k").unwrap(), None, "in the same open");
    // What is written now counts from the store's time.
    database.put_expiring("l", "v", Expiry::After(Duration::from_millis(5))).unwrap();
    assert_eq!(database.expiry("l").unwrap(), Some(Expiry::At(START + 105)));
    store.close().unwrap();
    env.set_now(START);
    store = open(&env);
    let database = store.database("d").unwrap();
    assert_eq!(database.get("k").unwrap(), None, "behind a close");
    assert!(database.get("l").unwrap().is_some());
}

/// A compaction leaves something out because of the time; behind a crash, with a clock that was put back, the store is
/// not at a time at which that would have been there.
#[test]
fn a_compaction_notes_the_time_at_which_it_left_something_out() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for round in 0..2 {
        // Two tables of level 1, of which one is compacted once they have expired.
        for n in 0..200 {
            let n = 1_000 * round + n;
            database.put_expiring(key(n), [1; 50], Expiry::At(START + 50)).unwrap();
        }
        store.flush().unwrap();
        store.compact().unwrap();
    }
    env.set_now(START + 50);
    while store.step().unwrap() != Progress::Compacted {}
    let image = env.crash(Keep::Nothing);
    image.set_now(START);
    let store = open(&image);
    let database = store.database("d").unwrap();
    assert_eq!(database.iter().count(), 0, "some of those that expired together are back");
}

#[test]
fn a_kill_keeps_expiries() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut large = store.batch();
    for n in 0..600 {
        let expiry = if n % 3 == 0 { Expiry::Never } else { Expiry::At(START + n) };
        database.put_expiring_with(key(n), [2; 30], expiry, Durability::Buffered).unwrap();
        large.put_expiring(&database, key(1_000 + n), [3; 60], expiry).unwrap();
    }
    large.commit_with(Durability::Buffered).unwrap();
    let image = env.kill();
    for read_only in [true, false] {
        let store = match read_only {
            true => builder(&image).open_read_only("/store").unwrap(),
            false => open(&image),
        };
        let database = store.database("d").unwrap();
        image.set_now(START);
        for n in (0..600).chain(1_000..1_600) {
            let expected = match n % 1_000 {
                0 => Some(Expiry::Never),
                n if n % 3 == 0 => Some(Expiry::Never),
                n => Some(Expiry::At(START + n)),
            };
            assert_eq!(database.expiry(key(n)).unwrap(), expected, "{n}, read-only: {read_only}");
        }
        image.set_now(START + 1_000);
        assert_eq!(database.iter().count(), 400);
        image.set_now(START);
    }
}

#[test]
fn a_time_to_live_counts_in_the_batch_that_sets_it() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let after = |ms| DatabaseOptions {
        time_to_live: Some(Duration::from_millis(ms)),
        ..DatabaseOptions::default()
    };
    let (database, other) = (store.database("d").unwrap(), store.database("other").unwrap());
    let mut batch = store.batch();
    batch.create_database("d", after(10)).unwrap();
    batch.put(&database, "k", "v").unwrap();
    batch.put_expiring(&database, "stays", "v", Expiry::Never).unwrap();
    batch.create_database("other", after(20)).unwrap();
    batch.put(&other, "k", "v").unwrap();
    batch.swap_databases("d", "other").unwrap();
    batch.put(&database, "behind the swap", "v").unwrap();
    batch.commit().unwrap();
    let expiry = |of: &Database, key: &str| of.expiry(key).unwrap();
    assert_eq!(expiry(&other, "k"), Some(Expiry::At(START + 10)));
    assert_eq!(expiry(&other, "stays"), Some(Expiry::Never));
    assert_eq!(expiry(&database, "k"), Some(Expiry::At(START + 20)));
    assert_eq!(expiry(&database, "behind the swap"), Some(Expiry::At(START + 20)));
    assert_eq!(database.time_to_live(), Some(Duration::from_millis(20)));
    // A handle from before the database, a large batch, and a put that creates one that has none.
    let late = store.database("late").unwrap();
    let mut large = store.batch();
    for n in 0..200 {
        large.put(&late, key(n), [1; 100]).unwrap();
    }
    store.create_database("late", after(30)).unwrap();
    large.commit().unwrap();
    assert_eq!(expiry(&late, "key00007"), Some(Expiry::At(START + 30)));
    let new = store.database("new").unwrap();
    new.put("k", "v").unwrap();
    assert_eq!((expiry(&new, "k"), new.time_to_live()), (Some(Expiry::Never), None));
}

/// Bytes that tables hold, entries in them, and how many of these expire.
fn in_tables(store: &Store) -> (u64, u64, u64) {
    let levels = store.stats().levels;
    let runs = || levels.iter().flat_map(|level| &level.runs);
    let sum = |of: fn(&orlop::RunStats) -> u64| runs().map(of).sum();
    (sum(|run| run.bytes), sum(|run| run.entries), sum(|run| run.expiring))
}

#[test]
fn a_compaction_that_is_asked_for_leaves_nothing_that_has_expired() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..1_000 {
        let expiry = if n % 6 == 0 { Expiry::At(START + 5) } else { Expiry::Never };
        database.put_expiring(key(n), [n as u8; 60], expiry).unwrap();
    }
    store.compact().unwrap();
    store.settle().unwrap();
    assert_eq!(in_tables(&store).2, 167);
    env.set_now(START + 5);
    // A sixth is not worth it unasked.
    while store.step().unwrap() != Progress::Idle {}
    assert_eq!(in_tables(&store).2, 167);
    store.compact().unwrap();
    assert_eq!((in_tables(&store).1, in_tables(&store).2), (834, 0));
}

/// A table that is rewritten again and again becomes smaller each time; small ones become one.
#[test]
fn what_is_left_of_many_tables_is_few_tables() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..4_000 {
        let expiry = if n % 40 == 0 { Expiry::Never } else { Expiry::At(START + 1 + n % 7) };
        database.put_expiring(key(n), [n as u8; 60], expiry).unwrap();
    }
    store.settle().unwrap();
    let tables = || -> u64 {
        let levels = store.stats().levels;
        levels.iter().flat_map(|level| &level.runs).map(|run| run.tables).sum()
    };
    let before = tables();
    for now in 0..8 {
        env.set_now(START + now);
        store.settle().unwrap();
    }
    assert_eq!(database.iter().count(), 100);
    assert!(before > 15 && tables() <= 3, "{before} tables, then {}", tables());
}

/// One table that cannot be read keeps nothing else from being done.
#[test]
fn a_worn_table_that_is_damaged_stops_nothing() {
    let env = SimEnv::new(1);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..3_000 {
        database.put_expiring(key(n), [n as u8; 60], Expiry::At(START + 50)).unwrap();
    }
    store.settle().unwrap();
    store.close().unwrap();
    let names = env.list(std::path::Path::new("/store")).unwrap();
    let tables: Vec<_> = names.iter().filter(|entry| entry.name.ends_with(".sst")).collect();
    assert!(tables.len() > 6);
    let path = std::path::Path::new("/store").join(&tables[2].name);
    env.open_write(&path).unwrap().write_at(300, &[0xa5; 40]).unwrap();
    env.set_now(START + 50);
    let store = open(&env);
    let mut failures = 0;
    for _ in 0..200 {
        failures += u64::from(store.step().is_err());
    }
    assert!((1..=2).contains(&failures), "{failures} steps failed");
    let database = store.database("d").unwrap();
    database.put("new", "v").unwrap();
    store.flush().unwrap();
    store.settle().unwrap();
    let (_, entries, _) = in_tables(&store);
    assert!(entries < 1_000, "{entries} entries are left");
    assert_eq!(database.get("new").unwrap().as_deref(), Some(&b"v"[..]));
}

/// Bytes of a store's directory on the device, and of its tables alone.
fn on_disk(dir: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut all, mut tables) = (0, 0);
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        // One that has gone meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        let bytes = metadata.blocks() * 512;
        all += bytes;
        if entry.path().extension().is_some_and(|kind| kind == "sst") {
            tables += bytes;
        }
    }
    (all, tables)
}

fn wait_until(what: &str, is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} takes more than a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The background sleeps, and nothing but deletes comes: many small ones, or one batch.
#[test]
fn a_quiet_store_hears_of_deletes() {
    for in_one_batch in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let open = || {
            Store::builder()
                .memtable_size(2 << 20)
                .table_size(1 << 20)
                .level_base(4 << 20)
                .durability(Durability::Buffered)
                .open(&path)
                .unwrap()
        };
        let store = open();
        let database = store.database("d").unwrap();
        (0..3_000).for_each(|n| database.put(key(n), [5; 1_000]).unwrap());
        store.settle().unwrap();
        store.close().unwrap();
        let store = open();
        let database = store.database("d").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let mut batch = store.batch();
        for n in 0..3_000 {
            match in_one_batch {
                true => batch.delete(&database, key(n)).unwrap(),
                false => database.delete(key(n)).unwrap(),
            }
        }
        batch.commit().unwrap();
        wait_until("for space to come back", || on_disk(&path).1 < 100 << 10);
    }
}

/// Who settles has all flushed that there was, once; what others delete meanwhile is not flushed for them again and again.
#[test]
fn who_settles_does_not_wait_for_those_who_delete() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::builder().durability(Durability::Buffered).open(dir.path().join("store")).unwrap();
    let database = store.database("d").unwrap();
    (0..2_000).for_each(|n| database.put(key(n), [5; 100]).unwrap());
    let has_settled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = (0..2_000).cycle();
            while !has_settled.load(Ordering::Relaxed) {
                database.delete(key(numbers.next().unwrap())).unwrap();
                std::thread::sleep(Duration::from_micros(5));
            }
        });
        for _ in 0..20 {
            store.settle().unwrap();
        }
        has_settled.store(true, Ordering::Relaxed);
    });
    let flushes = store.stats().flushes;
    assert!((1..40).contains(&flushes), "{flushes} flushes");
}

/// Nobody writes any more, and nobody asks for a compaction.
#[test]
fn space_comes_back_by_itself() {
    for deleted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = Store::builder()
            .memtable_size(1 << 20)
            .table_size(1 << 20)
            .level_base(4 << 20)
            .compression(Compression::None)
            .durability(Durability::Buffered)
            .open(&path)
            .unwrap();
        let database = store.database("d").unwrap();
        let write = |n: u64| match deleted {
            true => database.put(key(n), [5; 1_000]).unwrap(),
            false => {
                let expiry = Expiry::After(Duration::from_secs(3));
                database.put_expiring(key(n), [5; 1_000], expiry).unwrap();
            }
        };
        (0..12_000).for_each(write);
        let (_, peak) = on_disk(&path);
        assert!(peak > 6 << 20, "{peak} bytes of tables");
        if deleted {
            (0..12_000).for_each(|n| database.delete(key(n)).unwrap());
        }
        wait_until("for its entries to go", || database.iter().count() == 0);
        wait_until("for its space to come back", || on_disk(&path).1 < peak / 20);
        wait_until("for the log to shrink", || on_disk(&path).0 < 4 << 20);
        store.close().unwrap();
    }
}
