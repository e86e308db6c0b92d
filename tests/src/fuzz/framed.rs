//! Targets of what is appended: frames, segments and batches, manifests and edits.

use orlop_formats::batch::{self as batches, Op, Ops, read_batches};
use orlop_formats::checksum::crc;
use orlop_formats::file_header::{FileHeader, FileKind, HEADER_LEN as FILE_HEADER_LEN};
use orlop_formats::frame::{self as frames, ALIGN, Fields, Frame, HEADER_LEN, Walk, later_proof};
use orlop_formats::ids::{FileId, StoreId};
use orlop_formats::log::{self, SegmentHeader};
use orlop_formats::manifest::{self as manifests, VersionEdit};
use orlop_formats::stage;
use orlop_formats::varint::u32_at;

const FILE: FileId = FileId([0xb0; 16]);
const STORE: StoreId = StoreId([0xa0; 16]);

/// Gives what stands at every place where a frame follows the one before its offset, the end of
/// that one, a payload that fits, and its checksum. Frames follow each other then, if what else
/// their headers say is right.
fn made_right(bytes: &mut [u8], prologue: usize) {
    let mut end = prologue;
    loop {
        let start = end.next_multiple_of(ALIGN as usize);
        let Some(room) = bytes.len().checked_sub(start + HEADER_LEN) else { return };
        let said = u32_at(bytes, start + 8).unwrap_or(0) as usize;
        let len = if said <= room { said } else { said % (room + 1) };
        for (at, value) in [(8, len), (32, start), (36, end)] {
            bytes[start + at..start + at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        let next = start + HEADER_LEN + len;
        let sum = crc(&[&FILE.0, &bytes[start + 4..next]]);
        bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        end = next;
    }
}

fn fields(frame: &Frame<'_>) -> Fields {
    let Frame { kind, count, first, synced, offset, previous_end, .. } = *frame;
    Fields { kind, count, first, synced, offset, previous_end }
}

/// Goes through all frames and writes each again.
fn walk<'a>(bytes: &'a [u8], prologue: usize) -> Vec<Frame<'a>> {
    let mut walk = Walk::new(bytes, prologue as u64, u64::MAX, FILE);
    let found: Vec<Frame<'a>> = walk.by_ref().collect();
    for frame in &found {
        let mut out = Vec::new();
        let start = frames::begin(&mut out);
        out.extend_from_slice(frame.payload);
        frames::finish(&mut out, start, &FILE, &fields(frame));
        assert_eq!(out, bytes[frame.offset as usize..frame.end() as usize], "one spelling");
        assert_eq!(frames::decode(bytes, frame.offset, &FILE).as_ref(), Ok(frame));
        let proof = later_proof(bytes, frame.offset, &FILE, frame.synced.saturating_sub(1));
        assert!(frame.synced == 0 || proof.is_some(), "a frame proves what it says");
    }
    assert!(walk.end() <= bytes.len() as u64 || found.is_empty());
    let _ = (walk.stop(), later_proof(bytes, walk.end(), &FILE, 0));
    found
}

/// Frames of a file of any kind.
pub fn frame(input: &[u8]) -> bool {
    walk(input, 0);
    let mut bytes = input.to_vec();
    made_right(&mut bytes, 0);
    !walk(&bytes, 0).is_empty()
}

/// A segment of the log: segment header, then frames of batches.
pub fn segment(input: &[u8]) -> bool {
    let header = FileHeader { kind: FileKind::Log, store: STORE, number: 12, id: FILE };
    let mut bytes = [&header.encode()[..], input].concat();
    let prologue = log::PROLOGUE_LEN as usize;
    let _ = log::decode_prologue(input, 12, None);
    let _ = log::decode_prologue(&bytes, 12, Some(STORE));
    bytes.resize(bytes.len().max(prologue), 0);
    let sum = crc(&[&FILE.0, &bytes[FILE_HEADER_LEN..prologue - 4]]);
    bytes[prologue - 4..prologue].copy_from_slice(&sum.to_le_bytes());
    let Ok((file, segment)) = log::decode_prologue(&bytes, 12, Some(STORE)) else { return false };
    assert_eq!(file, header);
    assert_eq!(segment.encode(&FILE)[..], bytes[FILE_HEADER_LEN..prologue], "one spelling");
    assert_eq!(SegmentHeader::decode(&segment.encode(&FILE), &FILE), Ok(segment));
    made_right(&mut bytes, prologue);
    for frame in walk(&bytes, prologue) {
        ops_of(frame.payload, frame.count);
    }
    from_stage(&bytes, &segment);
    true
}

