//! The simulated environment: a disk that forgets what was not synced.
//!
//! Writes go to a page cache, which the program sees. Each is also a pending *unit* until a sync
//! makes it durable: of the file for its bytes and length, of the directory for names. A crash
//! takes the durable state and whatever pending units it likes ([`Keep`]). Operations fail in the
//! ways of [`FaultKind`], readings in those of [`ReadFault`].
//!
//! What this disk does *not* do: tear a sector of 512 bytes, let single pages go after a failed sync,
//! or bring back a write behind a failed sync once a later sync of its file has succeeded.

mod disk;
mod faults;
mod file;
mod image;
mod keep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::disk::Disk;
use self::faults::{Begun, Refused, Verb};
pub use self::faults::{FaultKind, ReadFault};
use self::file::{SimFile, SimLock, SimLog};
use self::image::{Change, Inode};
pub use self::keep::{Keep, Tear};
use super::memory::{entries_of, normal, not_found, part, start};
use super::{
    DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, StageFile, WriteFile, parse_pid,
};

/// A disk in memory whose power can be cut. Clones are handles of the same disk.
///
/// Every path is absolute: `store` and `/store` are the same. Only the root exists at first, and
/// it is durable. Everything is deterministic: the same seed and the same calls give the same
/// bytes, ids, times and [`trace`](SimEnv::trace).
///
/// # Operations
/// Each call that changes something is one operation, numbered from 1: `create_dir`, `remove_dir`,
/// `create`, `create_log`, `create_stage`, `rename`, `remove`, `link`, `sync_dir`, `lock`, and of an open
/// file `write_at`, `set_len`, `submit`, `reap` and `sync`. A `write` into a stage is two, one for each
/// half of the bytes: whoever writes in memory can be killed in between. Calls refused for a reason
/// of their own (no such file, the name is taken, the lock is held) are none, and neither are
/// reading calls.
///
/// # Example
/// Crash a program after each of its operations:
/// ```
/// use std::io;
/// use std::path::Path;
/// use orlop::env::{Env, Keep, SimEnv};
///
/// /// Makes a file and promises it.
/// fn program(env: &SimEnv) -> io::Result<()> {
///     let mut file = env.create(Path::new("/a"))?;
///     file.write_at(0, b"data")?;
///     file.sync()?;
///     env.sync_dir(Path::new("/"))
/// }
///
/// let whole = SimEnv::new(1);
/// program(&whole).unwrap();
/// for n in 0..=whole.operations() {
///     let env = SimEnv::new(1);
///     env.cut_after(n);
///     let promised = program(&env).is_ok();
///     for keep in [Keep::Nothing, Keep::Everything, Keep::Random(n)] {
///         let found = env.crash(keep).read(Path::new("/a"));
///         assert!(!promised || found.unwrap() == b"data");
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct SimEnv {
    disk: Arc<Mutex<Disk>>,
}

/// The disk after one operation of a program.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The operation; 0: before the first.
    pub operation: u64,
    /// What [`SimEnv::set_mark`] had been told last.
    pub mark: u64,
    /// The disk. To crash it, or kill its program, is all that is left to do.
    pub disk: SimEnv,
}

impl SimEnv {
    /// An empty disk. The seed decides what [`Env::random`] gives.
    pub fn new(seed: u64) -> SimEnv {
        SimEnv::of(Disk::new(seed))
    }

    fn of(disk: Disk) -> SimEnv {
        SimEnv { disk: Arc::new(Mutex::new(disk)) }
    }

    /// A panicking test leaves the disk as it was between two operations.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        crate::sync::point(); // every call is a place where another thread may run
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of operations done so far, those that failed by [`fail_at`](SimEnv::fail_at)
    /// included, those refused after a power cut not.
    pub fn operations(&self) -> u64 {
        self.disk().record.operations
    }

