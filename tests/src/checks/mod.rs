//! Checks: each a way to look for a kind of bug, for as long as one likes: the suites of the soak,
//! and a few that have no other place.
//!
//! They are told nothing of what may be wrong. The runner of seeded bugs (`seeded.rs`, with
//! the feature `seeded-bugs`) plants one bug after the other and sees which check notices; without
//! a bug every check must pass.

mod model;
mod order;
mod play;
mod readers;
mod shorn;
mod suites;
mod trace;

use std::time::{Duration, Instant};

/// A way to look for bugs.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name, on the command line and in the table.
    pub name: &'static str,
    /// Looks until it is through, finds something or the budget is used up. Gives the number of
    /// cases.
    ///
    /// # Errors
    /// What was found, in one line.
    pub run: fn(&mut Budget) -> Result<u64, String>,
    /// Whether it knows how the engine does what it does. It comes last: what it finds must be found
    /// without that knowledge, too.
    pub knows_protocol: bool,
}

impl Check {
    const fn of(name: &'static str, run: fn(&mut Budget) -> Result<u64, String>) -> Self {
        Self { name, run, knows_protocol: false }
    }
}

/// All checks, the cheap ones first.
pub const ALL: &[Check] = &[
    Check::of("model", model::run),
    Check::of("readers", readers::run),
    Check::of("crashes", suites::crashes),
    Check::of("damage", suites::damage),
    Check::of("faults", suites::faults),
    Check::of("reads", suites::reads),
    Check::of("lies", suites::lies),
    Check::of("shorn", shorn::run),
    Check { knows_protocol: true, ..Check::of("order", order::run) },
];

/// What a check may use, and how far it has come.
#[derive(Debug)]
pub struct Budget {
    /// Where randomness begins.
    pub seed: u64,
    until: Instant,
    most: u64,
    cases: u64,
}

impl Budget {
    /// A budget that ends after `time`.
    pub fn of(time: Duration, seed: u64) -> Self {
        Self { seed, until: Instant::now() + time, most: u64::MAX, cases: 0 }
    }

    /// The same, which ends after `cases` at the latest.
    #[must_use]
    pub fn at_most(self, cases: u64) -> Self {
        Self { most: cases, ..self }
    }

    /// Whether it is used up: what is done so far is all.
    pub fn is_over(&self) -> bool {
        self.cases >= self.most || Instant::now() >= self.until
    }

    /// Counts cases.
    pub fn add(&mut self, cases: u64) {
        self.cases += cases;
    }

    /// The cases so far, also of a check that found something.
    pub fn cases(&self) -> u64 {
        self.cases
    }
}

/// The command that runs one check again.
pub fn again(check: &Check, seed: u64) -> String {
    format!("cargo run --release -p orlop-tests -- checks --only {} --seed {seed}", check.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_passes_as_far_as_a_second_reaches() {
        for check in ALL {
            let mut budget = Budget::of(Duration::from_secs(1), 1);
            if let Err(found) = (check.run)(&mut budget) {
                panic!("{}: {found}: {}", check.name, again(check, 1));
            }
            assert!(budget.cases() > 5, "{} did nothing", check.name);
        }
    }
}
