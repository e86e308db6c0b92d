//! Fails every operation of a history once, with a device error and with a full disk: nothing
//! acknowledged may be lost, now, after a restart, or after a power cut that follows it.

use orlop::env::{FaultKind, Keep, SimEnv};
use orlop::{Durability, Error};
use orlop_tests::history::{self, Change, SMALL, Step};
use orlop_tests::model::Model;

fn put(name: &str, key: u32, value: &str) -> Change {
    Change::Put(name.to_owned(), format!("key{key:03}").into_bytes(), value.repeat(15).into_bytes())
}

fn script() -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..5_u32 {
        for at in 0..5 {
            let durability = [Durability::Synced, Durability::Buffered, Durability::Memory];
            let durability = durability[(round + at) as usize % 3];
            let changes = vec![put("a", at * 3, "abc"), put("b", round * 5 + at, "d")];
            steps.push(Step::Commit(changes, durability));
        }
        steps.push(if round % 2 == 0 { Step::Flush } else { Step::Background });
    }
    steps.extend([Step::Compact, Step::Reopen]);
    steps.push(Step::Commit(vec![put("a", 1, "z")], Durability::Synced));
    steps
}

fn sweep(kind: FaultKind) {
    let steps = script();
    let mut at = 1;
    let mut surfaced = 0;
    loop {
        let env = SimEnv::new(3);
        env.fail_at(at, kind);
        let promise = history::run(&env, SMALL, Model::new(), &steps);
        let ended = env.operations() < at;
        surfaced += u64::from(promise.error.is_some());
        if let Some(Error::Corrupt { .. }) = &promise.error {
            panic!(
                "fault {kind:?} at operation {at} was taken for corruption: {:?}",
                promise.error
            );
        }
        let context = |how: &str| format!("{kind:?} at operation {at}, {how}");
        // A restart sees the page cache; then the power goes, and takes nothing that was served.
        let restarted = env.kill();
        let (store, k) = history::recovered(&restarted, SMALL, &promise, promise.kill)
            .unwrap_or_else(|error| panic!("{}: {error}", context("then a restart")));
        for keep in [Keep::Nothing, Keep::Random(at)] {
            if let Err(error) = history::recovered(&restarted.crash(keep), SMALL, &promise, k) {
                panic!("{}: {error}", context(&format!("a restart, then power cut {keep:?}")));
            }
        }
        drop(store);
        for keep in history::keeps(&env, at) {
            if let Err(error) = history::recovered(&env.crash(keep), SMALL, &promise, promise.power)
            {
                panic!("{}: {error}", context(&format!("then power cut {keep:?}")));
            }
        }
        if ended {
            break;
        }
        at += 1;
    }
    println!("{kind:?}: {at} operations failed once each, {surfaced} surfaced as errors");
    assert!(surfaced * 2 > at, "most failures must be told: {surfaced} of {at}");
}

#[test]
fn a_device_error_at_every_operation_loses_nothing() {
    sweep(FaultKind::Io);
}

#[test]
fn a_full_disk_at_every_operation_loses_nothing() {
    sweep(FaultKind::StorageFull);
}
