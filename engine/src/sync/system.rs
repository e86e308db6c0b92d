//! What every normal build synchronises with: the standard library and crossbeam's epochs.

pub(crate) use crossbeam_epoch as epoch;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use std::thread::{Builder, JoinHandle, current, panicking, yield_now};

use std::panic::resume_unwind;
use std::sync::PoisonError;
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
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Does two things at the same time; one after the other where no thread can be had.
pub(crate) fn join<A, B: Send>(
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    let other = Mutex::new(Some(other));
    let take = || other.lock().unwrap_or_else(PoisonError::into_inner).take();
    scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, || take().map(|other| other()));
        let one = one();
        let done =
            thread.ok().and_then(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)));
        match (done, take()) {
            (Some(other), _) => (one, other),
            (None, Some(other)) => (one, other()),
            // Whoever takes it does it, or does not come here.
            (None, None) => unreachable!("it was taken and not done"),
        }
    })
}
