//! How rows, classes and figures are called.

use super::figures;
use super::rows::{Cell, Row};
use crate::catalog::Figure;
use crate::engine::{Class, Table};

/// The tables, in the order of the page.
pub(super) const TABLES: [Table; 3] = [Table::Uncompressed, Table::Compressed, Table::Shipped];

/// The classes, in the order of the page.
pub(super) const CLASSES: [Class; 3] = [Class::Buffered, Class::Synced, Class::Memory];

/// A table's name, in the middle of a sentence.
pub(super) fn table(table: Table) -> &'static str {
    match table {
        Table::Uncompressed => "tuned, uncompressed",
        Table::Compressed => "tuned, compressed",
        Table::Shipped => "as shipped",
    }
}

/// What a class promises.
pub(super) fn promise(class: Class) -> &'static str {
    match class {
        Class::Memory => {
            "an acknowledged write may still lie in the process's own memory and dies with it"
        }
        Class::Buffered => {
            "an acknowledged write outlives the process, for the kernel has it, but not a loss of \
             power"
        }
        Class::Synced => "an acknowledged write is on the device and outlives a loss of power",
    }
}

/// A row among those of all tables: `fillrandom, buffered (tuned, compressed)`.
pub(super) fn full_name(row: &Row<'_>) -> String {
    format!("{} ({})", name(row), table(row.table))
}

/// A row among those of its table: `fillrandom, buffered`.
pub(super) fn name(row: &Row<'_>) -> String {
    match row.class {
        Some(class) => format!("{}, {class}", row.name),
        None => row.name.to_owned(),
    }
}

/// A workload and, where rounds of its were marked, how many.
pub(super) fn marked(name: &str, loud_rounds: usize) -> String {
    match loud_rounds {
        0 => name.to_owned(),
        rounds => format!("{name} †{rounds}"),
    }
}

/// The main figure of a cell, for reading; `None` where nothing was measured.
pub(super) fn figure(row: &Row<'_>, cell: &Cell<'_>) -> Option<String> {
    let median = row.median(cell)?;
    Some(match row.figure() {
        Figure::Rate => figures::rate(median),
        Figure::Time => figures::time(median),
        Figure::Latency => format!("p99 {}", figures::time(median)),
    })
}
