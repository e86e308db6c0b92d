//! Errors injected by strace into the system calls of a child: every call that the posix env makes
//! fails with every error that fits it, early and late, once and for good; the calls of a ring's
//! set-up and use likewise over io_uring; and kills at the entry of a call.
//!
//! A case:
//! 1. start a child that waits at its gate; attach strace; open the gate
//! 2. the child commits so and so much, told of every error, and closes the store if it can
//! 3. without strace: everything that was acknowledged is there (the page cache outlives the
//!    child), and nothing else but what was in doubt
//!
//! A sync that strace keeps from happening leaves the page cache as it is, so the check of the
//! contents alone would not see a sync error that was ignored. Therefore also, counted as
//! `false_acks`:
//! - after the store has said that it is poisoned, nothing that begins is acknowledged
//! - nothing is acknowledged that began after a sync of the log has failed; weaker commits, which need
//!   none, after somebody was told of it
//! - a write or sync of the log, the manifest or the superblock that fails is told to somebody
//! - a table whose sync failed is removed before anything else is synced
//!
//! An interrupted call is no error: it must be done again, and nobody told.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{OnceLock, PoisonError};
use std::thread;

use orlop::env::PosixEnv;
use orlop::{Durability, Store};
use tempfile::TempDir;

use super::check::{Finding, History, Kind};
use super::child::{self, Options, Through};
use super::ledger::{Ledger, Ordeal};
use super::life::{self, End, Life};
use super::report::{Event, FLUSHER, Record};
use super::strace::{self, Call, Effect, Fault};
use crate::dice::Dice;
use crate::tally::{Limits, Tally};

/// Commits of each writer.
const COMMITS: u64 = 30;

/// Cases of one store.
const CASES_OF_A_STORE: u32 = 20;

/// The errors that fit each call of the posix env. `read` stands for a whole file that is read.
const POSIX: &[(&str, &[Effect])] = &[
    ("openat", &[EIO, ENOSPC, Effect::Error("EMFILE"), EINTR]),
    ("pwrite64", &[EIO, ENOSPC, EINTR, Effect::Zero, Effect::Kill]),
    ("fdatasync", &[EIO, ENOSPC, EINTR, Effect::Kill]),
    ("fsync", &[EIO, ENOSPC, EINTR, Effect::Kill]),
    ("fallocate", &[EIO, ENOSPC, EINTR, Effect::Kill]),
    ("ftruncate", &[EIO, ENOSPC, EINTR, Effect::Kill]),
    (RENAME, &[EIO, ENOSPC, Effect::Kill]),
    (UNLINK, &[EIO, Effect::Kill]),
    ("mmap", &[Effect::Error("ENOMEM"), Effect::Error("EAGAIN")]),
    ("read", &[EIO, EINTR]),
    ("getdents64", &[EIO]),
    ("flock", &[Effect::Error("ENOLCK")]),
    (MKDIR, &[EIO, ENOSPC, Effect::Kill]),
];

/// The same for the ring.
const URING: &[(&str, &[Effect])] = &[
    ("io_uring_setup", &[Effect::Error("EPERM"), Effect::Error("ENOSYS"), Effect::Error("ENOMEM")]),
    ("io_uring_register", &[Effect::Error("EINVAL"), Effect::Error("EPERM")]),
    (
        "io_uring_enter",
        &[
            EINTR,
            Effect::Error("EAGAIN"),
            Effect::Error("EBUSY"),
            EIO,
            Effect::Error("EPERM"),
            Effect::Kill,
        ],
    ),
    ("mmap", &[Effect::Error("ENOMEM")]),
    ("fdatasync", &[EIO]),
    ("pwrite64", &[EIO, Effect::Kill]),
];

const EIO: Effect = Effect::Error("EIO");
const ENOSPC: Effect = Effect::Error("ENOSPC");
const EINTR: Effect = Effect::Error("EINTR");
const RENAME: &str = "?rename,?renameat,?renameat2";
const UNLINK: &str = "?unlink,?unlinkat";
const MKDIR: &str = "?mkdir,?mkdirat";

/// Which call of a thread it is.
const WHENS: [u32; 13] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40];

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    env: Through,
    fault: Fault,
    /// On a directory that does not exist yet.
    fresh: bool,
}

