//! A store: one directory, one open engine.

use std::path::{Path, PathBuf};

use crate::batch::Batch;
use crate::database::{Database, check_name};
use crate::env::{Env, Lock, MemoryEnv, default_env};
use crate::error::{Error, Result};
use crate::flow::background::Progress;
use crate::flow::compact::job;
use crate::flow::write::Submitted;
use crate::flow::{attach, background, close, recover, room, scrub, write};
use crate::options::{Background, Compression, Durability, Options, Verify};
use crate::snapshot::Snapshot;
use crate::state::catalog::DatabaseOptions;
use crate::state::shared::Shared;
use crate::state::write_set::WriteSet;
use crate::stats::{LevelStats, RunStats, ScrubStats, Stats};
use crate::sync::{Arc, JoinHandle, Mutex, OnceLock, Ordering, is_this_thread, read, spawn};

/// An open store. Cheap to clone; `Send`, `Sync`, `'static`.
///
/// The directory is locked, and the background thread runs, until [`Store::close`] or until the
/// last handle (store, database, snapshot, batch) is dropped.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("my.orlop");
/// let store = orlop::Store::open(&path)?;
/// let users = store.database("users")?;
/// users.put("ada", "1815")?;
/// assert_eq!(users.get("ada")?.as_deref(), Some(&b"1815"[..]));
/// store.close()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    core: Arc<Core>,
}

/// What every handle shares. Dropping the last one closes the store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
    deputy: Mutex<DeputyThread>,
    lock: Mutex<Option<Box<dyn Lock>>>,
    /// The outcome of the first close.
    closed: OnceLock<Result<()>>,
}

/// The thread that leads for those who do not wait.
#[derive(Debug, Default)]
enum DeputyThread {
    /// Nobody has asked for it yet.
    #[default]
    None,
    Running(JoinHandle<()>),
    /// The store is closing.
    Ended,
}

impl std::fmt::Debug for Box<dyn Lock> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Core {
    /// Refuses work on a closed store.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.get().is_some() { Err(Error::Closed) } else { Ok(()) }
    }

    fn close(&self) -> Result<()> {
        let outcome = self.closed.get_or_init(|| {
            let outcome = close::run(&self.shared, &self.worker);
            self.end_deputy();
            self.lock.lock().take();
            outcome
        });
        outcome.clone()
    }

    /// Puts a batch in line; see [`Batch::submit`].
    pub(crate) fn submit(self: &Arc<Self>, writes: WriteSet, durability: Durability) -> Submitted {
        if self.has_deputy() {
            let store: Arc<Self> = Arc::clone(self);
            return write::submit(&self.shared, writes, durability, store);
        }
        Submitted::Done(write::commit(&self.shared, writes, durability))
    }

    /// Whether there is a thread that leads for others; starts it if need be.
    fn has_deputy(&self) -> bool {
        if self.shared.options.background == Background::Manual || self.shared.read_only {
            return false;
        }
        let mut deputy = self.deputy.lock();
        if matches!(*deputy, DeputyThread::None) {
            let shared = Arc::clone(&self.shared);
            let started = spawn("orlop-commits", move || write::lead_for_others(&shared));
            // Without a thread every commit is waited for.
            let Ok(started) = started else { return false };
            *deputy = DeputyThread::Running(started);
        }
        matches!(*deputy, DeputyThread::Running(_))
    }

    fn end_deputy(&self) {
        let deputy = std::mem::replace(&mut *self.deputy.lock(), DeputyThread::Ended);
        self.shared.deputy.end();
        // The last handle of a store may be dropped by a waker, which that thread has called.
        if let DeputyThread::Running(thread) = deputy
            && !is_this_thread(&thread)
        {
            // It ends by itself, and panics are not ours to pass on inside a drop.
            let _ = thread.join();
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // A drop cannot report: whoever wants to know calls `Store::close`.
        let _ = self.close();
    }
}

