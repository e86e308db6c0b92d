//! What a killed process leaves on the stage, whole and damaged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop::env::{Env, SimEnv};
use orlop::{Background, Durability, Store};
use orlop_formats::filename::FileName;
use orlop_formats::stage::PROLOGUE_LEN;

const DIR: &str = "/store";

/// Commits that were synced, and those behind them that are on the stage only.
const SYNCED: u64 = 5;
const STAGED: u64 = 7;

fn open(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder().env(Arc::new(env.clone())).background(Background::Manual).open(Path::new(DIR))
}

/// A store whose process was killed behind its last commit, and the path of its stage.
fn killed() -> (SimEnv, PathBuf) {
    let env = SimEnv::new(7);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    for n in 1..=SYNCED + STAGED {
        let durability = if n <= SYNCED { Durability::Synced } else { Durability::Buffered };
        database.put_with("key", n.to_string(), durability).unwrap();
    }
    let image = env.kill();
    env.cut_after(env.operations());
    let (stage, _) = files(&image).into_iter().find(|(_, name)| is_stage(name)).unwrap();
    (image, stage)
}

fn is_stage(name: &str) -> bool {
    matches!(FileName::parse(name), Some(FileName::Stage(_)))
}

fn files(env: &SimEnv) -> Vec<(PathBuf, String)> {
    let entries = env.list(Path::new(DIR)).unwrap();
    entries.into_iter().map(|entry| (Path::new(DIR).join(&entry.name), entry.name)).collect()
}

/// How many commits a store shows; an error must name the stage.
fn shown(env: &SimEnv) -> Option<u64> {
    match open(env) {
        Ok(store) => {
            let value = store.database("d").unwrap().get("key").unwrap().unwrap();
            let shown = std::str::from_utf8(&value).unwrap().parse().unwrap();
            drop(store);
            assert!(files(env).iter().all(|(_, name)| !is_stage(name)), "it has done its work");
            Some(shown)
        }
        Err(error) => {
            assert!(error.to_string().contains(".stage"), "{error}");
            None
        }
    }
}

/// The same store with other bytes in its stage.
fn with_stage(env: &SimEnv, stage: &Path, bytes: &[u8]) -> SimEnv {
    let env = env.kill();
    let mut file = env.open_write(stage).unwrap();
    file.set_len(0).unwrap();
    file.write_at(0, bytes).unwrap();
    drop(file);
    env
}

#[test]
fn what_is_on_the_stage_outlives_the_process() {
    let (image, stage) = killed();
    assert_eq!(shown(&image.kill()), Some(SYNCED + STAGED));
    // Seen by who only reads, any number of times, and left where it is.
    for _ in 0..2 {
        let env = Arc::new(image.clone());
        let store = Store::builder().env(env).open_read_only(Path::new(DIR)).unwrap();
        let value = store.database("d").unwrap().get("key").unwrap().unwrap();
        assert_eq!(&*value, (SYNCED + STAGED).to_string().as_bytes());
    }
    let without = image.kill();
    without.remove(&stage).unwrap();
    assert_eq!(shown(&without), Some(SYNCED));
}

#[test]
fn a_damaged_stage_loses_nothing_that_was_synced_and_makes_nothing_up() {
    let (image, stage) = killed();
    let bytes = image.read(&stage).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut told, mut shorter) = (0, 0);
    for at in (0..64).chain(PROLOGUE_LEN as usize + 4096..used) {
        for bit in if at % 5 == 0 { 0..8 } else { at % 8..at % 8 + 1 } {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            match shown(&with_stage(&image, &stage, &bad)) {
                None => told += 1,
                Some(commits) => {
                    assert!((SYNCED..=SYNCED + STAGED).contains(&commits), "{at} {bit}: {commits}");
                    assert!(at >= 64, "byte {at} of the header: {commits}");
                    shorter += u64::from(commits < SYNCED + STAGED);
                }
            }
        }
    }
    assert!(told > 64, "{told}");
    assert!(shorter > 500, "{shorter}");
}

#[test]
fn any_part_of_a_stage_is_a_prefix() {
    let (image, stage) = killed();
    let bytes = image.read(&stage).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for len in [0, 1, 64, 4095, 4096, 4097, 8192, used, bytes.len() - 1, bytes.len()] {
        let shown = shown(&with_stage(&image, &stage, &bytes[..len]));
        assert!(shown.is_some_and(|shown| shown >= SYNCED) || len < 64 && len > 0, "{len}");
    }
    // A sector that a power cut has left as it was.
    for sector in (0..used).step_by(4096) {
        let mut bad = bytes.clone();
        bad[sector..sector + 4096].fill(0);
        assert!(shown(&with_stage(&image, &stage, &bad)).is_some_and(|shown| shown >= SYNCED));
    }
}

