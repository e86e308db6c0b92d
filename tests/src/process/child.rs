//! The child program: opens a store, writes to it from several threads, and tells of each commit
//! before it is asked for and after it has returned.
//!
//! 1. wait at the gate, if there is one: whoever wants to trace this process attaches meanwhile
//! 2. open the store with sizes so small that everything happens all the time
//! 3. check that it goes on where the parent has seen it end
//! 4. writers commit what [`plan`] says, each one commit after the other; a keeper
//!    syncs, flushes, compacts and reads
//! 5. after the given number of commits, close; without a number, go on until killed
//!
//! A commit that failed is tried again with the same contents, a few times. After any failure the
//! commit must not be visible; once the store says that it is poisoned, nothing may succeed.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use orlop::env::{Env, PosixEnv, default_env};
use orlop::{Durability, Error, Store};

use super::plan::{self, COUNTED, Stamp};
use super::report::{Event, FLUSHER, KEEPER, Reporter};
use crate::dice::Dice;

/// How the store reaches the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Through {
    /// The log through an io_uring.
    Uring,
    /// Plain system calls.
    Posix,
    /// The better one that is there.
    Default,
}

impl Through {
    /// The environment.
    ///
    /// # Errors
    /// When io_uring is asked for and denied.
    pub fn env(self) -> io::Result<Arc<dyn Env>> {
        match self {
            #[cfg(target_os = "linux")]
            Through::Uring => Ok(Arc::new(orlop::env::UringEnv::new()?)),
            #[cfg(not(target_os = "linux"))]
            Through::Uring => Err(io::ErrorKind::Unsupported.into()),
            Through::Posix => Ok(Arc::new(PosixEnv::new())),
            Through::Default => Ok(default_env()),
        }
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Through::Uring => "uring",
            Through::Posix => "posix",
            Through::Default => "default",
        }
    }
}

/// The child's arguments.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The store's directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// How to reach the operating system.
    #[arg(long, value_enum)]
    pub env: Through,
    /// What the commits are made from; the same for all lives of a store.
    #[arg(long)]
    pub seed: u64,
    /// Which run on this store this is.
    #[arg(long)]
    pub life: u32,
    /// The last commit of each writer that is there.
    #[arg(long, value_delimiter = ',')]
    pub from: Vec<u64>,
    /// Commits of each writer before the store is closed; 0: until killed.
    #[arg(long, default_value_t = 0)]
    pub commits: u64,
    /// Wait for a byte on stdin before anything else.
    #[arg(long)]
    pub gate: bool,
}

/// How often a commit that failed is tried again.
const TRIES: u32 = 4;

/// Opens a store with the sizes that belong to the seed.
///
/// # Errors
/// As [`orlop::Builder::open`].
pub fn open(dir: &std::path::Path, env: Arc<dyn Env>, seed: u64) -> orlop::Result<Store> {
    let mut dice = Dice::of(&[seed, 1]);
    let table_size = dice.pick(&[4 << 10, 16 << 10, 64 << 10]);
    Store::builder()
        .env(env)
        .memtable_size(dice.pick(&[6 << 10, 16 << 10, 60 << 10, 200 << 10]))
        .segment_size(dice.pick(&[64 << 10, 256 << 10, 64 << 20]))
        .stage_size(dice.pick(&[8 << 10, 32 << 10, 1 << 20]))
        .table_size(table_size)
        .level_base(2 * table_size)
        .block_size(512)
        .open(dir)
}

/// What the threads of a child share.
struct Crew {
    options: Options,
    store: Store,
    reporter: Reporter,
    /// The writers have come to their end.
    done: AtomicBool,
}

/// Runs the child.
pub fn run(options: Options) -> ExitCode {
    let reporter = match Reporter::on_stdout() {
        Ok(reporter) => reporter,
        Err(error) => {
            eprintln!("no stdout to report to: {error}");
            return ExitCode::from(2);
        }
    };
    if options.gate && io::stdin().read_exact(&mut [0]).is_err() {
        return ExitCode::from(4);
    }
    let tell = |event, number| reporter.tell(event, KEEPER, Durability::Memory, number);
    let opened =
        options.env.env().map_err(|error| error.to_string()).and_then(|env| {
            open(&options.dir, env, options.seed).map_err(|error| error.to_string())
        });
    let store = match opened {
        Ok(store) => store,
        Err(error) => {
            eprintln!("open: {error}");
            tell(Event::OpenFailed, 0);
            return ExitCode::from(3);
        }
    };
    if let Err(what) = goes_on(&store, &options.from) {
        eprintln!("{what}");
        tell(Event::Fatal, 0);
        return ExitCode::from(3);
    }
    tell(Event::Ready, u64::from(store.stats().log_path == "io_uring"));
    let crew = Crew { options, store, reporter, done: AtomicBool::new(false) };
    crew.work();
    crew.close()
}

/// Whether each writer's last commit is the one that the parent saw.
fn goes_on(store: &Store, from: &[u64]) -> Result<(), String> {
    for (writer, expected) in from.iter().enumerate() {
        let found = last_commit(store, writer)?;
        if found != *expected {
            return Err(format!("writer {writer} has {found}, the parent saw {expected}"));
        }
    }
    Ok(())
}

/// The last commit of a writer that is visible.
fn last_commit(store: &Store, writer: usize) -> Result<u64, String> {
    let key = plan::counter(writer);
    let database = store.database(COUNTED).map_err(|error| error.to_string())?;
    let value = database.get(&key).map_err(|error| format!("get {key}: {error}"))?;
    let Some(value) = value else { return Ok(0) };
    let stamp = Stamp::read(key.as_bytes(), &value);
    stamp.map(|stamp| stamp.number).ok_or(format!("{key} holds nothing that was written there"))
}

