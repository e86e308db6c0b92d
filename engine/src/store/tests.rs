//! A whole store in memory, small enough for Miri: every unsafe block that needs no file is in use.

use std::thread;

use super::*;

fn store() -> Store {
    Store::builder().memtable_size(1 << 10).table_size(1 << 10).block_size(256).in_memory().unwrap()
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

#[test]
fn readers_go_on_beside_writes_flushes_and_compactions() {
    let last = if cfg!(miri) { 16 } else { 500 };
    let store = store();
    let numbers = store.database("numbers").unwrap();
    let write = || {
        for number in 0..last {
            numbers.put_with(key(number), key(number), Durability::Memory).unwrap();
            if number % 8 == 7 {
                store.flush().unwrap();
            }
        }
        store.compact().unwrap();
    };
    let scan = || {
        let mut forward = 0;
        for entry in numbers.iter() {
            let (key, value) = entry.unwrap();
            assert_eq!(key, value.as_ref());
            forward += 1;
        }
        let backward = numbers.iter().rev().inspect(|entry| assert!(entry.is_ok())).count();
        assert!(forward <= backward, "entries do not vanish");
        backward
    };
    thread::scope(|scope| {
        let writer = scope.spawn(write);
        let mut seen = 0;
        while !writer.is_finished() {
            let now = scan();
            assert!(seen <= now, "entries do not vanish");
            seen = now;
            thread::yield_now();
        }
    });
    assert_eq!(scan(), last as usize);
    store.close().unwrap();
}

#[test]
fn what_was_read_outlives_the_store() {
    let store = store();
    let numbers = store.database("numbers").unwrap();
    for number in 0..8 {
        numbers.put(key(number), key(number)).unwrap();
    }
    let from_memory = numbers.get(key(3)).unwrap().unwrap();
    let mut over_memory = numbers.cursor().unwrap();
    store.compact().unwrap();
    let from_table = numbers.get(key(4)).unwrap().unwrap();
    let mut over_table = numbers.cursor().unwrap();
    drop(numbers);
    store.close().unwrap();
    assert_eq!((from_memory.as_ref(), from_table.as_ref()), (&key(3)[..], &key(4)[..]));
    for cursor in [&mut over_memory, &mut over_table] {
        let mut count = 0;
        while let Some((key, value)) = cursor.next().unwrap() {
            assert_eq!(key, value);
            count += 1;
        }
        assert_eq!(count, 8);
    }
}
