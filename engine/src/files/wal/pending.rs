//! What waits to be handed over to a segment's file, from a page boundary on: so a device can fetch it from there.

use std::mem;

use orlop_formats::limits::SECTOR;

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    /// Bytes that count for nothing, up to a page boundary; then what waits.
    bytes: Vec<u8>,
    /// How many count for nothing.
    pad: usize,
}

impl Pending {
    /// Nothing, in this buffer. A buffer that has to grow loses its boundary, which costs a copy later on.
    pub(super) fn within(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        let boundary = bytes.as_ptr().addr().next_multiple_of(SECTOR as usize);
        let pad = boundary - bytes.as_ptr().addr();
        let pad = if bytes.capacity() > 2 * SECTOR as usize { pad } else { 0 };
        bytes.resize(pad, 0);
        Self { bytes, pad }
    }

    /// These bytes, wherever they are.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, pad: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.pad
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What waits, from this place on.
    pub(super) fn from(&self, place: usize) -> &[u8] {
        self.bytes.get(self.pad + place..).unwrap_or_default()
    }

    /// Fills what waits with zeros, up to a multiple of so many bytes.
    pub(super) fn fill_up(&mut self, multiple: u64) {
        let len = self.len().next_multiple_of(multiple as usize);
        self.bytes.resize(self.pad + len, 0);
    }

    /// Gives the buffer away, until [`Pending::put_back`], to be written behind what waits.
    pub(super) fn lend(&mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }

    pub(super) fn put_back(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// The place, in what waits, of a place in the buffer.
    pub(super) fn place(&self, at: usize) -> u64 {
        (at - self.pad) as u64
    }

    /// The buffer, and how many bytes at its beginning count for nothing.
    pub(super) fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.pad)
    }
}
