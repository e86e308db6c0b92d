//! Schedules of the whole engine, each decided by its seed: see `orlop_tests::schedules`.
//!
//! `ORLOP_SCHEDULES=200000 cargo test --release -p orlop-tests --features shuttle --test schedules`
//! runs more; a failure names its seed, and `ORLOP_SEED=N ORLOP_SCHEDULES=1` runs it alone. With the
//! feature `seeded-bugs` as well, planted bugs must be found.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use orlop_tests::schedules;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn every_schedule_keeps_every_promise() {
    let (first, count) = (number("ORLOP_SEED", 1), number("ORLOP_SCHEDULES", 2000));
    let begun = Instant::now();
    let tally = schedules::run_count(first, count, number("ORLOP_THREADS", 2) as usize);
    let seconds = begun.elapsed().as_secs_f64();
    println!("{tally}{count} schedules in {seconds:.1} s: {:.0} a second", count as f64 / seconds);
    assert!(tally.failures().is_empty(), "{}", tally.failures().join("\n"));
    assert_eq!(tally.count("schedules"), count);
    let rare = ["schedules_cut", "schedule_faults", "schedules_poisoned", "schedule_compactions"];
    for name in rare.into_iter().filter(|_| count >= 1000) {
        assert!(tally.count(name) > count / 100, "{name} is too rare to mean anything");
    }
}

#[test]
fn loads_keep_their_promises_in_every_order() {
    schedules::loads::run(number("ORLOP_SEED", 1), number("ORLOP_SCHEDULES", 1000) as usize);
}

#[test]
fn what_a_load_says_is_there_is_there_on_a_full_disk_too() {
    schedules::loads::run_full(number("ORLOP_SEED", 1), number("ORLOP_SCHEDULES", 1000) as usize);
}

/// Bugs that need a second thread, or are seen by one: within a few hundred schedules each.
#[cfg(feature = "seeded-bugs")]
#[test]
fn planted_bugs_are_found() {
    use orlop::seeded::{Bug, plant};
    // Shuttle's threads all run on this one, and so do the bugs.
    for bug in [
        Bug::PublishedBeforeWritten,
        Bug::ViewBeforeEdit,
        Bug::SnapshotVersionsDropped,
        Bug::PoisonIgnored,
        Bug::FailedSyncRetried,
        Bug::RotatedSegmentUnsynced,
    ] {
        plant(Some(bug));
        let found = (1..=2000).find_map(|seed| {
            let broken = schedules::fingerprint(seed).err()?;
            Some((seed, broken))
        });
        plant(None);
        let (seed, broken) = found.unwrap_or_else(|| panic!("no schedule finds {}", bug.name()));
        println!("{} | {seed} schedules | {broken}", bug.name());
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 1..40 {
        let first = schedules::fingerprint(seed).unwrap();
        let second = schedules::fingerprint(seed).unwrap();
        assert_eq!(first.1, second.1, "seed {seed} has two runs");
        assert_eq!(first.0, second.0, "seed {seed} has two runs of one trace");
    }
}
