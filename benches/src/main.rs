//! Throughput of Orlop and of its peers, measured side by side.
//!
//! ```sh
//! cargo run --release -p orlop-benches -- quick
//! ```
//!
//! | room | what is in it |
//! |---|---|
//! | [`engine`] | the engines behind one seam, one file each |
//! | [`shape`] | keys and values |
//! | [`catalog`] | the workloads by name |
//! | [`worker`] | what one process measures |
//! | [`measure`] | clocks and meters |
//! | [`run`] | the plan of a run, and the processes that carry it out |
//! | [`record`] | what a round leaves behind |
//! | [`report`] | statistics, page, charts |
//!
//! Exit codes: 0 fine; 2 what was asked for cannot be; 3 the disk is full; 4 an engine gave a
//! wrong answer; 1 anything else.

#![deny(unsafe_code)]

mod catalog;
mod cli;
mod engine;
mod failure;
mod measure;
mod options;
mod record;
mod report;
mod run;
mod shape;
mod worker;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, QuickArgs, ReportArgs, RunArgs};
use failure::{Failure, Result};
use run::Request;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Its parent puts the failure into words.
    let plain = matches!(command, Command::Worker);
    let Err(failure) = carry_out(command) else { return ExitCode::SUCCESS };
    if plain {
        eprintln!("{}", failure.text());
    } else {
        eprintln!("orlop-benches: {failure}");
    }
    ExitCode::from(failure.exit_code())
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Run(args) => measure(&args),
        Command::Quick(args) => quick(args),
        Command::Report(args) => report(&args),
        Command::List => {
            print!("{}", cli::list());
            Ok(())
        }
        Command::Worker => run::obey(),
    }
}

fn measure(args: &RunArgs) -> Result<()> {
    let (out, stores, resume) = args.places();
    let options = args.options()?;
    let request =
        Request { options, out, stores, resume, budget: args.budget()?, command: command_line() };
    let outcome = run::run(&request);
    if matches!(outcome, Err(Failure::Usage(_) | Failure::DiskFull(_))) {
        return outcome;
    }
    tell(&request.out, &request.out)?;
    outcome
}

fn quick(args: QuickArgs) -> Result<()> {
    if args.out.join(record::RUN_FILE).exists() {
        fs::remove_dir_all(&args.out)?;
    }
    let request = Request {
        options: cli::quick()?,
        stores: args.out.join("stores"),
        out: args.out,
        resume: false,
        budget: Some(cli::QUICK),
        command: command_line(),
    };
    let outcome = run::run(&request);
    if matches!(outcome, Err(Failure::Usage(_) | Failure::DiskFull(_))) {
        return outcome;
    }
    tell(&request.out, &request.out)?;
    outcome
}

fn report(args: &ReportArgs) -> Result<()> {
    let into = args.into.as_ref().unwrap_or(&args.dir);
    // Before anything is written: is there a run at all?
    record::read(&args.dir)?;
    fs::create_dir_all(into)?;
    if into != &args.dir {
        for file in [record::RUN_FILE, record::ROUNDS_FILE] {
            fs::copy(args.dir.join(file), into.join(file))?;
        }
    }
    tell(into, into)
}

fn tell(dir: &Path, into: &Path) -> Result<()> {
    let written = report::write(dir, into)?;
    println!("{}", written.summary);
    for path in written.paths {
        println!("  {}", path.display());
    }
    Ok(())
}

/// How this program was called, as one would type it again.
fn command_line() -> String {
    let compiled = engine::KINDS.iter().filter(|kind| kind.open.is_some());
    let features: Vec<_> = compiled.filter_map(|kind| kind.feature).collect();
    let features = match features.join(",") {
        none if none.is_empty() => none,
        some => format!(" --features {some}"),
    };
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    format!("cargo run --release -p orlop-benches{features} -- {}", arguments.join(" "))
}
