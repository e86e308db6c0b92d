//! SurrealKV.
//!
//! Set as its makers set it in a benchmark of their own: the cache of the budget, no versions kept,
//! blocks of 64 KiB, which is the default, and the value log for large values. Filters of 10 bits a
//! key are its default. The log keeps written zeros ahead of its end where every write is synced:
//! its documentation offers that for just this.
//!
//! Every commit ends in `write(2)`, so there is no class below buffered. `Durability::Immediate`
//! syncs, with one sync for all commits that wait.
//!
//! Commits are asynchronous. Three tasks on a tokio runtime do the work: one commits, one flushes,
//! one compacts, and the last two do it all at once, without giving way. With a runtime of several
//! threads a commit wakes another thread and is woken by it: that costs more than the commit.
//! A runtime of the calling thread costs a third of it per put, flushes and compactions included,
//! though these keep the thread busy that commits meanwhile. So few sessions share such a runtime;
//! many, whose commits are grouped, get one with threads.
//!
//! A put is a write-only transaction, a current read a read-only one: that is what the interface
//! offers. Fixed reads share one. An iterator borrows its transaction and is made for each scan;
//! one that was kept measured no faster.
//!
//! There are no key spaces. Where more than one is asked for, a byte in front of the key tells them
//! apart.

use std::borrow::Cow;
use std::path::PathBuf;

use surrealkv::inspect::{self, LevelDetail};
use surrealkv::{
    CompactRangeOptions, Durability, Error, LSMIterator, Mode, Options, ReadOptions, Transaction,
    Tree, TreeBuilder,
};
use tokio::runtime::{Builder, Runtime};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::{Failure, Result};

pub(super) const KIND: Kind = Kind {
    name: "surrealkv",
    package: "surrealkv",
    feature: Some("surrealkv"),
    open: Some(open),
    classes: &[Class::Buffered, Class::Synced],
    shipped_class: Class::Buffered,
    compression: Some("Snappy"),
    settings: "",
    answers: true,
};

/// Writes wait where two memtables beside the one that fills are not flushed yet.
const MEMTABLE: usize = 64 << 20;

/// Values from this size on go to the value log.
const LARGE_VALUE: usize = 4096;

/// One for each of the three tasks, two of which block the thread they run on.
const WORKERS: usize = 3;

/// With more sessions than this, the runtime has threads of its own.
const FEW_SESSIONS: usize = 4;

/// Entries of one commit of a bulk load, for which there is no call. Larger commits measured
/// slower.
const BULK_BATCH: usize = 1000;

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut options = Options::new().with_path(settings.dir.clone());
    if settings.table != Table::Shipped {
        options = options
            .with_block_cache_capacity(settings.cache)
            .with_max_memtable_size(MEMTABLE)
            .with_enable_vlog(settings.shape.value_size >= LARGE_VALUE)
            .with_wal_preallocation(settings.class == Class::Synced);
    }
    if settings.table == Table::Compressed {
        // Its own choice of levels; the default is no compression.
        options = options.with_l0_no_compression();
    }
    let limits = Limits {
        tables: options.level0_max_files,
        level_bytes: options.max_bytes_for_level as f64,
        multiplier: options.level_multiplier,
        levels: usize::from(options.level_count),
    };
    let mut runtime = if settings.sessions <= FEW_SESSIONS {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    if let Ok(rt) = std::env::var("SKV_RT") {
        runtime = if rt == "current" {
            Builder::new_current_thread()
        } else {
            Builder::new_multi_thread()
        };
    }
    let runtime = runtime.worker_threads(WORKERS).enable_time().build()?;
    let tree = {
        // Opening it starts the three tasks.
        let _context = runtime.enter();
        TreeBuilder::with_options(options).build()?
    };
    let (class, dir, prefixed) = (settings.class, settings.dir.clone(), settings.spaces > 1);
    Ok(Box::new(SurrealKv { tree, runtime, class, prefixed, dir, limits }))
}

fn durability(class: Class) -> Result<Durability> {
    match class {
        Class::Memory => Err(Failure::unsupported("every commit is handed to the kernel")),
        Class::Buffered => Ok(Durability::Eventual),
        Class::Synced => Ok(Durability::Immediate),
    }
}

struct SurrealKv {
    tree: Tree,
    runtime: Runtime,
    class: Class,
    /// Whether keys have the byte of their key space in front.
    prefixed: bool,
    dir: PathBuf,
    limits: Limits,
}

