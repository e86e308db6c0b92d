//! Floor 2, the only door to the operating system.
//!
//! Everything above this module reaches files, the clock and random numbers through [`Env`]: a
//! dozen verbs, so few that a whole disk can be simulated behind them. Four implementations:
//!
//! | environment | serves |
//! |---|---|
//! | [`UringEnv`] (Linux) | production: the log through an io_uring, the rest as posix does |
//! | [`PosixEnv`] | plain system calls; the fallback where io_uring is denied |
//! | [`MemoryEnv`] | stores that live in memory and die with their environment |
//! | `SimEnv` (tests, feature `sim`) | a disk that forgets what was not synced |
//!
//! What this module does *not* do: it starts no threads, caches no file contents, retries no
//! failed sync, and knows no file format or file name. It walks no trees either: a verb touches
//! one file or one directory.
//!
//! Durability is as sharp as the weakest disk allows, and the same everywhere:
//! a file's sync makes its bytes and its length durable, **not its name**; [`Env::sync_dir`] makes
//! the names of one directory durable, **not the bytes** behind them.

#[cfg(unix)]
mod direct;
pub(crate) mod faults;
mod map;
mod memory;
#[cfg(unix)]
mod pages;
#[cfg(unix)]
mod posix;
#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(target_os = "linux")]
mod uring;

#[cfg(test)]
mod conformance;

use std::fmt::{self, Debug, Display};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use faults::catch_faults;
pub use map::Mapping;
pub use memory::MemoryEnv;
#[cfg(unix)]
pub use posix::PosixEnv;
#[cfg(any(test, feature = "sim"))]
pub use sim::{FaultKind, Keep, Moment, ReadFault, SimEnv, Tear};
#[cfg(target_os = "linux")]
pub use uring::UringEnv;

/// Whether a file could not be read for want of something that has nothing to do with its bytes: descriptors, memory, a
/// permission.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN)) {
        return true;
    }
    matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::PermissionDenied)
}

/// An operating system, as far as the engine wants to know.
///
/// All verbs work on one directory level at a time and answer with the [`io::ErrorKind`]s a unix
/// file system gives: `NotFound` for a missing file or parent directory, `AlreadyExists` where a
/// new name was asked for. An empty path means the current directory.
pub trait Env: Debug + Send + Sync + 'static {
    /// Makes one directory, its last component only. `AlreadyExists` if it is there.
    /// Its name is durable after [`sync_dir`](Env::sync_dir) on its parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// What is in a directory, sorted by name: files, directories, whatever else. In a name that is
    /// not UTF-8, what cannot be shown is replaced. `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes a new, empty file. `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens an existing file for writing, its contents untouched.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Makes a new log file whose first `preallocate` bytes have their space reserved and read as
    /// zeros. A full disk shows here as `StorageFull`, and then no file is left behind. (Where the
    /// file system cannot reserve space, only the length is set and a full disk shows later.)
    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>>;

    /// Opens an existing log file, whose bytes stay.
    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Makes a new file of `len` bytes, for what must outlive the process and need not outlive the
    /// system. It begins with `header`, which whoever finds the file finds whole, or zeros in its place;
    /// the rest is zeros. All of it is reserved: a full disk shows here as `StorageFull`, and then no file
    /// is left behind.
    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>>;

    /// The length of a file.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// The bytes of a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The first `len` bytes of a file, or all if it has less.
    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>>;

    /// The bytes of a range of a finished file as the device has them, where the file system lets us ask past the page
    /// cache; fewer at its end.
    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>>;

    /// Maps a whole file that is finished and synced, and that nobody will ever write or shorten.
    /// The mapping outlives the file's name.
    fn map(&self, path: &Path) -> io::Result<Mapping>;

    /// Brings a finished file that went past the page cache into it, a piece at a time, so that what others want
    /// of the device does not wait for all; as long as `go_on` says so before each. What fails here changes
    /// speed, not results.
    fn warm(&self, path: &Path, go_on: &mut dyn FnMut() -> bool);

    /// Gives a file another name, atomically replacing a file that had it. When both are names
    /// of one file already, nothing happens (as POSIX has it).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file; open handles and mappings of it stay good.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file a second name (a hard link). `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes every create, rename, link and remove done so far in this directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock on a file, made if missing, without waiting, and writes
    /// `pid N\n` into it. Two locks taken by one process conflict too.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError>;

    /// Sixteen random bytes, for ids that must never repeat.
    fn random(&self) -> [u8; 16];

    /// Milliseconds since 1970. May jump, also backwards.
    fn now_ms(&self) -> u64;

    /// What serves the log, and why not something faster.
    fn log_path(&self) -> LogPath;

    /// Bytes the file occupies on the device: less than its length when it has holes, more when
    /// space beyond its end is reserved.
    fn disk_usage(&self, path: &Path) -> io::Result<u64>;
}

