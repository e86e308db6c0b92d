//! The tables of rates and ratios.

use super::figures;
use super::loads;
use super::markdown::{self, Footnotes, Grid, unbroken};
use super::rows::{Cell, NULL, Results, Row};
use super::settled;
use super::words;
use crate::catalog::Figure;
use crate::engine::Table;

/// Everything about one table, with a heading; nothing where it was not measured.
pub(super) fn section(results: &Results<'_>, table: Table) -> String {
    let rows: Vec<_> = results.of(table).filter(|row| is_rated(row)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heading = match table {
        Table::Uncompressed => "## Tuned, uncompressed\n\n",
        Table::Compressed => {
            "## Tuned, compressed\n\nThe compression that users of each engine usually have. Ratios \
             across codecs compare engines as they are used, not codecs.\n\n"
        }
        Table::Shipped => {
            "## As shipped\n\nNothing is set, durability included. Each engine's class of writes \
             stands beside its rate, and only engines of one class have a ratio.\n\n"
        }
    };
    let body = match table {
        Table::Uncompressed | Table::Compressed => by_class(results, &rows),
        Table::Shipped => shipped(results, &rows),
    };
    heading.to_owned() + &body
}

/// Workloads whose names this version does not know, from all tables.
pub(super) fn unknown(results: &Results<'_>) -> String {
    let rows: Vec<_> = results.rows.iter().filter(|row| row.workload.is_none()).collect();
    if rows.is_empty() {
        return String::new();
    }
    "## Workloads that this version does not know\n\nRates only: what they mean, and which way is \
     better, is not known here.\n\n"
        .to_owned()
        + &grid(results, &rows, words::full_name)
}

/// Latency workloads have a section of their own.
fn is_rated(row: &Row<'_>) -> bool {
    row.workload.is_some() && row.figure() != Figure::Latency
}

/// One grid for each class.
fn by_class(results: &Results<'_>, rows: &[&Row<'_>]) -> String {
    let mut text = String::new();
    for class in words::CLASSES.map(Some).into_iter().chain([None]) {
        let rows: Vec<_> = rows.iter().copied().filter(|row| row.class == class).collect();
        if rows.is_empty() {
            continue;
        }
        text += &match class {
            Some(class) => {
                format!("### Writes and mixes: {class}\n\nHere {}.\n\n", words::promise(class))
            }
            None => "### Reads, and what has no class\n\n".to_owned(),
        };
        text += &grid(results, &rows, |row| row.name.to_owned());
    }
    text
}

/// A grid of rows that share a class or show theirs in their names.
fn grid(results: &Results<'_>, rows: &[&Row<'_>], name: impl Fn(&Row<'_>) -> String) -> String {
    let columns = columns(results, rows);
    let mut grid = Grid::new(1, header(results, &columns));
    let mut notes = Footnotes::default();
    for row in rows {
        let mut line = vec![words::marked(&name(row), row.loud_rounds())];
        let cells = columns.iter().filter_map(|at| Some((*at, row.cells.get(*at)?)));
        line.extend(cells.map(|(at, cell)| content(results, row, at, cell, &mut notes)));
        grid.row(line);
    }
    grid.text() + &notes.text()
}

/// As shipped: one line for each workload, whatever the class of each engine's writes.
fn shipped(results: &Results<'_>, rows: &[&Row<'_>]) -> String {
    let (writes, reads): (Vec<&Row<'_>>, Vec<&Row<'_>>) =
        rows.iter().copied().partition(|row| row.class.is_some());
    let mut text = String::new();
    if !writes.is_empty() {
        text += "### Writes and mixes: each engine's own class\n\n";
        text += &shipped_writes(results, &writes);
    }
    if !reads.is_empty() {
        text += "### Reads, and what has no class\n\n";
        text += &grid(results, &reads, |row| row.name.to_owned());
    }
    text
}

fn shipped_writes(results: &Results<'_>, rows: &[&Row<'_>]) -> String {
    let columns = columns(results, rows);
    let mut grid = Grid::new(1, header(results, &columns));
    let mut notes = Footnotes::default();
    // Rows of one workload follow each other.
    for rows in rows.chunk_by(|a, b| a.name == b.name) {
        let loud = rows.iter().map(|row| row.loud_rounds()).sum();
        let mut line = vec![words::marked(rows.first().map_or("", |row| row.name), loud)];
        line.extend(columns.iter().map(|at| shipped_cell(results, rows, *at, &mut notes)));
        grid.row(line);
    }
    grid.text() + &notes.text()
}

