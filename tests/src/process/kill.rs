//! SIGKILL: a child under load is killed, its store is opened again and checked, and the next child
//! goes on with the same directory.
//!
//! A round:
//! 1. start a child on an env by turns; let it run for a moment: some children are killed before
//!    or while they recover, some a moment after, some right behind an acknowledgement
//! 2. kill it
//! 3. open the store: often read-only first, often not for writing at all, so that the next child
//!    recovers and may be killed at that; sometimes at once, beside a child that is still dying
//! 4. check that everything is there that was promised, and nothing else
//!
//! # Writes of the dead
//! A killed process can leave a write in flight in its ring. Could it land after a successor has
//! read the log? Not as the kernel does it today: the process gives up its lock on the directory
//! when its descriptors are closed, and before a thread closes any it waits for what it has
//! submitted to a ring; the ring's own workers are threads of the process, too. This module looks:
//! it takes the lock the moment it becomes free, reads all segments, waits, reads them again, and
//! counts the segments that have changed in between (`late_writes`).
//!
//! And the engine does not depend on it. A write in flight at the kill goes behind the last frame
//! that is complete, or is the last one itself:
//! - nobody appends to a segment of an earlier open, so it can overwrite nothing of a successor
//! - a recovery that finds an unended segment flushes what it has read into tables and moves the
//!   log's beginning past every segment that there is, before the open returns: a frame that lands
//!   later is never read by anybody
//! - until then nothing was served. If such a recovery is killed in its turn, the next one may find
//!   one commit more, which nobody was promised and nobody has been denied
//! - a segment that a close has ended has nothing in flight: the close waited for it
//! - a read-only open serves what it has read without writing anything, and a later open may see
//!   one commit more; never one less while the machine lives

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use orlop::Store;
use orlop::env::{Env, LockError, PosixEnv};
use tempfile::TempDir;

use super::check::{Finding, History, Kind};
use super::child::{self, Options, Through};
use super::ledger::{Ledger, Ordeal};
use super::life::{self, End, Life, Running};
use super::report::{Event, FLUSHER, Record};
use crate::dice::Dice;
use crate::tally::{Limits, Tally};

/// Kills of a whole run.
pub const KILLS: u64 = 4_000;

/// Kills of one store.
const KILLS_OF_A_STORE: u32 = 40;

/// Kills until the limits are reached, or [`KILLS`].
pub fn run(limits: &Limits) -> Tally {
    run_with(limits, &life::this_program(), KILLS)
}

/// The same with another program that has the `child` subcommand, and another number of kills.
pub fn run_with(limits: &Limits, program: &Path, kills: u64) -> Tally {
    let mut tally = Tally::default();
    for name in ["kills", "kills_uring", "kills_posix", "acked", "late_writes", "hangs", "panics"] {
        tally.add(name, 0);
    }
    Kind::ALL.iter().for_each(|kind| tally.add(kind.name(), 0));
    let uring = match Through::Uring.env() {
        Ok(_) => true,
        Err(why) => {
            tally.note(format!("kills over io_uring are skipped: {why}"));
            false
        }
    };
    let left = AtomicU64::new(kills);
    let (left, limits) = (&left, *limits);
    let work = |thread: u64| {
        let mut tally = Tally::default();
        for store in 0.. {
            if limits.is_over() || left.load(Ordering::Relaxed) == 0 {
                break;
            }
            let seed = limits.seed.wrapping_mul(1_000_003) + thread * 100_003 + store;
            let mut bench = match Bench::new(seed, program, uring) {
                Ok(bench) => bench,
                Err(error) => {
                    tally.fail("harness_errors", format!("kill: {error}"));
                    break;
                }
            };
            bench.kill_many(&limits, left, &mut tally);
        }
        tally
    };
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            (0..limits.threads.max(1) as u64).map(|t| scope.spawn(move || work(t))).collect();
        for thread in threads {
            match thread.join() {
                Ok(part) => tally.merge(part),
                Err(_) => tally.fail("harness_errors", "kill: a thread of the harness panicked"),
            }
        }
    });
    tally
}

