//! A segment of the log: a prologue, then frames of groups of batches (see [`crate::frame`]).
//!
//! The prologue names the segment before this one and where that one ended, so that recovery
//! knows whether it has every segment and every byte of them.

use crate::checksum::crc;
use crate::error::Result;
use crate::file_header::{self, FileHeader, FileKind};
use crate::frame::{self, Walk};
use crate::ids::{FileId, FileNumber, Seqno, StoreId};
use crate::layout::{Field, Fixed, Layout, field, set};
use crate::limits::SECTOR;

/// Bytes of the segment header.
pub const HEADER_LEN: usize = 64;

/// Bytes before the first frame: the file header and the segment header.
pub const PROLOGUE_LEN: u64 = (file_header::HEADER_LEN + HEADER_LEN) as u64;

const PREDECESSOR: usize = 0;
const PREDECESSOR_END: usize = 8;
const FIRST_SEQNO: usize = 16;
const ZEROS: usize = 24;
const CRC: usize = 60;

const FIELDS: &[Field] = &[
    field(PREDECESSOR, 8, "predecessor number"),
    field(PREDECESSOR_END, 8, "predecessor end"),
    field(FIRST_SEQNO, 8, "first seqno"),
    field(ZEROS, CRC - ZEROS, "zero"),
    field(CRC, 4, "crc32 of file id and bytes 0..60"),
];

/// The layout of the segment header.
pub const LAYOUT: Layout = Layout { name: "segment header", len: HEADER_LEN, fields: FIELDS };

/// The second half of a segment's prologue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment before this one; 0: there is none.
    pub predecessor: FileNumber,
    /// Bytes of the predecessor up to the end of its last frame; 0 if there is none.
    pub predecessor_end: u64,
    /// The sequence number that the first batch of this segment has, if it gets one.
    pub first_seqno: Seqno,
}

impl SegmentHeader {
    /// That of a segment which was prepared and not begun.
    pub const NOT_BEGUN: Self = Self { predecessor: 0, predecessor_end: 0, first_seqno: 0 };

    /// The bytes of the segment header of the file with this id.
    pub fn encode(&self, file: &FileId) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        set(&mut out, PREDECESSOR, &self.predecessor.to_le_bytes());
        set(&mut out, PREDECESSOR_END, &self.predecessor_end.to_le_bytes());
        set(&mut out, FIRST_SEQNO, &self.first_seqno.to_le_bytes());
        let sum = crc(&[&file.0, &out[..CRC]]);
        set(&mut out, CRC, &sum.to_le_bytes());
        out
    }

    /// Reads the segment header; `bytes` begin behind the file header. Offsets of errors count
    /// from there.
    pub fn decode(bytes: &[u8], file: &FileId) -> Result<Self> {
        let header = Fixed::new(&LAYOUT, bytes)?;
        let (stored, computed) = (header.u32(CRC), crc(&[&file.0, header.bytes(0..CRC)]));
        if stored != computed {
            let expected = format!("crc {computed:08x}");
            return Err(header.corrupt(CRC, expected, format!("{stored:08x}")));
        }
        header.zeros(ZEROS..CRC)?;
        Ok(Self {
            predecessor: header.u64(PREDECESSOR),
            predecessor_end: header.u64(PREDECESSOR_END),
            first_seqno: header.u64(FIRST_SEQNO),
        })
    }
}

/// Whether segment `number`, of `store` if one is given, was never begun: it is empty, holds nothing but
/// zeros, or its prologue says so, and no frame is there that says otherwise.
pub fn was_never_begun(bytes: &[u8], number: FileNumber, store: Option<StoreId>) -> bool {
    if bytes.iter().all(|byte| *byte == 0) {
        return true;
    }
    let Ok((file, segment)) = decode_prologue(bytes, number, store) else { return false };
    let no_frame = || Walk::new(bytes, PROLOGUE_LEN, u64::MAX, file.id).next().is_none();
    segment == SegmentHeader::NOT_BEGUN && no_frame()
}

/// So many of the first bytes of a segment, or all if it has less, [`reach_if_not_begun`] looks at.
pub const HEAD_LEN: u64 = SECTOR + frame::HEADER_LEN as u64;

/// How many of the first bytes of a segment decide whether it [`was_never_begun`], if its prologue says so;
/// `None` if it does not. `head` are [`HEAD_LEN`] bytes of it.
pub fn reach_if_not_begun(head: &[u8], number: FileNumber, store: Option<StoreId>) -> Option<u64> {
    let (_, segment) = decode_prologue(head, number, store).ok()?;
    (segment == SegmentHeader::NOT_BEGUN).then(|| frame::reach(head, PROLOGUE_LEN))
}

/// The file id of a segment, and the sequence number that its first batch has; `None` if its prologue is
/// damaged, whichever segment it is.
pub fn identity(bytes: &[u8]) -> Option<(FileId, Seqno)> {
    let number = FileHeader::decode(bytes).ok()?.number;
    let (file, segment) = decode_prologue(bytes, number, None).ok()?;
    Some((file.id, segment.first_seqno))
}

