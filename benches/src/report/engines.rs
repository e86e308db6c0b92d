//! The engines: versions, settings, and what they said about themselves.

use std::collections::BTreeMap;

use super::markdown::{self, Grid};
use super::rows::Results;

/// The section; every engine that ran has a line.
pub(super) fn section(results: &Results<'_>) -> String {
    let header = ["engine", "version", "as shipped, writes are", "compression", "settings"];
    let mut grid = Grid::new(header.len(), header);
    for engine in &results.engines {
        let Some(facts) = results.facts(engine) else {
            grid.row([*engine, "unknown", "unknown", "unknown", "unknown"].map(str::to_owned));
            continue;
        };
        grid.row([
            facts.name.clone(),
            facts.version.clone(),
            facts.shipped_class.to_string(),
            facts.compression.as_deref().map_or("none".to_owned(), markdown::plain),
            markdown::plain(&facts.settings),
        ]);
    }
    if grid.is_empty() {
        return String::new();
    }
    format!("## Engines\n\n{}{}", grid.text(), remarks(results))
}

/// What engines said about themselves, and in how many rounds.
fn remarks(results: &Results<'_>) -> String {
    let mut said = BTreeMap::<(usize, &str), usize>::new();
    for (at, cell) in results.rows.iter().flat_map(|row| row.cells.iter().enumerate()) {
        for remark in cell.rounds.values().filter_map(|round| round.remark.as_deref()) {
            *said.entry((at, remark)).or_default() += 1;
        }
    }
    if said.is_empty() {
        return String::new();
    }
    let lines = said.iter().map(|((at, remark), count)| {
        let engine = results.engines.get(*at).copied().unwrap_or_default();
        let rounds = markdown::counted(*count, "round", "rounds");
        format!("- {engine}, in {rounds}: {}\n", markdown::plain(remark))
    });
    format!("What they said about themselves while they ran:\n\n{}\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn settings_and_remarks() {
        let (mut run, rounds) = synthetic::run(1);
        run.engines.retain(|facts| facts.name != "redb");
        let text = section(&Results::new(&run, &rounds));
        assert!(text.contains("| orlop | 1.2.3 | synced | LZ4 | As the documentation of orlop"));
        assert!(text.contains("| redb | unknown |"));
        assert!(text.contains("rounds: fjall says that all is well"));
        assert_eq!(section(&Results::new(&run, &[])), "");
    }
}
