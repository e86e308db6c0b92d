//! Workloads that read the base store.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{Bench, Done, Facts, Measured, gets};
use super::entries::{Keys, Ledger, Sums, at_random, reading};
use super::zipf::Zipf;
use crate::catalog::Group;
use crate::engine::{Direction, Engine, Found, Reads, Session, Settings};
use crate::failure::{Failure, Result};
use crate::measure::clock::{EVERY, closed_loop, open_loop};
use crate::measure::files;
use crate::options::{MOST_OPERATIONS, Options};

/// Keys of one call of `multireadrandom`.
const MULTI: usize = 32;

/// Everything that reads from memory.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let engine = bench.open()?;
    let engine = &*engine;
    let sums = warm(bench, engine, "the base")?;
    random(bench, engine, "readrandom", 1)?;
    random(bench, engine, "readrandom2", 2)?;
    in_place(bench, engine)?;
    missing(bench, engine)?;
    multi(bench, engine)?;
    scan(bench, engine, &sums, "readseq", Direction::Forward)?;
    scan(bench, engine, &sums, "readreverse", Direction::Backward)?;
    seek(bench, engine, &sums, "seekrandom10", 10)?;
    seek(bench, engine, &sums, "seekrandom100", 100)?;
    zipfian(bench, engine)?;
    paced(bench, engine)
}

/// `readunsettled` and `seekunsettled10`, of a store that has just been filled. They begin as warm
/// as those of the settled store, so that what they lack is due to its runs and to the background,
/// which goes on meanwhile.
pub(super) fn run_unsettled(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    let (gets, scans) = ("readunsettled", "seekunsettled10");
    if !bench.wants(gets) && !bench.wants(scans) {
        return Ok(());
    }
    let sums = warm(bench, engine, "the base before it settled")?;
    random(bench, engine, gets, 1)?;
    seek(bench, engine, &sums, scans, 10)
}

/// `readprefix` and `seekprefix10`.
pub(super) fn run_prefix(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    let sums = warm(bench, engine, "fillprefix")?;
    random(bench, engine, "readprefix", 1)?;
    seek(bench, engine, &sums, "seekprefix10", 10)
}

/// Brings all of the store into memory and checks it: the files, for engines that read through the
/// page cache, then every entry, for those with a cache of their own. What scans must find in it.
fn warm(bench: &Bench<'_>, engine: &dyn Engine, what: &str) -> Result<Sums> {
    let entries = bench.options.entries;
    files::warm(&bench.job.dir)?;
    let sums = Sums::new(&bench.values, &Ledger::empty(0), entries);
    bench.check_all(engine, what, sums.scan(0, entries, entries))?;
    Ok(sums)
}

fn numbers(bench: &Bench<'_>, name: &str) -> Vec<u64> {
    let options = bench.options;
    at_random(&mut bench.random(name), MOST_OPERATIONS.min(most(options)), options.entries)
}

/// Operations that no engine gets through in a window, but few enough to be made beforehand.
fn most(options: &Options) -> u64 {
    (options.seconds * 10e6) as u64 + 1
}

/// Compares what threads read with the entries of the keys they asked for, and keeps the round.
fn keep(bench: &mut Bench<'_>, name: &str, measured: Measured, keys: &[Keys]) -> Result<()> {
    let mut expected = Found::default();
    for (thread, keys) in keys.iter().enumerate() {
        let numbers = keys.numbers(measured.operations(thread)).iter().copied();
        expected.merge(reading(&bench.values, numbers));
    }
    let checked = bench.check(name, measured.found(), expected)?;
    let facts = Facts { checked, extra: not_in_memory(bench, &measured), ..Facts::default() };
    bench.keep(name, Ok((measured, facts)))
}

/// What reads beside a background at work had from the device: it makes files anew meanwhile, and
/// those need not be in memory.
fn not_in_memory(bench: &Bench<'_>, measured: &Measured) -> BTreeMap<String, f64> {
    let read = ("device_bytes".to_owned(), measured.resources.read_bytes as f64);
    (bench.job.group == Group::Load).then_some(read).into_iter().collect()
}

