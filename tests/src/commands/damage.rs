//! Damage to the files of stores.

use std::time::Duration;

use clap::Args;
use orlop_tests::damage::plan::{KINDS, Kind};
use orlop_tests::damage::{self, Scope};
use orlop_tests::tally::Limits;

use super::Outcome;

/// Damages three reference stores in every way, and holds what is read against what was written
#[derive(Debug, Args)]
pub(crate) struct Damage {
    /// Only this set: closed, flushed or crashed
    #[arg(long)]
    set: Option<String>,
    /// Only this mutant, such as bit:000004.sst:1234:5, as a failure names it; needs --set
    #[arg(long, requires = "set")]
    mutant: Option<String>,
    /// Only this kind: bits, cuts, appended, zeroed, stale, swapped, misplaced, moved, files, fields
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Of kinds with many mutants, try one of so many
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// One of so many equal parts, such as 0/4
    #[arg(long, value_parser = part, default_value = "0/1")]
    part: (u64, u64),
    /// Begin nothing new after so many minutes
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Which of the `every` to try
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn kind(text: &str) -> Result<Kind, String> {
    let found = KINDS.iter().find(|(_, name)| *name == text);
    found.map(|(kind, _)| *kind).ok_or_else(|| format!("one of {}", KINDS.map(|k| k.1).join(", ")))
}

fn part(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.filter(|(a, b)| a < b).ok_or_else(|| "two numbers, such as 0/4".to_owned())
}

impl Damage {
    /// Runs it.
    ///
    /// # Errors
    /// Arguments that make no sense.
    pub(crate) fn run(self) -> Outcome {
        let Damage { set, mutant, kind, every, part, minutes, seed, threads } = self;
        if let (Some(set), Some(mutant)) = (&set, &mutant) {
            return damage::tell(set, mutant);
        }
        let time =
            Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())?;
        let scope = Scope { set, kind, every, part };
        Ok(damage::run_scope(&Limits::of(time, seed, threads), &scope))
    }
}
