//! Everything on the page, and more, for programs: `summary.json`.
//!
//! Keys come in the order of this table, engines and rows in the order of the page; each row is a
//! line. Numbers have six digits; times are seconds, sizes bytes, rates operations a second. What is
//! not known is `null` or, in `engines[]`, not there.
//!
//! | key | meaning |
//! |---|---|
//! | `format` | 1. It grows when a key changes its meaning or goes away |
//! | `fit`, `reasons` | whether the run may be published; if not, why |
//! | `lacks[]` | `row`, `engine`, `rounds`: where rounds are missing |
//! | `run` | options, machine, command, engines, as in `run.json` |
//! | `verdicts[]` | for each `table`: `comparisons`, `ahead`, `clearly_ahead`, `behind`, `clearly_behind` |
//! | `rows[]` | `table`, `workload`, `class` (`null` for what only reads), `figure`, `engines[]` |
//! | `figure` | `rate`, `time` (seconds), `latency` (p99 in seconds), `unknown` (a rate) |
//! | `engines[]` | `engine`, `outcome`: `measured`, `unsupported` (with a `reason`) or `missing` |
//! | ... `rounds`, `marked` | rounds there are; of these, disturbed ones |
//! | ... `median`, `least`, `greatest` | of the figure: the median of what counts, the rest of all |
//! | ... `values` | the figure of each round |
//! | ... `ratio` | above 1, Orlop is ahead: `median`, `low`, `high`, `spread` (`interval` or `range`), `bootstrap` (low and high of the percentile bootstrap), `verdict` (`ahead`, `behind`, `open`), `pairs`, `left_out` |
//! | ... `carried` | the share of a fixed load that was done; below 0.99 on either side there is no `ratio` |
//! | ... `of_settled` | reads before the store settled: the part of the same engine's rate after it, median over rounds |
//! | ... `resources` | medians, without processor time where a load was fixed, for loops that wait for it spin; the memory and the sizes are those at the end of a round |
//! | ... `latency` | medians; `longest` is the worst of the rounds that count |
//! | ... `stalls` | medians: seconds of the longest stop; the slowest tenth over the mean one. Only in rows whose tenths are all fine enough |
//! | ... `extra` | medians of further figures by name |

use std::collections::BTreeMap;

use serde::Serialize;

use super::fitness::Fitness;
use super::rows::{Cell, Results, Row};
use super::stats::{self, Spread, Verdict};
use super::verdicts::Count;
use super::{latency, loads, resources, settled, stalls, words};
use crate::catalog::Figure;
use crate::engine::{Class, Table};
use crate::failure::Result;
use crate::record::{Latency, Run};

const FORMAT: u32 = 1;

/// All but the rows.
#[derive(Serialize)]
struct Head<'a> {
    format: u32,
    fit: bool,
    reasons: &'a [String],
    lacks: Vec<Lack<'a>>,
    run: &'a Run,
    verdicts: Vec<TableVerdicts>,
}

#[derive(Serialize)]
struct Lack<'a> {
    row: &'a str,
    engine: &'a str,
    rounds: usize,
}

#[derive(Serialize)]
struct TableVerdicts {
    table: Table,
    comparisons: usize,
    ahead: usize,
    clearly_ahead: usize,
    behind: usize,
    clearly_behind: usize,
}

#[derive(Serialize)]
struct RowSummary<'a> {
    table: Table,
    workload: &'a str,
    class: Option<Class>,
    figure: &'static str,
    engines: Vec<EngineSummary<'a>>,
}

#[derive(Serialize)]
struct EngineSummary<'a> {
    engine: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    rounds: usize,
    marked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greatest: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<u32, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<RatioSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    carried: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of_settled: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<ResourcesSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<LatencySummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalls: Option<StallsSummary>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<&'a str, f64>,
}

#[derive(Serialize)]
struct RatioSummary {
    median: f64,
    low: f64,
    high: f64,
    spread: &'static str,
    bootstrap: [f64; 2],
    verdict: &'static str,
    pairs: usize,
    left_out: usize,
}

