//! The one struct where everything meets, grouped by what guards it.
//!
//! ARCHITECTURE.md has the order of the locks.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use orlop_formats::checksum::Place;
use orlop_formats::ids::{AsOf, FileNumber, Seqno, StoreId};

use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::files::manifest::Manifest;
use crate::files::sstable::Context;
use crate::files::wal::{Chores, Spares, Ways};
use crate::options::Options;
use crate::state::bulk::Turns;
use crate::state::catalog::{Catalog, Liveness};
use crate::state::clock::Clock;
use crate::state::loads::Loads;
use crate::state::memtable::{Chunks, Memtable};
use crate::state::queue::CommitQueue;
use crate::state::snapshots::Snapshots;
use crate::state::ticket::Deputy;
use crate::state::version::Merging;
use crate::state::view::{View, ViewCell};
use crate::stats::{Counters, ScrubStats};
use crate::sync::{
    Arc, AtomicU64, Condvar, Mutex, OnceLock, Ordering, RwLock, Stopwatch, Weak, read,
};

/// State of one open store.
pub(crate) struct Shared {
    // Constant after construction.
    pub(crate) dir: Arc<Directory>,
    pub(crate) options: Options,
    pub(crate) store: StoreId,
    pub(crate) read_only: bool,
    /// What all tables have in common.
    pub(crate) tables: Arc<Context>,
    pub(crate) clock: Clock,
    /// Segments that are ready before the log needs them; `None` in read-only opens.
    pub(crate) spares: Option<Arc<Spares>>,
    /// What the log leaves to the background.
    pub(crate) chores: Arc<Chores>,
    pub(crate) ways: Arc<Ways>,
    /// Large batches go one by one.
    pub(crate) bulk_turns: Arc<Turns>,
    /// Memory that memtables have given back, for those to come.
    pub(crate) memory: Arc<Chunks>,

    // Read without a lock.
    pub(crate) view: ViewCell,
    /// The last sequence number given out. Written by the leader of a commit group.
    pub(crate) assigned: AtomicU64,
    /// The last commit that readers see. Written by the leader of a commit group, who may have handed the
    /// log on. It never falls.
    pub(crate) visible: AtomicU64,
    /// The last commit that is on the device, in the log or in an sstable.
    pub(crate) durable: AtomicU64,
    /// The number of the next new file.
    pub(crate) numbers: Arc<AtomicU64>,
    /// Segments below this number are obsolete.
    pub(crate) log_number: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) poison: OnceLock<String>,

    // Behind locks.
    /// Taken for a step of background work; before all others.
    pub(crate) stepping: Mutex<()>,
    pub(crate) queue: Mutex<CommitQueue>,
    /// Leads for those who do not wait for their commits.
    pub(crate) deputy: Arc<Deputy>,
    /// `None` in read-only opens.
    pub(crate) manifest: Mutex<Option<Manifest>>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) snapshots: Snapshots,
    pub(crate) loads: Loads,
    /// Where the tables of a compaction will lie that goes on; taken by who finds a place for others, until they are in the
    /// view.
    pub(crate) merging: Mutex<Option<Merging>>,
    /// Memtables that were flushed, and may still be read.
    pub(crate) flushed: Mutex<Vec<Weak<Memtable>>>,
    pub(crate) scrub: Mutex<ScrubStats>,
    pub(crate) background: Mutex<BackgroundState>,
    /// Something to do for the background, or something done for those who wait for it.
    pub(crate) changed: Condvar,
}

/// What the background and the foreground tell each other.
#[derive(Debug, Default)]
pub(crate) struct BackgroundState {
    /// The store is closing: finish nothing more.
    pub(crate) stop: bool,
    /// Work may have appeared since the background last looked.
    pub(crate) wake: bool,
    /// The last failure, until a step succeeds again.
    pub(crate) error: Option<Error>,
    /// Somebody asked for everything to be merged into one level, at this time of the store.
    pub(crate) full: Option<u64>,
    /// Somebody waits until nothing is left to do.
    pub(crate) settle: bool,
    /// Databases were dropped since tables were last searched for their remains.
    pub(crate) search_dead: bool,
    /// … and since the active memtable and the log were.
    pub(crate) trim_log: bool,
    /// The last commit when a step found nothing to do, and since when it is that.
    pub(crate) idle: Option<(Seqno, Stopwatch)>,
    /// Tables that could not be merged for what they hold, or cannot be read: nobody waits for their space.
    pub(crate) unmergeable: HashSet<FileNumber>,
    /// Tables that went past the page cache and are to be brought into it.
    pub(crate) cold: VecDeque<FileNumber>,
    /// What an earlier open has left and nobody names: to be removed.
    pub(crate) orphans: Vec<PathBuf>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir.path).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn next_number(&self) -> FileNumber {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What binds a block of file `number` to its place.
    pub(crate) fn place(&self, file: FileNumber) -> Place {
        Place { store: self.store, file }
    }

    /// The error that later writes get once one log write or sync has failed.
    pub(crate) fn check_poison(&self) -> Result<()> {
        seeded!(PoisonIgnored => return Ok(()));
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Stops all writing, for good.
    pub(crate) fn poison(&self, error: &Error) {
        let _ = self.poison.set(error.to_string());
        self.wake();
    }

    /// Tells the background that there may be work, and waiting writers that there may be room.
    pub(crate) fn wake(&self) {
        self.background.lock().wake = true;
        self.changed.notify_all();
    }

    /// The commit at which a reader of `view` reads.
    pub(crate) fn readable(&self, view: &View) -> Seqno {
        view.readable(&self.visible)
    }

    /// The last commit that no crash takes back.
    pub(crate) fn durable(&self) -> Seqno {
        self.durable.load(Ordering::Acquire)
    }

    /// Remembers memtables that were flushed, for as long as somebody reads them.
    pub(crate) fn remember_flushed(&self, memtables: &[Arc<Memtable>]) {
        let mut flushed = self.flushed.lock();
        flushed.retain(|memtable| memtable.strong_count() > 0);
        flushed.extend(memtables.iter().map(Arc::downgrade));
    }

    /// How many flushed memtables are still read, and their bytes.
    pub(crate) fn pinned_memtables(&self) -> (u64, u64) {
        let flushed: Vec<_> = self.flushed.lock().iter().filter_map(Weak::upgrade).collect();
        let bytes = flushed.iter().map(|memtable| memtable.live_bytes() as u64).sum();
        (flushed.len() as u64, bytes)
    }

    /// Everything that a version must be kept for, ascending.
    pub(crate) fn boundaries(&self) -> Vec<AsOf> {
        self.snapshots.boundaries(&self.visible, || self.clock.now())
    }

    pub(crate) fn liveness(&self) -> Liveness {
        let oldest = self.snapshots.oldest(&self.visible);
        seeded!(DropIgnoresSnapshots: oldest = Seqno::MAX);
        let durable = seeded!(DropActsBeforeDurable => Seqno::MAX, else self.durable());
        read(&self.catalog).liveness(oldest, durable)
    }
}
