//! Segments of this open that have ended.
//!
//! They go to the device before any commit that is to be there, or become needless when a flush has brought
//! all they hold into tables. Until then each of them keeps a descriptor, and a process has only so many. So
//! when a few have come together the background syncs the oldest; where it does not keep up, whoever
//! ends the next segment does.

use std::collections::VecDeque;

use orlop_formats::ids::{FileNumber, Seqno};
use orlop_formats::manifest::SegmentEnd;

use super::chores::Chores;
use super::segment::Segment;
use crate::error::Result;
use crate::sync::Arc;

/// Of more segments than these, the background syncs the oldest.
const UNSYNCED: usize = 4;

/// There are no more than these that may not be on the device.
const MOST_UNSYNCED: usize = 8;

/// See the module.
pub(super) struct Ended {
    chores: Arc<Chores>,
    /// Their bytes may not be on the device yet; the oldest first.
    unsynced: VecDeque<Segment>,
    /// Complete, synced and closed.
    synced: Vec<SegmentEnd>,
}

impl Ended {
    pub(super) fn new(chores: Arc<Chores>) -> Self {
        Self { chores, unsynced: VecDeque::new(), synced: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.synced.len() + self.unsynced.len()
    }

    /// The number of each, and where it ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = (FileNumber, u64)> {
        let unsynced = self.unsynced.iter().map(|segment| (segment.number, segment.end));
        self.synced.iter().map(|end| (end.number, end.end)).chain(unsynced)
    }

    /// Takes a segment that has just ended. True if the background has something to do for it.
    pub(super) fn push(&mut self, segment: Segment) -> Result<bool> {
        self.close_synced();
        if self.unsynced.len() >= MOST_UNSYNCED {
            self.sync_first()?;
        }
        self.unsynced.push_back(segment);
        let oldest = self.unsynced.len().checked_sub(UNSYNCED + 1);
        let due = oldest.and_then(|at| self.unsynced.get(at));
        due.inspect(|segment| self.chores.sync_later(segment.unsynced()));
        Ok(due.is_some())
    }

    /// Brings all of them onto the device; gives the highest sequence number that is known to be there then.
    pub(super) fn sync(&mut self) -> Result<Seqno> {
        while !self.unsynced.is_empty() {
            self.sync_first()?;
        }
        Ok(self.synced.last().map_or(0, |end| end.last_seqno))
    }

    fn sync_first(&mut self) -> Result<()> {
        if let Some(segment) = self.unsynced.front() {
            segment.unsynced().sync()?;
        }
        self.close_synced();
        Ok(())
    }

    fn close_synced(&mut self) {
        while let Some(segment) = self.unsynced.pop_front_if(|first| first.is_synced()) {
            let Segment { number, end, last_seqno, .. } = segment;
            self.synced.push(SegmentEnd { number, end, last_seqno });
        }
    }

    /// Lets go of those whose every batch is in an sstable: nobody reads them any more. True if the
    /// background has something to do for that.
    pub(super) fn forget(&mut self, log_number: FileNumber) -> bool {
        self.synced.retain(|end| end.number >= log_number);
        let mut any = false;
        while let Some(segment) = self.unsynced.pop_front_if(|first| first.number < log_number) {
            self.chores.bury(segment);
            any = true;
        }
        any
    }

    /// Where each ended, once all are synced.
    pub(super) fn take(&mut self) -> Vec<SegmentEnd> {
        std::mem::take(&mut self.synced)
    }
}
