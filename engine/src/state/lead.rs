//! What whoever leads has in hand.

use orlop_formats::ids::FileNumber;

use crate::files::wal::Log;
use crate::state::memtable::Active;

/// The log, and where its commits go. Having it is leadership.
pub(crate) struct Lead {
    pub(crate) log: Log,
    /// The active memtable, which is that of the view: nobody else replaces it there.
    pub(crate) active: Active,
    /// That memtable is to be sealed before the next group.
    pub(crate) is_full: bool,
    /// Those that were sealed before it for the sake of a large batch, and are not due.
    pub(crate) behind: Behind,
}

/// Sealed memtables that are flushed with the active one.
#[derive(Default)]
pub(crate) struct Behind {
    pub(crate) memtables: usize,
    pub(crate) bytes: usize,
    /// That of the oldest one.
    pub(crate) log_floor: Option<FileNumber>,
}

impl Lead {
    /// Everything that would be flushed with the active memtable, in bytes.
    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.behind.bytes + self.active.memtable().live_bytes()
    }

    /// Whether nothing would be.
    pub(crate) fn has_nothing(&self) -> bool {
        self.behind.memtables == 0 && self.active.memtable().is_empty()
    }

    /// No batch of these is in a segment below this number.
    pub(crate) fn log_floor(&self) -> FileNumber {
        self.behind.log_floor.unwrap_or(self.active.memtable().log_floor())
    }
}
