//! The way up for one key: memtables, then runs, newest first.

use std::path::Path;

use orlop_formats::catalog::{CatalogKey, CatalogRecord, ObjectKind};
use orlop_formats::ids::{DatabaseId, SYSTEM_DATABASE, Seqno};

use crate::env::Mapping;
use crate::env::faults;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::files::sstable::{Found, Payload, Pins, Table};
use crate::flow::ahead::{Ahead, Asked};
use crate::state::catalog::Binding;
use crate::state::clock::Now;
use crate::state::iter::is_live;
use crate::state::memtable;
use crate::state::value::Value;
use crate::state::view::View;

/// Where the newest version of a key is.
pub(super) enum Place<'a> {
    Memory(memtable::Found<'a>),
    Table(&'a Table, Found<'a>),
}

impl Place<'_> {
    /// Whether it is a value, for a reader at that time.
    #[inline]
    pub(super) fn is_there(&self, now: Now<'_>) -> Result<bool> {
        let (kind, expiry) = match self {
            Place::Memory(version) => (version.kind(), version.expiry()),
            Place::Table(_, found) => (found.kind, found.expiry()),
        };
        Ok(is_live(kind, expiry)? && !now.has_passed(expiry))
    }

    /// The commit that wrote it.
    #[inline]
    pub(super) fn seqno(&self) -> Seqno {
        match self {
            Place::Memory(version) => version.seqno(),
            Place::Table(_, found) => found.seqno,
        }
    }

    /// When it expires.
    fn expiry(&self) -> Option<u64> {
        match self {
            Place::Memory(version) => version.expiry(),
            Place::Table(_, found) => found.expiry(),
        }
    }

    /// The value, which owns its place.
    #[inline]
    pub(super) fn into_value(self) -> Value {
        match self {
            Place::Memory(version) => Value::from_memory(version),
            Place::Table(table, found) => match found.value {
                Payload::Mapped(range) => Value::from_mapping(table.mapping(), range),
                Payload::Cached(plain, range) => Value::from_plain(plain, range),
                Payload::Plain(plain, range) => Value::from_plain(&plain, range),
            },
        }
    }

    /// The value where it lies: in this map, if in any.
    #[inline]
    fn value(&self, bytes: impl Fn(&Mapping) -> &[u8]) -> &[u8] {
        match self {
            Place::Memory(version) => version.value(),
            Place::Table(table, found) => match &found.value {
                Payload::Mapped(range) => {
                    bytes(table.mapping()).get(range.clone()).unwrap_or_default()
                }
                Payload::Cached(plain, range) => plain.part(range),
                Payload::Plain(plain, range) => plain.part(range),
            },
        }
    }
}

/// The value of a key as of `seqno`.
#[inline]
pub(crate) fn get(
    view: &View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
    now: Now<'_>,
) -> Result<Option<Value>> {
    faults::inside(|| {
        let pins = Pins::default();
        Ok(find(view, database, key, seqno, now, &pins)?.map(Place::into_value))
    })
}

/// When the value of a key expires, if there is one.
pub(crate) fn expiry(
    view: &View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
    now: Now<'_>,
) -> Result<Option<Expiry>> {
    faults::inside(|| {
        let pins = Pins::default();
        let place = find(view, database, key, seqno, now, &pins)?;
        Ok(place.map(|place| Expiry::of(place.expiry())))
    })
}

/// Hands the value of a key to `read` without copying it or counting a reference to a table.
#[inline]
pub(crate) fn get_with<R>(
    view: &View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
    now: Now<'_>,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    let pins = Pins::default();
    let place = faults::inside(|| find(view, database, key, seqno, now, &pins))?;
    Ok(place.map(|place| read(place.value(Mapping::lent))))
}

/// What `name` stands for as of `seqno`, by the catalog's own entries.
pub(crate) fn database(view: &View, name: &str, seqno: Seqno) -> Result<Binding> {
    let key = CatalogKey { kind: ObjectKind::Database, name: name.to_owned() }.encode();
    let record = faults::inside(|| {
        let pins = Pins::default();
        // No entry of the catalog expires.
        let place = find(view, SYSTEM_DATABASE, &key, seqno, Now::At(0), &pins)?;
        Ok(place.map(|place| CatalogRecord::decode(place.value(Mapping::bytes))))
    })?;
    match record {
        None => Ok(Binding::Vacant),
        Some(Ok(record)) => Ok(Binding::Id(record.id)),
        Some(Err(source)) => Err(Error::decode(Path::new("catalog"), source)),
    }
}

/// Where the value of a key is as of `seqno`.
#[inline]
fn find<'a>(
    view: &'a View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
    now: Now<'_>,
    pins: &'a Pins,
) -> Result<Option<Place<'a>>> {
    let asked = Asked::new(database, key, seqno);
    if let Some(version) = in_memory(view, &asked) {
        let place = Place::Memory(version);
        let is_left = place.is_there(now)? && !is_deleted(view, &asked, version.seqno());
        return Ok(is_left.then_some(place));
    }
    let mut runs = view.version.runs();
    let mut tables = Ahead::default();
    loop {
        let is_last = !tables.fill(&mut runs, &asked);
        if let Some((table, found)) = tables.search(&asked, pins)? {
            let seqno = found.seqno;
            let place = Place::Table(table, found);
            let is_left = place.is_there(now)? && !is_deleted(view, &asked, seqno);
            return Ok(is_left.then_some(place));
        }
        if is_last {
            return Ok(None);
        }
    }
}

/// Whether what a commit wrote under the key was deleted with its range, for the reader of the view.
#[inline]
pub(super) fn is_deleted(view: &View, asked: &Asked<'_>, seqno: Seqno) -> bool {
    view.has_range_deletes() && is_covered(view, asked, seqno)
}

#[cold]
fn is_covered(view: &View, asked: &Asked<'_>, seqno: Seqno) -> bool {
    view.newest_range_delete(asked.database, asked.key, asked.seqno) > seqno
}

/// The newest version in memtables.
#[inline]
pub(super) fn in_memory<'a>(view: &'a View, asked: &Asked<'_>) -> Option<memtable::Found<'a>> {
    let Asked { database, key, hash, seqno } = *asked;
    let mut memtables = view.memtables().filter(|memtable| memtable.entries() > 0);
    memtables.find_map(|memtable| memtable.get(database, (key, hash), seqno))
}
