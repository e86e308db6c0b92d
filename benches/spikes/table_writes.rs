//! How should a table of 64 MiB reach the device, while the log is written beside it?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-table-writes -- --rounds 7
//! ```
//!
//! A table is written in pieces of 1 MiB, synced, and read back so that whoever looks something up finds it in
//! the page cache. Meanwhile another thread writes 256 KiB past the page cache every 1.4 ms into a segment
//! that has its space, as a log does that gets 190 MB a second. `write`, `sync` and `read` are milliseconds of
//! the table's thread, `CPU` what the process used for the table; `log` is how long a piece of the log took:
//! its median, its 99th percentile, the longest. Medians of rounds in random orders.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use memmap2::Advice;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};

use parts::figures::quantile;
use parts::map::map;
use parts::pages::Pages;
use parts::segment::open;

mod parts {
    pub(crate) mod figures;
    pub(crate) mod map;
    pub(crate) mod pages;
    pub(crate) mod segment;
}

const TABLE: usize = 64 << 20;
const PIECE: usize = 1 << 20;
/// What the system is asked to read ahead at a time.
const AHEAD: usize = 512 << 10;

const LOG: usize = 512 << 20;
const LOG_PIECE: usize = 256 << 10;
const LOG_PAUSE: Duration = Duration::from_micros(1_350);

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where to make a directory for the files.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// How the table is read back.
#[derive(Clone, Copy)]
enum Back {
    AtOnce,
    Gently,
}

/// Every arm: past the page cache, bytes between syncs, how it is read back.
const ARMS: [(&str, bool, usize, Back); 6] = [
    ("cached, one sync", false, TABLE, Back::AtOnce),
    ("cached, a sync for 8 MiB", false, 8 << 20, Back::AtOnce),
    ("direct, one sync, read at once", true, TABLE, Back::AtOnce),
    ("direct, one sync, read gently", true, TABLE, Back::Gently),
    ("direct, a sync for 8 MiB, read at once", true, 8 << 20, Back::AtOnce),
    ("direct, a sync for 8 MiB, read gently", true, 8 << 20, Back::Gently),
];

/// What the thread has had of a processor, and the kernel for it.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Milliseconds: write, sync, read, CPU.
fn table(path: &Path, direct: bool, between: usize, back: Back) -> io::Result<[f64; 4]> {
    let mut piece = Pages::new(PIECE);
    piece.fill(7);
    let cpu_before = cpu();
    let clock = Instant::now();
    let file = open(path, direct)?;
    let mut synced = Duration::ZERO;
    for at in (0..TABLE).step_by(PIECE) {
        file.write_all_at(&piece, at as u64)?;
        if (at + PIECE).is_multiple_of(between) {
            let begun = Instant::now();
            file.sync_all()?;
            synced += begun.elapsed();
        }
    }
    let written = clock.elapsed();
    let file = open(path, false)?;
    let map = map(&file, TABLE)?;
    map.advise(Advice::Random)?;
    for at in (0..TABLE).step_by(AHEAD) {
        map.advise_range(Advice::WillNeed, at, AHEAD)?;
        if matches!(back, Back::Gently) {
            black_box(map[at + AHEAD - 1]);
        }
    }
    // Whoever reads at once waits here for the end.
    black_box(map[TABLE - 1]);
    let read = clock.elapsed();
    let used = cpu() - cpu_before;
    let spans = [written - synced, synced, read - written, used];
    Ok(spans.map(|span| span.as_secs_f64() * 1e3))
}

/// Milliseconds that each piece of the log took.
fn log(file: &File, done: &AtomicBool) -> io::Result<Vec<f64>> {
    let piece = Pages::new(LOG_PIECE);
    let mut took = Vec::new();
    for at in (0..LOG).step_by(LOG_PIECE) {
        let begun = Instant::now();
        file.write_all_at(&piece, at as u64)?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if done.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(LOG_PAUSE.saturating_sub(begun.elapsed()));
    }
    Ok(took)
}

fn measure(arm: usize, dir: &Path) -> Result<[f64; 7], Box<dyn Error>> {
    let (_, direct, between, back) = ARMS[arm];
    let segment = open(&dir.join("segment"), true)?;
    fallocate(&segment, FallocateFlags::empty(), 0, LOG as u64)?;
    let done = AtomicBool::new(false);
    let (written, took) = thread::scope(|scope| {
        let log = scope.spawn(|| log(&segment, &done));
        let written = table(&dir.join("table"), direct, between, back);
        done.store(true, Ordering::Relaxed);
        (written, log.join())
    });
    let mut took = took.map_err(|_| "the log's thread panicked")??;
    let [write, sync, read, cpu] = written?;
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    let [median, most, longest] = [0.5, 0.99, 1.0].map(|share| quantile(&mut took, share));
    Ok([write, sync, read, cpu, median, most, longest])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir)?;
    let mut rounds = vec![Vec::new(); ARMS.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..ARMS.len()).collect();
        fastrand::shuffle(&mut order);
        for arm in order {
            rounds[arm].push(measure(arm, dir.path())?);
        }
    }
    println!("| ms | write | sync | read | CPU | log p50 | p99 | longest |");
    println!("|---|---|---|---|---|---|---|---|");
    for ((name, ..), rounds) in ARMS.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        let row: Vec<String> = (0..7).map(|at| format!("{:.1}", of(at))).collect();
        println!("| {name} | {} |", row.join(" | "));
    }
    Ok(())
}