/// Takes the end of a segment away, and completes it from a stage that has all of it, or any bytes.
fn from_stage(whole: &[u8], segment: &SegmentHeader) {
    let prologue = log::PROLOGUE_LEN as usize;
    let mut ring = whole.to_vec();
    ring.resize(ring.len().next_multiple_of(4096), 0);
    let whole_end = Walk::new(whole, prologue as u64, u64::MAX, FILE).last().map(|f| f.end());
    let middle = prologue + (whole.len() - prologue) / 2;
    let mut cut = whole.to_vec();
    cut[middle..].fill(0);
    let before = cut.clone();
    let (own, end) =
        stage::complete(&mut cut, prologue as u64, (&FILE, segment.first_seqno), &ring);
    assert!(own <= end && end <= whole.len() as u64);
    assert_eq!(cut[..own as usize], before[..own as usize], "its own frames stay");
    let first = frames::decode(whole, prologue as u64, &FILE).map(|frame| frame.first);
    if own > prologue as u64 || first == Ok(segment.first_seqno) {
        assert_eq!(Some(end).filter(|end| *end > prologue as u64), whole_end);
    }
    ring.rotate_left(64);
    stage::complete(&mut cut, prologue as u64, (&FILE, 1), &ring);
    let _ =
        (stage::ring(whole, 12, None), stage::check(whole), log::was_never_begun(whole, 12, None));
}

/// Reads the batches of a group and writes them again.
fn ops_of(payload: &[u8], count: u32) -> bool {
    let mut out = Vec::new();
    for ops in read_batches(payload, count) {
        let Ok(ops) = ops else { return false };
        let start = batches::begin(&mut out);
        let mut written = 0;
        for op in ops {
            let Ok(op) = op else { return false };
            batches::push(&mut out, &op);
            written += 1;
        }
        batches::finish(&mut out, start, written);
    }
    assert_eq!(out, payload, "batches have one spelling");
    true
}

/// The payload of a group; the first byte says of how many batches.
pub fn batch(input: &[u8]) -> bool {
    let Some((count, payload)) = input.split_first() else { return false };
    let _ = Ops::of(payload).map(|ops| ops.collect::<Vec<_>>());
    let count = u32::from(*count);
    if ops_of(payload, count) {
        return true;
    }
    // The same bytes as ops of one batch: the head is what random bytes do not get right.
    let mut one = Vec::new();
    let start = batches::begin(&mut one);
    one.extend_from_slice(payload);
    (1..5).any(|ops| {
        batches::finish(&mut one, start, ops);
        let read: Result<Vec<Op<'_>>, _> = match Ops::of(&one) {
            Ok(read) => read.collect(),
            Err(error) => Err(error),
        };
        assert!(read.as_ref().is_err() || read.is_ok_and(|read| read.len() == ops as usize));
        ops_of(&one, 1)
    })
}

/// A version edit.
pub fn edit(input: &[u8]) -> bool {
    let Ok(edit) = VersionEdit::decode(input) else { return false };
    let mut out = Vec::new();
    edit.encode(&mut out);
    assert_eq!(VersionEdit::decode(&out).as_ref(), Ok(&edit), "what is written is read");
    true
}

/// A manifest behind its header: frames of edits.
pub fn manifest(input: &[u8]) -> bool {
    let header = FileHeader { kind: FileKind::Manifest, store: STORE, number: 12, id: FILE };
    let mut bytes = [&header.encode()[..], input].concat();
    let prologue = manifests::PROLOGUE_LEN as usize;
    walk(&bytes, prologue);
    made_right(&mut bytes, prologue);
    walk(&bytes, prologue).iter().filter(|frame| edit(frame.payload)).count() > 0
}
