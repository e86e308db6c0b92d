//! The sequence numbers, and times, that somebody still reads at.
//!
//! A compaction keeps, for every snapshot, the newest version that it can see. Taking a snapshot
//! and asking for the list happen under one lock, so that a compaction either knows the snapshot
//! or is older than it. Times are asked for under it, too: of two snapshots the one of the later commit has no earlier
//! time.

use std::collections::BTreeMap;

use orlop_formats::ids::{AsOf, Seqno};

use crate::sync::{AtomicU64, Mutex, Ordering};

/// Pinned sequence numbers with their holders.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pinned: Mutex<BTreeMap<Seqno, Holders>>,
}

/// Who holds a sequence number.
#[derive(Debug)]
struct Holders {
    count: usize,
    /// The time of the first of them, who may have let go since.
    now: u64,
}

impl Snapshots {
    /// Pins what is visible now.
    pub(crate) fn pin(&self, visible: &AtomicU64, now: impl FnOnce() -> u64) -> AsOf {
        let mut pinned = self.pinned.lock();
        let (seqno, now) = (visible.load(Ordering::Acquire), now());
        pinned.entry(seqno).or_insert(Holders { count: 0, now }).count += 1;
        AsOf { seqno, now }
    }

    /// Lets go of one pin.
    pub(crate) fn unpin(&self, seqno: Seqno) {
        let mut pinned = self.pinned.lock();
        if let Some(holders) = pinned.get_mut(&seqno) {
            holders.count -= 1;
            if holders.count == 0 {
                pinned.remove(&seqno);
            }
        }
    }

    /// Everything that a version must be kept for, ascending: the snapshots, and what is visible to readers without
    /// one.
    pub(crate) fn boundaries(&self, visible: &AtomicU64, now: impl FnOnce() -> u64) -> Vec<AsOf> {
        let pinned = self.pinned.lock();
        let as_of = |(seqno, holders): (&Seqno, &Holders)| AsOf { seqno: *seqno, now: holders.now };
        let mut boundaries: Vec<AsOf> = pinned.iter().map(as_of).collect();
        let latest = AsOf { seqno: visible.load(Ordering::Acquire), now: now() };
        seeded!(SnapshotVersionsDropped => return vec![latest]);
        if boundaries.last().map(|last| last.seqno) != Some(latest.seqno) {
            boundaries.push(latest);
        }
        boundaries
    }

    /// The lowest sequence number that anybody reads at.
    pub(crate) fn oldest(&self, visible: &AtomicU64) -> Seqno {
        let pinned = self.pinned.lock();
        pinned.keys().next().copied().unwrap_or_else(|| visible.load(Ordering::Acquire))
    }

    /// How many snapshots are held.
    pub(crate) fn count(&self) -> usize {
        self.pinned.lock().values().map(|holders| holders.count).sum()
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
