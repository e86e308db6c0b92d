//! Floor 3: one module for each kind of file.

use std::path::Path;

use crate::env::Env;
use crate::error::{Error, Result};

pub(crate) mod directory;
pub(crate) mod manifest;
pub(crate) mod segments;
pub(crate) mod sstable;
pub(crate) mod superblock;
pub(crate) mod wal;

/// Reads a whole file, unless it is longer than a file of its kind can be.
fn read(env: &dyn Env, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let fail = |source| Error::io("read", path, source);
    let len = env.len(path).map_err(fail)?;
    if len > limit {
        let expected = format!("at most {limit} bytes");
        return Err(Error::corrupt(path, "file", limit, expected, format!("{len} bytes")));
    }
    env.read(path).map_err(fail)
}