/// All cases, in the seed's order.
fn cases(seed: u64) -> Vec<Case> {
    let mut all = Vec::new();
    for (env, table) in [(Through::Posix, POSIX), (Through::Uring, URING)] {
        for (call, effects) in table {
            for (effect, when) in
                effects.iter().flat_map(|effect| WHENS.map(|when| (*effect, when)))
            {
                // What the creation of a store does once, it does with the first calls.
                let creates = [RENAME, MKDIR].contains(call);
                if (creates && when > 2) || (call.ends_with("setup") && when > 1) {
                    continue;
                }
                let fault = |sticky| Fault { call, effect, when, sticky };
                let for_good = !creates && matches!(effect, EIO | ENOSPC) && when % 2 == 0;
                for sticky in [false, true].into_iter().take(1 + usize::from(for_good)) {
                    let fresh = creates || when % 3 == 0;
                    all.push(Case { env, fault: fault(sticky), fresh });
                }
                if call.starts_with("io_uring_setup") {
                    all.push(Case { env: Through::Default, fault: fault(false), fresh: true });
                }
            }
        }
    }
    let mut dice = Dice::of(&[seed, 5]);
    for at in (1..all.len()).rev() {
        all.swap(at, dice.below(at as u64 + 1) as usize);
    }
    all
}

/// Which cases to run.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The program that has the `child` subcommand.
    pub program: PathBuf,
    /// So many at most.
    pub most: usize,
    /// Only those with this fault, as [`Fault::expression`] writes it.
    pub only: Option<String>,
}

impl Default for Choice {
    fn default() -> Self {
        Self { program: life::this_program(), most: usize::MAX, only: None }
    }
}

/// All cases, until the limits are reached.
pub fn run(limits: &Limits) -> Tally {
    run_with(limits, &Choice::default())
}

/// The same with some of the cases.
pub fn run_with(limits: &Limits, choice: &Choice) -> Tally {
    let mut tally = Tally::default();
    for name in
        ["injected", "injected_calls", "injected_kills", "false_acks", "acked", "hangs", "panics"]
    {
        tally.add(name, 0);
    }
    Kind::ALL.iter().for_each(|kind| tally.add(kind.name(), 0));
    let uring = Through::Uring.env();
    if let Err(why) = &uring {
        tally.note(format!("faults of io_uring are skipped: {why}"));
    }
    let mut cases = cases(limits.seed);
    cases.retain(|case| uring.is_ok() || case.env == Through::Posix);
    cases.retain(|case| choice.only.as_ref().is_none_or(|o| *o == case.fault.expression()));
    cases.truncate(choice.most);
    let course = Course {
        limits: *limits,
        program: &choice.program,
        cases,
        next: AtomicUsize::new(0),
        denied: OnceLock::new(),
        attached: AtomicBool::new(false),
        tally: Mutex::new(tally),
    };
    thread::scope(|scope| {
        for number in 0..limits.threads.max(1) as u64 {
            let course = &course;
            scope.spawn(move || course.work(number));
        }
    });
    let mut tally = course.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(why) = course.denied.get() {
        tally.note(format!("injected errors are skipped: {why}"));
    }
    tally
}

/// What the threads of a run share.
struct Course<'a> {
    limits: Limits,
    program: &'a Path,
    cases: Vec<Case>,
    next: AtomicUsize,
    denied: OnceLock<String>,
    /// strace has worked here.
    attached: AtomicBool,
    tally: Mutex<Tally>,
}

