//! What is worth a compaction, or a flush, although nothing is too large: what is full of entries that nobody sees.
//!
//! An entry that has expired gives its space back when its table is merged again, and so does what a tombstone hides
//! when it comes down to it. No write may come that would bring this about, so tables are looked at themselves. A
//! merge of such a table ends: what made it worn is gone behind it, or one level further down.
//!
//! Level 0 is merged often while somebody writes: its tables count once the store has rested ([`pick`](super::pick)).

use orlop_formats::ids::AsOf;
use orlop_formats::manifest::TableMeta;

use crate::files::sstable::Table;
use crate::options::SEGMENT_MIN;
use crate::state::memtable::Memtable;
use crate::state::view::View;
use crate::sync::Arc;

/// A table is worn when one part in so many of its entries has expired.
const EXPIRED_SHARE: u64 = 4;

/// … or one part in so many has expired, or is a tombstone.
const GARBAGE_SHARE: u64 = 2;

/// Who reads, and where everything ends.
#[derive(Debug)]
pub(crate) struct Look {
    /// Everything that is read at, ascending; the last is now.
    pub(crate) boundaries: Vec<AsOf>,
    /// The last level that holds anything.
    pub(crate) lowest: usize,
    /// Somebody wants all to go that can, and asked at this time.
    pub(crate) all_since: Option<u64>,
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

    /// Whether a table is worn.
    pub(crate) fn is_worn(&self, table: &Table) -> bool {
        let (meta, expiries) = (table.meta(), table.properties().expiries);
        let now = self.time_for(meta.min_seqno);
        expiries.map_or(0, |expiries| expiries.expired(now)) >= self.threshold(meta)
    }

    /// When a table will be worn, in milliseconds since 1970; `None`: not by time alone.
    pub(crate) fn when(&self, table: &Table) -> Option<u64> {
        let expiries = table.properties().expiries?;
        expiries.when(self.threshold(table.meta()))
    }
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
        let is_worn = |at: u64| {
            let garbage = tombstones + expired(at);
            garbage > 0 && garbage * GARBAGE_SHARE >= entries
        };
        if !is_worn(now) {
            let times = memtables().map(|memtable| memtable.expiring().1);
            return Memory::Fresh { until: times.filter(|at| *at > now && is_worn(*at)).min() };
        }
        let is_large = sum(|of| of.live_bytes() as u64) > SEGMENT_MIN;
        if is_large { Memory::Worn } else { Memory::WornSmall }
    }
}