/// A process that is killed again and again, each time with commits on its stage.
#[test]
fn no_kill_loses_what_an_earlier_one_left() {
    let env = SimEnv::new(3);
    let mut image = env;
    for round in 0..20_u64 {
        let store = open(&image).unwrap();
        let database = store.database("d").unwrap();
        for earlier in 0..round {
            assert!(database.contains(earlier.to_be_bytes()).unwrap(), "{earlier} in {round}");
        }
        database.put_with(round.to_be_bytes(), [7; 300], Durability::Buffered).unwrap();
        let next = image.kill();
        image.cut_after(image.operations());
        image = next;
    }
}

/// Large commits, of which the second took the place of the first on the ring while the end of the first
/// had not reached its segment: both were lost.
#[test]
fn a_ring_that_comes_round_leaves_what_is_not_whole_in_its_segment() {
    for len in [100 << 10, 350 << 10, 600 << 10, 900 << 10, 1 << 20, 3 << 20] {
        let env = SimEnv::new(5);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        for n in 0..8_u64 {
            database.put_with(n.to_be_bytes(), vec![n as u8; len], Durability::Buffered).unwrap();
            // What is in flight may land late, or never.
            for image in [env.kill(), env.kill_late(u64::MAX)] {
                let store = open(&image).unwrap();
                let database = store.database("d").unwrap();
                for earlier in 0..=n {
                    let found = database.contains(earlier.to_be_bytes()).unwrap();
                    assert!(found, "{earlier} of {n}, {len} bytes each");
                }
            }
        }
        env.cut_after(env.operations());
    }
}

/// A frame behind the padding of a synced one fitted onto the ring, and the reader of it gave up before
/// its end.
#[test]
fn padding_counts_for_the_ring() {
    for below in (0..200).step_by(3).chain((200..6_000).step_by(97)) {
        let env = SimEnv::new(5);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        database.put_with("large", vec![0; 2 << 20], Durability::Synced).unwrap();
        database.put_with("synced", [1; 10], Durability::Synced).unwrap();
        let value = vec![2; (1 << 20) - below];
        database.put_with("staged", value, Durability::Buffered).unwrap();
        let image = env.kill_late(u64::MAX);
        env.cut_after(env.operations());
        let store = open(&image).unwrap();
        assert!(store.database("d").unwrap().contains("staged").unwrap(), "{below}");
    }
}

/// A commit without batches is as strong as any.
#[test]
fn an_empty_commit_shelters_those_before_it() {
    let env = SimEnv::new(5);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    database.put_with("first", "v", Durability::Synced).unwrap();
    database.put_with("k", "v", Durability::Memory).unwrap();
    store.batch().commit_with(Durability::Buffered).unwrap();
    let image = env.kill_late(u64::MAX);
    env.cut_after(env.operations());
    assert!(open(&image).unwrap().database("d").unwrap().contains("k").unwrap());
}

/// A batch that needs a segment of its own ended the one that had room for small ones.
#[test]
fn a_full_disk_leaves_the_room_that_there_is() {
    let env = SimEnv::new(5);
    let store = open(&env).unwrap();
    let database = store.database("d").unwrap();
    database.put("k", "v").unwrap();
    env.set_full(true);
    let large = database.put("large", vec![1; 200 << 10]);
    assert!(matches!(large, Err(orlop::Error::DiskFull { .. })), "{large:?}");
    database.put("k", "w").unwrap();
    assert_eq!(store.stats().poisoned, None);
}

/// Where no stage can be made, the device has each commit before it is acknowledged.
#[test]
fn without_a_stage_a_commit_waits_for_its_segment() {
    for at in 1..30 {
        let env = SimEnv::new(5);
        let store = open(&env).unwrap();
        let database = store.database("d").unwrap();
        database.put("first", "v").unwrap();
        env.fail_at(env.operations() + at, orlop::env::FaultKind::StorageFull);
        let mut promised = Vec::new();
        for n in 0..5_u64 {
            if database.put_with(n.to_be_bytes(), "v", Durability::Buffered).is_ok() {
                promised.push(n);
            }
        }
        let image = env.kill_late(u64::MAX);
        env.cut_after(env.operations());
        let store = open(&image).unwrap();
        let database = store.database("d").unwrap();
        for n in promised {
            assert!(database.contains(n.to_be_bytes()).unwrap(), "{n}, operation {at} failed");
        }
    }
}
