//! Which way to the device is the shortest for one writer, and what it has to find there?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-durable-path -- --rounds 5 --ops 1000
//! ```
//!
//! Records of 4 KiB, each durable before the next: six ways to write one, into a file that was prepared in
//! four ways. All are taken in a new random order in each round; the table has medians of the rounds.
//! What the disk was asked for is counted for the whole disk, other programs included; Linux counts a flush
//! as a write, too. Preparing the file is not part of the other times.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use memmap2::{Advice, MmapMut};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::ReadWriteFlags;

use parts::disk::Disk;
use parts::figures::quantile;
use parts::map::map;
use parts::pages::{PAGE, Pages};
use parts::ring::Ring;
use parts::segment::open;

mod parts {
    pub(crate) mod disk;
    pub(crate) mod figures;
    pub(crate) mod map;
    pub(crate) mod pages;
    pub(crate) mod ring;
    pub(crate) mod segment;
}

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Commits of one round.
    #[arg(long, default_value_t = 1000)]
    ops: usize,
    /// Where to make a directory for the files.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Direct,
    Cached,
    RingThenCall,
    RingLinked,
    RingDsync,
    Mapped,
}

#[derive(Clone, Copy, PartialEq)]
enum Ground {
    Append,
    Unwritten,
    Zeros,
    Recycled,
}

const WAYS: [(Way, &str); 6] = [
    (Way::Direct, "pwrite direct + fdatasync"),
    (Way::Cached, "pwrite cached + fdatasync"),
    (Way::RingThenCall, "ring write direct, fdatasync"),
    (Way::RingLinked, "ring write direct, linked sync"),
    (Way::RingDsync, "ring write direct, RWF_DSYNC"),
    (Way::Mapped, "mapped store + fdatasync"),
];

const GROUNDS: [(Ground, &str); 4] = [
    (Ground::Append, "append"),
    (Ground::Unwritten, "unwritten"),
    (Ground::Zeros, "zeros"),
    (Ground::Recycled, "recycled"),
];

/// Makes a file of `len` bytes, all on the device.
fn prepare(path: &Path, ground: Ground, len: usize) -> io::Result<()> {
    let file = open(path, true)?;
    if ground != Ground::Append {
        fallocate(&file, FallocateFlags::empty(), 0, len as u64)?;
    }
    // A recycled file was written record by record.
    let piece = match ground {
        Ground::Append | Ground::Unwritten => 0,
        Ground::Zeros => 1 << 20,
        Ground::Recycled => PAGE,
    };
    let mut bytes = Pages::new(piece);
    bytes.fill(if ground == Ground::Zeros { 0 } else { 0xa5 });
    for at in (0..len).step_by(piece.max(1)).take_while(|_| piece > 0) {
        file.write_all_at(&bytes[..piece.min(len - at)], at as u64)?;
    }
    file.sync_all()
}

/// The one writer.
struct Writer {
    way: Way,
    grows: bool,
    file: File,
    record: Pages,
    ring: Ring,
    map: Option<MmapMut>,
}

impl Writer {
    fn of(way: Way, ground: Ground, path: &Path, len: usize) -> io::Result<Writer> {
        let file = open(path, !matches!(way, Way::Cached | Way::Mapped))?;
        let grows = ground == Ground::Append;
        let map = if way == Way::Mapped { Some(map(&file, len)?) } else { None };
        // Single pages: else a store makes all of a large piece of the cache dirty.
        map.as_ref().map_or(Ok(()), |map| map.advise(Advice::Random))?;
        if let Some(map) = map.as_ref().filter(|_| !grows) {
            map.advise(Advice::PopulateRead)?;
        }
        let (record, ring) = (Pages::new(PAGE), Ring::new()?);
        Ok(Writer { way, grows, file, record, ring, map })
    }

    fn commit(&mut self, number: usize) -> io::Result<()> {
        let at = number * PAGE;
        self.record[..8].copy_from_slice(&(number as u64).to_le_bytes());
        if let Some(map) = &mut self.map {
            if self.grows {
                self.file.set_len((at + PAGE) as u64)?;
            }
            map[at..at + PAGE].copy_from_slice(&self.record);
            return self.file.sync_data();
        }
        let flags = match self.way {
            Way::Direct | Way::Cached => {
                self.file.write_all_at(&self.record, at as u64)?;
                return self.file.sync_data();
            }
            Way::RingDsync => ReadWriteFlags::DSYNC,
            _ => ReadWriteFlags::empty(),
        };
        let record = std::mem::replace(&mut self.record, Pages::new(0));
        let linked = self.way == Way::RingLinked;
        self.ring.start(&self.file, record, at as u64, flags.bits() as i32, linked)?;
        self.record = self.ring.finish()?.ok_or(io::ErrorKind::NotFound)?;
        if self.way == Way::RingThenCall { self.file.sync_data() } else { Ok(()) }
    }
}

/// p50 and p99 in µs, commits a second; µs of preparation, and the disk's writes, flushes and KiB per commit.
fn measure(way: Way, ground: Ground, dir: &Path, ops: usize) -> Result<[f64; 7], Box<dyn Error>> {
    let (path, len) = (dir.join("segment"), ops * PAGE);
    let clock = Instant::now();
    prepare(&path, ground, len)?;
    File::open(dir)?.sync_all()?;
    let prepared = clock.elapsed().as_nanos() as f64 / 1e3 / ops as f64;
    let disk = Disk::below(dir)?;
    let mut writer = Writer::of(way, ground, &path, len)?;
    let mut took = Vec::with_capacity(ops);
    let before = disk.as_ref().map(Disk::done).transpose()?;
    let begin = Instant::now();
    for number in 0..ops {
        let start = Instant::now();
        writer.commit(number)?;
        took.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    let rate = ops as f64 / begin.elapsed().as_secs_f64();
    let after = disk.as_ref().map(Disk::done).transpose()?;
    drop(writer);
    let found = fs::read(&path)?;
    let right = |n: usize| found.get(n * PAGE..n * PAGE + 8) == Some(&(n as u64).to_le_bytes()[..]);
    if found.len() != len || !(0..ops).all(right) {
        return Err("a record is not where it was written".into());
    }
    fs::remove_file(&path)?;
    let counts = before.zip(after).map_or([f64::NAN; 3], |(before, after)| {
        let [writes, flushes] = [after.writes - before.writes, after.flushes - before.flushes];
        [writes, flushes, after.kib - before.kib].map(|count| count as f64 / ops as f64)
    });
    let latencies = [0.5, 0.99].map(|share| quantile(&mut took, share));
    let [writes, flushes, kib] = counts;
    Ok([latencies[0], latencies[1], rate, prepared, writes, flushes, kib])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir)?;
    let cases = WAYS.map(|way| GROUNDS.map(|ground| (way, ground))).concat();
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..cases.len()).collect();
        fastrand::shuffle(&mut order);
        for case in order {
            let ((way, _), (ground, _)) = cases[case];
            rounds[case].push(measure(way, ground, dir.path(), args.ops)?);
        }
    }
    println!(
        "| 4 KiB by | into | p50 µs | p99 µs | commits/s | prepare µs | writes | flushes | KiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (((_, way), (_, ground)), rounds) in cases.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        print!("| {way} | {ground} | {:.1} | {:.1} | {:.0} | {:.1} |", of(0), of(1), of(2), of(3));
        println!(" {:.2} | {:.2} | {:.2} |", of(4), of(5), of(6));
    }
    Ok(())
}
