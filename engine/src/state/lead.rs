//! What whoever leads has in hand.

use crate::files::wal::Log;
use crate::state::memtable::Active;

/// The log, and where its commits go. Having it is leadership.
pub(crate) struct Lead {
    pub(crate) log: Log,
    /// The active memtable, which is that of the view: nobody else replaces it there.
    pub(crate) active: Active,
    /// That memtable is to be sealed before the next group.
    pub(crate) is_full: bool,
}