    /// Cuts the power after operation `n`: all later ones fail with "simulated power cut" and
    /// nothing more happens to the disk. Reading goes on, from the page cache of a dying machine.
    pub fn cut_after(&self, n: u64) {
        self.disk().record.cut = Some(n);
    }

    /// Was an operation refused because the power is cut?
    pub fn is_cut(&self) -> bool {
        self.disk().record.refused
    }

    /// Makes operation `n` fail once. It does nothing then, with two exceptions: a sync (or reap) that
    /// fails leaves its file's pending writes, or its directory's names, to chance, out of the reach of
    /// any later sync, as Linux does; and a failed reap leaves nothing in flight. [`FaultKind`] says more.
    pub fn fail_at(&self, n: u64, kind: FaultKind) {
        self.disk().record.faults.insert(n, kind);
    }

    /// From now on every operation that needs more space fails with [`FaultKind::StorageFull`],
    /// or no longer does. Space that is reserved can be written.
    pub fn set_full(&self, full: bool) {
        self.disk().record.full = full;
    }

    /// Number of reading calls so far: directories, lengths, files or their beginnings, files opened for
    /// writing, mappings, and each block of a mapping.
    pub fn reads(&self) -> u64 {
        self.disk().record.reads
    }

    /// Makes reading call `n` fail.
    pub fn fail_read_at(&self, n: u64, fault: ReadFault) {
        self.disk().record.read_faults.insert(n, fault);
    }

    /// Keeps a [`Moment`] after every operation from now on.
    pub fn keep_moments(&self) {
        self.disk().moments = Some(Vec::new());
    }

    /// The moments kept so far and the one that is now, oldest first; begins anew. Empty unless
    /// they were asked for.
    pub fn moments(&self) -> Vec<Moment> {
        let mut disk = self.disk();
        let Some(mut moments) = disk.moments.take() else { return Vec::new() };
        moments.push(disk.moment());
        disk.moments = Some(Vec::new());
        moments
    }

    /// A number that moments remember: how far the program is, in its own words.
    pub fn set_mark(&self, mark: u64) {
        self.disk().record.mark = mark;
    }

    /// The operations done so far, one a line, with names stripped of their directories:
    /// `create-dir store`, `remove-dir store`, `create 000001.log`, `submit 000001.log 128+4096`
    /// (offset + length, ` zeros` if they are, ` sync` if asked for), `reap 000001.log` (` sync` again),
    /// `write 000002.sst 0+512`, `set-len 000002.sst 9`, `sync 000002.sst`, `sync-dir store`, `rename A B`, `link A B`, `remove A`, `lock LOCK`.
    /// The root is `/`. A line ends with ` failed` when [`fail_at`](SimEnv::fail_at) made it fail,
    /// with ` lost` when it seemed to succeed.
    pub fn trace(&self) -> Vec<String> {
        self.disk().record.trace.clone()
    }

    /// Number of pending units: what a crash may keep or lose, and the useful range of
    /// [`Keep::Prefix`].
    pub fn pending(&self) -> usize {
        self.disk().pending()
    }

    /// The paths of all files whose bytes, length or name a power cut now may take.
    pub fn pending_paths(&self) -> Vec<PathBuf> {
        self.disk().pending_paths().into_iter().collect()
    }

    /// The ways out of a power cut now that are worth trying: every subset of the pending units
    /// when they are few, otherwise none, all, each prefix, each one lost or kept alone, names
    /// without bytes, bytes without names; writes torn; and some by the dice of `seed`.
    pub fn ways(&self, seed: u64) -> Vec<Keep> {
        self.disk().ways(seed)
    }

    /// A number for all names and bytes that a program finds here: equal for equal disks, and
    /// different for different ones as surely as 128 bits can tell.
    pub fn fingerprint(&self) -> u128 {
        self.disk().cache.fingerprint()
    }

