//! What does a memtable cost: a skiplist, the standard library's B-tree, and Orlop's own behind a commit?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-memtables -- --rounds 3
//! ```
//!
//! 550,000 entries with values of 100 bytes come in random order, are asked for in another, and are then read
//! through. Keys are numbers of 16 digits, or 24 random bytes. The maps own their keys and values; Orlop
//! is a whole store in memory of which nothing is flushed, with a commit for each entry or for a thousand:
//! the difference is what a commit costs. Medians of rounds, in nanoseconds an entry.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use crossbeam_skiplist::SkipMap;
use orlop::{Background, Database, Durability, Store};

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

const ENTRIES: usize = 550_000;
const VALUE: [u8; 100] = [7; 100];
const BATCH: usize = 1000;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Bytes = Box<[u8]>;
type Make = fn() -> Outcome<Box<dyn Table>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A table of entries in order.
trait Table {
    fn insert(&mut self, keys: &[Bytes]) -> Outcome<()>;
    /// How many of these it has.
    fn find(&self, keys: &[Bytes]) -> Outcome<usize>;
    /// Bytes of all keys and values.
    fn scan(&self) -> Outcome<usize>;
}

impl Table for SkipMap<Bytes, Bytes> {
    fn insert(&mut self, keys: &[Bytes]) -> Outcome<()> {
        for key in keys {
            SkipMap::insert(self, key.clone(), VALUE.into());
        }
        Ok(())
    }

    fn find(&self, keys: &[Bytes]) -> Outcome<usize> {
        let found = keys.iter().filter(|key| self.get(&key[..]).is_some_and(|e| e.value()[0] == 7));
        Ok(found.count())
    }

    fn scan(&self) -> Outcome<usize> {
        Ok(self.iter().map(|entry| black_box(entry.key()).len() + entry.value().len()).sum())
    }
}

impl Table for BTreeMap<Bytes, Bytes> {
    fn insert(&mut self, keys: &[Bytes]) -> Outcome<()> {
        for key in keys {
            BTreeMap::insert(self, key.clone(), VALUE.into());
        }
        Ok(())
    }

    fn find(&self, keys: &[Bytes]) -> Outcome<usize> {
        let found = keys.iter().filter(|key| self.get(&key[..]).is_some_and(|value| value[0] == 7));
        Ok(found.count())
    }

    fn scan(&self) -> Outcome<usize> {
        Ok(self.iter().map(|(key, value)| black_box(key).len() + value.len()).sum())
    }
}

struct Orlop {
    store: Store,
    database: Database,
    batch: usize,
}

impl Orlop {
    fn with(batch: usize) -> Outcome<Box<dyn Table>> {
        let store = Store::builder().durability(Durability::Memory).background(Background::Manual);
        let store = store.memtable_size(1 << 30).in_memory()?;
        let database = store.database("spike")?;
        Ok(Box::new(Orlop { store, database, batch }))
    }
}

impl Table for Orlop {
    fn insert(&mut self, keys: &[Bytes]) -> Outcome<()> {
        if self.batch == 1 {
            return Ok(keys.iter().try_for_each(|key| self.database.put(key, VALUE))?);
        }
        for keys in keys.chunks(self.batch) {
            let mut batch = self.store.batch();
            keys.iter().try_for_each(|key| batch.put(&self.database, key, VALUE))?;
            batch.commit()?;
        }
        Ok(())
    }

    fn find(&self, keys: &[Bytes]) -> Outcome<usize> {
        let mut found = 0;
        for key in keys {
            found += usize::from(self.database.get_with(key, |value| value[0])? == Some(7));
        }
        Ok(found)
    }

    fn scan(&self) -> Outcome<usize> {
        let mut cursor = self.database.cursor()?;
        cursor.seek_first();
        let mut sum = 0;
        while let Some((key, value)) = cursor.next()? {
            sum += black_box(key).len() + value.len();
        }
        Ok(sum)
    }
}

const TABLES: [(&str, Make); 4] = [
    ("SkipMap of boxes", || Ok(Box::new(SkipMap::new()))),
    ("BTreeMap of boxes", || Ok(Box::new(BTreeMap::new()))),
    ("Orlop, a commit an entry", || Orlop::with(1)),
    ("Orlop, a commit a thousand", || Orlop::with(BATCH)),
];

/// Keys that are there, and as many that are not, which lie between them.
fn keys(random: bool) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut source = fastrand::Rng::with_seed(7);
    let mut key = |number: usize| -> Bytes {
        if !random {
            return format!("{number:016}").into_bytes().into();
        }
        let mut key = [0; 24];
        source.fill(&mut key);
        key.into()
    };
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    let mut order: Vec<usize> = (0..ENTRIES).collect();
    fastrand::Rng::with_seed(8).shuffle(&mut order);
    for number in order {
        there.push(key(2 * number));
        missing.push(key(2 * number + 1));
    }
    (there, missing)
}

/// Nanoseconds an entry: insert, hit, miss, scan.
fn measure(make: Make, there: &[Bytes], missing: &[Bytes]) -> Outcome<[f64; 4]> {
    // Copies in the order of asking: what is measured is not the way to the caller's key.
    let mut asked = there.to_vec();
    fastrand::shuffle(&mut asked);
    let asked: Vec<Bytes> = asked.iter().map(|key| key.to_vec().into()).collect();
    let mut table = make()?;
    let clock = Instant::now();
    table.insert(there)?;
    let inserted = clock.elapsed();
    let hits = table.find(&asked)?;
    let hit = clock.elapsed();
    let misses = table.find(missing)?;
    let missed = clock.elapsed();
    let sum = table.scan()?;
    let scanned = clock.elapsed();
    if (hits, misses, sum) != (ENTRIES, 0, ENTRIES * (there[0].len() + VALUE.len())) {
        return Err(format!("{hits} hits, {misses} false ones, {sum} bytes").into());
    }
    let spans = [inserted, hit - inserted, missed - hit, scanned - missed];
    Ok(spans.map(|span| span.as_nanos() as f64 / ENTRIES as f64))
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    println!("| ns an entry | keys | insert | hit | miss | scan |\n|---|---|---|---|---|---|");
    for (kind, random) in [("16 digits", false), ("24 random bytes", true)] {
        let (there, missing) = keys(random);
        let mut rounds = vec![Vec::new(); TABLES.len()];
        for _ in 0..args.rounds {
            let mut order: Vec<usize> = (0..TABLES.len()).collect();
            fastrand::shuffle(&mut order);
            for at in order {
                rounds[at].push(measure(TABLES[at].1, &there, &missing)?);
            }
        }
        for ((name, _), rounds) in TABLES.iter().zip(&rounds) {
            let of = |at: usize| {
                quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5)
            };
            let row = [of(0), of(1), of(2), of(3)].map(|value| format!("{value:.0}"));
            println!("| {name} | {kind} | {} |", row.join(" | "));
        }
    }
    Ok(())
}
