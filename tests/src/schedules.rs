//! Schedules: the whole engine on the simulated disk, with every thread's next step, every failure
//! and the moment of the crash decided by one seed.
//!
//! A seed gives a `plan`: writers, readers, upkeep, perhaps a close, perhaps failing operations,
//! perhaps a power cut. Its `actors` run under shuttle, one step at a time, in an order that the
//! dice of the `scheduler` decide. A `journal` keeps what was promised to whom and what was seen,
//! and compares it with the `afterlife`: what the crash has left.
//!
//! A step of the engine ends at every lock, atomic, thread, and call of the environment; what goes
//! on inside of the memtable and of the epochs is one step. Time runs out when the dice say so, or
//! never: a thread that waits for a word that nobody will say is found as a deadlock.

mod actors;
mod afterlife;
mod journal;
pub mod loads;
mod plan;
mod scheduler;

use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use self::actors::Facts;
use self::journal::Broken;
use self::scheduler::{Seeded, Steps};
use crate::tally::{Limits, Tally};

/// Steps after which a run is taken for one without an end. The longest honest ones have a tenth.
const MAX_STEPS: usize = 1_000_000;

/// Bytes of stack for each thread of the engine.
const STACK: usize = 512 << 10;

/// The counts of failures, each printed also when it is 0.
const ZEROS: [&str; 9] = [
    "deadlocks",
    "lost",
    "resurrected",
    "half",
    "unstable",
    "false_acks",
    "wrong_errors",
    "panics",
    "unopenable",
];

/// Runs schedules until time is up.
pub fn run(limits: &Limits) -> Tally {
    let seeds =
        Seeds { next: AtomicU64::new(limits.seed), end: u64::MAX, until: Some(limits.until) };
    run_seeds(seeds, limits.threads)
}

/// Runs `count` schedules, beginning with seed `first`.
pub fn run_count(first: u64, count: u64, threads: usize) -> Tally {
    let seeds =
        Seeds { next: AtomicU64::new(first), end: first.saturating_add(count), until: None };
    run_seeds(seeds, threads)
}

/// Everything that two runs of one seed have to agree on: the order of all steps, and the
/// operations of the disk.
///
/// # Errors
/// The failure of the seed, in one line.
pub fn fingerprint(seed: u64) -> Result<(u64, Vec<String>), String> {
    let seeds = Seeds { next: AtomicU64::new(seed), end: seed + 1, until: None };
    let mut found = Err(format!("seed {seed} did not end"));
    work(&Arc::new(seeds), |run| {
        found = match run.outcome {
            Ok(facts) => Ok((run.steps.hash, facts.trace)),
            Err(broken) => Err(reproduce(seed, &broken)),
        };
    });
    found
}

/// The seeds that are still to be run.
struct Seeds {
    next: AtomicU64,
    end: u64,
    until: Option<Instant>,
}

impl Seeds {
    fn take(&self) -> Option<u64> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}

/// One schedule that has ended.
struct Run {
    seed: u64,
    steps: Steps,
    outcome: Result<Facts, Broken>,
}

fn run_seeds(seeds: Seeds, threads: usize) -> Tally {
    let seeds = Arc::new(seeds);
    let total = Mutex::new((Tally::default(), HashSet::new()));
    let add = |run: Run| {
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        let (tally, hashes) = &mut *total;
        if hashes.insert(run.steps.hash) {
            tally.add("schedules_distinct", 1);
        }
        count(tally, run);
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| work(&seeds, add));
        }
    });
    let (mut tally, _) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    for zero in ZEROS {
        tally.add(zero, 0);
    }
    tally
}

fn count(tally: &mut Tally, run: Run) {
    tally.add("schedules", 1);
    tally.add("schedule_steps", run.steps.count);
    tally.add(if run.steps.pct { "schedules_pct" } else { "schedules_random" }, 1);
    match run.outcome {
        Ok(facts) => facts.count(tally),
        Err(broken) => tally.fail(broken.kind, reproduce(run.seed, &broken)),
    }
}

fn reproduce(seed: u64, broken: &Broken) -> String {
    format!(
        "{}: {} (ORLOP_SEED={seed} ORLOP_SCHEDULES=1 cargo test --release -p orlop-tests \
         --features shuttle --test schedules)",
        broken.kind, broken.what
    )
}

/// Runs seeds on this thread until there are none left.
fn work(seeds: &Arc<Seeds>, mut done: impl FnMut(Run)) {
    loop {
        let outcomes: Arc<Mutex<Vec<Run>>> = Arc::default();
        let current: Arc<Mutex<Option<(u64, Steps)>>> = Arc::default();
        let scheduler = Seeded::new(Arc::clone(seeds), Arc::clone(&current));
        let story = {
            let (outcomes, current) = (Arc::clone(&outcomes), Arc::clone(&current));
            move || {
                let Some((seed, _)) = *locked(&current) else { return };
                let outcome = actors::story(seed);
                let steps = locked(&current).map(|(_, steps)| steps).unwrap_or_default();
                locked(&outcomes).push(Run { seed, steps, outcome });
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config()).run(story)));
        locked(&outcomes).drain(..).for_each(&mut done);
        let Err(payload) = ended else { return };
        // The runner ends with its first panic: a deadlock, or an assertion of the engine.
        let last = *locked(&current);
        if let Some((seed, steps)) = last {
            done(Run { seed, steps, outcome: Err(panicked(&*payload)) });
        }
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    config
}

fn panicked(payload: &(dyn Any + Send)) -> Broken {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    let kind = if text.starts_with("deadlock") { "deadlocks" } else { "panics" };
    Broken { kind, what: text.lines().collect::<Vec<_>>().join(" ") }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
