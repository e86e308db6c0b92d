//! The range deletes of a memtable: one writer, any number of readers.
//!
//! Piles of them, none of which ever changes. A new one is a pile of its own; four piles of about the same size become one,
//! up to a size, for whoever adds one waits for that: or to a share of all, where one batch has brought very many. So each range delete is moved a few times, and there are a few dozen
//! piles when the memtable has as many as it [takes](crate::options::MOST_RANGE_DELETES).

use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::RangeDelete;

use super::RangeDeletes;
use crate::state::view::ViewCell;
use crate::sync::{Arc, AtomicU64, OnceLock, Ordering};

/// The largest pile first.
type Piles = Vec<Arc<RangeDeletes>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    count: AtomicU64,
    bytes: AtomicU64,
    /// None until the first one comes: most memtables have none.
    piles: OnceLock<ViewCell<Piles>>,
}

/// Bytes of one beside its keys, about, with its places in a pile.
const OVERHEAD: usize = 400;

/// Piles that become one.
const AT_ONCE: usize = 4;

/// A pile of so many stays as it is, …
const LARGEST: usize = 1024;

/// … unless it is less than one part in so many of all.
const PARTS: usize = 16;

impl Growing {
    /// Adds one, no older than any that is there. There is one writer.
    pub(crate) fn add(&self, range: RangeDelete) {
        let bytes = range.start.len() + range.end.as_ref().map_or(0, Vec::len) + OVERHEAD;
        let pile = Arc::new(RangeDeletes::of(vec![Arc::new(range)]));
        self.piles.get_or_init(|| ViewCell::new(Piles::new())).update(|piles| with(piles, pile));
        // Who has come to see its commit sees these.
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many were added.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) as usize
    }

    /// All of them as they are now.
    pub(crate) fn piles(&self) -> Piles {
        self.piles.get().map(|piles| piles.with(Piles::clone)).unwrap_or_default()
    }

    /// The newest one, up to this commit, that covers a key; 0: none does.
    pub(crate) fn newest(&self, database: DatabaseId, key: &[u8], upto: Seqno) -> Seqno {
        let newest = |piles: &Piles| {
            let of_each = piles.iter().map(|pile| pile.newest(database, key, upto));
            of_each.max().unwrap_or(0)
        };
        self.piles.get().map_or(0, |piles| piles.with(newest))
    }
}

/// Piles, and one more.
pub(super) fn with(piles: &Piles, pile: Arc<RangeDeletes>) -> Piles {
    let mut piles = piles.clone();
    piles.push(pile);
    while let Some(last) = last_of_a_size(&piles) {
        let merge = |a: RangeDeletes, b: &Arc<RangeDeletes>| RangeDeletes::merged(&a, b);
        let merged = piles.drain(last..).collect::<Piles>();
        piles.push(Arc::new(merged.iter().fold(RangeDeletes::default(), merge)));
    }
    piles
}

/// Where the last piles begin, if they are of about the same size, and not the largest.
fn last_of_a_size(piles: &Piles) -> Option<usize> {
    let from = piles.len().checked_sub(AT_ONCE)?;
    let size = |pile: &Arc<RangeDeletes>| pile.all().len();
    let (first, last) = (piles.get(from).map(size)?, piles.last().map(size)?);
    let largest = LARGEST.max(piles.iter().map(size).sum::<usize>() / PARTS);
    (first < largest && first < AT_ONCE * last.max(1)).then_some(from)
}