impl SurrealKv {
    /// Makes one transaction of writes, worth `durability` when it returns.
    fn commit(
        &self,
        durability: Durability,
        write: impl Fn(&mut Transaction) -> Result<(), Error>,
    ) -> Result<()> {
        loop {
            let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
            transaction.set_durability(durability);
            write(&mut transaction)?;
            match self.runtime.block_on(transaction.commit()) {
                // Another session wrote the key meanwhile.
                Err(Error::TransactionWriteConflict) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// A key as it is stored.
    fn stored<'k>(&self, space: u8, key: &'k [u8]) -> Cow<'k, [u8]> {
        if self.prefixed {
            let mut stored = Vec::with_capacity(1 + key.len());
            stored.push(space);
            stored.extend_from_slice(key);
            Cow::Owned(stored)
        } else {
            Cow::Borrowed(key)
        }
    }

    /// What a scan of a key space must stay within.
    fn bounds(&self, space: u8) -> ReadOptions {
        let mut bounds = ReadOptions::new();
        if self.prefixed {
            bounds.set_iterate_lower_bound(Some(vec![space]));
            bounds.set_iterate_upper_bound(Some(vec![space + 1]));
        }
        bounds
    }

    /// Does one compaction that is due, if there is one.
    ///
    /// The task that compacts looks for more only after a flush of its own. What is due behind
    /// other flushes is done here as it would do it, by the limits that it goes by.
    fn compact_once(&self) -> Result<bool> {
        let levels = inspect::dump_manifest(&self.dir)?.levels;
        let Some((level, into)) = self.limits.due(&levels) else { return Ok(false) };
        let options = CompactRangeOptions {
            flush_memtable: false,
            target_level: Some(into),
            rewrite_bottommost: false,
        };
        let largest = level.tables.iter().max_by_key(|table| table.file_size);
        match largest {
            // Below the top, one table at a time. The end of a range is not part of it.
            Some(table) if into > 1 => {
                let end = [&table.largest_key[..], &[0]].concat();
                self.tree.compact_range(Some(&table.smallest_key), Some(&end), &options)?;
            }
            _ => self.tree.compact_range(None, None, &options)?,
        }
        Ok(true)
    }
}

/// From where on a level is to be compacted.
struct Limits {
    /// In the top level.
    tables: usize,
    /// In the level below the top.
    level_bytes: f64,
    /// From each level to the next.
    multiplier: f64,
    levels: usize,
}

impl Limits {
    /// The first level that is due, and the level that it goes into.
    fn due<'l>(&self, levels: &'l [LevelDetail]) -> Option<(&'l LevelDetail, u8)> {
        let mut limit = self.level_bytes;
        for (level, into) in levels.iter().take(self.levels - 1).zip(1..) {
            let bytes = level.tables.iter().map(|table| table.file_size).sum::<u64>() as f64;
            if bytes >= limit || (into == 1 && level.tables.len() >= self.tables) {
                return Some((level, into));
            }
            if into > 1 {
                limit *= self.multiplier;
            }
        }
        None
    }
}

