//! Every operation and every reading call of a history fails: nothing acknowledged may be lost,
//! now, after a restart, or after a power cut that follows it, and nothing may read wrong.

use std::sync::Arc;
use std::time::Duration;

use orlop::env::{Keep, SimEnv};
use orlop::{Background, Durability, Error, Store};
use orlop_tests::crash::part::Part;
use orlop_tests::crash::workload::Workload;
use orlop_tests::crash::{faults, lies, reads};
use orlop_tests::tally::{Limits, Tally};

fn assert_clean(tally: &Tally) {
    println!("{tally}");
    assert!(tally.failures().is_empty(), "{}", tally.failures().join("\n"));
}

#[test]
fn no_failing_operation_loses_what_was_acknowledged() {
    let tally = faults::run(&Limits::of(Duration::ZERO, 1, 1));
    assert!(tally.count("faults") > 500, "{}", tally.count("faults"));
    assert!(tally.count("fsync_variants") > 200, "{}", tally.count("fsync_variants"));
    assert_clean(&tally);
}

#[test]
fn random_histories_survive_failing_operations() {
    let mut tally = Tally::default();
    for seed in 100..103 {
        faults::sweep(&Workload::random(seed), Part::WHOLE, &mut tally);
    }
    assert_clean(&tally);
}

#[test]
fn no_failing_read_is_taken_for_the_end_of_a_file() {
    let mut tally = Tally::default();
    reads::sweep(&Workload::random(3).only(&[0, 1, 2, 3, 4, 5, 6, 7]), Part::WHOLE, &mut tally);
    assert!(tally.count("read_faults") > 500, "{}", tally.count("read_faults"));
    assert_clean(&tally);
}

#[test]
fn no_lie_of_a_device_makes_a_state_that_never_was() {
    let mut tally = Tally::default();
    lies::sweep(&"script:synced".parse().unwrap(), Part::WHOLE, &mut tally);
    lies::sweep(&"script:buffered".parse().unwrap(), Part::WHOLE, &mut tally);
    assert_clean(&tally);
    assert!(tally.count("lies_detected") > 25, "{}", tally.count("lies_detected"));
}

/// A full disk at any moment is told to the writers, spoils nothing, and when there is room again
/// they go on without a restart.
#[test]
fn writers_go_on_when_a_full_disk_has_room_again() {
    for full_from in 0..40_u32 {
        let env = SimEnv::new(1);
        let builder = Store::builder().env(Arc::new(env.clone())).background(Background::Manual);
        let store = builder.memtable_size(4 << 10).table_size(4 << 10).open("/store").unwrap();
        let database = store.database("d").unwrap();
        let (mut expected, mut synced) = (Vec::new(), 0);
        for n in 0..60_u32 {
            env.set_full((full_from..full_from + 15).contains(&n));
            let key = format!("{n:04}").into_bytes();
            let durability = [Durability::Synced, Durability::Buffered][n as usize % 2];
            let mut batch = store.batch();
            batch.put(&database, &key, [n as u8; 400]).unwrap();
            match batch.commit_with(durability) {
                Ok(()) => {
                    expected.push(key);
                    if durability == Durability::Synced {
                        synced = expected.len();
                    }
                }
                Err(Error::DiskFull { .. }) => {}
                Err(error) => assert!(store.stats().poisoned.is_some(), "{error}"),
            }
            // Flushes fail meanwhile, and are tried again.
            let _ = store.step();
        }
        if let Some(cause) = store.stats().poisoned {
            panic!("full from {full_from} on: poisoned by a full disk: {cause}");
        }
        let found: Vec<Vec<u8>> = database.iter().map(|entry| entry.unwrap().0.to_vec()).collect();
        assert_eq!(found, expected, "full from {full_from} on");
        assert!(expected.len() >= 45, "only {} commits went through", expected.len());
        for (left, least) in [(env.kill(), expected.len()), (env.crash(Keep::Nothing), synced)] {
            let builder = Store::builder().env(Arc::new(left)).background(Background::Manual);
            let database = builder.open("/store").unwrap().database("d").unwrap();
            let found: Vec<_> = database.iter().map(|entry| entry.unwrap().0.to_vec()).collect();
            assert!(
                found.len() >= least && expected.starts_with(&found),
                "full from {full_from} on"
            );
        }
        store.close().unwrap();
    }
}
