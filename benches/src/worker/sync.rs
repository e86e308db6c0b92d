//! Workloads whose writes are on the device when they are acknowledged.

use super::bench::{Bench, Done, Facts, load, put_paced, put_versions};
use super::entries::{Keys, Ledger, at_random, shuffled};
use crate::engine::{Class, Engine, Found, Reads, Settings};
use crate::failure::{Failure, Result};
use crate::measure::clock::{EVERY, closed_loop};
use crate::options::MOST_OPERATIONS;

/// The numbers of writers.
const WRITERS: [(&str, usize); 4] =
    [("fillsync1", 1), ("fillsync4", 4), ("fillsync16", 16), ("fillsync64", 64)];

/// Keys made for one workload, of all writers: more than any device syncs in a window.
const MOST: u64 = MOST_OPERATIONS / 2;

/// `fillsync` with 1 to 64 writers, and its latency at a fixed load.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let sessions = WRITERS.iter().map(|(_, writers)| *writers).max().unwrap_or(1) + 1;
    let engine = bench.kind.open(&Settings { sessions, ..bench.settings() })?;
    let mut ledger = Ledger::empty(bench.options.entries);
    for (name, writers) in WRITERS {
        if bench.wants(name) {
            fill(bench, &*engine, &mut ledger, name, writers)?;
            engine.settle()?;
        }
    }
    if bench.wants("latencysync") {
        paced(bench, &*engine, &mut ledger)?;
    }
    bench.check_all(&*engine, "fillsync", ledger.expected(&bench.values))?;
    engine.close()
}

fn fill(
    bench: &mut Bench<'_>,
    engine: &dyn Engine,
    ledger: &mut Ledger,
    name: &str,
    writers: usize,
) -> Result<()> {
    let options = bench.options;
    let keys = shares(bench, name, options.entries, writers);
    let first = ledger.next_version();
    let measured = bench.measure(engine, Reads::Current, writers, |writer, session| {
        // Next to a sync the clock costs nothing.
        put_versions(session, &keys[writer], &bench.values, first, 1, options.window())
    })?;
    let mut done = 0;
    for (writer, keys) in keys.iter().enumerate() {
        let operations = measured.operations(writer);
        ledger.put_all(keys.numbers(operations).iter().copied(), first);
        done += operations as u64;
    }
    ledger.took(keys[0].len());
    let user_bytes = done * options.shape.entry_size();
    let facts = Facts { user_bytes, remark: engine.remark(), ..Facts::default() };
    bench.keep(name, Ok((measured, facts)))
}

/// Random keys for each writer. No two writers share a number, so that it is known whose put of it
/// was the last.
fn shares(bench: &Bench<'_>, name: &str, entries: u64, writers: usize) -> Vec<Keys> {
    let mut random = bench.random(name);
    let (count, writers) = (MOST / writers as u64, writers as u64);
    let share = |writer| {
        let chosen = at_random(&mut random, count, (entries / writers).max(1));
        let numbers = chosen.into_iter().map(|number| number * writers + writer).collect();
        Keys::new(&bench.options.shape, numbers)
    };
    (0..writers).map(share).collect()
}

fn paced(bench: &mut Bench<'_>, engine: &dyn Engine, ledger: &mut Ledger) -> Result<()> {
    const NAME: &str = "latencysync";
    let options = bench.options;
    let keys = Keys::new(&options.shape, at_random(&mut bench.random(NAME), MOST, options.entries));
    let first = ledger.next_version();
    let measured = bench.measure(engine, Reads::Current, 1, |_, session| {
        put_paced(session, &keys, &bench.values, first, options.sync_load, options.window())
    })?;
    let done = measured.operations(0);
    ledger.put_all(keys.numbers(done).iter().copied(), first);
    ledger.took(done);
    let facts = Facts {
        user_bytes: done as u64 * options.shape.entry_size(),
        extra: [("load".to_owned(), options.sync_load)].into(),
        ..Facts::default()
    };
    bench.keep(NAME, Ok((measured, facts)))
}

/// Part of the base that the store of `mixedsync` holds beforehand.
const MIXED_PART: u64 = 10;

/// `mixedsync`: one writer of synced puts beside one of buffered puts.
pub(super) fn run_mixed(bench: &mut Bench<'_>) -> Result<()> {
    const NAME: &str = "mixedsync";
    let options = bench.options;
    if !bench.kind.can(Class::Buffered) {
        return bench.keep(NAME, Err(Failure::unsupported("has no buffered writes")));
    }
    // The weaker class is the store's; each put says which it wants.
    let engine = bench.kind.open(&Settings { class: Class::Buffered, ..bench.settings() })?;
    let entries = (options.entries / MIXED_PART).max(2);
    let base = Keys::new(&options.shape, shuffled(&mut bench.random(NAME), entries));
    let classes = [Class::Synced, Class::Buffered];
    let keys = shares(bench, "mixed", entries, classes.len());
    let mut ledger = Ledger::full(entries);
    let first = ledger.next_version();
    let outcome = load(&*engine, &base, 0, &bench.values).and_then(|()| {
        bench.measure(&*engine, Reads::Current, 2, |writer, session| {
            let (class, keys) = (classes[writer], &keys[writer]);
            // The buffered one is faster: it starts over until its time has passed.
            let mut value = Vec::new();
            let tally = closed_loop(usize::MAX, options.window(), EVERY, |operation| {
                let at = operation % keys.len();
                let version = first.wrapping_add(operation as u32);
                let value = bench.values.version(keys.number(at), version, &mut value);
                session.put_as(class, keys.key(at), value)
            })?;
            Ok(Done { tally, found: Found::default() })
        })
    });
    let kept = outcome.map(|mut measured| {
        for (writer, keys) in keys.iter().enumerate() {
            let operations = 0..measured.operations(writer);
            let numbers = operations.map(|operation| keys.number(operation % keys.len()));
            ledger.put_all(numbers, first);
        }
        let buffered = measured.threads.pop();
        let rate = buffered.map_or(0.0, |done| {
            let tally = done.tally;
            tally.operations as f64 / (tally.ended - tally.began).as_secs_f64()
        });
        let extra = [("buffered_rate".to_owned(), rate)].into();
        (measured, Facts { extra, ..Facts::default() })
    });
    let measured = kept.is_ok();
    bench.keep(NAME, kept)?;
    if measured {
        bench.check_all(&*engine, NAME, ledger.expected(&bench.values))?;
    }
    engine.close()
}
