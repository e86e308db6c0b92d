//! fjall.
//!
//! Its defaults are what its documentation recommends, so little is set: the cache of the budget,
//! one worker for each of two cores, no compression where the table has none, memtables that share
//! the budget for write buffers, and large values apart from their keys, as the documentation says
//! for large blobs. Its default for compression begins at the third level, which a store of a few
//! million entries does not have: the compressed table would measure uncompressed blocks, so there
//! it begins at the second.
//!
//! By default a write ends in `write(2)`. `persist(SyncData)` behind it makes it a synced one: that
//! is how the documentation does it, and batches that sync measured no faster. A journal that is
//! persisted by hand leaves a write in a buffer of 8 KiB in the process, and that is the class
//! memory. A keyspace remembers which of the two it was created with, whatever a later open says,
//! so its name tells.
//!
//! There is no seek: a scan makes an iterator. There is no call for many keys at once either.

use std::thread;
use std::time::Duration;

use fjall::config::CompressionPolicy;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    OwnedWriteBatch, PersistMode,
};

use super::{
    Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, WRITE_BUFFERS, touch,
};
use crate::failure::Result;

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    package: "fjall",
    feature: Some("fjall"),
    open: Some(open),
    classes: &[Class::Memory, Class::Buffered, Class::Synced],
    shipped_class: Class::Buffered,
    compression: Some("LZ4"),
    settings: "`cache_size` of the budget and 2 worker threads; a keyspace for each key space, \
               with a memtable of 64 MiB (where there are more than two, 128 MiB divided among \
               them, at least 8 MiB each). Buffered: `insert`, as shipped. Synced: \
               `persist(SyncData)` behind it, which is `fdatasync`. Memory: \
               `manual_journal_persist`. Batches: `OwnedWriteBatch` with the same durability. \
               Uncompressed: no compression of blocks, blobs and journal. Compressed: LZ4 from \
               level 1 on (as shipped it begins at level 2, which a store of a few million \
               entries does not reach), blobs and large journal values as shipped. Values from 4 \
               KiB on: key-value separation with its defaults. Bulk load: its ingestion. Settled \
               by rotating the memtables and running its own strategy until it finds nothing to \
               do, and dropping the tables that it replaced. The rest as shipped: leveled \
               compaction, blocks of 4 KiB, Bloom filters of 10 bits a key, journals of at most \
               512 MiB.",
    answers: true,
};

/// Its documentation recommends memtables of 8 to 64 MiB.
const LEAST_MEMTABLE: u64 = 8 << 20;
const MOST_MEMTABLE: u64 = 64 << 20;

/// Values from this size on go to blob files.
const LARGE_VALUE: usize = 4096;

/// One for each core of the reference machine, which is also the default there.
const WORKERS: usize = 2;

/// So many snapshots have to be closed before it looks at what no one can see any more.
const SNAPSHOTS_PER_SWEEP: usize = 10_000;

/// Between two looks at whether the background is done.
const PAUSE: Duration = Duration::from_millis(1);

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut builder = Database::builder(&settings.dir);
    if settings.table != Table::Shipped {
        builder = builder.cache_size(settings.cache).worker_threads(WORKERS);
    }
    if settings.table == Table::Uncompressed {
        builder = builder.journal_compression(CompressionType::None);
    }
    let db = builder.open()?;
    let by_hand = if db.keyspace_exists(&name(0, true)) {
        true
    } else if db.keyspace_exists(&name(0, false)) {
        false
    } else {
        settings.table != Table::Shipped && settings.class == Class::Memory
    };
    let spaces = (0..settings.spaces)
        .map(|space| db.keyspace(&name(space, by_hand), || options(settings, by_hand)));
    let spaces = spaces.collect::<Result<_, _>>()?;
    Ok(Box::new(Fjall { spaces, db, class: settings.class, by_hand }))
}

/// The name of a key space, which says how its journal is persisted.
fn name(space: usize, by_hand: bool) -> String {
    if by_hand { format!("{space}.by-hand") } else { space.to_string() }
}

fn options(settings: &Settings, by_hand: bool) -> KeyspaceCreateOptions {
    let mut options = KeyspaceCreateOptions::default();
    if settings.table == Table::Shipped {
        return options;
    }
    let memtable = WRITE_BUFFERS / settings.spaces.max(1) as u64;
    options = options
        .manual_journal_persist(by_hand)
        .max_memtable_size(memtable.clamp(LEAST_MEMTABLE, MOST_MEMTABLE));
    let mut blobs = KvSeparationOptions::default();
    if settings.table == Table::Uncompressed {
        options = options.data_block_compression_policy(CompressionPolicy::disabled());
        blobs = blobs.compression(CompressionType::None);
    } else {
        let by_level = CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]);
        options = options.data_block_compression_policy(by_level);
    }
    if settings.shape.value_size >= LARGE_VALUE {
        options = options.with_kv_separation(Some(blobs));
    }
    options
}

