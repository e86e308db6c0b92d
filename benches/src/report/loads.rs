//! Fixed loads, and whether they were carried.
//!
//! An engine that does less than it was given answers for another load than its peers, and readers
//! beside a writer that falls behind have it easier. So there is no ratio with such an engine, no
//! verdict and no place in a chart: what it carried stands there instead.

use super::rows::{Cell, NULL, Results, Row, SUBJECT};
use crate::record::Measurement;

/// The name under which a round keeps the load that was wanted, in a second.
pub(super) const LOAD: &str = "load";

/// The same for the writer at a fixed rate beside readers, and what it did.
const WRITER_LOAD: &str = "writer_load";
const WRITER_RATE: &str = "writer_rate";

/// A load of which less was done was not carried.
const LEAST: f64 = 0.99;

/// What was wanted, in operations a second.
pub(super) fn load(cell: &Cell<'_>) -> Option<f64> {
    cell.median(|round| wanted(round, LOAD))
}

/// Whether a load was fixed, for the operations themselves or for a writer beside them.
pub(super) fn is_fixed(cell: &Cell<'_>) -> bool {
    let names = [LOAD, WRITER_LOAD];
    cell.rounds.values().any(|round| names.iter().any(|name| wanted(round, name).is_some()))
}

/// The share of the load that was done, where one was fixed.
pub(super) fn carried(cell: &Cell<'_>) -> Option<f64> {
    cell.median(|round| match wanted(round, WRITER_LOAD) {
        Some(load) => Some(round.extra.get(WRITER_RATE)? / load),
        None => Some(round.rate() / wanted(round, LOAD)?),
    })
}

/// The share of the load that was done, where that is too little.
pub(super) fn shortfall(cell: &Cell<'_>) -> Option<f64> {
    carried(cell).filter(|share| *share < LEAST)
}

/// What stands in the place of the ratio of the cell at `at`, where a load was not carried.
pub(super) fn note(results: &Results<'_>, row: &Row<'_>, at: usize) -> Option<String> {
    if let Some(share) = row.cells.get(at).and_then(shortfall) {
        return Some(text(share));
    }
    let ours = results.engines.iter().position(|engine| *engine == SUBJECT)?;
    let share = shortfall(row.cells.get(ours)?)?;
    (results.engines.get(at) != Some(&NULL)).then(|| format!("{SUBJECT} {}", text(share)))
}

/// Never rounded up, so that none that is too little looks like enough.
fn text(share: f64) -> String {
    format!("carried {:.0}%", (100.0 * share + 1e-6).floor())
}

fn wanted(round: &Measurement, name: &str) -> Option<f64> {
    round.extra.get(name).copied().filter(|load| *load > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Table;
    use crate::record::Round;
    use crate::report::{behind, latency, rates, synthetic, verdicts};

    /// All engines carry all loads, but for one in one workload.
    fn short(rounds: &mut [Round], workload: &str, engine: &str, share: f64) {
        synthetic::set_carried(rounds, |round| {
            if (round.workload.as_str(), round.engine.as_str()) == (workload, engine) {
                share
            } else {
                1.0
            }
        });
    }

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap()
    }

    #[test]
    fn shares_are_never_rounded_up() {
        assert_eq!(text(0.68), "carried 68%");
        assert_eq!(text(0.9899), "carried 98%");
        assert_eq!(text(0.29), "carried 29%");
    }

    #[test]
    fn a_peer_whose_writer_fell_behind_has_no_ratio() {
        let (run, mut rounds) = synthetic::run(5);
        short(&mut rounds, "readwhilewriting", "redb", 0.98);
        let before = verdicts::Count::of(&Results::new(&run, &rounds), Table::Uncompressed);
        short(&mut rounds, "readwhilewriting", "redb", 0.991);
        let after = verdicts::Count::of(&Results::new(&run, &rounds), Table::Uncompressed);
        assert_eq!(before.comparisons + 1, after.comparisons);
        short(&mut rounds, "readwhilewriting", "redb", 0.68);
        let results = Results::new(&run, &rounds);
        let text = rates::section(&results, Table::Uncompressed);
        let line = line(&text, "| readwhilewriting");
        assert_eq!(line.matches("/s<br>carried\u{a0}68%").count(), 1, "{line}");
        assert_eq!(line.matches("carried").count(), 1, "{line}");
        assert!(
            !behind::section(&results)
                .contains("| readwhilewriting, buffered (tuned, uncompressed) | redb")
        );
    }

    #[test]
    fn where_orlop_fell_behind_nobody_has_a_ratio() {
        let (run, mut rounds) = synthetic::run(5);
        short(&mut rounds, "latencyread", SUBJECT, 0.5);
        let results = Results::new(&run, &rounds);
        let row = results.of(Table::Uncompressed).find(|row| row.name == "latencyread").unwrap();
        assert!(row.cells.iter().all(|cell| cell.ratio.is_none()));
        let text = latency::section(&results, "");
        let table = text.split("#### latencyread").nth(1).unwrap();
        assert!(line(table, "| orlop |").ends_with("| carried\u{a0}50% |"), "{table}");
        assert!(line(table, "| redb |").ends_with("| orlop\u{a0}carried\u{a0}50% |"), "{table}");
        assert!(line(table, "| null |").ends_with("|  |"), "{table}");
    }
}
