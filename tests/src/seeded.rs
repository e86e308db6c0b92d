//! Testing the tests: historic bugs are planted in the engine, one after the other, and each must
//! be noticed by a check.
//!
//! 1. without a bug every check passes; otherwise nothing that follows means anything
//! 2. a thread plants a bug, and runs the checks in their order until one of them finds something
//! 3. a bug that no check finds is a failure of the checks

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use orlop::seeded::{self, Bug};

use crate::checks::{self, Budget, Check};
use crate::tally::{Limits, Tally};

/// What is to be tried, and how hard.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The bugs.
    pub bugs: Vec<Bug>,
    /// The checks.
    pub checks: Vec<Check>,
    /// Whether the checks after the first that finds a bug run too.
    pub every_check: bool,
    /// Time for each bug; with `every_check`, for each check.
    pub time: Duration,
    /// Hears of each row of the table when it is there; the tally has them all at the end.
    pub progress: fn(&str),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            bugs: Bug::ALL.to_vec(),
            checks: checks::ALL.to_vec(),
            every_check: false,
            time: Duration::from_secs(60),
            progress: |_| {},
        }
    }
}

/// What one check made of one bug.
struct Caught {
    check: &'static str,
    cases: u64,
    time: Duration,
    found: String,
}

/// Runs every bug against every check; counts `seeded_total` and `seeded_caught`.
pub fn run(limits: &Limits) -> Tally {
    run_plan(limits, &Plan::default())
}

/// The same for some bugs and checks.
pub fn run_plan(limits: &Limits, plan: &Plan) -> Tally {
    let tally = Mutex::new(Tally::default());
    let add = |part: Tally| tally.lock().unwrap_or_else(PoisonError::into_inner).merge(part);
    let quiet = Quiet::new();
    add(baseline(limits, plan));
    add(header());
    let left = Mutex::new(plan.bugs.iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..limits.threads.max(1) {
            scope.spawn(|| {
                while let Some(bug) = next().filter(|_| !limits.is_over()) {
                    add(one(limits, plan, *bug));
                }
            });
        }
    });
    drop(quiet);
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Panics of the engine are results here: nobody wants to read them one by one.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        panic::set_hook(Box::new(|_| {}));
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = panic::take_hook();
    }
}

/// Step 1.
fn baseline(limits: &Limits, plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    tally.add("seeded_false_alarms", 0);
    for check in &plan.checks {
        let mut budget = Budget::of(plan.time, limits.seed);
        let start = Instant::now();
        let found = attempt(check, &mut budget);
        tally.add("seeded_baseline_cases", budget.cases());
        let (name, cases, time) = (check.name, budget.cases(), start.elapsed().as_secs_f64());
        let row = format!("no bug | {name} | {cases} cases | {time:.1} s");
        (plan.progress)(&row);
        tally.note(row);
        if let Err(found) = found {
            let again = checks::again(check, limits.seed);
            tally.fail(
                "seeded_false_alarms",
                format!("no bug is planted, {name}: {found}: {again}"),
            );
        }
    }
    tally
}

fn header() -> Tally {
    let mut tally = Tally::default();
    for count in ["seeded_total", "seeded_caught", "seeded_missed"] {
        tally.add(count, 0);
    }
    tally.note("bug | after | caught by | cases | seconds | what it says");
    tally
}

/// Steps 2 and 3 for one bug.
fn one(limits: &Limits, plan: &Plan, bug: Bug) -> Tally {
    let mut tally = Tally::default();
    tally.add("seeded_total", 1);
    let caught = hunt(limits, plan, bug);
    for Caught { check, cases, time, found } in &caught {
        let (name, source, time) = (bug.name(), bug.source(), time.as_secs_f64());
        let row = format!("{name} | {source} | {check} | {cases} | {time:.2} | {found}");
        (plan.progress)(&row);
        tally.note(row);
    }
    if caught.is_empty() {
        let name = bug.name();
        let again = format!(
            "cargo run --release -p orlop-tests --features seeded-bugs -- seeded --bug {name} \
             --seed {}",
            limits.seed
        );
        let row = format!("no check notices {name}: {again}");
        (plan.progress)(&row);
        tally.fail("seeded_missed", row);
    } else {
        tally.add("seeded_caught", 1);
    }
    tally
}

/// The checks that find a bug: the first, or all.
fn hunt(limits: &Limits, plan: &Plan, bug: Bug) -> Vec<Caught> {
    let start = Instant::now();
    let mut caught = Vec::new();
    for check in &plan.checks {
        let begun = Instant::now();
        let left = plan.time.saturating_sub(start.elapsed());
        let time = if plan.every_check { plan.time } else { left };
        let mut budget = Budget::of(time, limits.seed);
        seeded::plant(Some(bug));
        let found = attempt(check, &mut budget);
        seeded::plant(None);
        let since = if plan.every_check { begun } else { start };
        if let Err(found) = found {
            let (cases, time) = (budget.cases(), since.elapsed());
            caught.push(Caught { check: check.name, cases, time, found });
            if !plan.every_check {
                break;
            }
        }
    }
    caught
}

/// A check whose panics are findings.
fn attempt(check: &Check, budget: &mut Budget) -> Result<u64, String> {
    panic::catch_unwind(AssertUnwindSafe(|| (check.run)(budget))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("without a text")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(bugs: &[Bug], checks: &[&str]) -> Plan {
        let named = checks::ALL.iter().filter(|check| checks.contains(&check.name)).copied();
        Plan { bugs: bugs.to_vec(), checks: named.collect(), ..Plan::default() }
    }

    #[test]
    fn bugs_are_caught_or_reported_with_the_command_that_shows_it() {
        let limits = Limits::of(Duration::from_secs(60), 1, 2);
        let both = plan(&[Bug::RunsOutOfOrder, Bug::SuperblockUnsynced], &["model", "order"]);
        let tally = run_plan(&limits, &both);
        assert_eq!((tally.count("seeded_total"), tally.count("seeded_caught")), (2, 2), "{tally}");
        assert_eq!(tally.count("failures"), 0, "{tally}");
        // A check of histories without crashes cannot see a missing sync.
        let blind = run_plan(&limits, &plan(&[Bug::SuperblockUnsynced], &["model"]));
        assert_eq!(blind.count("seeded_missed"), 1, "{blind}");
        assert!(blind.failures()[0].contains("seeded --bug superblock-unsynced"), "{blind}");
    }
}
