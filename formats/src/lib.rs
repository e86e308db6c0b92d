//! Every byte that Orlop writes to disk: bytes to values and back. No I/O, no clock, no threads,
//! no unsafe code; any bytes give a value or a [`DecodeError`], never a panic.
//!
//! `SPEC.md` at the root of the repository says the same in words, chapter by chapter in the
//! order of these modules, which is the order to read them in:
//!
//! - the ground: [`error`], [`limits`], [`ids`], [`varint`], `tagged`, [`checksum`], [`layout`];
//! - what every file has: [`file_header`], [`filename`];
//! - the entrance of a store: [`superblock`];
//! - what is appended: [`frame`], and in it [`log`] with [`batch`]es, and the [`manifest`];
//! - what is sorted: [`block`], [`filter`], and around them the [`sstable`];
//! - what the system database holds: [`catalog`];
//! - what is on its way into the log: [`stage`].
//!
//! Conventions: integers are little-endian; 0 is never a valid kind; a length from disk is held
//! against [`limits`] or against the bytes at hand before anything is allocated; offsets of an
//! error count from the bytes a decoder was given, and [`DecodeError::at`] moves them.

#![forbid(unsafe_code)]

pub mod error;
pub mod limits;

pub mod ids;

pub mod varint;

mod tagged;

pub mod checksum;

pub mod layout;

pub mod file_header;

pub mod filename;

pub mod superblock;

pub mod frame;

pub mod log;

pub mod batch;

pub mod block;

pub mod filter;

pub mod sstable;

pub mod manifest;

pub mod catalog;

pub mod stage;

pub use error::{DecodeError, Reason, Result};
