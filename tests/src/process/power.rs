//! Power cuts of a real ext4: the file system is shut down under a child that writes to it, so that
//! its page cache and its open transaction are gone, and mounted again.
//!
//! All of it happens in a process with a mount namespace of its own (`power-inside`), started by
//! [`run`], which takes over what that counts.
//!
//! A round:
//! 1. start a child, let it run for a moment
//! 2. cut: nearly always with nothing flushed, sometimes with the journal, sometimes with everything
//! 3. kill the child, unmount, mount again
//! 4. everything that was synced is there, whole batches only, one prefix; then, mostly, the store is
//!    recovered here, sometimes by the next child, which may be cut at that
//!
//! What is acknowledged while the cut is under way promises nothing: the kernel's cut is no instant
//! (see `ledger`). A synced commit that begins behind it must not succeed (`false_acks`).

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use orlop::Store;

use super::check::{Finding, History, Kind};
use super::child::{self, Options, Through};
use super::ledger::{Ledger, Ordeal};
use super::life::{self, End, Life};
use super::mount::Disk;
use super::report::{self, Event};
use super::shutdown::Flush;
use crate::dice::Dice;
use crate::tally::{Limits, Tally};

/// Cuts of a whole run.
pub const CUTS: u64 = 1_000;

/// How `power-inside` ends where there can be no power cuts, with the reason on stderr.
pub const DENIED: u8 = 77;

/// Cuts of one image.
const CUTS_OF_AN_IMAGE: u64 = 20;

/// Cuts until the limits are reached, or [`CUTS`].
pub fn run(limits: &Limits) -> Tally {
    run_with(limits, &life::this_program(), CUTS)
}

/// The same with another program that has the subcommands `child` and `power-inside`, and another
/// number of cuts.
pub fn run_with(limits: &Limits, program: &Path, cuts: u64) -> Tally {
    let mut tally = Tally::default();
    for name in ["power_cuts", "synced", "false_acks", "hangs", "panics"] {
        tally.add(name, 0);
    }
    Kind::ALL.iter().for_each(|kind| tally.add(kind.name(), 0));
    let left = limits.until.saturating_duration_since(Instant::now());
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(["power-inside", "--seed", &limits.seed.to_string()])
        .args(["--cuts", &cuts.to_string(), "--seconds", &left.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => tally.merge(heard(&output)),
        Err(error) => tally.note(format!("power cuts are skipped: no unshare: {error}")),
    }
    tally
}

/// What the part inside has come to: its tally, or why there is none.
fn heard(output: &Output) -> Tally {
    let mut tally = Tally::default();
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.trim().lines().last().unwrap_or("no reason given");
    match output.status.code() {
        // 1: something failed, and the lines say what.
        Some(0 | 1) if !output.stdout.is_empty() => {
            tally.merge(Tally::parse(&String::from_utf8_lossy(&output.stdout)));
        }
        Some(code) if code == i32::from(DENIED) || last.starts_with("unshare:") => {
            tally.note(format!("power cuts are skipped: {last}"));
        }
        _ => {
            let line = format!("harness_errors: power: {}: {last}", output.status);
            tally.fail("harness_errors", line);
        }
    }
    tally
}

/// Whether this process has a mount namespace of its own: what it mounts ends with it.
fn is_apart() -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt"));
    let parent = std::os::unix::process::parent_id().to_string();
    matches!((namespace("self"), namespace(&parent)), (Ok(own), Ok(other)) if own != other)
}

/// The part that runs in a mount namespace of its own.
///
/// # Errors
/// One line that says why there can be no power cuts here.
pub fn run_inside(limits: &Limits, cuts: u64) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let program = life::this_program();
    let uring = Through::Uring.env().is_ok();
    if !is_apart() {
        return Err("not in a mount namespace of its own: run `orlop-tests power`".to_owned());
    }
    let possible = Disk::new("noatime").and_then(|disk| disk.cut(Flush::Nothing));
    possible.map_err(|error| error.to_string())?;
    let mut image = 0;
    while tally.count("power_cuts") < cuts && tally.count("failures") < 10 && !limits.is_over() {
        let seed = limits.seed.wrapping_mul(15_485_863) + image;
        let mut bench = match Bench::new(seed, &program, uring) {
            Ok(bench) => bench,
            Err(error) => {
                tally.fail("harness_errors", format!("harness_errors: power: {error}"));
                break;
            }
        };
        image += 1;
        let until = cuts.min(tally.count("power_cuts") + CUTS_OF_AN_IMAGE);
        while tally.count("power_cuts") < until && !limits.is_over() {
            if let Err(finding) = bench.round(&mut tally) {
                let (name, life) = (finding.kind.name(), bench.life);
                let kept = bench.disk.keep();
                tally.fail(
                    name,
                    format!(
                        "{name} after life {life}: {}; image kept at {}; orlop-tests power --seed \
                         {} --cuts 100",
                        finding.what,
                        kept.display(),
                        limits.seed
                    ),
                );
                break;
            }
        }
    }
    Ok(tally)
}

/// One image and the history of the store on it.
struct Bench<'a> {
    disk: Disk,
    dir: PathBuf,
    program: &'a Path,
    uring: bool,
    history: History,
    life: u32,
    dice: Dice,
}

fn harness(error: std::io::Error) -> Finding {
    Finding::new(Kind::Wrong, format!("harness: {error}"))
}

