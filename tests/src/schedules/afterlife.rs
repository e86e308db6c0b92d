//! What a store holds, and whether that is whole: of a live one, and of one that a crash has left.

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Keep, SimEnv};
use orlop::{Background, Durability, Error, Snapshot, Store, Value};

use super::journal::{Check, Counts, Journal, broken};

/// The two databases that always hold the same.
pub(super) const TWINS: [&str; 2] = ["a", "b"];

/// The database that commits clear to leave their mark in.
pub(super) const MARKS: &str = "c";

/// The one key in there.
pub(super) const MARK: &[u8] = b"mark";

/// The key of a writer's count.
pub(super) fn count_key(writer: usize) -> Vec<u8> {
    vec![b'c', writer as u8]
}

/// The key of what one commit leaves for good.
pub(super) fn entry_key(writer: usize, number: u64) -> Vec<u8> {
    vec![b'e', writer as u8, number as u8]
}

/// What commit `number` of a writer writes under its keys: no two are alike.
pub(super) fn value(writer: usize, number: u64) -> Vec<u8> {
    let len = 20 + (writer * 37 + number as usize * 53) % 200;
    let text = format!("{writer}.{number}.");
    text.bytes().cycle().take(len).collect()
}

/// Opens the store. Tables and levels are as small as they can be.
pub(super) fn open(
    env: &SimEnv,
    background: Background,
    memtable_size: usize,
) -> orlop::Result<Store> {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(background)
        .memtable_size(memtable_size)
        .table_size(1 << 10)
        .level_base(2 << 10)
        .block_size(256)
        .open(Path::new("/store"))
}

/// What one of the twins holds, as counts.
pub(super) fn counts<V: AsRef<[u8]>>(entries: &[(Vec<u8>, V)]) -> Check<Counts> {
    let mut counts = Counts::new();
    let mut numbers: Vec<Vec<u64>> = Vec::new();
    for (key, found) in entries {
        match key.as_slice() {
            [b'c', writer] => {
                let writer = usize::from(*writer);
                let Some(count) = number_of(writer, found.as_ref()) else {
                    return broken("half", format!("a strange count {:?}", found.as_ref()));
                };
                counts.resize(counts.len().max(writer + 1), 0);
                counts[writer] = count;
            }
            [b'e', writer, number] => {
                let (writer, number) = (usize::from(*writer), u64::from(*number));
                if found.as_ref() != value(writer, number) {
                    return broken("half", format!("entry {number} of writer {writer} is wrong"));
                }
                numbers.resize(numbers.len().max(writer + 1), Vec::new());
                numbers[writer].push(number);
            }
            _ => return broken("half", format!("a strange key {key:?}")),
        }
    }
    numbers.resize(counts.len().max(numbers.len()), Vec::new());
    for (writer, numbers) in numbers.iter().enumerate() {
        let count = counts.get(writer).copied().unwrap_or(0);
        if !numbers.iter().copied().eq(1..=count) {
            return broken("half", format!("writer {writer}: count {count}, entries {numbers:?}"));
        }
    }
    Ok(counts)
}

/// The number of the commit that has written a value.
pub(super) fn number_of(writer: usize, found: &[u8]) -> Option<u64> {
    (1..=u64::from(u8::MAX)).find(|number| found == value(writer, *number))
}

/// What the marks hold must be of a commit that the counts have.
pub(super) fn check_mark(entries: &[(Vec<u8>, Value)], counts: &Counts) -> Check {
    let [(key, mark)] = entries else {
        if entries.is_empty() {
            return Ok(());
        }
        return broken("half", format!("{} marks", entries.len()));
    };
    let known = (0..counts.len()).any(|writer| {
        number_of(writer, mark).is_some_and(|number| counts.get(writer) >= Some(&number))
    });
    if key != MARK || !known {
        return broken("half", format!("a mark from outside of {counts:?}"));
    }
    Ok(())
}

/// A result of a read: what fails here fails the run, unless the store was to be closed.
pub(super) fn read<T>(result: orlop::Result<T>, may_close: bool) -> Check<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Closed) if may_close => Ok(None),
        Err(error) => broken("wrong_errors", format!("a read failed: {error}")),
    }
}

/// All that a snapshot sees, through every database and in both directions; `None`: closed.
pub(super) fn survey(store: &Store, snapshot: &Snapshot, may_close: bool) -> Check<Option<Counts>> {
    let mut found: Vec<Counts> = Vec::new();
    for name in TWINS {
        let twin = database(store, name)?;
        let forward: orlop::Result<Vec<_>> = snapshot.iter(&twin).collect();
        let backward: orlop::Result<Vec<_>> = snapshot.iter(&twin).rev().collect();
        let Some(forward) = read(forward, may_close)? else { return Ok(None) };
        let Some(mut backward) = read(backward, may_close)? else { return Ok(None) };
        backward.reverse();
        let (one, other) = (counts(&forward)?, counts(&backward)?);
        if one != other {
            return broken("unstable", format!("{one:?} forward, {other:?} backward"));
        }
        for writer in 0..one.len() {
            let point = snapshot.get(&twin, count_key(writer));
            let Some(point) = read(point, may_close)? else { return Ok(None) };
            let count = point.and_then(|value| number_of(writer, &value)).unwrap_or(0);
            if one.get(writer) != Some(&count) {
                return broken("unstable", format!("writer {writer}: get {count}, scan {one:?}"));
            }
        }
        found.push(one);
    }
    let [one, other] = found.as_slice() else { return Ok(None) };
    if one != other {
        return broken("half", format!("{one:?} in the one twin, {other:?} in the other"));
    }
    let marks = database(store, MARKS)?;
    let marks: orlop::Result<Vec<_>> = snapshot.iter(&marks).collect();
    let Some(marks) = read(marks, may_close)? else { return Ok(None) };
    check_mark(&marks, one)?;
    Ok(Some(one.clone()))
}

pub(super) fn database(store: &Store, name: &str) -> Check<orlop::Database> {
    store.database(name).or_else(|error| broken("wrong_errors", error.to_string()))
}

/// Opens what a crash has left, once more when the first recovery is cut, and compares it.
pub(super) fn check(
    env: &SimEnv,
    journal: &Journal,
    least: Durability,
    nested: Option<u64>,
) -> Check {
    if let Some(after) = nested {
        env.cut_after(after);
        drop(open(env, Background::Manual, 4 << 10));
        let killed = least < Durability::Synced;
        let again = if killed { env.kill() } else { env.crash(Keep::Random(after)) };
        return check(&again, journal, least, None);
    }
    let unopenable = |error: Error| broken("unopenable", error.to_string());
    let store = open(env, Background::Manual, 4 << 10).or_else(unopenable)?;
    let found = survey(&store, &store.snapshot(), false)?.unwrap_or_default();
    journal.left(&found, least)?;
    // It goes on from there.
    let twin = database(&store, TWINS[0])?;
    if let Err(error) = twin.put(count_key(0), b"later") {
        return broken("wrong_errors", format!("a write after the recovery: {error}"));
    }
    store.close().or_else(|error| broken("wrong_errors", format!("a close: {error}")))
}
