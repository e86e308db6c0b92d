//! `timeline.svg`: throughput over time while a store is filled or overwritten. One strip for each
//! engine and workload, each with a scale of its own: it is there to show stalls, not to compare.

use plotters::style::RGBColor;

use super::canvas::{self, Canvas, FAINT, HEADING, INK, LINE, Lies, NOTE, TEXT, TITLE};
use super::palette;
use crate::engine::Table;
use crate::failure::Result;
use crate::record::Measurement;
use crate::report::rows::{NULL, Results, Row};
use crate::report::{figures, stalls, words};

const WORKLOADS: [&str; 3] = ["fillrandom", "filluniquerandom", "overwrite"];

/// Tenths that a strip must have to show anything.
const LEAST_TENTHS: usize = 3;

const WIDTH: i32 = 1000;
const MARGIN: i32 = 18;
const HEAD: i32 = 92;
const NAMES: i32 = 66;
const SCALE: i32 = 54;
const STRIP: i32 = 44;
const PITCH: i32 = 58;
const FOOT: i32 = 32;
const AIR: i32 = 14;

/// One column: a workload, and the rounds of its engines.
struct Column<'b, 'a> {
    row: &'b Row<'a>,
    /// By the engine's place; the median round.
    rounds: Vec<Option<&'a Measurement>>,
    seconds: f64,
}

