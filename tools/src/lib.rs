//! The `orlop` command as a library: [`main`] is the whole program, and [`verify`] is what its
//! `verify` finds, for the tests that hold it against what the engine reads.
//!
//! Exit codes: 0 fine; 1 the answer is no (`get`: no such key; `verify`: findings); 2 could not
//! run. Every error is one or two lines on stderr that say what to do. A closed pipe ends a
//! command quietly with 0.
//!
//! Reading commands open the store read-only and never create anything; a writing command that
//! exits with 0 has synced. `verify` and `inspect` read the files through `orlop-formats` alone.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod failure;
mod keys;
mod output;
mod progress;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::{Answer, Failure};

pub use commands::verify::findings as verify;

/// The command: reads the arguments of the process, runs, and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) if !answer.use_stderr() => {
            // Help or version; a closed stdout is no reason to complain.
            let _ = answer.print();
            return ExitCode::SUCCESS;
        }
        Err(usage) => return refuse(&cli::bad_usage(&usage)),
    };
    match run(cli.command) {
        Ok(Answer::Yes) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => refuse(&failure),
    }
}

fn refuse(failure: &Failure) -> ExitCode {
    // Stderr may be closed: the exit code says it all the same.
    let _ = writeln!(std::io::stderr(), "orlop: {failure}");
    ExitCode::from(2)
}

fn run(command: Command) -> Result<Answer, Failure> {
    match command {
        Command::Tour(args) => commands::tour::run(&args),
        Command::TourChild(args) => commands::tour::run_child(&args),
        Command::Put(args) => commands::put::run(&args),
        Command::Get(args) => commands::get::run(&args),
        Command::Delete(args) => commands::delete::run(&args),
        Command::Databases(args) => commands::databases::run(&args),
        Command::Drop(args) => commands::drop::run(&args),
        Command::Scan(args) => commands::scan::run(&args),
        Command::Load(args) => commands::load::run(&args),
        Command::Dump(args) => commands::dump::run(&args),
        Command::Compact(args) => commands::compact::run(&args),
        Command::Stats(args) => commands::stats::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
    }
}
