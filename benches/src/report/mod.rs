//! From raw rounds to a page: statistics, tables, charts.
//!
//! | room | what is in it |
//! |---|---|
//! | [`rows`] | the rounds sorted into rows; no row holds two durability classes |
//! | [`stats`] | medians, ratios, their intervals |
//! | [`loads`] | whether a fixed load was carried; without that, there is no ratio |
//! | [`fitness`], [`verdicts`] | whether the run may be published; how often Orlop is ahead |
//! | [`page`] | the order of the page, and its head |
//! | [`rates`], [`behind`], [`latency`], [`stalls`], [`resources`], [`extras`] | its tables |
//! | [`engines`], [`method`], [`setting`] | how it came about |
//! | [`charts`] | the pictures |
//! | [`summary`] | all of it for programs |

mod behind;
mod charts;
mod engines;
mod extras;
mod figures;
mod fitness;
mod latency;
mod loads;
mod markdown;
mod method;
mod page;
mod rates;
mod resources;
mod rows;
mod setting;
mod settled;
mod sheets;
mod stalls;
mod stats;
mod summary;
#[cfg(test)]
mod synthetic;
mod verdicts;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::record;
use fitness::Fitness;
use rows::Results;

const PAGE: &str = "README.md";
const SUMMARY: &str = "summary.json";

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) paths: Vec<PathBuf>,
    /// One paragraph for the terminal.
    pub(crate) summary: String,
}

/// Turns the rounds in `dir` into a page, its charts and its JSON in `into`.
///
/// # Errors
/// Where `dir` holds no run, as [`record::read`]; and what writing meets.
pub(crate) fn write(dir: &Path, into: &Path) -> Result<Written> {
    let (run, rounds) = record::read(dir)?;
    let results = Results::new(&run, &rounds);
    let fitness = Fitness::new(&results);
    fs::create_dir_all(into)
        .map_err(|error| Failure::from(error).during(format_args!("make {}", into.display())))?;
    let mut paths = Vec::new();
    let mut put = |name: &str, text: &str| {
        let path = into.join(name);
        fs::write(&path, text).map_err(|error| Failure::from(error).during(path.display()))?;
        paths.push(path);
        Ok::<_, Failure>(())
    };
    let mut drawn = Vec::new();
    for chart in charts::CHARTS {
        if let Some(svg) = (chart.draw)(&results)? {
            put(chart.file, &svg)?;
            drawn.push(chart);
        } else {
            forget(&into.join(chart.file))?;
        }
    }
    put(PAGE, &page::text(&results, &fitness, &drawn, into))?;
    put(SUMMARY, &summary::text(&results, &fitness)?)?;
    paths.rotate_right(2);
    Ok(Written { paths, summary: paragraph(&results, &fitness) })
}

/// A chart of an earlier report that this one has nothing for would be believed.
fn forget(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::from(error).during(path.display()))
        }
        _ => Ok(()),
    }
}

fn paragraph(results: &Results<'_>, fitness: &Fitness) -> String {
    let mut text = format!(
        "{} on {}, {}.",
        markdown::counted(results.rows.len(), "row", "rows"),
        markdown::counted(results.engines.len(), "engine", "engines"),
        markdown::counted(results.run.options.rounds as usize, "round", "rounds"),
    );
    if let Some(sentence) = verdicts::sentence(results) {
        text += &format!(" Orlop's medians: {sentence}.");
    }
    match fitness.reasons.as_slice() {
        [] => {}
        [reason] => text += &format!(" Not fit for publication, for one reason: {reason}"),
        [first, ..] => {
            let count = fitness.reasons.len();
            text += &format!(" Not fit for publication, for {count} reasons, the first: {first}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