impl Store {
    /// Opens a store for writing, creating it if it is missing, with default options.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(path)
    }

    /// Opens an existing store for reading: no lock, no writes, also beside a live writer, also
    /// after a crash. What is written later is not seen.
    ///
    /// # Errors
    /// As [`Builder::open_read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open_read_only(path)
    }

    /// A store in memory, on the same code; it is gone with its last handle.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn in_memory() -> Result<Self> {
        Self::builder().in_memory()
    }

    /// Options for an open.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A handle of the database called `name`, which need not exist: its first write creates it.
    /// Numbered databases are called by their number in decimal.
    ///
    /// # Errors
    /// [`Error::InvalidName`](crate::Error::InvalidName): a name has 1 to 255 bytes without NUL.
    pub fn database(&self, name: impl AsRef<str>) -> Result<Database> {
        Database::new(Arc::clone(&self.core), check_name(name.as_ref())?)
    }

    /// The names of all databases, in byte order.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Corrupt`](crate::Error::Corrupt) from reading.
    pub fn databases(&self) -> Result<Vec<String>> {
        self.snapshot().databases()
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.core))
    }

    /// Creates a database with options.
    ///
    /// # Errors
    /// [`Error::DatabaseExists`](crate::Error::DatabaseExists), and as [`Batch::commit`].
    pub fn create_database(&self, name: &str, options: DatabaseOptions) -> Result<Database> {
        let mut batch = self.batch();
        batch.create_database(name, options)?;
        batch.commit()?;
        self.database(name)
    }

    /// Drops a database and everything in it. Its space comes back by itself.
    ///
    /// # Errors
    /// [`Error::DatabaseMissing`](crate::Error::DatabaseMissing), and as [`Batch::commit`].
    pub fn drop_database(&self, name: &str) -> Result<()> {
        let mut batch = self.batch();
        batch.drop_database(name)?;
        batch.commit()
    }

    /// Gives a database another name; handles of the old name end.
    ///
    /// # Errors
    /// [`Error::DatabaseMissing`](crate::Error::DatabaseMissing),
    /// [`Error::DatabaseExists`](crate::Error::DatabaseExists), and as [`Batch::commit`].
    pub fn rename_database(&self, from: &str, to: &str) -> Result<()> {
        let mut batch = self.batch();
        batch.rename_database(from, to)?;
        batch.commit()
    }

    /// Exchanges the contents of two databases: handles keep their name.
    ///
    /// # Errors
    /// [`Error::DatabaseMissing`](crate::Error::DatabaseMissing) when neither exists, and as
    /// [`Batch::commit`].
    pub fn swap_databases(&self, first: &str, second: &str) -> Result<()> {
        let mut batch = self.batch();
        batch.swap_databases(first, second)?;
        batch.commit()
    }

    /// A view of the whole store that stands still.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.core))
    }

    /// Returns when everything committed so far is on the device.
    ///
    /// # Errors
    /// As [`Batch::commit`].
    pub fn sync(&self) -> Result<()> {
        if self.shared().read_only {
            return Ok(());
        }
        write::sync(self.shared())
    }

    /// Moves everything in memory into sstables, and returns when that is done.
    ///
    /// # Errors
    /// As [`Batch::commit`], and what writing the sstables meets.
    pub fn flush(&self) -> Result<()> {
        let shared = self.shared();
        // Also when nothing is in memory: what failed before may be nowhere.
        shared.check_poison()?;
        let sealed = write::with_log(shared, |lead| {
            if !lead.has_nothing() {
                let retired = lead.log.retire();
                write::judge(shared, &lead.log, retired)?;
                room::seal(shared, lead);
            }
            Ok(shared.view.pin().sealed.first().cloned())
        })??;
        let Some(sealed) = sealed else { return Ok(()) };
        room::wait_until(shared, |_| {
            shared.view.with(|view| !view.sealed.iter().any(|m| Arc::ptr_eq(m, &sealed)))
        })
    }

    /// Flushes, then merges all sstables into one level: the smallest and fastest shape. What has expired goes, but for what
    /// tables do not know of: they count in eighths.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn compact(&self) -> Result<()> {
        self.flush()?;
        let shared = self.shared();
        let asked = shared.clock.now();
        if shared.options.background == Background::Manual {
            while background::step_full(shared, asked)? {}
            return Ok(());
        }
        shared.background.lock().full = Some(asked);
        shared.wake();
        room::wait_until(shared, |state| state.full.is_none())
    }

    /// Flushes, and returns when the background has nothing left to do: every level has the size
    /// and shape that it should have. Cheaper than [`Store::compact`], which makes one level.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn settle(&self) -> Result<()> {
        self.flush()?;
        let shared = self.shared();
        if shared.options.background == Background::Manual {
            while background::step_settling(shared)? != Progress::Idle {}
            return Ok(());
        }
        shared.background.lock().settle = true;
        shared.wake();
        room::wait_until(shared, |state| !state.settle)
    }

    /// Does one piece of background work. Only for [`Background::Manual`]; elsewhere it does
    /// nothing.
    ///
    /// # Errors
    /// What the work meets; it can be tried again.
    pub fn step(&self) -> Result<Progress> {
        if self.shared().options.background == Background::Thread || self.shared().read_only {
            return Ok(Progress::Idle);
        }
        background::step(self.shared())
    }

    /// Reads every sstable of this moment from the device, past the page cache where that can be, and holds all of it
    /// against its checksums: the damage that would meet whoever reads there. It goes as fast as the device and
    /// one processor; others go on meanwhile. What it finds is in [`Stats::scrub`] as well, and the next reader of a
    /// damaged block checks that again.
    ///
    /// ```
    /// # fn main() -> orlop::Result<()> {
    /// let store = orlop::Store::in_memory()?;
    /// store.database("users")?.put("ada", "1815")?;
    /// store.flush()?;
    /// let found = store.scrub()?;
    /// assert_eq!((found.tables > 0, found.damaged), (true, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), also when it is closed meanwhile; [`Error::Io`](crate::Error::Io) where this
    /// process has no descriptor, memory or permission to read. Damage is no error here: it is what was asked for.
    pub fn scrub(&self) -> Result<ScrubStats> {
        scrub::run(self.shared(), || self.core.check_open())
    }

    /// Figures of this moment.
    pub fn stats(&self) -> Stats {
        stats(self.shared())
    }

    /// The store's directory; empty for a store in memory.
    pub fn path(&self) -> &Path {
        &self.shared().dir.path
    }

    /// Closes the store for all handles and reports what a drop cannot: syncs everything, stops
    /// the background, releases the lock. Open cursors and values stay good.
    ///
    /// # Errors
    /// What syncing meets; [`Error::Poisoned`](crate::Error::Poisoned) if it was.
    pub fn close(self) -> Result<()> {
        self.core.close()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.core.shared
    }
}

