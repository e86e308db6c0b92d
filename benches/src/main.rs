//! A first measurement of the engine: how fast it fills, syncs, scans and gets, on this machine.
//!
//! ```sh
//! cargo run --release -p orlop-benches -- [ENTRIES] [BATCH] [ENV]
//! ```
//!
//! ENV is `uring` (the default where the kernel allows it) or `posix`. Entries have 16-byte keys in random order and 100-byte values, half of them compressible. The
//! keys are made inside the clock (about 0.1 µs each). Numbers of one run on one machine: for
//! ratios, run the variants that you compare in turns.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use orlop::env::{Env, PosixEnv, default_env};
use orlop::{Database, Durability, Result, Store};

/// Keys and values in an order that looks random and is always the same.
struct Entries {
    state: u64,
}

impl Entries {
    fn new() -> Self {
        Self { state: 1 }
    }

    fn next(&mut self) -> (String, [u8; 100]) {
        // Knuth's MMIX generator: full period, so that no key comes twice in a run.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut value = [0; 100];
        for (at, byte) in value.iter_mut().enumerate().take(50) {
            *byte = (self.state >> (at % 57)) as u8;
        }
        (format!("{:016}", (self.state >> 12) % 10_000_000_000_000_000), value)
    }
}

fn rate(what: &str, count: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    work()?;
    let time = start.elapsed();
    let rate = count as f64 / time.as_secs_f64();
    println!("{what:<28} {rate:>12.0} /s {:>10.3} s", time.as_secs_f64());
    Ok(())
}

fn fill(store: &Store, database: &Database, entries: u64, batch_size: u64) -> Result<()> {
    let mut source = Entries::new();
    let mut left = entries;
    while left > 0 {
        let mut batch = store.batch();
        for _ in 0..batch_size.min(left) {
            let (key, value) = source.next();
            batch.put(database, key, value)?;
        }
        left -= batch.len() as u64;
        batch.commit_with(Durability::Buffered)?;
    }
    Ok(())
}

fn get(database: &Database, entries: u64) -> Result<()> {
    let mut source = Entries::new();
    for _ in 0..entries {
        let (key, value) = source.next();
        let found = database.get_with(&key, |found| found == value)?;
        assert_eq!(found, Some(true), "get of {key}");
    }
    Ok(())
}

fn scan(database: &Database) -> Result<u64> {
    let mut cursor = database.cursor()?;
    let mut count = 0;
    while let Some((key, value)) = cursor.next()? {
        black_box((key, value));
        count += 1;
    }
    Ok(count)
}

fn measure(env: Arc<dyn Env>, dir: &Path, entries: u64, batch_size: u64) -> Result<()> {
    let store = Store::builder().env(Arc::clone(&env)).open(dir)?;
    let database = store.database("bench")?;
    let synced = 2_000;
    rate("fillrandom, buffered", entries, || fill(&store, &database, entries, batch_size))?;
    rate("compact", entries, || store.compact())?;
    rate("get, hot", entries.min(500_000), || get(&database, entries.min(500_000)))?;
    rate("get, missing", 500_000, || {
        let mut source = Entries::new();
        for _ in 0..500_000 {
            let (key, _) = source.next();
            assert!(!database.contains(key + "x")?);
        }
        Ok(())
    })?;
    rate("scan", entries, || scan(&database).map(|count| assert_eq!(count, entries)))?;
    rate("put, synced, one writer", synced, || {
        (0..synced).try_for_each(|n| database.put(n.to_be_bytes(), "value"))
    })?;
    let log_path = store.stats().log_path;
    rate("close", 1, || store.close())?;
    rate("open", 1, || Store::builder().env(env).open(dir).map(|_| ()))?;
    println!("log served by {log_path}");
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: orlop-benches [ENTRIES] [BATCH] [uring|posix], numbers above 0");
    std::process::exit(2);
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| match arguments.next().map(|argument| argument.parse()) {
        None => default,
        Some(Ok(number)) if number > 0 => number,
        Some(_) => usage(),
    };
    let (entries, batch_size) = (number(1_000_000), number(1));
    let env: Arc<dyn Env> = match arguments.next().as_deref() {
        None | Some("uring") => default_env(),
        Some("posix") => Arc::new(PosixEnv::new()),
        Some(_) => usage(),
    };
    let dir = std::env::temp_dir().join(format!("orlop-bench-{}", std::process::id()));
    let outcome = measure(env, &dir, entries, batch_size);
    // Ours, and new: the name holds our process id.
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}
