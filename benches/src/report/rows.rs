//! The raw rounds, sorted into rows.
//!
//! A row is one table, one workload and, where the workload writes, one durability class: engines
//! that share a row promised the same. Ratios exist inside a row only, so that nothing can be
//! compared across classes by accident, in no table and in no chart.

use std::collections::BTreeMap;

use super::loads;
use super::stats::{self, Ratio, Sample};
use super::words::CLASSES;
use crate::catalog::{self, Figure, WORKLOADS, Workload};
use crate::engine::{Class, Table};
use crate::record::{EngineFacts, Measurement, Outcome, Round, Run};

/// The engine that all ratios are about.
pub(super) const SUBJECT: &str = "orlop";

/// The engine that does nothing. It has rates but no ratios.
pub(super) const NULL: &str = "null";

/// Every round of a run, sorted.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) run: &'a Run,
    /// In the order of the tables; each row has one cell for each.
    pub(super) engines: Vec<&'a str>,
    pub(super) rows: Vec<Row<'a>>,
}

/// What was measured under equal conditions.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) table: Table,
    pub(super) name: &'a str,
    /// `None` for a name that the catalog of this version does not have.
    pub(super) workload: Option<&'static Workload>,
    /// `None` where nothing is written.
    pub(super) class: Option<Class>,
    pub(super) cells: Vec<Cell<'a>>,
}

/// One engine in one row.
#[derive(Debug, Default)]
pub(super) struct Cell<'a> {
    /// By number.
    pub(super) rounds: BTreeMap<u32, &'a Measurement>,
    pub(super) unsupported: Option<&'a str>,
    /// How far [`SUBJECT`] is ahead of this engine; above 1 it is, whatever the figure. None where
    /// one of the two did not carry a fixed load.
    pub(super) ratio: Option<Ratio>,
}

/// What tells rows apart, in the order in which they are shown.
type Key<'a> = (Table, usize, &'a str, Option<usize>);

impl<'a> Results<'a> {
    pub(super) fn new(run: &'a Run, rounds: &'a [Round]) -> Self {
        let engines = engines(run, rounds);
        let mut rows = BTreeMap::<Key<'a>, Row<'a>>::new();
        // What only reads may have been measured on stores of several classes. The strongest comes
        // last and stays.
        let mut ordered: Vec<_> = rounds.iter().collect();
        ordered.sort_by_key(|round| round.class);
        for round in ordered {
            let row = rows.entry(key(round)).or_insert_with(|| Row::empty(round, engines.len()));
            let at = engines.iter().position(|engine| *engine == round.engine);
            if let Some(cell) = at.and_then(|at| row.cells.get_mut(at)) {
                cell.add(round);
            }
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        if let Some(subject) = engines.iter().position(|engine| *engine == SUBJECT) {
            rows.iter_mut().for_each(|row| row.compare(subject, &engines));
        }
        Self { run, engines, rows }
    }

    /// The rows of a table.
    pub(super) fn of(&self, table: Table) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter().filter(move |row| row.table == table)
    }

    /// Whether there is anything to compare with.
    pub(super) fn has_subject(&self) -> bool {
        self.rows.iter().any(|row| self.measured(row).any(|(engine, _)| engine == SUBJECT))
    }

    /// The cells of a row that hold rounds, with the names of their engines.
    pub(super) fn measured<'b>(
        &'b self,
        row: &'b Row<'a>,
    ) -> impl Iterator<Item = (&'a str, &'b Cell<'a>)> {
        let cells = self.engines.iter().copied().zip(&row.cells);
        cells.filter(|(_, cell)| !cell.rounds.is_empty())
    }

    /// What the run noted of an engine.
    pub(super) fn facts(&self, engine: &str) -> Option<&'a EngineFacts> {
        self.run.engines.iter().find(|facts| facts.name == engine)
    }
}

impl<'a> Row<'a> {
    fn empty(round: &'a Round, engines: usize) -> Self {
        let workload = catalog::find(&round.workload).ok();
        let class = class(round, workload);
        let cells = std::iter::repeat_with(Cell::default).take(engines).collect();
        Self { table: round.table, name: &round.workload, workload, class, cells }
    }

    /// What its main figure is. A workload that nobody knows has rates, which nobody compares.
    pub(super) fn figure(&self) -> Figure {
        self.workload.map_or(Figure::Rate, |workload| workload.figure)
    }

