//! Production on Linux: the log through an io_uring, everything else as [`PosixEnv`] does it.
//!
//! A write goes past the page cache, from where the bytes are if they begin at a page, or else out of a copy that does,
//! and the caller is free until it reaps: with a sync it is two linked entries, WRITE then FSYNC(DATASYNC), and one
//! system call; without one a thread of the kernel does all of it. Two kinds of writes do not touch the ring. Small
//! ones with a sync: a `pwrite` and an `fdatasync` at the reap are a fifth faster (docs/decisions/0010), unless
//! nobody can reap for a while, and the sync goes to the ring. And, where nothing gets past the page cache, small
//! ones without: into the cache a `pwrite` takes 0.4 µs, the ring 11 µs (docs/decisions/0001).
//!
//! One environment has one ring, behind a mutex held while waiting. Whoever starts or reaps a write through the ring
//! queues for it: the leaders of groups, which follow one another before the first has landed, the background, which
//! fills segments, and other stores of the environment. What keeps the kernel and Rust from sharing a buffer wrongly
//! is one rule: **a buffer and its file stay with the [`Flight`] until every completion of that flight was seen**; if
//! that can no longer happen, both are leaked.

mod ring;

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::IoUring;

use self::ring::{Kernel, Op, Ring};
use super::direct::{DirectFile, is_refusal};
use super::pages::{self, Pages};
use super::{
    DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, PosixEnv, StageFile, WriteFile,
    nothing_in_flight, write_in_flight,
};

/// Writes up to this size are cheaper as a plain system call, where nobody could do anything meanwhile.
const SMALL: usize = 64 << 10;
/// One entry's length is 32 bits, and the kernel writes at most 2 GiB at once; what is beyond is
/// finished as any short write is.
const LARGEST_ENTRY: usize = 1 << 30;

/// Files as in [`PosixEnv`], and logs through an io_uring.
#[derive(Debug, Clone)]
pub struct UringEnv {
    posix: PosixEnv,
    ring: Arc<Mutex<Ring>>,
}

impl UringEnv {
    /// Sets up a ring and sends a no-op through it. The error says what was denied.
    pub fn new() -> io::Result<UringEnv> {
        let ring = Ring::new().map_err(|error| denied(&error))?;
        Ok(UringEnv { posix: PosixEnv::new(), ring: Arc::new(Mutex::new(ring)) })
    }
}

/// Why there is no ring, and where to look.
fn denied(error: &io::Error) -> io::Error {
    let look = match error.raw_os_error() {
        Some(libc::ENOMEM) => "the memlock limit, ulimit -l, is too small for it on old kernels",
        _ => "see sysctl kernel.io_uring_disabled, and the seccomp profile of the container",
    };
    io::Error::new(error.kind(), format!("io_uring is denied here: {error} ({look})"))
}

impl Env for UringEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.posix.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.posix.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.posix.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.posix.create(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.posix.open_write(path)
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        let file = PosixEnv::create_log_file(path, preallocate)?;
        Ok(Box::new(UringLog::new(DirectFile::of(file), Arc::clone(&self.ring))))
    }

    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Box::new(UringLog::new(DirectFile::of(file), Arc::clone(&self.ring))))
    }

    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>> {
        self.posix.create_stage(path, header, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.posix.len(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.posix.read(path)
    }

    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        self.posix.read_start(path, len)
    }

    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.posix.read_device(path, offset, len)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.posix.map(path)
    }

    fn warm(&self, path: &Path, go_on: &mut dyn FnMut() -> bool) {
        self.posix.warm(path, go_on);
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.posix.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.posix.remove(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.posix.link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.posix.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        self.posix.lock(path)
    }

    fn random(&self) -> [u8; 16] {
        self.posix.random()
    }

    fn now_ms(&self) -> u64 {
        self.posix.now_ms()
    }

    fn log_path(&self) -> LogPath {
        LogPath { name: "io_uring", fallback: None }
    }

    fn disk_usage(&self, path: &Path) -> io::Result<u64> {
        self.posix.disk_usage(path)
    }
}

/// A log segment written through the ring.
struct UringLog<K: Kernel = IoUring> {
    file: Arc<DirectFile>,
    ring: Arc<Mutex<Ring<K>>>,
    in_flight: Option<Flight>,
    /// Space for the copy that the next write goes out of.
    spare: Pages,
}

/// A write under way, and all the kernel may still touch for it.
struct Flight {
    bytes: Vec<u8>,
    /// Bytes before this are none of the file's, or were written before the flight.
    from: usize,
    /// Where the others go.
    offset: u64,
    sync: bool,
    /// A copy of them that begins at a page, if they go past the page cache and do not.
    pages: Pages,
    /// Keeps the descriptor open, also when the flight has to be leaked.
    file: Arc<DirectFile>,
    route: Route,
}