impl Course<'_> {
    fn work(&self, thread: u64) {
        let mut bench: Option<Bench<'_>> = None;
        for round in 0.. {
            if self.limits.is_over() || self.denied.get().is_some() {
                return;
            }
            let Some(case) = self.cases.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if case.fresh || bench.as_ref().is_none_or(|bench| bench.life >= CASES_OF_A_STORE) {
                let seed = self.limits.seed.wrapping_mul(7_919) + thread * 104_729 + round;
                bench = Bench::new(seed, self.program).ok();
            }
            let mut tally = Tally::default();
            let outcome = match &mut bench {
                Some(bench) => bench.run(case, &mut tally),
                None => Err(Trouble::Denied("no temporary directory".to_owned())),
            };
            match outcome {
                Ok(()) => self.attached.store(true, Ordering::Relaxed),
                // What worked once is not denied.
                Err(Trouble::Denied(why)) if self.attached.load(Ordering::Relaxed) => {
                    tally.fail(
                        "harness_errors",
                        self.line("harness_errors", case, &why, Path::new("")),
                    );
                }
                Err(Trouble::Denied(why)) => {
                    let _ = self.denied.set(why);
                }
                Err(Trouble::Found(name, what)) => {
                    let kept = bench.take().map(|bench| bench.home.keep()).unwrap_or_default();
                    tally.fail(name, self.line(name, case, &what, &kept));
                }
            }
            self.tally.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
        }
    }

    fn line(&self, name: &str, case: &Case, what: &str, kept: &Path) -> String {
        format!(
            "{name} with {} on {}: {what}; kept in {}; orlop-tests inject --seed {} --only '{}'",
            case.fault.expression(),
            case.env.name(),
            kept.display(),
            self.limits.seed,
            case.fault.expression(),
        )
    }
}

/// Why a case did not pass.
enum Trouble {
    /// strace cannot be used here.
    Denied(String),
    /// Something is wrong, under the name of a count.
    Found(&'static str, String),
}

impl From<Finding> for Trouble {
    fn from(finding: Finding) -> Trouble {
        Trouble::Found(finding.kind.name(), finding.what)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Found("harness_errors", error.to_string())
    }
}

/// One directory and its history.
struct Bench<'a> {
    home: TempDir,
    dir: PathBuf,
    program: &'a Path,
    history: History,
    life: u32,
}

impl<'a> Bench<'a> {
    fn new(seed: u64, program: &'a Path) -> std::io::Result<Self> {
        let home = tempfile::Builder::new().prefix("orlop-inject-").tempdir()?;
        let dir = home.path().join("store");
        Ok(Self { home, dir, program, history: History::new(seed), life: 0 })
    }

    fn run(&mut self, case: &Case, tally: &mut Tally) -> Result<(), Trouble> {
        self.life += 1;
        tally.add("inject_cases", 1);
        let options = Options {
            dir: self.dir.clone(),
            env: case.env,
            seed: self.history.seed(),
            life: self.life,
            from: self.history.numbers().to_vec(),
            commits: COMMITS,
            gate: true,
        };
        let mut running = life::start(self.program, &options, End::ByItself)?;
        let log = self.home.path().join("strace");
        let strace = match strace::attach(running.pid(), &case.fault, &log) {
            Ok(strace) => strace,
            Err(why) => {
                running.kill();
                running.finish()?;
                return Err(Trouble::Denied(why));
            }
        };
        // A child whose waiting itself was made to fail is gone already, and has done nothing.
        let _ = running.open_gate();
        running.wait_for(End::ByItself);
        running.kill();
        let life = running.finish()?;
        let calls = strace.finish(&log)?;
        let injected: Vec<Call> = calls.iter().filter(|call| call.injected).cloned().collect();
        tally.add("injected_calls", injected.len() as u64);
        let killed = case.fault.effect == Effect::Kill && life.was_killed();
        tally.add("injected_kills", u64::from(killed));
        if killed || !injected.is_empty() {
            tally.add("injected", 1);
            tally.add(&format!("injected_{}", case.fault.name()), 1);
        }
        self.judge(case, &life, &injected, tally)?;
        if let Some(call) = kept_in_use(&calls).filter(|_| !is_transient(case)) {
            let what = format!("{call:?} failed, and the table was used");
            return Err(Trouble::Found("false_acks", what));
        }
        self.reopen(&life, tally)
    }

