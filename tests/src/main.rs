//! `orlop-tests`: the long runs, and single cases of them again.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use orlop::sim::{Crash, FaultKind};
use orlop_tests::crash::enumerate::{self, Depth};
use orlop_tests::crash::workload::Workload;
use orlop_tests::crash::{self, faults};
use orlop_tests::soak;
use orlop_tests::tally::{Limits, Tally};

/// The long runs behind the tests of Orlop: crashes, faults, damage, killed processes.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything, each part for its share of the time; one line for each count
    Soak {
        /// How long
        #[arg(long, value_name = "N", default_value_t = 30)]
        minutes: u64,
        /// Where randomness begins
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Crashes of workloads on the simulated disk; with --workload, all of one; with --crash, one
    Crash {
        /// Such as script:synced, short:put.flush.step, random:42
        #[arg(long)]
        workload: Option<Workload>,
        /// Such as 17/kill or 17/subset:5,3/nothing
        #[arg(long, requires = "workload")]
        crash: Option<Crash>,
        /// How long, without --workload
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Where randomness begins, without --workload
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// One failing operation of a workload again
    Fault {
        /// As for `crash`
        #[arg(long)]
        workload: Workload,
        /// The number of the operation
        #[arg(long)]
        at: u64,
        /// Io, Reverted, Late, StorageFull or TooManyFiles
        #[arg(long, value_parser = fault_kind)]
        kind: FaultKind,
    },
}

fn fault_kind(text: &str) -> Result<FaultKind, String> {
    let found = FaultKind::ALL.into_iter().find(|kind| format!("{kind:?}") == text);
    found.ok_or_else(|| format!("one of {:?}, not {text:?}", FaultKind::ALL))
}

fn main() -> ExitCode {
    let tally = match Cli::parse().command {
        Command::Soak { minutes, seed } => soak::run(Duration::from_secs(60 * minutes), seed),
        Command::Crash { workload: Some(workload), crash: Some(crash), .. } => {
            return verdict(enumerate::replay(&workload, &crash));
        }
        Command::Crash { workload: Some(workload), .. } => one(&workload),
        Command::Crash { seconds, seed, .. } => crash::run(
            &Limits::of(Duration::from_secs(seconds), seed, soak::threads()),
            soak::DEPTH,
        ),
        Command::Fault { workload, at, kind } => {
            return verdict(faults::replay(&workload, at, kind));
        }
    };
    print!("{tally}");
    if tally.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(workload: &Workload) -> Tally {
    let mut tally = Tally::default();
    let all = Depth { nested: 1, sequel: 1 };
    if let Some(found) = enumerate::workload(workload, all, &Default::default(), &mut tally) {
        tally.fail(found.count(), found.to_string());
    }
    tally
}

fn verdict(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => {
            println!("everything is as it must be");
            ExitCode::SUCCESS
        }
        Err(line) => {
            println!("FAILED {line}");
            ExitCode::FAILURE
        }
    }
}
