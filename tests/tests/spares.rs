//! Segments that are ready before they are needed: made, recycled, taken in turn, and gone at the end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Env, Keep, SimEnv};
use orlop::{Background, Durability, Progress, Store};

const DIR: &str = "/store";

fn open(env: &SimEnv) -> Store {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(8 << 10)
        .segment_size(64 << 10)
        .open(Path::new(DIR))
        .unwrap()
}

fn segments(env: &SimEnv) -> usize {
    let entries = env.list(Path::new(DIR)).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".log")).count()
}

fn settle(store: &Store) -> u64 {
    let mut prepared = 0;
    loop {
        match store.step().unwrap() {
            Progress::Idle => return prepared,
            Progress::Prepared => prepared += 1,
            _ => {}
        }
    }
}

/// Every commit up to `last` is there, and none behind.
fn check(image: &SimEnv, last: u64) {
    let store = open(image);
    let database = store.database("d").unwrap();
    for n in 0..=last + 3 {
        let found = database.get(n.to_be_bytes()).unwrap();
        assert_eq!(found.is_some(), n <= last, "{n} of {last}");
        assert!(found.is_none_or(|found| found.iter().all(|byte| *byte == n as u8)));
    }
}

#[test]
fn segments_are_recycled_and_nothing_of_their_earlier_life_comes_back() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    let mut most = 0;
    for n in 0..400_u64 {
        // Frames of many lengths, so that old ones lie at every place behind new ones.
        let value = vec![n as u8; 1 + n as usize * 37 % 900];
        let durability = if n % 7 == 3 { Durability::Buffered } else { Durability::Synced };
        database.put_with(n.to_be_bytes(), value, durability).unwrap();
        settle(&store);
        most = most.max(segments(&env));
        if n % 5 == 0 {
            check(&env.kill(), n);
            check(&env.kill_late(2), n);
        }
        if durability == Durability::Synced && n % 3 == 0 {
            for keep in [Keep::Nothing, Keep::Everything, Keep::Random(n)] {
                check(&env.crash(keep), n);
            }
        }
    }
    let recycled = env
        .trace()
        .iter()
        .filter(|line| line.starts_with("rename") && line.contains(".log"))
        .count();
    assert!(recycled > 5, "{recycled} segments were used again");
    assert!(most < 12, "{most} segments at a time");
    store.close().unwrap();
    assert!(segments(&env) <= 1, "what was not begun is gone");
}

/// They have the next segment in time, too; but nobody writes zeros into large ones for them.
#[test]
fn nothing_large_is_filled_for_commits_that_are_not_synced() {
    let env = SimEnv::new(3);
    let store = Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .segment_size(4 << 20)
        .open(Path::new(DIR))
        .unwrap();
    let database = store.database("d").unwrap();
    let mut prepared = 0;
    for n in 0..400_u64 {
        database.put_with(n.to_be_bytes(), vec![n as u8; 50_000], Durability::Buffered).unwrap();
        prepared += settle(&store);
        if n % 50 == 0 {
            check(&env.kill(), n);
        }
    }
    assert!(prepared > 3, "{prepared} spares");
    // Of 20 MB of log: the small ones at its beginning.
    let filled: u64 = env
        .trace()
        .iter()
        .filter(|line| line.starts_with("submit") && line.contains(" zeros"))
        .map(|line| {
            let len = line.split('+').nth(1).and_then(|rest| rest.split(' ').next());
            len.and_then(|len| len.parse::<u64>().ok()).unwrap()
        })
        .sum();
    assert!(filled < 3 << 20, "{filled} bytes of zeros");
}

#[test]
fn a_store_that_rests_gives_its_spares_back() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..100_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
        settle(&store);
    }
    store.flush().unwrap();
    settle(&store);
    assert!(segments(&env) <= 1);
    check(&env.kill(), 99);
}

/// A log of synced commits is a sector for each: it would be as long as the memtable has entries.
#[test]
fn a_long_log_is_flushed_however_little_is_in_it() {
    let env = SimEnv::new(3);
    let store = Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .segment_size(64 << 10)
        .memtable_size(64 << 10)
        .open(Path::new(DIR))
        .unwrap();
    let database = store.database("d").unwrap();
    for _ in 0..1_000_u64 {
        database.put_with("k", "v", Durability::Synced).unwrap();
        settle(&store);
    }
    assert!(store.stats().flushes > 5, "{}", store.stats().flushes);
    assert!(segments(&env) < 12);
}

/// A spare that could not be made kept everything else in the background from being done.
#[test]
fn a_full_disk_stops_nothing_but_the_spares() {
    let env = SimEnv::new(3);
    let store = open(&env);
    let database = store.database("d").unwrap();
    for n in 0..10_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
    }
    env.set_full(true);
    for _ in 0..20 {
        assert!(!matches!(store.step(), Err(_) | Ok(Progress::Prepared)));
    }
    assert_eq!(store.step().unwrap(), Progress::Idle);
    env.set_full(false);
    for n in 10..60_u64 {
        database.put_with(n.to_be_bytes(), [n as u8; 100], Durability::Synced).unwrap();
        settle(&store);
    }
    check(&env.kill(), 59);
}
