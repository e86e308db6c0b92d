//! How many pages does a cold get read?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-cold-gets -- --limit 64 --megabytes 256
//! ```
//!
//! A settled store of 100-byte values, not compressed, several times as large as the memory: the program makes it,
//! then runs itself anew in a memory cgroup (of either version; who may not make one is told so), drops the
//! store's files from the page cache and gets random keys, first until indexes and filters are there. Then, in turns:
//! `get`, and `multi_get` of 32 keys a call. *Pages* are what the process read from the device, *faults* those that
//! waited for it, each for a key. Of what is in memory already nothing is read: so a second table tells how many gets
//! read no page, one, two ..., and how many pages those read that read any.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use orlop::{Compression, Database, Durability, Store};
use rustix::fs::{Advice, fadvise};

use parts::cgroup::Cgroup;
use parts::figures::quantile;

mod parts {
    pub(crate) mod cgroup;
    pub(crate) mod figures;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// MiB of keys and values in the store.
    #[arg(long, default_value_t = 256)]
    megabytes: u64,
    /// MiB of memory that the reader has.
    #[arg(long, default_value_t = 64)]
    limit: u64,
    /// Keys of each kind of read and round.
    #[arg(long, default_value_t = 10_000)]
    gets: usize,
    /// Gets beforehand, after which indexes and filters are in memory.
    #[arg(long, default_value_t = 20_000)]
    warm: usize,
    /// Bytes of a block.
    #[arg(long, default_value_t = 4096)]
    block: usize,
    /// Bits of a filter for each key.
    #[arg(long, default_value_t = 10)]
    filter_bits: u32,
    /// All of the store is one run: no filter of another can say that a key might be there.
    #[arg(long)]
    compact: bool,
    /// Where to make a directory for the store.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Who is inside already: the store, and the cgroup to join.
    #[arg(long, hide = true, num_args = 2)]
    inside: Option<Vec<PathBuf>>,
}

const KEY: u64 = 16;
const VALUE: usize = 100;
const PAGE: f64 = 4096.0;
/// Keys of one call of `multi_get`.
const MULTI: usize = 32;

fn key(number: u64) -> String {
    format!("{number:016}")
}

impl Args {
    fn entries(&self) -> u64 {
        (self.megabytes << 20) / (KEY + VALUE as u64)
    }

    fn choose(&self) -> u64 {
        fastrand::u64(..self.entries())
    }

    fn open(&self, dir: &Path) -> Outcome<(Store, Database)> {
        let builder = Store::builder().durability(Durability::Buffered);
        let builder = builder.compression(Compression::None).block_size(self.block);
        let store = builder.filter_bits(self.filter_bits).open(dir)?;
        let database = store.database("d")?;
        Ok((store, database))
    }
}

/// A settled store; each value begins with its number.
fn make(args: &Args, dir: &Path) -> Outcome<()> {
    let (store, database) = args.open(dir)?;
    let mut order: Vec<u64> = (0..args.entries()).collect();
    fastrand::shuffle(&mut order);
    let mut value = [7; VALUE];
    for number in order {
        value[..8].copy_from_slice(&number.to_le_bytes());
        value[8..].fill_with(|| fastrand::u8(..));
        database.put(key(number), value)?;
    }
    store.settle()?;
    if args.compact {
        store.compact()?;
    }
    Ok(store.close()?)
}

/// Drops the files from the page cache. Not all of the kernel's caches: others run on this machine.
fn chill(dir: &Path) -> Outcome<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            chill(&entry.path())?;
            continue;
        }
        let file = File::open(entry.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// What the process has read from devices, and how often it waited for them.
struct Meters {
    io: File,
    stat: File,
}

impl Meters {
    fn open() -> Outcome<Self> {
        Ok(Self { io: File::open("/proc/self/io")?, stat: File::open("/proc/self/stat")? })
    }

    fn text<'a>(file: &File, buffer: &'a mut [u8; 1024]) -> Outcome<&'a str> {
        let len = file.read_at(buffer, 0)?;
        Ok(std::str::from_utf8(&buffer[..len])?)
    }

    fn pages(&self) -> Outcome<f64> {
        let mut buffer = [0; 1024];
        let text = Self::text(&self.io, &mut buffer)?;
        let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        Ok(line.ok_or("no read_bytes in /proc/self/io")?.parse::<f64>()? / PAGE)
    }

    fn faults(&self) -> Outcome<f64> {
        let mut buffer = [0; 1024];
        let text = Self::text(&self.stat, &mut buffer)?;
        // Behind the name, which may hold anything, the tenth field.
        let rest = text.rsplit_once(')').ok_or("a short /proc/self/stat")?.1;
        Ok(rest.split_whitespace().nth(9).ok_or("a short /proc/self/stat")?.parse()?)
    }
}

