//! What does a hot read cost?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-get-cost -- --rounds 5
//! ```
//!
//! A store of keys written in random order, values of 100 bytes, settled, or as the load has left it
//! (`--unsettled`). Then, from one thread: gets of keys that are there, at random; of keys that are not; a seek and
//! ten steps; steps from the first key on. *CPU* is the time that the thread had of a processor, *wall* what passed.
//! Medians of rounds, in nanoseconds an operation.
//!
//! To compare two builds, run them in turns on one store: `--store` keeps it.

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use orlop::{Compression, Database, Durability, Store};
use rustix::time::{ClockId, clock_gettime};

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Reads of each kind and round.
    #[arg(long, default_value_t = 1_000_000)]
    reads: usize,
    /// Bytes that all keys begin with, before 16 digits.
    #[arg(long, default_value_t = 0)]
    head: usize,
    /// Over so many databases.
    #[arg(long, default_value_t = 1)]
    databases: usize,
    /// Only this kind of read, as the table of results calls it.
    #[arg(long)]
    only: Option<String>,
    /// Does not wait for compactions.
    #[arg(long)]
    unsettled: bool,
    /// Compressed.
    #[arg(long)]
    snappy: bool,
    /// A store that is made if it is not there, and kept.
    #[arg(long)]
    store: Option<PathBuf>,
}

/// What is done once.
#[derive(Clone, Copy)]
enum Read {
    Get,
    GetWith,
    Miss,
    SeekTen,
    Next,
}

const READS: [(Read, &str); 5] = [
    (Read::Get, "get"),
    (Read::GetWith, "get_with"),
    (Read::Miss, "get of an absent key"),
    (Read::SeekTen, "seek and ten steps"),
    (Read::Next, "step"),
];

const VALUE: usize = 100;

struct Keys {
    key: Vec<u8>,
    head: usize,
}

impl Keys {
    fn new(head: usize) -> Self {
        Self { key: vec![b'k'; head + 16], head }
    }

    /// Key `at`, followed by one that is nowhere if `absent`.
    fn key(&mut self, at: u64, absent: bool) -> &[u8] {
        let mut rest = at * 2 + u64::from(absent);
        for digit in self.key[self.head..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.key
    }
}

fn open(args: &Args, dir: &Path) -> Outcome<(Store, Vec<Database>)> {
    let compression = if args.snappy { Compression::Snappy } else { Compression::None };
    let builder = Store::builder().durability(Durability::Buffered).compression(compression);
    let is_new = !dir.exists();
    let store = builder.open(dir)?;
    let databases = (0..args.databases).map(|at| store.database(at.to_string()));
    let databases = databases.collect::<orlop::Result<Vec<_>>>()?;
    if is_new {
        fill(args, &databases)?;
    }
    if !args.unsettled {
        store.settle()?;
    }
    Ok((store, databases))
}

fn fill(args: &Args, databases: &[Database]) -> Outcome<()> {
    let mut source = fastrand::Rng::with_seed(7);
    let mut order: Vec<u64> = (0..args.entries).collect();
    source.shuffle(&mut order);
    let values: Vec<u8> = (0..1 << 20).map(|_| source.u8(..)).collect();
    let mut keys = Keys::new(args.head);
    for at in order {
        let value = &values[at as usize * 101 % (values.len() - VALUE)..][..VALUE];
        databases[at as usize % databases.len()].put(keys.key(at, false), value)?;
    }
    Ok(())
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn expect(found: bool, expected: bool) -> Outcome<()> {
    if found == expected { Ok(()) } else { Err(format!("found: {found}").into()) }
}

/// Nanoseconds an operation: of a processor, and of time.
fn measure(args: &Args, read: Read, databases: &[Database]) -> Outcome<[f64; 2]> {
    let mut source = fastrand::Rng::new();
    let mut keys = Keys::new(args.head);
    let mut cursors = databases.iter().map(Database::cursor).collect::<orlop::Result<Vec<_>>>()?;
    cursors[0].seek_first();
    let (clock, worked) = (Instant::now(), processor_time());
    for _ in 0..args.reads {
        if matches!(read, Read::Next) {
            if black_box(cursors[0].next()?).is_none() {
                cursors[0].seek_first();
            }
            continue;
        }
        let at = source.u64(..args.entries);
        let of = at as usize % databases.len();
        let key = keys.key(at, matches!(read, Read::Miss));
        match read {
            Read::Get => expect(black_box(databases[of].get(key)?).is_some(), true)?,
            Read::GetWith => {
                let sum = databases[of].get_with(key, |value| value[0] ^ value[value.len() - 1])?;
                expect(black_box(sum).is_some(), true)?;
            }
            Read::Miss => expect(black_box(databases[of].get(key)?).is_some(), false)?,
            Read::SeekTen | Read::Next => {
                cursors[of].seek(key)?;
                for _ in 0..10 {
                    black_box(cursors[of].next()?);
                }
            }
        }
    }
    let spans = [processor_time() - worked, clock.elapsed().as_nanos() as f64];
    Ok(spans.map(|span| span / args.reads as f64))
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let home = tempfile::tempdir_in(".")?;
    let dir = args.store.clone().unwrap_or_else(|| home.path().join("store"));
    let (store, databases) = open(&args, &dir)?;
    let mut rounds = vec![Vec::new(); READS.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..READS.len()).collect();
        order.retain(|at| args.only.as_ref().is_none_or(|only| only == READS[*at].1));
        fastrand::shuffle(&mut order);
        for at in order {
            rounds[at].push(measure(&args, READS[at].0, &databases)?);
        }
    }
    store.close()?;
    println!("| read | CPU | wall |\n|---|---|---|");
    for ((_, name), rounds) in READS.iter().zip(&rounds).filter(|(_, rounds)| !rounds.is_empty()) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        println!("| {name} | {:.0} | {:.0} |", of(0), of(1));
    }
    Ok(())
}