#[derive(Serialize)]
struct ResourcesSummary {
    cpu_seconds: Option<f64>,
    cpu_seconds_per_operation: Option<f64>,
    read_bytes: Option<f64>,
    written_bytes: Option<f64>,
    written_bytes_per_user_byte: Option<f64>,
    anonymous_bytes: Option<f64>,
    mapped_bytes: Option<f64>,
    disk_bytes: Option<f64>,
    disk_bytes_per_user_byte: Option<f64>,
}

#[derive(Serialize)]
struct LatencySummary {
    load: Option<f64>,
    carried: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    longest: Option<f64>,
}

#[derive(Serialize)]
struct StallsSummary {
    longest_stop: Option<f64>,
    slowest_tenth: Option<f64>,
}

/// The whole file.
///
/// # Errors
/// None that is known: everything in it can be put into JSON.
pub(super) fn text(results: &Results<'_>, fitness: &Fitness) -> Result<String> {
    let lacks = fitness.lacks.iter();
    let head = Head {
        format: FORMAT,
        fit: fitness.is_fit(),
        reasons: &fitness.reasons,
        lacks: lacks
            .map(|lack| Lack { row: &lack.row, engine: &lack.engine, rounds: lack.rounds })
            .collect(),
        run: results.run,
        verdicts: words::TABLES.iter().filter_map(|table| verdicts(results, *table)).collect(),
    };
    let head = serde_json::to_string_pretty(&head)?;
    let rows = results.rows.iter().map(|row| serde_json::to_string(&of_row(results, row)));
    let rows = rows.collect::<Result<Vec<_>, _>>()?.join(",\n    ");
    // The head's last brace goes behind the rows.
    let head = head.trim_end_matches(['}', '\n']);
    Ok(format!("{head},\n  \"rows\": [\n    {rows}\n  ]\n}}\n"))
}

fn verdicts(results: &Results<'_>, table: Table) -> Option<TableVerdicts> {
    let Count { comparisons, ahead, clearly_ahead, behind, clearly_behind } =
        Count::of(results, table);
    let verdicts =
        TableVerdicts { table, comparisons, ahead, clearly_ahead, behind, clearly_behind };
    results.of(table).next().map(|_| verdicts)
}

fn of_row<'a>(results: &Results<'a>, row: &Row<'a>) -> RowSummary<'a> {
    let figure = match row.workload.map(|workload| workload.figure) {
        Some(Figure::Rate) => "rate",
        Some(Figure::Time) => "time",
        Some(Figure::Latency) => "latency",
        None => "unknown",
    };
    let cells = results.engines.iter().zip(&row.cells);
    let engines = cells.map(|(engine, cell)| of_cell(results, row, engine, cell)).collect();
    RowSummary { table: row.table, workload: row.name, class: row.class, figure, engines }
}

fn of_cell<'a>(
    results: &Results<'a>,
    row: &Row<'a>,
    engine: &'a str,
    cell: &Cell<'a>,
) -> EngineSummary<'a> {
    let values: BTreeMap<u32, f64> = cell
        .rounds
        .iter()
        .filter_map(|(number, round)| Some((*number, digits(row.value(round)?)?)))
        .collect();
    let there = !cell.rounds.is_empty();
    let at = results.engines.iter().position(|other| *other == engine);
    EngineSummary {
        engine,
        outcome: match cell.unsupported {
            _ if there => "measured",
            Some(_) => "unsupported",
            None => "missing",
        },
        reason: cell.unsupported.filter(|_| !there),
        rounds: cell.rounds.len(),
        marked: cell.loud_rounds(),
        median: row.median(cell).and_then(digits),
        least: values.values().copied().reduce(f64::min),
        greatest: values.values().copied().reduce(f64::max),
        values,
        ratio: cell.ratio.and_then(of_ratio),
        carried: loads::carried(cell).and_then(digits),
        of_settled: at.and_then(|at| settled::share(results, row, at)).and_then(digits),
        resources: there.then(|| of_resources(results, row, cell)),
        latency: of_latency(cell),
        stalls: of_stalls(row, cell),
        extra: extra(cell),
    }
}

