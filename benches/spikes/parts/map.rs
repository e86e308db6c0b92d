//! A file mapped for writing.

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Maps the first `len` bytes of a file of this program's own. Those behind its end must not be touched.
pub(crate) fn map(file: &File, len: usize) -> io::Result<MmapMut> {
    // SAFETY: the file lies in a directory that this program has just made; nobody else knows of it, and
    // the program neither shortens it nor writes to it in another way while it is mapped.
    unsafe { MmapOptions::new().len(len).map_mut(file) }
}
