//! The only source of atomics, locks, condition variables, threads, epochs and time that passes.
//!
//! Everything above takes its synchronisation from here, so that the same code runs under a model
//! checker. Each of the three submodules gives the same names: `system` those of every normal build,
//! `shuttle` and `loom` those of the checkers, whose types work only inside of their executions.

#[cfg(loom)]
mod loom;
#[cfg(feature = "shuttle")]
mod shuttle;
#[cfg(not(any(loom, feature = "shuttle")))]
mod system;

#[cfg(loom)]
use self::loom as primitive;
#[cfg(feature = "shuttle")]
use self::shuttle as primitive;
#[cfg(not(any(loom, feature = "shuttle")))]
use self::system as primitive;

#[cfg(all(loom, feature = "shuttle"))]
compile_error!("a build is for one model checker");

pub(crate) use self::primitive::{
    AtomicBool, AtomicU64, JoinHandle, MutexGuard, OnceLock, RwLock, Stopwatch, epoch, join,
    panicking, point, yield_now, yield_until,
};
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, Weak};

/// Atomics that no model checker watches: those inside of the memtable, whose nodes are plain memory.
/// To shuttle an operation of the memtable is one step; Miri and the tests with threads look inside.
pub(crate) mod unwatched {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

use self::primitive::{RwLockReadGuard, RwLockWriteGuard};

/// A mutual exclusion lock that hands out its data even when another thread panicked with it.
///
/// The engine does not panic while it holds a lock; when a caller's closure does, every structure
/// behind these locks is still consistent, because each is changed in one assignment.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(primitive::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(primitive::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody has it just now.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition variable that goes with [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(primitive::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but not for longer than `time`, and gives the lock back.
    pub(crate) fn wait_at_most<T>(&self, guard: MutexGuard<'_, T>, time: Duration) {
        primitive::wait_at_most(&self.0, guard, time);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Reads behind a lock whose data stays consistent under panics (see [`Mutex`]).
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Writes behind a lock whose data stays consistent under panics (see [`Mutex`]).
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a named thread.
pub(crate) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    primitive::Builder::new().name(name.to_owned()).spawn(body)
}

/// Whether it is this thread that a handle stands for.
pub(crate) fn is_this_thread(thread: &JoinHandle<()>) -> bool {
    thread.thread().id() == primitive::current().id()
}

/// Calls code of others, whose panics are theirs.
pub(crate) fn guarded(call: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
}
