//! The model: what a store must look like, as ordered maps.

use std::collections::BTreeMap;
use std::fmt;

use orlop::{Cursor, Database, Expiry, Range, Result, Snapshot, Store};

/// The contents of one database.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The contents of a whole store, by database name.
pub type Model = BTreeMap<String, Contents>;

/// How values begin whose entries expire: then comes the time, in eight bytes. So a model knows it.
const UNTIL: &[u8] = b"until:";

/// The value of an entry that expires at a time, in milliseconds since 1970.
pub fn until(time: u64, value: &[u8]) -> Vec<u8> {
    [UNTIL, &time.to_be_bytes(), value].concat()
}

/// When the entry with this value expires.
pub fn expiry_of(value: &[u8]) -> Expiry {
    let time = value.strip_prefix(UNTIL).and_then(|rest| rest.first_chunk());
    time.map_or(Expiry::Never, |time| Expiry::At(u64::from_be_bytes(*time)))
}

/// What of a model is there at a time.
pub fn at(model: &Model, now: u64) -> Model {
    let is_there = |value: &[u8]| match expiry_of(value) {
        Expiry::At(time) => time > now,
        _ => true,
    };
    let of = |contents: &Contents| {
        let there = contents.iter().filter(|(_, value)| is_there(value));
        there.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    model.iter().map(|(name, contents)| (name.clone(), of(contents))).collect()
}

/// Where a store and a model differ, in one line.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// They show different things.
    Found(String),
    /// A read failed.
    Failed(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Found(what) => f.write_str(what),
            Difference::Failed(error) => write!(f, "a read failed: {error}"),
        }
    }
}

type Same = std::result::Result<(), Difference>;

fn differ(what: impl Into<String>) -> Same {
    Err(Difference::Found(what.into()))
}

fn read<T>(result: Result<T>) -> std::result::Result<T, Difference> {
    result.map_err(|error| Difference::Failed(error.to_string()))
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
        let mut cursor = snapshot.cursor(&database)?;
        let (entries, end) = to_the_end(&mut cursor);
        // No history has a database with a name as these.
        if end.is_err() && cursor.next().is_ok() {
            model.insert(format!("{name}: a cursor goes on after an error"), Contents::new());
        } else {
            end?;
        }
        if !entries.is_sorted_by(|(key, _), (next, _)| key < next) {
            model.insert(format!("{name}: a scan out of order"), Contents::new());
        }
        model.insert(name, entries.into_iter().collect());
    }
    Ok(model)
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// What a cursor gives, and how it ends.
fn to_the_end(cursor: &mut Cursor) -> (Vec<Entry>, Result<()>) {
    let mut entries = Vec::new();
    loop {
        match cursor.next() {
            Ok(Some((key, value))) => entries.push((key.to_vec(), value.to_vec())),
            Ok(None) => return (entries, Ok(())),
            Err(error) => return (entries, Err(error)),
        }
    }
}

/// Compares a store with the model through every read path: names, gets of what is there and of
/// what is not, whole and bounded scans in both directions, prefixes, seeks; of the databases
/// themselves and of a snapshot.
///
/// # Errors
/// The first difference.
pub fn check(store: &Store, model: &Model) -> Same {
    let names: Vec<String> = model.keys().cloned().collect();
    let snapshot = store.snapshot();
    let found = (read(store.databases())?, read(snapshot.databases())?);
    if found != (names.clone(), names.clone()) {
        return differ(format!("databases {found:?} instead of {names:?}"));
    }
    for (name, expected) in model {
        let database = read(store.database(name))?;
        check_gets(&database, &snapshot, expected)?;
        check_scans(&database, &snapshot, expected)?;
        check_seeks(read(database.cursor())?, expected)?;
        check_seeks(read(snapshot.cursor(&database))?, expected)?;
        check_turns(read(database.cursor())?, expected)?;
        check_many(&database, &snapshot, expected)?;
    }
    Ok(())
}

fn check_gets(database: &Database, snapshot: &Snapshot, expected: &Contents) -> Same {
    for (key, value) in expected {
        let wanted = Some(value.as_slice());
        if read(database.get(key))?.as_deref() != wanted
            || read(snapshot.get(database, key))?.as_deref() != wanted
            || read(database.get_with(key, |found| found == value.as_slice()))? != Some(true)
        {
            return differ(format!("get of {} in {}", key.escape_ascii(), database.name()));
        }
        // A cursor that turns around is asked for that of all others.
        let wanted = expiry_of(value);
        if wanted != Expiry::Never
            && (read(database.expiry(key))? != Some(wanted)
                || read(snapshot.expiry(database, key))? != Some(wanted))
        {
            return differ(format!("expiry of {} in {}", key.escape_ascii(), database.name()));
        }
    }
    let behind = expected.keys().map(|key| [key.as_slice(), b"\0"].concat());
    for missed in behind.chain([b"".to_vec(), b"k".to_vec(), vec![255; 9]]) {
        let there = expected.contains_key(&missed);
        if read(database.get(&missed))?.is_some() != there
            || read(snapshot.get(database, &missed))?.is_some() != there
        {
            return differ(format!("get of {} in {}", missed.escape_ascii(), database.name()));
        }
    }
    Ok(())
}

