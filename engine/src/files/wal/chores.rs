//! What the log leaves to the background: whoever has the log has others behind him.
//!
//! Segments that have ended and are to be synced, so that they can be closed; and segments that nobody needs
//! any more: the last handle of a file that has no name gives its space back, which can take a while.

use std::collections::VecDeque;

use orlop_formats::ids::FileNumber;

use super::segment::{Segment, Unsynced};
use crate::error::Result;
use crate::sync::Mutex;

/// See the module.
#[derive(Default)]
pub(crate) struct Chores {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    to_sync: VecDeque<Unsynced>,
    bin: Vec<Segment>,
}

impl Chores {
    /// Takes the bytes of a segment that has ended: they are to be brought onto the device, in the order of the
    /// segments.
    pub(super) fn sync_later(&self, unsynced: Unsynced) {
        let mut state = self.state.lock();
        // Each keeps a descriptor.
        state.to_sync.retain(|earlier| !earlier.is_synced());
        state.to_sync.push_back(unsynced);
    }

    /// Takes a segment that nobody needs any more.
    pub(super) fn bury(&self, segment: Segment) {
        self.state.lock().bin.push(segment);
    }

    /// Syncs a segment, if one waits for that; false if none does. Those below `log_number` are obsolete.
    ///
    /// # Errors
    /// That of the sync: what the log holds is unknown then.
    pub(crate) fn sync_one(&self, log_number: FileNumber) -> Result<bool> {
        loop {
            let next = self.state.lock().to_sync.pop_front();
            let Some(next) = next else { return Ok(false) };
            if next.number >= log_number && !next.is_synced() {
                return next.sync().map(|()| true);
            }
        }
    }

    /// Lets go of all: the log has ended.
    pub(crate) fn close(&self) {
        self.state.lock().to_sync.clear();
        self.empty_bin();
    }

    /// Closes what was buried.
    pub(crate) fn empty_bin(&self) {
        let bin = std::mem::take(&mut self.state.lock().bin);
        drop(bin);
    }
}
