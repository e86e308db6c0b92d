//! A real directory with a reference store, for `orlop verify`: in memory where the system has a
//! file system there. Damaged files are written over, and written back.

use std::fs;
use std::io;
use std::path::Path;

use super::image::Changes;
use super::reference::Set;

/// Directories of all sets, one worker's.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Puts the files of the sets into a directory each.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(sets: &[&Set]) -> io::Result<Self> {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }?;
        for set in sets {
            let store = dir.path().join(set.name);
            fs::create_dir(&store)?;
            for (name, bytes) in &set.files {
                fs::write(store.join(name), bytes)?;
            }
        }
        Ok(Self { dir })
    }

    /// What `verify` finds in a set with some files changed; an error of its own is a finding.
    ///
    /// # Errors
    /// What the file system says.
    pub fn verify(&self, set: &Set, changes: &Changes) -> io::Result<Vec<String>> {
        let store = self.dir.path().join(set.name);
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => fs::write(store.join(name), bytes)?,
                None => fs::remove_file(store.join(name))?,
            }
        }
        let found = orlop_tools::verify(&store).unwrap_or_else(|error| vec![error]);
        for (name, _) in changes {
            match set.files.get(name) {
                Some(bytes) => fs::write(store.join(name), bytes)?,
                None => fs::remove_file(store.join(name))?,
            }
        }
        Ok(found)
    }
}