impl Crew {
    fn work(&self) {
        thread::scope(|scope| {
            let keeper = thread::Builder::new().name("keeper".to_owned());
            let keeper = keeper.spawn_scoped(scope, || self.keep());
            let spawn = |writer: usize| {
                let thread = thread::Builder::new().name(format!("writer-{writer}"));
                thread.spawn_scoped(scope, move || self.write(writer))
            };
            let writers: Vec<_> = (0..self.options.from.len()).map(spawn).collect();
            for started in writers.iter().chain([&keeper]) {
                if let Err(error) = started {
                    // Not what is tested here, and told: the others do the work.
                    eprintln!("no thread: {error}");
                }
            }
            for writer in writers.into_iter().flatten() {
                // A panic has printed itself; the parent looks for that.
                let _ = writer.join();
            }
            self.done.store(true, Ordering::Relaxed);
        });
    }

    fn close(self) -> ExitCode {
        let Crew { store, reporter, .. } = self;
        match store.close() {
            Ok(()) => {
                reporter.tell(Event::Closed, KEEPER, Durability::Synced, 0);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("close: {error}");
                reporter.tell(Event::CloseFailed, KEEPER, Durability::Memory, 0);
                ExitCode::from(3)
            }
        }
    }

    fn write(&self, writer: usize) {
        let Options { seed, life, commits, .. } = self.options;
        let from = self.options.from[writer];
        let mut dice = Dice::of(&[seed, u64::from(life), writer as u64, 2]);
        let durabilities = mix(&mut dice);
        let mut number = from;
        while commits == 0 || number < from + commits {
            number += 1;
            let durability = dice.pick(durabilities);
            if !(0..TRIES).any(|_| self.commit(writer, number, durability)) {
                return;
            }
        }
    }

    /// One try; whether it succeeded.
    fn commit(&self, writer: usize, number: u64, durability: Durability) -> bool {
        let Options { seed, life, .. } = self.options;
        let ops = plan::commit(seed, writer, number);
        let tell = |event| self.reporter.tell(event, writer as u8, durability, number);
        tell(Event::Begin);
        let done = plan::batch(&self.store, &ops, writer, life, number)
            .and_then(|batch| batch.commit_with(durability));
        let Err(error) = done else {
            tell(Event::Ack);
            return true;
        };
        tell(match error {
            Error::Io { .. } => Event::Unknown,
            _ => Event::Refused,
        });
        eprintln!("commit {number} of writer {writer}: {error}");
        match last_commit(&self.store, writer) {
            Ok(found) if found < number => {}
            // A weaker one of another writer came behind it while it was on its way, at this try or the
            // one before.
            Ok(_) if durability == Durability::Synced => {}
            Ok(_) => self.fatal("a commit that failed is visible"),
            // A read may meet the same fault; it is an error and no answer.
            Err(error) => eprintln!("{error}"),
        }
        self.tell_state();
        thread::sleep(Duration::from_millis(3));
        false
    }

    /// Syncs, flushes, compacts and reads, now and then.
    fn keep(&self) {
        let Options { seed, life, .. } = self.options;
        let mut dice = Dice::of(&[seed, u64::from(life), 3]);
        let mut number = 0;
        while !self.done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_micros(500 + dice.below(6_000)));
            number += 1;
            match dice.below(16) {
                0..6 => self.care("sync", KEEPER, number, Store::sync),
                6..12 => self.care("flush", FLUSHER, number, Store::flush),
                12 => self.care("compact", FLUSHER, number, Store::compact),
                _ => self.read(),
            }
        }
    }

    fn care(
        &self,
        what: &str,
        row: u8,
        number: u64,
        task: impl FnOnce(&Store) -> orlop::Result<()>,
    ) {
        let tell = |event| self.reporter.tell(event, row, Durability::Synced, number);
        tell(Event::Begin);
        match task(&self.store) {
            Ok(()) => tell(Event::Ack),
            Err(error) => {
                tell(Event::Unknown);
                eprintln!("{what}: {error}");
                self.tell_state();
            }
        }
    }

    /// A scan through a snapshot sees exactly its own past: every counter belongs to its key.
    fn read(&self) {
        let snapshot = self.store.snapshot();
        let Ok(database) = self.store.database(COUNTED) else { return };
        for entry in snapshot.iter(&database) {
            match entry {
                Ok((key, value)) if Stamp::read(&key, &value).is_none() => {
                    self.fatal(&format!("{} holds foreign bytes", key.escape_ascii()));
                }
                Ok(_) => {}
                Err(error) => return eprintln!("scan: {error}"),
            }
        }
    }

    /// What the store says of itself after a failure.
    fn tell_state(&self) {
        let stats = self.store.stats();
        let tell = |event| self.reporter.tell(event, KEEPER, Durability::Memory, 0);
        if let Some(why) = stats.poisoned {
            eprintln!("poisoned: {why}");
            tell(Event::Poisoned);
        }
        if let Some(why) = stats.background_error {
            eprintln!("background: {why}");
            tell(Event::Background);
        }
    }

    fn fatal(&self, what: &str) {
        eprintln!("{what}");
        self.reporter.tell(Event::Fatal, KEEPER, Durability::Memory, 0);
    }
}

/// How durable the commits of one writer in one life are.
fn mix(dice: &mut Dice) -> &'static [Durability] {
    use Durability::{Buffered, Memory, Synced};
    match dice.below(5) {
        0 => &[Synced],
        1 => &[Buffered],
        2 => &[Memory, Buffered, Synced],
        3 => &[Memory, Memory, Memory, Memory, Buffered],
        _ => &[Buffered, Buffered, Buffered, Buffered, Buffered, Buffered, Synced],
    }
}