/// All keys in one call, in no order, some twice, and as many that are not there.
fn check_many(database: &Database, snapshot: &Snapshot, expected: &Contents) -> Same {
    let there = expected.keys().cloned();
    let behind = expected.keys().map(|key| [key.as_slice(), b"\0"].concat());
    let mut keys: Vec<Vec<u8>> = there.chain(behind).chain([vec![], vec![255; 9]]).collect();
    keys.sort_by_key(|key| {
        (key.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31) ^ byte), key.len())
    });
    keys.extend_from_within(..keys.len() / 2);
    let found = read(database.multi_get(&keys))?;
    let then = read(snapshot.multi_get(database, &keys))?;
    if found.len() != keys.len() || then != found {
        return differ(format!("{} and {} of {} values", found.len(), then.len(), keys.len()));
    }
    for (key, found) in keys.iter().zip(found) {
        if found.as_deref() != expected.get(key).map(Vec::as_slice) {
            return differ(format!("get of {} among others", key.escape_ascii()));
        }
    }
    Ok(())
}

/// Seven steps forward, three back, to the end.
fn check_turns(mut cursor: Cursor, expected: &Contents) -> Same {
    let all: Vec<_> = expected.iter().collect();
    let mut at = 0;
    for step in 0.. {
        let (found, wanted) = if step % 10 < 7 {
            let wanted = all.get(at);
            at += usize::from(wanted.is_some());
            (read(cursor.next_with_expiry())?, wanted)
        } else {
            let wanted = at.checked_sub(1).and_then(|before| all.get(before));
            at = at.saturating_sub(1);
            (read(cursor.prev_with_expiry())?, wanted)
        };
        if found.map(|(key, value, expiry)| (key.to_vec(), value.to_vec(), expiry))
            != wanted.map(|(key, value)| (key.to_vec(), value.to_vec(), expiry_of(value)))
        {
            return differ(format!("step {step} of a cursor that turns around"));
        }
        if wanted.is_none() && at == all.len() && step > 10 {
            break;
        }
    }
    Ok(())
}

/// Stretches of keys whose ends are there, or are not.
fn stretches(expected: &Contents) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys: Vec<&Vec<u8>> = expected.keys().step_by(9).collect();
    let between = keys.windows(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    let wide = keys.first().zip(keys.last()).map(|(first, last)| {
        ([first.as_slice(), b"\0"].concat(), [last.as_slice(), b"\0"].concat())
    });
    between.chain(wide).chain([(vec![], b"k".to_vec()), (b"k".to_vec(), vec![255])]).collect()
}

fn check_scans(database: &Database, snapshot: &Snapshot, expected: &Contents) -> Same {
    let all: Vec<_> = expected.iter().collect();
    same_scan(|| database.iter(), &all, || format!("scan of {}", database.name()))?;
    same_scan(|| snapshot.iter(database), &all, || format!("old scan of {}", database.name()))?;
    for (start, end) in stretches(expected) {
        let inside: Vec<_> = expected.range(start.clone()..end.clone()).collect();
        let what = || {
            let (start, end) = (start.escape_ascii(), end.escape_ascii());
            format!("scan of {} from {start} to {end}", database.name())
        };
        same_scan(|| database.range(start.clone()..end.clone()), &inside, what)?;
        same_scan(|| snapshot.range(database, start.clone()..end.clone()), &inside, what)?;
        let prefix = start.get(..start.len().saturating_sub(1)).unwrap_or_default();
        let begins: Vec<_> = expected.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        let what = || format!("what begins with {} in {}", prefix.escape_ascii(), database.name());
        same_scan(|| database.prefix(prefix), &begins, what)?;
        same_scan(|| snapshot.prefix(database, prefix), &begins, what)?;
    }
    Ok(())
}

/// Compares a scan, forward and backward, entry by entry.
fn same_scan(
    scan: impl Fn() -> Range,
    expected: &[(&Vec<u8>, &Vec<u8>)],
    what: impl Fn() -> String,
) -> Same {
    let mut entries = scan();
    for (key, value) in expected {
        match entries.next().map(read).transpose()? {
            Some(entry) if entry.0 == **key && *entry.1 == value[..] => {}
            _ => return differ(what()),
        }
    }
    let mut backward = scan().rev();
    for (key, value) in expected.iter().rev() {
        match backward.next().map(read).transpose()? {
            Some(entry) if entry.0 == **key && *entry.1 == value[..] => {}
            _ => return differ(format!("{}, backward", what())),
        }
    }
    let ends = (entries.next().map(read).transpose()?, backward.next().map(read).transpose()?);
    if ends.0.is_some() || ends.1.is_some() {
        differ(format!("{}: too many", what()))
    } else {
        Ok(())
    }
}

fn check_seeks(mut cursor: Cursor, expected: &Contents) -> Same {
    let probes = expected.keys().step_by(3).flat_map(|key| {
        let shorter = key.split_last().map(|(_, head)| head.to_vec()).unwrap_or_default();
        [key.clone(), [key.as_slice(), b"\0"].concat(), shorter]
    });
    for probe in probes.chain([vec![], b"k".to_vec(), vec![255; 9]]) {
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
