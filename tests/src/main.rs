//! `orlop-tests`: the long runs of the suites, outside of `cargo test`.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop_tests::checks::{self, Budget};
use orlop_tests::tally::Tally;

/// Long runs of the test suites. Exit code 1: something failed.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run the checks on the engine as it is.
    Checks(ChecksArgs),
    /// Plant historic bugs in the engine; each must be noticed by a check.
    #[cfg(feature = "seeded-bugs")]
    Seeded(SeededArgs),
}

#[derive(clap::Args)]
struct ChecksArgs {
    /// One check instead of all.
    #[arg(long)]
    only: Option<String>,
    /// Where randomness begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds for each check.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[cfg(feature = "seeded-bugs")]
#[derive(clap::Args)]
struct SeededArgs {
    /// This bug instead of all; can be given several times.
    #[arg(long)]
    bug: Vec<orlop::seeded::Bug>,
    /// One check instead of all.
    #[arg(long)]
    check: Option<String>,
    /// Also run the checks behind the first that notices a bug.
    #[arg(long)]
    every_check: bool,
    /// Where randomness begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds for each bug.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Threads, each with a bug of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let tally = match Cli::parse().command {
        Command::Checks(args) => run_checks(&args),
        #[cfg(feature = "seeded-bugs")]
        Command::Seeded(args) => run_seeded(&args),
    };
    print!("{tally}");
    ExitCode::from(u8::from(tally.count("failures") > 0))
}

fn run_checks(args: &ChecksArgs) -> Tally {
    let mut tally = Tally::default();
    tally.add("failures", 0);
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    for check in checks::ALL.iter().filter(|check| wanted(check.name)) {
        let mut budget = Budget::of(Duration::from_secs(args.seconds), args.seed);
        let start = Instant::now();
        let found = (check.run)(&mut budget);
        tally.note(format!("{}: {:.1} s", check.name, start.elapsed().as_secs_f64()));
        tally.add(&format!("check_{}", check.name.replace('-', "_")), budget.cases());
        if let Err(found) = found {
            let again = checks::again(check, args.seed);
            tally.fail("found", format!("{}: {found}: {again}", check.name));
        }
    }
    tally
}

#[cfg(feature = "seeded-bugs")]
fn run_seeded(args: &SeededArgs) -> Tally {
    use orlop_tests::seeded::{Plan, run_plan};
    use orlop_tests::tally::Limits;
    let time = Duration::from_secs(args.seconds);
    let progress = |row: &str| eprintln!("{row}");
    let all = Plan { every_check: args.every_check, time, progress, ..Plan::default() };
    let wanted = |name: &str| args.check.as_deref().is_none_or(|check| check == name);
    let plan = Plan {
        bugs: if args.bug.is_empty() { all.bugs.clone() } else { args.bug.clone() },
        checks: all.checks.iter().filter(|check| wanted(check.name)).copied().collect(),
        ..all
    };
    let day = Duration::from_secs(24 * 3600);
    run_plan(&Limits::of(day, args.seed, args.threads), &plan)
}
