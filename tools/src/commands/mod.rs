//! One module for each command. All of them open a store through the functions here.

pub(crate) mod compact;
pub(crate) mod databases;
pub(crate) mod delete;
pub(crate) mod drop;
pub(crate) mod dump;
pub(crate) mod get;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod put;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod tour;
pub(crate) mod verify;

use std::path::Path;

use orlop::{Database, Expiry, Store};

use crate::failure::Failure;
use crate::keys;

/// Opens a database that exists, for reading only.
fn open_reading(store: &Path, database: &str) -> Result<(Store, Database), Failure> {
    keys::check_name(database)?;
    let opened = Store::open_read_only(store)?;
    let database = existing(&opened, store, database)?;
    Ok((opened, database))
}

/// Opens a store that exists, for writing.
fn open_writing(store: &Path) -> Result<Store, Failure> {
    Ok(Store::builder().create(false).open(store)?)
}

/// The time when an entry expires that was read, in milliseconds since 1970.
fn time_of(expiry: Expiry) -> Option<u64> {
    match expiry {
        Expiry::At(time) => Some(time),
        Expiry::Never | Expiry::After(_) => None,
    }
}

/// A database that exists.
fn existing(store: &Store, path: &Path, name: &str) -> Result<Database, Failure> {
    let database = store.database(name)?;
    if database.exists()? { Ok(database) } else { Err(Failure::no_database(name, path)) }
}
