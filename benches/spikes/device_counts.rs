//! How many requests does the device get for a synced put?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-device-counts -- --dir . --device vda
//! ```
//!
//! One writer, synced puts of 100 bytes into a store, and what the block device has counted meanwhile (Linux,
//! `/sys/block/DEVICE/stat`): writes, sectors, flushes, each for one put. What others write to the device is
//! counted, too, so that the least of several rounds says most; and the background's work of the puts is in
//! it: filling and recycling segments, flushes of the memtable. The last column says what the device gets from
//! others.
//!
//! First the device alone, since kernels count differently: 4 KiB into a file that was filled with zeros, past
//! the page cache, without a sync and with one. A flush is counted as a write of no sectors.

use std::error::Error;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop::{Durability, Store};

use parts::pages::{PAGE, Pages};
use parts::segment::open;

mod parts {
    pub(crate) mod pages;
    pub(crate) mod segment;
}

type Answer = Result<(), Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Puts of a round.
    #[arg(long, default_value_t = 5_000)]
    puts: u32,
    /// Where to make a directory for the store.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The block device that it is on.
    #[arg(long)]
    device: String,
}

/// Writes, merged writes, sectors and flushes so far.
fn counts(device: &str) -> Result<[u64; 4], Box<dyn Error>> {
    let text = fs::read_to_string(format!("/sys/block/{device}/stat"))?;
    let fields: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let field = |at: usize| fields.get(at).copied().ok_or("this kernel counts no flushes");
    Ok([field(4)?, field(5)?, field(6)?, field(15)?])
}

/// What the device has counted for each of so many calls, and how many there were in a second.
fn count(
    device: &str,
    calls: u32,
    mut call: impl FnMut() -> Answer,
) -> Result<[f64; 5], Box<dyn Error>> {
    let (before, begun) = (counts(device)?, Instant::now());
    for _ in 0..calls {
        call()?;
    }
    let (took, after) = (begun.elapsed(), counts(device)?);
    let [writes, merged, sectors, flushes] =
        [0, 1, 2, 3].map(|at| (after[at] - before[at]) as f64 / f64::from(calls));
    Ok([f64::from(calls) / took.as_secs_f64(), writes, merged, sectors, flushes])
}

fn row(name: &str, [rate, writes, merged, sectors, flushes]: [f64; 5], others: &str) {
    println!(
        "| {name} | {rate:.0} | {writes:.3} | {merged:.3} | {sectors:.1} | {flushes:.3} | {others} |"
    );
}

/// The device alone.
fn bare(args: &Args, dir: &Path) -> Answer {
    let file = open(&dir.join("bare"), true)?;
    let page = Pages::new(PAGE);
    let calls = args.puts.min(4_096);
    for at in 0..calls {
        file.write_all_at(&page, u64::from(at) * PAGE as u64)?;
    }
    file.sync_all()?;
    for (name, sync) in [("a write", false), ("a write and a sync", true)] {
        let mut at = 0;
        let found = count(&args.device, calls, || {
            file.write_all_at(&page, at)?;
            at += PAGE as u64;
            if sync {
                file.sync_data()?;
            }
            Ok(())
        });
        row(name, found?, "");
        thread::sleep(Duration::from_millis(300));
    }
    Ok(())
}

fn main() -> Answer {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir)?;
    println!(
        "| | calls/s | writes a call | merged | sectors | flushes | writes of others in as long |"
    );
    println!("|---|---|---|---|---|---|---|");
    bare(&args, dir.path())?;
    let store = Store::open(dir.path().join("store"))?;
    let database = store.database("d")?;
    let value = [7; 100];
    let mut key = 0_u64;
    for round in 0..=args.rounds {
        let found = count(&args.device, args.puts, || {
            key += 1;
            Ok(database.put_with(key.to_be_bytes(), value, Durability::Synced)?)
        })?;
        // What is still on its way to the device belongs to this round.
        thread::sleep(Duration::from_millis(300));
        let quiet = counts(&args.device)?;
        thread::sleep(Duration::from_secs_f64(f64::from(args.puts) / found[0]));
        let others = counts(&args.device)?[0] - quiet[0];
        // The first one has its segments made.
        if round > 0 {
            row(&format!("a synced put, round {round}"), found, &others.to_string());
        }
    }
    store.close()?;
    Ok(())
}