    /// The disk as the next boot finds it: the durable state and what `keep` says. This disk goes
    /// on undisturbed. The new one has no locks held, no faults planned, and counts from 0; its
    /// random numbers go on where these are.
    pub fn crash(&self, keep: Keep) -> SimEnv {
        SimEnv::of(self.disk().crash(keep))
    }

    /// The disk as the next process finds it after this one was killed: the page cache is there,
    /// what was not durable still is not. Otherwise as [`crash`](SimEnv::crash).
    pub fn kill(&self) -> SimEnv {
        SimEnv::of(self.disk().kill())
    }

    /// As [`kill`](SimEnv::kill); but writes in flight land only after so many operations of the
    /// next process: the kernel has them, and nobody waits for them.
    pub fn kill_late(&self, operations: u64) -> SimEnv {
        SimEnv::of(self.disk().kill_late(operations))
    }

    /// Number of writes in flight.
    pub fn in_flight(&self) -> usize {
        self.disk().in_flight()
    }

    /// Sets the clock, which otherwise stands still.
    pub fn set_now(&self, ms: u64) {
        self.disk().now_ms = ms;
    }

    fn handle(&self, path: &Path, inode: Inode) -> SimFile {
        SimFile { env: self.clone(), name: name(path), inode }
    }
}

/// A file's name without its directory, for the trace.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned())
}