    /// The main figure of one round: operations in a second, or seconds. For latencies, p99.
    pub(super) fn value(&self, measurement: &Measurement) -> Option<f64> {
        let value = match self.figure() {
            Figure::Rate => measurement.rate(),
            Figure::Time => measurement.seconds,
            Figure::Latency => measurement.latency.as_ref()?.p99 as f64 / 1e9,
        };
        (value.is_finite() && value >= 0.0).then_some(value)
    }

    /// The main figure of a cell, over its rounds.
    pub(super) fn median(&self, cell: &Cell<'_>) -> Option<f64> {
        cell.median(|measurement| self.value(measurement))
    }

    /// Its rounds, over all engines, during which others used the machine.
    pub(super) fn loud_rounds(&self) -> usize {
        self.cells.iter().map(Cell::loud_rounds).sum()
    }

    fn compare(&mut self, subject: usize, engines: &[&str]) {
        if self.workload.is_none() {
            return;
        }
        let carried: Vec<_> =
            self.cells.iter().map(|cell| loads::shortfall(cell).is_none()).collect();
        let has_carried = |at: usize| carried.get(at) == Some(&true);
        let ratios: Vec<_> = (0..self.cells.len())
            .map(|peer| {
                let is_peer = peer != subject && engines.get(peer) != Some(&NULL);
                let is_compared = is_peer && has_carried(subject) && has_carried(peer);
                let pairs = is_compared.then(|| self.pairs(subject, peer))?;
                stats::ratio(&pairs)
            })
            .collect();
        for (cell, ratio) in self.cells.iter_mut().zip(ratios) {
            cell.ratio = ratio;
        }
    }

    /// The logarithm of each round's ratio. Rounds that one side lacks, and zeros, make no pair.
    fn pairs(&self, subject: usize, peer: usize) -> Vec<Sample> {
        let (Some(subject), Some(peer)) = (self.cells.get(subject), self.cells.get(peer)) else {
            return Vec::new();
        };
        let pair = |(number, ours): (&u32, &&Measurement)| {
            let theirs = *peer.rounds.get(number)?;
            let (us, them) = (self.value(ours)?, self.value(theirs)?);
            let value = match self.figure() {
                Figure::Rate => us.ln() - them.ln(),
                Figure::Time | Figure::Latency => them.ln() - us.ln(),
            };
            let loud = ours.noise.is_loud() || theirs.noise.is_loud();
            value.is_finite().then_some(Sample { value, loud })
        };
        subject.rounds.iter().filter_map(pair).collect()
    }
}

impl<'a> Cell<'a> {
    /// A round that was measured again replaces the older one.
    fn add(&mut self, round: &'a Round) {
        match &round.outcome {
            Outcome::Measured(measurement) => {
                self.rounds.insert(round.round, measurement);
            }
            Outcome::Unsupported(why) => self.unsupported = Some(why),
        }
    }

    /// A figure of every round that has it.
    pub(super) fn samples(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Vec<Sample> {
        let sample = |measurement: &&Measurement| {
            let value = figure(measurement).filter(|value| value.is_finite())?;
            Some(Sample { value, loud: measurement.noise.is_loud() })
        };
        self.rounds.values().filter_map(sample).collect()
    }

    /// The median of a figure over the rounds that count.
    pub(super) fn median(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        stats::median_of_kept(&self.samples(figure))
    }

    /// The greatest of a figure over the rounds that count.
    pub(super) fn worst(&self, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        stats::kept(&self.samples(figure)).0.into_iter().reduce(f64::max)
    }

    /// The round whose figure is the median one (of two, the lower).
    pub(super) fn median_round(
        &self,
        figure: impl Fn(&Measurement) -> Option<f64>,
    ) -> Option<&'a Measurement> {
        let (kept, _) = stats::kept(&self.samples(&figure));
        let mut rounds: Vec<_> = self
            .rounds
            .values()
            .filter_map(|round| figure(round).map(|value| (value, *round)))
            .filter(|(value, _)| kept.contains(value))
            .collect();
        rounds.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        rounds.get(rounds.len().checked_sub(1)? / 2).map(|(_, round)| *round)
    }

    /// Rounds during which others used the machine.
    pub(super) fn loud_rounds(&self) -> usize {
        self.rounds.values().filter(|measurement| measurement.noise.is_loud()).count()
    }
}

/// The class of a round's row. Workloads of unknown names may have written: theirs stay apart.
fn class(round: &Round, workload: Option<&Workload>) -> Option<Class> {
    workload.is_none_or(|workload| workload.writes).then_some(round.class)
}

/// Where a round belongs.
fn key(round: &Round) -> Key<'_> {
    let at = WORKLOADS.iter().position(|workload| workload.name == round.workload);
    let class = class(round, at.and_then(|at| WORKLOADS.get(at)));
    let rank = class.and_then(|class| CLASSES.iter().position(|other| *other == class));
    (round.table, at.unwrap_or(WORKLOADS.len()), &round.workload, rank)
}

