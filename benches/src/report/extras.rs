//! Figures that only some workloads have, by their names.

use std::collections::BTreeSet;

use super::figures;
use super::loads::LOAD;
use super::markdown::{Grid, unbroken};
use super::rows::Results;
use super::words;

/// The share of a store's bytes that came from the device.
const STORE_READ: &str = "store_read";

/// The section; nothing where there are none. The load of latency workloads has its own place.
pub(super) fn section(results: &Results<'_>) -> String {
    let header = ["row", "figure"].into_iter().chain(results.engines.iter().copied());
    let mut grid = Grid::new(2, header);
    for row in &results.rows {
        let rounds = row.cells.iter().flat_map(|cell| cell.rounds.values());
        let names: BTreeSet<_> = rounds.flat_map(|round| round.extra.keys()).collect();
        for name in names.into_iter().filter(|name| *name != LOAD) {
            let cells = row.cells.iter().map(|cell| {
                let median = cell.median(|round| round.extra.get(name).copied());
                median.map_or("-".to_owned(), |value| unbroken(&shown(name, value)))
            });
            grid.row([words::full_name(row), name.replace('_', " ")].into_iter().chain(cells));
        }
    }
    if grid.is_empty() {
        return String::new();
    }
    format!(
        "## Further figures\n\nWhat else some workloads tell, such as the rate of the other side in \
         a mix. Medians over rounds.\n\n{}",
        grid.text()
    )
}

fn shown(name: &str, value: f64) -> String {
    if name.ends_with("rate") || name.ends_with("load") {
        figures::rate(value)
    } else if name == STORE_READ {
        figures::share(value)
    } else if name.ends_with("seconds") {
        figures::time(value)
    } else if name.ends_with("bytes") {
        figures::bytes(value)
    } else {
        figures::digits(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn named_figures_show_and_the_load_does_not() {
        let (run, rounds) = synthetic::run(5);
        let text = section(&Results::new(&run, &rounds));
        assert!(
            text.contains("| readwhilewriting, buffered (tuned, uncompressed) | writer rate |")
        );
        assert!(!text.contains("| load |"));
        assert_eq!(shown("flush_seconds", 0.5), "500 ms");
        assert_eq!(shown("store_read", 0.87), "87%");
        assert_eq!(section(&Results::new(&run, &[])), "");
    }
}
