//! `ratios.svg`: how far Orlop is ahead of each peer, in the main workloads.

use plotters::style::{RGBColor, WHITE};

use super::canvas::{self, Canvas, HEADING, INK, LINE, Lies, NOTE, TEXT, TITLE};
use super::palette;
use super::scale::Scale;
use crate::engine::{Class, Table};
use crate::failure::Result;
use crate::report::rows::{NULL, Results, Row, SUBJECT};
use crate::report::stats::{PAIRS_FOR_INTERVAL, Ratio};
use crate::report::{figures, markdown, words};

/// The workloads of the chart, whatever comes out, in plain words.
const HEADLINES: [(&str, &str); 12] = [
    ("fillrandom", "Random puts into a new store"),
    ("overwrite", "Puts over existing keys"),
    ("bulkload", "Bulk load of sorted entries"),
    ("fillsync1", "Synced puts, 1 writer"),
    ("fillsync16", "Synced puts, 16 writers"),
    ("ycsba", "Half gets, half puts (YCSB A)"),
    ("readrandom", "Random gets, in memory"),
    ("readrandomcold", "Random gets, from the device"),
    ("readmissing", "Gets of absent keys"),
    ("readseq", "Scan forwards"),
    ("seekrandom10", "Seek and 10 nexts"),
    ("ycsbb", "19 gets for each put (YCSB B)"),
];

const WIDTH: i32 = 1000;
const MARGIN: i32 = 18;
const HEAD: i32 = 76;
const COLUMNS: usize = 2;
/// Between columns.
const GUTTER: i32 = 44;
const NAMES: i32 = 66;
const NUMBERS: i32 = 52;
const TITLE_HEIGHT: i32 = 19;
const PITCH: i32 = 15;
const BAR: i32 = 9;
const GAP: i32 = 12;
const FOOT: i32 = 34;

/// One group of bars.
struct Group<'b, 'a> {
    row: &'b Row<'a>,
    title: &'b str,
}

pub(super) fn draw(results: &Results<'_>) -> Result<Option<String>> {
    let groups = groups(results);
    let peers = peers(results, &groups);
    if peers.is_empty() {
        return Ok(None);
    }
    let columns = COLUMNS.min(groups.len());
    let each = groups.len().div_ceil(columns);
    let group_height = TITLE_HEIGHT + peers.len() as i32 * PITCH + GAP;
    let height = HEAD + each as i32 * group_height + FOOT;
    let svg = canvas::paint((WIDTH, height), |canvas| {
        head(canvas, results)?;
        let width = (WIDTH - 2 * MARGIN - (columns as i32 - 1) * GUTTER) / columns as i32;
        for (column, of_column) in groups.chunks(each).enumerate() {
            let left = MARGIN + column as i32 * (width + GUTTER);
            let right = left + width;
            let Some(scale) = Scale::over(bounds(&groups), left + NAMES, right - NUMBERS) else {
                continue;
            };
            let panel = Panel { canvas, scale, left, right, peers: &peers };
            panel.axis(HEAD + of_column.len() as i32 * group_height - GAP / 2)?;
            for (at, group) in of_column.iter().enumerate() {
                panel.group(group, HEAD + at as i32 * group_height)?;
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// The rows of the chart: for each headline the class in which most peers take part. A run that has
/// none of them shows its first rows instead.
fn groups<'b, 'a>(results: &'b Results<'a>) -> Vec<Group<'b, 'a>> {
    let compared = |row: &&Row<'_>| ratios(row) > 0;
    let headlines = HEADLINES.iter().filter_map(|(name, title)| {
        let rows = results.of(Table::Uncompressed).filter(|row| row.name == *name);
        // Most comparisons; among equals, the class that most engines ship with.
        let worth = |row: &&Row<'_>| (ratios(row), row.class == Some(Class::Buffered));
        let row = rows.filter(compared).max_by_key(worth)?;
        Some(Group { row, title })
    });
    let groups: Vec<_> = headlines.collect();
    if !groups.is_empty() {
        return groups;
    }
    let rows = results.rows.iter().filter(compared).take(HEADLINES.len());
    rows.map(|row| Group { row, title: row.name }).collect()
}

fn ratios(row: &Row<'_>) -> usize {
    row.cells.iter().filter(|cell| cell.ratio.is_some()).count()
}

/// The places of the engines that are compared anywhere in the chart.
fn peers<'a>(results: &Results<'a>, groups: &[Group<'_, '_>]) -> Vec<(usize, &'a str)> {
    let engines = results.engines.iter().copied().enumerate();
    let peers = engines.filter(|(_, engine)| ![SUBJECT, NULL].contains(engine));
    peers.filter(|(at, _)| groups.iter().any(|group| ratio(group.row, *at).is_some())).collect()
}

fn ratio(row: &Row<'_>, at: usize) -> Option<Ratio> {
    row.cells.get(at)?.ratio
}

/// All that the axis must hold: every interval, and 1.
fn bounds<'b>(groups: &'b [Group<'_, '_>]) -> impl Iterator<Item = f64> + 'b {
    let ratios = groups.iter().flat_map(|group| &group.row.cells).filter_map(|cell| cell.ratio);
    ratios.flat_map(|ratio| [ratio.low, ratio.high]).chain([0.9, 1.0, 1.1])
}

fn head(canvas: &Canvas<'_>, results: &Results<'_>) -> Result<()> {
    canvas.text(
        (MARGIN, 20),
        Lies::Right,
        TITLE,
        "How many times as fast as each peer is Orlop?",
    )?;
    let rounds = results.run.options.rounds as usize;
    let spread = if rounds < PAIRS_FOR_INTERVAL { "their range" } else { "95% interval" };
    let table = groups(results).first().map_or(Table::Uncompressed, |group| group.row.table);
    let note = format!(
        "Median of {}; thin lines: {spread}. Logarithmic scale. Engines {}; in each group, of one \
         durability class.",
        markdown::counted(rounds, "round", "rounds"),
        words::table(table),
    );
    canvas.text((MARGIN, 41), Lies::Right, NOTE, &note)
}

/// One column of groups, with its axis.
struct Panel<'b, 'c> {
    canvas: &'b Canvas<'c>,
    scale: Scale,
    left: i32,
    right: i32,
    peers: &'b [(usize, &'b str)],
}

