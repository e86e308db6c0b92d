use super::*;
use crate::error::DecodeError;
use crate::error::Reason;
use crate::limits::SECTOR;
use proptest::prelude::*;

const FILE: FileId = FileId([5; 16]);
const PROLOGUE: u64 = 128;

/// A file with frames of these payload lengths; `true`: synced after it was written.
fn file(frames: &[(usize, bool)]) -> (Vec<u8>, Vec<u64>) {
    let mut out = vec![0xee; PROLOGUE as usize];
    let (mut end, mut synced, mut next) = (PROLOGUE, 0, PROLOGUE);
    let mut offsets = Vec::new();
    for (i, &(len, sync)) in frames.iter().enumerate() {
        out.resize(next as usize, 0);
        offsets.push(next);
        let start = begin(&mut out);
        out.extend((0..len).map(|byte| (byte + i) as u8));
        let first = i as u64 + 1;
        let fields = Fields {
            kind: FrameKind::Group,
            count: 1,
            first,
            synced,
            offset: next,
            previous_end: end,
        };
        finish(&mut out, start, &FILE, &fields);
        end = out.len() as u64;
        next = end.next_multiple_of(if sync { SECTOR } else { ALIGN });
        synced = if sync { first } else { synced };
    }
    (out, offsets)
}

proptest! {
    /// Whoever has the beginning of a frame in hand, and the rest elsewhere, makes the same frame.
    #[test]
    fn a_frame_can_be_finished_before_its_rest(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index,
        first in 1..1_000_u64,
    ) {
        let fields =
            Fields { kind: FrameKind::Group, count: 1, first, synced: 0, offset: 4096, previous_end: 128 };
        let mut whole = Vec::new();
        let start = begin(&mut whole);
        whole.extend_from_slice(&payload);
        let mut parts = whole.clone();
        finish(&mut whole, start, &FILE, &fields);
        let (head, rest) = parts.split_at_mut(HEADER_LEN + at.index(payload.len() + 1));
        let mut running = Running::default();
        running.update(rest);
        finish_before(head, &FILE, &fields, &running);
        prop_assert_eq!(parts, whole);
    }
}

fn walk(bytes: &[u8]) -> (Vec<u64>, u64, Option<DecodeError>) {
    let mut walk = Walk::new(bytes, PROLOGUE, u64::MAX, FILE).expecting(1);
    let offsets = walk.by_ref().map(|frame| frame.offset).collect();
    assert!(walk.next().is_none());
    (offsets, walk.end(), walk.stop().cloned())
}

#[test]
fn finds_frames_on_both_boundaries() {
    let (mut bytes, offsets) =
        file(&[(10, false), (30, true), (0, true), (5000, false), (1, false)]);
    assert_eq!(offsets[1..4], [192, 4096, 8192]);
    let end = bytes.len() as u64;
    assert_eq!(walk(&bytes), (offsets.clone(), end, None));
    bytes.resize(bytes.len() + 100_000, 0);
    assert_eq!(walk(&bytes), (offsets.clone(), end, None));
    bytes.push(1);
    let (found, _, stop) = walk(&bytes);
    assert_eq!(found, offsets);
    assert_eq!(stop.unwrap().offset, bytes.len() as u64 - 1);
}

#[test]
fn a_lost_synced_frame_is_proven_a_torn_one_is_not() {
    let (bytes, offsets) = file(&[(100, true), (100, true), (100, false), (100, false)]);
    let mut lost = bytes.clone();
    lost[offsets[1] as usize + 50] ^= 1;
    let (found, end, stop) = walk(&lost);
    assert_eq!(found, offsets[..1]);
    assert_eq!(stop.unwrap().offset, offsets[1]);
    assert_eq!(later_proof(&lost, end, &FILE, 1), Some((offsets[2], 2)));
    assert_eq!(later_proof(&lost, end, &FileId([6; 16]), 1), None);

    let mut torn = bytes;
    torn[offsets[2] as usize + 50] ^= 1;
    let (found, end, stop) = walk(&torn);
    assert_eq!((found.len(), stop.is_some()), (2, true));
    assert_eq!(later_proof(&torn, end, &FILE, 2), None, "frame 4 is whole, but proves nothing");
}

