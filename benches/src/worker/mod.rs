//! One process, one engine, one group of workloads.
//!
//! The parent hands over a [`Job`]; the worker prints one [`Round`] a line on stdout and ends. On
//! failure it prints nothing that counts: the parent keeps rounds only of workers that ended well.

mod bench;
mod crash;
mod entries;
mod fill;
mod large;
mod prefix;
mod read;
mod spaces;
mod sync;
mod update;
mod ycsb;
mod zipf;

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::Group;
use crate::engine::{self, Class, Table};
use crate::failure::Result;
use crate::options::Options;
use crate::record::Round;
use bench::Bench;

/// What one worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) round: u32,
    pub(crate) engine: String,
    pub(crate) group: Group,
    pub(crate) table: Table,
    pub(crate) class: Class,
    /// Names of the workloads to be measured; what they build on is done without a clock.
    pub(crate) workloads: Vec<String>,
    /// Where the store lies or is to be made. It exists.
    pub(crate) dir: PathBuf,
    /// For [`Group::Crash`]: fill the store and die. For all others, and for what comes after the
    /// death: measure.
    pub(crate) die: bool,
}

/// Works through `job`; prints its rounds.
pub(crate) fn work(job: &Job, options: &Options) -> Result<()> {
    let kind = engine::find(&job.engine)?;
    let options = &match job.group {
        Group::Prefix => prefix::options(options),
        _ => options.clone(),
    };
    let mut bench = Bench::new(kind, job, options);
    match job.group {
        Group::FillSeq | Group::FillBatch | Group::FillRandom => fill::run(&mut bench)?,
        Group::BulkLoad => fill::run_bulk(&mut bench)?,
        Group::Load => fill::run_load(&mut bench)?,
        Group::Shipped => fill::run_shipped(&mut bench)?,
        Group::Sync => sync::run(&mut bench)?,
        Group::Mixed => sync::run_mixed(&mut bench)?,
        Group::Large => large::run(&mut bench)?,
        Group::Spaces => spaces::run(&mut bench)?,
        Group::Prefix => prefix::run(&mut bench)?,
        Group::Crash if job.die => crash::die(&mut bench)?,
        Group::Crash => crash::run(&mut bench)?,
        Group::Read => read::run(&mut bench)?,
        Group::Cold => read::run_cold(&mut bench)?,
        Group::Open => read::run_open(&mut bench)?,
        Group::Update => update::run(&mut bench)?,
    }
    print(&bench.into_rounds())
}

fn print(rounds: &[Round]) -> Result<()> {
    let mut text = String::new();
    for round in rounds {
        text.push_str(&serde_json::to_string(round)?);
        text.push('\n');
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
