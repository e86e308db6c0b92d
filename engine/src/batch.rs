//! An atomic group of writes.

use std::ops::RangeBounds;

use crate::database::{Database, check_name, half_open, owned_bounds, prefix_bounds};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::flow::write;
use crate::options::Durability;
use crate::pending::Pending;
use crate::state::catalog::{CatalogOp, DatabaseOptions, Target};
use crate::state::write_set::{Lifetime, Write, WriteSet};
use crate::store::Core;
use crate::sync::Arc;

/// An atomic group of writes, across any databases of one store.
///
/// All of it happens or none of it does, also through a crash; the last write of a key wins.
/// Keys hold 0 to 65,535 bytes, values 0 bytes to 64 MiB, a batch 256 MiB in all.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// let store = orlop::Store::in_memory()?;
/// let (users, log) = (store.database("users")?, store.database("log")?);
/// let mut batch = store.batch();
/// batch.put(&users, "ada", "1815")?;
/// batch.put(&log, "0001", "ada joined")?;
/// batch.commit()?;
/// assert_eq!(users.get("ada")?.as_deref(), Some(&b"1815"[..]));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Batch {
    core: Arc<Core>,
    writes: WriteSet,
    durability: Option<Durability>,
    /// Handles of databases that the commit may create.
    unbound: Vec<Database>,
}

