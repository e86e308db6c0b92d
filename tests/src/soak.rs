//! The soak: every stage for its share of the time, one after another.
//!
//! Stages that have an end come first; what time they leave goes to those that have none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::crash::enumerate::Depth;
use crate::crash::part::Part;
use crate::crash::workload::Workload;
use crate::crash::{self, faults, lies, reads};
use crate::damage;
use crate::process::{injected, kill, power};
use crate::tally::{Limits, Tally};

/// The time that the bars are for.
const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

/// How far the enumeration of crashes goes.
pub const DEPTH: Depth = Depth { nested: 400, sequel: 8 };

/// As many threads as the machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A stage of the soak: its name, its share of the time in percent, and what it does.
type Stage = (&'static str, u32, fn(&Limits) -> Tally);

const STAGES: [Stage; 8] = [
    ("power cuts", 2, power::run),
    ("kills", 6, kill::run),
    ("injected errors", 2, injected::run),
    ("faults", 3, faults::run),
    ("reads and lies", 3, reads_and_lies),
    ("seeded bugs", 12, seeded),
    ("damage", 40, damage::run),
    ("crashes", 32, |limits| crash::run(limits, DEPTH)),
];

/// Runs all stages within about `time`, behind a build of the program with the seeded bugs.
pub fn run(time: Duration, seed: u64) -> Tally {
    let mut tally = Tally::default();
    match build_seeded() {
        Ok(()) => {}
        Err(why) => tally.fail("seeded_unbuilt", why),
    }
    let end = Instant::now() + time;
    let mut shares: u32 = STAGES.iter().map(|(_, share, _)| share).sum();
    for (name, share, stage) in STAGES {
        let begin = Instant::now();
        let left = end.saturating_duration_since(begin);
        tally.merge(stage(&Limits::of(left * share / shares, seed, threads())));
        shares -= share;
        let took = begin.elapsed().as_secs_f64();
        tally.note(format!("{name}: {took:.1} s"));
        eprintln!("{name} done after {took:.1} s");
    }
    hold_against_bars(&mut tally, time);
    tally
}

/// What half an hour has to reach.
const BARS: [(&str, u64); 7] = [
    ("images", 1_000_000),
    ("nested", 50_000),
    ("workloads", 200),
    ("in_flight_percent", 30),
    ("kills", 1_500),
    ("power_cuts", 200),
    ("fsync_variants", 1_000),
];

/// Counts that have to reach another.
const WHOLE: [(&str, &str); 2] = [("bits", "bits_total"), ("seeded_caught", "seeded_total")];

/// Where a count falls short after half an hour or more, the soak has failed.
fn hold_against_bars(tally: &mut Tally, time: Duration) {
    if time < HALF_AN_HOUR {
        return tally.note("the bars of half an hour do not count for less");
    }
    let mut missed = Vec::new();
    let skips_power = tally.count("power_cuts") == 0;
    for (name, least) in BARS {
        // Where the machine does not allow power cuts, a line says so.
        if tally.count(name) < least && !(name == "power_cuts" && skips_power) {
            missed.push((name, least));
        }
    }
    for (name, whole) in WHOLE {
        let whole = tally.count(whole);
        if tally.count(name) < whole || whole == 0 {
            missed.push((name, whole));
        }
    }
    tally.add("bars_missed", 0);
    for (name, least) in missed {
        let count = tally.count(name);
        tally.fail("bars_missed", format!("orlop-tests soak # {name}: {count}, not {least}"));
    }
}

/// Parts of one workload's, between two looks at the clock.
const READS_AND_LIES: u64 = 16;

fn reads_and_lies(limits: &Limits) -> Tally {
    let mut tally = Tally::default();
    let mut random = (limits.seed..).map(Workload::random);
    let mut scripts = Workload::scripts().into_iter();
    while let Some(workload) = scripts.next().or_else(|| random.next()) {
        for part in Part::all(READS_AND_LIES) {
            if limits.is_over() {
                return tally;
            }
            reads::sweep(&workload, part, &mut tally);
            lies::sweep(&workload, part, &mut tally);
        }
    }
    tally
}

/// Where the program with the seeded bugs is built: apart, so that no other stage has them.
fn seeded_target() -> PathBuf {
    let own = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("seeded")
}

fn seeded_program() -> PathBuf {
    seeded_target().join("release/orlop-tests")
}

fn build_seeded() -> Result<(), String> {
    // One of an earlier build would tell of an earlier engine.
    let _ = std::fs::remove_file(seeded_program());
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--features", "seeded-bugs", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(seeded_target())
        .stdin(Stdio::null())
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the program with the seeded bugs could not be built: {status}")),
        Err(error) => Err(format!("the program with the seeded bugs: no cargo: {error}")),
    }
}

/// Plants the seeded bugs, in a process of a build of its own.
fn seeded(limits: &Limits) -> Tally {
    let minutes = limits.until.saturating_duration_since(Instant::now()).as_secs_f64() / 60.0;
    let output = Command::new(seeded_program())
        .args(["seeded", "--seconds", "60", "--seed", &limits.seed.to_string()])
        .args(["--minutes", &minutes.to_string(), "--threads", &limits.threads.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let mut tally = Tally::default();
    match output {
        Ok(output) if matches!(output.status.code(), Some(0 | 1)) => {
            tally.merge(Tally::parse(&String::from_utf8_lossy(&output.stdout)));
        }
        Ok(output) => tally.fail("seeded_ended", format!("orlop-tests seeded # {}", output.status)),
        Err(error) => tally.fail("seeded_ended", format!("orlop-tests seeded # {error}")),
    }
    tally
}