    /// What can be said without the store.
    fn judge(
        &self,
        case: &Case,
        life: &Life,
        injected: &[Call],
        tally: &mut Tally,
    ) -> Result<(), Trouble> {
        let found = |name, what: String| Err(Trouble::Found(name, what));
        if life.hung {
            tally.add("hangs", 1);
            return found("wrong", format!("the child hung: {}", life.last_words()));
        }
        // A thread that gets no memory for its stack ends the process; that is std's doing.
        let no_stack = case.fault.call == "mmap" && life.errors.contains("stack_overflow.rs");
        if life.errors.contains("panicked") && !no_stack {
            tally.add("panics", 1);
            return found("wrong", life.errors.replace('\n', " "));
        }
        if life.told(Event::Fatal) {
            return found("wrong", life.errors.replace('\n', " "));
        }
        let told = troubles(life);
        let transient = is_transient(case);
        if transient && (told || !life.told(Event::Closed)) {
            return found("wrong", format!("no error, and told: {}", life.last_words()));
        }
        if case.env == Through::Default
            && !life.records.iter().any(|r| r.event == Event::Ready && r.number == 0)
        {
            return found("wrong", "no fallback from io_uring".to_owned());
        }
        if !transient && !told && !life.was_killed() {
            let silent = injected.iter().find(|call| must_be_told(call, case.fault.effect));
            if let Some(call) = silent {
                return found("false_acks", format!("{call:?} failed and nobody was told"));
            }
        }
        if !transient && let Some(ack) = acknowledged_after(&life.records, injected) {
            return found("false_acks", format!("{ack:?} began after a sync had failed"));
        }
        Ok(())
    }

    /// What the store says, without strace.
    fn reopen(&mut self, life: &Life, tally: &mut Tally) -> Result<(), Trouble> {
        let ledger = Ledger::read(&life.records, self.history.numbers(), Ordeal::Kill);
        let ledger = ledger.map_err(|what| Trouble::Found("harness_errors", what))?;
        tally.add("acked", ledger.acked);
        if ledger.after_poison > 0 {
            let what = format!("{} commits after the poison", ledger.after_poison);
            return Err(Trouble::Found("false_acks", what));
        }
        if !self.dir.join("SUPER").exists() {
            // It must be possible to make it now.
            let lost = |what| Trouble::Found("lost", what);
            ledger.check(&[0; 3]).map_err(lost)?;
        } else {
            let env = std::sync::Arc::new(PosixEnv::new());
            let store = Store::builder().env(env).open_read_only(&self.dir);
            let store = store.map_err(|error| Finding::unopenable(&error))?;
            self.history.advance(&store, &ledger, self.life)?;
        }
        let store =
            child::open(&self.dir, std::sync::Arc::new(PosixEnv::new()), self.history.seed());
        let store = store.map_err(|error| Finding::unopenable(&error))?;
        self.history.check(&store)?;
        store.close().map_err(|error| Trouble::Found("wrong", format!("close: {error}")))
    }
}

/// Whether the call must be done again, and nobody told.
fn is_transient(case: &Case) -> bool {
    match case.fault.effect {
        EINTR => true,
        Effect::Error("EAGAIN" | "EBUSY") => case.fault.call == "io_uring_enter",
        _ => false,
    }
}

/// A table whose sync failed and whose thread then synced something else, as it would to put the
/// table to use, before it removed the table.
fn kept_in_use(calls: &[Call]) -> Option<&Call> {
    let failed =
        |call: &&Call| call.injected && call.name == "fsync" && call.file.ends_with(".sst");
    calls.iter().enumerate().filter(|(_, call)| failed(call)).find_map(|(at, call)| {
        let mut later = calls[at + 1..].iter().filter(|later| later.thread == call.thread);
        let next = later.find(|later| later.name == "fsync" || later.file == call.file)?;
        (next.name == "fsync").then_some(call)
    })
}

/// Whether the child met an error, or the store said that it had.
fn troubles(life: &Life) -> bool {
    let troubles = [
        Event::Unknown,
        Event::Refused,
        Event::Poisoned,
        Event::Background,
        Event::OpenFailed,
        Event::CloseFailed,
    ];
    troubles.into_iter().any(|event| life.told(event))
}

/// Whether a failure cannot have been made good in silence. A full disk under the manifest can, by
/// trying again; so can anything that happens to a table.
fn must_be_told(call: &Call, effect: Effect) -> bool {
    let name = call.file.rsplit('/').next().unwrap_or_default();
    let log = name.ends_with(".log");
    let metadata = name.ends_with(".manifest") || name.starts_with("SUPER");
    match call.name.as_str() {
        "fdatasync" | "fsync" => log || metadata,
        "pwrite64" => log || (metadata && effect != ENOSPC),
        _ => false,
    }
}

