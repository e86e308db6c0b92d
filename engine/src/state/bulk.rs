//! A large batch that is in a segment and in a memtable of its own, and has no place among the commits yet.

use orlop_formats::ids::DatabaseId;

use crate::files::wal;
use crate::state::memtable::Active;
use crate::sync::{Arc, Condvar, Mutex};

/// See the module.
pub(crate) struct Bulk {
    pub(crate) segment: wal::Bulk,
    pub(crate) memtable: Active,
    /// What the targets of its writes were called in there.
    pub(crate) ids: Vec<DatabaseId>,
    /// It may stand in line.
    pub(crate) turn: Turn,
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("ids", &self.ids).finish_non_exhaustive()
    }
}

/// One large batch stands in line at a time. Of several the last would wait for the flush of the first with the log in
/// hand, and everybody for it.
#[derive(Default)]
pub(crate) struct Turns {
    is_taken: Mutex<bool>,
    is_free: Condvar,
}

/// The turn of a large batch, until it has its place or is dropped.
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for the turn.
    pub(crate) fn take(self: &Arc<Self>) -> Turn {
        let mut is_taken = self.is_taken.lock();
        while *is_taken {
            is_taken = self.is_free.wait(is_taken);
        }
        *is_taken = true;
        Turn(Arc::clone(self))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.is_taken.lock() = false;
        self.0.is_free.notify_all();
    }
}
