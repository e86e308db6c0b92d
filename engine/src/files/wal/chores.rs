//! What the log leaves to the background: whoever has the log has others behind him.
//!
//! Segments that have ended and are to be synced, so that they can be closed; and files that nobody needs any
//! more: the last of name and handle gives the space back, which can take a while.

use std::collections::VecDeque;
use std::path::PathBuf;

use orlop_formats::ids::FileNumber;

use super::segment::{Segment, Unsynced};
use super::stage::Stage;
use crate::env::LogFile;
use crate::error::Result;
use crate::files::directory::Directory;
use crate::sync::{Arc, Mutex};

/// See the module.
pub(crate) struct Chores {
    dir: Arc<Directory>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    to_sync: VecDeque<Unsynced>,
    /// Obsolete segments, which others remove.
    buried: Vec<Segment>,
    /// Files that were never begun.
    discarded: Vec<Discarded>,
    /// Stages that nothing is on that counts.
    stages: Vec<Stage>,
}

/// A file whose name is to go.
struct Discarded {
    /// The segment that it would have been, if it has the name of one.
    number: Option<FileNumber>,
    path: PathBuf,
    /// Closed when the name is gone.
    _file: Box<dyn LogFile>,
}

impl Chores {
    pub(crate) fn new(dir: Arc<Directory>) -> Arc<Self> {
        Arc::new(Self { dir, state: Mutex::default() })
    }

    /// Takes the bytes of a segment that has ended: they are to be brought onto the device, in the order of
    /// the segments.
    pub(super) fn sync_later(&self, unsynced: Unsynced) {
        let mut state = self.state.lock();
        // Each keeps a descriptor.
        state.to_sync.retain(|earlier| !earlier.is_synced());
        state.to_sync.push_back(unsynced);
    }

    /// Takes a segment that nobody needs any more.
    pub(super) fn bury(&self, segment: Segment) {
        self.state.lock().buried.push(segment);
    }

    /// Takes a file that is to be removed; its number, if it has the name of a segment.
    pub(super) fn discard(
        &self,
        number: Option<FileNumber>,
        path: PathBuf,
        file: Box<dyn LogFile>,
    ) {
        self.state.lock().discarded.push(Discarded { number, path, _file: file });
    }

    /// Takes a stage that is to be removed.
    pub(super) fn remove_later(&self, stage: Stage) {
        self.state.lock().stages.push(stage);
    }

    /// How many of them there are.
    #[cfg(feature = "sim")]
    pub(crate) fn stages(&self) -> usize {
        self.state.lock().stages.len()
    }

    /// The numbers of segments that were never begun and are to be removed.
    pub(super) fn numbers(&self) -> Vec<FileNumber> {
        self.state.lock().discarded.iter().filter_map(|file| file.number).collect()
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

    /// Does the rest, but syncs nothing: the log has ended.
    pub(crate) fn close(&self) {
        self.state.lock().to_sync.clear();
        self.empty_bin();
    }

    /// Closes what was buried, removes what was discarded.
    pub(crate) fn empty_bin(&self) {
        let mut state = self.state.lock();
        let buried = std::mem::take(&mut state.buried);
        let discarded = std::mem::take(&mut state.discarded);
        let stages = std::mem::take(&mut state.stages);
        drop(state);
        drop(buried);
        stages.into_iter().for_each(|stage| stage.remove(&self.dir));
        for Discarded { path, _file, .. } in discarded {
            // What stays is litter, which the next open removes.
            let _ = self.dir.env.remove(&path);
        }
    }
}
