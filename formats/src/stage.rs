//! The stage: bytes of the log that are on their way into their segment.
//!
//! A segment is written in large pieces, past the page cache. Until a piece is written, what it will
//! hold stands in the stage, a small file that the process has mapped: whatever becomes of the
//! process, the system still has it. So the stage is never synced, and a power cut may leave anything in
//! it. That does no harm, since a frame is under the checksum of one file and one place.
//!
//! Behind a sector with the file header there is a ring: the byte at offset `o` of the segment lies at
//! `o` modulo its length, unless a later one has taken its place.

use crate::error::{DecodeError, Result};
use crate::file_header::{FileHeader, FileKind};
use crate::frame::{self, Walk};
use crate::ids::{FileId, FileNumber, StoreId};
use crate::limits::{MAX_RING_LEN, SECTOR};

/// Bytes before the ring.
pub const PROLOGUE_LEN: u64 = SECTOR;

/// Where in its stage a byte of a segment lies.
pub fn place(offset: u64, ring_len: u64) -> u64 {
    PROLOGUE_LEN + offset % ring_len.max(1)
}

/// The bytes before the ring of a stage with this header.
pub fn encode_prologue(header: &FileHeader) -> Vec<u8> {
    let mut out = header.encode().to_vec();
    out.resize(PROLOGUE_LEN as usize, 0);
    out
}

/// The ring of stage `number`, of `store` if one is given. It is empty where the file was never begun,
/// or a power cut has left only a part of it.
///
/// # Errors
/// Those of [`FileHeader::decode_expecting`], if there is anything in the place of the header.
pub fn ring(bytes: &[u8], number: FileNumber, store: Option<StoreId>) -> Result<&[u8]> {
    let (prologue, ring) = bytes.split_at_checked(PROLOGUE_LEN as usize).unwrap_or((bytes, &[]));
    if prologue.iter().all(|byte| *byte == 0) {
        return Ok(&[]);
    }
    FileHeader::decode_expecting(prologue, FileKind::Stage, store, number)?;
    let whole = (ring.len() as u64).is_multiple_of(SECTOR) && ring.len() as u64 <= MAX_RING_LEN;
    Ok(if whole { ring } else { &[] })
}

/// Completes a segment: puts the frames that its stage holds behind those that it has itself. `segment`
/// is the whole file, with this id and a prologue that ends at `prologue_end`; `first` is that of its first
/// frame. Gives where its own frames end, and where they end now.
///
/// Between these frames there are zeros. Where the ring goes on with something that was to be the next
/// frame, it is there, too, for whoever judges a torn tail; otherwise bytes behind the last frame stay as
/// they are.
pub fn complete(
    segment: &mut [u8],
    prologue_end: u64,
    (file, first): (&FileId, u64),
    ring: &[u8],
) -> (u64, u64) {
    let mut walk = Walk::new(segment, prologue_end, u64::MAX, *file);
    let first = walk.to_last().map_or(first, |frame| frame.next_first());
    let own = walk.end();
    let Ok(from) = usize::try_from(own) else { return (own, own) };
    let to = segment.len().min(from.saturating_add(ring.len()));
    let Some(behind) = segment.get_mut(from..to).filter(|behind| !behind.is_empty()) else {
        return (own, own);
    };
    let before = behind.to_vec();
    lay_out(behind, own, ring);
    let mut walk = Walk::new(segment, own, to as u64, *file).expecting(first);
    let (mut found, mut next) = (Vec::new(), first);
    for frame in walk.by_ref() {
        found.push((frame.offset as usize - from, frame.end() as usize - from));
        next = frame.next_first();
    }
    let end = walk.end();
    // What was to be the next frame can be torn; where the segment has bytes of its own, these count.
    let kept = (end - own) as usize;
    let is_free = before[kept..].iter().all(|byte| *byte == 0);
    if is_free && frame::was_to_follow(&segment[..to], end, next) {
        found.push((kept, before.len()));
    }
    let mut gap = 0;
    for (start, end) in found {
        segment[from + gap..from + start].fill(0);
        gap = end;
    }
    segment[from + gap..to].copy_from_slice(&before[gap..]);
    (own, end)
}

/// Fills `out`, which begins at `offset` of a segment and is no longer than the ring, from the ring.
fn lay_out(out: &mut [u8], offset: u64, ring: &[u8]) {
    let at = (offset % ring.len() as u64) as usize;
    let (late, early) = ring.split_at(at);
    let len = out.len();
    let (near, far) = out.split_at_mut(early.len().min(len));
    near.copy_from_slice(&early[..near.len()]);
    far.copy_from_slice(&late[..far.len()]);
}