impl Engine for SurrealKv {
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>> {
        let fixed = match reads {
            Reads::Fixed => Some(self.tree.begin_with_mode(Mode::ReadOnly)?),
            Reads::Current => None,
        };
        let (durability, bounds) = (durability(self.class)?, self.bounds(0));
        Ok(Box::new(Open { engine: self, durability, space: 0, bounds, fixed }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?;
            for (key, value) in entries.by_ref().take(BULK_BATCH) {
                transaction.set(self.stored(0, key).into_owned(), value)?;
            }
            self.runtime.block_on(transaction.commit())?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        // Into the top level: a flush and nothing more.
        let flush = CompactRangeOptions {
            flush_memtable: true,
            target_level: Some(0),
            rewrite_bottommost: false,
        };
        self.tree.compact_range(None, None, &flush)?;
        while self.compact_once()? {}
        Ok(self.tree.flush_wal(true)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.runtime.block_on(self.tree.close())?)
    }
}

struct Open<'a> {
    engine: &'a SurrealKv,
    durability: Durability,
    space: u8,
    bounds: ReadOptions,
    /// What all reads go through, while they are fixed.
    fixed: Option<Transaction>,
}

impl Open<'_> {
    fn write(&self, durability: Durability, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.commit(durability, |transaction| {
            transaction.set(self.engine.stored(self.space, key).into_owned(), value)
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Transaction) -> Result<T, Error>) -> Result<T> {
        Ok(match &self.fixed {
            Some(fixed) => read(fixed)?,
            None => read(&self.engine.tree.begin_with_mode(Mode::ReadOnly)?)?,
        })
    }
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = u8::try_from(space)?;
        self.bounds = self.engine.bounds(self.space);
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(self.durability, key, value)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(durability(class)?, key, value)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        self.engine.commit(self.durability, |transaction| {
            for (key, value) in entries {
                transaction.set(self.engine.stored(self.space, key).into_owned(), *value)?;
            }
            Ok(())
        })
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.commit(self.durability, |transaction| {
            transaction.delete(self.engine.stored(self.space, key).into_owned())
        })
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        let key = self.engine.stored(self.space, key);
        let value = self.read(|transaction| transaction.get(&*key))?;
        Ok(value.map(|value| touch(&value)))
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        // No call for it, but one transaction is enough.
        self.read(|transaction| {
            let mut found = Found::default();
            for key in keys {
                let key = self.engine.stored(self.space, key);
                if let Some(value) = transaction.get(&*key)? {
                    found.add(&value);
                }
            }
            Ok(found)
        })
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let from = from.map(|from| self.engine.stored(self.space, from));
        self.read(|transaction| {
            let mut iterator = transaction.range_with_options(&self.bounds)?;
            scan(&mut iterator, from.as_deref(), direction, limit)
        })
    }
}

fn scan(
    iterator: &mut impl LSMIterator,
    from: Option<&[u8]>,
    direction: Direction,
    limit: u64,
) -> Result<Found, Error> {
    match (from, direction) {
        (None, Direction::Forward) => iterator.seek_first()?,
        (None, Direction::Backward) => iterator.seek_last()?,
        (Some(from), Direction::Forward) => iterator.seek(from)?,
        (Some(from), Direction::Backward) => {
            // A seek goes to `from` or behind it.
            if !iterator.seek(from)? {
                iterator.seek_last()?
            } else {
                iterator.key().user_key() == from || iterator.prev()?
            }
        }
    };
    let mut found = Found::default();
    while found.entries < limit && iterator.valid() {
        std::hint::black_box(iterator.key().user_key());
        found.add(&iterator.value_ref()?);
        if found.entries < limit {
            match direction {
                Direction::Forward => iterator.next()?,
                Direction::Backward => iterator.prev()?,
            };
        }
    }
    Ok(found)
}

#[cfg(test)]
mod experiment {
    use super::*;
    use crate::shape::{KeyShape, Shape, Values};
    use std::time::Instant;

