//! What every normal build synchronises with: the standard library and crossbeam's epochs.

pub(crate) use crossbeam_epoch as epoch;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use std::thread::{Builder, JoinHandle, current, panicking, yield_now};

use std::panic::resume_unwind;
use std::thread::scope;
use std::time::{Duration, Instant};

/// A place where a model checker may let another thread run; here it is nothing.
#[inline(always)]
pub(crate) fn point() {}

pub(crate) fn wait_at_most<T>(condvar: &Condvar, guard: MutexGuard<'_, T>, time: Duration) {
    drop(condvar.wait_timeout(guard, time));
}

/// Lets others run until there is enough of something, or the time is over.
pub(crate) fn yield_until(time: Duration, enough: impl Fn() -> bool) {
    let begun = Instant::now();
    while !enough() && begun.elapsed() < time {
        yield_now();
    }
}

/// Says how long something took.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Does two things at the same time.
pub(crate) fn join<A, B: Send>(
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        (one, other.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
