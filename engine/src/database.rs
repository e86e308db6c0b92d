//! A database: a named, ordered key space of a store.

use std::ops::{Bound, RangeBounds};

use orlop_formats::catalog;
use orlop_formats::ids::{DatabaseId, Kind, Seqno};

use crate::batch::{WriteSet, check_key};
use crate::cursor::{Cursor, Pin, Range};
use crate::error::{Error, Result};
use crate::flow::{read, write};
use crate::options::Durability;
use crate::state::catalog::{CatalogOp, Slot, Target};
use crate::state::view::View;
use crate::store::Core;
use crate::sync::{self, Arc, OnceLock, Ordering};
use crate::value::Value;

/// A handle of a database. Cheap to clone; `Send`, `Sync`, `'static`.
///
/// A handle stands for a name. The database need not exist: it reads as empty, and its first write
/// creates it. After a swap the handle sees what the name stands for now. After a drop or a rename
/// the old handles give [`Error::DatabaseDropped`]; a new handle starts afresh.
#[derive(Debug, Clone)]
pub struct Database {
    core: Arc<Core>,
    name: Arc<str>,
    /// Bound once the database exists.
    slot: Arc<OnceLock<Arc<Slot>>>,
}

/// Refuses a name that no database can have.
pub(crate) fn check_name(name: &str) -> Result<Arc<str>> {
    let too_long = name.len() > orlop_formats::limits::MAX_NAME_LEN;
    let why = if too_long {
        "it is longer than 255 bytes"
    } else if name.is_empty() {
        "it is empty"
    } else {
        "it contains a NUL byte"
    };
    match catalog::check_name(name) {
        Ok(()) => Ok(name.into()),
        Err(_) => Err(Error::InvalidName { name: name.to_owned(), why }),
    }
}

impl Database {
    pub(crate) fn new(core: Arc<Core>, name: Arc<str>) -> Result<Self> {
        Ok(Self { core, name, slot: Arc::default() })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The slot, if the database exists or existed when the handle first looked.
    pub(crate) fn slot(&self) -> Option<&Arc<Slot>> {
        if let Some(slot) = self.slot.get() {
            return Some(slot);
        }
        let slot = Arc::clone(sync::read(&self.core.shared.catalog).slot(&self.name)?);
        Some(self.slot.get_or_init(|| slot))
    }

    pub(crate) fn target(&self) -> Target {
        match self.slot() {
            Some(slot) => Target::Slot(Arc::clone(slot)),
            None => Target::Name(Arc::clone(&self.name)),
        }
    }

    /// The id behind the handle as of `seqno`; `None`: the database does not exist then.
    pub(crate) fn id_at(&self, seqno: Seqno) -> Result<Option<DatabaseId>> {
        let Some(slot) = self.slot() else { return Ok(None) };
        match slot.id_at(seqno) {
            Some(id) => Ok(Some(id)),
            None if slot.dropped() => Err(Error::DatabaseDropped { name: self.name.to_string() }),
            None => Ok(None),
        }
    }

    /// The name that the handle was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the database exists.
    ///
    /// # Errors
    /// [`Error::DatabaseDropped`].
    pub fn exists(&self) -> Result<bool> {
        let visible = self.core.shared.visible.load(Ordering::Acquire);
        Ok(self.id_at(visible)?.is_some())
    }

    /// What a write to this database is worth unless the caller says otherwise.
    pub fn durability(&self) -> Durability {
        let own = self.slot().and_then(|slot| slot.options().durability);
        own.unwrap_or(self.core.shared.options.durability)
    }

    /// Writes `value` under `key` with the database's default durability.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::DatabaseDropped`], [`Error::DiskFull`], [`Error::ReadOnly`],
    /// [`Error::Closed`], [`Error::Poisoned`], and [`Error::Io`], after which it is unknown whether
    /// the write is durable.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, self.durability())
    }

    /// Writes `value` under `key` with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        let mut writes = WriteSet::default();
        writes.write(self.target(), Kind::Put, key.as_ref(), value.as_ref())?;
        write::commit(&self.core.shared, writes, durability).map(|_| ())
    }

    /// Deletes `key`; it is no error if it is not there.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.delete_with(key, self.durability())
    }

    /// Deletes `key` with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete_with(&self, key: impl AsRef<[u8]>, durability: Durability) -> Result<()> {
        let mut writes = WriteSet::default();
        writes.write(self.target(), Kind::Delete, key.as_ref(), b"")?;
        write::commit(&self.core.shared, writes, durability).map(|_| ())
    }

    /// Removes everything in the database, whose handles stay good.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn clear(&self) -> Result<()> {
        let mut writes = WriteSet::default();
        writes.catalog(CatalogOp::Clear { target: self.target() })?;
        write::commit(&self.core.shared, writes, self.durability()).map(|_| ())
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::DatabaseDropped`], [`Error::Closed`], [`Error::Corrupt`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.read_now(key, |view, id, seqno| read::get(view, id, key, seqno))
    }

    /// Hands the value under `key` to `f` where it lies, without a copy.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn get_with<R>(
        &self,
        key: impl AsRef<[u8]>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let key = key.as_ref();
        self.read_now(key, |view, id, seqno| read::get_with(view, id, key, seqno, f))
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get_with(key, |_| ())?.is_some())
    }

    fn read_now<R>(
        &self,
        key: &[u8],
        read: impl FnOnce(&View, DatabaseId, Seqno) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        check_key(key)?;
        let shared = &self.core.shared;
        self.core.check_open()?;
        shared.view.with(|view| {
            // After the view: what is visible now is all in it, or was written after we came.
            let seqno = shared.visible.load(Ordering::Acquire);
            match self.id_at(seqno)? {
                Some(id) => read(view, id, seqno),
                None => Ok(None),
            }
        })
    }

    /// A cursor over the database as it is now, standing before the first key.
    ///
    /// # Errors
    /// [`Error::DatabaseDropped`], [`Error::Closed`].
    pub fn cursor(&self) -> Result<Cursor> {
        Ok(Cursor::new(&self.pin()?))
    }

    fn pin(&self) -> Result<Pin> {
        self.core.check_open()?;
        let view = self.core.shared.view.pin();
        let seqno = self.core.shared.visible.load(Ordering::Acquire);
        Ok(Pin { view, database: self.id_at(seqno)?, seqno })
    }

    /// The entries whose keys lie in `bounds`, in both directions, as they are now.
    ///
    /// Bounds are byte strings of any kind: `"a".."m"`, `b"x".to_vec()..`, `..`.
    ///
    /// # Errors
    /// The first item is the error if there is one: [`Error::TooLarge`],
    /// [`Error::DatabaseDropped`], [`Error::Closed`], [`Error::Corrupt`].
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Range {
        let (start, end) = owned_bounds(&bounds);
        Range::new(self.pin(), start, end)
    }

    /// Every entry.
    ///
    /// # Errors
    /// As [`Database::range`].
    pub fn iter(&self) -> Range {
        self.range::<&[u8]>(..)
    }

    /// The entries whose keys begin with `prefix`.
    ///
    /// # Errors
    /// As [`Database::range`].
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        let (start, end) = prefix_bounds(prefix.as_ref());
        Range::new(self.pin(), start, end)
    }
}

/// The bounds of a range, as owned bytes.
pub(crate) fn owned_bounds<K: AsRef<[u8]>>(
    bounds: &impl RangeBounds<K>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
    (owned(bounds.start_bound()), owned(bounds.end_bound()))
}

/// The bounds of all keys that begin with `prefix`.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    let end = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    (Bound::Included(prefix.to_vec()), end)
}