fn random(bench: &mut Bench<'_>, engine: &dyn Engine, name: &str, threads: usize) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let options = bench.options;
    let numbers = numbers(bench, name);
    let parts = numbers.chunks(numbers.len().div_ceil(threads));
    let keys: Vec<_> = parts.map(|part| Keys::new(&options.shape, part.to_vec())).collect();
    let measured = bench.measure(engine, Reads::Fixed, threads, |thread, session| {
        gets(session, &keys[thread], EVERY, options.window())
    })?;
    keep(bench, name, measured, &keys)
}

fn in_place(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    if !bench.wants("readinplace") {
        return Ok(());
    }
    let options = bench.options;
    let keys = Keys::new(&options.shape, numbers(bench, "readinplace"));
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        let mut found = Found::default();
        let tally = closed_loop(keys.len(), options.window(), EVERY, |at| {
            if let Some(sum) = session.get_in_place(keys.key(at))? {
                found.merge(Found { entries: 1, sum });
            }
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    keep(bench, "readinplace", measured, &[keys])
}

fn missing(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    if !bench.wants("readmissing") {
        return Ok(());
    }
    let options = bench.options;
    let keys = Keys::beside(&options.shape, numbers(bench, "readmissing"));
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        gets(session, &keys, EVERY, options.window())
    })?;
    bench.check("readmissing", measured.found(), Found::default())?;
    let checked = if bench.kind.answers { measured.operations(0) as u64 } else { 0 };
    bench.keep("readmissing", Ok((measured, Facts { checked, ..Facts::default() })))
}

fn multi(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    const NAME: &str = "multireadrandom";
    if !bench.wants(NAME) {
        return Ok(());
    }
    let options = bench.options;
    let keys = Keys::new(&options.shape, numbers(bench, NAME));
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        let mut found = Found::default();
        let mut call: Vec<&[u8]> = Vec::with_capacity(MULTI);
        let tally = closed_loop(keys.len() / MULTI, options.window(), 1, |at| {
            call.clear();
            call.extend((at * MULTI..(at + 1) * MULTI).map(|at| keys.key(at)));
            found.merge(session.multi_get(&call)?);
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    let numbers = keys.numbers(measured.operations(0) * MULTI).iter().copied();
    let expected = reading(&bench.values, numbers);
    let checked = bench.check(NAME, measured.found(), expected)?;
    let facts = Facts { weight: MULTI as u64, checked, ..Facts::default() };
    bench.keep(NAME, Ok((measured, facts)))
}

/// Scans of the whole base, or of as much of it as one round may read, again and again.
fn scan(
    bench: &mut Bench<'_>,
    engine: &dyn Engine,
    sums: &Sums,
    name: &str,
    direction: Direction,
) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let options = bench.options;
    let length = options.operations();
    let passes = (MOST_OPERATIONS / length) as usize;
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        let mut found = Found::default();
        let tally = closed_loop(passes, options.window(), 1, |_| {
            found.merge(session.scan(None, direction, length)?);
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    let from = match direction {
        Direction::Forward => 0,
        Direction::Backward => options.entries - length,
    };
    let mut expected = Found::default();
    for _ in 0..measured.operations(0) {
        expected.merge(sums.scan(from, length, options.entries));
    }
    let checked = bench.check(name, measured.found(), expected)?;
    bench.keep(name, Ok((measured, Facts { weight: length, checked, ..Facts::default() })))
}

fn seek(
    bench: &mut Bench<'_>,
    engine: &dyn Engine,
    sums: &Sums,
    name: &str,
    nexts: u64,
) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let options = bench.options;
    let keys = Keys::new(&options.shape, numbers(bench, name));
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        seeks(session, &keys, nexts, options.window())
    })?;
    let mut expected = Found::default();
    for number in keys.numbers(measured.operations(0)) {
        expected.merge(sums.scan(*number, nexts, options.entries));
    }
    let checked = bench.check(name, measured.found(), expected)?;
    let facts = Facts { checked, extra: not_in_memory(bench, &measured), ..Facts::default() };
    bench.keep(name, Ok((measured, facts)))
}

