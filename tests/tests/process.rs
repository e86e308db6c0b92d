//! A short piece of each ordeal of real processes (`orlop-tests kill`, `inject` and `power` run
//! them at length). What a machine does not allow is skipped, with one line that says why.

use std::path::Path;
use std::time::Duration;

use orlop_tests::process::injected::{self, Choice};
use orlop_tests::process::{kill, power};
use orlop_tests::tally::{Limits, Tally};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_orlop-tests"))
}

/// The notes, which tell what was skipped, are printed; failures fail the test.
fn passed(tally: &Tally) {
    print!("{tally}");
    assert!(tally.failures().is_empty(), "{tally}");
}

#[test]
fn thirty_kills_lose_nothing() {
    let limits = Limits::of(Duration::from_secs(15), 11, 1);
    let tally = kill::run_with(&limits, program(), 30);
    passed(&tally);
    assert!(tally.count("kills") >= 10, "{tally}");
    assert!(tally.count("acked") > 0, "{tally}");
}

#[test]
fn failing_system_calls_are_told_and_nothing_is_lost() {
    let limits = Limits::of(Duration::from_secs(10), 12, 1);
    let choice = Choice { program: program().to_owned(), most: 20, only: None };
    let tally = injected::run_with(&limits, &choice);
    passed(&tally);
    let skipped = tally.to_string().contains("injected errors are skipped");
    assert!(skipped || tally.count("injected") > 0, "{tally}");
}

#[test]
fn five_power_cuts_keep_what_was_synced() {
    let limits = Limits::of(Duration::from_secs(10), 13, 1);
    let tally = power::run_with(&limits, program(), 5);
    passed(&tally);
    let skipped = tally.to_string().contains("power cuts are skipped");
    assert!(skipped || tally.count("power_cuts") > 0, "{tally}");
}