impl Flight {
    /// What the kernel is to write.
    fn rest(&self) -> &[u8] {
        if self.pages.is_empty() { &self.bytes[self.from..] } else { &self.pages }
    }
}

/// How a [`Flight`] goes.
enum Route {
    /// By a `pwrite` that was done at submit; the sync follows at the reap.
    Done(io::Result<()>),
    /// The same, but the sync is an entry of the ring.
    Syncing(u64),
    /// By entries of the ring: the write, then the sync if there is one. The sync covers the write
    /// only if the kernel took both as one chain.
    Ring { first: u64, linked: bool },
}

impl<K: Kernel> UringLog<K> {
    fn new(file: DirectFile, ring: Arc<Mutex<Ring<K>>>) -> Self {
        UringLog { file: Arc::new(file), ring, in_flight: None, spare: Pages::default() }
    }

    /// Prepares a write past the page cache, of which all but the last piece is done here.
    fn aim(&mut self, mut flight: Flight) -> io::Result<Flight> {
        let leading = flight.file.write_leading(flight.rest(), flight.offset)?;
        flight.from += leading;
        flight.offset += leading as u64;
        if flight.file.is_direct() && !pages::begins_at_a_page(flight.rest()) {
            flight.pages = mem::take(&mut self.spare);
            flight.pages.copy(&flight.bytes[flight.from..]);
        }
        Ok(flight)
    }

    fn ring(&self) -> MutexGuard<'_, Ring<K>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `flight` to the kernel; on success its route says where to wait.
    fn launch(&self, mut flight: Flight) -> io::Result<Flight> {
        let mut ring = self.ring();
        ring.usable()?;
        let fd = flight.file.file().as_raw_fd();
        let write = Op::Write {
            fd,
            bytes: flight.rest().as_ptr(),
            len: flight.rest().len().min(LARGEST_ENTRY) as u32,
            offset: flight.offset,
            linked: flight.sync,
            // Who has to wait for it anyway is faster than somebody who has to be woken.
            aside: !flight.sync,
        };
        let started = if flight.sync {
            // SAFETY: the flight owns the buffer and keeps the descriptor open. It is given up
            // only after both entries completed (`land`), or leaked, here or there.
            unsafe { ring.start([write, Op::SyncData { fd }]) }
        } else {
            // SAFETY: as above, with one entry.
            unsafe { ring.start([write]) }
        };
        match started {
            Ok((first, linked)) => {
                flight.route = Route::Ring { first, linked };
                Ok(flight)
            }
            Err(error) => {
                // The kernel may have part of it, and will not tell when it is done with it.
                mem::forget(flight);
                Err(error)
            }
        }
    }

    /// Leaves the sync of a write that is done to a thread of the kernel. Where that cannot be, it is left to
    /// the reap.
    fn sync_aside(&self, mut flight: Flight) -> Flight {
        let mut ring = self.ring();
        if !flight.sync || !matches!(flight.route, Route::Done(Ok(()))) || ring.usable().is_err() {
            return flight;
        }
        let fd = flight.file.file().as_raw_fd();
        // SAFETY: the entry refers to no memory, and the flight keeps the descriptor open until its completion was
        // seen (`land`).
        let started = unsafe { ring.start([Op::SyncData { fd }]) };
        flight.route = match started {
            Ok((n, _)) => Route::Syncing(n),
            // It may be under way, and a second one would not hear of its failure.
            Err(error) => {
                mem::forget(Arc::clone(&flight.file));
                Route::Done(Err(error))
            }
        };
        flight
    }

    /// Waits for `flight` and brings it to an end.
    fn land(&mut self, flight: Flight) -> io::Result<Vec<u8>> {
        let (first, linked) = match flight.route {
            Route::Done(written) => {
                written?;
                if flight.sync {
                    flight.file.file().sync_data()?;
                }
                return Ok(flight.bytes);
            }
            Route::Syncing(n) => {
                let waited = self.ring().wait(n);
                let synced = waited.inspect_err(|_| {
                    // The kernel may still come to its descriptor.
                    mem::forget(Arc::clone(&flight.file));
                })?;
                let written = flight.rest().len() as i32;
                return settle(flight, written, Some((synced, true))).map(|(bytes, _)| bytes);
            }
            Route::Ring { first, linked } => (first, linked),
        };
        let mut ring = self.ring();
        let written = ring.wait(first);
        let synced = if flight.sync { ring.wait(first + 1).map(Some) } else { Ok(None) };
        drop(ring);
        match (written, synced) {
            (Ok(written), Ok(synced)) => {
                let (bytes, spare) = settle(flight, written, synced.map(|s| (s, linked)))?;
                self.spare = spare;
                Ok(bytes)
            }
            (Err(error), _) | (_, Err(error)) => {
                // The kernel may still read the buffer.
                mem::forget(flight);
                Err(error)
            }
        }
    }
}

