//! A view of a store that stands still.

use std::collections::HashMap;
use std::ops::RangeBounds;

use orlop_formats::catalog::{CatalogKey, ObjectKind};
use orlop_formats::ids::{AsOf, DatabaseId, SYSTEM_DATABASE};

use crate::cursor::{Cursor, Pin, Range};
use crate::database::{Database, many, owned_bounds, prefix_bounds};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::flow::{read, scan};
use crate::state::catalog::Binding;
use crate::state::clock::Now;
use crate::state::value::Value;
use crate::state::write_set::check_key;
use crate::store::Core;
use crate::sync::{Arc, Mutex};

/// A consistent view of every database of a store, as of one commit and one moment: what expires later is there.
///
/// A handle stands for a name here too: it reads what the name stood for then, also when the
/// database has been dropped, renamed or swapped since.
///
/// While it lives, compactions keep what it sees; so a snapshot that is held for long holds space.
#[derive(Debug)]
pub struct Snapshot {
    core: Arc<Core>,
    as_of: AsOf,
    /// What names stood for, once somebody has asked.
    names: Mutex<HashMap<Arc<str>, Option<DatabaseId>>>,
}

impl Snapshot {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let shared = &core.shared;
        let as_of = shared.snapshots.pin(&shared.visible, || shared.clock.now());
        Self { core, as_of, names: Mutex::default() }
    }

    /// The sequence number of the last commit that the snapshot sees.
    pub fn seqno(&self) -> u64 {
        self.as_of.seqno
    }

    /// The names of all databases, in byte order.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Io`], [`Error::Corrupt`].
    pub fn databases(&self) -> Result<Vec<String>> {
        self.core.check_open()?;
        let view = self.core.shared.view.pin();
        let mut entries = scan::open(&view, SYSTEM_DATABASE, self.as_of);
        let mut names = Vec::new();
        while entries.next()? {
            let key = entries
                .take(|key, _| CatalogKey::decode(key))?
                .map_err(|source| Error::decode(&self.core.shared.dir.path, source))?;
            if key.kind == ObjectKind::Database {
                names.push(key.name);
            }
        }
        Ok(names)
    }

    /// The value under `key` in `database`.
    ///
    /// # Errors
    /// As [`Database::get`], and [`Error::WrongStore`].
    pub fn get(&self, database: &Database, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        check_key(key)?;
        let Some(id) = self.id_of(database)? else { return Ok(None) };
        let AsOf { seqno, now } = self.as_of;
        seeded!(SnapshotDirtyRead: seqno = u64::MAX);
        self.core.shared.view.with(|view| read::get(view, id, key, seqno, Now::At(now)))
    }

    /// When the value under `key` in `database` expires; as [`Database::expiry`].
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn expiry(&self, database: &Database, key: impl AsRef<[u8]>) -> Result<Option<Expiry>> {
        let key = key.as_ref();
        check_key(key)?;
        let Some(id) = self.id_of(database)? else { return Ok(None) };
        let AsOf { seqno, now } = self.as_of;
        self.core.shared.view.with(|view| read::expiry(view, id, key, seqno, Now::At(now)))
    }

    /// The values under several keys in `database`, in their order; as [`Database::multi_get`].
    ///
    /// # Errors
    /// As [`Database::multi_get`], and [`Error::WrongStore`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        database: &Database,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>> {
        many(&self.core, &self.pin(database)?, keys)
    }

    /// A cursor over `database`, standing before the first key.
    ///
    /// # Errors
    /// As [`Database::cursor`], and [`Error::WrongStore`].
    pub fn cursor(&self, database: &Database) -> Result<Cursor> {
        Ok(Cursor::new(&self.pin(database)?))
    }

    fn pin(&self, database: &Database) -> Result<Pin> {
        let id = self.id_of(database)?;
        Ok(Pin { view: self.core.shared.view.pin(), database: id, as_of: self.as_of })
    }

    /// The entries of `database` whose keys lie in `bounds`, in both directions.
    ///
    /// # Errors
    /// As [`Database::range`], and [`Error::WrongStore`].
    pub fn range<K: AsRef<[u8]>>(&self, database: &Database, bounds: impl RangeBounds<K>) -> Range {
        let (start, end) = owned_bounds(&bounds);
        Range::new(self.pin(database), start, end)
    }

    /// Every entry of `database`.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn iter(&self, database: &Database) -> Range {
        self.range::<&[u8]>(database, ..)
    }

    /// The entries of `database` whose keys begin with `prefix`.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn prefix(&self, database: &Database, prefix: impl AsRef<[u8]>) -> Range {
        let (start, end) = prefix_bounds(prefix.as_ref());
        Range::new(self.pin(database), start, end)
    }

    fn id_of(&self, database: &Database) -> Result<Option<DatabaseId>> {
        if !Arc::ptr_eq(&self.core, database.core()) {
            return Err(Error::WrongStore);
        }
        self.core.check_open()?;
        let mut names = self.names.lock();
        if let Some(id) = names.get(database.name()) {
            return Ok(*id);
        }
        let view = self.core.shared.view.pin();
        let id = match read::database(&view, database.name(), self.as_of.seqno)? {
            Binding::Id(id) => Some(id),
            Binding::Vacant | Binding::Forgotten => None,
        };
        names.insert(database.name().into(), id);
        Ok(id)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        seeded!(SnapshotLeaked => return);
        self.core.shared.snapshots.unpin(self.as_of.seqno);
        self.core.shared.wake();
    }
}
