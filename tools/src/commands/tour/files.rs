//! Part 1: the files below the current directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use orlop::{Durability, Store};

use super::{FILES, Tour};
use crate::failure::Failure;
use crate::output::{counted, size, time};

/// What is taken at most.
const MAX_FILES: usize = 2_000;
const MAX_BYTES: u64 = 32 << 20;
const MAX_FILE: u64 = 1 << 20;

/// Directory entries that are looked at, at most: somebody may stand in a very large directory.
const MAX_VISITED: usize = 200_000;

/// Bytes of a commit.
const BATCH_BYTES: u64 = 1 << 20;

/// A file to store.
struct Found {
    path: PathBuf,
    /// Relative to where the walk began; any bytes, as the system has them.
    name: OsString,
}

/// Stores the files; gives the key of one that is text, to name in an example.
pub(super) fn store(tour: &mut Tour<'_>, store: &Store) -> Result<Option<String>, Failure> {
    let root = Path::new(".");
    let found = walk(root, tour.dir);
    let files = store.database(FILES)?;
    let (mut bytes, mut stored, mut example) = (0, 0, None);
    let start = Instant::now();
    let (mut batch, mut batch_bytes) = (store.batch(), 0);
    for Found { path, name } in found {
        // A file that vanished or may not be read is not part of the tour.
        let Some(content) = read(&path) else { continue };
        if bytes + content.len() as u64 > MAX_BYTES {
            continue;
        }
        let key = [tour.prefix().as_bytes(), name.as_encoded_bytes()].concat();
        let readable = !content.is_empty() && std::str::from_utf8(&content).is_ok();
        if example.is_none() && readable && is_plain(&name) {
            example = String::from_utf8(key.clone()).ok();
        }
        batch.put(&files, &key, &content)?;
        stored += 1;
        bytes += content.len() as u64;
        batch_bytes += content.len() as u64;
        if batch_bytes >= BATCH_BYTES {
            std::mem::replace(&mut batch, store.batch()).commit_with(Durability::Buffered)?;
            batch_bytes = 0;
        }
    }
    if !batch.is_empty() {
        batch.commit_with(Durability::Buffered)?;
    }
    store.sync()?;
    let took = time(start.elapsed());
    let what = counted(stored, "file", "files");
    tour.line(format!("   {what}, {}, read, stored and synced in {took}", size(bytes)))?;
    if let Some(key) = &example {
        tour.line(format!("   one of them: {key}"))?;
    }
    Ok(example)
}

/// Whether a name can stand in an example: printable, and not hidden.
fn is_plain(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    !name.is_empty() && !name.starts_with('.') && !name.chars().any(char::is_control)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= MAX_FILE).then_some(content)
}

/// The regular files below `root`, sorted within each directory; nothing below `skip`, no links,
/// no `.git` and `target`, no other file systems.
fn walk(root: &Path, skip: &Path) -> Vec<Found> {
    let skip = fs::canonicalize(skip).ok();
    let device = fs::metadata(root).map(|metadata| device(&metadata)).ok();
    let mut found = Vec::new();
    let mut visited = 0;
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort_unstable();
        let mut below = Vec::new();
        for path in entries {
            visited += 1;
            if found.len() == MAX_FILES || visited > MAX_VISITED {
                return found;
            }
            // Not followed: a link is neither a file nor a directory here.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                let ours = skip.is_some() && fs::canonicalize(&path).ok() == skip;
                let passed =
                    path.file_name().is_some_and(|name| name == ".git" || name == "target");
                if !ours && !passed && Some(self::device(&metadata)) == device {
                    below.push(path);
                }
            } else if metadata.is_file() && metadata.len() <= MAX_FILE {
                let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().to_owned();
                found.push(Found { path, name });
            }
        }
        directories.extend(below.into_iter().rev());
    }
    found
}

#[cfg(unix)]
fn device(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::dev(metadata)
}

#[cfg(not(unix))]
fn device(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["a.txt", "sub/b.txt", ".git/config", "target/x", "store/SUPER"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::write(root.join("large"), vec![0; MAX_FILE as usize + 1]).unwrap();
        fs::write(root.join("just"), vec![0; MAX_FILE as usize]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.join("a.txt"), root.join("link")).unwrap();
        let found = walk(root, &root.join("store"));
        let names: Vec<_> = found.iter().map(|found| found.name.to_str().unwrap()).collect();
        assert_eq!(names, ["a.txt", "just", "sub/b.txt"]);
    }
}