struct Fjall {
    spaces: Vec<Keyspace>,
    db: Database,
    class: Class,
    /// Whether writes stay in the process until they are persisted.
    by_hand: bool,
}

impl Fjall {
    /// Waits for background work, and fails where the background has failed.
    fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        while !done() {
            self.db.persist(PersistMode::Buffer)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Returns when no compaction of `space` is due.
    ///
    /// The workers look for one after each flush and not again after it, so what is still due then
    /// waits for the next flush. It is done here, by the strategy of the keyspace.
    fn compact(&self, space: &Keyspace) -> Result<()> {
        let idle = || self.db.active_compactions() == 0;
        loop {
            self.wait_until(idle)?;
            let before = space.tree.current_version().id();
            let strategy = space.config.compaction_strategy.clone();
            let horizon = self.db.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
            space.tree.compact(strategy, horizon)?;
            if idle() && space.tree.current_version().id() == before {
                return Ok(());
            }
        }
    }

    /// Removes the tables that compactions have replaced.
    ///
    /// Their version stays until a later change of any keyspace has been followed by a sweep and
    /// by a change of their own. Under writes that does not take long, but here they end, and half
    /// of the store would be old tables.
    fn remove_old_versions(&self) -> Result<()> {
        let passing = self.db.keyspace("passing", KeyspaceCreateOptions::default)?;
        self.db.delete_keyspace(passing)?;
        for _ in 0..SNAPSHOTS_PER_SWEEP {
            drop(self.db.snapshot());
        }
        let horizon = self.db.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
        for space in &self.spaces {
            space.tree.get_version_history_lock().maintenance(space.path(), horizon)?;
        }
        Ok(())
    }
}

/// What a commit asks for so that it is worth `class`.
fn persist_mode(class: Class) -> Option<PersistMode> {
    match class {
        Class::Memory => None,
        Class::Buffered => Some(PersistMode::Buffer),
        Class::Synced => Some(PersistMode::SyncData),
    }
}

impl Engine for Fjall {
    fn session(&self, _reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Open { engine: self, space: &self.spaces[0] }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let mut ingestion = self.spaces[0].start_ingestion()?;
        for (key, value) in entries {
            ingestion.write(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    fn settle(&self) -> Result<()> {
        for space in &self.spaces {
            space.rotate_memtable()?;
        }
        self.wait_until(|| {
            self.db.outstanding_flushes() == 0
                && self.spaces.iter().all(|space| space.sealed_memtable_count() == 0)
        })?;
        for space in &self.spaces {
            self.compact(space)?;
        }
        self.remove_old_versions()?;
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping it does the rest, but cannot say what went wrong.
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct Open<'a> {
    engine: &'a Fjall,
    space: &'a Keyspace,
}

impl Open<'_> {
    /// A write that `class` wants weaker than its keyspace makes it.
    fn write_weakly(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut batch = self.batch(1, Class::Memory);
        batch.insert(self.space, key, value);
        Ok(batch.commit()?)
    }

    fn batch(&self, capacity: usize, class: Class) -> OwnedWriteBatch {
        let db = self.engine.db.clone();
        OwnedWriteBatch::with_capacity(db, capacity).durability(persist_mode(class))
    }

    /// Makes a write that has been made worth `class`.
    fn persist(&self, class: Class) -> Result<()> {
        let done = match class {
            Class::Memory => true,
            Class::Buffered => !self.engine.by_hand,
            Class::Synced => false,
        };
        match persist_mode(class) {
            Some(mode) if !done => Ok(self.engine.db.persist(mode)?),
            _ => Ok(()),
        }
    }
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = &self.engine.spaces[space];
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.space.insert(key, value)?;
        self.persist(self.engine.class)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        if class == Class::Memory && !self.engine.by_hand {
            return self.write_weakly(key, value);
        }
        self.space.insert(key, value)?;
        self.persist(class)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = self.batch(entries.len(), self.engine.class);
        for (key, value) in entries {
            batch.insert(self.space, *key, *value);
        }
        Ok(batch.commit()?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.space.remove(key)?;
        self.persist(self.engine.class)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.space.get(key)?.map(|value| touch(&value)))
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let mut entries = match (from, direction) {
            (None, _) => self.space.iter(),
            (Some(from), Direction::Forward) => self.space.range(from..),
            (Some(from), Direction::Backward) => self.space.range(..=from),
        };
        let mut found = Found::default();
        while found.entries < limit {
            let entry = match direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            };
            let Some(entry) = entry else { break };
            let (key, value) = entry.into_inner()?;
            std::hint::black_box(&*key);
            found.add(&value);
        }
        Ok(found)
    }
}
