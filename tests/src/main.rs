//! `orlop-tests`: the long runs, and single cases of them again.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{checks, crash, damage, process, soak};
use orlop_tests::crash::{lies, reads};
use orlop_tests::tally::Tally;

/// So that a run can say that no damage makes the engine ask for much memory.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// The long runs behind the tests of Orlop: crashes, faults, damage, killed processes
#[derive(Debug, Parser)]
#[command(name = "orlop-tests", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Soak(soak::Soak),
    Crash(crash::Crashes),
    Fault(crash::Fault),
    /// Every reading call of a workload, and of what kills leave of it, fails
    Reads(crash::Sweep),
    /// The device lies about every write and sync of a workload
    Lies(crash::Sweep),
    Damage(damage::Damage),
    Kill(process::Kill),
    Inject(process::Inject),
    Power(process::Power),
    #[command(hide = true)]
    Child(process::Child),
    #[command(hide = true)]
    PowerInside(process::PowerInside),
    Checks(checks::Checks),
    #[cfg(feature = "seeded-bugs")]
    Seeded(checks::Seeded),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Soak(soak) => soak.run(),
        Command::Crash(crashes) => crashes.run(),
        Command::Fault(fault) => fault.run(),
        Command::Reads(workload) => workload.run(reads::sweep),
        Command::Lies(workload) => workload.run(lies::sweep),
        Command::Damage(damage) => damage.run(),
        Command::Kill(kill) => kill.run(),
        Command::Inject(inject) => inject.run(),
        Command::Power(power) => power.run(),
        Command::Child(child) => return child.run(),
        Command::PowerInside(power) => return power.run(),
        Command::Checks(checks) => checks.run(),
        #[cfg(feature = "seeded-bugs")]
        Command::Seeded(seeded) => seeded.run(),
    };
    match outcome {
        Ok(tally) => tell(&tally),
        Err(error) => {
            eprintln!("orlop-tests: {error}");
            ExitCode::from(2)
        }
    }
}

/// 0: nothing failed; 1: something did.
fn tell(tally: &Tally) -> ExitCode {
    print!("{tally}");
    if tally.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
