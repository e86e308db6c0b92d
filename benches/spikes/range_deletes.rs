//! What a deleted range costs: the one who deletes, and those who read beside it.
//!
//! ```sh
//! cargo run --release -p orlop-benches --features rocksdb --example spike-range-deletes
//! ```
//!
//! It loads so many entries and lets the store settle; then it deletes, without a sync:
//!
//! - half of all keys with one range: how long that takes, how long a scan takes to come across it, and a get of each
//!   key that is left beside it
//! - many small ranges, of twenty keys each: the same
//!
//! Both engines in turn, round by round, each from the start; medians of microseconds.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use orlop::{Compression, Durability, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    /// Entries, of 8 bytes and 100.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Small ranges.
    #[arg(long, default_value_t = 10_000)]
    ranges: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Keys of a small range.
const SMALL: u64 = 20;

/// What an engine can do, as far as it is measured here.
trait Engine {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;
    fn settle(&self) -> Outcome<()>;
    fn delete_range(&self, from: &[u8], to: &[u8]) -> Outcome<()>;
    fn get(&self, key: &[u8]) -> Outcome<bool>;
    /// Steps over so many entries from a key on.
    fn scan(&self, from: &[u8], limit: u64) -> Outcome<u64>;
}

struct Orlop(Store, orlop::Database);

impl Orlop {
    fn open(path: &Path) -> Outcome<Box<dyn Engine>> {
        let store = Store::builder()
            .durability(Durability::Buffered)
            .compression(Compression::None)
            .open(path)?;
        let database = store.database("d")?;
        Ok(Box::new(Self(store, database)))
    }
}

impl Engine for Orlop {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(self.1.put(key, value)?)
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.0.settle()?)
    }

    fn delete_range(&self, from: &[u8], to: &[u8]) -> Outcome<()> {
        Ok(self.1.delete_range(from..to)?)
    }

    fn get(&self, key: &[u8]) -> Outcome<bool> {
        Ok(self.1.get_with(key, |value| value.first().copied())?.is_some())
    }

    fn scan(&self, from: &[u8], limit: u64) -> Outcome<u64> {
        let mut cursor = self.1.cursor()?;
        cursor.seek(from)?;
        let mut steps = 0;
        while steps < limit
            && let Some((key, value)) = cursor.next()?
        {
            black_box((key, value.first()));
            steps += 1;
        }
        Ok(steps)
    }
}

#[cfg(feature = "rocksdb")]
mod peer {
    use super::*;
    use rocksdb::{BlockBasedOptions, DB, DBCompressionType, Options, WaitForCompactOptions};

    pub(super) struct RocksDb(DB);

    impl RocksDb {
        pub(super) fn open(path: &Path) -> Outcome<Box<dyn Engine>> {
            let mut table = BlockBasedOptions::default();
            table.set_bloom_filter(10.0, false);
            let cache = rocksdb::Cache::new_hyper_clock_cache(1 << 30, 0);
            table.set_block_cache(&cache);
            let mut options = Options::default();
            options.create_if_missing(true);
            options.set_block_based_table_factory(&table);
            options.set_compression_type(DBCompressionType::None);
            options.set_max_background_jobs(2);
            let all = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME];
            Ok(Box::new(Self(DB::open_cf(&options, path, all)?)))
        }
    }

    impl Engine for RocksDb {
        fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
            Ok(self.0.put(key, value)?)
        }

        fn settle(&self) -> Outcome<()> {
            self.0.flush()?;
            Ok(self.0.wait_for_compact(&WaitForCompactOptions::default())?)
        }

        fn delete_range(&self, from: &[u8], to: &[u8]) -> Outcome<()> {
            let all = self.0.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME);
            let all = all.ok_or("there is always a first column family")?;
            Ok(self.0.delete_range_cf(all, from, to)?)
        }

        fn get(&self, key: &[u8]) -> Outcome<bool> {
            Ok(self.0.get_pinned(key)?.is_some_and(|value| black_box(value.first()).is_some()))
        }

        fn scan(&self, from: &[u8], limit: u64) -> Outcome<u64> {
            let mut iterator = self.0.raw_iterator();
            iterator.seek(from);
            let mut steps = 0;
            while steps < limit
                && let Some(item) = iterator.item()
            {
                black_box(item);
                steps += 1;
                iterator.next();
            }
            iterator.status()?;
            Ok(steps)
        }
    }
}