impl Batch {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, writes: WriteSet::spare(), durability: None, unbound: Vec::new() }
    }

    /// Adds a write of `value` under `key`. A database that does not exist is created with it. Where the database has a
    /// time to live, that begins here, not with the commit.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for an oversized key, value or batch, [`Error::WrongStore`]; the batch
    /// is then as before.
    pub fn put(
        &mut self,
        database: &Database,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        database.bind();
        // Behind a change of the catalog in this batch another database may have the name.
        let lifetime = match self.writes.has_catalog_ops {
            true => Lifetime::Default { from: self.core.shared.clock.now() },
            false => database.lifetime(),
        };
        self.write(database, Write::put(key.as_ref(), value.as_ref(), lifetime))
    }

    /// Adds a write of `value` under `key`, which is not there any more from some time on.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn put_expiring(
        &mut self,
        database: &Database,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        expiry: Expiry,
    ) -> Result<()> {
        let lifetime = Lifetime::Known(expiry.resolve(|| self.core.shared.clock.now()));
        self.write(database, Write::put(key.as_ref(), value.as_ref(), lifetime))
    }

    /// Adds a delete of `key`. Deleting what is not there is no error.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete(&mut self, database: &Database, key: impl AsRef<[u8]>) -> Result<()> {
        self.write(database, Write::delete(key.as_ref()))
    }

    /// Adds a delete of all keys in `bounds`, those that the batch has written before among them. Writes that follow stay.
    /// It is one small write, whatever the range holds ([`Database::delete_range`]).
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete_range<K: AsRef<[u8]>>(
        &mut self,
        database: &Database,
        bounds: impl RangeBounds<K>,
    ) -> Result<()> {
        match half_open(owned_bounds(&bounds))? {
            Some((start, end)) => self.write(database, Write::delete_range(&start, end.as_deref())),
            None => self.admit(database).map(drop),
        }
    }

    /// Adds a delete of all keys that begin with `prefix`, in the same way.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete_prefix(&mut self, database: &Database, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.delete_range(database, prefix_bounds(prefix.as_ref()))
    }

    /// Adds the creation of a database with options; committing fails if it exists.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`].
    pub fn create_database(&mut self, name: &str, options: DatabaseOptions) -> Result<()> {
        self.change(CatalogOp::Create { name: check_name(name)?, options })
    }

    /// Adds the drop of a database; committing fails if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`].
    pub fn drop_database(&mut self, name: &str) -> Result<()> {
        self.change(CatalogOp::Drop { name: check_name(name)? })
    }

    /// Adds the removal of everything in a database. Writes that follow in this batch stay.
    ///
    /// # Errors
    /// [`Error::WrongStore`], [`Error::TooLarge`].
    pub fn clear(&mut self, database: &Database) -> Result<()> {
        let target = self.admit(database)?;
        self.writes.catalog(CatalogOp::Clear { target })?;
        self.touch(database);
        Ok(())
    }

    /// Adds a rename; handles of the old name end. Committing fails if `from` does not exist or
    /// `to` does.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`].
    pub fn rename_database(&mut self, from: &str, to: &str) -> Result<()> {
        self.change(CatalogOp::Rename { from: check_name(from)?, to: check_name(to)? })
    }

    /// Adds an exchange of two databases' contents: handles keep their name and see the other's
    /// data, or none if the other did not exist. If neither exists, committing fails.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::TooLarge`].
    pub fn swap_databases(&mut self, first: &str, second: &str) -> Result<()> {
        self.change(CatalogOp::Swap { first: check_name(first)?, second: check_name(second)? })
    }

    /// Number of writes added so far.
    pub fn len(&self) -> usize {
        self.writes.items.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Commits with the strongest default of the databases that it writes to; the store's own
    /// default counts for changes of the catalog.
    ///
    /// # Errors
    /// Nothing of the batch happens when a database was dropped, created, or is missing against
    /// what the batch needs, when the disk is full, or when the store is closed, read-only or
    /// poisoned. After [`Error::Io`] from the log it is unknown whether the batch is durable, and
    /// the store is poisoned. A large batch is written apart first ([`Batch::submit`] says when): an
    /// [`Error::Io`] of that poisons nothing, and nothing of the batch has happened.
    pub fn commit(self) -> Result<()> {
        let durability = self.durability.unwrap_or(self.core.shared.options.durability);
        self.commit_with(durability)
    }

    /// Commits with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Batch::commit`].
    pub fn commit_with(self, durability: Durability) -> Result<()> {
        write::commit(&self.core.shared, self.writes, durability)?;
        self.unbound.iter().for_each(Database::bind);
        Ok(())
    }

    /// Commits as [`Batch::commit`], and does not wait for its sync. What is not to be synced is done at once,
    /// as [`Batch::commit`] does it, with what that may wait for (room, where flushes are behind), unless something was
    /// submitted that is on its way: then it lines up behind that, and is synced with it.
    ///
    /// A large batch, of a sixteenth of [`memtable_size`](crate::Builder::memtable_size) or more, is written first, and
    /// takes the time that its bytes take, and it waits for large ones before it, and for room; then its place and its
    /// sync are not waited for.
    ///
    /// Where the store has no threads ([`Background::Manual`](crate::Background::Manual)), or none can be had,
    /// it is always done at once.
    pub fn submit(self) -> Pending {
        let durability = self.durability.unwrap_or(self.core.shared.options.durability);
        self.submit_with(durability)
    }

    /// The same with a durability of the caller's choice.
    pub fn submit_with(self, durability: Durability) -> Pending {
        Pending::new(self.core.submit(self.writes, durability), self.unbound)
    }

    fn write(&mut self, database: &Database, write: Write<'_>) -> Result<()> {
        // The common case, a database that was touched before; of another store it cannot be.
        if database.slot().is_some_and(|slot| self.writes.ends_in(slot)) {
            return self.writes.write_there(write);
        }
        let target = self.admit(database)?;
        self.writes.write(target, write)?;
        self.touch(database);
        Ok(())
    }

    fn admit(&mut self, database: &Database) -> Result<Target> {
        if !Arc::ptr_eq(&self.core, database.core()) {
            return Err(Error::WrongStore);
        }
        Ok(database.target())
    }

    /// Notes that the batch writes to a database.
    fn touch(&mut self, database: &Database) {
        self.durability = self.durability.max(Some(database.durability()));
        let same = |other: &Database| other.name() == database.name();
        if matches!(database.target(), Target::Name(_)) && !self.unbound.last().is_some_and(same) {
            self.unbound.push(database.clone());
        }
    }

    /// Changes of the catalog are worth the store's default.
    fn change(&mut self, op: CatalogOp) -> Result<()> {
        self.writes.catalog(op)?;
        self.durability = self.durability.max(Some(self.core.shared.options.durability));
        Ok(())
    }
}
