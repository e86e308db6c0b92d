//! One figure, over all rows and engines: a grid for each table, to be opened.

use super::markdown::{self, Grid, unbroken};
use super::rows::{Cell, NULL, Results, Row};
use super::words;

/// What a sheet shows of the cell at a place of a row.
pub(super) type Show = fn(&Results<'_>, &Row<'_>, usize) -> Option<String>;

/// The grids of one figure; nothing where no row has it.
pub(super) fn sheets(results: &Results<'_>, show: Show) -> String {
    words::TABLES.iter().fold(String::new(), |text, table| {
        let rows: Vec<_> = results.of(*table).collect();
        let grid = grid(results, &rows, show);
        if grid.is_empty() {
            return text;
        }
        text + &markdown::details(&first_upper(words::table(*table)), &grid.text())
    })
}

fn grid(results: &Results<'_>, rows: &[&Row<'_>], show: Show) -> Grid {
    let mut grid = Grid::new(1, std::iter::once("row").chain(results.engines.iter().copied()));
    for row in rows {
        let cells: Vec<_> = (0..results.engines.len()).map(|at| show(results, row, at)).collect();
        let of_engines = results.engines.iter().zip(&cells);
        // A row of which only the harness has anything tells nothing.
        if of_engines.into_iter().any(|(engine, cell)| *engine != NULL && cell.is_some()) {
            let cells = cells.iter().map(|cell| unbroken(cell.as_deref().unwrap_or("-")));
            grid.row(std::iter::once(words::name(row)).chain(cells));
        }
    }
    grid
}

/// The cell at a place of a row, if it holds rounds.
pub(super) fn cell<'b, 'a>(row: &'b Row<'a>, at: usize) -> Option<&'b Cell<'a>> {
    row.cells.get(at).filter(|cell| !cell.rounds.is_empty())
}

/// The text with its first letter in upper case.
pub(super) fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
