//! A simulated disk with somebody who is asked before every call, and may make it fail.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use orlop::env::{DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, SimEnv, WriteFile};

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A directory is listed, a file is read, mapped or opened.
    Look,
    /// Something changes, is submitted, reaped or synced.
    Change,
}

/// Who is asked.
pub(super) type Watch = Arc<dyn Fn(Call) -> io::Result<()> + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub(super) struct WatchedEnv {
    pub(super) env: SimEnv,
    pub(super) watch: Watch,
}

impl fmt::Debug for WatchedEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedEnv").finish_non_exhaustive()
    }
}

struct Watched<F> {
    file: F,
    watch: Watch,
}

impl WatchedEnv {
    fn look(&self) -> io::Result<()> {
        (self.watch)(Call::Look)
    }

    fn change(&self) -> io::Result<()> {
        (self.watch)(Call::Change)
    }

    fn file(&self, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(Watched { file, watch: Arc::clone(&self.watch) })
    }
}

impl Env for WatchedEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change()?;
        self.env.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.look()?;
        self.env.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.change()?;
        self.env.create(path).map(|file| self.file(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.look()?;
        self.env.open_write(path).map(|file| self.file(file))
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        self.change()?;
        let file = self.env.create_log(path, preallocate)?;
        Ok(Box::new(Watched { file, watch: Arc::clone(&self.watch) }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look()?;
        self.env.read(path)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.look()?;
        self.env.map(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        self.env.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.env.remove(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        self.env.link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change()?;
        self.env.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        self.change()?;
        self.env.lock(path)
    }

    fn random(&self) -> [u8; 16] {
        self.env.random()
    }

    fn now_ms(&self) -> u64 {
        self.env.now_ms()
    }

    fn log_path(&self) -> LogPath {
        self.env.log_path()
    }

    fn disk_usage(&self, path: &Path) -> io::Result<u64> {
        self.env.disk_usage(path)
    }
}

impl WriteFile for Watched<Box<dyn WriteFile>> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.sync()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.set_len(len)
    }
}

impl LogFile for Watched<Box<dyn LogFile>> {
    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.submit(offset, bytes, sync)
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        (self.watch)(Call::Change)?;
        self.file.reap()
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.sync()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        (self.watch)(Call::Change)?;
        self.file.set_len(len)
    }
}