fn of_ratio(ratio: stats::Ratio) -> Option<RatioSummary> {
    Some(RatioSummary {
        median: digits(ratio.median)?,
        low: digits(ratio.low)?,
        high: digits(ratio.high)?,
        spread: match ratio.spread {
            Spread::Interval => "interval",
            Spread::Range => "range",
        },
        bootstrap: [digits(ratio.bootstrap.0)?, digits(ratio.bootstrap.1)?],
        verdict: match ratio.verdict() {
            Verdict::Ahead => "ahead",
            Verdict::Behind => "behind",
            Verdict::Open => "open",
        },
        pairs: ratio.pairs,
        left_out: ratio.left_out,
    })
}

fn of_resources(results: &Results<'_>, row: &Row<'_>, cell: &Cell<'_>) -> ResourcesSummary {
    let median = |of| resources::median(cell, of).and_then(digits);
    ResourcesSummary {
        cpu_seconds: resources::processor(row, cell).and_then(digits),
        cpu_seconds_per_operation: resources::processor_per_operation(row, cell).and_then(digits),
        read_bytes: median(|used| used.read_bytes as f64),
        written_bytes: median(|used| used.written_bytes as f64),
        written_bytes_per_user_byte: resources::written_per_user_byte(cell).and_then(digits),
        anonymous_bytes: median(|used| used.anonymous_bytes as f64),
        mapped_bytes: median(|used| used.mapped_bytes as f64),
        disk_bytes: median(|used| used.disk_bytes as f64),
        disk_bytes_per_user_byte: resources::disk_per_user_byte(results, row, cell)
            .and_then(digits),
    }
}

fn of_latency(cell: &Cell<'_>) -> Option<LatencySummary> {
    let median = |of: fn(&Latency) -> u64| latency::median(cell, of).and_then(digits);
    let mean = cell.median(|round| round.latency.as_ref().map(|latency| latency.mean / 1e9));
    let load = loads::load(cell);
    Some(LatencySummary {
        load: load.and_then(digits),
        carried: load.and_then(|_| digits(loads::carried(cell)?)),
        mean: mean.and_then(digits),
        p50: Some(median(|latency| latency.p50)?),
        p90: median(|latency| latency.p90),
        p99: median(|latency| latency.p99),
        p999: median(|latency| latency.p999),
        longest: latency::longest(cell).and_then(digits),
    })
}

fn of_stalls(row: &Row<'_>, cell: &Cell<'_>) -> Option<StallsSummary> {
    if !stalls::can_tell(row) {
        return None;
    }
    let longest_stop = digits(cell.median(stalls::longest_stop)?);
    let slowest_tenth = cell.median(stalls::slowest_tenth).and_then(digits);
    Some(StallsSummary { longest_stop, slowest_tenth })
}

fn extra<'a>(cell: &Cell<'a>) -> BTreeMap<&'a str, f64> {
    let names = cell.rounds.values().copied().flat_map(|round| round.extra.keys());
    names
        .filter_map(|name| {
            let median = cell.median(|round| round.extra.get(name).copied())?;
            Some((name.as_str(), digits(median)?))
        })
        .collect()
}

