//! What rates were paid with: processor time, writes to the device, memory, space.

use super::figures;
use super::loads;
use super::rows::{Cell, Results, Row};
use super::sheets::{self, Show};
use crate::catalog::{Figure, Group};
use crate::record::{Measurement, Resources};

/// One kind of sheet.
struct Metric {
    title: &'static str,
    meaning: &'static str,
    show: Show,
}

const METRICS: &[Metric] = &[
    Metric {
        title: "Processor time",
        meaning: "Of all threads, in the kernel and outside, while the clock ran: per operation; in \
                  all for workloads that are timed as a whole. Loops with a fixed load spin until \
                  the next operation is due, so what they use says nothing and is left out.",
        show: |_, row, at| processor_text(row, sheets::cell(row, at)?),
    },
    Metric {
        title: "Bytes written to the device per user byte",
        meaning: "While the clock ran, which leaves out what an engine puts off. Only the row \
                  `settle` counts all that the store has written from its begin until nothing was \
                  left to do.",
        show: |_, row, at| written_per_user_byte(sheets::cell(row, at)?).map(figures::digits),
    },
    Metric {
        title: "Memory",
        meaning: "Resident at the end: the process's own + mapped files. Mapped pages of files are \
                  page cache, which the kernel takes back when it needs it.",
        show: |_, row, at| memory(sheets::cell(row, at)?),
    },
    Metric {
        title: "Space on disk per user byte",
        meaning: "The store's files at the end, as the filesystem allots them, over the keys and \
                  values that went in. Keys that were overwritten count as often as they were put.",
        show: |results, row, at| {
            disk_per_user_byte(results, row, sheets::cell(row, at)?).map(figures::digits)
        },
    },
];

/// The section; nothing where nothing was measured.
pub(super) fn section(results: &Results<'_>) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let sheets = sheets::sheets(results, metric.show);
        if !sheets.is_empty() {
            text += &format!("### {}\n\n{}\n\n{sheets}", metric.title, metric.meaning);
        }
    }
    if text.is_empty() {
        return text;
    }
    "## Processor, device, memory, space\n\nMedians over rounds. The time that an engine takes to \
     settle is a row of the tables of rates.\n\n"
        .to_owned()
        + &text
}

/// The median of one of the resources.
pub(super) fn median(cell: &Cell<'_>, resource: fn(&Resources) -> f64) -> Option<f64> {
    cell.median(|round| Some(resource(&round.resources)))
}

/// Seconds of processor time; none where most of it went into waiting for the next operation.
pub(super) fn processor(row: &Row<'_>, cell: &Cell<'_>) -> Option<f64> {
    let spins = row.figure() == Figure::Latency || loads::is_fixed(cell);
    if spins { None } else { median(cell, |resources| resources.cpu_seconds) }
}

/// The same for one operation.
pub(super) fn processor_per_operation(row: &Row<'_>, cell: &Cell<'_>) -> Option<f64> {
    processor(row, cell)?;
    cell.median(|round| over(round.resources.cpu_seconds, round.operations as f64))
}

/// What went to the device for each byte of the user.
pub(super) fn written_per_user_byte(cell: &Cell<'_>) -> Option<f64> {
    cell.median(|round| over(round.resources.written_bytes as f64, round.user_bytes as f64))
}

/// The size of a store for each byte that was put into it. Only stores that hold what one workload
/// put there have such a figure.
pub(super) fn disk_per_user_byte(
    results: &Results<'_>,
    row: &Row<'_>,
    cell: &Cell<'_>,
) -> Option<f64> {
    let base = results.run.options.user_bytes() as f64;
    let user_bytes = |round: &Measurement| match row.workload?.group {
        // A fill that ran out of time holds less than all of the base.
        Group::Load if round.user_bytes == 0 => Some(base),
        Group::Load
        | Group::FillSeq
        | Group::FillBatch
        | Group::FillRandom
        | Group::BulkLoad
        | Group::Large
        | Group::Spaces
        | Group::Prefix => Some(round.user_bytes as f64),
        Group::Sync
        | Group::Mixed
        | Group::Crash
        | Group::Read
        | Group::Cold
        | Group::Open
        | Group::Update
        | Group::Shipped => None,
    };
    cell.median(|round| over(round.resources.disk_bytes as f64, user_bytes(round)?))
}

fn processor_text(row: &Row<'_>, cell: &Cell<'_>) -> Option<String> {
    match row.figure() {
        Figure::Time => processor(row, cell).map(figures::time),
        Figure::Rate | Figure::Latency => processor_per_operation(row, cell).map(figures::time),
    }
}

fn memory(cell: &Cell<'_>) -> Option<String> {
    let own = median(cell, |resources| resources.anonymous_bytes as f64)?;
    let mapped = median(cell, |resources| resources.mapped_bytes as f64)?;
    Some(format!("{} + {}", figures::bytes(own), figures::bytes(mapped)))
}

/// A quotient that is a number and not zero by lack of a figure.
fn over(value: f64, by: f64) -> Option<f64> {
    (by > 0.0 && value > 0.0).then(|| value / by).filter(|quotient| quotient.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Table;
    use crate::report::synthetic;

    #[test]
    fn quotients_are_numbers() {
        assert_eq!(over(3.0, 2.0), Some(1.5));
        assert_eq!(over(3.0, 0.0), None);
        assert_eq!(over(0.0, 3.0), None);
    }

    #[test]
    fn only_stores_of_one_workload_have_a_size_for_each_byte() {
        let (run, rounds) = synthetic::run(5);
        let results = Results::new(&run, &rounds);
        let of = |name: &str| {
            let row = results.of(Table::Uncompressed).find(|row| row.name == name).unwrap();
            disk_per_user_byte(&results, row, &row.cells[0])
        };
        assert!((1.0..2.0).contains(&of("settle").unwrap()));
        assert!((1.0..2.0).contains(&of("fillseq").unwrap()));
        assert_eq!(of("overwrite"), None);
        assert_eq!(of("readrandom"), None);
    }

    #[test]
    fn loops_that_spin_have_no_processor_time() {
        let (run, rounds) = synthetic::run(5);
        let results = Results::new(&run, &rounds);
        for row in results.of(Table::Uncompressed) {
            let spins = row.figure() == Figure::Latency || row.name == "readwhilewriting";
            let cells = row.cells.iter().filter(|cell| !cell.rounds.is_empty());
            for cell in cells {
                assert_eq!(processor_text(row, cell).is_none(), spins, "{}", row.name);
            }
        }
    }

    #[test]
    fn the_section_has_all_four() {
        let (run, rounds) = synthetic::run(5);
        let text = section(&Results::new(&run, &rounds));
        for metric in METRICS {
            assert!(text.contains(metric.title), "{}", metric.title);
        }
        assert_eq!(section(&Results::new(&run, &[])), "");
    }
}
