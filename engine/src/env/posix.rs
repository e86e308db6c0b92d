//! The environment of plain system calls: the fallback where io_uring is denied, all verbs but
//! the log's everywhere, and what strace can inject faults into.
//!
//! `std::fs` retries interrupted calls, opens close-on-exec and makes new files 0644 less the
//! umask, so what is left here is to choose the right call for each verb.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::direct::DirectFile;
use super::map::{self, StageMap};
use super::pages::Pages;
use super::{
    DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, StageFile, WriteFile,
    nothing_in_flight, outside_of_stage, parse_pid, write_in_flight,
};

/// Files through plain system calls: `pwrite`, `fdatasync`, `mmap`.
#[derive(Debug, Clone, Default)]
pub struct PosixEnv {
    fallback: Option<String>,
}

impl PosixEnv {
    /// The environment of plain system calls, chosen for its own sake.
    pub fn new() -> PosixEnv {
        PosixEnv::default()
    }

    /// The environment to use because io_uring was denied, and remembers why.
    #[cfg(target_os = "linux")]
    pub(super) fn instead_of_uring(denied: &io::Error) -> PosixEnv {
        PosixEnv { fallback: Some(denied.to_string()) }
    }

    /// The file behind [`Env::create_log`], for whoever writes to it.
    pub(super) fn create_log_file(path: &Path, preallocate: u64) -> io::Result<File> {
        create_reserved(path, preallocate).map(|(file, _)| file)
    }
}

