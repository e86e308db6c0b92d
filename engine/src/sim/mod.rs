//! Crash tests for programs that stand on Orlop (feature `sim`).
//!
//! A program that keeps its state in a store makes promises of its own: money that leaves one
//! account arrives at another, an order that was confirmed is there tomorrow. Whether these hold
//! when the power goes, no ordinary test can tell. This module can:
//!
//! 1. the program runs on a simulated disk ([`SimEnv`]) and keeps a [`History`]: the state after
//!    each commit that it begins, and when the commit was acknowledged
//! 2. [`CrashTest`] cuts the power after every operation that the disk ever saw, in many ways
//!    each ([`Keep`]), kills the process there too ([`Death`]), and cuts recoveries short as well
//! 3. each time the program's own check opens what is left, says which state it found, and the
//!    history says whether that state is one that may be left: no acknowledged commit lost, no
//!    half commit, nothing from the future
//!
//! [`SimEnv::fail_at`] and [`SimEnv::fail_read_at`] make single operations fail instead.
//! [`strategies`] draws keys, values, durabilities, faults and crashes for property tests. [`structure`] checks the
//! files of an open store from the inside.
//!
//! `examples/bank.rs` is a small bank with a bug that only a crash shows:
//! `cargo run -p orlop --features sim --example bank`.
//!
//! ```
//! use std::sync::Arc;
//! use orlop::sim::{CrashTest, History, SimEnv, Survivor};
//! use orlop::{Background, Durability, Store};
//!
//! fn open(disk: &SimEnv) -> orlop::Result<Store> {
//!     let builder = Store::builder().env(Arc::new(disk.clone()));
//!     builder.background(Background::Manual).open("/counter")
//! }
//!
//! /// Counts to five.
//! fn program(disk: &SimEnv, history: &History<u64>) -> orlop::Result<()> {
//!     let counter = open(disk)?.database("counter")?;
//!     for n in 1..=5_u64 {
//!         history.commit(n, Durability::Synced, || counter.put("n", n.to_le_bytes()))?;
//!     }
//!     Ok(())
//! }
//!
//! /// What a crash has left.
//! fn check(survivor: &Survivor<'_, u64>) -> Result<(), String> {
//!     let read = || -> orlop::Result<u64> {
//!         let found = open(survivor.disk())?.database("counter")?.get("n")?;
//!         Ok(found.map_or(0, |n| u64::from_le_bytes((*n).try_into().unwrap())))
//!     };
//!     survivor.find(&read().map_err(|error| error.to_string())?).map(drop)
//! }
//!
//! let report = CrashTest::new().run(0, program, check).unwrap();
//! assert!(report.images > 100);
//! ```

mod crash;
mod history;
pub mod strategies;

pub use crate::env::{FaultKind, Keep, Moment, ReadFault, SimEnv, Tear};
pub use crash::{Crash, CrashTest, Death, Failure, Report, Survivor};
pub use history::{Broken, History, Promise};

use crate::error::Result;
use crate::flow;
use crate::store::Store;

/// Checks the files of an open store from the inside: every file is named once and no orphan is
/// there, levels and tables are in order, bounds, counts and filters are right, newer runs hold
/// newer versions. Reads everything; for a store at rest.
///
/// # Errors
/// What reading meets, and [`Error::Corrupt`](crate::Error::Corrupt) for the first rule broken.
pub fn structure(store: &Store) -> Result<()> {
    flow::structure::check(store.shared())
}