fn stats(shared: &Shared) -> Stats {
    let view = shared.view.pin();
    let memtables = || view.memtables();
    let log_path = shared.dir.env.log_path();
    let [segment_fallback, stage_fallback] = shared.ways.reasons();
    let state = shared.background.lock();
    let background_error = state.error.as_ref().map(ToString::to_string);
    drop(state);
    let (cache_bytes, cache_misses) = shared.tables.cache.figures();
    let (pinned_memtables, pinned_memtable_bytes) = shared.pinned_memtables();
    let (pinned_tables, pinned_table_bytes) = shared.tables.graveyard.waiting();
    let (loading_tables, loading_bytes) = shared.loads.figures();
    let mut stats = Stats {
        cache_bytes,
        cache_misses,
        pinned_memtables,
        pinned_memtable_bytes,
        pinned_tables,
        pinned_table_bytes,
        loading_tables,
        loading_bytes,
        scrub: shared.scrub.lock().clone(),
        log_path: if shared.read_only { "none".to_owned() } else { log_path.name.to_owned() },
        log_path_fallback: log_path.fallback,
        segment_fallback,
        stage_fallback,
        visible_seqno: shared.visible.load(Ordering::Acquire),
        durable_seqno: shared.durable(),
        databases: read(&shared.catalog).len() as u64,
        snapshots: shared.snapshots.count() as u64,
        memtable_entries: memtables().map(|memtable| memtable.entries()).sum(),
        memtable_bytes: memtables().map(|memtable| memtable.live_bytes() as u64).sum(),
        memtable_range_deletes: memtables().map(|memtable| memtable.range_deletes()).sum(),
        range_deletes: view.version.range_deletes().all().len() as u64,
        sealed_memtables: view.sealed.len() as u64,
        compaction_debt: job::debt(shared, &view.version),
        background_error,
        poisoned: shared.poison.get().cloned(),
        ..Stats::default()
    };
    shared.counters.fill(&mut stats);
    for level in 0..crate::options::LEVELS {
        let runs: Vec<RunStats> = view
            .version
            .level(level)
            .iter()
            .map(|run| RunStats {
                tables: run.tables.len() as u64,
                bytes: run.bytes(),
                entries: run.tables.iter().map(|table| table.meta().entries).sum(),
                tombstones: run.tables.iter().map(|table| table.meta().tombstones).sum(),
                expiring: run.tables.iter().map(|table| table.expiring()).sum(),
                filter_bytes: run.tables.iter().map(|table| table.filter_bytes()).sum(),
                index_bytes: run.tables.iter().map(|table| table.index_bytes()).sum(),
            })
            .collect();
        if !runs.is_empty() {
            stats.levels.push(LevelStats { level: level as u8, runs });
        }
    }
    stats
}

/// Options of an open, each with its default.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Options,
    env: Option<Arc<dyn Env>>,
}

impl Builder {
    /// What a commit is worth unless the caller or the database says otherwise.
    /// Default: [`Durability::Synced`], since losing acknowledged data must be a choice.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Who runs flushes and compactions. Default: a thread.
    pub fn background(mut self, background: Background) -> Self {
        self.options.background = background;
        self
    }

    /// Bytes of `Buffered` commits that may be on their way into the log's segment: they are in a small
    /// file meanwhile that the process has mapped. A multiple of 4096, 8 KiB to 4 MiB. Default: 3 MiB, of which an ordinary user may lock as
    /// many as there are at a time, and less for a small log. A
    /// commit that is larger waits for the device to have it, unsynced.
    pub fn stage_size(mut self, bytes: u64) -> Self {
        self.options.stage_size = bytes;
        self
    }