    #[test]
    #[ignore]
    #[allow(clippy::unwrap_used)]
    fn exp() {
        let env = |name: &str, default: u64| {
            std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let n = env("N", 1_000_000);
        let value_size = env("VS", 100) as usize;
        let shape = Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size };
        let class = match env("CLASS", 1) {
            0 => Class::Memory,
            1 => Class::Buffered,
            _ => Class::Synced,
        };
        let table = match env("TABLE", 0) {
            0 => Table::Uncompressed,
            1 => Table::Compressed,
            _ => Table::Shipped,
        };
        let values = Values::new(value_size);
        let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or("/work/main/target".into()))
            .unwrap();
        let settings = Settings {
            dir: dir.path().to_path_buf(),
            class,
            table,
            cache: 1 << 30,
            shape,
            spaces: 1,
            sessions: env("S", 4) as usize,
            cold: false,
        };
        let what = std::env::var("WHAT").unwrap_or("fill,settle,get,miss,scan,seek,multi".into());
        let threads = env("T", 1);
        let mut numbers: Vec<u64> = (0..n).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut numbers);
        let mut engine = Some(KIND.open(&settings).unwrap());
        for what in what.split(',') {
            let start = Instant::now();
            let mut ops = n;
            match what {
                "fill" | "fillseq" => {
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                let mut lat = Vec::with_capacity(n as usize);
                                for i in (t..n).step_by(threads as usize) {
                                    let number =
                                        if what == "fill" { numbers[i as usize] } else { i };
                                    let at = Instant::now();
                                    s.put(&shape.key(number), values.of(number)).unwrap();
                                    lat.push(at.elapsed().as_nanos() as u64);
                                }
                                lat.sort_unstable();
                                let q = |p: f64| {
                                    lat[((lat.len() - 1) as f64 * p) as usize] as f64 / 1000.0
                                };
                                println!(
                                    "   p50 {:.1} p99 {:.1} p99.9 {:.1} p99.99 {:.1} max {:.1} us",
                                    q(0.5),
                                    q(0.99),
                                    q(0.999),
                                    q(0.9999),
                                    q(1.0)
                                );
                            });
                        }
                    });
                }
                "batch" => {
                    let e = engine.as_ref().unwrap();
                    let mut s = e.session(Reads::Current).unwrap();
                    for chunk in numbers.chunks(1000) {
                        let keys: Vec<_> = chunk.iter().map(|n| shape.key(*n)).collect();
                        let entries: Vec<_> =
                            keys.iter().zip(chunk).map(|(k, n)| (&k[..], values.of(*n))).collect();
                        s.put_batch(&entries).unwrap();
                    }
                }
                "bulk" => {
                    let keys: Vec<Vec<u8>> = (0..n).map(|i| shape.key(i)).collect();
                    let start = Instant::now();
                    let mut it = keys.iter().zip(0..).map(|(k, n)| (&k[..], values.of(n)));
                    engine.as_ref().unwrap().bulk_load(&mut it).unwrap();
                    println!("   bulk inner {:.0}/s", n as f64 / start.elapsed().as_secs_f64());
                }
                "sync" => {
                    ops = 2000 * threads;
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                for i in 0..2000 {
                                    let number = numbers[((i * threads + t) % n) as usize];
                                    s.put_as(Class::Synced, &shape.key(number), values.of(number))
                                        .unwrap();
                                }
                            });
                        }
                    });
                }
                "settle" => engine.as_ref().unwrap().settle().unwrap(),
                "reopen" => {
                    engine.take().unwrap().close().unwrap();
                    println!("   close {:?}", start.elapsed());
                    engine = Some(KIND.open(&settings).unwrap());
                }
                "get" | "getcur" => {
                    let e = engine.as_ref().unwrap();
                    let reads = if what == "get" { Reads::Fixed } else { Reads::Current };
                    ops = n.min(500_000) * threads;
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(reads).unwrap();
                                for i in 0..n.min(500_000) {
                                    let number = numbers[((i * 7919 + t * 31) % n) as usize];
                                    let got = s.get(&shape.key(number)).unwrap();
                                    if i % 64 == 0 {
                                        assert_eq!(got, Some(touch(values.of(number))));
                                    }
                                }
                            });
                        }
                    });
                }
                "miss" => {
                    ops = n.min(500_000);
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for i in 0..ops {
                        let mut k = shape.key(numbers[i as usize]);
                        k.push(b'x');
                        assert!(s.get(&k).unwrap().is_none());
                    }
                }
                "multi" => {
                    ops = n.min(500_000) / 32 * 32;
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for c in numbers[..ops as usize].chunks(32) {
                        let keys: Vec<_> = c.iter().map(|n| shape.key(*n)).collect();
                        let keys: Vec<_> = keys.iter().map(|k| &k[..]).collect();
                        assert_eq!(s.multi_get(&keys).unwrap().entries, 32);
                    }
                }
                "scan" | "rscan" => {
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    let d = if what == "scan" { Direction::Forward } else { Direction::Backward };
                    let f = s.scan(None, d, u64::MAX).unwrap();
                    assert_eq!(f.entries, n);
                }
                "seek" | "seekcur" => {
                    ops = n.min(100_000);
                    let mut s = engine
                        .as_ref()
                        .unwrap()
                        .session(if what == "seek" { Reads::Fixed } else { Reads::Current })
                        .unwrap();
                    for i in 0..ops {
                        let _ = s
                            .scan(Some(&shape.key(numbers[i as usize])), Direction::Forward, 10)
                            .unwrap();
                    }
                }
                _ => panic!("{what}"),
            }
            let t = start.elapsed().as_secs_f64();
            let disk =
                std::process::Command::new("du").arg("-sk").arg(dir.path()).output().unwrap();
            let disk = String::from_utf8_lossy(&disk.stdout)
                .split_whitespace()
                .next()
                .unwrap_or("")
                .to_owned();
            println!(
                "{:>8}: {:>10.0}/s  {:.3} s  {:.2} us  disk {} MB",
                what,
                ops as f64 / t,
                t,
                t * 1e6 / ops as f64,
                disk.parse::<u64>().unwrap_or(0) / 1024
            );
        }
        engine.take().unwrap().close().unwrap();
    }
}
