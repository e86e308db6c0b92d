//! Which tables are worth a compaction although no level is too large: those with much that nobody sees.
//!
//! An entry that has expired gives its space back when its table is merged again, and so does what a tombstone hides
//! when it comes down to it. No write may come that would bring this about, so the tables are looked at themselves. A
//! merge of such a table ends: what made it worn is gone behind it, or one level further down.
//!
//! Level 0 is merged often while somebody writes: its tables count once the store has rested.

use orlop_formats::ids::AsOf;
use orlop_formats::manifest::TableMeta;

use crate::files::sstable::Table;
use crate::options::SEGMENT_MIN;
use crate::state::memtable::Memtable;
use crate::state::shared::Shared;
use crate::sync::Arc;

/// A table is worn when one part in so many of its entries has expired.
const EXPIRED_SHARE: u64 = 4;

/// … or one part in so many has expired, or is a tombstone.
const GARBAGE_SHARE: u64 = 2;

/// For whom, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// What the oldest of all readers reads at.
    pub(crate) oldest: AsOf,
    /// The last level that holds anything.
    pub(crate) lowest: usize,
    /// Nobody has written for a while.
    pub(crate) has_rested: bool,
}

/// Whether a table is worn.
pub(crate) fn is_worn(table: &Table, look: Look) -> bool {
    let expiries = table.properties().expiries;
    let expired = expiries.map_or(0, |expiries| expiries.expired(look.oldest.now));
    let counts = look.has_rested || table.meta().level > 0;
    counts && expired >= threshold(table.meta(), look)
}

/// Whether the active memtable is worth a flush of its own: it hides what lies in tables, or has expired. A small one may
/// stay where it is.
pub(crate) fn is_memtable_worn(memtable: &Memtable, now: u64) -> bool {
    let garbage = memtable.tombstones()
        + match memtable.expiring() {
            (expiring, latest) if latest <= now => expiring,
            _ => 0,
        };
    is_large(memtable) && garbage > 0 && garbage * GARBAGE_SHARE >= memtable.entries()
}

fn is_large(memtable: &Memtable) -> bool {
    memtable.live_bytes() as u64 > SEGMENT_MIN
}

/// So many must have expired for a table to be worn.
fn threshold(meta: &TableMeta, look: Look) -> u64 {
    let tombstones = tombstones(meta, look);
    let for_garbage = meta.entries.div_ceil(GARBAGE_SHARE).saturating_sub(tombstones);
    meta.entries.div_ceil(EXPIRED_SHARE).max(1).min(for_garbage)
}

/// Tombstones that a merge would bring closer to their end. On the lowest level there is nothing that they hide, and they
/// are there because a reader is older than they are.
fn tombstones(meta: &TableMeta, look: Look) -> u64 {
    let is_above = meta.level == 0 || usize::from(meta.level) < look.lowest;
    if is_above || meta.max_seqno <= look.oldest.seqno { meta.tombstones } else { 0 }
}

/// When the next table, or the active memtable, will be worn, in milliseconds since 1970, if nobody writes until then;
/// `None`: never. The memtable, and tables of level 0, may be already.
pub(crate) fn next(shared: &Shared) -> Option<u64> {
    let oldest = shared.oldest_reader();
    shared.view.with(|view| {
        let look = Look { oldest, lowest: view.version.lowest(), has_rested: true };
        let when = |table: &Arc<Table>| match table.properties().expiries {
            _ if is_worn(table, look) => Some(oldest.now),
            Some(expiries) => expiries.when(threshold(table.meta(), look)),
            None => None,
        };
        let tables = view.version.tables().filter_map(when);
        let memtable = match view.active.expiring() {
            _ if is_memtable_worn(&view.active, oldest.now) => Some(oldest.now),
            (1.., latest) if is_large(&view.active) => Some(latest),
            _ => None,
        };
        tables.chain(memtable).min()
    })
}
