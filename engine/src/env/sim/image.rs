//! The contents of a disk at one moment, and the changes that lead from one to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::super::memory::{already_exists, not_found, resize, too_large, write_into};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;

/// What a page cache writes at once, as long as the power holds.
pub(super) const PAGE: u64 = 4096;

/// Number of a file, whatever its names.
pub(super) type Inode = u64;

/// Directories, names and bytes. Both the page cache and the medium are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    dirs: BTreeSet<PathBuf>,
    pub(super) names: BTreeMap<PathBuf, Inode>,
    /// Shared with the other image and with mappings while equal, hence cheap to clone.
    files: BTreeMap<Inode, Arc<Vec<u8>>>,
}

/// One step from an image to the next.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        inode: Inode,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    MakeDir {
        dir: PathBuf,
    },
    RemoveDir {
        dir: PathBuf,
    },
    /// A create, a link, or the arriving half of a rename between directories.
    Enter {
        path: PathBuf,
        inode: Inode,
    },
    /// A remove, or the leaving half of a rename between directories.
    Leave {
        path: PathBuf,
    },
    /// A rename within one directory: both halves or none.
    Rename {
        from: PathBuf,
        to: PathBuf,
        inode: Inode,
    },
}

impl Change {
    /// Is this a change of the bytes or the length of a file?
    pub(super) fn is_of_file(&self, file: Inode) -> bool {
        match self {
            Change::Write { inode, .. } | Change::SetLen { inode, .. } => *inode == file,
            _ => false,
        }
    }

    /// Is this a change of the names in a directory?
    pub(super) fn is_of_dir(&self, dir: &Path) -> bool {
        match self {
            Change::Write { .. } | Change::SetLen { .. } => false,
            Change::MakeDir { dir: path }
            | Change::RemoveDir { dir: path }
            | Change::Enter { path, .. }
            | Change::Leave { path }
            | Change::Rename { to: path, .. } => path.parent() == Some(dir),
        }
    }

    /// What the disk may keep or lose by itself: the parts of a write between multiples of
    /// `grain`, anything else whole.
    pub(super) fn pieces(&self, grain: u64) -> Vec<Change> {
        let Change::Write { inode, offset, bytes } = self else { return vec![self.clone()] };
        let mut pieces = Vec::new();
        let (mut offset, mut rest) = (*offset, &bytes[..]);
        while !rest.is_empty() {
            let to_end = (grain - offset % grain) as usize;
            let (piece, after) = rest.split_at(to_end.min(rest.len()));
            pieces.push(Change::Write { inode: *inode, offset, bytes: piece.into() });
            offset += piece.len() as u64;
            rest = after;
        }
        pieces
    }
}

impl Image {
    /// Makes a file at least as long as after `change`, without the bytes of it.
    pub(super) fn grow(&mut self, change: &Change) -> io::Result<()> {
        let Change::Write { inode, offset, bytes } = change else { return Ok(()) };
        let end = usize::try_from(*offset).ok().and_then(|start| start.checked_add(bytes.len()));
        let end = end.ok_or_else(too_large)?;
        let file = self.file_mut(*inode);
        if file.len() < end { resize(file, end) } else { Ok(()) }
    }

    pub(super) fn apply(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write { inode, offset, bytes } => {
                write_into(self.file_mut(*inode), *offset, bytes)?;
            }
            Change::SetLen { inode, len } => {
                let len = usize::try_from(*len).map_err(|_| too_large())?;
                resize(self.file_mut(*inode), len)?;
            }
            Change::MakeDir { dir } => drop(self.dirs.insert(dir.clone())),
            Change::RemoveDir { dir } => drop(self.dirs.remove(dir)),
            Change::Enter { path, inode } => drop(self.names.insert(path.clone(), *inode)),
            Change::Leave { path } => drop(self.names.remove(path)),
            Change::Rename { from, to, inode } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *inode);
            }
        }
        Ok(())
    }

    /// A file no byte of which arrived is empty, though its name may be there.
    fn file_mut(&mut self, inode: Inode) -> &mut Vec<u8> {
        Arc::make_mut(self.files.entry(inode).or_default())
    }

    pub(super) fn bytes(&self, inode: Inode) -> Arc<Vec<u8>> {
        self.files.get(&inode).cloned().unwrap_or_default()
    }

    /// Sets the bytes of a file, whatever they were.
    pub(super) fn replace(&mut self, inode: Inode, bytes: Arc<Vec<u8>>) {
        self.files.insert(inode, bytes);
    }

    /// A number for directories, names and bytes: equal images have equal numbers, and different
    /// ones different numbers as surely as 128 bits can tell.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut hash = Xxh3::new();
        for dir in &self.dirs {
            hash.update(dir.as_os_str().as_encoded_bytes());
            hash.update(b"/");
        }
        for (path, inode) in &self.names {
            let bytes = self.files.get(inode).map(|bytes| bytes.as_slice()).unwrap_or_default();
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(&[0]);
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.digest128()
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).copied().ok_or_else(not_found)
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.dirs.iter()
    }

    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        dir.as_os_str().is_empty() || self.dirs.contains(dir)
    }

    /// Checks that `dir` is a directory with nothing in it.
    pub(super) fn empty_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.dirs.contains(dir) {
            return Err(not_found());
        }
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        if self.names.keys().any(inside) || self.dirs.iter().any(inside) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        Ok(())
    }

    /// Checks that `path` is free to become a file or directory.
    pub(super) fn vacant(&self, path: &Path) -> io::Result<()> {
        if self.has_dir(path) || self.names.contains_key(path) {
            return Err(already_exists());
        }
        if path.parent().is_some_and(|parent| self.has_dir(parent)) {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    /// Drops what nobody can reach by a path: what was in a lost directory, and the bytes of
    /// files without a name.
    pub(super) fn forget_unreachable(&mut self) {
        // Parents sort before their children, so one pass sees a lost parent first.
        let mut reachable = BTreeSet::new();
        for dir in &self.dirs {
            let parent = dir.parent().unwrap_or(Path::new(""));
            if parent.as_os_str().is_empty() || reachable.contains(parent) {
                reachable.insert(dir.clone());
            }
        }
        self.dirs = reachable;
        let dirs = &self.dirs;
        self.names.retain(|path, _| {
            path.parent().is_some_and(|dir| dir.as_os_str().is_empty() || dirs.contains(dir))
        });
        let named: BTreeSet<_> = self.names.values().copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
    }
}
