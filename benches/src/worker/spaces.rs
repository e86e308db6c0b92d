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

/// Entries of one scan.
const NEXTS: u64 = 10;

/// `fill16spaces`, `read16spaces` and `seek16spaces10`.
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
    seek(bench, &*engine, &written)?;
    engine.close()
}

/// Random entries of those that were written, for each thread.
fn choose(bench: &Bench<'_>, name: &str, written: &[u64]) -> Vec<Keys> {
    let options = bench.options;
    let mut random = bench.random(name);
    (0..THREADS)
        .map(|_| {
            let choices = at_random(&mut random, options.operations(), written.len() as u64);
            let numbers = choices.into_iter().map(|at| written[at as usize]).collect();
            Keys::new(&options.shape, numbers)
        })
        .collect()
}

fn read(bench: &mut Bench<'_>, engine: &dyn Engine, written: &[u64]) -> Result<()> {
    const NAME: &str = "read16spaces";
    if !bench.wants(NAME) {
        return Ok(());
    }
    let options = bench.options;
    let keys = choose(bench, NAME, written);
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

fn seek(bench: &mut Bench<'_>, engine: &dyn Engine, written: &[u64]) -> Result<()> {
    const NAME: &str = "seek16spaces10";
    if !bench.wants(NAME) {
        return Ok(());
    }
    let options = bench.options;
    let keys = choose(bench, NAME, written);
    let measured = bench.measure(engine, Reads::Fixed, THREADS, |thread, session| {
        let keys = &keys[thread];
        let mut found = Found::default();
        let tally = closed_loop(keys.len(), options.window(), EVERY, |at| {
            session.select(space_of(keys.number(at)))?;
            found.merge(session.scan(Some(keys.key(at)), Direction::Forward, NEXTS)?);
            Ok(())
        })?;
        Ok(Done { tally, found })
    })?;
    let spaces = in_order(written);
    let mut expected = Found::default();
    for (thread, keys) in keys.iter().enumerate() {
        for number in keys.numbers(measured.operations(thread)) {
            let space = &spaces[space_of(*number)];
            let from = space.partition_point(|other| other < number);
            let scanned = space[from..].iter().copied().take(NEXTS as usize);
            expected.merge(reading(&bench.values, scanned));
        }
    }
    let checked = bench.check(NAME, measured.found(), expected)?;
    bench.keep(NAME, Ok((measured, Facts { checked, ..Facts::default() })))
}

/// What each key space holds, ascending.
fn in_order(written: &[u64]) -> Vec<Vec<u64>> {
    let mut spaces = vec![Vec::new(); SPACES];
    written.iter().for_each(|number| spaces[space_of(*number)].push(*number));
    spaces.iter_mut().for_each(|space| space.sort_unstable());
    spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_spaces_hold_their_own_in_order() {
        let spaces = in_order(&[33, 16, 1, 0, 17, 2]);
        assert_eq!(spaces[..3], [vec![0, 16], vec![1, 17, 33], vec![2]]);
        assert!(spaces[3..].iter().all(Vec::is_empty));
    }
}