fn seeks(session: &mut dyn Session, keys: &Keys, nexts: u64, limit: Duration) -> Result<Done> {
    let mut found = Found::default();
    let tally = closed_loop(keys.len(), limit, EVERY, |at| {
        found.merge(session.scan(Some(keys.key(at)), Direction::Forward, nexts)?);
        Ok(())
    })?;
    Ok(Done { tally, found })
}

fn zipfian(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    if !bench.wants("ycsbc") {
        return Ok(());
    }
    let options = bench.options;
    let mut random = bench.random("ycsbc");
    let zipf = Zipf::new(options.entries);
    let count = MOST_OPERATIONS.min(most(options));
    let numbers = (0..count).map(|_| zipf.scrambled(&mut random)).collect();
    let keys = Keys::new(&options.shape, numbers);
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        gets(session, &keys, EVERY, options.window())
    })?;
    keep(bench, "ycsbc", measured, &[keys])
}

fn paced(bench: &mut Bench<'_>, engine: &dyn Engine) -> Result<()> {
    const NAME: &str = "latencyread";
    if !bench.wants(NAME) {
        return Ok(());
    }
    let options = bench.options;
    let keys = Keys::new(&options.shape, numbers(bench, NAME));
    let measured = bench.measure(engine, Reads::Fixed, 1, |_, session| {
        let mut found = Found::default();
        let tally = open_loop(keys.len(), options.window(), options.read_load, |at| {
            if let Some(sum) = session.get(keys.key(at))? {
                found.merge(Found { entries: 1, sum });
            }
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    let numbers = keys.numbers(measured.operations(0)).iter().copied();
    let checked = bench.check(NAME, measured.found(), reading(&bench.values, numbers))?;
    let extra = [("load".to_owned(), options.read_load)].into();
    bench.keep(NAME, Ok((measured, Facts { checked, extra, ..Facts::default() })))
}

/// Bytes of a page of the device.
const PAGE: u64 = 4096;

/// A cold store is read up to one in so many of its pages.
const COLD_PART: u64 = 10;

/// `readrandomcold`: nothing of the store is in memory.
pub(super) fn run_cold(bench: &mut Bench<'_>) -> Result<()> {
    const NAME: &str = "readrandomcold";
    let options = bench.options;
    // More would find what the first have brought into memory.
    let most = (options.user_bytes() / PAGE / COLD_PART).clamp(20, MOST_OPERATIONS);
    let numbers = at_random(&mut bench.random(NAME), most, options.entries);
    let keys = Keys::new(&options.shape, numbers);
    files::chill(&bench.job.dir)?;
    let engine = bench.kind.open(&Settings { cold: true, ..bench.settings() })?;
    let measured = bench.measure(&*engine, Reads::Fixed, 1, |_, session| {
        gets(session, &keys, EVERY, options.window())
    })?;
    if bench.kind.answers && measured.resources.read_bytes == 0 {
        let why = "nothing came from a device: this filesystem keeps its files in memory";
        return bench.keep(NAME, Err(Failure::unsupported(why)));
    }
    let numbers = keys.numbers(measured.operations(0)).iter().copied();
    let checked = bench.check(NAME, measured.found(), reading(&bench.values, numbers))?;
    let read = measured.resources.read_bytes as f64 / measured.resources.disk_bytes.max(1) as f64;
    let extra = [("store_read".to_owned(), read)].into();
    bench.keep(NAME, Ok((measured, Facts { checked, extra, ..Facts::default() })))?;
    engine.close()
}

/// `open`: of a store that was closed properly.
pub(super) fn run_open(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    files::warm(&bench.job.dir)?;
    let number = options.entries / 2;
    let key = options.shape.key(number);
    let ((engine, sum), measured) = bench.measure_once(|| {
        let engine = bench.open()?;
        let sum = engine.session(Reads::Current)?.get(&key)?;
        Ok((engine, sum))
    })?;
    let found = sum.map_or(Found::default(), |sum| Found { entries: 1, sum });
    let checked = bench.check("open", found, reading(&bench.values, [number]))?;
    bench.keep("open", Ok((measured, Facts { checked, ..Facts::default() })))?;
    engine.close()
}