/// Refuses a stage that holds what no stage can.
///
/// # Errors
/// Corrupt: a length that is not that of a prologue and whole sectors, or bytes behind the header that
/// are not zero.
pub fn check(bytes: &[u8]) -> Result<()> {
    let len = bytes.len() as u64;
    let fits = (PROLOGUE_LEN..=PROLOGUE_LEN + MAX_RING_LEN).contains(&len);
    if !fits || !len.is_multiple_of(SECTOR) {
        let expected = format!("a multiple of {SECTOR} bytes, {PROLOGUE_LEN} at least");
        return Err(DecodeError::corrupt("stage", len, expected, format!("{len} bytes")));
    }
    let prologue = bytes.get(crate::file_header::HEADER_LEN..PROLOGUE_LEN as usize);
    match prologue.unwrap_or_default().iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(at) => {
            let at = (crate::file_header::HEADER_LEN + at) as u64;
            Err(DecodeError::corrupt("stage", at, "zeros behind the header", "other bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fields, FrameKind};
    use proptest::prelude::*;

    const FILE: FileId = FileId([7; 16]);
    const START: u64 = 128;

    const RING: u64 = 8 << 10;

    /// Frames with these payloads, one behind the other, in a segment of `len` bytes; and the end of each.
    fn segment(payloads: &[Vec<u8>], len: usize) -> (Vec<u8>, Vec<u64>) {
        let (mut out, mut ends) = (vec![1; START as usize], vec![START]);
        for (n, payload) in payloads.iter().enumerate() {
            let previous_end = *ends.last().unwrap();
            let offset = previous_end.next_multiple_of(frame::ALIGN);
            out.resize(offset as usize, 0);
            let start = frame::begin(&mut out);
            out.extend_from_slice(payload);
            let (kind, first) = (FrameKind::Group, 1 + n as u64);
            let fields = Fields { kind, count: 1, first, synced: 0, offset, previous_end };
            frame::finish(&mut out, start, &FILE, &fields);
            ends.push(out.len() as u64);
        }
        out.resize(out.len().max(len), 0);
        (out, ends)
    }

    /// A ring that has seen all bytes of a segment up to `end`, in order.
    fn ring_of(segment: &[u8], end: u64, len: u64) -> Vec<u8> {
        let mut ring = vec![0; len as usize];
        for (offset, byte) in segment.iter().enumerate().take(end as usize) {
            ring[(place(offset as u64, len) - PROLOGUE_LEN) as usize] = *byte;
        }
        ring
    }

    proptest! {
        #[test]
        fn what_is_staged_completes_its_segment(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 1..60),
            written in 0_usize..60,
            litter: u8,
        ) {
            let (whole, ends) = segment(&payloads, 64 << 10);
            // All behind `written` is on a ring that has come round.
            let last = *ends.last().unwrap();
            let written = *ends[written.min(payloads.len())..].iter().find(|end| last - **end <= RING).unwrap();
            let ring = ring_of(&whole, last, RING);
            let mut cut = whole.clone();
            cut[written as usize..].fill(litter);
            let before = cut.clone();
            let (own, end) = complete(&mut cut, START, (&FILE, 1), &ring);
            prop_assert_eq!(own, written);
            prop_assert_eq!(end, *ends.last().unwrap());
            let mut expected = before;
            for pair in ends.windows(2).filter(|pair| pair[0] >= written) {
                let frame = pair[0].next_multiple_of(frame::ALIGN) as usize..pair[1] as usize;
                expected[pair[0] as usize..frame.start].fill(0);
                expected[frame.clone()].copy_from_slice(&whole[frame]);
            }
            prop_assert!(cut == expected, "frames, and between them zeros");
        }

        #[test]
        fn what_is_of_another_file_or_lost_changes_nothing(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 1..20),
            ring in prop::collection::vec(any::<u8>(), 8192..8193),
        ) {
            let (whole, ends) = segment(&payloads, 64 << 10);
            let mut found = whole.clone();
            let end = *ends.last().unwrap();
            prop_assert_eq!(complete(&mut found, START, (&FILE, 1), &ring), (end, end));
            prop_assert_eq!(&found, &whole);
            let own = ring_of(&whole, end, 32 << 10);
            let mut other = vec![0; 64 << 10];
            let found = complete(&mut other, START, (&FileId([8; 16]), 2), &own);
            prop_assert_eq!(found, (START, START));
            prop_assert!(other.iter().all(|byte| *byte == 0));
            // One that was to follow, and is not whole, is there for whoever judges a torn tail.
            let found = complete(&mut other, START, (&FileId([8; 16]), 1), &own);
            prop_assert_eq!(found, (START, START));
            prop_assert_eq!(&other[128..168], &whole[128..168]);
            // Where the segment has bytes of its own, these count.
            let mut other = vec![3; 64 << 10];
            complete(&mut other, START, (&FileId([8; 16]), 1), &own);
            prop_assert!(other.iter().all(|byte| *byte == 3));
        }

        #[test]
        fn any_bytes_are_a_ring_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            let _ = (ring(&bytes, 7, None), check(&bytes));
            complete(&mut bytes.clone(), START, (&FILE, 1), &bytes);
            complete(&mut bytes.clone(), u64::MAX, (&FILE, 1), &bytes);
        }
    }

    #[test]
    fn a_stage_is_known_by_its_header() {
        let header =
            FileHeader { kind: FileKind::Stage, store: StoreId([1; 16]), number: 9, id: FILE };
        let mut bytes = encode_prologue(&header);
        bytes.resize(3 * SECTOR as usize, 5);
        assert_eq!(ring(&bytes, 9, Some(header.store)).unwrap(), &[5; 2 * SECTOR as usize]);
        assert_eq!(check(&bytes), Ok(()));
        assert!(ring(&bytes, 8, None).is_err());
        assert!(ring(&bytes, 9, Some(StoreId([2; 16]))).is_err());
        bytes[20] ^= 1;
        assert!(ring(&bytes, 9, None).is_err());
        bytes.truncate(2 * SECTOR as usize + 1);
        assert!(check(&bytes).is_err());
        bytes[..SECTOR as usize].fill(0);
        assert_eq!(ring(&bytes, 9, None), Ok(&[][..]));
        assert_eq!(ring(&[], 9, None), Ok(&[][..]));
    }
}
