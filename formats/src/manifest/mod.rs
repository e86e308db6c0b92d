//! The manifest: the log of changes to the set of files that make up a store.
//!
//! The file header, then frames (see [`crate::frame`]) of one version edit each, every one synced
//! and therefore at the start of a sector. The first is a snapshot: it says everything, so that
//! nothing older is needed. A version is the snapshot and the edits after it, applied in order.

mod edit;
mod range_delete;
mod table;

pub use edit::VersionEdit;
pub use range_delete::{RANGE_DELETE_LAYOUT, RangeDelete};
pub use table::{TABLE_LAYOUT, TableMeta};

use crate::error::Result;
use crate::file_header;
use crate::ids::{FileNumber, Seqno};
use crate::layout::{Field, Fixed, Layout, field, set};

/// Bytes before the first frame: the file header.
pub const PROLOGUE_LEN: u64 = file_header::HEADER_LEN as u64;

const NUMBER: usize = 0;
const END: usize = 8;
const LAST_SEQNO: usize = 16;

const FIELDS: &[Field] =
    &[field(NUMBER, 8, "segment number"), field(END, 8, "end"), field(LAST_SEQNO, 8, "last seqno")];

/// Bytes of a segment end.
pub const SEGMENT_END_LEN: usize = 24;

/// The layout of a segment end.
pub const SEGMENT_END_LAYOUT: Layout =
    Layout { name: "segment end", len: SEGMENT_END_LEN, fields: FIELDS };

/// Where a clean close left a segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// The segment.
    pub number: FileNumber,
    /// The end of its last frame; bytes behind it are free space.
    pub end: u64,
    /// The sequence number of the last batch up to there.
    pub last_seqno: Seqno,
}

impl SegmentEnd {
    fn encode(&self) -> [u8; SEGMENT_END_LEN] {
        let mut out = [0; SEGMENT_END_LEN];
        set(&mut out, NUMBER, &self.number.to_le_bytes());
        set(&mut out, END, &self.end.to_le_bytes());
        set(&mut out, LAST_SEQNO, &self.last_seqno.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let fixed = Fixed::new(&SEGMENT_END_LAYOUT, bytes)?;
        if bytes.len() != SEGMENT_END_LEN {
            return Err(fixed.corrupt(0, "24 bytes", format!("{} bytes", bytes.len())));
        }
        Ok(Self {
            number: fixed.u64(NUMBER),
            end: fixed.u64(END),
            last_seqno: fixed.u64(LAST_SEQNO),
        })
    }
}

#[cfg(test)]
mod tests;
