//! Workloads that fill a new store.

use std::time::Duration;

use super::bench::{BATCH, Bench, Done, Facts, gets, load, put_versions, puts};
use super::entries::{Keys, Ledger, at_random, reading, shuffled};
use super::read;
use crate::catalog::Group;
use crate::engine::{Found, Reads, Session};
use crate::failure::Result;
use crate::measure::clock::{EVERY, closed_loop};
use crate::shape::Values;

/// `fillseq`, `fillbatch`, `fillrandom`.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let (options, group) = (bench.options, bench.job.group);
    let count = options.operations();
    let name = match group {
        Group::FillSeq => "fillseq",
        Group::FillBatch => "fillbatch",
        _ => "fillrandom",
    };
    let numbers = match group {
        Group::FillRandom => at_random(&mut bench.random(name), count, options.entries),
        _ => (0..count).collect(),
    };
    let keys = Keys::new(&options.shape, numbers);
    let engine = bench.open()?;
    let window = options.fill_window();
    let values = &bench.values;
    let mut ledger = Ledger::empty(options.entries);
    let first = ledger.next_version();
    let measured = bench.measure(&*engine, Reads::Current, 1, |_, session| match group {
        Group::FillBatch => put_batches(session, &keys, values, window),
        Group::FillRandom => put_versions(session, &keys, values, first, EVERY, window),
        _ => puts(session, &keys, values, window),
    })?;
    let weight = if group == Group::FillBatch { BATCH } else { 1 };
    let done = (measured.operations(0) * weight).min(keys.len());
    match group {
        Group::FillRandom => ledger.put_all(keys.numbers(done).iter().copied(), first),
        _ => ledger.put_plain(keys.numbers(done)),
    }
    engine.settle()?;
    let checked = bench.check_all(&*engine, name, ledger.expected(&bench.values))?;
    let facts = Facts {
        weight: weight as u64,
        checked,
        user_bytes: done as u64 * options.shape.entry_size(),
        remark: engine.remark(),
        ..Facts::default()
    };
    bench.keep(name, Ok((measured, facts)))?;
    engine.close()
}

/// Whole batches only, so that each is the same work.
fn put_batches(
    session: &mut dyn Session,
    keys: &Keys,
    values: &Values,
    limit: Duration,
) -> Result<Done> {
    let mut batch = Vec::with_capacity(BATCH);
    let tally = closed_loop(keys.len() / BATCH, limit, 1, |at| {
        batch.clear();
        let entries = at * BATCH..(at + 1) * BATCH;
        batch.extend(entries.map(|at| (keys.key(at), values.of(keys.number(at)))));
        session.put_batch(&batch)
    })?;
    Ok(Done { tally, found: Found::default() })
}

/// `bulkload`.
pub(super) fn run_bulk(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    let count = options.operations();
    let keys = Keys::new(&options.shape, (0..count).collect());
    let engine = bench.open()?;
    let values = &bench.values;
    let ((), measured) = bench.measure_once(|| {
        let entries = (0..keys.len()).map(|at| (keys.key(at), values.of(keys.number(at))));
        engine.bulk_load(&mut { entries })
    })?;
    let checked = bench.check_all(&*engine, "bulkload", reading(&bench.values, 0..count))?;
    let facts = Facts {
        weight: count,
        checked,
        user_bytes: count * options.shape.entry_size(),
        ..Facts::default()
    };
    bench.keep("bulkload", Ok((measured, facts)))?;
    engine.close()
}

/// `filluniquerandom`, the reads before it settles, and `settle`: what they leave is the base of other groups.
pub(super) fn run_load(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    let engine = bench.open()?;
    let numbers = shuffled(&mut bench.random("filluniquerandom"), options.entries);
    let timed = Keys::new(&options.shape, numbers[..options.operations() as usize].to_vec());
    let measured = bench.measure(&*engine, Reads::Current, 1, |_, session| {
        puts(session, &timed, &bench.values, options.fill_window())
    })?;
    let done = measured.operations(0);
    let facts = Facts {
        user_bytes: done as u64 * options.shape.entry_size(),
        remark: engine.remark(),
        ..Facts::default()
    };
    bench.keep("filluniquerandom", Ok((measured, facts)))?;
    load(&*engine, &Keys::new(&options.shape, numbers), done, &bench.values)?;
    read::run_unsettled(bench, &*engine)?;
    let runs = engine.runs();
    let ((), mut settled) = bench.measure_once(|| engine.settle())?;
    // All that the store has cost the device so far, not the last part alone.
    settled.resources.written_bytes = bench.born.used(&bench.job.dir).0.written_bytes;
    let expected = Ledger::full(options.entries).expected(&bench.values);
    let checked = bench.check_all(&*engine, "filluniquerandom", expected)?;
    // How much was left to do; the reads before had no fewer.
    let extra = runs.map(|runs| ("runs_before".to_owned(), runs as f64)).into_iter().collect();
    let facts = Facts { checked, user_bytes: options.user_bytes(), extra, ..Facts::default() };
    bench.keep("settle", Ok((settled, facts)))?;
    engine.close()
}

/// How much smaller the store is that is made as shipped: some engines sync every put.
const SHIPPED_PART: u64 = 10;

/// `fillrandom` and `readrandom` with everything as shipped.
pub(super) fn run_shipped(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    let entries = (options.entries / SHIPPED_PART).max(1);
    let engine = bench.open()?;
    let numbers = at_random(&mut bench.random("fillrandom"), options.operations(), entries);
    let keys = Keys::new(&options.shape, numbers);
    let mut ledger = Ledger::empty(entries);
    let first = ledger.next_version();
    let measured = bench.measure(&*engine, Reads::Current, 1, |_, session| {
        put_versions(session, &keys, &bench.values, first, EVERY, options.window())
    })?;
    let done = measured.operations(0);
    ledger.put_all(keys.numbers(done).iter().copied(), first);
    let checked = bench.check_all(&*engine, "fillrandom", ledger.expected(&bench.values))?;
    let facts = Facts {
        checked,
        user_bytes: done as u64 * options.shape.entry_size(),
        remark: engine.remark(),
        ..Facts::default()
    };
    bench.keep("fillrandom", Ok((measured, facts)))?;
    // All engines are read with the same entries, however far they came.
    load(&*engine, &Keys::new(&options.shape, (0..entries).collect()), 0, &bench.values)?;
    engine.settle()?;
    let expected = Ledger::full(entries).expected(&bench.values);
    bench.check_all(&*engine, "readrandom", expected)?;
    let numbers = at_random(&mut bench.random("readrandom"), options.operations(), entries);
    let keys = Keys::new(&options.shape, numbers);
    let measured = bench.measure(&*engine, Reads::Fixed, 1, |_, session| {
        gets(session, &keys, EVERY, options.window())
    })?;
    let numbers = keys.numbers(measured.operations(0)).iter().copied();
    let expected = reading(&bench.values, numbers);
    let checked = bench.check("readrandom", measured.found(), expected)?;
    let facts = Facts { checked, ..Facts::default() };
    bench.keep("readrandom", Ok((measured, facts)))?;
    engine.close()
}
