//! The environment of stores that live in memory: a map of paths to bytes, and nothing durable.
//!
//! Syncs succeed and mean nothing. A mapping shares the file's bytes without copying them; a file
//! that is written while mapped is copied first, so that mappings never change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    DirEntry, Env, Lock, LockError, LogFile, LogPath, Mapping, StageFile, WriteFile,
    nothing_in_flight, outside_of_stage, parse_pid, write_in_flight,
};

/// Files in memory. Clones share them; they go with the last clone, handle or mapping.
///
/// Every path is absolute: `store` and `/store` are the same. Only the root exists at first.
#[derive(Debug, Clone, Default)]
pub struct MemoryEnv {
    tree: Arc<Mutex<Tree>>,
}

impl MemoryEnv {
    /// An empty file system.
    pub fn new() -> MemoryEnv {
        MemoryEnv::default()
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        locked(&self.tree)
    }
}

/// A panic elsewhere leaves the bytes as good as any crash of a process would.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    crate::sync::point(); // every call is a place where another thread may run
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one spelling of a path: no root, no `.`, no `..`, no trailing slash. The root is empty.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    normal
}

pub(super) fn not_found() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file or directory")
}

pub(super) fn already_exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the name is taken")
}

pub(super) fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a file in memory cannot be that large")
}

/// Writes into bytes in memory as a file is written: a gap before `offset` becomes zeros.
pub(super) fn write_into(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(()); // as pwrite: nothing written, the length stays
    }
    let start = usize::try_from(offset).map_err(|_| too_large())?;
    let end = start.checked_add(bytes.len()).ok_or_else(too_large)?;
    if file.len() < end {
        resize(file, end)?;
    }
    file[start..end].copy_from_slice(bytes);
    Ok(())
}

/// Sets the length of bytes in memory, refusing what no memory can hold.
pub(super) fn resize(file: &mut Vec<u8>, len: usize) -> io::Result<()> {
    file.try_reserve(len.saturating_sub(file.len())).map_err(|_| too_large())?;
    file.resize(len, 0);
    Ok(())
}

/// The first `len` bytes, or all.
pub(super) fn start(bytes: &[u8], len: u64) -> &[u8] {
    usize::try_from(len).ok().and_then(|len| bytes.get(..len)).unwrap_or(bytes)
}

/// The bytes of a range, as far as there are some.
pub(super) fn part(bytes: &[u8], offset: u64, len: u64) -> &[u8] {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    start(rest.unwrap_or_default(), len)
}

/// A file's bytes: shared with its mappings, hence copied by a write while one lives.
type Node = Arc<Mutex<Arc<Vec<u8>>>>;

#[derive(Debug, Default)]
struct Tree {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Node>,
    locks: BTreeSet<PathBuf>,
}

impl Tree {
    fn has_dir(&self, dir: &Path) -> bool {
        dir.as_os_str().is_empty() || self.dirs.contains(dir)
    }

    fn file(&self, path: &Path) -> io::Result<&Node> {
        self.files.get(path).ok_or_else(not_found)
    }

