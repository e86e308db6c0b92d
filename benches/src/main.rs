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
//! | [`mod@measure`] | clocks and meters |
//! | [`run`] | the plan of a run, and the processes that carry it out |
//! | [`record`] | what a round leaves behind |
//! | [`mod@report`] | statistics, page, charts |
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
    let request = Request {
        options,
        out,
        stores,
        resume,
        budget: args.budget()?,
        can_resume: true,
        command: command_line(),
    };
    run_and_tell(&request)
}

fn quick(args: QuickArgs) -> Result<()> {
    replace_quick(&args.out)?;
    let request = Request {
        options: cli::quick()?,
        stores: args.out.clone(),
        out: args.out,
        resume: false,
        budget: Some(cli::QUICK),
        can_resume: false,
        command: command_line(),
    };
    run_and_tell(&request)
}

/// Makes way for another quick run: removes the rounds of an earlier one, and of nothing else.
fn replace_quick(out: &Path) -> Result<()> {
    let Ok((run, _)) = record::read(out) else { return Ok(()) };
    if run.command.split(" -- ").nth(1).is_none_or(|asked| !asked.starts_with("quick")) {
        return Err(Failure::usage(format!(
            "{} holds a run that quick did not make ({}); choose another --out",
            out.display(),
            run.command
        )));
    }
    for file in [record::RUN_FILE, record::ROUNDS_FILE] {
        if out.join(file).exists() {
            fs::remove_file(out.join(file))?;
        }
    }
    Ok(())
}

/// What has been measured is told also when something failed; what failed matters more.
fn run_and_tell(request: &Request) -> Result<()> {
    let outcome = run::run(request);
    if matches!(outcome, Err(Failure::Usage(_))) {
        return outcome;
    }
    let told = tell(&request.out);
    outcome.and(told)
}

fn report(args: &ReportArgs) -> Result<()> {
    let into = args.into.as_ref().unwrap_or(&args.dir);
    // Before anything is written: is there a run at all?
    record::read(&args.dir)?;
    fs::create_dir_all(into)?;
    if into.canonicalize()? != args.dir.canonicalize()? {
        for file in [record::RUN_FILE, record::ROUNDS_FILE] {
            fs::copy(args.dir.join(file), into.join(file))?;
        }
    }
    tell(into)
}

fn tell(dir: &Path) -> Result<()> {
    let written = report::write(dir, dir)?;
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
