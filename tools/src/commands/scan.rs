//! `orlop scan`: print the entries of a range, in either direction.

use orlop::{Cursor, Expiry};

use crate::cli::{self, ScanFormat};
use crate::commands::{open_reading, time_of};
use crate::failure::{Answer, Failure};
use crate::keys::Bounds;
use crate::output::Output;
use crate::text::{self, Written};

pub(crate) fn run(args: &cli::Scan) -> Result<Answer, Failure> {
    let bounds = Bounds::parse(&args.bounds, args.notation)?;
    let (_store, database) = open_reading(&args.store, &args.database)?;
    if bounds.is_empty() {
        return Ok(Answer::Yes);
    }
    let mut out = Output::new();
    let print = Print { format: args.format, keys_only: args.keys_only };
    let limit = args.limit.unwrap_or(u64::MAX);
    let cursor = database.cursor()?;
    if args.reverse {
        backward(cursor, &bounds, limit, &print, &mut out)?;
    } else {
        forward(cursor, &bounds, limit, &print, &mut out)?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}

/// How an entry is printed.
struct Print {
    format: ScanFormat,
    keys_only: bool,
}

impl Print {
    fn entry(
        &self,
        out: &mut Output,
        (key, value, expiry): (&[u8], &[u8], Expiry),
    ) -> Result<(), Failure> {
        let value = (!self.keys_only).then_some(value);
        let entry = Written { key, value, expiry: time_of(expiry) };
        text::write(out.writer(), self.format, &entry).map_err(Failure::output)
    }
}

fn forward(
    mut cursor: Cursor,
    bounds: &Bounds,
    limit: u64,
    print: &Print,
    out: &mut Output,
) -> Result<(), Failure> {
    cursor.seek(&bounds.start)?;
    for _ in 0..limit {
        match cursor.next_with_expiry()? {
            Some(entry) if !bounds.ends_before(entry.0) => print.entry(out, entry)?,
            _ => break,
        }
    }
    Ok(())
}

fn backward(
    mut cursor: Cursor,
    bounds: &Bounds,
    limit: u64,
    print: &Print,
    out: &mut Output,
) -> Result<(), Failure> {
    match &bounds.end {
        Some(end) => cursor.seek(end)?,
        None => cursor.seek_last(),
    }
    for _ in 0..limit {
        match cursor.prev_with_expiry()? {
            Some(entry) if entry.0 >= bounds.start.as_slice() => print.entry(out, entry)?,
            _ => break,
        }
    }
    Ok(())
}
