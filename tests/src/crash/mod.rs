//! Crashes of whole stores on the simulated disk.
//!
//! - [`workload`]: what is run
//! - [`enumerate`](mod@enumerate): every moment of a run, every way to die there, checked; some
//!   recoveries cut short too
//! - [`faults`]: every operation fails, every sync fails in every way
//! - [`reads`]: every reading call fails
//! - [`lies`]: devices that say yes and do something else
//! - [`reduce`]: from a random workload that fails to the few steps that matter

pub mod enumerate;
pub mod faults;
pub mod lies;
pub mod reads;
pub mod reduce;
pub mod workload;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, thread};

use orlop::sim::Crash;

use crate::history::Wrong;
use crate::tally::{Limits, Tally};
use enumerate::{Depth, Seen};
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
        match (&self.wrong, self.later) {
            (Wrong::Unopenable(_), _) => "unopenable",
            (Wrong::Lost(_), _) => "lost",
            (Wrong::NoPrefix(_), true) => "resurrected",
            (Wrong::NoPrefix(_), false) => "half",
            (Wrong::Read(_), _) => "wrong",
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

/// The workload with a number: scripts, then every sequence of one and of two macro-operations,
/// then by turns sequences of three and random ones, without end.
fn numbered(number: u64, seed: u64) -> Workload {
    let scripts = Workload::scripts();
    if let Some(script) = scripts.get(usize::try_from(number).unwrap_or(usize::MAX)) {
        return script.clone();
    }
    let mut rest = number - scripts.len() as u64;
    let count = MACROS.len() as u64;
    for len in 1..=2 {
        match Workload::short(len, rest) {
            Some(workload) => return workload,
            None => rest -= count.pow(len),
        }
    }
    // The order of the sequences of three is scattered, so that a part of them is a sample.
    let third = (rest / 2).wrapping_mul(1009) % count.pow(3);
    match Workload::short(3, third) {
        Some(workload) if rest.is_multiple_of(2) && rest / 2 < count.pow(3) => workload,
        _ => Workload::random(seed.wrapping_add(rest)),
    }
}

/// Crashes workloads until time is up.
pub fn run(limits: &Limits, depth: Depth) -> Tally {
    let seen = Seen::default();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..limits.threads {
            scope.spawn(|| {
                let mut own = Tally::default();
                while !limits.is_over() {
                    let workload = numbered(next.fetch_add(1, Ordering::Relaxed), limits.seed);
                    let found = enumerate::workload(&workload, depth, &seen, &mut own);
                    report(&workload, depth, found, &mut own);
                }
                tally.lock().expect("no thread panics with it").merge(own);
            });
        }
    });
    let mut tally = tally.into_inner().expect("no thread panics with it");
    for zero in ["lost", "resurrected", "half", "unopenable", "wrong"] {
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
