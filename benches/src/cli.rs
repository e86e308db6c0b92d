//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::catalog::{self, WORKLOADS};
use crate::engine::{self, KINDS, Table};
use crate::failure::{Failure, Result};
use crate::options::{MOST_SECONDS, Options};
use crate::shape::{KeyShape, Shape};

/// Throughput of Orlop and of its peers, measured side by side.
///
/// `quick` is the one to try first; `run` measures what you name, `report` turns what it measured
/// into a page. `list` names engines and workloads.
#[derive(Debug, Parser)]
#[command(name = "orlop-benches", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure, and write the page.
    Run(Box<RunArgs>),
    /// Measure a little of everything in under two minutes, on all engines compiled in.
    Quick(QuickArgs),
    /// Write the page, its charts and its JSON from the rounds in DIR.
    Report(ReportArgs),
    /// Name the engines and the workloads.
    List,
    /// One worker of a run: reads its order from stdin. Not for people.
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Engines by name, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "orlop,null", value_name = "NAMES")]
    engines: Vec<String>,
    /// More engines by name; `all` for every one that is compiled in.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", num_args = 0..=1, default_missing_value = "all")]
    peers: Vec<String>,
    /// Workloads by name; `all` for every one.
    #[arg(long, value_delimiter = ',', default_value = "all", value_name = "NAMES")]
    workloads: Vec<String>,
    /// Settings that engines are opened with: each makes a table of its own.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "uncompressed,compressed,shipped",
        value_name = "NAMES"
    )]
    tables: Vec<String>,
    /// How much is written and how long is read.
    #[arg(long, value_enum, default_value_t = Scale::Small)]
    scale: Scale,
    /// Times that everything is measured; 5 or more to publish.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Where rounds, page and charts go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where the stores lie meanwhile [default: the directory of --out].
    #[arg(long, value_name = "DIR")]
    stores: Option<PathBuf>,
    /// Go on with the run that --out holds.
    #[arg(long)]
    resume: bool,
    /// Begin nothing after this, nor what would end later, going by how long it took before.
    #[arg(long, value_name = "MINUTES")]
    budget_minutes: Option<f64>,
    /// Entries of the base store, instead of the scale's.
    #[arg(long, value_name = "N")]
    entries: Option<u64>,
    /// Length of a workload without an end of its own, instead of the scale's.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Most time for filling, instead of the scale's.
    #[arg(long, value_name = "SECONDS")]
    fill_seconds: Option<f64>,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16, value_name = "BYTES")]
    key_size: usize,
    /// How keys look: decimal, binary (as in `db_bench`) or prefixed (a long common prefix).
    #[arg(long, default_value = "decimal", value_name = "SHAPE")]
    key_shape: KeyShape,
    /// Bytes of a value; half of them compress away.
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    value_size: usize,
    /// MiB for caches, of engines that have one.
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    cache_mib: u64,
    /// Gets a second at which their latency is measured.
    #[arg(long, default_value_t = 50_000.0, value_name = "RATE")]
    read_load: f64,
    /// Puts a second at which their latency is measured, and of the writer beside readers.
    #[arg(long, default_value_t = 20_000.0, value_name = "RATE")]
    write_load: f64,
    /// Synced puts a second at which their latency is measured.
    #[arg(long, default_value_t = 2_000.0, value_name = "RATE")]
    sync_load: f64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct QuickArgs {
    /// Where rounds, page and charts go; an earlier quick run there is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/quick-bench")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The directory that was given to `run` with --out.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Write into another directory, and put a copy of the rounds there: it can be published.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// 100 thousand entries, 0.3 s a workload.
    Small,
    /// 3 million entries, 1.5 s a workload.
    Medium,
    /// 30 million entries, 5 s a workload.
    Large,
}

impl Scale {
    /// Entries, seconds of an endless workload, most seconds of a fill.
    fn sizes(self) -> (u64, f64, f64) {
        match self {
            Self::Small => (100_000, 0.3, 2.0),
            Self::Medium => (3_000_000, 1.5, MOST_SECONDS),
            Self::Large => (30_000_000, 5.0, MOST_SECONDS),
        }
    }
}

/// Entries of a base store: enough for every workload to have something to do, few enough to be
/// numbered in memory.
const ENTRIES: std::ops::RangeInclusive<u64> = 1000..=1_000_000_000;

/// Operations a second of a fixed load.
const LOADS: std::ops::RangeInclusive<f64> = 1.0..=10e6;

