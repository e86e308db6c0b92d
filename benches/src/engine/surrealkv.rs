//! SurrealKV.
//!
//! Set as its makers set it in a benchmark of their own: the cache of the budget, no versions kept,
//! blocks of 64 KiB, which is the default, and the value log for large values. Filters of 10 bits a
//! key are its default. Where writes are synced, the log keeps written zeros ahead of its end: its
//! documentation offers that for just this.
//!
//! Every commit ends in `write(2)`, so there is no class below buffered. `Durability::Immediate`
//! syncs, with one sync for all commits that wait.
//!
//! Commits are asynchronous. Three tasks on a tokio runtime do the work: one commits, one flushes,
//! one compacts, and the last two do it in one go, without giving way. On a runtime with threads of
//! its own a commit wakes another thread and is woken by it, which costs three times the commit.
//! On a runtime of the calling thread it does not, and puts measured two to three times faster,
//! flushes and compactions included, though these make the committing thread wait, up to two
//! seconds where nearly all is merged. So few sessions share such a runtime; many, which commit in
//! groups and so share the cost, get one with threads.
//!
//! A put is a write-only transaction, a current read a read-only one: that is what the interface
//! offers. Fixed reads share one. An iterator borrows its transaction and is made for each scan;
//! one that was kept measured no faster.
//!
//! There are no key spaces. Where more than one is asked for, a byte in front of the key tells them
//! apart.

use std::borrow::Cow;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use surrealkv::inspect::{self, LevelDetail};
use surrealkv::{
    CompactRangeOptions, Durability, Error, LSMIterator, Mode, Options, ReadOptions, Transaction,
    Tree, TreeBuilder,
};
use tokio::runtime::{Builder, Runtime, RuntimeFlavor};

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
    settings: "Block cache of the budget and memtables of 64 MiB (writes wait where two are full); a \
               byte in front of the key where there is more than one key space. Up to 4 sessions \
               share a tokio runtime of the calling thread, whose flushes and compactions the \
               commits wait for (with threads of its own it never paused that long, but puts were \
               two to three times slower); more sessions get one with 3 threads. Buffered: \
               `Durability::Eventual`, as shipped. Synced: `Durability::Immediate` with \
               `with_wal_preallocation`, which is `fdatasync` for a group of commits. Put: a \
               write-only transaction, again where it met another. Uncompressed: as shipped. \
               Compressed: Snappy below level 0. Values from 4 KiB on: the value log with its \
               defaults. Bulk load: transactions of 1000 entries. Settled by `compact_range` into \
               level 0, which flushes, and then level by level while one is over its limit. The \
               rest as shipped: blocks of 64 KiB, Bloom filters of 10 bits a key, no versions.",
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

/// Between two tries to read the list of tables.
const PAUSE: Duration = Duration::from_millis(10);
const TRIES: usize = 100;

/// Entries of one commit of a bulk load, for which there is no call. Larger commits measured
/// slower, up to those that take more memory than the write buffers may.
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
    // The number counts only where there are threads.
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

    /// The tables of each level, top first.
    fn levels(&self) -> Result<Vec<LevelDetail>> {
        for _ in 1..TRIES {
            // Tables that a compaction removes meanwhile cannot be read.
            if let Ok(manifest) = inspect::dump_manifest(&self.dir) {
                return Ok(manifest.levels);
            }
            thread::sleep(PAUSE);
        }
        Ok(inspect::dump_manifest(&self.dir)?.levels)
    }

    /// Does one compaction that is due, if there is one.
    ///
    /// The task that compacts looks for more only after a flush of its own. What is due behind
    /// other flushes is done here as it would do it, by the limits that it goes by.
    fn compact_once(&self) -> Result<bool> {
        let levels = self.levels()?;
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

    fn remark(&self) -> Option<String> {
        let own_threads = self.runtime.handle().runtime_flavor() == RuntimeFlavor::MultiThread;
        let threads = if own_threads { "threads of the runtime" } else { "the calling thread" };
        Some(format!("commits, flushes and compactions on {threads}"))
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
