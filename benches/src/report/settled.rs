//! Reads of a store that has not settled, beside the same reads of the settled one.
//!
//! The share is one engine's own: it says what its unsettled state costs it, not how it compares.

use super::figures;
use super::rows::{Cell, NULL, Results, Row};
use super::stats::{self, Sample};
use crate::record::Measurement;

/// What stands below the rate of the cell at `at`: `62% of readrandom`.
pub(super) fn note(results: &Results<'_>, row: &Row<'_>, at: usize) -> Option<String> {
    let name = row.workload?.settled?;
    let share = share(results, row, at)?;
    (results.engines.get(at) != Some(&NULL)).then(|| format!("{} of {name}", figures::share(share)))
}

/// The part of its settled rate that the engine at `at` has: the median over the rounds in which
/// both were measured.
pub(super) fn share(results: &Results<'_>, row: &Row<'_>, at: usize) -> Option<f64> {
    let name = row.workload?.settled?;
    let settled = results.of(row.table).find(|other| other.name == name)?;
    stats::median_of_kept(&shares(row.cells.get(at)?, settled.cells.get(at)?))
}

fn shares(unsettled: &Cell<'_>, settled: &Cell<'_>) -> Vec<Sample> {
    let share = |(number, round): (&u32, &&Measurement)| {
        let other = settled.rounds.get(number)?;
        let value = round.rate() / other.rate();
        let loud = round.noise.is_loud() || other.noise.is_loud();
        value.is_finite().then_some(Sample { value, loud })
    };
    unsettled.rounds.iter().filter_map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Table;
    use crate::report::{rates, synthetic};

    #[test]
    fn each_engine_is_beside_its_own_settled_rate() {
        let (run, mut rounds) = synthetic::run(3);
        let unsettled = [("orlop", 80.0), ("redb", 20.0), ("sled", 15.0), ("null", 7.0)];
        let settled = [("orlop", 100.0), ("redb", 50.0), ("sled", 20.0), ("null", 7.0)];
        synthetic::set_rates(&mut rounds, "readunsettled", &unsettled);
        synthetic::set_rates(&mut rounds, "readrandom", &settled);
        let text = rates::section(&Results::new(&run, &rounds), Table::Uncompressed);
        let line = text.lines().find(|line| line.starts_with("| readunsettled |")).unwrap();
        for share in ["80%", "40%", "75%"] {
            let note = format!("<br>{share}\u{a0}of\u{a0}readrandom");
            assert_eq!(line.matches(&note).count(), 1, "{share}: {line}");
        }
        assert!(!line.contains("100%"), "the null engine settles nothing: {line}");
        let line = text.lines().find(|line| line.starts_with("| readrandom |")).unwrap();
        assert!(!line.contains('%'), "{line}");
    }

    #[test]
    fn only_rounds_of_one_number_are_compared() {
        let (run, mut rounds) = synthetic::run(3);
        rounds.retain(|round| round.workload != "readrandom" || round.round == 2);
        let results = Results::new(&run, &rounds);
        let row = results.of(Table::Uncompressed).find(|row| row.name == "readunsettled").unwrap();
        let settled = results.of(Table::Uncompressed).find(|row| row.name == "readrandom").unwrap();
        assert_eq!(shares(&row.cells[0], &settled.cells[0]).len(), 1);
        rounds.retain(|round| round.workload != "readrandom");
        let results = Results::new(&run, &rounds);
        let row = results.of(Table::Uncompressed).find(|row| row.name == "readunsettled").unwrap();
        assert_eq!(note(&results, row, 0), None);
    }
}
