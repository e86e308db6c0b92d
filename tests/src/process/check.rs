//! The oracle: what a store must hold after one of its lives has ended.
//!
//! The counters say how far each writer got; that must be a prefix that the [`Ledger`] allows, and
//! all else must be what the [`plan`] makes of exactly these commits. What differs is
//! told apart by the stamp that is found where another one was expected.

use std::collections::BTreeSet;
use std::fmt;

use orlop::Store;

use super::ledger::{Ledger, PerWriter};
use super::plan::{self, COUNTED, Holdings, Stamp, WRITERS};
use crate::model::{self, Model};

/// What can be wrong, under the name that it is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something that was promised is not there.
    Lost,
    /// A commit is there in part.
    Half,
    /// Something is there again that had been replaced, deleted, or dropped by a recovery.
    Resurrected,
    /// Something was acknowledged that could not be.
    FalseAck,
    /// The store does not open.
    Unopenable,
    /// Anything else: foreign bytes, an error from a read, paths that disagree.
    Wrong,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] =
        [Kind::Lost, Kind::Half, Kind::Resurrected, Kind::FalseAck, Kind::Unopenable, Kind::Wrong];

    /// The name of its count.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lost => "lost",
            Kind::Half => "half",
            Kind::Resurrected => "resurrected",
            Kind::FalseAck => "false_acks",
            Kind::Unopenable => "unopenable",
            Kind::Wrong => "wrong",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What sort of.
    pub kind: Kind,
    /// One line.
    pub what: String,
}

impl Finding {
    /// A finding.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }

    /// An open that failed.
    pub fn unopenable(error: &impl fmt::Display) -> Self {
        Self::new(Kind::Unopenable, error.to_string())
    }
}

fn wrong(what: impl fmt::Display) -> Finding {
    Finding::new(Kind::Wrong, what.to_string())
}

/// What one writer has done, over all lives of a store.
#[derive(Debug, Clone, Default)]
struct Writer {
    /// The last commit that is there.
    number: u64,
    holdings: Holdings,
    /// For each life from which something is there, its last commit.
    lives: Vec<(u32, u64)>,
}

impl Writer {
    /// Whether the commit of this stamp is one of those that are there.
    fn has_made(&self, stamp: &Stamp) -> bool {
        let life = self.lives.iter().find(|(_, last)| stamp.number <= *last);
        life.is_some_and(|(life, _)| *life == stamp.life)
    }

    /// Commits up to `number`, made in `life`, turned out to be there.
    fn advance(&mut self, seed: u64, writer: usize, life: u32, number: u64) {
        for number in self.number + 1..=number {
            let ops = plan::commit(seed, writer, number);
            plan::apply(&ops, &mut self.holdings, writer, life, number);
        }
        if number > self.number {
            self.lives.push((life, number));
            self.number = number;
        }
    }
}

/// What is in a store, as far as the parent knows.
#[derive(Debug, Clone)]
pub struct History {
    seed: u64,
    writers: Vec<Writer>,
}