/// A file being written: tables, blobs, manifests, superblocks.
pub trait WriteFile: Send {
    /// Writes all of `bytes` at `offset`, which may lie beyond the end (the gap reads as zeros).
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes every byte written and the length durable. After an error nothing is known about
    /// what is on the device, and a second sync that succeeds proves nothing.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file or extends it with zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Says that the file is written as fast as the device takes it, and is wanted in memory afterwards: then its bytes are
    /// on their way to the device while more are written. Changes nothing of what is promised.
    fn stream(&mut self) {}
}

/// A log segment being written. One write is in flight at most. What is written in whole
/// [`LOG_SECTOR`]s, at multiples of it, goes past the page cache where the system lets it.
///
/// [`submit`](LogFile::submit) and [`reap`](LogFile::reap) are separate so that the caller can do
/// something useful between them, and so that the simulator can cut the power between them.
/// Dropping the file waits for the write in flight.
pub trait LogFile: Send {
    /// Starts writing `bytes` at `offset`; with `sync`, also the data sync that follows it.
    ///
    /// An error means that nothing is in flight, and that nothing is known of the bytes; `InvalidInput`
    /// when a write was in flight already, which still is. Errors of the write itself are told by [`reap`](LogFile::reap).
    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()>;

    /// The same for the bytes from `from` on, which are at least one. If they begin at a page boundary, a device
    /// can take them from where they are.
    fn submit_from(
        &mut self,
        offset: u64,
        mut bytes: Vec<u8>,
        from: usize,
        sync: bool,
    ) -> io::Result<()> {
        bytes.drain(..from.min(bytes.len()));
        self.submit(offset, bytes, sync)
    }

    /// The same with a sync, for who cannot reap for a while: the bytes are in the file, where they outlive the
    /// process, and nothing but their sync is in flight. False where that cannot be: then the write may be, too.
    fn submit_aside(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<bool> {
        self.submit(offset, bytes, true).map(|()| false)
    }

    /// Whether [`reap`](LogFile::reap) would not have to wait: the write in flight has come to an end, or
    /// there is none.
    fn has_landed(&mut self) -> bool;

    /// Waits for the write in flight and gives its buffer back. Every byte is written (and durable,
    /// if asked for at submit), or this is an error; when both write and sync failed, the
    /// write's error. `InvalidInput` when nothing is in flight.
    /// After either outcome nothing is in flight.
    fn reap(&mut self) -> io::Result<Vec<u8>>;

    /// Makes every write reaped so far durable, and the length. Promises nothing about a write in
    /// flight. After an error nothing is known about what is on the device.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file or extends it with zeros. `InvalidInput` while a write is in flight.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Nothing more will be written for now: gives buffers up that are kept for that.
    fn end_writing(&mut self) {}

    /// Why writes of whole sectors do not go past the page cache, if they do not.
    fn fallback(&self) -> Option<String>;
}

/// A file whose bytes outlive the process as soon as they are written, and are never synced.
pub trait StageFile: Send {
    /// Writes all of `bytes` at `offset`. `InvalidInput` where that is not inside of the file.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Why a write is not just a copy into memory that stays there, if it is not.
    fn fallback(&self) -> Option<String>;
}

/// What a log is best written in: whole multiples of this many bytes.
pub const LOG_SECTOR: u64 = 4096;

/// A lock on a file, held until dropped.
pub trait Lock: Send + Sync {}

/// One file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name without its directory.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// What serves the log of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPath {
    /// `io_uring`, `posix`, `memory` or `sim`.
    pub name: &'static str,
    /// Why io_uring is not used, when it was tried and denied.
    pub fallback: Option<String>,
}

/// Why a lock was not given.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it.
    Held {
        /// The process that wrote its id into the lock file, when that could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be opened, locked or written.
    Io(io::Error),
}

impl Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { pid: Some(pid) } => write!(f, "locked by pid {pid}"),
            LockError::Held { pid: None } => write!(f, "locked by another process"),
            LockError::Io(error) => write!(f, "cannot lock: {error}"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Held { .. } => None,
            LockError::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> LockError {
        LockError::Io(error)
    }
}

/// The best environment of this machine: io_uring where a ring can be set up, otherwise plain
/// system calls, with the reason in [`LogPath::fallback`].
#[cfg(target_os = "linux")]
pub fn default_env() -> Arc<dyn Env> {
    match UringEnv::new() {
        Ok(env) => Arc::new(env),
        Err(denied) => Arc::new(PosixEnv::instead_of_uring(&denied)),
    }
}

/// The best environment of this machine: plain system calls.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn default_env() -> Arc<dyn Env> {
    Arc::new(PosixEnv::new())
}

/// What a lock file says: the id of the process that wrote it.
fn parse_pid(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.strip_prefix("pid ")?.trim_end().parse().ok()
}

/// The answer to a second submit, or a new length, before the reap.
fn write_in_flight() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a write is in flight: reap it first")
}

/// The answer to a write behind the end of a stage.
fn outside_of_stage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a stage does not grow")
}

/// The answer to a reap without a submit.
fn nothing_in_flight() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "nothing is in flight: submit a write first")
}
