//! Crashes of whole stores on the simulated disk.
//!
//! - [`workload`]: what is run
//! - [`enumerate`](mod@enumerate): every moment of a run, every way to die there, checked; some
//!   recoveries cut short too
//! - [`faults`]: every operation fails, every sync fails in every way
//! - [`reads`]: every reading call fails
//! - [`lies`]: devices that say yes and do something else
//! - [`part`]: every so many-th case of these
//! - [`goes_on`]: what a program does that looks at no error, or frees some space and tries again
//! - [`reduce`]: from a random workload that fails to the few steps that matter

pub mod enumerate;
pub mod faults;
pub mod goes_on;
pub mod lies;
pub mod part;
pub mod reads;
pub mod reduce;
mod scripts;
pub mod workload;

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use orlop::sim::Crash;

use crate::oracle::Wrong;
use crate::tally::{Limits, Tally};
use enumerate::{Depth, Seen};
use part::Part;
use workload::{MACROS, Workload};

/// Something that a crash should not have left.
#[derive(Debug, Clone)]
pub struct Found {
    /// What was crashed.
    pub workload: String,
    /// Where and how.
    pub crash: Option<Crash>,
    /// What is wrong.
    pub wrong: Wrong,
    /// It showed only after more had been written and the power had gone again.
    pub later: bool,
}

impl Found {
    /// A recovery was cut short.
    pub fn is_nested(&self) -> bool {
        self.crash.as_ref().is_some_and(|crash| crash.then.is_some())
    }

    /// The count that it raises.
    pub fn count(&self) -> &'static str {
        match self.wrong {
            Wrong::NoPrefix(_) if self.later => "resurrected",
            ref wrong => wrong.count(),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "orlop-tests crash --workload '{}'", self.workload)?;
        if let Some(crash) = &self.crash {
            write!(f, " --crash {crash}")?;
        }
        write!(f, " # {}", self.wrong)?;
        if self.later { f.write_str(" (after a second crash)") } else { Ok(()) }
    }
}

/// The workload with a number: every macro-operation alone, scripts, every sequence of two, then by
/// turns sequences of three and random ones, without end.
pub fn numbered(number: u64, seed: u64) -> Workload {
    let count = MACROS.len() as u64;
    let mut rest = number;
    if let Some(workload) = Workload::short(1, rest) {
        return workload;
    }
    rest -= count;
    let scripts = Workload::scripts();
    if let Some(script) = usize::try_from(rest).ok().and_then(|at| scripts.get(at)) {
        return script.clone();
    }
    rest -= scripts.len() as u64;
    if let Some(workload) = Workload::short(2, rest) {
        return workload;
    }
    rest -= count.pow(2);
    // The order of the sequences of three is scattered, so that a part of them is a sample.
    let third = (rest / 2).wrapping_mul(1009) % count.pow(3);
    match Workload::short(3, third) {
        Some(workload) if rest.is_multiple_of(2) && rest / 2 < count.pow(3) => workload,
        _ => Workload::random(seed.wrapping_add(rest)),
    }
}

/// After so long a workload hangs: the longest takes seconds.
const STUCK: Duration = Duration::from_secs(300);

/// What a worker is at, and since when.
type Slot = Mutex<Option<(String, Instant)>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program with the workload that hangs, if one does. Gives up when all workers have ended.
fn watch(slots: &[Slot], working: &AtomicUsize) {
    while working.load(Ordering::Acquire) > 0 {
        for slot in slots {
            if let Some((workload, since)) = &*locked(slot)
                && since.elapsed() > STUCK
            {
                println!("hangs: 1\nFAILED orlop-tests crash --workload '{workload}' # hangs");
                std::process::exit(1);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Crashes workloads until time is up.
pub fn run(limits: &Limits, depth: Depth) -> Tally {
    let seen = Seen::default();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let slots: Vec<Slot> = (0..limits.threads).map(|_| Slot::default()).collect();
    let working = AtomicUsize::new(slots.len());
    let work = |slot: &Slot| {
        let mut own = Tally::default();
        while !limits.is_over() {
            let workload = numbered(next.fetch_add(1, Ordering::Relaxed), limits.seed);
            *locked(slot) = Some((workload.to_string(), Instant::now()));
            let crashed = panic::catch_unwind(AssertUnwindSafe(|| {
                let found = enumerate::workload(&workload, depth, Part::WHOLE, &seen, &mut own);
                report(&workload, depth, found, &mut own);
            }));
            if crashed.is_err() {
                own.fail("panics", format!("orlop-tests crash --workload '{workload}' # panics"));
            }
        }
        *locked(slot) = None;
        locked(&tally).merge(own);
        working.fetch_sub(1, Ordering::Release);
    };
    thread::scope(|scope| {
        for slot in &slots {
            scope.spawn(|| work(slot));
        }
        scope.spawn(|| watch(&slots, &working));
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    for zero in ["lost", "resurrected", "half", "unopenable", "wrong", "panics", "hangs"] {
        tally.add(zero, 0);
    }
    let (in_flight, images) = (tally.count("images_in_flight"), tally.count("images"));
    tally.add("in_flight_percent", in_flight * 100 / images.max(1));
    tally
}

fn report(workload: &Workload, depth: Depth, found: Option<Found>, tally: &mut Tally) {
    let Some(found) = found else { return };
    let reduced = reduce::steps(workload, depth, &found);
    let found = reduced.unwrap_or(found);
    tally.fail(found.count(), found.to_string());
}
