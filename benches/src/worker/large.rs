//! Large values: written into a new store, then read.

use std::fs;

use super::bench::{Bench, Done, Facts, gets};
use super::entries::{Keys, at_random, reading, shuffled};
use crate::engine::{Found, Reads, Settings};
use crate::failure::Result;
use crate::measure::clock::closed_loop;
use crate::shape::{Shape, Values};

struct Size {
    fill: &'static str,
    read: &'static str,
    bytes: usize,
}

const SIZES: [Size; 3] = [
    Size { fill: "fill4k", read: "read4k", bytes: 4 << 10 },
    Size { fill: "fill64k", read: "read64k", bytes: 64 << 10 },
    Size { fill: "fill1m", read: "read1m", bytes: 1 << 20 },
];

/// Bytes that one store takes, at least and at most.
const BYTES: (u64, u64) = (16 << 20, 1 << 30);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for size in SIZES {
        if bench.wants(size.fill) || bench.wants(size.read) {
            run_size(bench, &size)?;
        }
    }
    Ok(())
}

fn run_size(bench: &mut Bench<'_>, size: &Size) -> Result<()> {
    let options = bench.options;
    let shape = Shape { value_size: size.bytes, ..options.shape };
    let values = Values::new(size.bytes);
    let count = options.user_bytes().clamp(BYTES.0, BYTES.1) / size.bytes as u64;
    let dir = bench.job.dir.join(size.fill);
    fs::create_dir(&dir)?;
    let engine = bench.kind.open(&Settings { dir: dir.clone(), shape, ..bench.settings() })?;

    let keys = Keys::new(&shape, shuffled(&mut bench.random(size.fill), count));
    let measured = bench.measure(&*engine, Reads::Current, 1, |_, session| {
        let tally = closed_loop(keys.len(), options.fill_window(), 1, |at| {
            session.put(keys.key(at), values.of(keys.number(at)))
        })?;
        Ok(Done { tally, found: Found::default() })
    })?;
    let written = keys.numbers(measured.operations(0)).to_vec();
    let user_bytes = written.len() as u64 * shape.entry_size();
    bench.keep(size.fill, Ok((measured, Facts { user_bytes, ..Facts::default() })))?;

    engine.settle()?;
    let expected = reading(&values, written.iter().copied());
    bench.check_all(&*engine, size.fill, expected)?;
    let choices = at_random(&mut bench.random(size.read), 100_000, written.len() as u64);
    let numbers = choices.into_iter().map(|at| written[at as usize]).collect();
    let keys = Keys::new(&shape, numbers);
    let measured = bench.measure(&*engine, Reads::Fixed, 1, |_, session| {
        gets(session, &keys, 1, options.window())
    })?;
    let numbers = keys.numbers(measured.operations(0)).iter().copied();
    let checked = bench.check(size.read, measured.found(), reading(&values, numbers))?;
    bench.keep(size.read, Ok((measured, Facts { checked, ..Facts::default() })))?;
    engine.close()?;
    Ok(fs::remove_dir_all(&dir)?)
}
