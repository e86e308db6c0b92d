//! The checks that are held against planted bugs, and the planting.

use std::time::{Duration, Instant};

use clap::Args;
use orlop_tests::checks::{self, Budget};
use orlop_tests::tally::Tally;

use super::Outcome;

/// Runs the checks on the engine as it is
#[derive(Debug, Args)]
pub(crate) struct Checks {
    /// One check instead of all
    #[arg(long)]
    only: Option<String>,
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds for each check
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Checks {
    /// Runs it.
    ///
    /// # Errors
    /// A check that does not exist.
    pub(crate) fn run(self) -> Outcome {
        let wanted = |name: &str| self.only.as_deref().is_none_or(|only| only == name);
        let chosen: Vec<_> = checks::ALL.iter().filter(|check| wanted(check.name)).collect();
        if chosen.is_empty() {
            let names: Vec<_> = checks::ALL.iter().map(|check| check.name).collect();
            return Err(format!("--only takes one of {}", names.join(", ")));
        }
        let mut tally = Tally::default();
        for check in chosen {
            let mut budget = Budget::of(Duration::from_secs(self.seconds), self.seed);
            let start = Instant::now();
            let found = (check.run)(&mut budget);
            tally.note(format!("{}: {:.1} s", check.name, start.elapsed().as_secs_f64()));
            tally.add(&format!("check_{}", check.name.replace('-', "_")), budget.cases());
            if let Err(found) = found {
                let again = checks::again(check, self.seed);
                tally.fail("found", format!("{}: {found}: {again}", check.name));
            }
        }
        Ok(tally)
    }
}

/// Plants historic bugs in the engine; each must be noticed by a check
#[cfg(feature = "seeded-bugs")]
#[derive(Debug, Args)]
pub(crate) struct Seeded {
    /// This bug instead of all; can be given several times
    #[arg(long)]
    bug: Vec<orlop::seeded::Bug>,
    /// One check instead of all
    #[arg(long)]
    check: Option<String>,
    /// Also run the checks behind the first that notices a bug
    #[arg(long)]
    every_check: bool,
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds for each bug
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// When to begin no other bug
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Threads, each with a bug of its own
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[cfg(feature = "seeded-bugs")]
impl Seeded {
    /// Runs it.
    ///
    /// # Errors
    /// A time that is none. A bug that is not noticed is in the tally.
    pub(crate) fn run(self) -> Outcome {
        use orlop_tests::seeded::{Plan, run_plan};
        use orlop_tests::tally::Limits;
        let time = Duration::from_secs(self.seconds);
        let progress = |row: &str| eprintln!("{row}");
        let all = Plan { every_check: self.every_check, time, progress, ..Plan::default() };
        let wanted = |name: &str| self.check.as_deref().is_none_or(|check| check == name);
        let plan = Plan {
            bugs: if self.bug.is_empty() { all.bugs.clone() } else { self.bug },
            checks: all.checks.iter().filter(|check| wanted(check.name)).copied().collect(),
            ..all
        };
        let whole = Duration::try_from_secs_f64(self.minutes * 60.0);
        let whole = whole.map_err(|error| format!("--minutes {}: {error}", self.minutes))?;
        Ok(run_plan(&Limits::of(whole, self.seed, self.threads), &plan))
    }
}
