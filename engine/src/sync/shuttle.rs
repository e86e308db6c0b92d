//! The types of shuttle: threads that run one at a time, in an order that a seed decides.
//!
//! What it does not see: the inside of the memtable and of crossbeam's epochs (both are lock-free, so
//! that nothing blocks in there), and orderings weaker than sequential
//! consistency. The kernels under loom are there for these.

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use shuttle::thread::{Builder, JoinHandle, current, panicking, yield_now};

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

/// A place where another thread may run. Any atomic operation is one.
pub(crate) fn point() {
    AtomicBool::new(false).load(Ordering::Relaxed);
}

/// A clock has no place in a run that can be repeated: dice say whether the time is over at once or
/// never. The second is what finds a wake-up that was forgotten.
pub(crate) fn wait_at_most<T>(condvar: &Condvar, guard: MutexGuard<'_, T>, _: Duration) {
    if thread_rng().gen_ratio(1, 4) {
        drop(guard);
        yield_now();
    } else {
        drop(condvar.wait(guard));
    }
}

/// As above: dice say how long it takes until the time is over.
pub(crate) fn yield_until(_: Duration, enough: impl Fn() -> bool) {
    let turns = thread_rng().gen_range(0..4);
    (0..turns).take_while(|_| !enough()).for_each(|_| yield_now());
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

/// Crossbeam's epochs, with a collector of each execution's own: one that outlived it would make a
/// run depend on those before. Every guard is a participant, since all threads are one to the system.
pub(crate) mod epoch {
    pub(crate) use crossbeam_epoch::{Atomic, Guard, Owned, Shared};

    shuttle::lazy_static! {
        static ref COLLECTOR: crossbeam_epoch::Collector = crossbeam_epoch::Collector::new();
    }

    pub(crate) fn pin() -> Guard {
        super::point();
        COLLECTOR.register().pin()
    }
}

/// The standard library's, but who waits for another thread's initialisation waits in shuttle.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    setting: Mutex<()>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { value: std::sync::OnceLock::new(), setting: Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        point();
        self.value.get()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        self.value.set(value)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _setting = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        self.value.get_or_init(init)
    }
}