/// A new file with `len` bytes reserved, and whether the file system could promise them.
fn create_reserved(path: &Path, len: u64) -> io::Result<(File, bool)> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    match map::reserve(&file, len) {
        Ok(promised) => Ok((file, promised)),
        Err(error) => {
            // Half a reservation must not stay behind on a full disk. If even the removal
            // fails, the first error is still the one to tell.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// The path to open for a directory: the empty path is the parent of `store` in `store`.
fn openable(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

impl Env for PosixEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        // The one call that std does not repeat when it is interrupted.
        let found = loop {
            match fs::read_dir(openable(dir)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                found => break found?,
            }
        };
        for entry in found {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.metadata() {
                Ok(meta) => {
                    let len = if meta.is_dir() { 0 } else { meta.len() };
                    entries.push(DirEntry { name, len });
                }
                // Removed since the directory was read: a live writer does that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(PosixFile::of(file)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(PosixFile::of(OpenOptions::new().write(true).open(path)?)))
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        let file = PosixEnv::create_log_file(path, preallocate)?;
        Ok(Box::new(PosixLog {
            file: DirectFile::of(file),
            spare: Pages::default(),
            in_flight: None,
        }))
    }

    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Box::new(PosixLog {
            file: DirectFile::of(file),
            spare: Pages::default(),
            in_flight: None,
        }))
    }

    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>> {
        let (file, promised) = create_reserved(path, len)?;
        file.write_all_at(header, 0).inspect_err(|_| {
            let _ = fs::remove_file(path); // the first error is the one to tell
        })?;
        let stage = match StageMap::of(&file, promised) {
            Ok(map) => PosixStage::Mapped(map),
            Err(why) => PosixStage::Written { file, len, why },
        };
        Ok(Box::new(stage))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|metadata| metadata.len())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        #[cfg(target_os = "linux")]
        if fs::metadata(path)?.len() >= SPARSE
            && let Some(bytes) = map::read_data(&File::open(path)?)
        {
            return bytes;
        }
        fs::read(path)
    }

    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        DirectFile::of(File::open(path)?).read_at_most(offset, len)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        Mapping::of_file(&File::open(path)?, path)
    }

    fn warm(&self, path: &Path, go_on: &mut dyn FnMut() -> bool) {
        if let Ok(file) = File::open(path) {
            let _ = map::warm(&file, go_on);
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(openable(dir))?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        let patience = Instant::now() + PATIENCE_WITH_THE_DYING;
        let nameless = Instant::now() + PATIENCE_WITH_THE_NAMELESS;
        let file = loop {
            // Not truncated: until the lock is ours, the pid in it is somebody else's.
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            match file.try_lock() {
                // Whoever held it may have removed its name: then this is the lock of nothing.
                Ok(()) if is_called(&file, path)? => break file,
                Ok(()) => continue,
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let error = held(&file);
            let LockError::Held { pid } = error else { return Err(error) };
            // Whoever has just taken it has not said yet who it is.
            let (worth_it, until) = match pid {
                Some(pid) => (is_dying(pid), patience),
                None => (true, nameless),
            };
            if !worth_it || Instant::now() > until {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(5));
        };
        file.set_len(0)?;
        file.write_all_at(format!("pid {}\n", std::process::id()).as_bytes(), 0)?;
        Ok(Box::new(PosixLock { file }))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let urandom = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        if urandom.is_err() {
            // A jail without devices: hash with the keys std drew from the system.
            for half in bytes.chunks_exact_mut(8) {
                let mut hasher = RandomState::new().build_hasher();
                hasher.write_u64(self.now_ms());
                half.copy_from_slice(&hasher.finish().to_le_bytes());
            }
        }
        bytes
    }

    fn now_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn log_path(&self) -> LogPath {
        LogPath { name: "posix", fallback: self.fallback.clone() }
    }

    fn disk_usage(&self, path: &Path) -> io::Result<u64> {
        // st_blocks counts 512-byte units whatever the block size is.
        Ok(fs::metadata(path)?.blocks() * 512)
    }
}

/// Whether `path` is a name of this file.
fn is_called(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// How long a lock may outlast the process that held it: a killed process gives its memory back
/// before its locks, and a large one takes a while.
const PATIENCE_WITH_THE_DYING: Duration = Duration::from_secs(2);

/// How long a lock may be held by somebody whose id is not in it: it is written right after the lock
/// is taken, and a process that is killed in between is gone soon.
const PATIENCE_WITH_THE_NAMELESS: Duration = Duration::from_millis(200);

/// Whether the process that holds the lock was killed and is on its way out.
#[cfg(target_os = "linux")]
fn is_dying(pid: u32) -> bool {
    /// The bit of SIGKILL in a mask of pending signals.
    const KILLED: u64 = 1 << (9 - 1);
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
    };
    let pending = |name| u64::from_str_radix(field(name), 16).is_ok_and(|mask| mask & KILLED != 0);
    // Without memory of its own, or a zombie: what is left is the bookkeeping.
    let gone = field("State:").starts_with(['Z', 'X']) || !status.contains("VmSize:");
    gone || pending("SigPnd:") || pending("ShdPnd:")
}

#[cfg(not(target_os = "linux"))]
fn is_dying(_pid: u32) -> bool {
    false
}

/// Who holds the lock file we could not lock, as far as it says. From its beginning every time: who
/// waits asks again.
fn held(file: &File) -> LockError {
    let mut text = [0; 64];
    let read = file.read_at(&mut text, 0);
    LockError::Held { pid: read.ok().and_then(|len| parse_pid(text.get(..len)?)) }
}

struct PosixLock {
    file: File,
}

impl Lock for PosixLock {}

impl Drop for PosixLock {
    /// The lock goes when the last handle of the file is closed. That is this one, unless another
    /// thread is just starting a process, which has a copy until it executes its program.
    fn drop(&mut self) {
        // Closing does it otherwise.
        let _ = self.file.unlock();
    }
}

/// A file whose first write is at least this large goes past the page cache as long as whole sectors are
/// written: it is large, and what writes back the page cache takes longer and costs more than the copy
/// that is saved (docs/decisions/0013).
const LARGE: usize = 256 << 10;

/// A file of this length may be a segment of which little is used.
#[cfg(target_os = "linux")]
const SPARSE: u64 = 8 << 20;

struct PosixFile {
    file: DirectFile,
    /// Space for the copy that a write goes out of.
    spare: Pages,
    is_streamed: bool,
}

impl PosixFile {
    fn of(file: File) -> PosixFile {
        let (file, spare) = (DirectFile::through_the_cache(file), Pages::default());
        PosixFile { file, spare, is_streamed: false }
    }
}

impl WriteFile for PosixFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_streamed {
            return self.file.stream(bytes, offset);
        }
        if offset == 0 && bytes.len() >= LARGE {
            self.file.take_up();
        }
        self.file.write_all_from(&mut self.spare, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.file().sync_all()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.file.file().set_len(len)
    }

    fn stream(&mut self) {
        self.is_streamed = true;
    }
}

/// A stage in memory that the system has, too; or written, a system call each time, where that cannot be.
enum PosixStage {
    Mapped(StageMap),
    Written { file: File, len: u64, why: String },
}

