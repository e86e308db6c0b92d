//! The soak: every part for its share of the time, one after another.

use std::time::{Duration, Instant};

use crate::crash::enumerate::Depth;
use crate::crash::workload::Workload;
use crate::crash::{self, faults, lies, reads};
use crate::damage;
use crate::process::{injected, kill, power};
use crate::tally::{Limits, Tally};

/// How far the enumeration of crashes goes.
pub const DEPTH: Depth = Depth { nested: 400, sequel: 8 };

/// As many threads as the machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A part of the soak: its name, its share of the time in percent, and what it does.
type Part = (&'static str, u32, fn(&Limits) -> Tally);

const PARTS: &[Part] = &[
    ("crashes", 42, |limits| crash::run(limits, DEPTH)),
    ("faults", 4, faults::run),
    ("reads and lies", 3, reads_and_lies),
    ("damage", 18, damage::run),
    ("kills", 14, kill::run),
    ("injected errors", 2, injected::run),
    ("power cuts", 5, power::run),
];

/// Runs all parts within about `time`.
pub fn run(time: Duration, seed: u64) -> Tally {
    let mut tally = Tally::default();
    for (name, percent, part) in PARTS {
        let begin = Instant::now();
        let limits = Limits::of(time * *percent / 100, seed, threads());
        tally.merge(part(&limits));
        tally.note(format!("{name}: {:.1} s", begin.elapsed().as_secs_f64()));
        eprintln!("{name} done after {:.1} s", begin.elapsed().as_secs_f64());
    }
    tally
}

fn reads_and_lies(limits: &Limits) -> Tally {
    let mut tally = Tally::default();
    let random = (limits.seed..).map(Workload::random).take_while(|_| !limits.is_over());
    for workload in Workload::scripts().into_iter().chain(random) {
        reads::sweep(&workload, &mut tally);
        lies::sweep(&workload, &mut tally);
    }
    tally
}
