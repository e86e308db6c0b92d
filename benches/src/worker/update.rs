//! Workloads that change the base store.

use super::bench::{Bench, Done, Facts, gets, put_paced, put_versions};
use super::entries::{Keys, Ledger, at_random};
use super::ycsb;
use crate::engine::{Engine, Found, Reads};
use crate::failure::Result;
use crate::measure::clock::{EVERY, closed_loop};
use crate::measure::files;
use crate::options::MOST_OPERATIONS;

/// All of them, in the order of the catalog, then a look at what is left. Before each the store
/// settles, so that none works off what another has left.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    files::warm(&bench.job.dir)?;
    let engine = bench.open()?;
    let mut count = bench.options.entries;
    let mut ledger = Ledger::full(count);
    bench.check_all(&*engine, "the base", ledger.expected(&bench.values))?;
    for mix in [ycsb::B, ycsb::D, ycsb::E, ycsb::A, ycsb::F] {
        if bench.wants(mix.name) {
            count = ycsb::run(bench, &*engine, &mix, count, &mut ledger)?;
            engine.settle()?;
        }
    }
    let others = [
        ("readwhilewriting", read_while_writing as fn(&mut _, &_, &mut _) -> _),
        ("latencywrite", paced),
        ("overwrite", overwrite),
        ("deleterandom", delete),
    ];
    for (name, run) in others {
        if bench.wants(name) {
            run(bench, &*engine, &mut ledger)?;
            engine.settle()?;
        }
    }
    bench.check_all(&*engine, "the changed base", ledger.expected(&bench.values))?;
    engine.close()
}

fn keys(bench: &Bench<'_>, name: &str) -> Keys {
    let options = bench.options;
    let numbers = at_random(&mut bench.random(name), MOST_OPERATIONS, options.entries);
    Keys::new(&options.shape, numbers)
}

fn read_while_writing(
    bench: &mut Bench<'_>,
    engine: &dyn Engine,
    ledger: &mut Ledger,
) -> Result<()> {
    const NAME: &str = "readwhilewriting";
    let options = bench.options;
    let (read, write) = (keys(bench, NAME), keys(bench, "writing"));
    let first = ledger.next_version();
    let mut measured = bench.measure(engine, Reads::Current, 2, |thread, session| {
        if thread == 0 {
            return gets(session, &read, EVERY, options.window());
        }
        put_paced(session, &write, &bench.values, first, options.write_load, options.window())
    })?;
    let written = measured.operations(1);
    ledger.put_all(write.numbers(written).iter().copied(), first);
    ledger.took(written);
    let writer = measured.threads.pop();
    let rate = writer.map_or(0.0, |done| {
        done.tally.operations as f64 / (done.tally.ended - done.tally.began).as_secs_f64()
    });
    // In which version the reader met an entry is up to chance; that all were there is not.
    let (found, entries) = (measured.found(), measured.operations(0) as u64);
    let checked = bench.check(NAME, found, Found { entries, ..found })?;
    let extra =
        [("writer_rate".to_owned(), rate), ("writer_load".to_owned(), options.write_load)].into();
    bench.keep(NAME, Ok((measured, Facts { checked, extra, ..Facts::default() })))
}

fn paced(bench: &mut Bench<'_>, engine: &dyn Engine, ledger: &mut Ledger) -> Result<()> {
    const NAME: &str = "latencywrite";
    let options = bench.options;
    let keys = keys(bench, NAME);
    let first = ledger.next_version();
    let measured = bench.measure(engine, Reads::Current, 1, |_, session| {
        put_paced(session, &keys, &bench.values, first, options.write_load, options.window())
    })?;
    let done = measured.operations(0);
    ledger.put_all(keys.numbers(done).iter().copied(), first);
    ledger.took(done);
    let facts = Facts {
        user_bytes: done as u64 * options.shape.entry_size(),
        extra: [("load".to_owned(), options.write_load)].into(),
        ..Facts::default()
    };
    bench.keep(NAME, Ok((measured, facts)))
}

fn overwrite(bench: &mut Bench<'_>, engine: &dyn Engine, ledger: &mut Ledger) -> Result<()> {
    const NAME: &str = "overwrite";
    let options = bench.options;
    let keys = keys(bench, NAME);
    let first = ledger.next_version();
    let measured = bench.measure(engine, Reads::Current, 1, |_, session| {
        put_versions(session, &keys, &bench.values, first, EVERY, options.fill_window())
    })?;
    let done = measured.operations(0);
    ledger.put_all(keys.numbers(done).iter().copied(), first);
    ledger.took(done);
    let user_bytes = done as u64 * options.shape.entry_size();
    bench.keep(NAME, Ok((measured, Facts { user_bytes, ..Facts::default() })))
}

fn delete(bench: &mut Bench<'_>, engine: &dyn Engine, ledger: &mut Ledger) -> Result<()> {
    const NAME: &str = "deleterandom";
    let options = bench.options;
    let keys = keys(bench, NAME);
    let measured = bench.measure(engine, Reads::Current, 1, |_, session| {
        let tally = closed_loop(keys.len(), options.fill_window(), EVERY, |at| {
            session.delete(keys.key(at))
        })?;
        Ok(Done { tally, found: Found::default() })
    })?;
    let done = measured.operations(0);
    ledger.delete(keys.numbers(done));
    let user_bytes = done as u64 * options.shape.key_size as u64;
    bench.keep(NAME, Ok((measured, Facts { user_bytes, ..Facts::default() })))
}
