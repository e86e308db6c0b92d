//! Bulk loads beside readers and upkeep, in orders in which few threads are stopped, and those for long: what they are about
//! to do then meets all that others do in one go.
//!
//! Each round loads a number under two keys, and then writes it under a third: who sees that sees the load, and of a load all.

use std::sync::Arc;

use orlop::env::SimEnv;
use orlop::{Background, Database, Durability, Error, Store};
use shuttle::Runner;
use shuttle::scheduler::PctScheduler;
use shuttle::thread;

use super::afterlife::{open, open_beside};
use super::config;

const ROUNDS: u8 = 3;

/// Times that a thread is stopped in a schedule, but for those when it waits.
const STOPS: usize = 4;

/// Two keys of each load, far apart, and the one that is written behind it.
const KEYS: [&[u8]; 3] = [b"a", b"y", b"marker"];

/// Runs so many schedules.
///
/// # Panics
/// If one breaks a rule.
pub fn run(seed: u64, schedules: usize) {
    let scheduler = PctScheduler::new_from_seed(seed, STOPS, schedules);
    Runner::new(scheduler, config()).run(|| {
        let env = SimEnv::new(7);
        let store = open(&env, Background::Thread, 2 << 10).expect("a new disk");
        let database = store.database("d").expect("a name");
        database.put_with(KEYS[2], [0], Durability::Buffered).expect("nothing fails here");
        let shared = Arc::new((env.clone(), store.clone(), database));
        let start = |work: fn(&(SimEnv, Store, Database))| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared))
        };
        let threads = [load, look, look_beside, maintain].map(start);
        threads.into_iter().for_each(|thread| thread.join().expect("a thread keeps the rules"));
        store.close().expect("nothing fails here");
        // What was finished is there for good.
        let store = open(&env, Background::Manual, 2 << 10).expect("it was closed");
        let database = store.database("d").expect("a name");
        let found = database.multi_get(&KEYS).expect("it can be read");
        assert!(found.iter().all(|value| value.as_deref() == Some(&[ROUNDS][..])), "{found:?}");
    });
}

fn load((_, _, database): &(SimEnv, Store, Database)) {
    for round in 1..=ROUNDS {
        let mut load = database.resume_bulk_load().expect("it is the only one");
        load.put(KEYS[0], [round]).expect("it is the first");
        if round == 2 {
            load.checkpoint().expect("nothing fails here");
            drop(load);
            load = database.resume_bulk_load().expect("the other one is gone");
            assert_eq!(load.last_key(), Some(KEYS[0]));
        }
        load.put(KEYS[1], [round]).expect("it is behind the first");
        load.finish().expect("nothing fails here");
        database.put_with(KEYS[2], [round], Durability::Buffered).expect("nothing fails here");
    }
}

fn check(found: &[Option<u8>]) {
    let [first, last, marker] = found else { panic!("three keys") };
    assert_eq!(first, last, "of a load all is there, or nothing");
    assert!(first.unwrap_or(0) >= marker.unwrap_or(0), "{found:?}");
}

fn look((_, _, database): &(SimEnv, Store, Database)) {
    let mut least = Vec::new();
    for _ in 0..4 {
        let entries: Vec<(Vec<u8>, u8)> = database
            .iter()
            .map(|entry| entry.map(|(key, value)| (key, value[0])).expect("it can be read"))
            .collect();
        let value = |key: &&[u8]| entries.iter().find(|(of, _)| of == key).map(|(_, value)| *value);
        check(&KEYS.iter().map(value).collect::<Vec<_>>());
        let found = database.multi_get(&KEYS).expect("it can be read");
        let found: Vec<_> =
            found.iter().map(|value| value.as_ref().map(|value| value[0])).collect();
        check(&found);
        assert!(least.iter().zip(&found).all(|(least, now)| least <= now), "{least:?} {found:?}");
        least = found;
    }
}

/// Runs so many schedules in which the disk is full for a while. What a checkpoint has said is there is there.
///
/// # Panics
/// If one breaks a rule.
pub fn run_full(seed: u64, schedules: usize) {
    let scheduler = PctScheduler::new_from_seed(seed, STOPS, schedules);
    Runner::new(scheduler, config()).run(|| {
        let env = SimEnv::new(7);
        let store = open(&env, Background::Thread, 2 << 10).expect("a new disk");
        let database = store.database("d").expect("a name");
        database.put(b"there", b"before").expect("nothing fails here");
        let full = {
            let env = env.clone();
            thread::spawn(move || {
                thread::yield_now();
                env.set_full(true);
                thread::yield_now();
                env.set_full(false);
            })
        };
        let mut promised = None;
        for round in 1..=ROUNDS {
            let Ok(mut load) = database.resume_bulk_load() else { continue };
            let done = load.put([round], [round]).and_then(|()| load.checkpoint());
            if done.is_ok() {
                promised = Some(vec![round]);
            }
            if round == ROUNDS && load.finish().is_ok() {
                let found = database.get([ROUNDS]).expect("it can be read");
                assert!(found.is_some() || done.is_err(), "it was finished");
                promised = None;
            }
        }
        full.join().expect("it fails nowhere");
        let left = database.resume_bulk_load().expect("the disk has space");
        assert!(left.last_key() >= promised.as_deref(), "{promised:?} was at a checkpoint");
        drop(left);
        assert!(store.stats().poisoned.is_none());
        assert_eq!(
            database.get(b"there").expect("it can be read").as_deref(),
            Some(&b"before"[..])
        );
    });
}

fn look_beside((env, _, _): &(SimEnv, Store, Database)) {
    for _ in 0..2 {
        let beside = match open_beside(env) {
            Ok(beside) => beside,
            // A schedule can take a file away in every one of its tries.
            Err(Error::Io { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let database = beside.database("d").expect("a name");
        let found = database.multi_get(&KEYS).expect("it can be read");
        check(&found.iter().map(|value| value.as_ref().map(|value| value[0])).collect::<Vec<_>>());
    }
}

fn maintain((_, store, _): &(SimEnv, Store, Database)) {
    store.flush().expect("nothing fails here");
    store.compact().expect("nothing fails here");
    assert!(store.stats().loading_tables <= 2);
    store.flush().expect("nothing fails here");
}
