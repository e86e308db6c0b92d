//! When an entry stops being there.

use std::time::Duration;

/// When an entry stops being there.
///
/// From that millisecond on it is as if it had been deleted: no reader sees it, and its space comes back by itself.
/// Readers that stand still do so in time as well: a [`Snapshot`](crate::Snapshot), [`Cursor`](crate::Cursor) or
/// [`Range`](crate::Range) goes on to show what had not expired when it was made. The time is that of the system, but a
/// store's own time does not go back: where the system's clock is put back, it stands still until that has caught up, in
/// this open and behind its last flush, compaction or close. So a clock that is far ahead once takes the store with it.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// use std::time::Duration;
/// use orlop::Expiry;
///
/// let store = orlop::Store::in_memory()?;
/// let sessions = store.database("sessions")?;
/// sessions.put_expiring("ada", "token", Expiry::After(Duration::from_secs(3600)))?;
/// assert!(matches!(sessions.expiry("ada")?, Some(Expiry::At(_))));
/// sessions.put_expiring("bo", "token", Expiry::At(1))?; // long ago
/// assert_eq!(sessions.get("bo")?, None);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// It stays until it is overwritten or deleted.
    Never,
    /// At this time, in milliseconds since 1970.
    At(u64),
    /// So long after the call that writes it, or puts it into a batch; a part of a millisecond counts as one.
    After(Duration),
}

impl Expiry {
    /// As an entry has it. What the time is now is asked for only where it matters.
    pub(crate) fn resolve(self, now: impl FnOnce() -> u64) -> Option<u64> {
        match self {
            Expiry::Never => None,
            // 0 is no expiry on disk; so early nothing was there.
            Expiry::At(time) => Some(time.max(1)),
            Expiry::After(time) => Some(now().saturating_add(milliseconds(time)).max(1)),
        }
    }

    /// What an entry says.
    pub(crate) fn of(expiry: Option<u64>) -> Self {
        expiry.map_or(Expiry::Never, Expiry::At)
    }
}

/// A part of a millisecond counts as one, and what is longer than can be counted as the longest.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
