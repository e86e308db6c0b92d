//! The way up for one key: memtables, then runs, newest first.

use std::path::Path;

use orlop_formats::catalog::{CatalogKey, CatalogRecord, ObjectKind};
use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, SYSTEM_DATABASE, Seqno};

use crate::error::{Error, Result};
use crate::files::sstable::{Payload, Table};
use crate::state::catalog::Binding;
use crate::state::iter::is_live;
use crate::state::memtable::Found;
use crate::state::value::Value;
use crate::state::view::View;

/// Where [`find`] found a value.
enum Place<'a> {
    Memory(Found<'a>),
    Table(&'a Table, Payload),
}

/// The value of a key as of `seqno`.
pub(crate) fn get(
    view: &View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
) -> Result<Option<Value>> {
    Ok(find(view, database, key, seqno)?.map(|place| match place {
        Place::Memory(version) => Value::from_memory(version),
        Place::Table(table, Payload::Mapped(range)) => Value::from_mapping(table.mapping(), range),
        Place::Table(_, Payload::Owned(value)) => Value::from_vec(value),
    }))
}

/// Hands the value of a key to `read` without copying it or counting a reference to a table.
pub(crate) fn get_with<R>(
    view: &View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>> {
    Ok(find(view, database, key, seqno)?.map(|place| match place {
        Place::Memory(version) => read(version.value()),
        Place::Table(table, Payload::Mapped(range)) => {
            read(table.mapping().bytes().get(range).unwrap_or_default())
        }
        Place::Table(_, Payload::Owned(value)) => read(&value),
    }))
}

/// What `name` stands for as of `seqno`, by the catalog's own entries.
pub(crate) fn database(view: &View, name: &str, seqno: Seqno) -> Result<Binding> {
    let key = CatalogKey { kind: ObjectKind::Database, name: name.to_owned() }.encode();
    let record = get_with(view, SYSTEM_DATABASE, &key, seqno, CatalogRecord::decode)?;
    match record {
        None => Ok(Binding::Vacant),
        Some(Ok(record)) => Ok(Binding::Id(record.id)),
        Some(Err(source)) => Err(Error::decode(Path::new("catalog"), source)),
    }
}

fn find<'a>(
    view: &'a View,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
) -> Result<Option<Place<'a>>> {
    for memtable in std::iter::once(&view.active).chain(&view.sealed) {
        if let Some(version) = memtable.get(database, key, seqno) {
            return Ok(is_live(version.kind())?.then_some(Place::Memory(version)));
        }
    }
    let hash = filter::hash(database, key);
    for run in view.version.runs() {
        let Some(table) = run.table_for(database, key) else { continue };
        if let Some(found) = table.get(database, key, hash, seqno)? {
            return Ok(is_live(found.kind)?.then_some(Place::Table(table, found.value)));
        }
    }
    Ok(None)
}
