//! SUPER: the file that makes a directory a store, and names the current manifest
//! (SPEC "superblock").
//!
//! Two slots in separate sectors are written in turn, so that a torn write always leaves the
//! other one whole.

use std::path::Path;

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::ids::FileId;
use orlop_formats::limits::MAX_GENERATION;
use orlop_formats::superblock::{self as format, Superblock};

use crate::env::Env;
use crate::error::{Error, Result};
use crate::files::directory::Directory;

/// Reads the newest slot.
pub(crate) fn read(env: &dyn Env, dir: &Path) -> Result<Superblock> {
    let path = dir.join(FileName::Superblock.to_string());
    let bytes = super::read(env, &path, format::FILE_LEN as u64)?;
    let decoded = format::decode_file(&bytes).map_err(|source| Error::decode(&path, source))?;
    Ok(decoded.newest)
}

/// Makes the directory a store:
/// 1. write the whole file under a temporary name and sync it
/// 2. rename it: from now on there is a store
/// 3. sync the directory; if that fails, take the name back
pub(crate) fn create(dir: &Directory, superblock: &Superblock) -> Result<()> {
    let env = &dir.env;
    let path = dir.path_of(FileName::Superblock);
    let temporary = dir.path.join(format!("{}.tmp", FileName::Superblock));
    let header = FileHeader {
        kind: FileKind::Superblock,
        store: superblock.store,
        number: 0,
        id: FileId(env.random()),
    };
    let fail = |op| {
        let temporary = temporary.clone();
        move |source| Error::io(op, &temporary, source)
    };
    let mut file = env.create(&temporary).map_err(fail("create"))?;
    file.write_at(0, &format::encode_file(&header, superblock)).map_err(fail("write"))?;
    file.sync().map_err(fail("sync"))?;
    env.rename(&temporary, &path).map_err(fail("rename"))?;
    dir.sync().inspect_err(|_| {
        // No later sync would prove that the name is there: it must go before anything is built on it,
        // and be gone before the manifest that it names is.
        let _ = env.remove(&path).and_then(|()| env.sync_dir(&dir.path));
    })
}

/// Writes the next generation into its slot and syncs it.
pub(crate) fn update(env: &dyn Env, dir: &Path, superblock: &Superblock) -> Result<()> {
    let path = dir.join(FileName::Superblock.to_string());
    if superblock.generation > MAX_GENERATION {
        // Written, it could not be read: the store is for reading only.
        let (expected, offset) = (format!("a generation below {MAX_GENERATION}"), format::SLOT_LEN);
        return Err(Error::corrupt(&path, "superblock", offset as u64, expected, "that one"));
    }
    let fail = |op| {
        let path = path.clone();
        move |source| Error::io(op, &path, source)
    };
    let mut file = env.open_write(&path).map_err(fail("open"))?;
    let offset = format::slot_offset(superblock.generation);
    file.write_at(offset, &superblock.encode_slot()).map_err(fail("write"))?;
    seeded!(SuperblockUnsynced => return Ok(()));
    file.sync().map_err(fail("sync"))
}
