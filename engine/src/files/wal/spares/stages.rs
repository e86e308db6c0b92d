//! The stage that is ready before the next segment needs it: to make one takes the time of thousands of commits.

use super::Spares;
use crate::files::wal::stage::Stage;

/// See the module.
#[derive(Default)]
pub(super) struct NextStage {
    /// Bytes of its ring; 0: none is wanted.
    wanted: u64,
    ready: Option<Stage>,
}

impl NextStage {
    fn is_met(&self) -> bool {
        self.wanted == 0 || self.ready.as_ref().is_some_and(|stage| stage.ring() >= self.wanted)
    }

    /// None is wanted any more; gives the one that is there.
    pub(super) fn clear(&mut self) -> Option<Stage> {
        self.wanted = 0;
        self.ready.take()
    }
}

impl Spares {
    /// Says that a stage with so long a ring will be needed. True if that is news to the background.
    pub(in crate::files::wal) fn want_stage(&self, ring: u64) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            state.stage.wanted = ring;
        }
        !state.stage.is_met()
    }

    /// A stage with a ring of at least so many bytes, if it is there.
    pub(in crate::files::wal) fn take_stage(&self, ring: u64) -> Option<Stage> {
        let stage = self.state.lock().stage.clear()?;
        if stage.ring() >= ring {
            return Some(stage);
        }
        self.chores.remove_later(stage);
        None
    }

    /// Leaves the end of a stage to the background.
    pub(in crate::files::wal) fn let_go_of_stage(&self, stage: Stage) {
        self.chores.remove_later(stage);
    }

    /// Makes the one that is wanted; false if there is nothing to do. One that cannot be made is not wanted any
    /// more: the log makes its own.
    pub(super) fn prepare_stage(&self) -> bool {
        let ring = match &self.state.lock().stage {
            next if next.is_met() => return false,
            next => next.wanted,
        };
        self.chores.empty_bin();
        let made = Stage::create(&self.dir, self.store, &self.numbers, ring).ok();
        let is_made = made.is_some();
        let mut state = self.state.lock();
        let unwanted = if state.stage.wanted == ring {
            let before = std::mem::replace(&mut state.stage.ready, made);
            state.stage.wanted = if is_made { ring } else { 0 };
            before
        } else {
            made
        };
        unwanted.into_iter().for_each(|stage| self.chores.remove_later(stage));
        is_made
    }
}