/// Did the kernel give up an entry without doing it? It cancels what follows a short write, and
/// what a thread that has ended since had queued.
fn not_done(result: i32) -> bool {
    matches!(-result, libc::ECANCELED | libc::EINTR | libc::EAGAIN)
}

/// Finishes by plain system calls what the ring left undone. `synced` is the result of the sync
/// and whether it was linked behind the write. Gives the buffers back.
fn settle(
    flight: Flight,
    written: i32,
    synced: Option<(i32, bool)>,
) -> io::Result<(Vec<u8>, Pages)> {
    let error = io::Error::from_raw_os_error(written.saturating_neg());
    let done = match usize::try_from(written) {
        Ok(done) => done,
        Err(_) if not_done(written) || flight.file.is_direct() && is_refusal(&error) => 0,
        Err(_) => return Err(error),
    };
    let rest = flight.rest();
    let whole = done >= rest.len();
    if !whole {
        let at = flight.offset + done as u64;
        flight.file.write_through_cache(&rest[done..], at)?;
    }
    match synced {
        None => {}
        Some((0, true)) if whole => {}
        // A sync that failed is never tried again: the second would succeed and prove nothing.
        Some((result, _)) if result < 0 && !not_done(result) => {
            return Err(io::Error::from_raw_os_error(-result));
        }
        Some(_) => flight.file.file().sync_data()?,
    }
    Ok((flight.bytes, flight.pages))
}

impl<K: Kernel + Send> LogFile for UringLog<K> {
    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        self.submit_from(offset, bytes, 0, sync)
    }

    fn submit_from(
        &mut self,
        offset: u64,
        bytes: Vec<u8>,
        from: usize,
        sync: bool,
    ) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let (file, pages) = (Arc::clone(&self.file), Pages::default());
        let (from, route) = (from.min(bytes.len()), Route::Done(Ok(())));
        let mut flight = Flight { bytes, from, offset, sync, pages, file, route };
        let is_small = flight.rest().len() <= SMALL;
        let is_direct = self.file.takes(offset, flight.rest().len());
        if is_direct && sync && is_small {
            let written = self.file.write_all_from(&mut self.spare, flight.rest(), offset);
            flight.route = Route::Done(written);
        } else if is_direct {
            flight = self.aim(flight)?;
            flight = self.launch(flight)?;
        } else if !sync && is_small {
            let written = self.file.write_through_cache(flight.rest(), offset);
            flight.route = Route::Done(written);
        } else {
            self.file.give_up()?;
            flight = self.launch(flight)?;
        }
        self.in_flight = Some(flight);
        Ok(())
    }

    fn submit_aside(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<bool> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let (file, pages) = (Arc::clone(&self.file), Pages::default());
        let route = Route::Done(self.file.write_aside(&bytes, offset));
        let flight = Flight { bytes, from: 0, offset, sync: true, pages, file, route };
        let flight = self.in_flight.insert(self.sync_aside(flight));
        Ok(matches!(flight.route, Route::Syncing(_)))
    }

    fn has_landed(&mut self) -> bool {
        let Some(flight) = &self.in_flight else { return true };
        match flight.route {
            Route::Done(_) => !flight.sync,
            // Who has it waits for something.
            Route::Syncing(n) => self.ring.try_lock().is_ok_and(|mut ring| ring.has_come(n)),
            Route::Ring { first, .. } => {
                // Who has it waits for something.
                let Ok(mut ring) = self.ring.try_lock() else { return false };
                ring.has_come(first) && (!flight.sync || ring.has_come(first + 1))
            }
        }
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        let flight = self.in_flight.take().ok_or_else(nothing_in_flight)?;
        self.land(flight)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.file().sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        self.file.file().set_len(len)
    }

    fn end_writing(&mut self) {
        self.spare = Pages::default();
    }

    fn fallback(&self) -> Option<String> {
        self.file.fallback()
    }
}

impl<K: Kernel> Drop for UringLog<K> {
    fn drop(&mut self) {
        if let Some(flight) = self.in_flight.take() {
            // Nobody is left to tell the outcome to.
            drop(self.land(flight));
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
