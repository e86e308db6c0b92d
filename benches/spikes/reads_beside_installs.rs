//! What does a hot get wait for while flushes and compactions are installed?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-reads-beside-installs -- --rounds 5
//! ```
//!
//! One thread gets keys that are in memory, one after the other, and times each. The store is at rest; or a paced
//! writer puts other keys into it, and its memtables and tables are so small that something is installed all the
//! time (*installs*); or the same writer does that to another store (*control*), so that the processors, the memory
//! and the device have the same work, but what the reader looks at stays as it was. What installs cost is the
//! difference between the last two. *Waited* is the part of the time in which the reader had no processor. Medians
//! of rounds in random orders.

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use orlop::{Compression, Database, Durability, Store};

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each case runs in a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keys that are read.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Keys that are written.
    #[arg(long, default_value_t = 20_000)]
    written: u64,
    /// Puts a second.
    #[arg(long, default_value_t = 60_000.0)]
    pace: f64,
    /// The keys that are written lie between those that are read, whose tables are then made anew, too.
    #[arg(long)]
    between: bool,
    /// Where to make directories for the stores.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Where the writer writes.
#[derive(Clone, Copy)]
enum Case {
    Rest,
    Installs,
    Control,
}

const CASES: [(Case, &str); 3] =
    [(Case::Rest, "at rest"), (Case::Installs, "installs"), (Case::Control, "control")];

/// What one round of one case says, in the order of the columns.
const COLUMNS: [&str; 9] = [
    "gets/s",
    "p50 ns",
    "p99 ns",
    "p99.9 ns",
    "max µs",
    "waited %",
    "installs/s where it reads",
    "installs/s elsewhere",
    "puts/s",
];

/// A writer sleeps that long between its puts, to leave the processor to others.
const NAP: Duration = Duration::from_millis(1);

/// The writer begins that long before the reader: something is always on its way.
const LEAD: Duration = Duration::from_millis(300);

fn hot(number: u64) -> String {
    format!("k{number:015}")
}

fn other(number: u64, args: &Args) -> String {
    if args.between {
        hot(number * args.keys / args.written) + "!"
    } else {
        format!("w{number:015}")
    }
}

/// A store whose memtables and tables are small, settled, with all keys of both kinds.
fn open(dir: &Path, args: &Args) -> Outcome<(Store, Database)> {
    let builder = Store::builder().durability(Durability::Buffered).compression(Compression::None);
    let builder = builder.memtable_size(256 << 10).table_size(256 << 10).level_base(1 << 20);
    let store = builder.open(dir)?;
    let database = store.database("d")?;
    (0..args.keys).try_for_each(|number| database.put(hot(number), [7; 100]))?;
    (0..args.written).try_for_each(|number| database.put(other(number, args), [7; 100]))?;
    store.settle()?;
    Ok((store, database))
}

/// Puts over the keys of `database` until `stop`; how many.
fn write(database: &Database, args: &Args, stop: &AtomicBool) -> Outcome<u64> {
    let (clock, mut puts) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = (clock.elapsed().as_secs_f64() * args.pace) as u64;
        while puts < due && !stop.load(Ordering::Relaxed) {
            database.put(other(fastrand::u64(..args.written), args), [8; 100])?;
            puts += 1;
        }
        thread::sleep(NAP);
    }
    Ok(puts)
}

/// How long this thread has waited for a processor.
fn waited() -> Outcome<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().nth(1).ok_or("a short schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Gets hot keys for as long as asked; latencies in nanoseconds, and the part of the time that it waited.
fn read(database: &Database, args: &Args) -> Outcome<(Histogram<u64>, f64)> {
    let mut took = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut key = hot(0).into_bytes();
    let (clock, before) = (Instant::now(), waited()?);
    while clock.elapsed().as_secs_f64() < args.seconds {
        let mut rest = fastrand::u64(..args.keys);
        for digit in key[1..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let begin = Instant::now();
        let value = black_box(database.get(&key)?);
        took.saturating_record(begin.elapsed().as_nanos() as u64);
        if value.is_none_or(|value| value[..] != [7; 100]) {
            return Err("a get that did not find what was put".into());
        }
    }
    let part = (waited()? - before).as_secs_f64() / clock.elapsed().as_secs_f64();
    Ok((took, part))
}

fn installs(store: &Store) -> f64 {
    let stats = store.stats();
    (stats.flushes + stats.compactions) as f64
}

fn round(case: Case, stores: &[(Store, Database); 2], args: &Args) -> Outcome<[f64; 9]> {
    let target = match case {
        Case::Rest => None,
        Case::Installs => Some(&stores[0]),
        Case::Control => Some(&stores[1]),
    };
    let (stop, count) = (AtomicBool::new(false), || [0, 1].map(|at| installs(&stores[at].0)));
    let (found, before, after, puts) = thread::scope(|scope| -> Outcome<_> {
        let begun = Instant::now();
        let writer = target.map(|target| scope.spawn(|| write(&target.1, args, &stop)));
        thread::sleep(LEAD);
        let before = count();
        let found = read(&stores[0].1, args);
        let after = count();
        stop.store(true, Ordering::Relaxed);
        let puts = writer.map_or(Ok(Ok(0)), thread::ScopedJoinHandle::join);
        let puts = puts.map_err(|_| "the writer panicked")??;
        Ok((found?, before, after, puts as f64 / begun.elapsed().as_secs_f64()))
    })?;
    // The next case begins at rest.
    stores.iter().try_for_each(|(store, _)| store.settle())?;
    let (took, waited) = found;
    let at = |part| took.value_at_quantile(part) as f64;
    let each = [0, 1].map(|store: usize| (after[store] - before[store]) / args.seconds);
    let (rate, longest) = (took.len() as f64 / args.seconds, took.max() as f64 / 1e3);
    Ok([rate, at(0.5), at(0.99), at(0.999), longest, waited * 100.0, each[0], each[1], puts])
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let home = tempfile::tempdir_in(&args.dir)?;
    let stores =
        [open(&home.path().join("read"), &args)?, open(&home.path().join("other"), &args)?];
    let mut rounds = vec![Vec::new(); CASES.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..CASES.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            rounds[at].push(round(CASES[at].0, &stores, &args)?);
        }
    }
    println!("| case | {} |\n|{}", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len() + 1));
    for ((_, name), rounds) in CASES.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        let cells: Vec<String> = (0..COLUMNS.len()).map(|at| format!("{:.0}", of(at))).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    let longest = rounds.iter().map(|rounds| rounds.iter().map(|row| row[4]).fold(0.0, f64::max));
    let longest: Vec<String> = longest.map(|longest| format!("{longest:.0}")).collect();
    println!("\nThe longest get of all rounds, µs: {}.", longest.join(", "));
    Ok(())
}