/// Reads the prologue of segment `number`, of `store` if one is given.
///
/// # Errors
/// Those of [`FileHeader::decode_expecting`] and of [`SegmentHeader::decode`].
pub fn decode_prologue(
    bytes: &[u8],
    number: FileNumber,
    store: Option<StoreId>,
) -> Result<(FileHeader, SegmentHeader)> {
    let file = FileHeader::decode_expecting(bytes, FileKind::Log, store, number)?;
    let rest = bytes.get(file_header::HEADER_LEN..).unwrap_or_default();
    let segment = SegmentHeader::decode(rest, &file.id)
        .map_err(|error| error.at(file_header::HEADER_LEN as u64))?;
    Ok((file, segment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fields, FrameKind};
    use proptest::prelude::*;

    const FILE: FileHeader =
        FileHeader { kind: FileKind::Log, store: StoreId([1; 16]), number: 7, id: FileId([2; 16]) };

    #[test]
    fn what_was_never_begun_is_known() {
        let not_begun = [FILE.encode(), SegmentHeader::NOT_BEGUN.encode(&FILE.id)].concat();
        let never = |bytes: &[u8]| was_never_begun(bytes, 7, Some(FILE.store));
        assert!(never(&not_begun) && never(&[]) && never(&[0; 9]));
        assert!(!was_never_begun(&not_begun, 8, None), "of another number");
        let begun = SegmentHeader { first_seqno: 1, ..SegmentHeader::NOT_BEGUN };
        assert!(!never(&[FILE.encode(), begun.encode(&FILE.id)].concat()));
        let mut damaged = not_begun.clone();
        damaged[70] ^= 1;
        assert!(!never(&damaged));
        // Its prologue was written, and lost.
        let mut lost = not_begun;
        lost.resize(4096, 0);
        let start = frame::begin(&mut lost);
        let (offset, previous_end) = (4096, PROLOGUE_LEN);
        let kind = FrameKind::Group;
        let fields = Fields { kind, count: 1, first: 3, synced: 0, offset, previous_end };
        frame::finish(&mut lost, start, &FILE.id, &fields);
        assert!(!never(&lost));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let segment = SegmentHeader { predecessor: 6, predecessor_end: 999, first_seqno: 40 };
        let bytes = [FILE.encode(), segment.encode(&FILE.id)].concat();
        assert_eq!(decode_prologue(&bytes, 7, Some(FILE.store)), Ok((FILE, segment)));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_prologue(&bad, 7, None).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&bytes[64..], &FileId([3; 16])).is_err());
        assert!(decode_prologue(&bytes[..127], 7, None).is_err());
    }

    proptest! {
        /// Whatever stands where the first frame would: of this life or an earlier one, whole or damaged.
        #[test]
        fn a_part_of_a_segment_says_whether_it_was_begun(
            at in prop_oneof![Just(128_u64), Just(4096), Just(192)],
            own: bool,
            len in 0..9_000_usize,
            behind in 0..5_000_usize,
            damage in prop::option::of(0..14_000_usize),
        ) {
            let mut bytes = [FILE.encode(), SegmentHeader::NOT_BEGUN.encode(&FILE.id)].concat();
            bytes.resize(at as usize, 0);
            let start = frame::begin(&mut bytes);
            bytes.resize(bytes.len() + len, 7);
            let kind = FrameKind::Group;
            let fields =
                Fields { kind, count: 1, first: 3, synced: 0, offset: at, previous_end: PROLOGUE_LEN };
            let id = if own { FILE.id } else { FileId([9; 16]) };
            frame::finish(&mut bytes, start, &id, &fields);
            bytes.resize(bytes.len() + behind, 0);
            if let Some(byte) = damage.and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1;
            }
            let head = &bytes[..bytes.len().min(HEAD_LEN as usize)];
            let all = was_never_begun(&bytes, 7, None);
            match reach_if_not_begun(head, 7, None) {
                None => prop_assert!(!all),
                Some(reach) => {
                    let part = &bytes[..bytes.len().min(reach as usize)];
                    prop_assert_eq!(was_never_begun(part, 7, None), all);
                    prop_assert!(damage.is_some() || reach as usize <= HEAD_LEN as usize + len);
                }
            }
        }

        #[test]
        fn round_trip(predecessor: u64, predecessor_end: u64, first_seqno: u64, id: [u8; 16]) {
            let segment = SegmentHeader { predecessor, predecessor_end, first_seqno };
            let bytes = segment.encode(&FileId(id));
            prop_assert_eq!(SegmentHeader::decode(&bytes, &FileId(id)), Ok(segment));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode_prologue(&bytes, 7, None);
            let _ = decode_prologue(&[&FILE.encode()[..], &bytes].concat(), 7, None);
        }
    }
}
