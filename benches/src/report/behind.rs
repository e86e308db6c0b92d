//! Where Orlop is behind: every such comparison of every table, the worst first.

use super::figures;
use super::markdown::{Grid, unbroken};
use super::rows::{Results, SUBJECT};
use super::{verdicts, words};

/// The section, also where there is nothing to list.
pub(super) fn section(results: &Results<'_>) -> String {
    let heading = "## Where Orlop is behind\n\n";
    let mut losses = Vec::new();
    for row in &results.rows {
        let ours = results.engines.iter().position(|engine| *engine == SUBJECT);
        let ours = ours.and_then(|at| row.cells.get(at)).and_then(|cell| words::figure(row, cell));
        for (engine, cell) in results.measured(row) {
            if let Some(ratio) = cell.ratio.filter(|ratio| ratio.median < 1.0) {
                let theirs = words::figure(row, cell).unwrap_or_default();
                let ours = ours.clone().unwrap_or_default();
                let name = words::full_name(row);
                losses.push((ratio, [name, engine.to_owned(), unbroken(&ours), unbroken(&theirs)]));
            }
        }
    }
    if losses.is_empty() {
        let text = match verdicts::sentence(results) {
            Some(_) => "In no comparison of this run is Orlop's median behind.",
            None => "This run compares Orlop with nothing.",
        };
        return format!("{heading}{text}\n\n");
    }
    losses.sort_by(|(a, _), (b, _)| a.median.total_cmp(&b.median));
    let mut grid = Grid::new(2, ["row", "peer", "orlop", "the peer", "ratio"]);
    for (ratio, cells) in &losses {
        grid.row(cells.iter().cloned().chain([unbroken(&figures::ratio(ratio))]));
    }
    format!(
        "{heading}Every comparison whose median is below 1, the worst first. ≈ marks those whose \
         interval holds 1.\n\n{}",
        grid.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn losses_are_listed_worst_first() {
        let (run, mut rounds) = synthetic::run(5);
        synthetic::set_rates(&mut rounds, "readrandom", &[("orlop", 1.0), ("redb", 1000.0)]);
        synthetic::set_rates(&mut rounds, "readseq", &[("orlop", 1.0), ("redb", 100.0)]);
        let text = section(&Results::new(&run, &rounds));
        let rows: Vec<_> =
            text.lines().filter(|line| line.contains("(tuned, uncompressed) | redb |")).collect();
        assert!(rows[0].starts_with("| readrandom (") && rows[0].contains("▼"), "{}", rows[0]);
        assert!(rows[0].contains("1\u{a0}/s") && rows[0].contains("1.00\u{a0}k/s"), "{}", rows[0]);
        assert!(rows[1].starts_with("| readseq ("), "{}", rows[1]);
    }

    #[test]
    fn nothing_is_claimed_without_orlop() {
        let (run, mut rounds) = synthetic::run(5);
        rounds.retain(|round| round.engine != SUBJECT);
        assert!(section(&Results::new(&run, &rounds)).contains("compares Orlop with nothing"));
    }
}
