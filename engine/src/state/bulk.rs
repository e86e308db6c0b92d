//! A large batch that is in a segment and in a memtable of its own, and has no place among the commits yet.

use orlop_formats::ids::DatabaseId;

use crate::files::wal;
use crate::state::memtable::Active;

/// See the module.
pub(crate) struct Bulk {
    pub(crate) segment: wal::Bulk,
    pub(crate) memtable: Active,
    /// What the targets of its writes were called in there.
    pub(crate) ids: Vec<DatabaseId>,
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("ids", &self.ids).finish_non_exhaustive()
    }
}
