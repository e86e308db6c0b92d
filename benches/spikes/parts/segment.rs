//! A file of the program's own, for reading and writing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens it, or makes it; with `direct`, writes go past the page cache.
pub(crate) fn open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(flags.bits() as i32).open(path)
}
