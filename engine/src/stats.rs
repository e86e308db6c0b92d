//! What a store knows about itself.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Counters that the engine keeps while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
    stalls: AtomicU64,
    stall_micros: AtomicU64,
    flushes: AtomicU64,
    flushed_bytes: AtomicU64,
    compactions: AtomicU64,
    compacted_bytes_in: AtomicU64,
    compacted_bytes_out: AtomicU64,
}

impl Counters {
    /// Who has the log counts, and nobody else.
    pub(crate) fn count_group(&self, commits: usize, synced: bool) {
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.commits, commits as u64);
        add(&self.groups, 1);
        add(&self.syncs, u64::from(synced));
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_stall_time(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.stall_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn count_flush(&self, bytes: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_compaction(&self, bytes_in: u64, bytes_out: u64) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.compacted_bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.compacted_bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }

    pub(crate) fn fill(&self, stats: &mut Stats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        stats.commits = read(&self.commits);
        stats.commit_groups = read(&self.groups);
        stats.log_syncs = read(&self.syncs);
        stats.write_stalls = read(&self.stalls);
        stats.write_stall_time = Duration::from_micros(read(&self.stall_micros));
        stats.flushes = read(&self.flushes);
        stats.flushed_bytes = read(&self.flushed_bytes);
        stats.compactions = read(&self.compactions);
        stats.compacted_bytes_in = read(&self.compacted_bytes_in);
        stats.compacted_bytes_out = read(&self.compacted_bytes_out);
    }
}

/// A store's figures at one moment. Counters count since the open; sizes are in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What serves the log: "io_uring", "posix", "memory" or "sim"; "none" when read-only.
    pub log_path: String,
    /// Why io_uring does not serve the log, where it could have.
    pub log_path_fallback: Option<String>,
    /// Why segments are written through the page cache, if one was since the open.
    pub segment_fallback: Option<String>,
    /// Why the stage of buffered commits is not memory that stays there, or why there was none, if that was so
    /// since the open.
    pub stage_fallback: Option<String>,
    /// The last commit that readers see.
    pub visible_seqno: u64,
    /// The last commit known to be on the device.
    pub durable_seqno: u64,
    /// Number of databases.
    pub databases: u64,
    /// Number of snapshots held.
    pub snapshots: u64,
    /// Entries in the active and sealed memtables, all versions.
    pub memtable_entries: u64,
    /// Bytes in the active and sealed memtables, bookkeeping included.
    pub memtable_bytes: u64,
    /// Range deletes in the active and sealed memtables.
    pub memtable_range_deletes: u64,
    /// Range deletes that may delete something in sstables. When nothing is left that they could delete, they go.
    pub range_deletes: u64,
    /// Sstables of bulk loads that are not finished: those that the next open finds, too.
    pub loading_tables: u64,
    /// Their bytes.
    pub loading_bytes: u64,
    /// Memtables that wait for their flush.
    pub sealed_memtables: u64,
    /// The levels that hold sstables, from level 0 down to the last one in use.
    pub levels: Vec<LevelStats>,
    /// Commits acknowledged, syncs included.
    pub commits: u64,
    /// Groups in which these were written.
    pub commit_groups: u64,
    /// Groups that were synced to the device.
    pub log_syncs: u64,
    /// Times a writer waited for a flush or a compaction.
    pub write_stalls: u64,
    /// How long writers have waited there, all together.
    pub write_stall_time: Duration,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes of the sstables these made.
    pub flushed_bytes: u64,
    /// Bytes that compactions have to bring down yet: those by which levels exceed their targets, and all of level 0 once it has
    /// too many runs. When it has very many, writers wait.
    pub compaction_debt: u64,
    /// Compactions finished, moves and drops of whole files included.
    pub compactions: u64,
    /// Bytes of the sstables these read.
    pub compacted_bytes_in: u64,
    /// Bytes of the sstables these wrote.
    pub compacted_bytes_out: u64,
    /// Bytes of values that were decompressed and are in memory: in the cache, or kept by values that were read; and
    /// what is kept to find them.
    pub cache_bytes: u64,
    /// Blocks that were decompressed since they were not in the cache.
    pub cache_misses: u64,
    /// Memtables that were flushed and are still in memory, for cursors, snapshots or values that read them, or until
    /// the next reader comes by and frees them.
    pub pinned_memtables: u64,
    /// Their bytes.
    pub pinned_memtable_bytes: u64,
    /// Sstables that were merged and still have their files, for the same reason.
    pub pinned_tables: u64,
    /// Their bytes on disk.
    pub pinned_table_bytes: u64,
    /// What was looked at for damage.
    pub scrub: ScrubStats,
    /// The error that the background met last, if it has not got past it since.
    pub background_error: Option<String>,
    /// Why the store takes no more writes, if it does not.
    pub poisoned: Option<String>,
}

/// What a scrub has read, and the damage that it has found: [`Store::scrub`](crate::Store::scrub), and the background
/// with [`Builder::scrub_rate`](crate::Builder::scrub_rate).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubStats {
    /// Times that all sstables were gone through.
    pub passes: u64,
    /// Sstables that were gone through.
    pub tables: u64,
    /// Bytes read from the device.
    pub bytes: u64,
    /// Stretches (blocks, indexes, filters and the like) that cannot be read or are not what was written. One that is
    /// found in each pass counts in each.
    pub damaged: u64,
    /// The first of them: file, what, where, expected and found. At most 32, each once.
    pub damage: Vec<String>,
    /// Why the background could not read last, if it could not for want of something in this process: descriptors,
    /// memory, a permission. It tries again.
    pub error: Option<String>,
}

/// One level of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelStats {
    /// The level's number; 0 is where flushes arrive.
    pub level: u8,
    /// Its runs, newest first.
    pub runs: Vec<RunStats>,
}

/// One run: sstables whose keys do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunStats {
    /// Number of sstables.
    pub tables: u64,
    /// Their size on disk.
    pub bytes: u64,
    /// Entries in them, all versions and tombstones.
    pub entries: u64,
    /// Tombstones among the entries.
    pub tombstones: u64,
    /// Entries that expire, or have expired.
    pub expiring: u64,
    /// Bytes of their filters.
    pub filter_bytes: u64,
    /// Bytes of memory that hold their indexes: of those that somebody has read.
    pub index_bytes: u64,
}
