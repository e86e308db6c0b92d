//! Testing the tests: historic bugs are planted in the engine, one after the other, and each must
//! be noticed by a check.
//!
//! 1. without a bug every check passes; otherwise nothing that follows means anything
//! 2. a thread plants a bug, and runs the checks in their order until one of them finds something:
//!    first a few hundred cases of each, then some times as many, and so on
//! 3. a bug that no check finds is a failure of the checks
//!
//! Historic bugs that are not among them, and why:
//!
//! | bug | why not |
//! |---|---|
//! | RocksDB 6.11: two compactions with the same inputs | one step of the background at a time, under a lock; the suites of schedules look at that |
//! | CockroachDB #89777, Pebble #2042: range tombstones beyond the bounds of their files | the manifest has them, not files |
//! | Pebble #3865: a dirty buffer of the log's reader | a segment is read whole, a frame is never split |
//! | RocksDB PR #14158, #8894, #11242: completions of a shared ring | below the simulated disk; the tests of `engine/src/env/uring` |
//! | RocksDB 5.15.0, py-lmdb #269: mappings that change | a mapped file is never written again |
//! | redb 4.2.0: a crash while the file grows | files are written once, segments reserve their space |
//! | RocksDB 9.4.0, Pebble #5142: checkpoints | there are none |
//! | LMDB CVE-2019-16224: crafted files | the decoders are fuzzed, they have no switch |
//! | fjall #287: a panic that poisons locks | a panic is no wrong step; the tests of the queue and of the background's guard have it |
//! | RocksDB 8.11.0: readers of maps in tools | the tools read files, not maps |
//! | TigerBeetle: results that an index lacks | there is no index; its equal is `filter-misses-keys` |

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError};
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
    check: Check,
    cases: u64,
    time: Duration,
    found: String,
}

/// Runs every bug against every check; counts `seeded_total` and `seeded_caught`, and among these those
/// that only a check has noticed that knows the protocol.
pub fn run(limits: &Limits) -> Tally {
    run_plan(limits, &Plan::default())
}

/// The same for some bugs and checks.
pub fn run_plan(limits: &Limits, plan: &Plan) -> Tally {
    let tally = Mutex::new(Tally::default());
    let add = |part: Tally| tally.lock().unwrap_or_else(PoisonError::into_inner).merge(part);
    hush();
    share(limits, &plan.checks, |check| add(without_a_bug(limits, plan, check)));
    add(header(plan));
    let missing = share(limits, &plan.bugs, |bug| add(one(limits, plan, *bug)));
    if missing > 0 {
        let mut tally = Tally::default();
        let line = format!("orlop-tests seeded # time was up before {missing} bugs were tried");
        tally.fail("seeded_untried", line);
        add(tally);
    }
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does a job for each item, on as many threads as there may be. Gives how many were not begun
/// when time was up.
fn share<T: Sync>(limits: &Limits, items: &[T], job: impl Fn(&T) + Sync) -> usize {
    let left = Mutex::new(items.iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..limits.threads.max(1) {
            scope.spawn(|| {
                while !limits.is_over()
                    && let Some(item) = next()
                {
                    job(item);
                }
            });
        }
    });
    left.into_inner().unwrap_or_else(PoisonError::into_inner).len()
}

thread_local! {
    static HUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Panics under a check are results: nobody wants to read them one by one.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !HUNTING.get() {
                before(panic);
            }
        }));
    });
}

/// Part of the time for a bug that a check without one gets: the soak runs most of them for longer.
const WITHOUT: u32 = 4;

/// Step 1 for one check.
fn without_a_bug(limits: &Limits, plan: &Plan, check: &Check) -> Tally {
    let mut tally = Tally::default();
    tally.add("seeded_false_alarms", 0);
    let mut budget = Budget::of(plan.time / WITHOUT, limits.seed);
    let start = Instant::now();
    let found = attempt(check, &mut budget);
    tally.add("seeded_baseline_cases", budget.cases());
    let (name, cases, time) = (check.name, budget.cases(), start.elapsed().as_secs_f64());
    let row = format!("no bug | {name} | {cases} cases | {time:.1} s");
    (plan.progress)(&row);
    tally.note(row);
    if let Err(found) = found {
        let again = checks::again(check, limits.seed);
        let line = format!("no bug is planted, {name}: {found}: {again}");
        tally.fail("seeded_false_alarms", line);
    }
    tally
}

fn header(plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    tally.add("seeded_total", plan.bugs.len() as u64);
    tally.add("seeded_caught", 0);
    tally.add("seeded_missed", 0);
    tally.add("seeded_by_protocol", 0);
    tally.note("bug | after | caught by | cases | seconds | what it says");
    tally
}

/// Steps 2 and 3 for one bug.
fn one(limits: &Limits, plan: &Plan, bug: Bug) -> Tally {
    let mut tally = Tally::default();
    let caught = hunt(limits, plan, bug);
    for Caught { check, cases, time, found } in &caught {
        let check = check.name;
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
        let knows = |caught: &Caught| caught.check.knows_protocol;
        tally.add("seeded_by_protocol", u64::from(caught.iter().all(knows)));
    }
    tally
}

/// Cases of each check, round by round.
const ROUNDS: [u64; 5] = [300, 2_000, 5_000, 30_000, u64::MAX];

/// The checks that find a bug: the first, or all.
fn hunt(limits: &Limits, plan: &Plan, bug: Bug) -> Vec<Caught> {
    if plan.every_check {
        let each = |check| hunt_with(limits, bug, check, plan.time, u64::MAX);
        return plan.checks.iter().filter_map(each).collect();
    }
    let start = Instant::now();
    for (round, most) in ROUNDS.into_iter().enumerate() {
        // What knows the protocol must not be the first to find anything.
        let late = round > 0;
        for check in plan.checks.iter().filter(|check| late || !check.knows_protocol) {
            let left = plan.time.saturating_sub(start.elapsed());
            if let Some(caught) = hunt_with(limits, bug, check, left, most) {
                return vec![Caught { time: start.elapsed(), ..caught }];
            }
        }
    }
    Vec::new()
}

/// Plants a bug and runs one check.
fn hunt_with(
    limits: &Limits,
    bug: Bug,
    check: &Check,
    time: Duration,
    most: u64,
) -> Option<Caught> {
    let begun = Instant::now();
    let mut budget = Budget::of(time, limits.seed).at_most(most);
    seeded::plant(Some(bug));
    let found = attempt(check, &mut budget);
    seeded::plant(None);
    let found = found.err()?;
    Some(Caught { check: *check, cases: budget.cases(), time: begun.elapsed(), found })
}

/// A check whose panics are findings.
fn attempt(check: &Check, budget: &mut Budget) -> Result<u64, String> {
    HUNTING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (check.run)(budget)));
    HUNTING.set(false);
    outcome.unwrap_or_else(|panic| {
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
        let time = Duration::from_secs(4);
        let blind = Plan { time, ..plan(&[Bug::SuperblockUnsynced], &["model"]) };
        let blind = run_plan(&limits, &blind);
        assert_eq!(blind.count("seeded_missed"), 1, "{blind}");
        assert!(blind.failures()[0].contains("seeded --bug superblock-unsynced"), "{blind}");
    }
}
