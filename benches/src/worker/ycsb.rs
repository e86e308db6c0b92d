//! The core workloads of the Yahoo! Cloud Serving Benchmark (Cooper et al., SoCC 2010), on one
//! thread. Inserted keys ascend (`insertorder=ordered`), since an entry's number is its place.

use super::bench::{Bench, Done, Facts};
use super::entries::{Keys, Ledger, Sums};
use super::zipf::Zipf;
use crate::engine::{Direction, Engine, Found, Reads};
use crate::failure::Result;
use crate::measure::clock::{EVERY, closed_loop};
use crate::options::MOST_OPERATIONS;
use crate::shape::{PLAIN, Values};

/// Which entries are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Zipfian over all.
    Zipfian,
    /// Zipfian backwards from the last one inserted.
    Latest,
}

/// What happens beside plain gets, in percent; the rest are gets.
#[derive(Clone, Copy)]
pub(super) struct Mix {
    pub(super) name: &'static str,
    pub(super) choice: Choice,
    pub(super) updates: u64,
    pub(super) inserts: u64,
    pub(super) scans: u64,
    pub(super) changes: u64,
}

const NONE: Mix =
    Mix { name: "", choice: Choice::Zipfian, updates: 0, inserts: 0, scans: 0, changes: 0 };

pub(super) const B: Mix = Mix { name: "ycsbb", updates: 5, ..NONE };
pub(super) const D: Mix = Mix { name: "ycsbd", choice: Choice::Latest, inserts: 5, ..NONE };
pub(super) const E: Mix = Mix { name: "ycsbe", scans: 95, inserts: 5, ..NONE };
pub(super) const A: Mix = Mix { name: "ycsba", updates: 50, ..NONE };
pub(super) const F: Mix = Mix { name: "ycsbf", changes: 50, ..NONE };

/// Longest scan of workload E; lengths are even from 1 on.
const LONGEST: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Get,
    Put,
    /// Get and put of the same key.
    Change,
    /// At most so many entries.
    Scan(u64),
}

/// Operations made beforehand.
struct Operations {
    what: Vec<What>,
    keys: Keys,
    /// Entries in the store when each begins: they are 0 to this.
    counts: Vec<u64>,
    /// ... and after the last.
    count: u64,
}

impl Operations {
    fn new(bench: &Bench<'_>, mix: &Mix, mut count: u64) -> Self {
        let mut random = bench.random(mix.name);
        let zipf = Zipf::new(count);
        // More than any engine with an answer does in a window.
        let most = MOST_OPERATIONS.min((bench.options.seconds * 3e6) as u64 + 1);
        let (mut what, mut numbers, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..most {
            counts.push(count);
            let mut percent = random.u64(0..100);
            let mut is = |share: u64| {
                let taken = percent < share;
                percent = percent.wrapping_sub(share);
                taken
            };
            if is(mix.inserts) {
                what.push(What::Put);
                numbers.push(count);
                count += 1;
                continue;
            }
            let rest = [(mix.updates, What::Put), (mix.changes, What::Change)];
            let chosen = rest.into_iter().find(|(share, _)| is(*share)).map(|(_, what)| what);
            let scan = chosen.is_none() && is(mix.scans);
            what.push(match chosen {
                Some(what) => what,
                None if scan => What::Scan(random.u64(1..=LONGEST)),
                None => What::Get,
            });
            numbers.push(match mix.choice {
                Choice::Zipfian => zipf.scrambled(&mut random),
                Choice::Latest => count - 1 - zipf.rank(&mut random).min(count - 1),
            });
        }
        Self { what, keys: Keys::new(&bench.options.shape, numbers), counts, count }
    }

    /// Does the first `done` operations once more, on the ledger: what they must have found, and
    /// how many of them wrote. No mix has both scans and puts over what is there, so the sums of
    /// scans need no more than what was there at the begin and what was inserted since.
    fn replay(&self, values: &Values, done: usize, ledger: &mut Ledger) -> (Found, u64) {
        let most = self.counts.get(done.saturating_sub(1)).copied().unwrap_or(0) + 1;
        let scans = self.what[..done].iter().any(|what| matches!(what, What::Scan(_)));
        let sums = scans.then(|| Sums::new(values, ledger, most));
        let first = ledger.next_version();
        let (mut expected, mut puts) = (Found::default(), 0);
        for at in 0..done {
            let number = self.keys.number(at);
            let what = self.what[at];
            if matches!(what, What::Get | What::Change) {
                expected.merge(ledger.get(values, number));
            }
            if let (What::Scan(limit), Some(sums)) = (what, &sums) {
                expected.merge(sums.scan(number, limit, self.counts[at]));
            }
            if matches!(what, What::Put | What::Change) {
                ledger.put(number, self.version(first, at));
                puts += 1;
            }
        }
        ledger.took(done);
        (expected, puts)
    }

    /// The version in which operation `at` puts its entry: what is inserted is plain.
    fn version(&self, first: u32, at: usize) -> u32 {
        if self.keys.number(at) == self.counts[at] { PLAIN } else { first.wrapping_add(at as u32) }
    }
}

/// Runs one mix on a store that holds entries 0 to `count`; their number afterwards.
pub(super) fn run(
    bench: &mut Bench<'_>,
    engine: &dyn Engine,
    mix: &Mix,
    count: u64,
    ledger: &mut Ledger,
) -> Result<u64> {
    let operations = Operations::new(bench, mix, count);
    let window = bench.options.window();
    let values = &bench.values;
    let first = ledger.next_version();
    let measured = bench.measure(engine, Reads::Current, 1, |_, session| {
        let mut found = Found::default();
        let mut value = Vec::new();
        let tally = closed_loop(operations.keys.len(), window, EVERY, |at| {
            let key = operations.keys.key(at);
            let what = operations.what[at];
            match what {
                What::Get | What::Change => {
                    if let Some(sum) = session.get(key)? {
                        found.merge(Found { entries: 1, sum });
                    }
                }
                What::Scan(limit) => {
                    found.merge(session.scan(Some(key), Direction::Forward, limit)?);
                }
                What::Put => {}
            }
            match what {
                What::Put | What::Change => {
                    let number = operations.keys.number(at);
                    match operations.version(first, at) {
                        PLAIN => session.put(key, values.of(number)),
                        version => session.put(key, values.version(number, version, &mut value)),
                    }
                }
                What::Get | What::Scan(_) => Ok(()),
            }
        })?;
        Ok(Done { tally, found })
    })?;
    let done = measured.operations(0);
    let (expected, puts) = operations.replay(&bench.values, done, ledger);
    let count = operations.counts.get(done).copied().unwrap_or(operations.count);
    let checked = bench.check(mix.name, measured.found(), expected)?;
    let user_bytes = puts * bench.options.shape.entry_size();
    bench.keep(mix.name, Ok((measured, Facts { checked, user_bytes, ..Facts::default() })))?;
    Ok(count)
}
