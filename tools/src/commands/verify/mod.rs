//! `orlop verify`: every byte of every file, every checksum, every rule of SPEC.
//!
//! It reads the files itself, through `orlop-formats`, and not through the engine: so it also
//! works on a store that refuses to open. It takes no lock; when a writer changes the store
//! while it reads, it reads again.

mod catalog;
mod cleared;
mod log;
mod manifest;
mod report;
mod store;
mod superblock;
mod table;
mod table_blocks;

use std::path::Path;

use serde_json::json;

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::output::{Output, counted, size};

use report::Report;

/// How often a store is read again when a writer changed it meanwhile.
const TRIES: usize = 10;

pub(crate) fn run(args: &cli::StoreAndJson) -> Result<Answer, Failure> {
    let report = verify(&args.store)?;
    let mut out = Output::new();
    if args.json {
        out.json(&as_json(&args.store, &report))?;
    } else {
        print(&mut out, &args.store, &report)?;
    }
    out.flush()?;
    Ok(if report.is_clean() { Answer::Yes } else { Answer::No })
}

/// What `orlop verify` finds in a store, one line a finding; none: the store is whole.
///
/// # Errors
/// When there is no store to check, or a file cannot be read for other reasons than damage: a line
/// that says so.
pub fn findings(dir: &Path) -> Result<Vec<String>, String> {
    let report = verify(dir).map_err(|failure| failure.to_string())?;
    let line = |finding: &report::Finding| {
        let report::Finding { path, offset, what, expected, found } = finding;
        let path = path.display();
        format!("{path}, offset {offset}: {what}: expected {expected}, found {found}")
    };
    Ok(report.findings().iter().map(line).collect())
}

/// What a live writer does can look like damage: findings count when the store stood still.
fn verify(dir: &Path) -> Result<Report, Failure> {
    for _ in 0..TRIES {
        let before = store::fingerprint(dir);
        let report = store::verify(dir)?;
        if report.is_clean() || store::fingerprint(dir) == before {
            return Ok(report);
        }
    }
    let what = format!("{}: a writer changed it during each of {TRIES} readings", dir.display());
    Err(Failure::with_hint(what, "let the writer rest, or verify a copy of the store"))
}

fn print(out: &mut Output, dir: &Path, report: &Report) -> Result<(), Failure> {
    for note in &report.notes {
        out.line(format!("note     {}: {}", note.path.display(), note.text))?;
    }
    for finding in report.findings() {
        out.line(format!(
            "finding  {}, offset {}: {}",
            finding.path.display(),
            finding.offset,
            finding.what
        ))?;
        out.line(format!("         expected  {}", finding.expected))?;
        out.line(format!("         found     {}", finding.found))?;
    }
    let unlisted = report.found() - report.findings().len() as u64;
    if unlisted > 0 {
        out.line(format!("         and {}", counted(unlisted, "more finding", "more findings")))?;
    }
    let verdict = match report.found() {
        0 => "clean".to_owned(),
        found => counted(found, "finding", "findings"),
    };
    out.line(format!(
        "{}: {verdict}; read {}, {}",
        dir.display(),
        counted(report.files, "file", "files"),
        size(report.bytes)
    ))
}

fn as_json(dir: &Path, report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings()
        .iter()
        .map(|finding| {
            json!({
                "path": finding.path.to_string_lossy(),
                "offset": finding.offset,
                "what": finding.what,
                "expected": finding.expected,
                "got": finding.found,
            })
        })
        .collect();
    let notes: Vec<_> = report
        .notes
        .iter()
        .map(|note| json!({ "path": note.path.to_string_lossy(), "note": note.text }))
        .collect();
    json!({
        "store": dir.to_string_lossy(),
        "clean": report.is_clean(),
        "files": report.files,
        "bytes": report.bytes,
        "findings_total": report.found(),
        "findings": findings,
        "notes": notes,
    })
}
