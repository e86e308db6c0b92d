//! What a store holds, and whether that is whole: of a live one, and of one that a crash has left.

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Keep, SimEnv};
use orlop::{Background, Durability, Error, Snapshot, Store, Value};

use super::journal::{Check, Counts, Journal, broken};
use super::plan::Plan;

/// The two databases that hold the same, but for their badges.
pub(super) const TWINS: [&str; 2] = ["a", "b"];

/// The key of what tells the twins apart. It is written once, before the run, so that who wears
/// which badge says how often they have been exchanged.
pub(super) const BADGE: &[u8] = b"badge";

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

/// Where the store lies on the simulated disk.
const DIR: &str = "/store";

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
        .open(Path::new(DIR))
}

/// Opens the store for reading, also beside a live one.
pub(super) fn open_beside(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder().env(Arc::new(env.clone())).open_read_only(Path::new(DIR))
}

/// The first commit: the twins get their badges.
pub(super) fn dress(store: &Store) -> orlop::Result<()> {
    let mut batch = store.batch();
    for (place, name) in TWINS.into_iter().enumerate() {
        batch.put(&store.database(name)?, BADGE, [place as u8])?;
    }
    batch.commit_with(Durability::Synced)
}

/// What the twin in this place holds, as counts.
pub(super) fn counts(plan: &Plan, place: usize, entries: &[(Vec<u8>, Value)]) -> Check<Counts> {
    let mut counts = vec![0; plan.writers.len()];
    let mut numbers: Vec<Vec<u64>> = vec![Vec::new(); counts.len()];
    let mut badge = None;
    for (key, found) in entries {
        match key.as_slice() {
            BADGE => badge = found.first().map(|badge| usize::from(*badge)),
            [b'c', writer] => {
                let writer = usize::from(*writer);
                let Some(count) = number_of(writer, found.as_ref()) else {
                    return broken("half", format!("a strange count {:?}", found.as_ref()));
                };
                counts[writer] = count;
            }
            [b'e', writer, number] => {
                let (writer, number) = (usize::from(*writer), u64::from(*number));
                if found.as_ref() != value(writer, number) {
                    return broken("half", format!("entry {number} of writer {writer} is wrong"));
                }
                numbers[writer].push(number);
            }
            _ => return broken("half", format!("a strange key {key:?}")),
        }
    }
    for (writer, numbers) in numbers.iter().enumerate() {
        let count = counts[writer];
        if !numbers.iter().copied().eq(1..=count) {
            return broken("half", format!("writer {writer}: count {count}, entries {numbers:?}"));
        }
    }
    let worn = (place + plan.swaps(&counts) as usize) % TWINS.len();
    if badge != Some(worn) {
        return broken("half", format!("twin {place} with badge {badge:?} at {counts:?}"));
    }
    Ok(counts)
}

/// The number of the commit that has written a value.
pub(super) fn number_of(writer: usize, found: &[u8]) -> Option<u64> {
    (1..=u64::from(u8::MAX)).find(|number| found == value(writer, *number))
}

/// The mark is there once a commit has left one, and is the last one of its writer.
pub(super) fn check_mark(plan: &Plan, entries: &[(Vec<u8>, Value)], counts: &Counts) -> Check {
    let last = |writer: usize| plan.last_mark(writer, counts[writer]);
    let fits = |mark: &Value, writer| {
        last(writer).is_some_and(|number| mark.as_ref() == value(writer, number))
    };
    let good = match entries {
        [] => (0..counts.len()).all(|writer| last(writer).is_none()),
        [(key, mark)] => key == MARK && (0..counts.len()).any(|writer| fits(mark, writer)),
        _ => false,
    };
    if good {
        return Ok(());
    }
    broken("half", format!("{} marks at {counts:?}, not the last one", entries.len()))
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
pub(super) fn survey(
    plan: &Plan,
    store: &Store,
    snapshot: &Snapshot,
    may_close: bool,
) -> Check<Option<Counts>> {
    let mut found: Vec<Counts> = Vec::new();
    for (place, name) in TWINS.into_iter().enumerate() {
        let twin = database(store, name)?;
        let forward: orlop::Result<Vec<_>> = snapshot.iter(&twin).collect();
        let backward: orlop::Result<Vec<_>> = snapshot.iter(&twin).rev().collect();
        let Some(forward) = read(forward, may_close)? else { return Ok(None) };
        let Some(mut backward) = read(backward, may_close)? else { return Ok(None) };
        backward.reverse();
        let one = counts(plan, place, &forward)?;
        if forward != backward {
            return broken("unstable", format!("{one:?} forward, something else backward"));
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
    check_mark(plan, &marks, one)?;
    Ok(Some(one.clone()))
}

pub(super) fn database(store: &Store, name: &str) -> Check<orlop::Database> {
    store.database(name).or_else(|error| broken("wrong_errors", error.to_string()))
}

/// Opens what a crash has left, once more when the first recovery is cut, and compares it.
pub(super) fn check(
    env: &SimEnv,
    plan: &Plan,
    journal: &Journal,
    least: Durability,
    nested: Option<u64>,
) -> Check {
    if let Some(after) = nested {
        env.cut_after(after);
        drop(open(env, Background::Manual, 4 << 10));
        let killed = least < Durability::Synced;
        let again = if killed { env.kill() } else { env.crash(Keep::Random(after)) };
        return check(&again, plan, journal, least, None);
    }
    let unopenable = |error: Error| broken("unopenable", error.to_string());
    let store = open(env, Background::Manual, 4 << 10).or_else(unopenable)?;
    let found = survey(plan, &store, &store.snapshot(), false)?.unwrap_or_default();
    journal.left(&found, least, journal.now())?;
    // It goes on from there.
    let twin = database(&store, TWINS[0])?;
    if let Err(error) = twin.put(count_key(0), b"later") {
        return broken("wrong_errors", format!("a write after the recovery: {error}"));
    }
    store.close().or_else(|error| broken("wrong_errors", format!("a close: {error}")))
}