impl Env for SimEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        let mut disk = self.disk();
        disk.cache.vacant(&dir)?;
        disk.begin_simple(Verb::Allocate, format!("create-dir {}", name(&dir)))?;
        disk.change(Change::MakeDir { dir }).map(drop)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        let mut disk = self.disk();
        disk.cache.empty_dir(&dir)?;
        disk.begin_simple(Verb::Other, format!("remove-dir {}", name(&dir)))?;
        disk.change(Change::RemoveDir { dir }).map(drop)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = normal(dir);
        let mut disk = self.disk();
        if !disk.cache.has_dir(&dir) {
            return Err(not_found());
        }
        disk.record.look()?;
        let files = disk.cache.names.iter();
        let files = files.map(|(path, inode)| (path, disk.cache.bytes(*inode).len() as u64));
        Ok(entries_of(&dir, files.chain(disk.cache.dirs().map(|path| (path, 0)))))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let path = normal(path);
        let mut disk = self.disk();
        disk.cache.vacant(&path)?;
        disk.begin_simple(Verb::Allocate, format!("create {}", name(&path)))?;
        let inode = disk.new_file(path.clone())?;
        Ok(Box::new(self.handle(&path, inode)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let path = normal(path);
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&path)?;
        disk.record.look()?;
        drop(disk);
        Ok(Box::new(self.handle(&path, inode)))
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        let path = normal(path);
        let mut disk = self.disk();
        disk.cache.vacant(&path)?;
        disk.begin_simple(Verb::Allocate, format!("create {}", name(&path)))?;
        let inode = disk.new_file(path.clone())?;
        if let Err(error) = disk.change(Change::SetLen { inode, len: preallocate }) {
            disk.change(Change::Leave { path })?;
            return Err(error);
        }
        Ok(Box::new(SimLog::new(self.handle(&path, inode))))
    }

    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let path = normal(path);
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&path)?;
        disk.record.look()?;
        drop(disk);
        Ok(Box::new(SimLog::new(self.handle(&path, inode))))
    }

    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>> {
        let path = normal(path);
        let mut disk = self.disk();
        disk.cache.vacant(&path)?;
        disk.begin_simple(Verb::Allocate, format!("create {}", name(&path)))?;
        let inode = disk.new_file(path.clone())?;
        disk.change(Change::SetLen { inode, len })?;
        disk.change(Change::Write { inode, offset: 0, bytes: header.into() })?;
        Ok(Box::new(self.handle(&path, inode)))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        disk.record.look()?;
        Ok(disk.cache.bytes(inode).len() as u64)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        disk.record.read(inode)?;
        Ok(disk.cache.bytes(inode).as_ref().clone())
    }

    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        disk.record.read(inode)?;
        Ok(start(&disk.cache.bytes(inode), len).to_vec())
    }

    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        disk.record.read(inode)?;
        Ok(part(&disk.cache.bytes(inode), offset, len).to_vec())
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        disk.record.read(inode)?;
        let env = self.clone();
        let watch = move || env.disk().record.read(inode);
        Ok(Mapping::watched(disk.cache.bytes(inode), Arc::new(watch)))
    }

    fn warm(&self, _: &Path, go_on: &mut dyn FnMut() -> bool) {
        go_on();
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&from)?;
        if disk.cache.lookup(&to).is_err() {
            disk.cache.vacant(&to)?;
        }
        disk.begin_simple(Verb::Other, format!("rename {} {}", name(&from), name(&to)))?;
        if disk.cache.lookup(&to).ok() == Some(inode) {
            return Ok(()); // POSIX: two names of one file both stay
        }
        if from.parent() == to.parent() {
            disk.change(Change::Rename { from, to, inode })?;
        } else {
            // Two directories, two syncs: until both, a crash may show either name or both or none.
            disk.change(Change::Enter { path: to, inode })?;
            disk.change(Change::Leave { path: from })?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut disk = self.disk();
        disk.cache.lookup(&path)?;
        disk.begin_simple(Verb::Other, format!("remove {}", name(&path)))?;
        disk.change(Change::Leave { path }).map(drop)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut disk = self.disk();
        let inode = disk.cache.lookup(&from)?;
        disk.cache.vacant(&to)?;
        disk.begin_simple(Verb::Allocate, format!("link {} {}", name(&from), name(&to)))?;
        disk.change(Change::Enter { path: to, inode }).map(drop)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        let mut disk = self.disk();
        if !disk.cache.has_dir(&dir) {
            return Err(not_found());
        }
        match disk.begin(Verb::Sync, format!("sync-dir {}", name(&dir))) {
            Ok(Begun::Well) => disk.sync_dir(&dir),
            Ok(Begun::With(_)) => Ok(()),
            Err(Refused { error, fault }) => {
                // Without a descriptor nothing was tried.
                if fault.is_some_and(|kind| kind != FaultKind::TooManyFiles) {
                    disk.sync_dir_failed(&dir);
                }
                Err(error)
            }
        }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        let path = normal(path);
        let mut disk = self.disk();
        let found = disk.cache.lookup(&path).ok();
        if disk.locks.contains(&path) {
            let pid = found.and_then(|inode| parse_pid(&disk.cache.bytes(inode)));
            return Err(LockError::Held { pid });
        }
        if found.is_none() {
            disk.cache.vacant(&path)?;
        }
        disk.begin_simple(Verb::Other, format!("lock {}", name(&path)))?;
        let inode = match found {
            Some(inode) => inode,
            None => disk.new_file(path.clone())?,
        };
        disk.change(Change::SetLen { inode, len: 0 })?;
        // Not the real id: it would make two runs of one seed differ.
        disk.change(Change::Write { inode, offset: 0, bytes: b"pid 1\n".as_slice().into() })?;
        disk.locks.insert(path.clone());
        Ok(Box::new(SimLock { env: self.clone(), path }))
    }

    fn random(&self) -> [u8; 16] {
        let mut disk = self.disk();
        let mut bytes = [0; 16];
        for half in bytes.chunks_exact_mut(8) {
            half.copy_from_slice(&disk.random.next().to_le_bytes());
        }
        bytes
    }

    fn now_ms(&self) -> u64 {
        self.disk().now_ms
    }

    fn log_path(&self) -> LogPath {
        LogPath { name: "sim", fallback: None }
    }

    fn disk_usage(&self, path: &Path) -> io::Result<u64> {
        let disk = self.disk();
        let inode = disk.cache.lookup(&normal(path))?;
        Ok(disk.cache.bytes(inode).len() as u64)
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
