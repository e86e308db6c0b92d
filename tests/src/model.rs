//! The model: what a store must look like, as ordered maps.

use std::collections::BTreeMap;

use orlop::{Database, Result, Snapshot, Store};

/// The contents of one database.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The contents of a whole store, by database name.
pub type Model = BTreeMap<String, Contents>;

/// Where a store and a model differ, in one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference(pub String);

fn differ(what: impl Into<String>) -> std::result::Result<(), Difference> {
    Err(Difference(what.into()))
}

fn read<T>(result: Result<T>) -> std::result::Result<T, Difference> {
    result.map_err(|error| Difference(format!("a read failed: {error}")))
}

/// Reads all of a store, one way.
///
/// # Errors
/// What reading meets.
pub fn contents(store: &Store) -> Result<Model> {
    contents_of(store, &store.snapshot())
}

/// Reads all that a snapshot shows, one way.
///
/// # Errors
/// What reading meets.
pub fn contents_of(store: &Store, snapshot: &Snapshot) -> Result<Model> {
    let mut model = Model::new();
    for name in snapshot.databases()? {
        let database = store.database(&name)?;
        let entries: Result<Contents> = snapshot
            .iter(&database)
            .map(|entry| entry.map(|(key, value)| (key, value.to_vec())))
            .collect();
        model.insert(name, entries?);
    }
    Ok(model)
}

/// Compares a store with the model through every read path.
///
/// # Errors
/// The first difference.
pub fn check(store: &Store, model: &Model) -> std::result::Result<(), Difference> {
    let names: Vec<String> = model.keys().cloned().collect();
    let found = read(store.databases())?;
    if found != names {
        return differ(format!("databases {found:?} instead of {names:?}"));
    }
    let snapshot = store.snapshot();
    for (name, expected) in model {
        let database = read(store.database(name))?;
        check_gets(&database, &snapshot, expected)?;
        check_scans(&database, expected)?;
        check_seeks(&database, expected)?;
    }
    Ok(())
}

fn check_gets(
    database: &Database,
    snapshot: &Snapshot,
    expected: &Contents,
) -> std::result::Result<(), Difference> {
    for (key, value) in expected {
        let missed = [key.as_slice(), b"\0"].concat();
        let wanted = Some(value.as_slice());
        if read(database.get(key))?.as_deref() != wanted
            || read(snapshot.get(database, key))?.as_deref() != wanted
            || read(database.get_with(key, |found| found == value.as_slice()))? != Some(true)
        {
            return differ(format!("get of {} in {}", key.escape_ascii(), database.name()));
        }
        if !expected.contains_key(&missed) && read(database.get(&missed))?.is_some() {
            return differ(format!("get of absent {}", missed.escape_ascii()));
        }
    }
    Ok(())
}

fn check_scans(database: &Database, expected: &Contents) -> std::result::Result<(), Difference> {
    let mut forward = Vec::new();
    for entry in database.iter() {
        let (key, value) = read(entry)?;
        forward.push((key, value.to_vec()));
    }
    let wanted: Vec<(Vec<u8>, Vec<u8>)> =
        expected.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if forward != wanted {
        return differ(format!("forward scan of {}", database.name()));
    }
    let mut backward = Vec::new();
    for entry in database.iter().rev() {
        let (key, value) = read(entry)?;
        backward.push((key, value.to_vec()));
    }
    backward.reverse();
    if backward != wanted {
        return differ(format!("reverse scan of {}", database.name()));
    }
    Ok(())
}

fn check_seeks(database: &Database, expected: &Contents) -> std::result::Result<(), Difference> {
    let mut cursor = read(database.cursor())?;
    let probes = expected.keys().step_by(3).flat_map(|key| {
        let shorter = key.split_last().map(|(_, head)| head.to_vec()).unwrap_or_default();
        [key.clone(), [key.as_slice(), b"\0"].concat(), shorter]
    });
    for probe in probes {
        read(cursor.seek(&probe))?;
        let next = expected.range(probe.clone()..).next();
        let found = read(cursor.next())?.map(|(key, value)| (key.to_vec(), value.to_vec()));
        if found.as_ref().map(|(key, value)| (key, value)) != next {
            return differ(format!("next after seek to {}", probe.escape_ascii()));
        }
        read(cursor.seek(&probe))?;
        let before = expected.range(..probe.clone()).next_back();
        let found = read(cursor.prev())?.map(|(key, value)| (key.to_vec(), value.to_vec()));
        if found.as_ref().map(|(key, value)| (key, value)) != before {
            return differ(format!("prev after seek to {}", probe.escape_ascii()));
        }
    }
    Ok(())
}
