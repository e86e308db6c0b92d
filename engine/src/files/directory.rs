//! The directory of a store, and its names on the device.
//!
//! A sync that fails leaves names behind of which nobody knows whether they are on the device, and a
//! later sync that succeeds proves nothing of them, as with the bytes of a file. They may be those
//! of another thread, which has made a file and not come to its own sync yet. So syncs take turns,
//! and behind one that failed none is tried.

use std::path::{Path, PathBuf};

use orlop_formats::filename::FileName;

use crate::env::{DirEntry, Env};
use crate::error::{Error, Result};
use crate::sync::{Arc, Mutex};

/// Where a store's files are, for as long as it is open.
pub(crate) struct Directory {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) path: PathBuf,
    /// Why no name that is new in this open can be trusted any more.
    failed: Mutex<Option<Error>>,
}

impl Directory {
    pub(crate) fn new(env: Arc<dyn Env>, path: &Path) -> Arc<Self> {
        Arc::new(Self { env, path: path.to_owned(), failed: Mutex::new(None) })
    }

    /// The path of one of its files.
    pub(crate) fn path_of(&self, name: FileName) -> PathBuf {
        self.path.join(name.to_string())
    }

    /// What is in it.
    pub(crate) fn list(&self) -> Result<Vec<DirEntry>> {
        self.env.list(&self.path).map_err(|source| Error::io("list", &self.path, source))
    }

    /// Makes every name in it durable.
    ///
    /// # Errors
    /// That of this sync, or of the one that failed before.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut failed = self.failed.lock();
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        let synced = self.env.sync_dir(&self.path);
        seeded!(DirectorySyncErrorIgnored => return Ok(()));
        synced.map_err(|source| {
            let tried = !never_tried(&source);
            let error = Error::io("sync", &self.path, source);
            if tried {
                *failed = Some(error.clone());
            }
            error
        })
    }

    /// Whether a sync has failed: nothing new can be named any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.lock().is_some()
    }
}

/// Without a descriptor for the directory no sync was tried: ENFILE and EMFILE.
fn never_tried(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{FaultKind, Keep, SimEnv};

    fn directory(env: &SimEnv) -> Arc<Directory> {
        let path = Path::new("/store");
        env.create_dir(path).unwrap();
        env.sync_dir(Path::new("/")).unwrap();
        Directory::new(Arc::new(env.clone()), path)
    }

    #[test]
    fn behind_a_failed_sync_none_is_believed() {
        let env = SimEnv::new(1);
        let dir = directory(&env);
        let name = dir.path_of(FileName::Log(1));
        env.create(&name).unwrap();
        env.fail_at(env.operations() + 1, FaultKind::Io);
        let error = dir.sync().unwrap_err().to_string();
        assert!(dir.has_failed());
        // The disk would say yes now, and the name would be gone all the same.
        assert_eq!(dir.sync().unwrap_err().to_string(), error);
        env.sync_dir(&dir.path).unwrap();
        assert!(env.crash(Keep::Nothing).read(&name).is_err());
    }

    #[test]
    fn a_sync_that_was_never_tried_can_be_tried_again() {
        let env = SimEnv::new(1);
        let dir = directory(&env);
        let name = dir.path_of(FileName::Log(1));
        env.create(&name).unwrap();
        env.fail_at(env.operations() + 1, FaultKind::TooManyFiles);
        assert!(dir.sync().is_err());
        assert!(!dir.has_failed());
        dir.sync().unwrap();
        assert!(env.crash(Keep::Nothing).read(&name).is_ok());
    }
}
