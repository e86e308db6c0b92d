//! The sequence numbers that somebody still reads at.
//!
//! A compaction keeps, for every snapshot, the newest version that it can see. Taking a snapshot
//! and asking for the list happen under one lock, so that a compaction either knows the snapshot
//! or is older than it.

use std::collections::BTreeMap;

use orlop_formats::ids::Seqno;

use crate::sync::{AtomicU64, Mutex, Ordering};

/// Pinned sequence numbers with their number of holders.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    pinned: Mutex<BTreeMap<Seqno, usize>>,
}

impl Snapshots {
    /// Pins what is visible now.
    pub(crate) fn pin(&self, visible: &AtomicU64) -> Seqno {
        let mut pinned = self.pinned.lock();
        let seqno = visible.load(Ordering::Acquire);
        *pinned.entry(seqno).or_default() += 1;
        seqno
    }

    /// Lets go of one pin.
    pub(crate) fn unpin(&self, seqno: Seqno) {
        let mut pinned = self.pinned.lock();
        if let Some(holders) = pinned.get_mut(&seqno) {
            *holders -= 1;
            if *holders == 0 {
                pinned.remove(&seqno);
            }
        }
    }

    /// Every sequence number that a version must be kept for, ascending: the snapshots, and what
    /// is visible to readers without one.
    pub(crate) fn boundaries(&self, visible: &AtomicU64) -> Vec<Seqno> {
        let pinned = self.pinned.lock();
        let mut boundaries: Vec<Seqno> = pinned.keys().copied().collect();
        let now = visible.load(Ordering::Acquire);
        seeded!(SnapshotVersionsDropped => return vec![now]);
        if boundaries.last() != Some(&now) {
            boundaries.push(now);
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
        self.pinned.lock().values().sum()
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