impl Panel<'_, '_> {
    fn axis(&self, bottom: i32) -> Result<()> {
        for mark in self.scale.marks(30) {
            let x = self.scale.at(mark);
            self.canvas.line([(x, HEAD - 4), (x, bottom)], LINE, 1)?;
            self.canvas.text((x, bottom + 12), Lies::Around, NOTE, &mark_text(mark))?;
        }
        let one = self.scale.at(1.0);
        self.canvas.line([(one, HEAD - 4), (one, bottom)], INK, 2)?;
        self.canvas.text((one + 6, HEAD - 12), Lies::Right, NOTE, "Orlop ahead \u{2192}")?;
        self.canvas.text((one - 6, HEAD - 12), Lies::Left, NOTE, "\u{2190} peer ahead")
    }

    fn group(&self, group: &Group<'_, '_>, top: i32) -> Result<()> {
        let middle = top + TITLE_HEIGHT / 2;
        // The axis would run through the words.
        self.canvas.fill((self.left, top), (self.right, top + TITLE_HEIGHT - 2), WHITE)?;
        self.canvas.text((self.left, middle), Lies::Right, HEADING, group.title)?;
        self.canvas.text((self.right, middle), Lies::Left, NOTE, &words::name(group.row))?;
        for (at, (place, peer)) in self.peers.iter().enumerate() {
            let middle = top + TITLE_HEIGHT + at as i32 * PITCH + PITCH / 2;
            self.canvas.text((self.left + NAMES - 8, middle), Lies::Left, TEXT, peer)?;
            match ratio(group.row, *place) {
                Some(ratio) => self.bar(&ratio, palette::color(peer), middle)?,
                None => self.canvas.text((self.right, middle), Lies::Left, NOTE, "n/a")?,
            }
        }
        Ok(())
    }

    fn bar(&self, ratio: &Ratio, color: RGBColor, middle: i32) -> Result<()> {
        let (one, end) = (self.scale.at(1.0), self.scale.at(ratio.median));
        self.canvas.fill((one, middle - BAR / 2), (end, middle + BAR / 2 + 1), color)?;
        let (low, high) = (self.scale.at(ratio.low), self.scale.at(ratio.high));
        self.canvas.line([(low, middle), (high, middle)], INK, 1)?;
        for end in [low, high] {
            self.canvas.line([(end, middle - 3), (end, middle + 3)], INK, 1)?;
        }
        self.canvas.text((self.right, middle), Lies::Left, TEXT, &figures::digits(ratio.median))
    }
}

fn mark_text(mark: f64) -> String {
    if mark >= 1.0 { format!("{mark:.0}") } else { format!("{}", (mark * 1e6).round() / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::report::synthetic;

    #[test]
    fn the_headlines_are_workloads() {
        assert!(HEADLINES.iter().all(|(name, _)| catalog::find(name).is_ok()));
    }

    #[test]
    fn every_peer_has_a_bar_and_orlop_and_null_have_none() {
        let (run, rounds) = synthetic::run(5);
        let svg = draw(&Results::new(&run, &rounds)).unwrap().unwrap();
        assert!(svg.contains("redb") && svg.contains("Seek and 10 nexts"));
        assert!(svg.contains("n/a") && !svg.contains("null") && !svg.contains("NaN"));
    }

    #[test]
    fn without_ratios_there_is_no_chart() {
        let (run, mut rounds) = synthetic::run(1);
        rounds.retain(|round| round.engine != SUBJECT);
        assert!(draw(&Results::new(&run, &rounds)).unwrap().is_none());
    }

    #[test]
    fn a_run_without_headlines_shows_what_it_has() {
        let (run, mut rounds) = synthetic::run(3);
        rounds.retain(|round| round.workload == "read4k");
        let svg = draw(&Results::new(&run, &rounds)).unwrap().unwrap();
        assert!(svg.contains("read4k"));
    }
}