pub(super) fn draw(results: &Results<'_>) -> Result<Option<String>> {
    let columns: Vec<_> =
        WORKLOADS.iter().filter_map(|workload| column(results, workload)).collect();
    let engines = engines(results, &columns);
    if engines.is_empty() {
        return Ok(None);
    }
    let height = HEAD + engines.len() as i32 * PITCH + FOOT;
    let width = (WIDTH - 2 * MARGIN - NAMES) / columns.len() as i32;
    let svg = canvas::paint((WIDTH, height), |canvas| {
        head(canvas)?;
        for (at, (_, engine)) in engines.iter().enumerate() {
            let middle = HEAD + at as i32 * PITCH + STRIP / 2;
            canvas.text((MARGIN, middle), Lies::Right, HEADING, engine)?;
        }
        for (at, column) in columns.iter().enumerate() {
            let left = MARGIN + NAMES + at as i32 * width + SCALE;
            let right = MARGIN + NAMES + (at as i32 + 1) * width - AIR;
            column.draw(canvas, &engines, left, right)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// A workload in the class in which most engines have a timeline; of several, in the first of the
/// order of the page.
fn column<'b, 'a>(results: &'b Results<'a>, workload: &str) -> Option<Column<'b, 'a>> {
    let rows = results.of(Table::Uncompressed).filter(|row| row.name == workload);
    let columns = rows.map(|row| {
        let rounds: Vec<_> = results
            .engines
            .iter()
            .zip(&row.cells)
            .map(|(engine, cell)| {
                let round = cell.median_round(|round| row.value(round))?;
                let long_enough = stalls::whole_tenths(round).len() >= LEAST_TENTHS;
                (*engine != NULL && long_enough).then_some(round)
            })
            .collect();
        let lengths = rounds.iter().flatten().map(|round| stalls::whole_tenths(round).len());
        let seconds = lengths.max().unwrap_or(0) as f64 / 10.0;
        Column { row, rounds, seconds }
    });
    let columns: Vec<_> = columns.filter(|column| column.strips() > 0).collect();
    // Of equals, the last one wins.
    columns.into_iter().rev().max_by_key(Column::strips)
}

/// The engines that have a strip anywhere, by their places.
fn engines<'a>(results: &Results<'a>, columns: &[Column<'_, '_>]) -> Vec<(usize, &'a str)> {
    let has_strip = |at: usize| columns.iter().any(|column| column.round(at).is_some());
    results.engines.iter().copied().enumerate().filter(|(at, _)| has_strip(*at)).collect()
}

fn head(canvas: &Canvas<'_>) -> Result<()> {
    canvas.text((MARGIN, 20), Lies::Right, TITLE, "Throughput while writing, tenth by tenth")?;
    let note = "The median round of each engine. Every strip has its own scale, whose top is the \
                number on its left: look for gaps, and for speeds into the tables.";
    canvas.text((MARGIN, 41), Lies::Right, NOTE, note)
}

impl<'a> Column<'_, 'a> {
    fn strips(&self) -> usize {
        self.rounds.iter().flatten().count()
    }

    fn round(&self, engine: usize) -> Option<&'a Measurement> {
        self.rounds.get(engine).copied().flatten()
    }

    fn draw(
        &self,
        canvas: &Canvas<'_>,
        engines: &[(usize, &str)],
        left: i32,
        right: i32,
    ) -> Result<()> {
        canvas.text((left, HEAD - 20), Lies::Right, HEADING, &words::name(self.row))?;
        let to_x =
            |seconds: f64| left + (seconds / self.seconds * f64::from(right - left)).round() as i32;
        for (at, (place, engine)) in engines.iter().enumerate() {
            let top = HEAD + at as i32 * PITCH;
            match self.round(*place) {
                Some(round) => strip(canvas, round, palette::color(engine), top, to_x)?,
                None => {
                    let middle = (left + (right - left) / 2, top + STRIP / 2);
                    canvas.text(middle, Lies::Around, NOTE, "n/a")?;
                }
            }
        }
        let bottom = HEAD + engines.len() as i32 * PITCH - (PITCH - STRIP);
        for seconds in marks(self.seconds) {
            let x = to_x(seconds);
            canvas.line([(x, bottom + 2), (x, bottom + 6)], FAINT, 1)?;
            canvas.text((x, bottom + 16), Lies::Around, NOTE, &format!("{seconds} s"))?;
        }
        Ok(())
    }
}

/// One engine in one workload: a step for each tenth.
fn strip(
    canvas: &Canvas<'_>,
    round: &Measurement,
    color: RGBColor,
    top: i32,
    to_x: impl Fn(f64) -> i32,
) -> Result<()> {
    let tenths = stalls::whole_tenths(round);
    let most = tenths.iter().copied().max().unwrap_or(0).max(1);
    let (ground, left) = (top + STRIP, to_x(0.0));
    let mut outline = vec![(left, ground)];
    for (at, tenth) in tenths.iter().enumerate() {
        let y = ground - (*tenth as f64 / most as f64 * f64::from(STRIP)).round() as i32;
        outline.extend([(to_x(at as f64 / 10.0), y), (to_x((at + 1) as f64 / 10.0), y)]);
    }
    let right = to_x(tenths.len() as f64 / 10.0);
    outline.push((right, ground));
    canvas.line([(left, top), (right, top)], LINE, 1)?;
    canvas.area(outline, color)?;
    canvas.line([(left, ground), (right, ground)], INK, 1)?;
    let text = figures::rate(10.0 * most as f64);
    canvas.text((left - 6, top + 4), Lies::Left, TEXT, &text)?;
    canvas.text((left - 6, ground), Lies::Left, NOTE, "0")
}

/// Whole or half seconds along the axis: three to six of them.
fn marks(seconds: f64) -> Vec<f64> {
    let step = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0]
        .into_iter()
        .find(|step| seconds / step <= 5.0)
        .unwrap_or(seconds / 5.0);
    // Hundredths, or a float's last digits would be printed.
    let mark = |at: i32| (f64::from(at) * step * 100.0).round() / 100.0;
    (0..=5).map(mark).filter(|mark| *mark <= seconds + 1e-9).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Class;
    use crate::report::synthetic;

    #[test]
    fn marks_lie_inside() {
        assert_eq!(marks(1.5), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(marks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(marks(0.3), [0.0, 0.1, 0.2, 0.3]);
    }

    #[test]
    fn engines_have_strips_and_null_has_none() {
        let (run, rounds) = synthetic::run(3);
        let svg = draw(&Results::new(&run, &rounds)).unwrap().unwrap();
        assert!(svg.contains("fillrandom, buffered") && svg.contains("rocksdb"));
        assert!(!svg.contains("null") && !svg.contains("NaN"));
    }

    #[test]
    fn of_classes_with_as_many_strips_the_buffered_one_is_shown() {
        let (run, mut rounds) = synthetic::run(3);
        rounds.retain(|round| ["orlop", "sled", "rocksdb"].contains(&round.engine.as_str()));
        let results = Results::new(&run, &rounds);
        for workload in WORKLOADS {
            let column = column(&results, workload).unwrap();
            assert_eq!((column.row.class, column.strips()), (Some(Class::Buffered), 2));
        }
        rounds.retain(|round| round.engine != "rocksdb");
        let results = Results::new(&run, &rounds);
        assert_eq!(column(&results, "overwrite").unwrap().row.class, Some(Class::Memory));
    }

    #[test]
    fn without_timelines_there_is_no_chart() {
        let (run, mut rounds) = synthetic::run(1);
        rounds.retain(|round| !WORKLOADS.contains(&round.workload.as_str()));
        assert!(draw(&Results::new(&run, &rounds)).unwrap().is_none());
    }
}