impl StageFile for PosixStage {
    fn fallback(&self) -> Option<String> {
        match self {
            PosixStage::Mapped(map) => map.unlocked().map(|why| {
                format!("mapped, but the system may take its pages out of memory: {why}")
            }),
            PosixStage::Written { why, .. } => Some(format!("written by system calls: {why}")),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            PosixStage::Mapped(map) => map.write(offset, bytes),
            PosixStage::Written { len, .. } if offset.saturating_add(bytes.len() as u64) > *len => {
                Err(outside_of_stage())
            }
            PosixStage::Written { file, .. } => file.write_all_at(bytes, offset),
        }
    }
}

struct PosixLog {
    file: DirectFile,
    /// Space for the copy that a write goes out of.
    spare: Pages,
    in_flight: Option<Submitted>,
}

/// A write already done, whose outcome waits to be reaped.
struct Submitted {
    bytes: Vec<u8>,
    written: io::Result<()>,
    sync: bool,
}

impl LogFile for PosixLog {
    /// Writes at once.
    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let written = self.file.write_all_from(&mut self.spare, &bytes, offset);
        self.in_flight = Some(Submitted { bytes, written, sync });
        Ok(())
    }

    /// A sync is still to come.
    fn has_landed(&mut self) -> bool {
        self.in_flight.as_ref().is_none_or(|submitted| !submitted.sync)
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        let Submitted { bytes, written, sync } =
            self.in_flight.take().ok_or_else(nothing_in_flight)?;
        written?;
        if sync {
            self.file.file().sync_data()?;
        }
        Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let env = PosixEnv::new();
        // A longer text of an earlier holder must not shine through.
        fs::write(&path, "pid 4000000000 and some more\n").unwrap();
        let lock = env.lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("pid {}\n", std::process::id()));
        let Err(LockError::Held { pid }) = env.lock(&path) else { panic!("locked twice") };
        assert_eq!(pid, Some(std::process::id()));
        drop(lock);
        env.lock(&path).unwrap();
    }

    #[test]
    fn a_lock_file_with_no_pid_in_it_is_held_by_nobody_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let _lock = PosixEnv::new().lock(&path).unwrap();
        fs::write(&path, b"\xff\xff").unwrap();
        let Err(held) = PosixEnv::new().lock(&path) else { panic!("locked twice") };
        assert_eq!(held.to_string(), "locked by another process");
    }

    #[test]
    fn a_lock_names_its_holder_every_time_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let _lock = PosixEnv::new().lock(&path).unwrap();
        let file = File::open(&path).unwrap();
        for _ in 0..3 {
            let LockError::Held { pid } = held(&file) else { panic!("not held") };
            assert_eq!(pid, Some(std::process::id()));
        }
    }

    #[test]
    fn a_lock_goes_also_while_somebody_has_a_copy_of_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let file = File::create(&path).unwrap();
        file.try_lock().unwrap();
        let _copy = file.try_clone().unwrap();
        drop(PosixLock { file });
        PosixEnv::new().lock(&path).unwrap();
    }

    /// Whatever kept it from being mapped, the file system was blamed.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_stage_that_is_not_mapped_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stage");
        let file = File::create(&path).unwrap();
        let why = StageMap::of(&file, false).unwrap_err();
        assert!(why.contains("does not reserve"), "{why}");
        // Only open for writing: it cannot be mapped.
        match StageMap::of(&file, true) {
            Ok(_) => panic!("mapped"),
            Err(why) => assert!(why.contains("mapped: ") || why.contains("new space"), "{why}"),
        }
        let stage = PosixStage::Written { file, len: 0, why };
        assert!(stage.fallback().unwrap().ends_with("does not reserve space"));
    }

    #[test]
    fn a_log_occupies_what_it_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let env = PosixEnv::new();
        drop(env.create_log(&path, 1 << 20).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 20);
        // Only Linux reserves, and not on every file system.
        assert!(env.disk_usage(&path).unwrap() <= 2 << 20);
    }

    #[test]
    fn no_file_is_left_where_space_could_not_be_reserved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(PosixEnv::new().create_log(&path, u64::MAX).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        let env = PosixEnv::new();
        assert_ne!(env.random(), env.random());
        assert!(env.now_ms() > 1_600_000_000_000);
    }

    #[test]
    fn the_parent_of_a_bare_name_can_be_synced_and_listed() {
        let env = PosixEnv::new();
        let parent = Path::new("store").parent().unwrap();
        env.sync_dir(parent).unwrap();
        env.list(parent).unwrap();
    }
}
