//! `latency.svg`: latency by percentile at a fixed load, one panel for each workload.

use plotters::style::RGBColor;

use super::canvas::{self, Canvas, FAINT, Font, HEADING, LINE, Lies, NOTE, TEXT, TITLE};
use super::palette;
use super::scale::Scale;
use crate::engine::Table;
use crate::failure::Result;
use crate::record::Latency;
use crate::report::rows::{Cell, Results, Row};
use crate::report::{figures, words};
use crate::report::{latency, loads};

/// Percentiles that are drawn: each is one step to the right. The last one stands for the maximum.
const QUANTILES: [(f64, &str); 6] =
    [(0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"), (0.9999, "99.99%"), (1.0, "max")];

/// Quantiles closer than this are the same.
const SAME: f64 = 1e-7;

const WIDTH: i32 = 1000;
const MARGIN: i32 = 18;
const HEAD: i32 = 60;
const COLUMNS: usize = 2;
const GUTTER: i32 = 24;
const TITLE_HEIGHT: i32 = 26;
const PLOT: i32 = 250;
const PANEL: i32 = TITLE_HEIGHT + PLOT + 46;
const SCALE: i32 = 52;
const NAMES: i32 = 64;
/// Lines of text this far apart can be read.
const LINE_HEIGHT: i32 = 13;

/// One engine's line: a latency in seconds for each of [`QUANTILES`] that is known.
struct Curve<'a> {
    engine: &'a str,
    points: Vec<(usize, f64)>,
}

pub(super) fn draw(results: &Results<'_>) -> Result<Option<String>> {
    let rows = results.of(Table::Uncompressed).filter(|row| latency::is_open_loop(row));
    let panels: Vec<_> = rows.map(|row| (row, curves(results, row))).collect();
    let panels: Vec<_> = panels.into_iter().filter(|(_, curves)| !curves.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let columns = COLUMNS.min(panels.len());
    let height = HEAD + panels.len().div_ceil(columns) as i32 * PANEL;
    let width = (WIDTH - 2 * MARGIN - (columns as i32 - 1) * GUTTER) / columns as i32;
    let svg = canvas::paint((WIDTH, height), |canvas| {
        head(canvas)?;
        for (at, (row, curves)) in panels.iter().enumerate() {
            let left = MARGIN + (at % columns) as i32 * (width + GUTTER);
            let top = HEAD + (at / columns) as i32 * PANEL;
            panel(canvas, row, curves, (left, top), width)?;
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

fn head(canvas: &Canvas<'_>) -> Result<()> {
    canvas.text((MARGIN, 20), Lies::Right, TITLE, "Latency at a fixed load")?;
    let note = "Counted from when an operation was due; medians over rounds, the maximum of all of \
                them. Logarithmic. Lower is better. Only engines that carried the load.";
    canvas.text((MARGIN, 41), Lies::Right, NOTE, note)
}

/// The engines that carried the load: others ran under another one.
fn curves<'a>(results: &Results<'a>, row: &Row<'_>) -> Vec<Curve<'a>> {
    let cells = results.engines.iter().zip(&row.cells);
    let cells = cells.filter(|(_, cell)| loads::shortfall(cell).is_none());
    let curves = cells.map(|(engine, cell)| Curve { engine, points: points(cell) });
    curves.filter(|curve| !curve.points.is_empty()).collect()
}

fn points(cell: &Cell<'_>) -> Vec<(usize, f64)> {
    let point = |(at, (quantile, _)): (usize, &(f64, &str))| {
        let seconds = if *quantile < 1.0 {
            latency::quantile(cell, *quantile, |latency| at_quantile(latency, *quantile))?
        } else {
            latency::longest(cell)?
        };
        (seconds > 0.0).then_some((at, seconds))
    };
    QUANTILES.iter().enumerate().filter_map(point).collect()
}

fn at_quantile(latency: &Latency, quantile: f64) -> Option<u64> {
    let known =
        [(0.5, latency.p50), (0.9, latency.p90), (0.99, latency.p99), (0.999, latency.p999)];
    let mut all = known.iter().chain(&latency.curve);
    let (_, nanoseconds) = all.find(|(known, _)| (known - quantile).abs() < SAME)?;
    Some(*nanoseconds)
}

fn panel(
    canvas: &Canvas<'_>,
    row: &Row<'_>,
    curves: &[Curve<'_>],
    (left, top): (i32, i32),
    width: i32,
) -> Result<()> {
    let (plot_left, plot_right) = (left + SCALE, left + width - NAMES);
    let (plot_top, ground) = (top + TITLE_HEIGHT, top + TITLE_HEIGHT + PLOT);
    let values = curves.iter().flat_map(|curve| curve.points.iter().map(|(_, value)| *value));
    let Some(scale) = Scale::over(values, ground, plot_top) else { return Ok(()) };
    let to_x = |step: usize| {
        plot_left + step as i32 * (plot_right - plot_left) / (QUANTILES.len() as i32 - 1)
    };
    canvas.text((left, top + TITLE_HEIGHT / 2 - 4), Lies::Right, HEADING, &title(row))?;
    for mark in scale.marks(24) {
        let y = scale.at(mark);
        canvas.line([(plot_left, y), (plot_right, y)], LINE, 1)?;
        canvas.text((plot_left - 8, y), Lies::Left, NOTE, &mark_text(mark))?;
    }
    for (step, (_, name)) in QUANTILES.iter().enumerate() {
        let x = to_x(step);
        canvas.line([(x, ground), (x, ground + 4)], FAINT, 1)?;
        canvas.text((x, ground + 14), Lies::Around, NOTE, name)?;
    }
    // The first engine comes last, so that its line lies above those it runs along with.
    for curve in curves.iter().rev() {
        line(canvas, curve, &scale, to_x)?;
    }
    names(canvas, curves, &scale, plot_right, (plot_top, ground))
}

fn title(row: &Row<'_>) -> String {
    let load = row.cells.iter().find_map(loads::load);
    match load {
        Some(load) => format!("{} at {}", words::name(row), figures::rate(load)),
        None => words::name(row),
    }
}

fn line(
    canvas: &Canvas<'_>,
    curve: &Curve<'_>,
    scale: &Scale,
    to_x: impl Fn(usize) -> i32,
) -> Result<()> {
    let color = palette::color(curve.engine);
    let points: Vec<_> =
        curve.points.iter().map(|(step, value)| (to_x(*step), scale.at(*value))).collect();
    canvas.line(points.clone(), color, 2)?;
    points.iter().try_for_each(|point| canvas.dot(*point, color))
}

/// The engines' names where their lines end, moved apart where they would touch.
fn names(
    canvas: &Canvas<'_>,
    curves: &[Curve<'_>],
    scale: &Scale,
    right: i32,
    (top, ground): (i32, i32),
) -> Result<()> {
    let mut ends: Vec<(i32, &Curve<'_>)> =
        curves.iter().filter_map(|curve| Some((scale.at(curve.points.last()?.1), curve))).collect();
    ends.sort_by_key(|(y, _)| *y);
    let wanted: Vec<_> = ends.iter().map(|(y, _)| *y).collect();
    for ((end, curve), y) in ends.iter().zip(moved_apart(&wanted, top, ground)) {
        let color = palette::color(curve.engine);
        canvas.line([(right + 4, *end), (right + 10, y)], color, 1)?;
        let font = Font { color: readable(color), ..TEXT };
        canvas.text((right + 13, y), Lies::Right, font, curve.engine)?;
    }
    Ok(())
}

/// Ascending places, each at least a line below the one before, inside the bounds if they fit.
fn moved_apart(wanted: &[i32], top: i32, bottom: i32) -> Vec<i32> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut free = top;
    for y in wanted {
        let place = free.max(*y);
        places.push(place);
        free = place + LINE_HEIGHT;
    }
    // What went over the edge pushes back.
    let mut free = bottom;
    for place in places.iter_mut().rev() {
        *place = free.min(*place);
        free = *place - LINE_HEIGHT;
    }
    places
}

/// A line's colour, dark enough for words.
fn readable(color: RGBColor) -> RGBColor {
    let darker = |part: u8| (f64::from(part) * 0.75) as u8;
    RGBColor(darker(color.0), darker(color.1), darker(color.2))
}

fn mark_text(seconds: f64) -> String {
    // Marks are whole numbers of their units.
    figures::time(seconds).replace(".00 ", " ").replace(".0 ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn names_do_not_touch() {
        assert_eq!(moved_apart(&[10, 12, 100], 0, 200), [10, 23, 100]);
        assert_eq!(moved_apart(&[195, 196, 197], 0, 200), [174, 187, 200]);
    }

    #[test]
    fn each_workload_with_a_load_has_a_panel() {
        let (run, rounds) = synthetic::run(3);
        let svg = draw(&Results::new(&run, &rounds)).unwrap().unwrap();
        for title in ["latencyread at 20.0 k/s", "latencywrite, buffered", "latencysync, synced"] {
            assert!(svg.contains(title), "{title}");
        }
        assert!(svg.contains("99.99%") && !svg.contains("NaN"));
    }

    #[test]
    fn engines_that_did_not_carry_the_load_have_no_line() {
        let (run, mut rounds) = synthetic::run(3);
        synthetic::set_carried(&mut rounds, |round| if round.engine == "redb" { 0.9 } else { 1.0 });
        let svg = draw(&Results::new(&run, &rounds)).unwrap().unwrap();
        assert!(svg.contains("fjall") && !svg.contains("redb"));
    }

    #[test]
    fn without_such_workloads_there_is_no_chart() {
        let (run, mut rounds) = synthetic::run(1);
        rounds.retain(|round| !round.workload.starts_with("latency"));
        assert!(draw(&Results::new(&run, &rounds)).unwrap().is_none());
    }
}
