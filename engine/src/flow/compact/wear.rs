//! What is worth a compaction, or a flush, although nothing is too large: what is full of entries that nobody sees.
//!
//! An entry that has expired gives its space back when its table is merged again, and so does what a tombstone hides
//! when it comes down to it. No write may come that would bring this about, so tables are looked at themselves. A
//! merge of such a table ends: what made it worn is gone behind it, or one level further down.
//!
//! What ranges of keys were deleted from a table is guessed from its index. To merge it is also worth it for range deletes
//! alone, when many have their edges there: each is a burden to reads, until no table holds anything that it deletes.
//!
//! Level 0 is merged often while somebody writes: its tables count once the store has rested ([`pick`](super::pick)).

use orlop_formats::ids::{AsOf, DatabaseId, Seqno};
use orlop_formats::manifest::{RangeDelete, TableMeta};

use crate::files::sstable::Table;
use crate::options::SEGMENT_MIN;
use crate::state::memtable::Memtable;
use crate::state::range_deletes::{Between, End, RangeDeletes};
use crate::state::version::Run;
use crate::state::view::View;
use crate::sync::Arc;

/// A table is worn when one part in so many of its entries has expired.
const EXPIRED_SHARE: u64 = 4;

/// … or one part in so many has expired, or is a tombstone.
const GARBAGE_SHARE: u64 = 2;

/// What a start or an end of a deleted range in a table counts as, in blocks that are deleted.
const EDGE_BLOCKS: u64 = 4;

/// Who reads, and where everything ends.
#[derive(Debug)]
pub(crate) struct Look {
    /// Everything that is read at, ascending; the last is now.
    pub(crate) boundaries: Vec<AsOf>,
    /// The last level that holds anything.
    pub(crate) lowest: usize,
    /// Somebody wants all to go that can, and asked at this time.
    pub(crate) all_since: Option<u64>,
    /// Those that may delete something in tables.
    pub(crate) range_deletes: Arc<RangeDeletes>,
}

impl Look {
    /// The time of the first of those who can see an entry from this sequence number on; no later than what is asked for.
    fn time_for(&self, min_seqno: u64) -> u64 {
        let first = self.boundaries.partition_point(|boundary| boundary.seqno < min_seqno);
        let first = self.boundaries.get(first).or(self.boundaries.last());
        let now = first.map_or(0, |first| first.now);
        self.all_since.map_or(now, |asked| asked.min(now))
    }

    /// Tombstones that a merge would bring closer to their end. On the lowest level there is nothing that they hide, and
    /// they are there because a reader is older than they are.
    fn tombstones(&self, meta: &TableMeta) -> u64 {
        let is_above = meta.level == 0 || usize::from(meta.level) < self.lowest;
        let oldest = self.boundaries.first().map_or(0, |oldest| oldest.seqno);
        if is_above || meta.max_seqno <= oldest { meta.tombstones } else { 0 }
    }

    /// So many of its entries must have expired for a table to be worn.
    fn threshold(&self, meta: &TableMeta) -> u64 {
        let tombstones = self.tombstones(meta);
        if self.all_since.is_some() {
            return u64::from(tombstones == 0);
        }
        let for_garbage = meta.entries.div_ceil(GARBAGE_SHARE).saturating_sub(tombstones);
        meta.entries.div_ceil(EXPIRED_SHARE).max(1).min(for_garbage)
    }

    /// Range deletes that everybody sees, and that may delete something in a table which they did not when it was made.
    fn not_cleared(&self, table: &Table) -> Between {
        let after = table.properties().cleared_to.max(table.meta().min_seqno);
        Between { after, upto: self.boundaries.first().map_or(0, |oldest| oldest.seqno) }
    }

    /// Whether range deletes that everybody sees delete all of a table.
    pub(crate) fn is_deleted(&self, table: &Table) -> bool {
        let TableMeta { smallest, largest, max_seqno, .. } = table.meta();
        let between = Between { after: *max_seqno, ..self.not_cleared(table) };
        seeded!(DeletedForSnapshots: between = Between { upto: u64::MAX, ..between });
        !self.range_deletes.is_empty()
            && smallest.0 == largest.0
            && self.range_deletes.cover_all(smallest.0, (&smallest.1, &largest.1), between)
    }

    /// About how many entries of a table were deleted with their ranges.
    fn range_deleted(&self, table: &Table) -> u64 {
        if self.range_deletes.is_empty() {
            return 0;
        }
        let (meta, between) = (table.meta(), self.not_cleared(table));
        let mut blocks = 0;
        for database in table.databases().filter(|database| self.range_deletes.has(*database)) {
            let keys = keys_of(meta, database);
            self.range_deletes.each_covered(database, keys, between, |start, end| {
                blocks += table.blocks_in(database, start, end) as u64;
            });
            blocks += EDGE_BLOCKS * self.range_deletes.edges(database, keys, between) as u64;
        }
        let share = u128::from(meta.entries) * u128::from(blocks);
        let all = table.properties().blocks.max(1);
        let deleted = (share / u128::from(all)).min(u128::from(meta.entries)) as u64;
        // However few: a merge lets go of what deletes them.
        let is_any = self.all_since.is_some() && self.is_covered(table, between);
        deleted.max(u64::from(is_any))
    }

