//! Real processes on real file systems: a child writes and tells what it was promised; it is killed,
//! or its system calls fail, or its file system loses power; the parent holds the store to it.
//!
//! - [`child`]: the program that writes, by [`plan`], and reports
//! - [`life`]: one run of it, seen from the parent; [`ledger`]: what it has promised
//! - [`check`]: the oracle
//! - [`kill`], [`injected`], [`power`]: the three ordeals
//!
//! What a process does when is not the seed's choice: a seed makes the same workloads and aims at the
//! same moments, and a failure keeps its directory.

pub mod check;
pub mod child;
pub mod injected;
pub mod kill;
pub mod ledger;
pub mod life;
pub mod mount;
pub mod plan;
pub mod power;
pub mod report;
pub mod shutdown;
pub mod strace;
