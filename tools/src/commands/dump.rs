//! `orlop dump`: print every entry of a database, as of one moment, in a form that `load` takes.

use std::io::IsTerminal;

use indicatif::ProgressBar;

use crate::cli;
use crate::commands::{open_reading, time_of};
use crate::failure::{Answer, Failure};
use crate::output::Output;
use crate::progress;
use crate::text::{self, Written};

/// Entries between two looks at the progress bar.
const TICK: u64 = 1 << 12;

pub(crate) fn run(args: &cli::Dump) -> Result<Answer, Failure> {
    let (_store, database) = open_reading(&args.store, &args.database)?;
    let mut cursor = database.cursor()?;
    let mut out = Output::new();
    let bar = match std::io::stdout().is_terminal() {
        true => ProgressBar::hidden(),
        false => progress::counter("entries dumped"),
    };
    let mut entries = 0;
    while let Some((key, value, expiry)) = cursor.next_with_expiry()? {
        let entry = Written { key, value: Some(value), expiry: time_of(expiry) };
        text::write(out.writer(), args.format.into(), &entry).map_err(Failure::output)?;
        entries += 1;
        if entries % TICK == 0 {
            bar.set_position(entries);
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(Answer::Yes)
}
