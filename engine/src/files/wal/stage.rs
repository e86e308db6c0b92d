//! The stage of this open (SPEC "stage"): where commits outlive the process before they are in their
//! segment.

use std::path::PathBuf;

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileId, StoreId};
use orlop_formats::stage;

use crate::env::StageFile;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::sync::{Arc, AtomicU64, Ordering};

/// See the module.
pub(super) struct Stage {
    file: Box<dyn StageFile>,
    path: PathBuf,
    ring: u64,
}

impl Stage {
    /// Makes a stage with a ring of so many bytes, which are whole sectors. Its name need not be
    /// durable, nor anything in it.
    pub(super) fn create(
        dir: &Directory,
        store: StoreId,
        numbers: &Arc<AtomicU64>,
        ring: u64,
    ) -> Result<Self> {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let path = dir.path_of(FileName::Stage(number));
        let id = FileId(dir.env.random());
        let header = FileHeader { kind: FileKind::Stage, store, number, id };
        let file = dir.env.create_stage(&path, &header.encode(), stage::PROLOGUE_LEN + ring);
        let file = file.map_err(|source| Error::io("create", &path, source))?;
        Ok(Self { file, path, ring })
    }

    /// Why it is not memory that stays there, if it is not.
    pub(super) fn fallback(&self) -> Option<String> {
        self.file.fallback()
    }

    /// Bytes that it can hold at a time.
    pub(super) fn ring(&self) -> u64 {
        self.ring
    }

    /// Takes bytes of the current segment, which stand at `offset` there. They are no more than the ring.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let room = (self.ring - offset % self.ring) as usize;
        let (near, far) = bytes.split_at(room.min(bytes.len()));
        let mut write = |offset, bytes: &[u8]| {
            let written = self.file.write(stage::place(offset, self.ring), bytes);
            written.map_err(|source| Error::io("write", &self.path, source))
        };
        write(offset, near)?;
        if far.is_empty() { Ok(()) } else { write(offset + near.len() as u64, far) }
    }

    /// Removes the file: everything in it is in its segment.
    pub(super) fn remove(self, dir: &Directory) {
        // What stays is litter, which the next open removes.
        let _ = dir.env.remove(&self.path);
    }
}
