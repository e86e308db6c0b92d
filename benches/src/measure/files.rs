//! The files of a store, seen from outside: their size, and whether the page cache holds them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::failure::Result;

/// Bytes that the filesystem has allotted to everything under `path`.
pub(crate) fn allotted(path: &Path) -> u64 {
    all(path).iter().filter_map(|file| file.metadata().ok()).map(|data| data.blocks() * 512).sum()
}

/// Every file under `path`. What vanishes meanwhile is left out: stores remove files at any time.
fn all(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

/// Reads every file under `path` once, so that the page cache holds it, in single pages.
///
/// Said to be read in order, a file comes into the page cache in pieces of up to megabytes, and
/// ext4 (kernel 6.18) then walks the whole piece for each page that is written in it: overwriting
/// LMDB's pages was 20 times slower than it was before its files had left the cache.
pub(crate) fn warm(path: &Path) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for file in all(path) {
        let mut file = match File::open(file) {
            // A store that is open removes files at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        fadvise(&file, 0, None, Advice::Random)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Drops every file under `path` from the page cache: each is synced and given up, and the kernel is
/// asked to drop all of its caches, which it does for root alone.
pub(crate) fn chill(path: &Path) -> Result<()> {
    for file in all(path) {
        let file = File::open(file)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    match fs::write("/proc/sys/vm/drop_caches", "3") {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn folders_are_counted_with_what_they_hold() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("a"), [7; 10_000]).unwrap();
        fs::write(dir.path().join("in/b"), [7; 10_000]).unwrap();
        File::open(dir.path().join("in/b")).unwrap().sync_all().unwrap();
        File::open(dir.path().join("a")).unwrap().sync_all().unwrap();
        assert!(allotted(dir.path()) >= 20_000);
        warm(dir.path()).unwrap();
        assert_eq!(allotted(Path::new("/nowhere/at/all")), 0);
    }
}
