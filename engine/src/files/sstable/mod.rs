//! Sstables: immutable sorted files (SPEC "sstable").
//!
//! [`TableWriter`] makes one, [`Table`] maps and reads one, [`RunCursor`] walks a run of them.
//! Blocks are verified at their first touch per open; from then on they are read where they lie.

mod cache;
mod context;
mod cursor;
mod ends;
mod fences;
mod heads;
mod lookup;
mod marks;
mod numbers;
mod probe;
mod reader;
mod scrub;
mod standing;
mod writer;

pub(crate) use cache::{Pins, Plain};
pub(crate) use context::Context;
#[cfg(all(test, loom))]
pub(crate) use context::Graveyard;
pub(crate) use cursor::RunCursor;
pub(crate) use heads::Heads;
pub(crate) use lookup::{Found, Location, Payload};
pub(crate) use reader::Table;
pub(crate) use scrub::Scrubbed;
pub(crate) use writer::{Entry, Pace, TableFormat, TableWriter};
