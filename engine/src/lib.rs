//! Orlop: an embedded storage engine.
//!
//! One directory is one [`Store`]; a store hosts any number of [`Database`]s: ordered key spaces
//! under one log, one snapshot, one atomic batch. Reads are zero-copy and checksummed, writes are
//! as durable as you say ([`Durability`]), and every byte on disk is described in SPEC.md.
//!
//! ```
//! # fn main() -> orlop::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("my.orlop");
//! let store = orlop::Store::open(&path)?;
//! let users = store.database("users")?;
//! users.put("ada", "1815")?; // on the device when this returns
//! for entry in users.range("a".."m").rev() {
//!     let (key, value) = entry?;
//!     assert_eq!((&key[..], &value[..]), (&b"ada"[..], &b"1815"[..]));
//! }
//! let before = store.snapshot();
//! users.delete("ada")?;
//! assert_eq!(before.get(&users, "ada")?.as_deref(), Some(&b"1815"[..]));
//! assert_eq!(users.get("ada")?, None);
//! # drop(before);
//! store.close()
//! # }
//! ```
//!
//! # The house
//!
//! Six floors; imports go down only.
//!
//! | floor | modules |
//! |---|---|
//! | 6 front door | `store` `database` `batch` `snapshot` `cursor` |
//! | 5 flow | `flow`: write, read, scan, flush, compact, recover, close |
//! | 4 state | `state`: memtable, version, view, catalog, snapshots, iterators |
//! | 3 files | `files`: wal, segments, sstable, manifest, superblock |
//! | 2 env | [`mod@env`]: the only door to the operating system |
//! | 1 formats | the crate `orlop-formats`: bytes to values and back |

#![deny(missing_docs)]

#[cfg(feature = "seeded-bugs")]
#[macro_use]
pub mod seeded;

/// A place where a historic bug can be planted, with the feature `seeded-bugs`; nothing without.
#[cfg(not(feature = "seeded-bugs"))]
macro_rules! seeded {
    ($bug:ident => $wrong:expr, else $right:expr) => {
        $right
    };
    ($bug:ident => $wrong:expr) => {};
    ($bug:ident: $value:ident = $wrong:expr) => {};
}

pub mod env;

mod error;
mod expiry;
mod options;
mod prefetch;
mod stats;
mod sync;

mod files;
mod state;

mod flow;

mod batch;
mod bulk_load;
mod cursor;
mod database;
mod pending;
mod snapshot;
mod store;

#[cfg(feature = "sim")]
pub mod sim;

pub use batch::Batch;
pub use bulk_load::BulkLoad;
pub use cursor::{Cursor, Entry, ExpiringEntry, Range};
pub use database::Database;
pub use env::catch_faults;
pub use error::{Error, Result};
pub use expiry::Expiry;
pub use flow::background::Progress;
pub use options::{Background, Compression, Durability, Verify};
pub use pending::Pending;
pub use snapshot::Snapshot;
pub use state::catalog::DatabaseOptions;
pub use state::value::Value;
pub use stats::{LevelStats, RunStats, ScrubStats, Stats};
pub use store::{Builder, Store};

/// The examples of the README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
