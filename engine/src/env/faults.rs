//! Faults on mapped memory: who touches a page that the system cannot read gets `SIGBUS`.
//!
//! Without a handler that ends the process. With one ([`catch_faults`]) each file is mapped twice:
//!
//! - *The engine's map* is looked at inside of the engine alone, by threads that have said so ([`Inside`]). Behind a
//!   fault there the handler puts a page of zeros, and the thread goes on; the file counts as failed from then on.
//! - *The lent map* is what callers look at, in a `Value`, or where a cursor stands. Nothing is ever put there: a fault
//!   ends the process with one line that names the file and the offset.
//!
//! Zeros must never pass for data. Before they are put there, the file is marked as failed, and then the faults of the
//! process are counted. So whoever compares the count before and after a reading has seen none, or reads again; and
//! what reads again is told by [`Known::failed`]. The price is that of a seqlock, whose writer is the handler.
//!
//! Atomics are the standard library's here: the handler runs where no model checker can be.

#[cfg(target_os = "linux")]
mod handler;

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

thread_local! {
    /// This thread looks at the engine's maps. The handler reads it, so it must not need to be made.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Faults behind which zeros were put.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// There is a handler: what is mapped now is mapped twice.
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Makes faults on mapped memory errors, where that can be; for the whole process.
///
/// A device that cannot read a page, or a file that somebody has cut short, raises `SIGBUS` in whoever touches the
/// page, and that ends the process. The first touch of a block is an [`Error::Io`] without this. A page that was read
/// before can be given up by the system and fail when it comes back. This installs a handler for that:
///
/// - inside of the engine such a fault becomes an [`Error::Io`] that names the file, which fails from then on until the
///   store is opened again; whatever does not need that file goes on;
/// - in a [`Value`](crate::Value), or in bytes that a cursor or `get_with` has lent, there is nobody to tell: the
///   process aborts with a line on standard error that names the file and the offset;
/// - faults at other addresses are handed to the handler that was there before.
///
/// Call it before stores are opened: of files that are open already a fault inside of the engine aborts, too. Tables
/// take twice their address space then, but no more memory. A second call does nothing.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// orlop::catch_faults()?;
/// let store = orlop::Store::in_memory()?;
/// # store.close()
/// # }
/// ```
///
/// # Errors
/// [`Error::Io`] where the system has no such handler (it is there on Linux), or does not take it.
pub fn catch_faults() -> Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if caught() {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    let installed = handler::install();
    #[cfg(not(target_os = "linux"))]
    let installed = Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
    installed.map_err(|e| Error::io("catch faults of", Path::new("mapped files"), e))?;
    CAUGHT.store(true, Ordering::Release);
    Ok(())
}

/// Whether there is a handler.
#[inline]
pub(crate) fn caught() -> bool {
    CAUGHT.load(Ordering::Acquire)
}

/// Faults so far. What was read between two equal answers is no zeros of a handler's.
#[inline]
pub(crate) fn count() -> u64 {
    // What was read before stays before.
    fence(Ordering::Acquire);
    COUNT.load(Ordering::Acquire)
}

/// Whether there was any. It is not told in order with other readings: who has to know that asks behind them.
#[inline]
pub(super) fn any() -> bool {
    COUNT.load(Ordering::Relaxed) != 0
}

/// Reads what is mapped, again if there was a fault meanwhile. Who reads a file that has failed is told, so that this
/// ends.
#[inline]
pub(crate) fn inside<T>(mut read: impl FnMut() -> T) -> T {
    loop {
        let before = count();
        let inside = Inside::enter();
        let found = read();
        drop(inside);
        if count() == before {
            return found;
        }
    }
}

/// While it lives, this thread may look at the engine's maps. A fault there without it ends the process, since nobody
/// would look whether there was one.
pub(crate) struct Inside {
    was_inside: bool,
}

impl Inside {
    #[inline]
    pub(crate) fn enter() -> Inside {
        let was_inside = INSIDE.replace(true);
        // The handler runs in this thread: only the compiler could put a reading before.
        compiler_fence(Ordering::SeqCst);
        Inside { was_inside }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        INSIDE.set(self.was_inside);
    }
}

/// Who looks at a map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The engine alone.
    Engine,
    /// Callers; and the engine, where there is but one map.
    Lent,
}

/// A map that the handler knows, for as long as this lives. It must go before the map does.
pub(super) struct Known {
    region: &'static Region,
    /// The handler reads it where it is.
    _path: CString,
}

impl Known {
    pub(super) fn new(map: &[u8], path: &Path, by: Use) -> Known {
        // No path that a system has opened contains a NUL byte.
        let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let region = Region::unused();
        region.change(|| {
            region.start.store(map.as_ptr().addr(), Ordering::Relaxed);
            region.len.store(map.len(), Ordering::Relaxed);
            region.path.store(path.as_ptr().cast_mut(), Ordering::Relaxed);
            region.is_lent.store(by == Use::Lent, Ordering::Relaxed);
            region.failed.store(0, Ordering::Relaxed);
        });
        Known { region, _path: path }
    }

