//! What is changed in a store: by a batch, or by a bulk load; and what that does to the model.

use std::collections::BTreeMap;
use std::ops::Bound;

use orlop::{Batch, Expiry, Store};

use crate::model::{self, Model};

/// One change inside a batch.
#[derive(Debug, Clone)]
pub enum Change {
    /// A write to a database, by name.
    Put(String, Vec<u8>, Vec<u8>),
    /// A write that expires at the time that its value begins with ([`model::until`]).
    Until(String, Vec<u8>, Vec<u8>),
    /// A write that has expired already: a delete in every respect.
    Gone(String, Vec<u8>, Vec<u8>),
    /// A delete in a database.
    Delete(String, Vec<u8>),
    /// A delete of all keys from one on and, if there is one, before another.
    DeleteRange(String, Vec<u8>, Option<Vec<u8>>),
    /// The drop of a database, if it exists.
    Drop(String),
    /// The removal of everything in a database.
    Clear(String),
    /// The exchange of two databases' contents.
    Swap(String, String),
}

impl Change {
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Change::Put(name, ..)
            | Change::Until(name, ..)
            | Change::Gone(name, ..)
            | Change::Delete(name, _)
            | Change::DeleteRange(name, ..)
            | Change::Drop(name)
            | Change::Clear(name) => vec![name],
            Change::Swap(first, second) => vec![first, second],
        }
    }

    /// The same in another database, if it can be loaded: a write or a delete of one key.
    pub fn loaded_into(self, name: &str) -> Option<Change> {
        let name = name.to_owned();
        match self {
            Change::Put(_, key, value) => Some(Change::Put(name, key, value)),
            Change::Until(_, key, value) => Some(Change::Until(name, key, value)),
            Change::Gone(_, key, value) => Some(Change::Gone(name, key, value)),
            Change::Delete(_, key) => Some(Change::Delete(name, key)),
            _ => None,
        }
    }

    /// The key that it writes, or deletes.
    fn key(&self) -> Option<&[u8]> {
        match self {
            Change::Put(_, key, _)
            | Change::Until(_, key, _)
            | Change::Gone(_, key, _)
            | Change::Delete(_, key) => Some(key),
            _ => None,
        }
    }

    /// What the change does to the model.
    pub fn apply(&self, model: &mut Model) {
        match self {
            Change::Put(name, key, value) | Change::Until(name, key, value) => {
                model.entry(name.clone()).or_default().insert(key.clone(), value.clone());
            }
            Change::Delete(name, key) | Change::Gone(name, key, _) => {
                // Any write creates its database.
                model.entry(name.clone()).or_default().remove(key);
            }
            Change::DeleteRange(name, start, end) => {
                let is_in =
                    |key: &Vec<u8>| start <= key && end.as_ref().is_none_or(|end| key < end);
                if end.as_ref().is_none_or(|end| start < end) {
                    model.entry(name.clone()).or_default().retain(|key, _| !is_in(key));
                }
            }
            Change::Drop(name) => {
                model.remove(name);
            }
            Change::Clear(name) => {
                if let Some(contents) = model.get_mut(name) {
                    contents.clear();
                }
            }
            Change::Swap(first, second) => {
                let (a, b) = (model.remove(first), model.remove(second));
                model.extend(a.map(|contents| (second.clone(), contents)));
                model.extend(b.map(|contents| (first.clone(), contents)));
            }
        }
    }
}

/// Loads changes in the order of their keys, the last of each key.
///
/// # Errors
/// As the functions of [`orlop::BulkLoad`].
pub fn load(store: &Store, name: &str, changes: &[Change], is_finished: bool) -> orlop::Result<()> {
    let mut load = store.database(name)?.bulk_load()?;
    let by_key: BTreeMap<&[u8], &Change> =
        changes.iter().filter_map(|change| Some((change.key()?, change))).collect();
    for (key, change) in by_key {
        match change {
            Change::Put(_, _, value) => load.put(key, value)?,
            Change::Until(_, _, value) => load.put_expiring(key, value, model::expiry_of(value))?,
            Change::Gone(_, _, value) => load.put_expiring(key, value, Expiry::At(1))?,
            _ => load.delete(key)?,
        }
    }
    if is_finished { load.finish() } else { load.checkpoint() }
}

/// A batch of changes; those that the store would refuse are left out: of databases that do not
/// exist, or that this batch has dropped.
///
/// # Errors
/// As the functions of [`Batch`].
pub fn batch(store: &Store, changes: &[Change], model: &mut Model) -> orlop::Result<Batch> {
    let mut batch = store.batch();
    let mut dropped: Vec<&str> = Vec::new();
    for change in changes {
        if change.names().iter().any(|name| dropped.contains(name)) {
            continue;
        }
        match change {
            Change::Put(name, key, value) => batch.put(&store.database(name)?, key, value)?,
            Change::Until(name, key, value) => {
                let expiry = model::expiry_of(value);
                batch.put_expiring(&store.database(name)?, key, value, expiry)?;
            }
            Change::Gone(name, key, value) => {
                batch.put_expiring(&store.database(name)?, key, value, Expiry::At(1))?;
            }
            Change::Delete(name, key) => batch.delete(&store.database(name)?, key)?,
            Change::DeleteRange(name, start, end) => {
                let end = end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                batch.delete_range::<Vec<u8>>(
                    &store.database(name)?,
                    (Bound::Included(start), end),
                )?;
            }
            Change::Drop(name) if model.contains_key(name) => {
                batch.drop_database(name)?;
                dropped.push(name);
            }
            Change::Clear(name) => batch.clear(&store.database(name)?)?,
            Change::Swap(a, b) if model.contains_key(a) || model.contains_key(b) => {
                batch.swap_databases(a, b)?;
            }
            Change::Drop(_) | Change::Swap(..) => continue,
        }
        change.apply(model);
    }
    Ok(batch)
}
