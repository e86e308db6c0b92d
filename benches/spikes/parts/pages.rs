//! Memory that begins at a page boundary, from where a device can fetch it.

use std::ops::{Deref, DerefMut};

/// Bytes of a page, and of the largest sector that a device has.
pub(crate) const PAGE: usize = 4096;

/// A buffer at a page boundary.
pub(crate) struct Pages {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Pages {
    pub(crate) fn new(len: usize) -> Pages {
        let bytes = vec![0; len + PAGE];
        let from = bytes.as_ptr().align_offset(PAGE);
        Pages { bytes, from, len }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.len]
    }
}
