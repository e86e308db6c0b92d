//! What does a put cost its caller, and what of that is work?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-put-cost -- --rounds 5
//! ```
//!
//! A new store, keys of 16 digits in order or at random, values of 100 bytes, a commit for each or for a
//! thousand. *CPU* is the time that the caller's thread had of a processor, which other work on the machine
//! disturbs least; *wall* is what passed. Medians of rounds, in nanoseconds an entry.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use orlop::{Compression, Durability, Store};
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
    #[arg(long, default_value_t = 3_000_000)]
    entries: usize,
    /// Where to make directories for the stores.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// How the entries come.
#[derive(Clone, Copy)]
struct Case {
    random: bool,
    durability: Durability,
    batch: usize,
}

const CASES: [Case; 6] = [
    Case { random: false, durability: Durability::Memory, batch: 1 },
    Case { random: false, durability: Durability::Buffered, batch: 1 },
    Case { random: false, durability: Durability::Buffered, batch: 1000 },
    Case { random: true, durability: Durability::Memory, batch: 1 },
    Case { random: true, durability: Durability::Buffered, batch: 1 },
    Case { random: true, durability: Durability::Buffered, batch: 1000 },
];

const KEY: usize = 16;
const VALUE: usize = 100;

fn keys(random: bool, entries: usize) -> Vec<u8> {
    let mut source = fastrand::Rng::with_seed(7);
    let mut number = |at: usize| if random { source.usize(..entries) } else { at };
    (0..entries).flat_map(|at| format!("{:0KEY$}", number(at)).into_bytes()).collect()
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds an entry: of a processor, and of time.
fn measure(case: Case, keys: &[u8], dir: &Path) -> Outcome<[f64; 2]> {
    let home = tempfile::tempdir_in(dir)?;
    let store = Store::builder().durability(case.durability).compression(Compression::None);
    let store = store.open(home.path().join("store"))?;
    let database = store.database("spike")?;
    database.put("the database", "is there")?;
    let values: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    let value = |at: usize| &values[at * 101 % (values.len() - VALUE)..][..VALUE];
    let (clock, worked) = (Instant::now(), processor_time());
    for (at, keys) in keys.chunks(KEY * case.batch).enumerate() {
        if case.batch == 1 {
            database.put(keys, value(at))?;
            continue;
        }
        let mut batch = store.batch();
        for (n, key) in keys.chunks(KEY).enumerate() {
            batch.put(&database, key, value(at * case.batch + n))?;
        }
        batch.commit()?;
    }
    let spans = [processor_time() - worked, clock.elapsed().as_nanos() as f64];
    store.close()?;
    Ok(spans.map(|span| span / (keys.len() / KEY) as f64))
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let keys = [false, true].map(|random| keys(random, args.entries));
    let mut rounds = vec![Vec::new(); CASES.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..CASES.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let case = CASES[at];
            rounds[at].push(measure(case, &keys[usize::from(case.random)], &args.dir)?);
        }
    }
    println!("| keys | class | entries a commit | CPU | wall |\n|---|---|---|---|---|");
    for (Case { random, durability, batch }, rounds) in CASES.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        let keys = if *random { "at random" } else { "in order" };
        println!("| {keys} | {durability:?} | {batch} | {:.0} | {:.0} |", of(0), of(1));
    }
    Ok(())
}