impl<'a> Bench<'a> {
    fn new(seed: u64, program: &'a Path, uring: bool) -> std::io::Result<Self> {
        let mut dice = Dice::of(&[seed, 6]);
        // Not data=journal: Linux 6.18 stops with a BUG in jbd2 when a mapped page is written to, as those of a
        // stage are, while the file system is shut down; the child never ends then.
        let disk = Disk::new(dice.pick(&[
            "noatime",
            "noatime",
            "noatime,data=writeback",
            "noatime,nodelalloc",
        ]))?;
        let dir = disk.point().join("store");
        Ok(Self { disk, dir, program, uring, history: History::new(seed), life: 0, dice })
    }

    fn env(&mut self) -> Through {
        let env = self.dice.pick(&[Through::Uring, Through::Posix]);
        if self.uring { env } else { Through::Posix }
    }

    fn end(&mut self) -> End {
        let micros = |dice: &mut Dice, limit| Duration::from_micros(dice.below(limit));
        match self.dice.below(8) {
            0 => End::Started(micros(&mut self.dice, 8_000)),
            1 | 2 => End::Ready(micros(&mut self.dice, 3_000)),
            3 | 4 => End::Ready(micros(&mut self.dice, 40_000)),
            5 => End::Ready(micros(&mut self.dice, 200_000)),
            _ => End::Records(1 + self.dice.below(2_000) as usize),
        }
    }

    fn round(&mut self, tally: &mut Tally) -> Result<(), Finding> {
        self.life += 1;
        let options = Options {
            dir: self.dir.clone(),
            env: self.env(),
            seed: self.history.seed(),
            life: self.life,
            from: self.history.numbers().to_vec(),
            commits: 0,
            gate: false,
        };
        let flush = match self.dice.below(12) {
            0 => Flush::Everything,
            1 => Flush::Journal,
            _ => Flush::Nothing,
        };
        let end = self.end();
        let mut running = life::start(self.program, &options, end).map_err(harness)?;
        running.wait_for(end);
        let from = report::now();
        let cut = self.disk.cut(flush);
        let ordeal = Ordeal::Power { from, to: report::now() };
        // The survivors of the cut must not promise what they can no longer keep.
        std::thread::sleep(Duration::from_micros(self.dice.below(3_000)));
        running.kill();
        let life = running.finish().map_err(harness)?;
        cut.map_err(harness)?;
        // With everything flushed it was a quick unmount.
        let cut = flush != Flush::Everything;
        tally.add(if cut { "power_cuts" } else { "shutdowns_behind_a_flush" }, 1);
        self.disk.unmount().and_then(|()| self.disk.mount()).map_err(harness)?;
        let ledger = self.judge(&life, ordeal, tally)?;
        let checked = self.check(&ledger);
        checked.map_err(|Finding { kind, what }| {
            let (env, mount) = (options.env.name(), self.disk.options());
            let how = format!("{what} ({env}, {mount}, {flush:?}, {ordeal:?})");
            Finding::new(kind, how)
        })
    }

    fn judge(&self, life: &Life, ordeal: Ordeal, tally: &mut Tally) -> Result<Ledger, Finding> {
        let wrong = |what: String| Err(Finding::new(Kind::Wrong, what));
        if life.hung {
            tally.add("hangs", 1);
            return wrong(format!("the child hung: {}", life.last_words()));
        }
        if life.errors.contains("panicked") {
            tally.add("panics", 1);
            return wrong(life.errors.replace('\n', " "));
        }
        if life.told(Event::Fatal) {
            return wrong(format!("Fatal: {}", life.last_words()));
        }
        let ledger = Ledger::read(&life.records, self.history.numbers(), ordeal);
        let ledger = ledger.or_else(|what| wrong(format!("harness: {what}")))?;
        tally.add("synced", ledger.acked);
        if ledger.forbidden > 0 {
            let what = format!("{} commits were written without power", ledger.forbidden);
            return Err(Finding::new(Kind::FalseAck, what));
        }
        Ok(ledger)
    }

    fn check(&mut self, ledger: &Ledger) -> Result<(), Finding> {
        if !self.dir.join("SUPER").exists() {
            return ledger.check(&[0; 3]).map_err(|what| Finding::new(Kind::Lost, what));
        }
        let through = self.env().env().map_err(harness)?;
        let read_only = Store::builder().env(through).open_read_only(&self.dir);
        let store = read_only.map_err(|error| Finding::unopenable(&error))?;
        self.history.advance(&store, ledger, self.life)?;
        drop(store);
        if self.dice.below(3) == 0 {
            return Ok(());
        }
        let through = self.env().env().map_err(harness)?;
        let store = child::open(&self.dir, through, self.history.seed());
        let store = store.map_err(|error| Finding::unopenable(&error))?;
        self.history.check(&store)?;
        store.close().map_err(|error| Finding::new(Kind::Wrong, format!("close: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_failure_inside_is_a_failure_outside() {
        let mut inside = Tally::default();
        inside.add("power_cuts", 7);
        inside.fail("lost", "lost after life 3: a commit");
        inside.note("slow");
        let ended = |code: u8, stdout: &str, stderr: &str| Output {
            status: ExitStatus::from_raw(i32::from(code) << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let told = heard(&ended(1, &inside.to_string(), ""));
        assert_eq!(told.to_string(), inside.to_string());
        let denied = heard(&ended(DENIED, "", "no loop devices"));
        assert!(denied.failures().is_empty() && denied.to_string().contains("no loop devices"));
        for broken in [ended(1, "", "thread panicked"), ended(2, "", "unexpected argument")] {
            assert_eq!(heard(&broken).count("harness_errors"), 1);
        }
    }
}