/// The engines of the run in its order, then any that only the rounds know.
fn engines<'a>(run: &'a Run, rounds: &'a [Round]) -> Vec<&'a str> {
    let mut engines: Vec<&str> = run.engines.iter().map(|facts| facts.name.as_str()).collect();
    for round in rounds {
        if !engines.contains(&round.engine.as_str()) {
            engines.push(&round.engine);
        }
    }
    engines.retain(|engine| rounds.iter().any(|round| round.engine == **engine));
    engines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn cell<'b>(results: &'b Results<'_>, row: &'b Row<'_>, engine: &str) -> &'b Cell<'b> {
        &row.cells[results.engines.iter().position(|name| *name == engine).unwrap()]
    }

    #[test]
    fn classes_are_never_mixed_and_reads_have_none() {
        let (run, rounds) = synthetic::run(5);
        let results = Results::new(&run, &rounds);
        let classes = |name: &str| -> Vec<_> {
            let rows = results.of(Table::Uncompressed).filter(|row| row.name == name);
            rows.map(|row| row.class).collect()
        };
        assert_eq!(classes("fillrandom"), [Some(Class::Buffered), Some(Class::Memory)]);
        assert_eq!(classes("readrandom"), [None]);
        // As shipped, two engines whose classes differ have no ratio.
        let shipped = results.of(Table::Shipped).filter(|row| row.name == "fillrandom");
        for row in shipped {
            let with_subject = !cell(&results, row, SUBJECT).rounds.is_empty();
            assert!(with_subject || row.cells.iter().all(|cell| cell.ratio.is_none()));
        }
    }

    #[test]
    fn above_one_always_means_ahead() {
        let (run, mut rounds) = synthetic::run(3);
        synthetic::set_rates(&mut rounds, "readrandom", &[("orlop", 200.0), ("redb", 100.0)]);
        synthetic::set_seconds(&mut rounds, "open", &[("orlop", 1.0), ("redb", 4.0)]);
        let results = Results::new(&run, &rounds);
        for (name, expected) in [("readrandom", 2.0), ("open", 4.0)] {
            let row = results.of(Table::Uncompressed).find(|row| row.name == name).unwrap();
            let ratio = cell(&results, row, "redb").ratio.unwrap();
            assert!((ratio.median - expected).abs() < 1e-9, "{name}: {ratio:?}");
        }
    }

    #[test]
    fn zero_rates_and_unknown_names_and_null_have_no_ratio() {
        let (run, mut rounds) = synthetic::run(3);
        synthetic::set_rates(&mut rounds, "readrandom", &[("redb", 0.0)]);
        synthetic::rename(&mut rounds, "readseq", "readfromthefuture");
        let results = Results::new(&run, &rounds);
        let row = results.of(Table::Uncompressed).find(|row| row.name == "readrandom").unwrap();
        assert_eq!(cell(&results, row, "redb").ratio, None);
        assert_eq!(cell(&results, row, NULL).ratio, None);
        assert!(cell(&results, row, "rocksdb").ratio.is_some());
        let row = results.of(Table::Uncompressed).last().unwrap();
        assert_eq!(row.name, "readfromthefuture");
        assert!(row.cells.iter().all(|cell| cell.ratio.is_none()));
    }

    #[test]
    fn of_reads_from_stores_of_several_classes_the_strongest_counts() {
        let (run, rounds) = synthetic::run(1);
        let mut weaker: Vec<_> = rounds
            .iter()
            .filter(|round| round.workload == "read4k" && round.engine == SUBJECT)
            .cloned()
            .collect();
        weaker.iter_mut().for_each(|round| round.class = Class::Memory);
        synthetic::set_rates(&mut weaker, "read4k", &[(SUBJECT, 1.0)]);
        let all: Vec<_> = rounds.iter().cloned().chain(weaker).collect();
        let results = Results::new(&run, &all);
        let row = results.of(Table::Uncompressed).find(|row| row.name == "read4k").unwrap();
        assert!(row.median(cell(&results, row, SUBJECT)).unwrap() > 1.0);
    }

    #[test]
    fn a_round_that_was_measured_again_counts_once() {
        let (run, mut rounds) = synthetic::run(3);
        let again = rounds[0].clone();
        rounds.push(again);
        let results = Results::new(&run, &rounds);
        assert!(results.rows.iter().flat_map(|row| &row.cells).all(|cell| cell.rounds.len() <= 3));
    }
}