    /// Bytes of a segment of the log, once it has grown to that: the first of an open has 64 KiB. A multiple
    /// of 4096, 64 KiB to 1 GiB. Default: 64 MiB. However little is in it, a log is flushed that is four times
    /// as long as a segment, or as a memtable if that is larger; or that has 256 segments.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.options.segment_size = bytes;
        self
    }

    /// Bytes of a memtable, bookkeeping included, at which it is flushed. Default: 64 MiB; up to
    /// three are in memory at a time, and beside them large batches that are on their way: those of a
    /// sixteenth of this (16 KiB to 16 MiB) or more, which have memtables of their own.
    pub fn memtable_size(mut self, bytes: usize) -> Self {
        self.options.memtable_size = bytes;
        self
    }

    /// Bytes at which an sstable is full. Default: 64 MiB.
    pub fn table_size(mut self, bytes: u64) -> Self {
        self.options.table_size = bytes;
        self
    }

    /// Bytes of level 1; each level below holds ten times more. Default: 256 MiB.
    pub fn level_base(mut self, bytes: u64) -> Self {
        self.options.level_base = bytes;
        self
    }

    /// Bytes of a data block. Default: 4096, one page: a cold read is one fault.
    pub fn block_size(mut self, bytes: usize) -> Self {
        self.options.block_size = bytes;
        self
    }

    /// Bits of filter for each key. Default: 10, which lets 1 of 100 absent keys through; 0: none. Tables that are made for
    /// a level above the lowest in use get 4 more.
    pub fn filter_bits(mut self, bits: u32) -> Self {
        self.options.filter_bits = bits;
        self
    }

    /// How the values of settled data, level 2 and below, are stored. Default: Snappy.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Bytes of memory for values of compressed blocks that are read often, decompressed. Values that were read and are
    /// kept may keep theirs beyond that. What was read once, a long
    /// scan above all, drives nothing out. Default: 64 MiB; 0: none. Where nothing is compressed it takes nothing: tables
    /// are mapped, and the page cache holds them.
    pub fn cache_size(mut self, bytes: u64) -> Self {
        self.options.cache_size = bytes;
        self
    }

    /// How often what is read is checked. Default: [`Verify::Once`].
    pub fn verify(mut self, verify: Verify) -> Self {
        self.options.verify = verify;
        self
    }

    /// Bytes a second that the background reads from the device to look for damage, when nothing else is to be done;
    /// see [`Store::scrub`]. Read-only opens and [`Background::Manual`] have no background that could. Default: 0, it does
    /// not. A store of 100 GiB is gone through once a week at 173 KiB.
    pub fn scrub_rate(mut self, bytes: u64) -> Self {
        self.options.scrub_rate = bytes;
        self
    }

    /// Whether a missing store is created. Default: yes, its last path component only.
    pub fn create(mut self, create: bool) -> Self {
        self.options.create = create;
        self
    }

    /// The operating system to run on: the simulator, or the log without io_uring. Default: the
    /// best one there is.
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = Some(env);
        self
    }

    /// Opens the store for writing.
    ///
    /// # Errors
    /// Each its own: [`Error::StoreMissing`](crate::Error::StoreMissing),
    /// [`Error::NotAStore`](crate::Error::NotAStore), [`Error::TooNew`](crate::Error::TooNew),
    /// [`Error::Locked`](crate::Error::Locked), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::DiskFull`](crate::Error::DiskFull), [`Error::Io`](crate::Error::Io),
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument).
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let env = self.env.unwrap_or_else(default_env);
        let (shared, lock) = recover::open(env, path.as_ref(), self.options)?;
        let core = Core {
            worker: Mutex::new(None),
            deputy: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            closed: OnceLock::new(),
            shared,
        };
        if core.shared.options.background == Background::Thread {
            *core.worker.lock() = Some(background::start(&core.shared)?);
        }
        Ok(Store { core: Arc::new(core) })
    }

    /// Opens an existing store for reading; see [`Store::open_read_only`].
    ///
    /// # Errors
    /// As [`Builder::open`], without `Locked` and `DiskFull`.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Store> {
        let env = self.env.unwrap_or_else(default_env);
        let shared = attach::open_read_only(env, path.as_ref(), self.options)?;
        let closed = OnceLock::new();
        let (worker, deputy, lock) = (Mutex::new(None), Mutex::default(), Mutex::new(None));
        let core = Core { worker, deputy, lock, closed, shared };
        Ok(Store { core: Arc::new(core) })
    }

    /// A store in memory; see [`Store::in_memory`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument).
    pub fn in_memory(self) -> Result<Store> {
        self.env(Arc::new(MemoryEnv::new())).open(PathBuf::from("/store"))
    }
}

#[cfg(test)]
#[cfg(not(any(loom, feature = "shuttle")))]
mod tests;