/// Something that was acknowledged although it began after a sync of the log had failed. Weaker commits go on
/// until that is known, which is when somebody is told: what they promise, no sync is needed for.
fn acknowledged_after(records: &[Record], injected: &[Call]) -> Option<Record> {
    let log = |call: &&Call| call.name == "fdatasync" && call.file.ends_with(".log");
    let failed = injected.iter().filter(log).map(|call| call.micros).min()?;
    let told = records.iter().filter(|r| r.event == Event::Unknown && r.writer != FLUSHER);
    let known = told.map(|record| record.micros).filter(|told| *told > failed).min();
    let too_late = |ack: &&Record| {
        let same = |record: &&Record| {
            record.event == Event::Begin
                && (record.writer, record.number) == (ack.writer, ack.number)
        };
        let last_try = records.iter().filter(same).map(|record| record.micros).max();
        let since = if ack.durability == Durability::Synced { Some(failed) } else { known };
        last_try.zip(since).is_some_and(|(began, since)| began > since)
    };
    records
        .iter()
        .filter(|record| record.event == Event::Ack && record.writer != FLUSHER)
        .find(too_late)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_behind_a_failed_sync_is_found() {
        let by = |writer, durability| {
            move |event, number, micros| Record { event, writer, durability, number, micros }
        };
        let record = by(1, Durability::Synced);
        let records = [
            record(Event::Begin, 1, 10),
            record(Event::Ack, 1, 30),
            record(Event::Begin, 2, 40),
            record(Event::Ack, 2, 50),
        ];
        let call = |micros, file: &str| Call {
            thread: 7,
            micros,
            name: "fdatasync".to_owned(),
            file: file.to_owned(),
            injected: true,
        };
        // Commit 1 was under way when the sync failed: another group's.
        assert_eq!(acknowledged_after(&records, &[call(45, "/s/1.log")]), None);
        assert_eq!(acknowledged_after(&records, &[call(20, "/s/1.log")]), Some(records[3]));
        assert_eq!(acknowledged_after(&records, &[call(20, "/s/1.sst")]), None);
        // A weaker one may begin until somebody is told.
        let weaker = by(2, Durability::Buffered);
        let failed = [call(20, "/s/1.log")];
        let mut records = vec![
            record(Event::Begin, 1, 10),
            weaker(Event::Begin, 1, 25),
            weaker(Event::Ack, 1, 26),
            record(Event::Unknown, 1, 30),
        ];
        assert_eq!(acknowledged_after(&records, &failed), None);
        records.extend([weaker(Event::Begin, 2, 31), weaker(Event::Ack, 2, 32)]);
        assert_eq!(acknowledged_after(&records, &failed), Some(records[5]));
        assert!(must_be_told(&call(1, "/s/000001.log"), EIO));
        assert!(!must_be_told(&call(1, "/s/000001.sst"), EIO));
        let written = |file: &str| Call { name: "pwrite64".to_owned(), ..call(1, file) };
        assert!(must_be_told(&call(1, "/s/000001.manifest"), EIO));
        assert!(must_be_told(&written("/s/000001.manifest"), EIO));
        assert!(!must_be_told(&written("/s/000001.manifest"), ENOSPC));
        assert!(must_be_told(&written("/s/SUPER"), EIO));
    }

    #[test]
    fn a_table_that_is_used_although_its_sync_failed_is_found() {
        let call = |name: &str, file: &str, injected| Call {
            thread: 7,
            micros: 0,
            name: name.to_owned(),
            file: file.to_owned(),
            injected,
        };
        let failed = call("fsync", "/s/1.sst", true);
        let removed = call("unlink", "/s/1.sst", false);
        let other = call("fsync", "/s", false);
        assert_eq!(kept_in_use(&[failed.clone(), removed.clone(), other.clone()]), None);
        assert_eq!(kept_in_use(&[failed.clone(), other.clone(), removed]), Some(&failed));
        let elsewhere = Call { thread: 8, ..other };
        assert_eq!(kept_in_use(&[failed, elsewhere]), None);
    }

    #[test]
    fn every_call_and_error_is_among_the_cases() {
        let cases = cases(1);
        for (env, table) in [(Through::Posix, POSIX), (Through::Uring, URING)] {
            for (call, effects) in table {
                for effect in *effects {
                    let has = |case: &&Case| {
                        (case.env, case.fault.call, case.fault.effect) == (env, *call, *effect)
                    };
                    assert!(cases.iter().any(|case| has(&case)), "{call} {effect:?}");
                }
            }
        }
    }
}
