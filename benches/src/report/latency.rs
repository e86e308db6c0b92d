//! Latencies: at a fixed load for each workload that has one, and sampled from all others.

use super::figures;
use super::loads;
use super::markdown::{Grid, unbroken};
use super::rows::{Cell, Results, Row};
use super::sheets;
use super::words;
use crate::catalog::Figure;
use crate::measure::clock::EVERY;
use crate::record::Latency;

/// The section, with its chart; nothing where no latency was measured.
pub(super) fn section(results: &Results<'_>, chart: &str) -> String {
    let open = results.rows.iter().filter(|row| is_open_loop(row));
    let open: String = open.map(|row| open_loop(results, row)).collect();
    let closed = sheets::sheets(results, |_, row, at| sampled(row, sheets::cell(row, at)?));
    let mut text = String::new();
    if !open.is_empty() {
        text += "### At a fixed load\n\nEvery operation, counted from the moment at which it was \
                 due, so that waiting behind a stall counts. \"Carried\" is the share of the load \
                 that was done; where it is below 100%, latencies grow with the length of the run, and \
                 below 99% there is no ratio. \
                 Medians over rounds, \"-\" where too few operations lie beyond a percentile to know \
                 it; the maximum is the worst of the rounds. \
                 The ratio is the peer's p99 over Orlop's: above 1, Orlop is ahead.\n\n";
        text += chart;
        text += &open;
    }
    if !closed.is_empty() {
        text += &format!(
            "### At full speed\n\np50 / p99 / p99.9 of one call in {EVERY} (of every call where calls \
             are batches or large values), from its begin to its end, each the median over rounds; \
             \"-\" where too few calls were timed to know. A slow call delays all that follow and \
             is counted once, so these figures flatter stalls; those at a fixed load do not.\n\n"
        );
        text += &closed;
    }
    if text.is_empty() { text } else { "## Latency\n\n".to_owned() + &text }
}

/// Whether the row's figure is a latency, and some engine has one.
pub(super) fn is_open_loop(row: &Row<'_>) -> bool {
    row.figure() == Figure::Latency && row.cells.iter().any(|cell| row.median(cell).is_some())
}

/// The median of one of a cell's latencies, in seconds.
pub(super) fn median(cell: &Cell<'_>, quantile: fn(&Latency) -> u64) -> Option<f64> {
    cell.median(|round| round.latency.as_ref().map(|latency| quantile(latency) as f64 / 1e9))
}

/// The longest latency of all rounds that count, in seconds.
pub(super) fn longest(cell: &Cell<'_>) -> Option<f64> {
    cell.worst(|round| round.latency.as_ref().map(|latency| latency.max as f64 / 1e9))
}

fn open_loop(results: &Results<'_>, row: &Row<'_>) -> String {
    let meaning = row.workload.map_or("", |workload| workload.meaning);
    let name = words::marked(&words::full_name(row), row.loud_rounds());
    let header = ["engine", "load", "carried", "p50", "p99", "p99.9", "max", "ratio"];
    let mut grid = Grid::new(1, header);
    for (at, (engine, cell)) in results.engines.iter().zip(&row.cells).enumerate() {
        if let Some(why) = cell.unsupported.filter(|_| cell.rounds.is_empty()) {
            let note = format!("{engine}: n/a ({})", super::markdown::plain(why));
            grid.row(std::iter::once(note).chain((1..header.len()).map(|_| String::new())));
        } else if let Some(cells) = open_loop_cells(results, row, at) {
            grid.row(std::iter::once((*engine).to_owned()).chain(cells));
        }
    }
    format!("#### {name}\n\n{}.\n\n{}", super::sheets::first_upper(meaning), grid.text())
}

