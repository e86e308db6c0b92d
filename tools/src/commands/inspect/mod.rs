//! `orlop inspect`: what is in one file, field by field, with the offset of each.
//!
//! It reads through `orlop-formats` alone, without the store around the file: what it can print
//! is what SPEC says. On damage it prints what can be read, then the damage, and exits with 2.

mod log;
mod manifest;
mod record;
mod sstable;
mod stage;
mod superblock;

use std::fs;
use std::path::Path;

use orlop_formats::error::{DecodeError, Reason};
use orlop_formats::file_header::{FileHeader, FileKind, HEADER_LEN};

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::output::{Output, size};

use record::{Field, Record, Sink};

/// How an inspector ends: with a failed output, or with the damage it met.
type Inspected = Result<Vec<DecodeError>, Failure>;

pub(crate) fn run(args: &cli::Inspect) -> Result<Answer, Failure> {
    let path = &args.path;
    if path.is_dir() {
        return Err(Failure::with_hint(
            format!("{} is a directory, and inspect reads one file", path.display()),
            "name a file in it; for the store as a whole there are `stats` and `verify`",
        ));
    }
    let bytes = fs::read(path).map_err(|error| Failure::input(path, &error))?;
    let mut sink = Sink::new(Output::new(), args.json);
    if is_lock(path, &bytes) {
        sink.title(format!("{}: lock, {}", path.display(), size(bytes.len() as u64)))?;
        let text = Field::text("text", String::from_utf8_lossy(&bytes).trim_end().to_owned());
        sink.record(Record::new(0, bytes.len() as u64, "lock", vec![text]))?;
        sink.flush()?;
        return Ok(Answer::Yes);
    }
    if let Err(error) = FileHeader::decode(&bytes) {
        return Err(refuse(path, &error));
    }
    let damage = inspect(&mut sink, path, &bytes, args.entries)?;
    for error in &damage {
        sink.damage(error)?;
    }
    sink.flush()?;
    match damage.first() {
        None => Ok(Answer::Yes),
        Some(error) => Err(refuse(path, error)),
    }
}

fn inspect(sink: &mut Sink, path: &Path, bytes: &[u8], entries: bool) -> Inspected {
    let header = match FileHeader::decode(bytes) {
        Ok(header) => header,
        Err(error) => return Ok(vec![error]),
    };
    let len = bytes.len() as u64;
    sink.title(format!("{}: {}, {}", path.display(), name(header.kind), size(len)))?;
    sink.record(Record::new(
        0,
        HEADER_LEN as u64,
        "file header",
        vec![
            Field::text("kind", name(header.kind)),
            Field::number("version", u64::from(orlop_formats::limits::FORMAT_VERSION)),
            Field::text("store", header.store.to_string()),
            Field::number("number", header.number),
            Field::text("id", header.id.to_string()),
        ],
    ))?;
    match header.kind {
        FileKind::Superblock => superblock::inspect(sink, bytes, &header),
        FileKind::Manifest => manifest::inspect(sink, bytes, &header),
        FileKind::Log => log::inspect(sink, bytes, &header),
        FileKind::Stage => stage::inspect(sink, bytes),
        FileKind::Sstable => sstable::inspect(sink, bytes, &header, entries),
        FileKind::Blob => {
            let found = "format version 1 has no blob files";
            Ok(vec![DecodeError::new(Reason::TooNew, "blob file", 0, "a known layout", found)])
        }
    }
}

fn name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Superblock => "superblock",
        FileKind::Manifest => "manifest",
        FileKind::Log => "log segment",
        FileKind::Stage => "stage",
        FileKind::Sstable => "sstable",
        FileKind::Blob => "blob file",
    }
}

/// The one file without a header: a line of text, for people.
fn is_lock(path: &Path, bytes: &[u8]) -> bool {
    path.file_name().is_some_and(|name| name == "LOCK")
        && (bytes.is_empty() || bytes.starts_with(b"pid "))
}

fn refuse(path: &Path, error: &DecodeError) -> Failure {
    let path = path.display();
    match error.reason {
        Reason::NotOrlop => Failure::with_hint(
            format!("{path} is not a file of Orlop: {error}"),
            "inspect reads SUPER, .manifest, .log, .stage and .sst files of a store",
        ),
        Reason::TooNew => Failure::with_hint(
            format!("{path} was written by a newer version: {error}"),
            "upgrade to read it",
        ),
        Reason::Corrupt | Reason::Foreign => Failure::with_hint(
            format!("{path} is damaged: {error}"),
            "`orlop verify` on its store lists every damaged place",
        ),
    }
}
