//! Frames: what the log and the manifest are made of. A frame is a header and a payload under
//! one CRC-32, which also covers the id of the file and the frame's own offset, so that bytes
//! of another file, or of another place of this one, never look like a frame of this one.
//!
//! A frame starts on a multiple of 64 bytes; after a sync on a multiple of the sector, because a
//! sector that holds acknowledged bytes is never rewritten. [`Walk`] finds the frames of a file
//! in order; [`later_proof`] tells a torn tail from a corruption.

mod walk;

pub use walk::{Walk, later_proof, reach, was_to_follow};

use crate::checksum::{Running, crc, crc_behind};
use crate::error::Result;
use crate::ids::FileId;
use crate::layout::{Field, Fixed, Layout, field, set};
use crate::varint::u32_at;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 40;

/// Frames start on multiples of this many bytes.
pub const ALIGN: u64 = 64;

const CRC: usize = 0;
const KIND: usize = 4;
const RESERVED: usize = 5;
const RESERVED_2: usize = 6;
const PAYLOAD_LEN: usize = 8;
const COUNT: usize = 12;
const FIRST: usize = 16;
const SYNCED: usize = 24;
const OFFSET: usize = 32;
const PREVIOUS_END: usize = 36;

const FIELDS: &[Field] = &[
    field(CRC, 4, "crc32 of file id, bytes 4..40 and payload"),
    field(KIND, 1, "kind"),
    field(RESERVED, 1, "zero"),
    field(RESERVED_2, 2, "zero"),
    field(PAYLOAD_LEN, 4, "payload length"),
    field(COUNT, 4, "count"),
    field(FIRST, 8, "first"),
    field(SYNCED, 8, "synced"),
    field(OFFSET, 4, "offset"),
    field(PREVIOUS_END, 4, "previous end"),
];

/// The layout of a frame's header.
pub const LAYOUT: Layout = Layout { name: "frame", len: HEADER_LEN, fields: FIELDS };

/// What a frame's payload is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A group of batches of the log, see [`crate::batch`].
    Group = 1,
    /// One version edit of the manifest, see [`crate::manifest`].
    Edit = 2,
}

impl FrameKind {
    /// The kind with this number, if there is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Group),
            2 => Some(Self::Edit),
            _ => None,
        }
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: FrameKind,
    /// Batches in the group, at least 1; edits in the frame: 1.
    pub count: u32,
    /// Sequence number of the first batch; number of the edit.
    pub first: u64,
    /// The highest sequence number (the last edit) known to be on the device when the frame was
    /// written.
    pub synced: u64,
    /// Where the frame starts in the file.
    pub offset: u64,
    /// Where the frame before it ends, or the prologue.
    pub previous_end: u64,
    /// The bytes behind the header.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The first byte of the file behind the frame.
    pub fn end(&self) -> u64 {
        self.offset + HEADER_LEN as u64 + self.payload.len() as u64
    }

    /// What `first` of the next frame is.
    pub fn next_first(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// The header of a frame to write; the meaning of each is that of [`Frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// What the payload is.
    pub kind: FrameKind,
    /// Batches in the group, or 1.
    pub count: u32,
    /// Sequence number of the first batch, or number of the edit.
    pub first: u64,
    /// The highest number known to be on the device.
    pub synced: u64,
    /// Where the frame will start in the file: a multiple of [`ALIGN`].
    pub offset: u64,
    /// Where the frame before it ended.
    pub previous_end: u64,
}

/// Where the checksum of each frame of a file begins: that of the file's id. For who writes many.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u32);

impl From<&FileId> for Seed {
    fn from(file: &FileId) -> Self {
        Self(crc(&[&file.0]))
    }
}

/// Reserves the header of a frame at the end of `out` and gives its start. The payload is
/// appended next.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    start
}

/// Fills in the header of the frame that [`begin`] began at `start` and that `out` ends with.
///
/// # Panics
/// If `start` is not where [`begin`] left room; if the frame reaches behind the first
/// [`crate::limits::MAX_FRAMED_FILE_LEN`] bytes of its file (the writer ends a file long before):
/// bytes that cannot be read back are never made.
pub fn finish(out: &mut [u8], start: usize, file: impl Into<Seed>, fields: &Fields) {
    finish_before(&mut out[start..], file, fields, &Running::default());
}

