//! A database: a named, ordered key space of a store.

use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use orlop_formats::catalog;
use orlop_formats::ids::{AsOf, DatabaseId, Seqno};
use orlop_formats::limits::MAX_KEY_LEN;

use crate::bulk_load::BulkLoad;
use crate::cursor::{Cursor, Pin, Range};
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::flow::load::{Earlier, Load};
use crate::flow::{multi, read, write};
use crate::options::{Background, Durability};
use crate::state::catalog::{Binding, CatalogOp, DatabaseOptions, Slot, Target};
use crate::state::clock::Now;
use crate::state::value::Value;
use crate::state::view::View;
use crate::state::write_set::{Lifetime, OneWrite, Write, WriteSet, check_key};
use crate::store::Core;
use crate::sync::{self, Arc, OnceLock};

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

    /// The slot that the handle is bound to.
    pub(crate) fn slot(&self) -> Option<&Arc<Slot>> {
        self.slot.get()
    }

    /// Binds the handle if the database exists: from then on it sees its drop.
    pub(crate) fn bind(&self) {
        if self.slot.get().is_none()
            && let Some(slot) = sync::read(&self.core.shared.catalog).slot(&self.name)
        {
            self.slot.get_or_init(|| Arc::clone(slot));
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.bind();
        match self.slot() {
            Some(slot) => Target::Slot(Arc::clone(slot)),
            None => Target::Name(Arc::clone(&self.name)),
        }
    }

    /// What the handle stands for, for a reader of `view` at `seqno`.
    fn binding(&self, view: &View, seqno: Seqno) -> Result<Binding> {
        let Some(slot) = self.slot() else {
            let binding = read::database(view, &self.name, seqno)?;
            if binding != Binding::Vacant
                && let Some(slot) = sync::read(&self.core.shared.catalog).slot(&self.name)
                && slot.at(seqno) == binding
            {
                self.slot.get_or_init(|| Arc::clone(slot));
            }
            return Ok(binding);
        };
        match slot.at(seqno) {
            Binding::Vacant if slot.dropped() => {
                Err(Error::DatabaseDropped { name: self.name.to_string() })
            }
            binding => Ok(binding),
        }
    }

    /// Pins what the handle stands for now.
    fn pin(&self) -> Result<Pin> {
        self.core.check_open()?;
        loop {
            let view = self.core.shared.view.pin();
            let seqno = self.core.shared.readable(&view);
            let database = match self.binding(&view, seqno)? {
                Binding::Id(id) => Some(id),
                Binding::Vacant => None,
                // So much has happened since the view was pinned: start over with a newer one.
                Binding::Forgotten => continue,
            };
            let as_of = AsOf { seqno, now: self.core.shared.clock.now() };
            return Ok(Pin { view, database, as_of });
        }
    }

    /// The name that the handle was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the database exists.
    ///
    /// # Errors
    /// [`Error::DatabaseDropped`], [`Error::Closed`], [`Error::Corrupt`].
    pub fn exists(&self) -> Result<bool> {
        Ok(self.pin()?.database.is_some())
    }

    /// What a write to this database is worth unless the caller says otherwise.
    pub fn durability(&self) -> Durability {
        self.bind();
        let own = self.slot().and_then(|slot| slot.durability());
        own.unwrap_or(self.core.shared.options.durability)
    }

    /// For how long a value is there whose write does not say so itself; `None`: for ever, or there is no database.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.bind();
        self.slot()?.time_to_live().map(Duration::from_millis)
    }

    /// When a value expires that is written now, and whose write does not say so.
    pub(crate) fn lifetime(&self) -> Lifetime {
        let now = || self.core.shared.clock.now();
        match self.slot() {
            Some(slot) => {
                let expiry = |time: u64| now().saturating_add(time);
                Lifetime::Known(slot.time_to_live().map(expiry))
            }
            None => Lifetime::Default { from: now() },
        }
    }

    /// Writes `value` under `key` with the database's default durability. It expires if the database has a default for
    /// that, too ([`DatabaseOptions`](crate::DatabaseOptions)).
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
        self.bind();
        self.write(Write::put(key.as_ref(), value.as_ref(), self.lifetime()), durability)
    }

    /// Writes `value` under `key`, which is not there any more from some time on, with the database's default durability.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn put_expiring(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        expiry: Expiry,
    ) -> Result<()> {
        self.put_expiring_with(key, value, expiry, self.durability())
    }

    /// The same with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn put_expiring_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        expiry: Expiry,
        durability: Durability,
    ) -> Result<()> {
        let lifetime = Lifetime::Known(expiry.resolve(|| self.core.shared.clock.now()));
        self.write(Write::put(key.as_ref(), value.as_ref(), lifetime), durability)
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
        self.write(Write::delete(key.as_ref()), durability)
    }

    /// Deletes all keys in `bounds`, with the database's default durability. Bounds are those of [`Database::range`].
    ///
    /// It is one small write, whatever the range holds: reads pass over what was deleted, and where it is a fair part of a
    /// table its space comes back without further writes. Bounds between which no key can lie delete nothing, and write nothing.
    ///
    /// ```
    /// # fn main() -> orlop::Result<()> {
    /// let store = orlop::Store::in_memory()?;
    /// let events = store.database("events")?;
    /// for day in ["2026-11-28", "2026-11-29", "2026-11-30"] {
    ///     events.put(day, "observed")?;
    /// }
    /// events.delete_range(.."2026-11-30")?;
    /// assert_eq!(events.iter().count(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete_range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<()> {
        self.delete_range_with(bounds, self.durability())
    }

    /// The same with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete_range_with<K: AsRef<[u8]>>(
        &self,
        bounds: impl RangeBounds<K>,
        durability: Durability,
    ) -> Result<()> {
        match half_open(owned_bounds(&bounds))? {
            Some((start, end)) => {
                self.write(Write::delete_range(&start, end.as_deref()), durability)
            }
            None => self.pin().map(drop),
        }
    }

    /// Deletes all keys that begin with `prefix`, as [`Database::delete_range`] does.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.delete_prefix_with(prefix, self.durability())
    }

    /// The same with a durability of the caller's choice.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn delete_prefix_with(
        &self,
        prefix: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<()> {
        self.delete_range_with(prefix_bounds(prefix.as_ref()), durability)
    }

    /// Begins a load of sorted entries, which go past log and memtable: see [`BulkLoad`]. Creates the database if it does not
    /// exist. What an unfinished load has left goes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] while another load into the database goes on, [`Error::DatabaseDropped`],
    /// [`Error::ReadOnly`], [`Error::Closed`], [`Error::Poisoned`], [`Error::DiskFull`], [`Error::Io`].
    pub fn bulk_load(&self) -> Result<BulkLoad> {
        self.begin_load(Earlier::Discard)
    }

    /// Goes on with a load that was not finished, from behind [`BulkLoad::last_key`]. Where there was none it begins one.
    ///
    /// ```
    /// # fn main() -> orlop::Result<()> {
    /// let store = orlop::Store::in_memory()?;
    /// let events = store.database("events")?;
    /// let mut load = events.bulk_load()?;
    /// load.put("2026-11-29", "rain")?;
    /// load.checkpoint()?;
    /// drop(load); // or a crash
    ///
    /// let mut load = events.resume_bulk_load()?;
    /// let last = load.last_key().map(<[u8]>::to_vec);
    /// for (day, weather) in [("2026-11-29", "rain"), ("2026-11-30", "snow")] {
    ///     if Some(day.as_bytes()) > last.as_deref() {
    ///         load.put(day, weather)?;
    ///     }
    /// }
    /// load.finish()?;
    /// assert_eq!(events.iter().count(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Database::bulk_load`].
    pub fn resume_bulk_load(&self) -> Result<BulkLoad> {
        self.begin_load(Earlier::GoOn)
    }

    fn begin_load(&self, earlier: Earlier) -> Result<BulkLoad> {
        self.core.check_open()?;
        if self.core.shared.read_only {
            return Err(Error::ReadOnly);
        }
        let slot = self.slot_or_create()?;
        let load = Load::begin(&self.core.shared, &slot, earlier)?;
        Ok(BulkLoad::new(Arc::clone(&self.core), load))
    }

    fn slot_or_create(&self) -> Result<Arc<Slot>> {
        self.bind();
        // What it stood for may have another name now.
        let is_vacant = |slot: &Arc<Slot>| slot.latest().is_none() && !slot.dropped();
        if self.slot().is_none_or(is_vacant) {
            let (name, options) = (Arc::clone(&self.name), DatabaseOptions::default());
            let mut writes = WriteSet::default();
            writes.catalog(CatalogOp::Create { name, options })?;
            match self.commit(writes, self.durability()) {
                // Somebody else was faster.
                Ok(()) | Err(Error::DatabaseExists { .. }) => self.bind(),
                Err(error) => return Err(error),
            }
        }
        let gone = || Error::DatabaseDropped { name: self.name.to_string() };
        self.slot().cloned().ok_or_else(gone)
    }

    /// Removes everything in the database, whose handles stay good.
    ///
    /// # Errors
    /// As [`Database::put`].
    pub fn clear(&self) -> Result<()> {
        let mut writes = WriteSet::default();
        writes.catalog(CatalogOp::Clear { target: self.target() })?;
        self.commit(writes, self.durability())
    }

    fn write(&self, write: Write<'_>, durability: Durability) -> Result<()> {
        self.bind();
        if let Some(slot) = self.slot() {
            let write = OneWrite { slot, write };
            return write::commit_one(&self.core.shared, &write, durability).map(|_| ());
        }
        let mut writes = WriteSet::spare();
        writes.write(self.target(), write)?;
        self.commit(writes, durability)
    }

    fn commit(&self, writes: WriteSet, durability: Durability) -> Result<()> {
        write::commit(&self.core.shared, writes, durability)?;
        self.bind();
        Ok(())
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::DatabaseDropped`], [`Error::Closed`], [`Error::Corrupt`], and [`Error::Io`] where the
    /// device cannot read a table.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let key = key.as_ref();
        self.read_now(key, |view, id, seqno, now| read::get(view, id, key, seqno, now))
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
        self.read_now(key, |view, id, seqno, now| read::get_with(view, id, key, seqno, now, f))
    }

    /// When the value under `key` expires: [`Expiry::At`] or [`Expiry::Never`]; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn expiry(&self, key: impl AsRef<[u8]>) -> Result<Option<Expiry>> {
        let key = key.as_ref();
        self.read_now(key, |view, id, seqno, now| read::expiry(view, id, key, seqno, now))
    }

    /// The values under several keys, in their order, all as of one commit.
    ///
    /// It is a [`get`](Database::get) of each, but the keys wait for memory together, and for a device. What it returns
    /// is worth the memory of all the values.
    ///
    /// ```
    /// # fn main() -> orlop::Result<()> {
    /// let store = orlop::Store::in_memory()?;
    /// let users = store.database("users")?;
    /// users.put("ada", "1815")?;
    /// let born = users.multi_get(&["grace", "ada"])?;
    /// assert!(born[0].is_none());
    /// assert_eq!(born[1].as_deref(), Some(&b"1815"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Database::get`], and then there are no values at all.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        many(&self.core, &self.pin()?, keys)
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`Database::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get_with(key, |_| ())?.is_some())
    }

    #[inline]
    fn read_now<R>(
        &self,
        key: &[u8],
        read: impl FnOnce(&View, DatabaseId, Seqno, Now<'_>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        check_key(key)?;
        self.core.check_open()?;
        let shared = &self.core.shared;
        loop {
            let guard = shared.view.guard();
            let view = shared.view.load(&guard);
            let seqno = shared.readable(view);
            match self.binding(view, seqno)? {
                Binding::Vacant => return Ok(None),
                // So much has happened since the view was loaded: again, with a newer one.
                Binding::Forgotten => {}
                Binding::Id(id) => return read(view, id, seqno, Now::Of(&shared.clock)),
            }
        }
    }

    /// A cursor over the database as it is now, standing before the first key.
    ///
    /// # Errors
    /// [`Error::DatabaseDropped`], [`Error::Closed`].
    pub fn cursor(&self) -> Result<Cursor> {
        Ok(Cursor::new(&self.pin()?))
    }

    /// The entries whose keys lie in `bounds`, in both directions, as they are now.
    ///
    /// Bounds are byte strings of any kind: `"a".."m"`, `b"x".to_vec()..`, `..`.
    ///
    /// # Errors
    /// The first item is the error if there is one: [`Error::TooLarge`],
    /// [`Error::DatabaseDropped`], [`Error::Closed`], [`Error::Corrupt`], [`Error::Io`].
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

/// The values of keys in what is pinned.
pub(crate) fn many<K: AsRef<[u8]>>(
    core: &Core,
    pin: &Pin,
    keys: &[K],
) -> Result<Vec<Option<Value>>> {
    keys.iter().try_for_each(|key| check_key(key.as_ref()))?;
    let by_clock = core.shared.options.background == Background::Thread;
    match pin.database {
        Some(database) => multi::get(&pin.view, database, keys, pin.as_of, by_clock),
        None => Ok(vec![None; keys.len()]),
    }
}

/// The bounds of a range, as owned bytes.
pub(crate) fn owned_bounds<K: AsRef<[u8]>>(
    bounds: &impl RangeBounds<K>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
    (owned(bounds.start_bound()), owned(bounds.end_bound()))
}

/// The same as a first key, and the key behind the last one, if there is one; `None` where no key can lie.
///
/// # Errors
/// [`Error::TooLarge`] for a bound that is no key.
pub(crate) fn half_open((start, end): (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Result<Option<Span>> {
    for bound in [&start, &end] {
        if let Bound::Included(key) | Bound::Excluded(key) = bound {
            check_key(key)?;
        }
    }
    let start = match start {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key,
        Bound::Excluded(key) => match next_key(key) {
            Some(next) => next,
            None => return Ok(None),
        },
    };
    let end = match end {
        Bound::Unbounded => None,
        Bound::Included(key) => next_key(key),
        Bound::Excluded(key) => Some(key),
    };
    let is_empty = end.as_ref().is_some_and(|end| *end <= start);
    Ok((!is_empty).then_some((start, end)))
}

/// A first key, and the key behind the last one, if there is one.
type Span = (Vec<u8>, Option<Vec<u8>>);

/// The least key that is greater; `None`: there is none.
fn next_key(mut key: Vec<u8>) -> Option<Vec<u8>> {
    if key.len() < MAX_KEY_LEN {
        key.push(0);
        return Some(key);
    }
    // No longer key is one: it begins otherwise.
    while key.pop_if(|byte| *byte == u8::MAX).is_some() {}
    *key.last_mut()? += 1;
    Some(key)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let short = prop::collection::vec(0..3_u8, 0..4);
        let long = prop::sample::select(vec![0_u8, 1, 254, 255]).prop_map(|last| {
            let mut key = vec![u8::MAX; MAX_KEY_LEN];
            key[MAX_KEY_LEN - 1] = last;
            key
        });
        prop_oneof![short, long]
    }

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        prop_oneof![
            Just(Bound::Unbounded),
            key().prop_map(Bound::Included),
            key().prop_map(Bound::Excluded)
        ]
    }

    proptest! {
        #[test]
        fn half_open_bounds_hold_the_same_keys(start in bound(), end in bound(), key in key()) {
            let bounds = (start.clone(), end.clone());
            let is_in = bounds.contains(&key);
            let span = half_open((start, end)).unwrap();
            let found = span.is_some_and(|(start, end)| {
                start.len() <= MAX_KEY_LEN && start <= key && end.is_none_or(|end| key < end)
            });
            prop_assert_eq!(found, is_in);
        }
    }

    #[test]
    fn a_bound_that_is_no_key_is_refused() {
        let long = vec![0; MAX_KEY_LEN + 1];
        assert!(half_open((Bound::Unbounded, Bound::Excluded(long.clone()))).is_err());
        assert!(half_open((Bound::Excluded(long), Bound::Unbounded)).is_err());
        let last = vec![u8::MAX; MAX_KEY_LEN];
        assert_eq!(half_open((Bound::Excluded(last.clone()), Bound::Unbounded)).unwrap(), None);
        let all = half_open((Bound::Unbounded, Bound::Included(last))).unwrap();
        assert_eq!(all, Some((vec![], None)));
    }
}
