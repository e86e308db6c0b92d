//! A bulk load: sorted entries that go straight into tables.

use crate::error::Result;
use crate::expiry::Expiry;
use crate::flow::load::Load;
use crate::state::write_set::{Lifetime, Write};
use crate::store::Core;
use crate::sync::Arc;

/// Loads sorted entries into a database, past log and memtable: each is written once, as a part of an sstable.
///
/// Nobody sees anything of it before [`BulkLoad::finish`], and everybody all of it behind that: it is one commit, whose
/// entries replace what the database has under their keys. The database may have others, and may be read and written
/// meanwhile; what was written under a key before the load is finished is older than what was loaded.
///
/// What was added before the last [`BulkLoad::checkpoint`] outlives a crash, and a load that is dropped or has failed; and so
/// does what came behind it, sstable by sstable, as soon as it is on the device.
/// [`Database::resume_bulk_load`](crate::Database::resume_bulk_load) goes on from there. It takes its
/// space until it is finished or [abandoned](BulkLoad::abandon), or another load into the database begins, or the database is
/// dropped.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// let store = orlop::Store::in_memory()?;
/// let events = store.database("events")?;
/// let mut load = events.bulk_load()?;
/// for number in 0..1000_u32 {
///     load.put(number.to_be_bytes(), "an event")?;
/// }
/// assert!(events.get(7_u32.to_be_bytes())?.is_none());
/// load.finish()?;
/// assert!(events.get(7_u32.to_be_bytes())?.is_some());
/// # Ok(()) }
/// ```
///
/// Source: such a commit of files, whose entries get one number for all when they come in, is RocksDB's
/// `IngestExternalFile`.
#[must_use = "nobody sees what was loaded before `finish`"]
pub struct BulkLoad {
    /// Ended before the store, which may be closed with the last handle.
    load: Load,
    core: Arc<Core>,
}

impl std::fmt::Debug for BulkLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkLoad").field("database", self.load.name()).finish_non_exhaustive()
    }
}

impl BulkLoad {
    pub(crate) fn new(core: Arc<Core>, load: Load) -> Self {
        Self { load, core }
    }

    /// Adds an entry, whose key is greater than all before. It expires as a [`Database::put`](crate::Database::put) of this
    /// moment does.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge), and [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a key
    /// that is not greater than the one before: the load is as it was. [`Error::DiskFull`](crate::Error::DiskFull),
    /// [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed) and [`Error::Poisoned`](crate::Error::Poisoned)
    /// end it.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let lifetime = Lifetime::Known(self.load.default_expiry());
        self.add(Write::put(key.as_ref(), value.as_ref(), lifetime))
    }

    /// Adds an entry that is not there any more from some time on.
    ///
    /// # Errors
    /// As [`BulkLoad::put`].
    pub fn put_expiring(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        expiry: Expiry,
    ) -> Result<()> {
        let lifetime = Lifetime::Known(expiry.resolve(|| self.core.shared.clock.now()));
        self.add(Write::put(key.as_ref(), value.as_ref(), lifetime))
    }

    /// Deletes `key`, greater than all before, where the database has it.
    ///
    /// # Errors
    /// As [`BulkLoad::put`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.add(Write::delete(key.as_ref()))
    }

    fn add(&mut self, write: Write<'_>) -> Result<()> {
        self.core.check_open()?;
        write.check()?;
        self.load.add(write)
    }

    /// The last key that was added, or that an earlier load has left: what follows it is still to be added.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.load.last_key()
    }

    /// Brings everything that was added onto the device, where [`Database::resume_bulk_load`](crate::Database::resume_bulk_load)
    /// finds it after a crash. Each ends an sstable: one for less than some megabytes makes many small ones.
    ///
    /// # Errors
    /// As [`BulkLoad::put`], all of which end the load.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.core.check_open()?;
        self.load.checkpoint()
    }

    /// Makes everything that was loaded part of the database, as one commit that is on the device when this returns.
    ///
    /// Writers wait meanwhile for a sync or two; and for the flush of what memory has under keys of the load, if there is
    /// something.
    ///
    /// # Errors
    /// [`Error::DatabaseDropped`](crate::Error::DatabaseDropped) if the database was dropped or cleared since the load began,
    /// and as [`BulkLoad::put`]. The database is as it was then, and what the manifest knows of it is left for
    /// another load; after an [`Error::Io`](crate::Error::Io) or [`Error::Poisoned`](crate::Error::Poisoned) the next open
    /// decides whether all or nothing of it is there.
    pub fn finish(self) -> Result<()> {
        self.core.check_open()?;
        self.load.finish()
    }

    /// Ends it, and gives back all space that it has taken, and that earlier loads into the database have left.
    ///
    /// # Errors
    /// [`Error::DiskFull`](crate::Error::DiskFull), [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Poisoned`](crate::Error::Poisoned).
    pub fn abandon(self) -> Result<()> {
        self.core.check_open()?;
        self.load.abandon()
    }
}
