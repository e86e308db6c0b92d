//! A simulated disk with somebody who looks before everything that changes it, or lists it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use orlop::env::{
    DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, SimEnv, StageFile, WriteFile,
};

/// Who looks, and is told what comes: `create`, `sync`, `submit`, …
pub type Watch = Arc<dyn Fn(&'static str) + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct WatchedEnv {
    /// The disk.
    pub env: SimEnv,
    /// Who looks.
    pub watch: Watch,
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
    fn file(&self, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(Watched { file, watch: Arc::clone(&self.watch) })
    }
}

impl Env for WatchedEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        (self.watch)("create_dir");
        self.env.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        (self.watch)("remove_dir");
        self.env.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        (self.watch)("list");
        self.env.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        (self.watch)("create");
        self.env.create(path).map(|file| self.file(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.env.open_write(path).map(|file| self.file(file))
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        (self.watch)("create_log");
        let file = self.env.create_log(path, preallocate)?;
        Ok(Box::new(Watched { file, watch: Arc::clone(&self.watch) }))
    }

    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let file = self.env.open_log(path)?;
        Ok(Box::new(Watched { file, watch: Arc::clone(&self.watch) }))
    }

    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>> {
        (self.watch)("create_stage");
        let file = self.env.create_stage(path, header, len)?;
        Ok(Box::new(Watched { file, watch: Arc::clone(&self.watch) }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.env.len(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.env.read(path)
    }

    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        self.env.read_start(path, len)
    }

    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        self.env.read_device(path, offset, len)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.env.map(path)
    }

    fn warm(&self, path: &Path, go_on: &mut dyn FnMut() -> bool) {
        self.env.warm(path, go_on);
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.watch)("rename");
        self.env.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.watch)("remove");
        self.env.remove(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.watch)("link");
        self.env.link(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.watch)("sync_dir");
        self.env.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        (self.watch)("lock");
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
        (self.watch)("write_at");
        self.file.write_at(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.watch)("sync");
        self.file.sync()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        (self.watch)("set_len");
        self.file.set_len(len)
    }
}

impl StageFile for Watched<Box<dyn StageFile>> {
    fn fallback(&self) -> Option<String> {
        self.file.fallback()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (self.watch)("write");
        self.file.write(offset, bytes)
    }
}

impl LogFile for Watched<Box<dyn LogFile>> {
    fn fallback(&self) -> Option<String> {
        self.file.fallback()
    }

    fn end_writing(&mut self) {
        self.file.end_writing();
    }

    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        (self.watch)("submit");
        self.file.submit(offset, bytes, sync)
    }

    fn submit_from(
        &mut self,
        offset: u64,
        bytes: Vec<u8>,
        from: usize,
        sync: bool,
    ) -> io::Result<()> {
        (self.watch)("submit");
        self.file.submit_from(offset, bytes, from, sync)
    }

    fn submit_aside(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<bool> {
        (self.watch)("submit");
        self.file.submit_aside(offset, bytes)
    }

    fn has_landed(&mut self) -> bool {
        self.file.has_landed()
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        (self.watch)("reap");
        self.file.reap()
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.watch)("sync");
        self.file.sync()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        (self.watch)("set_len");
        self.file.set_len(len)
    }
}
