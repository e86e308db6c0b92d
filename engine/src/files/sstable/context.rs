//! What the tables of one open have in common.

use std::path::PathBuf;

use super::cache::Cache;
use crate::options::{Options, Verify};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) graveyard: Graveyard,
    pub(crate) cache: Cache,
    pub(crate) verify: Verify,
}

impl Context {
    pub(crate) fn new(options: &Options) -> Self {
        let cache = Cache::new(options.cache_size);
        Self { graveyard: Graveyard::default(), cache, verify: options.verify }
    }
}

/// Files that nobody names or reads any more.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    paths: Mutex<Vec<PathBuf>>,
    /// Tables that no version names, but that somebody may still read, and their bytes.
    condemned: AtomicU64,
    condemned_bytes: AtomicU64,
}

impl Graveyard {
    pub(crate) fn bury(&self, path: PathBuf) {
        self.paths.lock().push(path);
    }

    /// A table of so many bytes is named by no version any more.
    pub(super) fn condemn(&self, bytes: u64) {
        self.condemned_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.condemned.fetch_add(1, Ordering::AcqRel);
    }

    /// Nobody reads it any more either.
    pub(super) fn release(&self, bytes: u64) {
        self.condemned.fetch_sub(1, Ordering::AcqRel);
        self.condemned_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Tables that stay for those who read them, and their bytes.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        (self.condemned.load(Ordering::Acquire), self.condemned_bytes.load(Ordering::Relaxed))
    }

    /// Whether files are, or will be, to be removed.
    pub(crate) fn expects(&self) -> bool {
        self.condemned.load(Ordering::Acquire) > 0 || !self.paths.lock().is_empty()
    }

    /// Takes all of them, to be removed.
    pub(crate) fn empty(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.paths.lock())
    }
}
