//! `orlop-tests`: the long runs, and the programs that they start.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use orlop_tests::process::injected::{self, Choice};
use orlop_tests::process::{child, kill, life, power};
use orlop_tests::tally::{Limits, Tally};

/// Long runs of the tests.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill a writing process again and again.
    Kill {
        #[command(flatten)]
        run: Run,
        /// Kills.
        #[arg(long, default_value_t = kill::KILLS)]
        kills: u64,
    },
    /// Make system calls of a writing process fail.
    Inject {
        #[command(flatten)]
        run: Run,
        /// Cases.
        #[arg(long, default_value_t = usize::MAX)]
        cases: usize,
        /// Only the cases with this fault, as a failure names it.
        #[arg(long)]
        only: Option<String>,
    },
    /// Cut the power of an ext4 under a writing process.
    Power {
        #[command(flatten)]
        run: Run,
        /// Power cuts.
        #[arg(long, default_value_t = power::CUTS)]
        cuts: u64,
    },
    #[command(hide = true)]
    Child(child::Options),
    #[command(hide = true)]
    PowerInside {
        #[command(flatten)]
        run: Run,
        #[arg(long)]
        cuts: u64,
    },
}

/// How long and with what.
#[derive(Debug, Clone, Args)]
struct Run {
    /// Where randomness begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When to begin nothing new.
    #[arg(long, default_value_t = 300.0)]
    seconds: f64,
    /// Threads to work with.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Run {
    fn limits(&self) -> Limits {
        Limits::of(Duration::from_secs_f64(self.seconds.max(0.0)), self.seed, self.threads)
    }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Child(options) => child::run(options),
        Command::Kill { run, kills } => {
            tell(&kill::run_with(&run.limits(), &life::this_program(), kills))
        }
        Command::Inject { run, cases, only } => {
            let choice = Choice { most: cases, only, ..Choice::default() };
            tell(&injected::run_with(&run.limits(), &choice))
        }
        Command::Power { run, cuts } => {
            tell(&power::run_with(&run.limits(), &life::this_program(), cuts))
        }
        Command::PowerInside { run, cuts } => match power::run_inside(&run.limits(), cuts) {
            Ok(tally) => {
                print!("{tally}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(power::DENIED as u8)
            }
        },
    }
}

fn tell(tally: &Tally) -> ExitCode {
    print!("{tally}");
    if tally.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