fn open_loop_cells(results: &Results<'_>, row: &Row<'_>, at: usize) -> Option<[String; 7]> {
    let cell = row.cells.get(at)?;
    let time = |seconds: Option<f64>| {
        seconds.map_or("-".to_owned(), |seconds| unbroken(&figures::time(seconds)))
    };
    median(cell, |latency| latency.p99)?;
    let ratio = cell.ratio.map(|ratio| figures::ratio(&ratio));
    let ratio = ratio.or_else(|| loads::note(results, row, at));
    Some([
        loads::load(cell).map_or("-".to_owned(), |load| unbroken(&figures::rate(load))),
        loads::carried(cell).map_or("-".to_owned(), carried_text),
        time(quantile(cell, 0.5, |latency| Some(latency.p50))),
        time(quantile(cell, 0.99, |latency| Some(latency.p99))),
        time(quantile(cell, 0.999, |latency| Some(latency.p999))),
        time(longest(cell)),
        ratio.map_or(String::new(), |ratio| unbroken(&ratio)),
    ])
}

/// The share of the load that was carried. Less than all of it is never rounded up to all.
fn carried_text(share: f64) -> String {
    if share >= 0.9995 {
        "100%".to_owned()
    } else {
        format!("{:.1}%", (1000.0 * share).floor() / 10.0)
    }
}

/// p50 / p99 / p99.9 of a workload in a closed loop. What is timed as a whole has none.
fn sampled(row: &Row<'_>, cell: &Cell<'_>) -> Option<String> {
    if row.figure() != Figure::Rate {
        return None;
    }
    let [p50, p99, p999] = [
        quantile(cell, 0.5, |latency| Some(latency.p50)),
        quantile(cell, 0.99, |latency| Some(latency.p99)),
        quantile(cell, 0.999, |latency| Some(latency.p999)),
    ];
    p50?;
    let texts = [p50, p99, p999].map(|seconds| seconds.map_or("-".to_owned(), figures::time));
    Some(texts.join(" / "))
}

/// Operations that must lie beyond a quantile, over all rounds, for it to mean anything.
const BEYOND: f64 = 10.0;

/// The median of a quantile over rounds, in seconds, where enough was timed to know it.
pub(super) fn quantile(
    cell: &Cell<'_>,
    share: f64,
    of: impl Fn(&Latency) -> Option<u64>,
) -> Option<f64> {
    let latencies = cell.rounds.values().filter_map(|round| round.latency.as_ref());
    let samples: u64 = latencies.map(|latency| latency.samples).fold(0, u64::saturating_add);
    let known = samples as f64 * (1.0 - share) >= BEYOND - 1e-6;
    let median = cell.median(|round| Some(of(round.latency.as_ref()?)? as f64 / 1e9))?;
    known.then_some(median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Measurement;
    use crate::report::synthetic;

    #[test]
    fn loads_that_were_not_carried_show() {
        assert_eq!(carried_text(1.0004), "100%");
        assert_eq!(carried_text(0.9994), "99.9%");
        assert_eq!(carried_text(0.5), "50.0%");
    }

    #[test]
    fn quantiles_need_something_beyond_them() {
        let latency = Latency { samples: 1999, p50: 7, p999: 9, ..Latency::default() };
        let mut round = Measurement { latency: Some(latency), ..Measurement::default() };
        let p999 = |round: &Measurement| {
            let rounds = (1..=5).map(|number| (number, round)).collect();
            let cell = Cell { rounds, ..Cell::default() };
            quantile(&cell, 0.999, |latency| Some(latency.p999))
        };
        assert_eq!(p999(&round), None);
        round.latency.as_mut().unwrap().samples = 2000;
        assert_eq!(p999(&round), Some(9e-9));
    }

    #[test]
    fn open_loops_have_tables_and_closed_ones_sheets() {
        let (run, rounds) = synthetic::run(5);
        let text = section(&Results::new(&run, &rounds), "");
        assert!(text.contains("#### latencyread (tuned, uncompressed)"), "{text}");
        assert!(text.contains("#### latencywrite, buffered (tuned, uncompressed)"));
        let line = text.lines().find(|line| line.starts_with("| orlop |")).unwrap();
        assert!(line.contains("100%") && line.contains("µs"), "{line}");
        assert!(text.contains("<details><summary>Tuned, uncompressed</summary>"));
        let line = text.lines().find(|line| line.starts_with("| readrandom |")).unwrap();
        assert!(line.matches(" / ").count() == 0, "unbroken: {line}");
        assert!(line.contains("\u{a0}/\u{a0}"), "{line}");
        assert_eq!(section(&Results::new(&run, &[]), ""), "");
    }
}
