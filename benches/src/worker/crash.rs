//! A store whose process dies without a word, and its next open.

use rustix::process::{Signal, getpid, kill_process};

use super::bench::{Bench, Facts, puts};
use super::entries::{Keys, reading, shuffled};
use crate::engine::{Direction, Reads};
use crate::failure::{Failure, Result};
use crate::options::MOST_SECONDS;

/// Entries that the dying process writes: one base store in this many. At three million that is
/// about one memtable of 64 MiB.
const PART: u64 = 6;

/// ... and no more than this.
const MOST: u64 = 500_000;

const NAME: &str = "opencrash";

fn numbers(bench: &Bench<'_>) -> Vec<u64> {
    shuffled(&mut bench.random(NAME), (bench.options.entries / PART).clamp(1, MOST))
}

/// Fills the store and kills the process.
pub(super) fn die(bench: &mut Bench<'_>) -> Result<()> {
    let engine = bench.open()?;
    let keys = Keys::new(&bench.options.shape, numbers(bench));
    let limit = std::time::Duration::from_secs_f64(MOST_SECONDS * 6.0);
    let done = puts(&mut *engine.session(Reads::Current)?, &keys, &bench.values, limit)?;
    if done.tally.operations < keys.len() {
        return Err(Failure::other("the store to be killed was not filled within a minute"));
    }
    kill_process(getpid(), Signal::KILL)?;
    Err(Failure::other("the process was killed and lives"))
}

/// Opens what the dead process left.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let numbers = numbers(bench);
    let key = bench.options.shape.key(numbers[0]);
    let ((engine, _), measured) = bench.measure_once(|| {
        let engine = bench.open()?;
        let sum = engine.session(Reads::Current)?.get(&key)?;
        Ok((engine, sum))
    })?;
    let found = engine.session(Reads::Fixed)?.scan(None, Direction::Forward, u64::MAX)?;
    let expected = reading(&bench.values, numbers);
    let facts = Facts { checked: bench.check(NAME, found, expected)?, ..Facts::default() };
    bench.keep(NAME, Ok((measured, facts)))?;
    engine.close()
}
