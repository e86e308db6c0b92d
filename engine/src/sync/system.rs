//! What every normal build synchronises with: the standard library and crossbeam's epochs.

pub(crate) use crossbeam_epoch as epoch;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub(crate) use std::thread::{Builder, JoinHandle, panicking, yield_now};

use std::time::Duration;

/// A place where a model checker may let another thread run; here it is nothing.
#[inline(always)]
pub(crate) fn point() {}

pub(crate) fn wait_at_most<T>(condvar: &Condvar, guard: MutexGuard<'_, T>, time: Duration) {
    drop(condvar.wait_timeout(guard, time));
}