impl RunArgs {
    /// What is to be measured.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is not there or out of range.
    pub(crate) fn options(&self) -> Result<Options> {
        let (entries, seconds, fill_seconds) = self.scale.sizes();
        let shape = Shape {
            key_shape: self.key_shape,
            key_size: self.key_size,
            value_size: self.value_size,
        };
        shape.check()?;
        let entries = self.entries.unwrap_or(entries);
        if !ENTRIES.contains(&entries) {
            return Err(out_of("--entries", entries, "from 1000 to a billion"));
        }
        let load = |name, load| {
            if LOADS.contains(&load) {
                Ok(load)
            } else {
                Err(out_of(name, load, "from 1 to 10 million"))
            }
        };
        Ok(Options {
            engines: engines(&self.engines, &self.peers)?,
            workloads: workloads(&self.workloads)?,
            tables: tables(&self.tables)?,
            rounds: self.rounds,
            entries,
            shape,
            seconds: time("--seconds", self.seconds.unwrap_or(seconds))?,
            fill_seconds: time("--fill-seconds", self.fill_seconds.unwrap_or(fill_seconds))?,
            cache: self.cache_mib << 20,
            read_load: load("--read-load", self.read_load)?,
            write_load: load("--write-load", self.write_load)?,
            sync_load: load("--sync-load", self.sync_load)?,
            seed: self.seed,
        })
    }

    /// Time for everything, if it is bounded.
    pub(crate) fn budget(&self) -> Result<Option<Duration>> {
        let Some(minutes) = self.budget_minutes else { return Ok(None) };
        match Duration::try_from_secs_f64(minutes * 60.0) {
            Ok(budget) if minutes > 0.0 => Ok(Some(budget)),
            _ => Err(out_of("--budget-minutes", minutes, "above 0")),
        }
    }

    /// Where rounds and stores go, and whether the rounds are there already.
    pub(crate) fn places(&self) -> (PathBuf, PathBuf, bool) {
        let stores = self.stores.clone().unwrap_or_else(|| self.out.clone());
        (self.out.clone(), stores, self.resume)
    }
}

fn out_of(name: &str, given: impl std::fmt::Display, range: &str) -> Failure {
    Failure::usage(format!("{name} {given} is out of range: {range}"))
}

fn time(name: &str, seconds: f64) -> Result<f64> {
    if (0.01..=MOST_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    Err(out_of(name, seconds, "from 0.01, and 10 at most"))
}

/// The engines named, in the order of the tables, each once.
fn engines(named: &[String], peers: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for name in named.iter().chain(peers) {
        if name == "all" {
            chosen.extend(KINDS.iter().filter(|kind| kind.open.is_some()).map(|kind| kind.name));
            continue;
        }
        let kind = engine::find(name)?;
        if kind.open.is_none() {
            return Err(kind.not_compiled_in());
        }
        chosen.push(kind.name);
    }
    let ordered = KINDS.iter().map(|kind| kind.name).filter(|name| chosen.contains(name));
    Ok(ordered.map(str::to_owned).collect())
}

/// The workloads named, in the order of the catalog, each once.
fn workloads(named: &[String]) -> Result<Vec<String>> {
    let mut chosen = Vec::new();
    for name in named {
        if name == "all" {
            chosen.extend(WORKLOADS.iter().map(|workload| workload.name));
        } else {
            chosen.push(catalog::find(name)?.name);
        }
    }
    let ordered =
        WORKLOADS.iter().map(|workload| workload.name).filter(|name| chosen.contains(name));
    Ok(ordered.map(str::to_owned).collect())
}

fn tables(named: &[String]) -> Result<Vec<Table>> {
    let all = [Table::Uncompressed, Table::Compressed, Table::Shipped];
    if let Some(unknown) =
        named.iter().find(|name| all.iter().all(|table| table.to_string() != **name))
    {
        return Err(Failure::usage(format!(
            "there is no table {unknown:?}; there are uncompressed, compressed, shipped"
        )));
    }
    Ok(all.into_iter().filter(|table| named.contains(&table.to_string())).collect())
}

/// What `quick` measures: everything, on stores of the small scale. Three rounds where only Orlop and
/// the null engine are compiled in; one of many engines takes as long.
pub(crate) fn quick() -> Result<Options> {
    let engines = engines(&["all".to_owned()], &[])?;
    Ok(Options {
        workloads: workloads(&["all".to_owned()])?,
        tables: vec![Table::Uncompressed],
        rounds: if engines.len() > 2 { 1 } else { 3 },
        engines,
        entries: 100_000,
        shape: Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size: 100 },
        seconds: 0.2,
        fill_seconds: 1.0,
        cache: 1 << 30,
        read_load: 50_000.0,
        write_load: 20_000.0,
        sync_load: 2_000.0,
        seed: 1,
    })
}

/// Longest time for `quick`.
pub(crate) const QUICK: Duration = Duration::from_secs(105);

/// The engines and the workloads, for people.
pub(crate) fn list() -> String {
    let mut text = "Engines:\n".to_owned();
    for kind in KINDS {
        let state = match (kind.open, kind.feature) {
            (Some(_), _) => String::new(),
            (None, feature) => {
                format!(" (not compiled in: --features {})", feature.unwrap_or(kind.name))
            }
        };
        text.push_str(&format!("  {:<11} {}{state}\n", kind.name, kind.version()));
    }
    text.push_str("Workloads:\n");
    for workload in WORKLOADS {
        text.push_str(&format!("  {:<17} {}\n", workload.name, workload.meaning));
    }
    text
}