/// Payloads that look like headers on every boundary: each was hashed to the end of the file, so that
/// some megabytes of a torn value kept an open busy for hours.
#[test]
fn a_search_is_linear_whatever_the_bytes_are() {
    let (mut bytes, offsets) = file(&[(10, true), (8 << 20, false), (10, true), (10, false)]);
    let (start, end) = (offsets[1] as usize, offsets[2] as usize);
    for at in (start + 64..end - 64).step_by(64) {
        let len = (end - at - HEADER_LEN) as u32;
        set(&mut bytes, at + PAYLOAD_LEN, &len.to_le_bytes());
        set(&mut bytes, at + SYNCED, &9_u64.to_le_bytes());
        set(&mut bytes, at + OFFSET, &(at as u32).to_le_bytes());
    }
    let (found, end, _) = walk(&bytes);
    assert_eq!(found, offsets[..1]);
    let begun = std::time::Instant::now();
    assert_eq!(later_proof(&bytes, end, &FILE, 1), Some((offsets[3], 3)));
    assert_eq!(later_proof(&bytes, end, &FILE, 3), None);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_limit_ends_the_walk() {
    let (mut bytes, _) = file(&[(10, false), (10, false)]);
    let first_end = PROLOGUE + 50;
    let mut limited = Walk::new(&bytes, PROLOGUE, first_end, FILE);
    assert_eq!(limited.by_ref().count(), 1);
    assert_eq!((limited.end(), limited.stop()), (first_end, None));
    let mut inside = Walk::new(&bytes, PROLOGUE, first_end + 20, FILE);
    assert_eq!(inside.by_ref().count(), 1);
    assert!(inside.stop().is_some());
    let end = bytes.len() as u64;
    bytes.truncate(bytes.len() - 1);
    let mut short = Walk::new(&bytes, PROLOGUE, end, FILE);
    assert_eq!(short.by_ref().count(), 1);
    assert!(short.stop().is_some());
    let mut missing = Walk::new(&bytes[..first_end as usize], PROLOGUE, end, FILE);
    assert_eq!(missing.by_ref().count(), 1);
    assert!(missing.stop().is_some(), "the close recorded more than there is");
}

#[test]
fn a_frame_must_follow() {
    let (bytes, _) = file(&[(10, false)]);
    assert_eq!(Walk::new(&bytes, PROLOGUE, u64::MAX, FILE).expecting(2).count(), 0);
    assert_eq!(Walk::new(&bytes, PROLOGUE - 1, u64::MAX, FILE).count(), 0);
    assert_eq!(Walk::new(&bytes, PROLOGUE, u64::MAX, FileId([6; 16])).count(), 0);
    assert_eq!(Walk::new(&bytes, u64::MAX, u64::MAX, FILE).count(), 0);
}

#[test]
fn hostile_fields_with_a_right_checksum() {
    let good = file(&[(10, false)]).0;
    let cases: [(usize, &[u8]); 6] = [
        (KIND, &[0]),
        (KIND, &[3]),
        (RESERVED, &[1]),
        (RESERVED_2 + 1, &[1]),
        (COUNT, &[0; 4]),
        (PREVIOUS_END, &[0xff; 4]),
    ];
    let at = PROLOGUE as usize;
    for (field, value) in cases {
        let mut bad = good.clone();
        set(&mut bad, at + field, value);
        let sum = crc(&[&FILE.0, &bad[at + KIND..]]);
        set(&mut bad, at, &sum.to_le_bytes());
        let error = decode(&bad, PROLOGUE, &FILE).unwrap_err();
        assert_eq!(error.reason, Reason::Corrupt);
        assert_eq!(error.offset as usize, at + field);
    }
    let mut long = good;
    set(&mut long, at + PAYLOAD_LEN, &[0xff; 4]);
    assert_eq!(decode(&long, PROLOGUE, &FILE).unwrap_err().offset as usize, at + PAYLOAD_LEN);
}

proptest! {
    #[test]
    fn round_trip(payload: Vec<u8>, count in 1u32.., first: u64, synced: u64, at in 2u64..40, back in 0u64..64) {
        let (offset, previous_end) = (at * ALIGN, at * ALIGN - back);
        let mut out = vec![0; offset as usize];
        let start = begin(&mut out);
        out.extend(&payload);
        let kind = FrameKind::Edit;
        finish(&mut out, start, &FILE, &Fields { kind, count, first, synced, offset, previous_end });
        let frame = decode(&out, offset, &FILE).unwrap();
        prop_assert_eq!(frame.end(), out.len() as u64);
        prop_assert_eq!(
            frame,
            Frame { kind, count, first, synced, offset, previous_end, payload: &payload }
        );
    }

    #[test]
    fn a_flipped_bit_ends_the_walk_there(bit: usize, frame in 0usize..3) {
        let (mut bytes, offsets) = file(&[(20, false), (70, true), (20, false)]);
        let (start, lens) = (offsets[frame] as usize, [60, 110, 60]);
        let bit = bit % (lens[frame] * 8);
        bytes[start + bit / 8] ^= 1 << (bit % 8);
        let (found, _, stop) = walk(&bytes);
        prop_assert_eq!(&found[..], &offsets[..frame]);
        prop_assert!(stop.is_some());
    }

    #[test]
    fn any_bytes_are_walked(bytes: Vec<u8>, prologue: u64, limit: u64, from: u64) {
        let mut walk = Walk::new(&bytes, prologue % 300, limit, FILE);
        walk.by_ref().count();
        Walk::new(&bytes, prologue, limit, FILE).count();
        let _ = later_proof(&bytes, from % 300, &FILE, 0);
        let _ = later_proof(&bytes, from, &FILE, 0);
        let _ = decode(&bytes, from, &FILE);
    }
}

/// A walk over damage may go on at the other boundary. One that is told that all is whole must not come to
/// another end.
#[test]
fn what_is_known_to_be_whole_is_walked_in_the_same_way() {
    let (mut bytes, offsets) = file(&[(100, false), (100, true), (100, false), (5_000, false)]);
    for damaged in [None, Some(offsets[1]), Some(offsets[3])] {
        if let Some(at) = damaged {
            bytes[at as usize + 50] ^= 1;
        }
        let mut first = Walk::new(&bytes, PROLOGUE, u64::MAX, FILE);
        let found: Vec<u64> = first.by_ref().map(|frame| frame.offset).collect();
        for whole in [0, offsets[1], first.end(), u64::MAX] {
            if whole > first.end() && damaged.is_some() {
                continue;
            }
            let mut second = Walk::new(&bytes, PROLOGUE, u64::MAX, FILE).knowing_whole(whole);
            let again: Vec<u64> = second.by_ref().map(|frame| frame.offset).collect();
            assert_eq!((&again, second.end()), (&found, first.end()), "{damaged:?} {whole}");
        }
        let mut third = Walk::new(&bytes, PROLOGUE, u64::MAX, FILE);
        assert_eq!(third.to_last().map(|frame| frame.offset), found.last().copied());
        assert_eq!(third.end(), first.end());
    }
    // A frame at the near boundary that is damaged, and one at the far boundary that follows as well.
    let (whole, offsets) = file(&[(100, true), (100, false)]);
    let end = offsets[0] + (HEADER_LEN + 100) as u64;
    let near = end.next_multiple_of(ALIGN) as usize;
    assert!((near as u64) < offsets[1], "the second one is at the far boundary");
    let mut forged = whole;
    let second = forged[offsets[1] as usize..].to_vec();
    forged[near..near + second.len().min(200)].copy_from_slice(&second[..second.len().min(200)]);
    set(&mut forged, near + OFFSET, &(near as u32).to_le_bytes());
    let mut honest = Walk::new(&forged, PROLOGUE, u64::MAX, FILE);
    let found: Vec<u64> = honest.by_ref().map(|frame| frame.offset).collect();
    let mut told = Walk::new(&forged, PROLOGUE, u64::MAX, FILE).knowing_whole(honest.end());
    assert_eq!(told.by_ref().map(|frame| frame.offset).collect::<Vec<_>>(), found);
    assert_eq!(found, offsets);
}
