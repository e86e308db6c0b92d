//! How soon does space come back once everything is deleted, or has expired, and nobody writes any more?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-space-back -- --mib 1024 --value 100
//! ```
//!
//! It loads so many MiB and lets the store settle; then it deletes all of it (or waits until it has expired, with
//! `--expire SECONDS` from its write on), and looks at what the directory takes on the device, spare segments and all.

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop::{Compression, Durability, Expiry, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    /// Bytes of keys and values, in MiB.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Entries expire so many seconds behind their write, and are not deleted.
    #[arg(long)]
    expire: Option<u64>,
    /// Where to make a directory for the store.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// What a directory takes on the device, in MiB.
fn on_disk(dir: &Path) -> Outcome<f64> {
    let mut blocks = 0;
    for entry in std::fs::read_dir(dir)? {
        // One that has gone meanwhile takes nothing.
        blocks += entry?.metadata().map_or(0, |metadata| metadata.blocks());
    }
    Ok(blocks as f64 * 512.0 / (1 << 20) as f64)
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let home = tempfile::tempdir_in(&args.dir)?;
    let path = home.path().join("store");
    let store = Store::builder()
        .durability(Durability::Buffered)
        .compression(Compression::None)
        .open(&path)?;
    let database = store.database("all")?;
    let entries = (args.mib << 20) / (args.value as u64 + 16);
    let value: Vec<u8> = (0..args.value).map(|_| fastrand::u8(..)).collect();
    let key = |n: u64| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let expiry = args.expire.map_or(Expiry::Never, |time| Expiry::After(Duration::from_secs(time)));
    let begun = Instant::now();
    for n in 0..entries {
        database.put_expiring(key(n), &value, expiry)?;
    }
    match args.expire {
        None => store.settle()?,
        Some(_) => store.flush()?,
    }
    let peak = on_disk(&path)?;
    println!("{entries} entries, {peak:.0} MiB on disk, {:.0} s", begun.elapsed().as_secs_f64());
    match args.expire {
        None => (0..entries).try_for_each(|n| database.delete(key(n)))?,
        Some(time) => thread::sleep(Duration::from_secs(time).saturating_sub(begun.elapsed())),
    }
    let quiet = Instant::now();
    let mut told = 0;
    loop {
        let (now, time) = (on_disk(&path)?, quiet.elapsed().as_secs());
        if time >= told || now < peak / 20.0 {
            println!("{time:>4} s  {now:>6.0} MiB  {:.1} %", now / peak * 100.0);
            told = time + 5;
        }
        if now < peak / 20.0 || time > 300 {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    store.close()?;
    Ok(())
}
