//! Real processes: killed, with failing system calls, on a disk that loses its power.

use std::process::ExitCode;

use clap::Args;
use orlop_tests::process::injected::{self, Choice};
use orlop_tests::process::{child, kill, life, power};

use super::{Outcome, Run};

/// Kills a writing process again and again
#[derive(Debug, Args)]
pub(crate) struct Kill {
    #[command(flatten)]
    run: Run,
    /// Kills
    #[arg(long, default_value_t = kill::KILLS)]
    kills: u64,
}

impl Kill {
    /// Runs it.
    ///
    /// # Errors
    /// Arguments that make no sense.
    pub(crate) fn run(self) -> Outcome {
        Ok(kill::run_with(&self.run.limits()?, &life::this_program(), self.kills))
    }
}

/// Makes system calls of a writing process fail
#[derive(Debug, Args)]
pub(crate) struct Inject {
    #[command(flatten)]
    run: Run,
    /// Cases
    #[arg(long, default_value_t = usize::MAX)]
    cases: usize,
    /// Only the cases with this fault, as a failure names it
    #[arg(long)]
    only: Option<String>,
}

impl Inject {
    /// Runs it.
    ///
    /// # Errors
    /// Arguments that make no sense.
    pub(crate) fn run(self) -> Outcome {
        let choice = Choice { most: self.cases, only: self.only, ..Choice::default() };
        Ok(injected::run_with(&self.run.limits()?, &choice))
    }
}

/// Cuts the power of an ext4 under a writing process
#[derive(Debug, Args)]
pub(crate) struct Power {
    #[command(flatten)]
    run: Run,
    /// Power cuts
    #[arg(long, default_value_t = power::CUTS)]
    cuts: u64,
}

impl Power {
    /// Runs it.
    ///
    /// # Errors
    /// Arguments that make no sense.
    pub(crate) fn run(self) -> Outcome {
        Ok(power::run_with(&self.run.limits()?, &life::this_program(), self.cuts))
    }
}

/// The writing process
#[derive(Debug, Args)]
pub(crate) struct Child {
    #[command(flatten)]
    options: child::Options,
}

impl Child {
    /// Runs it.
    pub(crate) fn run(self) -> ExitCode {
        child::run(self.options)
    }
}

/// What `power` runs in a mount namespace of its own
#[derive(Debug, Args)]
pub(crate) struct PowerInside {
    #[command(flatten)]
    run: Run,
    #[arg(long)]
    cuts: u64,
}

impl PowerInside {
    /// Runs it.
    pub(crate) fn run(self) -> ExitCode {
        let run = |limits| power::run_inside(&limits, self.cuts);
        match self.run.limits().and_then(run) {
            Ok(tally) => crate::tell(&tally),
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(power::DENIED)
            }
        }
    }
}
