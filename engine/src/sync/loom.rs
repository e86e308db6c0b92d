//! The types of loom: every order of a few threads, and every value that the memory model allows a
//! load to see. For the unit tests of small kernels only: a whole store has too many orders, and
//! the memtable's nodes cannot be loom's.

pub(crate) use crossbeam_epoch as epoch;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use loom::thread::{Builder, JoinHandle, current, panicking, yield_now};
/// No kernel under test has one.
pub(crate) use std::sync::OnceLock;

use std::time::Duration;

/// Every operation of loom's types is a place where another thread may run.
pub(crate) fn point() {}

/// Time never runs out: a wake-up that was forgotten is a deadlock.
pub(crate) fn wait_at_most<T>(condvar: &Condvar, guard: MutexGuard<'_, T>, _: Duration) {
    drop(condvar.wait(guard));
}

/// Nobody waits for more: every order of the others is tried anyway.
pub(crate) fn yield_until(_: Duration, enough: impl Fn() -> bool) {
    enough();
}

/// One thing after the other: neither waits for the other one.
pub(crate) fn join<A, B>(one: impl FnOnce() -> A, other: impl FnOnce() -> B) -> (A, B) {
    (one(), other())
}

/// In these runs nothing takes any time.
#[derive(Debug)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}
