//! Every way to read, held against every other: what is there at all, of keys that are numbered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use orlop::{Database, Store};

/// The key of a number.
pub fn key(n: u64) -> Vec<u8> {
    format!("key{n:05}").into_bytes()
}

/// The numbers of the keys that each way to read finds.
///
/// # Panics
/// If two ways find something else, or one fails.
pub fn found(database: &Database, store: &Store, keys: u64) -> Vec<u64> {
    let number = |key: &[u8]| std::str::from_utf8(&key[3..]).unwrap().parse::<u64>().unwrap();
    let snapshot = store.snapshot();
    let by_get: Vec<u64> = (0..keys).filter(|n| database.get(key(*n)).unwrap().is_some()).collect();
    let all: Vec<Vec<u8>> = (0..keys).map(key).collect();
    let many = database.multi_get(&all).unwrap();
    let by_many: Vec<u64> = (0..keys).zip(many).filter_map(|(n, value)| value.map(|_| n)).collect();
    let mut cursor = database.cursor().unwrap();
    let (mut forward, mut back) = (Vec::new(), Vec::new());
    while let Some((key, _)) = cursor.next().unwrap() {
        forward.push(number(key));
    }
    while let Some((key, _)) = cursor.prev().unwrap() {
        back.push(number(key));
    }
    back.reverse();
    let range: Vec<u64> = database.iter().map(|entry| number(&entry.unwrap().0)).collect();
    let mut reverse: Vec<u64> =
        snapshot.iter(database).rev().map(|entry| number(&entry.unwrap().0)).collect();
    reverse.reverse();
    let contains: Vec<u64> = (0..keys).filter(|n| database.contains(key(*n)).unwrap()).collect();
    let expiry: Vec<u64> =
        (0..keys).filter(|n| database.expiry(key(*n)).unwrap().is_some()).collect();
    let in_snapshot: Vec<u64> =
        (0..keys).filter(|n| snapshot.get(database, key(*n)).unwrap().is_some()).collect();
    let mut seeks = Vec::new();
    for n in 0..keys {
        cursor.seek(key(n)).unwrap();
        let next = cursor.next().unwrap().map(|(key, _)| number(key));
        seeks.extend(next.filter(|next| *next == n));
    }
    for other in [by_many, forward, back, range, reverse, contains, expiry, in_snapshot, seeks] {
        assert_eq!(other, by_get);
    }
    by_get
}