/// The same where the frame goes on behind its first bytes, `frame`, which include the header.
///
/// # Panics
/// As [`finish`].
pub fn finish_before(frame: &mut [u8], file: impl Into<Seed>, fields: &Fields, rest: &Running) {
    let payload_len = (frame.len() - HEADER_LEN) as u64 + rest.len();
    let end = fields.offset + HEADER_LEN as u64 + payload_len;
    assert!(end <= u64::from(u32::MAX), "a frame must end in the first 4 GiB of its file");
    debug_assert!(fields.offset.is_multiple_of(ALIGN) && fields.count > 0);
    frame[KIND] = fields.kind as u8;
    set(frame, RESERVED, &[0; 3]);
    set(frame, PAYLOAD_LEN, &(payload_len as u32).to_le_bytes());
    set(frame, COUNT, &fields.count.to_le_bytes());
    set(frame, FIRST, &fields.first.to_le_bytes());
    set(frame, SYNCED, &fields.synced.to_le_bytes());
    set(frame, OFFSET, &(fields.offset as u32).to_le_bytes());
    set(frame, PREVIOUS_END, &(fields.previous_end as u32).to_le_bytes());
    let sum = crc_behind(file.into().0, &frame[KIND..]);
    let sum = if rest.is_empty() { sum } else { rest.behind(sum) };
    set(frame, CRC, &sum.to_le_bytes());
}

/// Reads the frame at `offset`; `bytes` are the file from its first byte.
pub fn decode<'a>(bytes: &'a [u8], offset: u64, file: &FileId) -> Result<Frame<'a>> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    decode_at(bytes.get(start..).unwrap_or_default(), offset, file)
        .map_err(|error| error.at(offset))
}

/// The same on the bytes from the frame on; offsets of errors count from the frame.
fn decode_at<'a>(bytes: &'a [u8], offset: u64, file: &FileId) -> Result<Frame<'a>> {
    decode_if(bytes, offset, |payload_end| {
        let computed = crc(&[&file.0, &bytes[KIND..payload_end]]);
        (u32_at(bytes, CRC) != Some(computed)).then_some(computed)
    })
}

/// The same, where `wrong` looks at the checksum: given where the payload ends, it says what would be right.
fn decode_if(
    bytes: &[u8],
    offset: u64,
    wrong: impl FnOnce(usize) -> Option<u32>,
) -> Result<Frame<'_>> {
    let header = Fixed::new(&LAYOUT, bytes)?;
    // The fields that a frame at this place must have come before the checksum: they are cheap,
    // and they keep a search over all boundaries from hashing the rest of the file at each.
    if u64::from(header.u32(OFFSET)) != offset {
        let found = format!("offset {}", header.u32(OFFSET));
        return Err(header.corrupt(OFFSET, format!("its own offset {offset}"), found));
    }
    let len = header.u32(PAYLOAD_LEN) as usize;
    let Some(payload) = bytes[HEADER_LEN..].get(..len) else {
        let found = format!("{len} bytes, and {} are left", bytes.len() - HEADER_LEN);
        return Err(header.corrupt(PAYLOAD_LEN, "a payload inside the file", found));
    };
    if let Some(computed) = wrong(HEADER_LEN + len) {
        let (expected, found) = (format!("crc {computed:08x}"), format!("{:08x}", header.u32(CRC)));
        return Err(header.corrupt(CRC, expected, found));
    }
    let Some(kind) = FrameKind::from_byte(header.u8(KIND)) else {
        return Err(header.corrupt(KIND, "kind 1 or 2", header.u8(KIND).to_string()));
    };
    header.zeros(RESERVED..PAYLOAD_LEN)?;
    let frame = Frame {
        kind,
        count: header.u32(COUNT),
        first: header.u64(FIRST),
        synced: header.u64(SYNCED),
        offset,
        previous_end: u64::from(header.u32(PREVIOUS_END)),
        payload,
    };
    if frame.count == 0 {
        return Err(header.corrupt(COUNT, "a count of 1 or more", "0"));
    }
    if !offset.is_multiple_of(ALIGN) || frame.previous_end > offset {
        let expected = format!("an end at or before {offset}, a multiple of {ALIGN}");
        return Err(header.corrupt(PREVIOUS_END, expected, frame.previous_end.to_string()));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests;
