//! What one measurement leaves behind: raw rounds, one JSON line each, kept for good.
//!
//! A run's directory holds
//!
//! | file | content |
//! |---|---|
//! | `run.json` | one [`Run`]: what was asked for, and where it ran |
//! | `rounds.jsonl` | one [`Round`] a line, in the order in which they were measured |

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::{Class, Table};
use crate::failure::{Failure, Result};
use crate::options::Options;

pub(crate) const RUN_FILE: &str = "run.json";
pub(crate) const ROUNDS_FILE: &str = "rounds.jsonl";

/// What a run is, apart from its rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) machine: Machine,
    /// The command line that began it, without the path of the program.
    pub(crate) command: String,
    /// Engines in the order of the tables, with their versions.
    pub(crate) engines: Vec<EngineFacts>,
}

/// What the published page says of an engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EngineFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    /// How it was set, in one paragraph.
    pub(crate) settings: String,
    pub(crate) compression: Option<String>,
    pub(crate) shipped_class: Class,
}

/// Where a run ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    /// "Linux 6.18.0".
    pub(crate) kernel: String,
    /// Of the directory with the stores: "ext4 (rw,noatime)".
    pub(crate) filesystem: String,
    /// The device under it: "virtio disk, scheduler none, read-ahead 8192 KiB".
    pub(crate) device: String,
    /// "rustc 1.95.0, release, target-cpu=native".
    pub(crate) compiler: String,
    /// The commit of the source, with "+" where files had been changed.
    pub(crate) commit: String,
    /// "2026-11-21".
    pub(crate) date: String,
}

/// One workload on one engine, once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// From 1.
    pub(crate) round: u32,
    pub(crate) engine: String,
    /// Its name in the [catalog](crate::catalog).
    pub(crate) workload: String,
    pub(crate) table: Table,
    /// What writes were worth. Of no meaning for workloads that only read.
    pub(crate) class: Class,
    /// Seconds since the beginning of 1970.
    pub(crate) started: u64,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Measured(Box<Measurement>),
    /// The engine has no such thing, and why.
    Unsupported(String),
}

/// The figures of one round. Times in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Operations done inside the clock.
    pub(crate) operations: u64,
    /// Length of the clock, from the first operation's begin to the last one's end.
    pub(crate) seconds: f64,
    pub(crate) threads: u32,
    /// Answers that were compared with what they had to be. All of them were right.
    pub(crate) checked: u64,
    /// Bytes of keys and values that were written.
    pub(crate) user_bytes: u64,
    /// Latencies of a sample of the operations.
    pub(crate) latency: Option<Latency>,
    /// Operations finished in each tenth of a second, oldest first; empty where not kept.
    pub(crate) timeline: Vec<u64>,
    pub(crate) resources: Resources,
    pub(crate) noise: Noise,
    /// More figures by name, such as the rate of the other side in a mixed workload.
    pub(crate) extra: BTreeMap<String, f64>,
    /// A word of the engine about itself.
    pub(crate) remark: Option<String>,
}

impl Measurement {
    /// Operations in a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }
}

/// Latencies, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Operations that were timed.
    pub(crate) samples: u64,
    /// Whether each was counted from the moment at which it was due, and not from its begin.
    pub(crate) open_loop: bool,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// More of the curve: pairs of a quantile (0 to 1) and its latency, ascending.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// What the process used while the clock ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resources {
    /// Of all threads, in the kernel and outside.
    pub(crate) cpu_seconds: f64,
    /// From the device, page cache apart.
    pub(crate) read_bytes: u64,
    /// Sent towards the device.
    pub(crate) written_bytes: u64,
    /// Resident memory at the end: the process's own.
    pub(crate) anonymous_bytes: u64,
    /// Resident memory at the end: mapped files.
    pub(crate) mapped_bytes: u64,
    /// Size of the store's files at the end, as the filesystem allots it.
    pub(crate) disk_bytes: u64,
}

/// What others did on the machine meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Noise {
    /// Share of all processor time that the host took for others, 0 to 1.
    pub(crate) steal: f64,
    /// Share that other processes here used, 0 to 1.
    pub(crate) foreign: f64,
}

/// From this share on, a round is marked.
const NOISY: (f64, f64) = (0.02, 0.05);

impl Noise {
    /// Whether the round is to be marked.
    pub(crate) fn is_loud(&self) -> bool {
        self.steal > NOISY.0 || self.foreign > NOISY.1
    }
}

/// Reads what a run left in `dir`.
///
/// # Errors
/// [`Failure::Usage`] where `dir` holds no run, [`Failure::Other`] for lines that cannot be read;
/// a last line that was cut off by a kill is passed over.
pub(crate) fn read(dir: &Path) -> Result<(Run, Vec<Round>)> {
    let path = dir.join(RUN_FILE);
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::usage(format!(
            "{} holds no run ({}: {error}); name the directory that was given to run with --out",
            dir.display(),
            path.display(),
        ))
    })?;
    let run = serde_json::from_str(&text)
        .map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
    Ok((run, read_rounds(dir)?))
}

/// Reads the rounds that a run left in `dir`; none if it has not got that far.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_rounds(dir: &Path) -> Result<Vec<Round>> {
    let path = dir.join(ROUNDS_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::from(error).during(path.display())),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                Failure::other(format!("{}, line {}: {error}", path.display(), at + 1))
            })
        })
        .collect()
}
