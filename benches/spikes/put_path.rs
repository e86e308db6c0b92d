//! What does it cost to let a small record outlive the process?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-put-path -- --rounds 5
//! ```
//!
//! Records of 150 bytes, 64 MiB of them, none of them synced. `prepare` is what the file cost before the
//! first record, `put` what the writer does, `wait` what it stands still meanwhile for earlier pieces (it
//! does nothing but put, so it is ahead of the device), `sync` what is left until the file is on the
//! device: each nanoseconds for one record, on the clock. `CPU` is what the process used in all of it. What
//! the kernel does elsewhere is nowhere counted. Medians of rounds in random orders.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use memmap2::Advice;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::time::{ClockId, clock_gettime};

use parts::arms::{Arm, Mapped, Memory, Ringed, STAGE, Staged, Written};
use parts::figures::quantile;
use parts::map::map;
use parts::ring::Ring;
use parts::segment::open;

mod parts {
    pub(crate) mod arms;
    pub(crate) mod figures;
    pub(crate) mod map;
    pub(crate) mod pages;
    pub(crate) mod ring;
    pub(crate) mod segment;
}

const RECORD: usize = 150;
const SEGMENT: usize = 64 << 20;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where to make a directory for the files.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

type Prepare = fn(&Path) -> io::Result<Box<dyn Arm>>;

/// Every arm, how many records it gets, and how its file is prepared.
const ARMS: [(&str, usize, Prepare); 8] = [
    ("memory only", SEGMENT / RECORD, |_| Ok(Box::new(Memory(Vec::with_capacity(STAGE))))),
    ("write(), appended", SEGMENT / RECORD, |path| Ok(Box::new(Written(open(path, false)?)))),
    ("write(), cached zeros", SEGMENT / RECORD, |path| {
        let zeros = vec![0; 1 << 20];
        let file = open(path, false)?;
        (0..SEGMENT).step_by(1 << 20).try_for_each(|at| file.write_all_at(&zeros, at as u64))?;
        file.sync_all()?;
        Ok(Box::new(Written(file)))
    }),
    ("mapped segment", SEGMENT / RECORD, |path| mapped(path, &[])),
    ("mapped, populated", SEGMENT / RECORD, |path| mapped(path, &[Advice::PopulateWrite])),
    ("mapped, populated by pages", SEGMENT / RECORD, |path| {
        mapped(path, &[Advice::Random, Advice::PopulateWrite])
    }),
    ("mapped stage, direct pieces", SEGMENT / RECORD, |path| {
        let segment = open(path, true)?;
        fallocate(&segment, FallocateFlags::empty(), 0, SEGMENT as u64)?;
        let stage = open(&path.with_extension("stage"), false)?;
        fallocate(&stage, FallocateFlags::empty(), 0, STAGE as u64)?;
        Ok(Box::new(Staged::of(map(&stage, STAGE)?, segment, Ring::new()?)))
    }),
    ("ring write a record, cached", 20_000, |path| {
        Ok(Box::new(Ringed::of(open(path, false)?, Ring::new()?)))
    }),
];

fn mapped(path: &Path, advice: &[Advice]) -> io::Result<Box<dyn Arm>> {
    let file = open(path, false)?;
    fallocate(&file, FallocateFlags::empty(), 0, SEGMENT as u64)?;
    let map = map(&file, SEGMENT)?;
    advice.iter().try_for_each(|&advice| map.advise(advice))?;
    Ok(Box::new(Mapped(map, 0)))
}

/// Nanoseconds that the threads of this process, and the kernel for them, have had a processor.
fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// Nanoseconds a record: prepare, put, wait, sync, CPU.
fn measure(prepare: Prepare, count: usize, dir: &Path) -> Result<[f64; 5], Box<dyn Error>> {
    let path = dir.join("segment");
    let cpu_before = cpu();
    let clock = Instant::now();
    let mut arm = prepare(&path)?;
    let prepared = clock.elapsed();
    let mut record = [7; RECORD];
    for number in 0..count as u64 {
        record[..8].copy_from_slice(&number.to_le_bytes());
        arm.put(&record)?;
    }
    arm.end()?;
    let put = clock.elapsed();
    if path.exists() {
        File::open(&path)?.sync_data()?;
    }
    let synced = clock.elapsed();
    let cpu = cpu() - cpu_before;
    let waited = arm.waited();
    drop(arm);
    if path.exists() {
        let found = fs::read(&path)?;
        let mut records = found.chunks(RECORD).take(count).zip(0_u64..);
        let right = |(record, number): (&[u8], u64)| record.starts_with(&number.to_le_bytes());
        if found.len() < count * RECORD || !records.all(right) {
            return Err("a record is not where it was put".into());
        }
    }
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    let spans = [prepared, put - prepared - waited, waited, synced - put];
    let [prepare, put, wait, sync] = spans.map(|span| span.as_nanos() as f64);
    Ok([prepare, put, wait, sync, cpu].map(|all| all / count as f64))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir)?;
    let mut rounds = vec![Vec::new(); ARMS.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..ARMS.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let (_, count, prepare) = ARMS[at];
            rounds[at].push(measure(prepare, count, dir.path())?);
        }
    }
    println!("| ns a record | prepare | put | wait | sync | CPU |\n|---|---|---|---|---|---|");
    for ((name, ..), rounds) in ARMS.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        let row = [0, 1, 2, 3, 4].map(|at| format!("{:.0}", of(at)));
        println!("| {name} | {} |", row.join(" | "));
    }
    Ok(())
}
