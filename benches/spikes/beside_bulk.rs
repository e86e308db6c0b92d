//! What does a small commit wait for while another writer commits large batches?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-beside-bulk -- --rounds 3
//! ```
//!
//! One thread puts 100 bytes at a time, `Buffered` and paced, so that a wait is not hidden by the puts that it
//! keeps from beginning: a put counts from when it was due. The other commits batches, one after the other,
//! until the time is over. Medians of rounds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop::{Compression, Database, Durability, Store};

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Small puts a second.
    #[arg(long, default_value_t = 20_000.0)]
    pace: f64,
    /// Large batches a second, at most.
    #[arg(long, default_value_t = 2.0)]
    bulk_pace: f64,
    /// Where to make directories for the stores.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// The batches beside the small puts.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    bytes: usize,
    value: usize,
    durability: Durability,
}

const MIB: usize = 1 << 20;

const fn case(name: &'static str, bytes: usize, value: usize, durability: Durability) -> Case {
    Case { name, bytes, value, durability }
}

const CASES: [Case; 7] = [
    case("none", 0, 1, Durability::Buffered),
    case("2 MiB of 100 bytes, buffered", 2 * MIB, 100, Durability::Buffered),
    case("5 MiB of 100 bytes, buffered", 5 * MIB, 100, Durability::Buffered),
    case("64 MiB of 64 KiB, buffered", 64 * MIB, 64 << 10, Durability::Buffered),
    case("64 MiB of 100 bytes, buffered", 64 * MIB, 100, Durability::Buffered),
    case("64 MiB of 64 KiB, synced", 64 * MIB, 64 << 10, Durability::Synced),
    case("64 MiB of 16 MiB, synced", 64 * MIB, 16 << 20, Durability::Synced),
];

/// Commits batches until told to stop; gives their bytes a second while they were committed.
fn load(store: &Store, case: Case, pace: f64, stop: &AtomicBool) -> Outcome<f64> {
    let database = store.database("bulk")?;
    database.put("the database", "is there")?;
    let value: Vec<u8> = (0..case.value).map(|_| fastrand::u8(..)).collect();
    let (mut bytes, mut time) = (0, Duration::ZERO);
    let mut number: u64 = 0;
    let clock = Instant::now();
    for round in 0.. {
        let due = Duration::from_secs_f64(f64::from(round) / pace);
        while !stop.load(Ordering::Relaxed) && (case.bytes == 0 || clock.elapsed() < due) {
            thread::sleep(Duration::from_millis(1));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut batch = store.batch();
        for _ in 0..case.bytes / (case.value + 16) {
            batch.put(&database, format!("{number:016}"), &value)?;
            number += 1;
        }
        let begun = Instant::now();
        batch.commit_with(case.durability)?;
        time += begun.elapsed();
        bytes += case.bytes;
    }
    Ok(bytes as f64 / time.as_secs_f64().max(1e-9))
}

/// The microseconds of paced puts.
fn puts(database: &Database, seconds: f64, pace: f64) -> Outcome<Vec<f64>> {
    let value = [7; 100];
    let clock = Instant::now();
    let mut took = Vec::new();
    for number in 0_u64.. {
        let due = Duration::from_secs_f64(number as f64 / pace);
        if due.as_secs_f64() > seconds {
            break;
        }
        while clock.elapsed() < due {
            thread::yield_now();
        }
        database.put(number.to_be_bytes(), value)?;
        took.push((clock.elapsed() - due).as_secs_f64() * 1e6);
    }
    Ok(took)
}

/// p50, p99, p99.9 and the longest of the small puts in microseconds; MiB a second of the batches.
fn measure(case: Case, args: &Args, dir: &Path) -> Outcome<[f64; 5]> {
    let home = tempfile::tempdir_in(dir)?;
    let store = Store::builder().durability(Durability::Buffered).compression(Compression::None);
    let store = store.open(home.path().join("store"))?;
    let database = store.database("small")?;
    database.put("the database", "is there")?;
    let stop = AtomicBool::new(false);
    let (took, rate) = thread::scope(|scope| {
        let load = scope.spawn(|| load(&store, case, args.bulk_pace, &stop));
        let took = puts(&database, args.seconds, args.pace);
        stop.store(true, Ordering::Relaxed);
        (took, load.join())
    });
    let (mut took, rate) = (took?, rate.map_err(|_| "the writer of batches panicked")??);
    let mut of = |part| quantile(&mut took, part);
    Ok([of(0.5), of(0.99), of(0.999), of(1.0), rate / MIB as f64])
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let mut figures: Vec<Vec<[f64; 5]>> = vec![Vec::new(); CASES.len()];
    for _ in 0..args.rounds {
        for (case, figures) in CASES.into_iter().zip(&mut figures) {
            figures.push(measure(case, &args, &args.dir)?);
        }
    }
    println!(
        "{:<32}{:>9}{:>9}{:>9}{:>10}{:>10}",
        "beside", "p50 us", "p99", "p99.9", "max", "MiB/s"
    );
    for (case, figures) in CASES.into_iter().zip(figures) {
        let median =
            |at: usize| quantile(&mut figures.iter().map(|of| of[at]).collect::<Vec<_>>(), 0.5);
        let [p50, p99, p999, max, rate] = [0, 1, 2, 3, 4].map(median);
        println!("{:<32}{p50:>9.1}{p99:>9.0}{p999:>9.0}{max:>10.0}{rate:>10.0}", case.name);
    }
    Ok(())
}