    /// Whether a key can be in a table that range deletes cover.
    fn is_covered(&self, table: &Table, between: Between) -> bool {
        let mut is_covered = false;
        for database in table.databases() {
            let keys = keys_of(table.meta(), database);
            self.range_deletes.each_covered(database, keys, between, |_, _| is_covered = true);
        }
        is_covered
    }

    /// How many of its entries have expired, or were deleted with their ranges, that count.
    fn gone(&self, table: &Table) -> u64 {
        let now = self.time_for(table.meta().min_seqno);
        let expired = table.properties().expiries.map_or(0, |expiries| expiries.expired(now));
        expired + self.range_deleted(table)
    }

    /// Whether a table is worn.
    pub(crate) fn is_worn(&self, table: &Table) -> bool {
        self.gone(table) >= self.threshold(table.meta())
    }

    /// When a table will be worn, in milliseconds since 1970; `None`: not by time alone.
    pub(crate) fn when(&self, table: &Table) -> Option<u64> {
        let expiries = table.properties().expiries?;
        expiries.when(self.threshold(table.meta()))
    }
}

/// The first key of a database that a table can hold, and the last, if there is one.
fn keys_of(meta: &TableMeta, database: DatabaseId) -> (&[u8], Option<&[u8]>) {
    let (smallest, largest) = (&meta.smallest, &meta.largest);
    let first = if smallest.0 == database { smallest.1.as_slice() } else { &[] };
    (first, (largest.0 == database).then_some(largest.1.as_slice()))
}

/// How much of what is in memory, and waits for no flush, nobody sees, or hides what lies in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Little of it, or there is nothing. When so much will have expired, in milliseconds since 1970, if it will.
    Fresh { until: Option<u64> },
    /// Most of it; few bytes.
    WornSmall,
    /// Most of it.
    Worn,
}

impl Memory {
    /// Looks at a view.
    pub(crate) fn of(view: &View, now: u64) -> Self {
        let waiting = view.sealed.iter().take_while(|memtable| !memtable.is_due());
        let memtables = || waiting.clone().chain([&view.active]);
        let sum = |of: fn(&Arc<Memtable>) -> u64| memtables().map(of).sum::<u64>();
        let (entries, tombstones) = (sum(|of| of.entries()), sum(|of| of.tombstones()));
        // Those of one memtable count when all have expired: it knows the latest alone.
        let expired = |at: u64| -> u64 {
            let expiring = memtables().map(|memtable| memtable.expiring());
            expiring.filter(|(_, latest)| *latest <= at).map(|(count, _)| count).sum()
        };
        let deleted = deleted_bytes(view, memtables());
        let is_worn = |at: u64| {
            let garbage = tombstones + expired(at);
            deleted > 0 || (garbage > 0 && garbage * GARBAGE_SHARE >= entries)
        };
        if !is_worn(now) {
            let times = memtables().map(|memtable| memtable.expiring().1);
            return Memory::Fresh { until: times.filter(|at| *at > now && is_worn(*at)).min() };
        }
        let is_large = sum(|of| of.live_bytes() as u64).max(deleted) > SEGMENT_MIN;
        if is_large { Memory::Worn } else { Memory::WornSmall }
    }
}

/// About how many bytes the range deletes of these memtables delete, in them and in tables: not more than are worth a flush.
/// What others have deleted before does not count.
fn deleted_bytes<'a>(view: &View, memtables: impl Iterator<Item = &'a Arc<Memtable>>) -> u64 {
    let mut bytes = 0;
    let memtables: Vec<_> = memtables.collect();
    for memtable in memtables.iter().filter(|memtable| memtable.has_range_deletes()) {
        let (piles, base) = memtable.range_delete_piles();
        for range in piles.iter().flat_map(|pile| pile.all()) {
            let older = memtables.iter().filter(|of| of.holds_some_of(range, base + range.seqno));
            bytes += older.map(|of| of.live_bytes() as u64).sum::<u64>();
            bytes += view.version.runs().map(|run| deleted_of_run(view, run, range)).sum::<u64>();
            if bytes > SEGMENT_MIN {
                return bytes;
            }
        }
    }
    bytes
}

/// The same of the tables of a run, for one range delete that is newer than they are.
fn deleted_of_run(view: &View, run: &Run, range: &RangeDelete) -> u64 {
    let of_table = |table: &Arc<Table>| {
        let meta = table.meta();
        let (first, last) = keys_of(meta, range.database);
        let first = first.max(&range.start);
        let last = match (last, &range.end) {
            (Some(last), Some(end)) => Some(last.min(end)),
            (last, end) => last.or(end.as_deref()),
        };
        let between = Between { after: meta.max_seqno, upto: Seqno::MAX };
        let before = view.version.range_deletes();
        let known = before.covered_to(range.database, first, between);
        if known.is_some_and(|known| last.map_or(End::Last, End::Before) <= known) {
            return 0;
        }
        let blocks = table.blocks_in(range.database, &range.start, range.end.as_deref());
        meta.size / table.properties().blocks.max(1) * blocks as u64
    };
    run.tables_in(range).map(of_table).sum()
}
