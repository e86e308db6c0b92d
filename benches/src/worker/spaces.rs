//! Sixteen key spaces of one store at once.

use super::bench::{Bench, Done, Facts};
use super::entries::{Keys, at_random, reading, shuffled};
use crate::engine::{Direction, Engine, Found, Reads, Settings};
use crate::failure::Result;
use crate::measure::clock::{EVERY, closed_loop};

const SPACES: usize = 16;
const THREADS: usize = 2;

/// Entry `number` belongs into this key space.
fn space_of(number: u64) -> usize {
    (number % SPACES as u64) as usize
}

/// `fill16spaces` and `read16spaces`.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let options = bench.options;
    let engine = bench.kind.open(&Settings { spaces: SPACES, ..bench.settings() })?;
    let numbers = shuffled(&mut bench.random("fill16spaces"), options.operations());
    let parts = numbers.chunks(numbers.len().div_ceil(THREADS));
    let keys: Vec<_> = parts.map(|part| Keys::new(&options.shape, part.to_vec())).collect();
    let measured = bench.measure(&*engine, Reads::Current, THREADS, |thread, session| {
        let keys = &keys[thread];
        let tally = closed_loop(keys.len(), options.fill_window(), EVERY, |at| {
            session.select(space_of(keys.number(at)))?;
            session.put(keys.key(at), bench.values.of(keys.number(at)))
        })?;
        Ok(Done { tally, found: Found::default() })
    })?;
    let mut written = Vec::new();
    for (thread, keys) in keys.iter().enumerate() {
        written.extend_from_slice(keys.numbers(measured.operations(thread)));
    }
    let user_bytes = written.len() as u64 * options.shape.entry_size();
    bench.keep("fill16spaces", Ok((measured, Facts { user_bytes, ..Facts::default() })))?;

    engine.settle()?;
    let mut all = Found::default();
    {
        let mut session = engine.session(Reads::Fixed)?;
        for space in 0..SPACES {
            session.select(space)?;
            all.merge(session.scan(None, Direction::Forward, u64::MAX)?);
        }
    }
    bench.check("fill16spaces", all, reading(&bench.values, written.iter().copied()))?;
    read(bench, &*engine, &written)?;
    engine.close()
}

fn read(bench: &mut Bench<'_>, engine: &dyn Engine, written: &[u64]) -> Result<()> {
    const NAME: &str = "read16spaces";
    if !bench.wants(NAME) {
        return Ok(());
    }
    let options = bench.options;
    let mut random = bench.random(NAME);
    let keys: Vec<_> = (0..THREADS)
        .map(|_| {
            let choices = at_random(&mut random, options.operations(), written.len() as u64);
            let numbers = choices.into_iter().map(|at| written[at as usize]).collect();
            Keys::new(&options.shape, numbers)
        })
        .collect();
    let measured = bench.measure(engine, Reads::Fixed, THREADS, |thread, session| {
        let keys = &keys[thread];
        let mut found = Found::default();
        let tally = closed_loop(keys.len(), options.window(), EVERY, |at| {
            session.select(space_of(keys.number(at)))?;
            if let Some(sum) = session.get(keys.key(at))? {
                found.merge(Found { entries: 1, sum });
            }
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    let mut expected = Found::default();
    for (thread, keys) in keys.iter().enumerate() {
        let numbers = keys.numbers(measured.operations(thread)).iter().copied();
        expected.merge(reading(&bench.values, numbers));
    }
    let checked = bench.check(NAME, measured.found(), expected)?;
    bench.keep(NAME, Ok((measured, Facts { checked, ..Facts::default() })))
}