    /// Where a page of zeros was put, if anywhere: the offset of the first fault.
    #[inline]
    pub(super) fn failed(&self) -> Option<u64> {
        if count() == 0 { None } else { self.region.failed.load(Ordering::Acquire).checked_sub(1) }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.region.change(|| {
            self.region.len.store(0, Ordering::Relaxed);
            self.region.path.store(ptr::null_mut(), Ordering::Relaxed);
        });
        UNUSED.lock().unwrap_or_else(PoisonError::into_inner).push(self.region);
    }
}

/// A place in the list of maps, which only grows: the handler can walk it at any time. Places are used again.
struct Region {
    /// Odd while the rest changes.
    version: AtomicUsize,
    start: AtomicUsize,
    /// 0: there is no map.
    len: AtomicUsize,
    path: AtomicPtr<c_char>,
    is_lent: AtomicBool,
    /// The offset of its first fault, plus one; 0: there was none.
    failed: AtomicU64,
    next: Option<&'static Region>,
}

static FIRST: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());

static UNUSED: Mutex<Vec<&'static Region>> = Mutex::new(Vec::new());

impl Region {
    fn first() -> Option<&'static Region> {
        // SAFETY: what is in `FIRST` was leaked, so it lives for ever; it is shared from then on, never exclusive.
        unsafe { FIRST.load(Ordering::Acquire).as_ref() }
    }

    fn unused() -> &'static Region {
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = unused.pop() {
            return region;
        }
        // Under the lock nobody else adds one.
        let region = Box::leak(Box::new(Region {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            path: AtomicPtr::new(ptr::null_mut()),
            is_lent: AtomicBool::new(true),
            failed: AtomicU64::new(0),
            next: Region::first(),
        }));
        FIRST.store(region, Ordering::Release);
        region
    }

    /// Only its one owner changes it.
    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// How far an address is behind the start of the map, if it is in there. A map that this thread looks at does not
    /// change; one that does is another's.
    fn offset_of(&self, address: usize) -> Option<usize> {
        let version = self.version.load(Ordering::Acquire);
        let (start, len) = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let stands = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        address.checked_sub(start).filter(|offset| stands && *offset < len)
    }

    /// The map that an address is in. For the handler: it takes no lock and no memory.
    fn at(address: usize) -> Option<(&'static Region, usize)> {
        let mut next = Region::first();
        while let Some(region) = next {
            if let Some(offset) = region.offset_of(address) {
                return Some((region, offset));
            }
            next = region.next;
        }
        None
    }

    /// Whether zeros may be put there now.
    fn may_go_on(&self) -> bool {
        !self.is_lent.load(Ordering::Relaxed) && INSIDE.get()
    }

    /// To be told before zeros are put there.
    fn fail(&self, offset: usize) {
        let failed = offset as u64 + 1;
        let _ = self.failed.compare_exchange(0, failed, Ordering::AcqRel, Ordering::Relaxed);
        // Who sees the new count sees the mark.
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_known_while_it_lives() {
        let bytes = vec![0; 100];
        let at = bytes.as_ptr().addr();
        let offset = |address| Region::at(address).map(|(_, offset)| offset);
        for _ in 0..3 {
            assert_eq!(offset(at), None);
            let known = Known::new(&bytes, Path::new("f"), Use::Engine);
            assert_eq!(offset(at), Some(0));
            assert_eq!(offset(at + 99), Some(99));
            assert_eq!((offset(at + 100), offset(at - 1)), (None, None));
            assert_eq!(known.failed(), None);
        }
        assert_eq!(offset(at), None);
    }

    #[test]
    fn only_the_engine_goes_on() {
        let bytes = [0; 10];
        let engine = Known::new(&bytes[..5], Path::new("f"), Use::Engine);
        let lent = Known::new(&bytes[5..], Path::new("f"), Use::Lent);
        let may = || (engine.region.may_go_on(), lent.region.may_go_on());
        assert_eq!(may(), (false, false));
        inside(|| {
            inside(|| assert_eq!(may(), (true, false)));
            assert_eq!(may(), (true, false));
        });
        assert_eq!(may(), (false, false));
    }

    #[test]
    fn a_reading_with_a_fault_in_it_is_done_again() {
        let bytes = [0; 10];
        let known = Known::new(&bytes, Path::new("f"), Use::Engine);
        let mut seen = Vec::new();
        inside(|| {
            seen.push(known.failed());
            if seen.len() == 1 {
                known.region.fail(7);
                known.region.fail(3);
            }
        });
        assert_eq!(seen.last(), Some(&Some(7)), "{seen:?}");
        drop(known);
        assert_eq!(Known::new(&bytes, Path::new("f"), Use::Engine).failed(), None);
    }
}
