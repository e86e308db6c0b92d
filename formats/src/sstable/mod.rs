//! Tables of sorted entries: blocks of data, an index for every database, a filter, and what is
//! needed to find them.
//!
//! ```text
//! file header | data blocks | index blocks | filter | partitions | properties | footer
//! ```
//!
//! A reader begins at the end: footer, partitions, properties; then for a key: filter, the index
//! of its database, one block. Here are the records around the blocks; see [`crate::block`] and
//! [`crate::filter`] for the rest.

mod expiries;
mod footer;
mod partitions;
mod properties;

pub use expiries::{Expiries, ExpiriesBuilder};
pub use footer::{FOOTER_LAYOUT, FOOTER_LEN, Footer};
pub use partitions::{
    PARTITION_LAYOUT, PARTITION_LEN, Partition, decode_partitions, encode_partitions,
};
pub use properties::Properties;

use crate::error::Result;
use crate::layout::{Field, Fixed, Layout, field, set};

/// Blocks that fit into a page do not cross from one page into the next.
pub const PAGE: u64 = 4096;

/// Regions start on multiples of this many bytes.
pub const ALIGN: u64 = 8;

/// Where a data block of `sealed_len` bytes starts if `at` is the first free byte of the file:
/// on a multiple of 8, in one page if it fits into one, else at the start of a page.
pub fn place_block(at: u64, sealed_len: u64) -> u64 {
    let start = at.next_multiple_of(ALIGN);
    if start % PAGE + sealed_len.min(PAGE + 1) <= PAGE {
        start
    } else {
        start.next_multiple_of(PAGE)
    }
}

const OFFSET: usize = 0;
const LEN: usize = 8;

const FIELDS: &[Field] = &[field(OFFSET, 8, "offset"), field(LEN, 4, "sealed length")];

/// Bytes of a handle.
pub const HANDLE_LEN: usize = 12;

/// The layout of a handle.
pub const HANDLE_LAYOUT: Layout = Layout { name: "handle", len: HANDLE_LEN, fields: FIELDS };

/// Where a sealed block lies in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Handle {
    /// Bytes from the start of the file to the block.
    pub offset: u64,
    /// Bytes of the block with its checksum.
    pub len: u32,
}

impl Handle {
    /// The handle's bytes.
    pub fn encode(&self) -> [u8; HANDLE_LEN] {
        let mut out = [0; HANDLE_LEN];
        set(&mut out, OFFSET, &self.offset.to_le_bytes());
        set(&mut out, LEN, &self.len.to_le_bytes());
        out
    }

    /// Reads a handle: exactly its bytes. Whether the block lies in the file is the caller's to
    /// check; that its end does not overflow is checked here.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let fixed = Fixed::new(&HANDLE_LAYOUT, bytes)?;
        if bytes.len() != HANDLE_LEN {
            return Err(fixed.corrupt(0, "12 bytes", format!("{} bytes", bytes.len())));
        }
        let handle = Self { offset: fixed.u64(OFFSET), len: fixed.u32(LEN) };
        if handle.len < crate::checksum::CHECKSUM_LEN as u32 {
            return Err(fixed.corrupt(LEN, "8 bytes or more", handle.len.to_string()));
        }
        if handle.offset.checked_add(u64::from(handle.len)).is_none() {
            return Err(fixed.corrupt(OFFSET, "an offset in a file", handle.offset.to_string()));
        }
        Ok(handle)
    }
}

#[cfg(test)]
mod tests;
