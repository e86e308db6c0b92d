//! What a bulk load waits for: the caller's processor, the device, or what is left at the end.
//!
//! Loads sorted entries of 16 and 100 bytes into a new store, some times, and prints the seconds of each part: to add them
//! (of which the processor time of this thread), to bring them onto the device, to make them visible. Beside it, how long as
//! many bytes take that are only written to a file and synced.
//!
//! ```text
//! cargo run --release -p orlop-benches --example spike-bulk-load -- DIR [ENTRIES]
//! ```

#![expect(clippy::unwrap_used, reason = "a spike ends at the first thing that it did not expect")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use orlop::{Compression, Store};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 3;

const VALUE: usize = 100;

/// Bytes that values are stretches of.
const POOL: usize = 4 << 20;

/// Bytes of a write of the plain file.
const PIECE: usize = 1 << 20;

/// Processor time of this thread, in seconds.
fn processor() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Sixteen bytes in the order of the numbers.
fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key-0000xxxxxxxx";
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn load(dir: &Path, entries: u64) -> u64 {
    let store = Store::builder().compression(Compression::None).open(dir).unwrap();
    let database = store.database("d").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let values: Vec<u8> = (0..POOL).map(|_| random.u8(..)).collect();
    let mut load = database.bulk_load().unwrap();
    let (begun, before) = (Instant::now(), processor());
    for n in 0..entries {
        // As good as anywhere: no cache knows what comes next.
        let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % (POOL - VALUE);
        load.put(key(n), &values[at..at + VALUE]).unwrap();
    }
    let (added, used) = (begun.elapsed().as_secs_f64(), processor() - before);
    load.checkpoint().unwrap();
    let there = begun.elapsed().as_secs_f64();
    load.finish().unwrap();
    let all = begun.elapsed().as_secs_f64();
    let bytes = store.stats().levels.iter().flat_map(|of| &of.runs).map(|run| run.bytes).sum();
    println!(
        "{:>10.0} entries/s: {added:.3} s to add ({used:.3} of the processor), {:.3} to the device, {:.3} to finish",
        entries as f64 / all,
        there - added,
        all - there,
    );
    store.close().unwrap();
    bytes
}

fn plain(path: &Path, bytes: u64) -> f64 {
    let piece = vec![7; PIECE];
    let mut file = File::create(path).unwrap();
    let begun = Instant::now();
    for _ in 0..bytes / PIECE as u64 {
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
    begun.elapsed().as_secs_f64()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory");
    let entries = args.next().map_or(5_000_000, |entries| entries.parse().unwrap());
    let dir = Path::new(&dir).join("spike-bulk-load");
    for _ in 0..ROUNDS {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let bytes = load(&dir.join("store"), entries);
        let seconds = plain(&dir.join("plain"), bytes);
        println!("{:>10} MiB; a plain file of as many takes {seconds:.3} s", bytes >> 20);
    }
    let _ = fs::remove_dir_all(&dir);
}
