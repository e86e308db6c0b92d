//! Sstables: immutable sorted files (SPEC "sstable").
//!
//! [`TableWriter`] makes one, [`Table`] maps and reads one, [`RunCursor`] walks a run of them.
//! Blocks are verified at their first touch per open; from then on they are read where they lie.

mod cursor;
mod fences;
mod heads;
mod numbers;
mod reader;
mod writer;

pub(crate) use cursor::RunCursor;
pub(crate) use heads::Heads;
pub(crate) use reader::{Found, Graveyard, Location, Payload, Table};
pub(crate) use writer::{Entry, TableWriter};
