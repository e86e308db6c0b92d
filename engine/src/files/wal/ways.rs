//! How the log gets to the device, for those who ask.

use crate::sync::OnceLock;

/// What went another way than the fastest, since the open; the first reason of each.
#[derive(Default)]
pub(crate) struct Ways {
    segments: OnceLock<String>,
    stage: OnceLock<String>,
}

impl Ways {
    /// Segments go another way.
    pub(super) fn segments(&self, why: Option<String>) {
        why.map(|why| self.segments.set(why));
    }

    /// The stage goes another way, or there is none.
    pub(super) fn stage(&self, why: Option<String>) {
        why.map(|why| self.stage.set(why));
    }

    /// Why segments do, and why the stage does.
    pub(crate) fn reasons(&self) -> [Option<String>; 2] {
        [self.segments.get().cloned(), self.stage.get().cloned()]
    }
}