    /// Checks that `path` is free to become a file or directory.
    fn vacant(&self, path: &Path) -> io::Result<()> {
        if self.has_dir(path) || self.files.contains_key(path) {
            return Err(already_exists());
        }
        if path.parent().is_some_and(|parent| self.has_dir(parent)) {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    fn create(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<Node> {
        self.vacant(path)?;
        let node: Node = Arc::new(Mutex::new(Arc::new(bytes)));
        self.files.insert(path.to_path_buf(), Arc::clone(&node));
        Ok(node)
    }
}

/// The paths directly below `dir`, by their last component.
pub(super) fn entries_of<'a>(
    dir: &Path,
    all: impl Iterator<Item = (&'a PathBuf, u64)>,
) -> Vec<DirEntry> {
    let inside = all.filter(|(path, _)| path.parent() == Some(dir));
    let mut entries: Vec<DirEntry> = inside
        .filter_map(|(path, len)| {
            Some(DirEntry { name: path.file_name()?.to_string_lossy().into_owned(), len })
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

impl Env for MemoryEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        let mut tree = self.tree();
        tree.vacant(&dir)?;
        tree.dirs.insert(dir);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = normal(dir);
        let mut tree = self.tree();
        if !tree.dirs.contains(&dir) {
            return Err(not_found());
        }
        let inside = |path: &PathBuf| path.parent() == Some(&dir);
        if tree.files.keys().any(inside) || tree.dirs.iter().any(inside) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        tree.dirs.remove(&dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = normal(dir);
        let tree = self.tree();
        if !tree.has_dir(&dir) {
            return Err(not_found());
        }
        let files = tree.files.iter().map(|(path, node)| (path, locked(node).len() as u64));
        let all = files.chain(tree.dirs.iter().map(|path| (path, 0)));
        Ok(entries_of(&dir, all))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let node = self.tree().create(&normal(path), Vec::new())?;
        Ok(Box::new(MemoryFile { node }))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let node = Arc::clone(self.tree().file(&normal(path))?);
        Ok(Box::new(MemoryFile { node }))
    }

    fn create_log(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn LogFile>> {
        let mut zeros = Vec::new();
        resize(&mut zeros, usize::try_from(preallocate).map_err(|_| too_large())?)?;
        let node = self.tree().create(&normal(path), zeros)?;
        Ok(Box::new(MemoryLog { file: MemoryFile { node }, in_flight: None }))
    }

    fn open_log(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let node = Arc::clone(self.tree().file(&normal(path))?);
        Ok(Box::new(MemoryLog { file: MemoryFile { node }, in_flight: None }))
    }

    fn create_stage(&self, path: &Path, header: &[u8], len: u64) -> io::Result<Box<dyn StageFile>> {
        let mut bytes = header.to_vec();
        resize(&mut bytes, usize::try_from(len).map_err(|_| too_large())?)?;
        let node = self.tree().create(&normal(path), bytes)?;
        Ok(Box::new(MemoryFile { node }))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(bytes.len() as u64)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(bytes.as_ref().clone())
    }

    fn read_start(&self, path: &Path, len: u64) -> io::Result<Vec<u8>> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(start(&bytes, len).to_vec())
    }

    fn read_device(&self, path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(part(&bytes, offset, len).to_vec())
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(Mapping::image(Arc::clone(&bytes)))
    }

    fn warm(&self, _: &Path, _: &mut dyn FnMut() -> bool) {}

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut tree = self.tree();
        let node = Arc::clone(tree.file(&from)?);
        match tree.files.get(&to) {
            // POSIX: two names of one file both stay.
            Some(same) if Arc::ptr_eq(same, &node) => return Ok(()),
            Some(_) => {}
            None => tree.vacant(&to)?,
        }
        tree.files.remove(&from);
        tree.files.insert(to, node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tree().files.remove(&normal(path)).map(drop).ok_or_else(not_found)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normal(from), normal(to));
        let mut tree = self.tree();
        let node = Arc::clone(tree.file(&from)?);
        tree.vacant(&to)?;
        tree.files.insert(to, node);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.tree().has_dir(&normal(dir)) { Ok(()) } else { Err(not_found()) }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        let path = normal(path);
        let mut tree = self.tree();
        if tree.locks.contains(&path) {
            let pid = tree.files.get(&path).and_then(|node| parse_pid(&locked(node)));
            return Err(LockError::Held { pid });
        }
        let node = match tree.files.get(&path) {
            Some(node) => Arc::clone(node),
            None => tree.create(&path, Vec::new())?,
        };
        *locked(&node) = Arc::new(format!("pid {}\n", std::process::id()).into_bytes());
        tree.locks.insert(path.clone());
        Ok(Box::new(MemoryLock { tree: Arc::clone(&self.tree), path }))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for half in bytes.chunks_exact_mut(8) {
            // std draws the keys of its hashers from the system.
            half.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
        bytes
    }

    fn now_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn log_path(&self) -> LogPath {
        LogPath { name: "memory", fallback: None }
    }

    fn disk_usage(&self, path: &Path) -> io::Result<u64> {
        let tree = self.tree();
        let bytes = locked(tree.file(&normal(path))?);
        Ok(bytes.len() as u64)
    }
}

struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    path: PathBuf,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        locked(&self.tree).locks.remove(&self.path);
    }
}

struct MemoryFile {
    node: Node,
}

impl WriteFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_into(Arc::make_mut(&mut locked(&self.node)), offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| too_large())?;
        resize(Arc::make_mut(&mut locked(&self.node)), len)
    }
}

impl StageFile for MemoryFile {
    fn fallback(&self) -> Option<String> {
        None
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let len = locked(&self.node).len() as u64;
        if offset.saturating_add(bytes.len() as u64) > len {
            return Err(outside_of_stage());
        }
        self.write_at(offset, bytes)
    }
}

struct MemoryLog {
    file: MemoryFile,
    /// The write already done, whose outcome waits to be reaped.
    in_flight: Option<io::Result<Vec<u8>>>,
}

impl LogFile for MemoryLog {
    fn fallback(&self) -> Option<String> {
        None
    }

    fn submit(&mut self, offset: u64, bytes: Vec<u8>, _sync: bool) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let written = self.file.write_at(offset, &bytes);
        self.in_flight = Some(written.map(|()| bytes));
        Ok(())
    }

    fn has_landed(&mut self) -> bool {
        true
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        self.in_flight.take().unwrap_or_else(|| Err(nothing_in_flight()))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        self.file.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_shares_the_bytes_and_never_changes() {
        let env = MemoryEnv::new();
        let path = Path::new("/f");
        let mut file = env.create(path).unwrap();
        file.write_at(0, b"first").unwrap();
        let (one, two) = (env.map(path).unwrap(), env.map(path).unwrap());
        assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
        file.write_at(0, b"other").unwrap();
        assert_eq!(one.bytes(), b"first");
        assert_eq!(env.map(path).unwrap().bytes(), b"other");
    }

    #[test]
    fn paths_have_one_spelling() {
        let env = MemoryEnv::new();
        env.create_dir(Path::new("/store/")).unwrap();
        env.create(Path::new("./store/../store/f")).unwrap();
        assert_eq!(env.list(Path::new("store")).unwrap().len(), 1);
        env.sync_dir(Path::new("")).unwrap();
    }

    #[test]
    fn clones_share_files_and_other_environments_do_not() {
        let env = MemoryEnv::new();
        env.create(Path::new("f")).unwrap();
        assert!(env.clone().read(Path::new("f")).is_ok());
        assert!(MemoryEnv::new().read(Path::new("f")).is_err());
    }

    #[test]
    fn a_length_no_memory_can_hold_is_refused() {
        let env = MemoryEnv::new();
        assert!(env.create_log(Path::new("log"), u64::MAX).is_err());
        let mut file = env.create(Path::new("f")).unwrap();
        assert!(file.write_at(u64::MAX, b"x").is_err());
        assert!(file.set_len(u64::MAX).is_err());
        assert_eq!(env.read(Path::new("f")).unwrap(), b"");
    }
}