/// Whether a flush or compaction was asked for that has not returned.
fn was_flushing(records: &[Record]) -> bool {
    let last = records.iter().rfind(|record| record.writer == FLUSHER);
    last.is_some_and(|record| record.event == Event::Begin)
}

/// One directory and its history.
struct Bench<'a> {
    home: Option<TempDir>,
    dir: PathBuf,
    program: &'a Path,
    uring: bool,
    history: History,
    life: u32,
    dice: Dice,
}

impl<'a> Bench<'a> {
    fn new(seed: u64, program: &'a Path, uring: bool) -> std::io::Result<Self> {
        let home = tempfile::Builder::new().prefix("orlop-kill-").tempdir()?;
        let dir = home.path().join("store");
        let dice = Dice::of(&[seed, 4]);
        let history = History::new(seed);
        Ok(Self { home: Some(home), dir, program, uring, history, life: 0, dice })
    }

    fn kill_many(&mut self, limits: &Limits, left: &AtomicU64, tally: &mut Tally) {
        for _ in 0..KILLS_OF_A_STORE {
            if limits.is_over() || left.load(Ordering::Relaxed) == 0 {
                return;
            }
            let before = tally.count("kills");
            let outcome = self.round(tally);
            if tally.count("kills") > before {
                let less = |left: u64| left.checked_sub(1);
                // Two threads may both have done the last one.
                let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            if let Err(finding) = outcome {
                let kept = self.home.take().map(TempDir::keep).unwrap_or_default();
                tally.fail(
                    finding.kind.name(),
                    format!(
                        "{} after life {}: {}; kept in {}; orlop-tests kill --seed {} --kills 200",
                        finding.kind.name(),
                        self.life,
                        finding.what,
                        kept.display(),
                        limits.seed
                    ),
                );
                return;
            }
        }
    }

    fn env(&mut self) -> Through {
        let env = self.dice.pick(&[Through::Uring, Through::Posix]);
        if self.uring { env } else { Through::Posix }
    }

    /// When the next child ends.
    fn end(&mut self) -> End {
        let micros = |dice: &mut Dice, limit| Duration::from_micros(dice.below(limit));
        match self.dice.below(10) {
            0 | 1 => End::Started(micros(&mut self.dice, 12_000)),
            2 | 3 => End::Ready(micros(&mut self.dice, 6_000)),
            4 | 5 => End::Ready(micros(&mut self.dice, 30_000)),
            6 => End::Ready(micros(&mut self.dice, 120_000)),
            _ => {
                let most = self.dice.pick(&[20, 200, 2_000, 10_000]);
                End::Records(1 + self.dice.below(most) as usize)
            }
        }
    }

    fn round(&mut self, tally: &mut Tally) -> Result<(), Finding> {
        self.life += 1;
        let env = self.env();
        let options = Options {
            dir: self.dir.clone(),
            env,
            seed: self.history.seed(),
            life: self.life,
            from: self.history.numbers().to_vec(),
            // Some end by themselves, if they come so far: a close is killed, too.
            commits: self.dice.pick(&[0, 0, 0, 10, 60]),
            gate: false,
        };
        let end = self.end();
        let harness =
            |error: std::io::Error| Finding::new(Kind::Wrong, format!("harness: {error}"));
        let mut running = life::start(self.program, &options, end).map_err(harness)?;
        running.wait_for(end);
        running.kill();
        let life = match self.dice.below(8) {
            0 => return self.reopen_at_once(running, env, tally),
            1 => self.look_for_late_writes(running, tally).map_err(harness)?,
            _ => running.finish().map_err(harness)?,
        };
        let ledger = self.judge(&life, env, tally)?;
        if !self.exists() {
            return ledger.check(&[0; 3]).map_err(|what| Finding::new(Kind::Lost, what));
        }
        let through = self.env().env().map_err(harness)?;
        let store = Store::builder().env(through).open_read_only(&self.dir);
        let store = store.map_err(|error| Finding::unopenable(&error))?;
        self.history.advance(&store, &ledger, self.life)?;
        drop(store);
        if self.dice.below(2) == 0 {
            let through = self.env().env().map_err(harness)?;
            let store = child::open(&self.dir, through, self.history.seed());
            let store = store.map_err(|error| Finding::unopenable(&error))?;
            self.history.check(&store)?;
            store.close().map_err(|error| Finding::new(Kind::Wrong, format!("close: {error}")))?;
        }
        Ok(())
    }

    /// Whether a child has come so far that there is a store.
    fn exists(&self) -> bool {
        self.dir.join("SUPER").exists()
    }

    /// What the life has promised, and whether it went as it should.
    fn judge(&self, life: &Life, env: Through, tally: &mut Tally) -> Result<Ledger, Finding> {
        let wrong = |what: String| Finding::new(Kind::Wrong, what);
        if life.hung {
            tally.add("hangs", 1);
            return Err(wrong(format!("the child hung: {}", life.last_words())));
        }
        if life.errors.contains("panicked") {
            tally.add("panics", 1);
            return Err(wrong(life.errors.replace('\n', " ")));
        }
        let troubles =
            [Event::Fatal, Event::Unknown, Event::Refused, Event::OpenFailed, Event::CloseFailed];
        if let Some(trouble) = troubles.into_iter().find(|event| life.told(*event)) {
            let kind = if trouble == Event::OpenFailed { Kind::Unopenable } else { Kind::Wrong };
            return Err(Finding::new(kind, format!("{trouble:?}: {}", life.last_words())));
        }
        if life.was_killed() {
            tally.add("kills", 1);
            tally.add(&format!("kills_{}", env.name()), 1);
            tally.add("kills_opening", u64::from(!life.told(Event::Ready)));
            tally.add("kills_flushing", u64::from(was_flushing(&life.records)));
        }
        let ledger = Ledger::read(&life.records, self.history.numbers(), Ordeal::Kill);
        let ledger = ledger.map_err(|what| wrong(format!("harness: {what}")))?;
        tally.add("acked", ledger.acked);
        Ok(ledger)
    }

    /// Opens for writing while the child may be dying still.
    fn reopen_at_once(
        &mut self,
        running: Running,
        env: Through,
        tally: &mut Tally,
    ) -> Result<(), Finding> {
        let harness =
            |error: std::io::Error| Finding::new(Kind::Wrong, format!("harness: {error}"));
        let through = self.env().env().map_err(harness)?;
        let opened = child::open(&self.dir, through, self.history.seed());
        let life = running.finish().map_err(harness)?;
        let ledger = self.judge(&life, env, tally)?;
        let store = opened.map_err(|error| Finding::unopenable(&error))?;
        self.history.advance(&store, &ledger, self.life)?;
        store.close().map_err(|error| Finding::new(Kind::Wrong, format!("close: {error}")))
    }

    /// Counts the segments that change after the child's lock was free; see the module.
    fn look_for_late_writes(
        &mut self,
        running: Running,
        tally: &mut Tally,
    ) -> std::io::Result<Life> {
        if !self.exists() {
            return running.finish();
        }
        let lock = match PosixEnv::new().lock(&self.dir.join("LOCK")) {
            Ok(lock) => lock,
            Err(LockError::Io(error)) => return Err(error),
            Err(held) => return Err(std::io::Error::other(held)),
        };
        let before = self.segments()?;
        let life = running.finish()?;
        thread::sleep(Duration::from_millis(5));
        let after = self.segments()?;
        drop(lock);
        let changed = before.iter().filter(|segment| !after.contains(segment)).count();
        tally.add("late_writes", changed as u64);
        Ok(life)
    }

    fn segments(&self) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let bytes = std::fs::read(&path)?;
                segments.push((path, bytes));
            }
        }
        Ok(segments)
    }
}