impl History {
    /// The history of a store that does not exist yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, writers: vec![Writer::default(); WRITERS] }
    }

    /// What the commits are made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The last commit of each writer.
    pub fn numbers(&self) -> PerWriter {
        std::array::from_fn(|writer| self.writers[writer].number)
    }

    /// Finds how much of `life` is there, checks that it may be so, and that everything else is
    /// exactly as it follows from that, through every read path.
    ///
    /// # Errors
    /// The first thing that is wrong; the history is then as before.
    pub fn advance(&mut self, store: &Store, ledger: &Ledger, life: u32) -> Result<(), Finding> {
        let contents = model::contents(store).map_err(wrong)?;
        let found = self.found(&contents, life)?;
        ledger.check(&found).map_err(|what| {
            let too_much = (0..WRITERS).any(|writer| found[writer] > ledger.most[writer]);
            Finding::new(if too_much { Kind::Wrong } else { Kind::Lost }, what)
        })?;
        let mut next = self.clone();
        for (writer, number) in found.into_iter().enumerate() {
            next.writers[writer].advance(self.seed, writer, life, number);
        }
        next.compare(&contents, &self.numbers(), life)?;
        model::check(store, &next.model()).map_err(|difference| wrong(difference.to_string()))?;
        *self = next;
        Ok(())
    }

    /// Checks that a store holds what the last [`advance`](History::advance) has found.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, store: &Store) -> Result<(), Finding> {
        let contents = model::contents(store).map_err(wrong)?;
        self.compare(&contents, &self.numbers(), 0)?;
        model::check(store, &self.model()).map_err(|difference| wrong(difference.to_string()))
    }

    /// What the counters say.
    fn found(&self, contents: &Model, life: u32) -> Result<PerWriter, Finding> {
        let mut found = [0; WRITERS];
        for (writer, number) in found.iter_mut().enumerate() {
            let key = plan::counter(writer);
            let value = contents.get(COUNTED).and_then(|counted| counted.get(key.as_bytes()));
            let Some(value) = value else { continue };
            let Some(stamp) = Stamp::read(key.as_bytes(), value) else {
                return Err(wrong(format!("{key} holds bytes that nobody wrote there")));
            };
            *number = stamp.number;
            if stamp.life != life && !self.writers[writer].has_made(&stamp) {
                return Err(Finding::new(Kind::Resurrected, format!("the counter {stamp:?}")));
            }
        }
        Ok(found)
    }

    fn model(&self) -> Model {
        let mut model = Model::new();
        for (name, entries) in self.writers.iter().flat_map(|writer| &writer.holdings) {
            let contents = model.entry(name.clone()).or_default();
            for (key, stamp) in entries {
                contents.insert(key.as_bytes().to_vec(), stamp.value(key.as_bytes()));
            }
        }
        model
    }

    /// Compares what was read with what this history makes; `base` is where `life` began.
    fn compare(&self, contents: &Model, base: &PerWriter, life: u32) -> Result<(), Finding> {
        let expected = self.model();
        if *contents == expected {
            return Ok(());
        }
        let names: BTreeSet<_> = contents.keys().chain(expected.keys()).collect();
        for name in names {
            let (Some(have), Some(want)) = (contents.get(name), expected.get(name)) else {
                let there = contents.contains_key(name);
                let kind = if there { Kind::Resurrected } else { Kind::Half };
                return Err(Finding::new(kind, format!("database {name} there: {there}")));
            };
            let keys: BTreeSet<_> = have.keys().chain(want.keys()).collect();
            for key in keys {
                let (have, want) = (have.get(key), want.get(key));
                if have != want {
                    return Err(self.explain(
                        name,
                        key,
                        [have, want].map(|v| v.map(Vec::as_slice)),
                        base,
                        life,
                    ));
                }
            }
        }
        Err(wrong("the contents differ, but no entry does"))
    }

    /// What sort of difference it is that `have` is under `key` instead of `want`.
    fn explain(
        &self,
        name: &str,
        key: &[u8],
        [have, want]: [Option<&[u8]>; 2],
        base: &PerWriter,
        life: u32,
    ) -> Finding {
        let stamp = |value: Option<&[u8]>| value.and_then(|value| Stamp::read(key, value));
        let (found, expected) = (stamp(have), stamp(want));
        let numbers = self.numbers();
        let kind = match (found, expected) {
            (None, _) if have.is_some() => Kind::Wrong,
            (Some(found), _) if usize::from(found.writer) >= WRITERS => Kind::Wrong,
            (Some(found), _) if found.number > numbers[usize::from(found.writer)] => {
                if found.life == life { Kind::Half } else { Kind::Resurrected }
            }
            (Some(found), _) if !self.writers[usize::from(found.writer)].has_made(&found) => {
                Kind::Resurrected
            }
            (_, Some(expected)) if expected.number > base[usize::from(expected.writer)] => {
                Kind::Half
            }
            (_, Some(_)) => Kind::Lost,
            (_, None) => Kind::Resurrected,
        };
        let key = key.escape_ascii();
        let what = format!("{name} {key}: {found:?} instead of {expected:?}, with {numbers:?}");
        Finding::new(kind, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ledger::Ordeal;
    use crate::process::plan::Op;
    use crate::process::report::{Event, Record};
    use orlop::Durability;

    const SEED: u64 = 5;

    /// Commits of writer 0, begun and acknowledged.
    fn told(numbers: std::ops::RangeInclusive<u64>) -> Vec<Record> {
        let record = |event, number| Record {
            event,
            writer: 0,
            durability: Durability::Buffered,
            number,
            micros: 0,
        };
        numbers.flat_map(|n| [record(Event::Begin, n), record(Event::Ack, n)]).collect()
    }

    fn ledger(records: &[Record], base: u64) -> Ledger {
        Ledger::read(records, [base, 0, 0], Ordeal::Kill).unwrap()
    }

    fn commit(store: &Store, life: u32, number: u64) {
        let ops = plan::commit(SEED, 0, number);
        plan::batch(store, &ops, 0, life, number).unwrap().commit().unwrap();
    }

    /// A store with ten commits of life 1, and its history.
    fn ten() -> (Store, History) {
        let store = Store::in_memory().unwrap();
        (1..=10).for_each(|number| commit(&store, 1, number));
        let mut history = History::new(SEED);
        history.advance(&store, &ledger(&told(1..=10), 0), 1).unwrap();
        (store, history)
    }

    fn advance(store: &Store, history: &mut History, upto: u64, life: u32) -> Kind {
        let base = history.numbers()[0];
        let found = history.advance(store, &ledger(&told(base + 1..=upto), base), life);
        found.unwrap_err().kind
    }

    #[test]
    fn a_store_that_went_on_as_planned_is_right() {
        let (store, mut history) = ten();
        history.check(&store).unwrap();
        (11..=60).for_each(|number| commit(&store, 2, number));
        history.advance(&store, &ledger(&told(11..=60), 10), 2).unwrap();
        assert_eq!(history.numbers(), [60, 0, 0]);
        history.check(&store).unwrap();
    }

    #[test]
    fn an_acknowledged_commit_that_is_not_there_is_lost() {
        let (store, mut history) = ten();
        commit(&store, 2, 11);
        assert_eq!(advance(&store, &mut history, 12, 2), Kind::Lost);
        assert_eq!(history.numbers(), [10, 0, 0], "as before");
    }

    #[test]
    fn a_commit_that_nobody_began_is_wrong() {
        let (store, mut history) = ten();
        (11..=13).for_each(|number| commit(&store, 2, number));
        assert_eq!(advance(&store, &mut history, 12, 2), Kind::Wrong);
    }

    /// A commit from `from` on with more than its counter.
    fn with_a_put(from: u64) -> (u64, Vec<Op>) {
        let number = (from..).find(|n| {
            let ops = plan::commit(SEED, 0, *n);
            n % 24 > 1 && ops.iter().filter(|op| matches!(op, Op::Put(..))).count() > 1
        });
        (number.unwrap(), plan::commit(SEED, 0, number.unwrap()))
    }

    #[test]
    fn a_part_of_a_batch_is_half() {
        // The counter without the rest.
        let (store, mut history) = ten();
        let (number, ops) = with_a_put(11);
        (11..number).for_each(|number| commit(&store, 2, number));
        let counter = ops.last().cloned().unwrap();
        plan::batch(&store, &[counter], 0, 2, number).unwrap().commit().unwrap();
        assert_eq!(advance(&store, &mut history, number, 2), Kind::Half);
        // The rest without the counter.
        let (store, mut history) = ten();
        (11..number).for_each(|number| commit(&store, 2, number));
        let rest = &ops[..ops.len() - 1];
        plan::batch(&store, rest, 0, 2, number).unwrap().commit().unwrap();
        let mut records = told(11..=number);
        records.pop(); // not acknowledged, so it may be missing: but as a whole
        let found = history.advance(&store, &ledger(&records, 10), 2);
        assert_eq!(found.unwrap_err().kind, Kind::Half);
    }

    #[test]
    fn what_a_recovery_dropped_must_not_come_back() {
        let (store, mut history) = ten();
        // Life 2 wrote commit 11, it was dropped; life 3 made its own commit 11.
        let (number, ops) = with_a_put(11);
        (11..=number).for_each(|number| commit(&store, 3, number));
        plan::batch(&store, &ops[..1], 0, 2, number).unwrap().commit().unwrap();
        assert_eq!(advance(&store, &mut history, number, 3), Kind::Resurrected);
        // The same with the counter itself.
        let (store, mut history) = ten();
        commit(&store, 2, 11);
        assert_eq!(advance(&store, &mut history, 11, 3), Kind::Resurrected);
    }

    #[test]
    fn an_old_version_a_deleted_key_and_a_foreign_value_are_told_apart() {
        let (store, history) = ten();
        let database = store.database(COUNTED).unwrap();
        let stamp = Stamp { writer: 0, life: 1, number: 3, len: 40 };
        database.put("0/zz", stamp.value(b"0/zz")).unwrap();
        assert_eq!(history.check(&store).unwrap_err().kind, Kind::Resurrected);
        database.delete("0/zz").unwrap();
        history.check(&store).unwrap();
        database.put(plan::counter(0), "foreign").unwrap();
        assert_eq!(history.check(&store).unwrap_err().kind, Kind::Wrong);
        database.delete(plan::counter(0)).unwrap();
        assert_eq!(history.check(&store).unwrap_err().kind, Kind::Lost);
    }

    #[test]
    fn a_database_that_should_be_gone_is_resurrected() {
        let (store, history) = ten();
        store.database("own2").unwrap().put("x", "y").unwrap();
        assert_eq!(history.check(&store).unwrap_err().kind, Kind::Resurrected);
    }
}
