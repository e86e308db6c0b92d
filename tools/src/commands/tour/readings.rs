//! Parts 2, 4 and 5: a time series, a snapshot of it, and ranges of it.

use std::time::Instant;

use orlop::{Cursor, Durability, Store};

use super::{READINGS, Tour};
use crate::failure::Failure;
use crate::output::{count, size, time};
use crate::progress;
use crate::text;

const SENSORS: u32 = 100;
const TIMES: u32 = 3_000;
const BATCH: u32 = 1_000;

/// Writes that go on while the snapshot is read.
const OVERWRITTEN: u32 = 20_000;
const DELETED: u32 = 5_000;

/// Entries of a range that are printed.
const SHOWN: usize = 3;

fn key(prefix: &str, sensor: u32, at: u32) -> String {
    // A reading every ten seconds.
    format!("{prefix}sensor-{sensor:03}/{:010}", 1_700_000_000 + u64::from(at) * 10)
}

/// A temperature that moves a little, different for every sensor, the same in every run.
fn value(sensor: u32, at: u32) -> String {
    let wave = f64::from(at) / 180.0 + f64::from(sensor);
    let noise = f64::from((sensor * 7919 + at * 104_729) % 100) / 100.0;
    format!("{{\"celsius\":{:.2},\"ok\":true}}", 20.0 + 5.0 * wave.sin() + noise)
}

/// Part 2. Readings arrive in the order of time, sensor after sensor: not in the order of keys.
pub(super) fn store(tour: &mut Tour<'_>, store: &Store) -> Result<(), Failure> {
    let readings = store.database(READINGS)?;
    let prefix = tour.prefix();
    let total = SENSORS * TIMES;
    let bar = progress::steps(u64::from(total), "storing readings");
    let (start, mut bytes) = (Instant::now(), 0);
    let mut number = 0;
    while number < total {
        let mut batch = store.batch();
        for number in number..(number + BATCH).min(total) {
            let (at, sensor) = (number / SENSORS, number % SENSORS);
            let (key, value) = (key(&prefix, sensor, at), value(sensor, at));
            bytes += (key.len() + value.len()) as u64;
            batch.put(&readings, key, value)?;
        }
        batch.commit_with(Durability::Buffered)?;
        number += BATCH;
        bar.set_position(u64::from(number));
    }
    store.sync()?;
    bar.finish_and_clear();
    let took = start.elapsed();
    let rate = count((f64::from(total) / took.as_secs_f64()) as u64);
    tour.line(format!(
        "   {} readings, {}, in batches of {BATCH}: {}, {rate} a second, synced at the end",
        count(u64::from(total)),
        size(bytes),
        time(took)
    ))?;
    let example = (key(&prefix, 7, 0), value(7, 0));
    tour.line(format!("   one of them: {} -> {}", example.0, example.1))
}

/// What a range holds, as three numbers: entries, bytes, and a hash of all of it.
fn digest(mut cursor: Cursor, prefix: &str) -> Result<(u64, u64, u64), Failure> {
    cursor.seek(prefix)?;
    let (mut entries, mut bytes, mut hash) = (0, 0, 0xcbf2_9ce4_8422_2325_u64);
    while let Some((key, value)) = cursor.next()? {
        if !key.starts_with(prefix.as_bytes()) {
            break;
        }
        entries += 1;
        bytes += (key.len() + value.len()) as u64;
        for byte in key.iter().chain(value) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok((entries, bytes, hash))
}

/// Part 4.
pub(super) fn snapshot(tour: &mut Tour<'_>, store: &Store) -> Result<(), Failure> {
    let readings = store.database(READINGS)?;
    let prefix = tour.prefix();
    let snapshot = store.snapshot();
    let before = digest(snapshot.cursor(&readings)?, &prefix)?;
    let during = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(store, &prefix));
        let during = digest(snapshot.cursor(&readings)?, &prefix);
        match writer.join() {
            Ok(written) => written.and(during),
            Err(_) => Err(Failure::new("the writing thread of the tour ended early")),
        }
    })?;
    let after = digest(snapshot.cursor(&readings)?, &prefix)?;
    let now = digest(readings.cursor()?, &prefix)?;
    if before != during || before != after {
        return Err(Failure::new("the snapshot moved: this is a bug in Orlop, please report it"));
    }
    let row = |name: &str, (entries, _, hash): (u64, u64, u64)| {
        format!("   {name:<38} {:>9} entries, hash {hash:016x}", count(entries))
    };
    tour.line(row("snapshot before", before))?;
    tour.line(row("snapshot while 25,000 writes go on", during))?;
    tour.line(row("snapshot after them", after))?;
    tour.line(row("the database itself", now))
}

/// Overwrites some readings and deletes others, all over the range.
fn write_on(store: &Store, prefix: &str) -> Result<(), Failure> {
    let readings = store.database(READINGS)?;
    for number in 0..OVERWRITTEN + DELETED {
        let (sensor, at) = (number % SENSORS, number / SENSORS * 11);
        let key = key(prefix, sensor, at);
        if number < OVERWRITTEN {
            let corrected = "{\"celsius\":null,\"ok\":false}";
            readings.put_with(key, corrected, Durability::Buffered)?;
        } else {
            readings.delete_with(key, Durability::Buffered)?;
        }
    }
    Ok(())
}

/// Part 5.
pub(super) fn ranges(tour: &mut Tour<'_>, store: &Store) -> Result<(), Failure> {
    let readings = store.database(READINGS)?;
    let sensor = format!("{}sensor-007/", tour.prefix());
    let row = |(key, value): (Vec<u8>, orlop::Value)| {
        format!("   {}  {}", text::escape(&key), text::escape(&value))
    };
    tour.line(format!("   the first {SHOWN} of {sensor}"))?;
    for entry in readings.prefix(&sensor).take(SHOWN) {
        tour.line(row(entry?))?;
    }
    tour.line(format!("   the last {SHOWN}, in reverse"))?;
    for entry in readings.prefix(&sensor).rev().take(SHOWN) {
        tour.line(row(entry?))?;
    }
    let mut cursor = readings.cursor()?;
    let (start, mut entries) = (Instant::now(), 0);
    while cursor.next()?.is_some() {
        entries += 1;
    }
    let forward = start.elapsed();
    let start = Instant::now();
    let mut back = 0;
    while cursor.prev()?.is_some() {
        back += 1;
    }
    let reverse = start.elapsed();
    if back != entries {
        return Err(Failure::new(format!("{entries} entries forward, but {back} in reverse")));
    }
    let rate = |took: std::time::Duration| count((entries as f64 / took.as_secs_f64()) as u64);
    tour.line(format!(
        "   all {} of them: forward {} a second, in reverse {} a second",
        count(entries),
        rate(forward),
        rate(reverse)
    ))
}