/// An engine's cell from the row of the class in which it writes.
fn shipped_cell(
    results: &Results<'_>,
    rows: &[&Row<'_>],
    at: usize,
    notes: &mut Footnotes,
) -> String {
    let cells = || rows.iter().filter_map(|row| Some((*row, row.cells.get(at)?)));
    let measured = cells().find(|(_, cell)| !cell.rounds.is_empty());
    let found = measured.or_else(|| cells().find(|(_, cell)| cell.unsupported.is_some()));
    found.map_or("-".to_owned(), |(row, cell)| content(results, row, at, cell, notes))
}

/// The engines that have anything to show in `rows`, by their places.
fn columns(results: &Results<'_>, rows: &[&Row<'_>]) -> Vec<usize> {
    let has_any = |at: &usize| {
        let mut cells = rows.iter().filter_map(|row| row.cells.get(*at));
        cells.any(|cell| !cell.rounds.is_empty() || cell.unsupported.is_some())
    };
    (0..results.engines.len()).filter(has_any).collect()
}

fn header<'a>(results: &Results<'a>, columns: &[usize]) -> Vec<&'a str> {
    let engines = columns.iter().filter_map(|at| results.engines.get(*at).copied());
    std::iter::once("workload").chain(engines).collect()
}

/// The figure, and below it how Orlop compares; or why there is none.
fn content(
    results: &Results<'_>,
    row: &Row<'_>,
    at: usize,
    cell: &Cell<'_>,
    notes: &mut Footnotes,
) -> String {
    let engine = results.engines.get(at).copied().unwrap_or_default();
    let Some(figure) = words::figure(row, cell) else {
        return match cell.unsupported {
            Some(why) => {
                format!("n/a{}", notes.mark(format!("{engine}: {}", markdown::plain(why))))
            }
            None => "-".to_owned(),
        };
    };
    let mut text = unbroken(&figure);
    if cell.rounds.len() < results.run.options.rounds as usize {
        text += " ‡";
    }
    if let (Table::Shipped, Some(class)) = (row.table, row.class)
        && engine != NULL
    {
        text += &format!("<br>{class}");
    }
    let ratio = cell.ratio.map(|ratio| figures::ratio(&ratio));
    if let Some(ratio) = ratio.or_else(|| loads::note(results, row, at)) {
        text += &format!("<br>{}", unbroken(&ratio));
    }
    if let Some(share) = settled::note(results, row, at) {
        text += &format!("<br>{}", unbroken(&share));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn cells_hold_rates_ratios_footnotes_and_dashes() {
        let (run, mut rounds) = synthetic::run(5);
        rounds.retain(|round| round.workload != "readreverse" || round.engine != "redb");
        let results = Results::new(&run, &rounds);
        let text = section(&results, Table::Uncompressed);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        let fill = line("| fillrandom");
        assert!(fill.contains("/s<br>▲") || fill.contains("/s<br>▼"), "{fill}");
        assert!(fill.contains("n/a<sup>1</sup>"), "{fill}");
        assert!(text.contains("\n1. sled: "), "{text}");
        assert!(line("| readreverse").contains(" | - | "), "{}", line("| readreverse"));
        // The engine that does nothing: a rate, and no ratio.
        let null = fill.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(null.ends_with("/s") && !null.contains("<br>"), "{null}");
    }

    #[test]
    fn as_shipped_each_class_stands_beside_its_rate() {
        let (run, rounds) = synthetic::run(5);
        let results = Results::new(&run, &rounds);
        let text = section(&results, Table::Shipped);
        let fill = text.lines().find(|line| line.starts_with("| fillrandom")).unwrap();
        assert!(fill.contains("<br>synced") && fill.contains("<br>buffered"), "{fill}");
        let cells: Vec<_> = fill.split(" | ").collect();
        for cell in cells.iter().filter(|cell| cell.contains("<br>buffered")) {
            assert!(!cell.contains('('), "{cell}");
        }
        assert!(cells.iter().any(|cell| cell.contains("synced<br>")), "{fill}");
    }

    #[test]
    fn marked_and_missing_rounds_show() {
        let (run, mut rounds) = synthetic::run(5);
        synthetic::make_loud(&mut rounds, "readseq", "orlop", 2);
        rounds.retain(|round| round.round < 5 || round.workload != "readreverse");
        let text = section(&Results::new(&run, &rounds), Table::Uncompressed);
        assert!(text.contains("| readseq †1 |"), "{text}");
        let line = text.lines().find(|line| line.starts_with("| readreverse")).unwrap();
        assert!(line.contains(" ‡<br>"), "{line}");
    }

    #[test]
    fn unknown_workloads_are_shown_by_their_names() {
        let (run, mut rounds) = synthetic::run(3);
        assert_eq!(unknown(&Results::new(&run, &rounds)), "");
        synthetic::rename(&mut rounds, "readseq", "readtea");
        let results = Results::new(&run, &rounds);
        assert!(unknown(&results).contains("| readtea, "));
        assert!(!section(&results, Table::Uncompressed).contains("readtea"));
    }
}