type Open = fn(&Path) -> Outcome<Box<dyn Engine>>;

const ENGINES: &[(&str, Open)] = &[
    ("orlop", Orlop::open),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", peer::RocksDb::open),
];

const ROWS: [&str; 9] = [
    "get before",
    "delete half in one range",
    "scan 10 across it",
    "get beside it",
    "scan all that is left",
    "delete a small range, of many",
    "scan 10 across small ones",
    "get beside small ones",
    "scan all beside small ones",
];

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

/// Microseconds of each of so many.
fn each(of: u64, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64() * 1e6 / of as f64)
}

fn load(engine: &dyn Engine, entries: u64) -> Outcome<()> {
    let value = [7; 100];
    // The factor is prime: each key comes once.
    (0..entries).try_for_each(|n| engine.put(&key(n * 2_654_435_761 % entries), &value))?;
    engine.settle()
}

/// Gets of keys that are there, in no order.
fn gets(engine: &dyn Engine, keys: &[u64]) -> Outcome<f64> {
    let of = 200_000.min(keys.len() as u64);
    each(of, || {
        for n in 0..of {
            let at = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys.len() as u64;
            black_box(engine.get(&key(keys[at as usize]))?);
        }
        Ok(())
    })
}

fn measure(args: &Args, open: Open) -> Outcome<[f64; 9]> {
    let Args { entries, ranges, .. } = *args;
    let all: Vec<u64> = (0..entries).collect();
    let mut row = [0.0; 9];
    let home = tempfile::tempdir_in(".")?;
    let engine = open(&home.path().join("one"))?;
    load(&*engine, entries)?;
    gets(&*engine, &all)?;
    row[0] = gets(&*engine, &all)?;
    let (from, to) = (entries / 4, entries / 4 * 3);
    row[1] = each(1, || engine.delete_range(&key(from), &key(to)))?;
    row[2] = each(1, || engine.scan(&key(from - 5), 10).map(drop))?;
    let left: Vec<u64> = all.iter().copied().filter(|n| !(from..to).contains(n)).collect();
    row[3] = gets(&*engine, &left)?;
    row[4] = each(left.len() as u64, || engine.scan(&[], u64::MAX).map(drop))?;
    drop(engine);
    let engine = open(&home.path().join("many"))?;
    load(&*engine, entries)?;
    gets(&*engine, &all)?;
    let stride = entries / ranges;
    row[5] = each(ranges, || {
        (0..ranges)
            .try_for_each(|n| engine.delete_range(&key(n * stride), &key(n * stride + SMALL)))
    })?;
    row[6] = each(1_000, || {
        (0..1_000).try_for_each(|n| engine.scan(&key(n * (entries / 1_000)), 10).map(drop))
    })?;
    let left: Vec<u64> = all.into_iter().filter(|n| n % stride >= SMALL).collect();
    row[7] = gets(&*engine, &left)?;
    row[8] = each(left.len() as u64, || engine.scan(&[], u64::MAX).map(drop))?;
    Ok(row)
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let mut rounds = vec![Vec::new(); ENGINES.len()];
    for round in 0..args.rounds {
        for at in 0..ENGINES.len() {
            let engine = (at + round) % ENGINES.len();
            rounds[engine].push(measure(&args, ENGINES[engine].1)?);
        }
    }
    let names: Vec<String> = ENGINES.iter().map(|(name, _)| format!("{name:>12}")).collect();
    println!("{:<32}{}", "microseconds each", names.concat());
    for (at, what) in ROWS.iter().enumerate() {
        let median = |rows: &Vec<[f64; 9]>| {
            let mut column: Vec<f64> = rows.iter().map(|row| row[at]).collect();
            column.sort_by(f64::total_cmp);
            format!("{:>12.3}", column[column.len() / 2])
        };
        println!("{what:<32}{}", rounds.iter().map(median).collect::<String>());
    }
    Ok(())
}