/// The number with six digits; `None` for what JSON cannot hold.
fn digits(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    format!("{value:.5e}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use serde_json::Value;

    fn summary(run: &Run, rounds: &[crate::record::Round]) -> (String, Value) {
        let results = Results::new(run, rounds);
        let text = text(&results, &Fitness::new(&results)).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    #[test]
    fn keys_come_in_the_documented_order_and_twice_the_same() {
        let (run, rounds) = synthetic::run(5);
        let (text, value) = summary(&run, &rounds);
        assert_eq!(text, summary(&run, &rounds).0);
        let at = |key: &str| text.find(&format!("\n  \"{key}\"")).unwrap();
        let keys = ["format", "fit", "reasons", "lacks", "run", "verdicts", "rows"];
        assert!(keys.map(at).is_sorted());
        assert_eq!(value["fit"], true);
        let row = &value["rows"][0];
        assert_eq!((&row["workload"], &row["class"]), (&"fillseq".into(), &"buffered".into()));
        let reads = value["rows"].as_array().unwrap().iter();
        let mut reads = reads.filter(|row| row["workload"] == "readrandom");
        assert!(reads.all(|row| row["class"].is_null()));
    }

    #[test]
    fn odd_rounds_leave_no_number_out_of_range() {
        let (run, mut rounds) = synthetic::run(2);
        for round in &mut rounds {
            if let crate::record::Outcome::Measured(measurement) = &mut round.outcome {
                measurement.seconds = 0.0;
                measurement.operations = 0;
                measurement.user_bytes = 0;
                measurement.latency = None;
                measurement.timeline.clear();
            }
        }
        let (text, value) = summary(&run, &rounds);
        assert!(!text.contains("NaN") && !text.contains("inf"));
        let rows = value["rows"].as_array().unwrap().iter();
        let mut engines = rows.flat_map(|row| row["engines"].as_array().unwrap());
        assert!(engines.all(|engine| engine["ratio"].is_null()));
    }

    #[test]
    fn ratios_and_figures_are_those_of_the_rounds() {
        let (run, mut rounds) = synthetic::run(5);
        synthetic::set_rates(&mut rounds, "readseq", &[("orlop", 300.0), ("redb", 100.0)]);
        let (_, value) = summary(&run, &rounds);
        let mut rows = value["rows"].as_array().unwrap().iter();
        let row = rows.find(|row| row["workload"] == "readseq").unwrap();
        let mut engines = row["engines"].as_array().unwrap().iter();
        let redb = engines.find(|engine| engine["engine"] == "redb").unwrap();
        assert_eq!((&redb["median"], &redb["rounds"]), (&100.0.into(), &5.into()));
        assert_eq!((&redb["ratio"]["median"], &redb["ratio"]["pairs"]), (&3.0.into(), &5.into()));
        assert_eq!(redb["ratio"]["verdict"], "ahead");
        assert_eq!(redb["values"]["5"], 100.0);
    }

    #[test]
    fn fixed_loads_say_what_was_carried_and_nothing_of_the_processor() {
        let (run, mut rounds) = synthetic::run(5);
        synthetic::set_carried(
            &mut rounds,
            |round| if round.engine == "redb" { 0.68 } else { 1.0 },
        );
        let (_, value) = summary(&run, &rounds);
        let engine = |workload: &str, name: &str| {
            let mut rows = value["rows"].as_array().unwrap().iter();
            let row = rows.find(|row| row["workload"] == workload).unwrap();
            let mut engines = row["engines"].as_array().unwrap().iter();
            engines.find(|engine| engine["engine"] == name).unwrap().clone()
        };
        for workload in ["readwhilewriting", "latencyread", "latencywrite"] {
            let (redb, fjall) = (engine(workload, "redb"), engine(workload, "fjall"));
            assert_eq!((&redb["carried"], &redb["ratio"]), (&0.68.into(), &Value::Null));
            assert_eq!((&fjall["carried"], fjall["ratio"].is_null()), (&1.0.into(), false));
            for key in ["cpu_seconds", "cpu_seconds_per_operation"] {
                assert!(fjall["resources"][key].is_null(), "{workload}: {key}");
            }
        }
        assert!(engine("readrandom", "redb")["carried"].is_null());
        assert!(engine("readrandom", "redb")["resources"]["cpu_seconds"].is_number());
        assert!(engine("readrandom", "redb")["stalls"].is_object());
        assert!(engine("readseq", "redb")["stalls"].is_null());
    }

    #[test]
    fn six_digits() {
        assert_eq!(digits(123_456_789.0), Some(123_457_000.0));
        assert_eq!(digits(0.1 + 0.2), Some(0.3));
        assert_eq!(digits(f64::NAN), None);
        assert_eq!(digits(f64::INFINITY), None);
    }
}