fn check(value: Option<&[u8]>, number: u64) -> Outcome<()> {
    let is_right = value.is_some_and(|value| value[..8] == number.to_le_bytes());
    if is_right { Ok(()) } else { Err(format!("a wrong answer for key {number}").into()) }
}

fn get(database: &Database, args: &Args) -> Outcome<()> {
    let number = args.choose();
    check(database.get(key(number))?.as_deref(), number)
}

fn multi_get(database: &Database, args: &Args) -> Outcome<()> {
    let numbers: Vec<u64> = (0..MULTI).map(|_| args.choose()).collect();
    let keys: Vec<String> = numbers.iter().map(|number| key(*number)).collect();
    let values = database.multi_get(&keys)?;
    numbers.iter().zip(&values).try_for_each(|(number, value)| check(value.as_deref(), *number))
}

/// For a key: how many a second, pages, faults.
fn measure(many: bool, database: &Database, args: &Args, meters: &Meters) -> Outcome<[f64; 3]> {
    let (calls, read) = if many {
        (args.gets / MULTI, multi_get as fn(&Database, &Args) -> Outcome<()>)
    } else {
        (args.gets, get as _)
    };
    let (pages, faults, clock) = (meters.pages()?, meters.faults()?, Instant::now());
    (0..calls).try_for_each(|_| read(database, args))?;
    let seconds = clock.elapsed().as_secs_f64();
    let count = (calls * if many { MULTI } else { 1 }) as f64;
    let (pages, faults) = (meters.pages()? - pages, meters.faults()? - faults);
    Ok([count / seconds, pages / count, faults / count])
}

/// How many gets read 0, 1, 2, 3 pages, and more.
fn by_pages(database: &Database, args: &Args, meters: &Meters) -> Outcome<()> {
    let (mut counts, mut sum) = ([0.0; 5], 0.0);
    for _ in 0..args.gets {
        let before = meters.pages()?;
        get(database, args)?;
        let pages = meters.pages()? - before;
        counts[(pages as usize).min(4)] += 1.0;
        sum += pages;
    }
    let shares = counts.map(|count| format!("{:.1}%", 100.0 * count / args.gets as f64));
    println!("\n| pages of a get | 0 | 1 | 2 | 3 | more |\n|---|---|---|---|---|---|");
    println!("| of all gets | {} |", shares.join(" | "));
    println!("\nPages of a get that reads any: {:.3}.", sum / (args.gets as f64 - counts[0]));
    Ok(())
}

/// What there is to be held in memory, and what is.
fn sizes(store: &Store, cgroup: &Path) -> Outcome<()> {
    let stats = store.stats();
    let runs: Vec<_> = stats.levels.iter().flat_map(|level| &level.runs).collect();
    let of = |part: fn(&orlop::RunStats) -> u64| runs.iter().map(|run| part(run)).sum::<u64>();
    let [own, files] = Cgroup::held(cgroup)?;
    println!(
        "\n{} tables in {} runs, {} MiB, filters {} KiB. In memory: indexes {} KiB, all that is the process's own \
         {} KiB, pages of files {} KiB.",
        of(|run| run.tables),
        runs.len(),
        of(|run| run.bytes) >> 20,
        of(|run| run.filter_bytes) >> 10,
        of(|run| run.index_bytes) >> 10,
        own >> 10,
        files >> 10,
    );
    Ok(())
}

/// The part that runs in little memory.
fn inside(args: &Args, dir: &Path, cgroup: &Path) -> Outcome<()> {
    chill(dir)?;
    let meters = Meters::open()?;
    let (store, database) = args.open(dir)?;
    let opened = meters.pages()?;
    (0..args.warm).try_for_each(|_| get(&database, args))?;
    let warmed = (meters.pages()? - opened) / args.warm.max(1) as f64;
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..args.rounds {
        for turn in [round % 2, (round + 1) % 2] {
            rounds[turn].push(measure(turn == 1, &database, args, &meters)?);
        }
    }
    println!("| read | keys/s | pages | faults |\n|---|---|---|---|");
    for (name, rounds) in ["get", "multi_get of 32"].iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        println!("| {name} | {:.0} | {:.3} | {:.3} |", of(0), of(1), of(2));
    }
    by_pages(&database, args, &meters)?;
    sizes(&store, cgroup)?;
    println!(
        "Read by open: {opened:.0} pages; by each of the first {} gets: {warmed:.3}.",
        args.warm
    );
    Ok(store.close()?)
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    if let Some([dir, cgroup]) = args.inside.as_deref() {
        Cgroup::join(cgroup)?;
        return inside(&args, dir, cgroup);
    }
    let cgroup = match Cgroup::new(args.limit << 20) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            println!("No memory cgroup can be made here, so nothing is measured: {error}.");
            return Ok(());
        }
    };
    let home = tempfile::tempdir_in(&args.dir)?;
    let dir = home.path().join("store");
    make(&args, &dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--inside").arg(&dir).arg(cgroup.dir());
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("the reader ended with {status}").into()) }
}
