//! What the device below a directory was asked to do, from its file `stat` in `/sys`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// The disk that holds a directory.
pub(crate) struct Disk {
    stat: PathBuf,
}

/// What a disk has done so far, for whomever.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// Requests that write, those that only flush among them.
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    pub(crate) kib: u64,
}

impl Disk {
    /// `None` where there is no disk of the directory's own: in memory, or on several.
    pub(crate) fn below(dir: &Path) -> io::Result<Option<Disk>> {
        let device = fs::metadata(dir)?.dev();
        let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
        let Ok(mut place) = fs::canonicalize(link) else { return Ok(None) };
        if place.join("partition").exists() {
            place.pop();
        }
        Ok(Some(Disk { stat: place.join("stat") }))
    }

    pub(crate) fn done(&self) -> io::Result<Done> {
        let text = fs::read_to_string(&self.stat)?;
        let fields: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or(0);
        Ok(Done { writes: field(4), flushes: field(15), kib: field(6) / 2 })
    }
}
