//! Readers that believe a frame whatever its checksum says: they make the checksums right first.

use std::path::Path;

use orlop_formats::checksum::crc;
use orlop_formats::frame::{ALIGN, Frame, HEADER_LEN, Walk};
use orlop_formats::ids::{FileId, Seqno};
use orlop_formats::limits::SECTOR;
use orlop_formats::log;

use crate::env::Env;

/// Where the fields of a frame's header stand (SPEC "frame").
const COVERED: usize = 4;
const PAYLOAD_LEN: usize = 8;
const FIRST: usize = 16;
const OFFSET: usize = 32;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The id in a file's header.
fn id_of(bytes: &[u8]) -> FileId {
    FileId(array(bytes, 40).unwrap_or_default())
}

/// The checksum of what stands at `at`, if that may be a frame.
fn checksum_at(bytes: &[u8], at: usize, id: FileId) -> Option<[u8; 4]> {
    let own = u32::from_le_bytes(array(bytes, at + OFFSET)?);
    let len = u32::from_le_bytes(array(bytes, at + PAYLOAD_LEN)?) as usize;
    let covered = bytes.get(at + COVERED..(at + HEADER_LEN).checked_add(len)?)?;
    (own as usize == at).then(|| crc(&[&id.0, covered]).to_le_bytes())
}

/// The bytes of a segment or manifest with every frame's checksum made right.
pub(crate) fn believed(mut bytes: Vec<u8>) -> Vec<u8> {
    let id = id_of(&bytes);
    for at in (0..bytes.len()).step_by(ALIGN as usize).skip(1) {
        if let Some(sum) = checksum_at(&bytes, at, id) {
            bytes[at..at + 4].copy_from_slice(&sum);
        }
    }
    bytes
}

/// The bytes of a segment in which each frame's `first` is what it should be, where that alone
/// makes its checksum right.
pub(crate) fn renumbered(mut bytes: Vec<u8>) -> Vec<u8> {
    let id = id_of(&bytes);
    while let Some((at, first)) = first_refused(&bytes, id) {
        let damaged: [u8; 8] = array(&bytes, at + FIRST).unwrap_or_default();
        bytes[at + FIRST..at + FIRST + 8].copy_from_slice(&first.to_le_bytes());
        if damaged == first.to_le_bytes() || checksum_at(&bytes, at, id) != array(&bytes, at) {
            bytes[at + FIRST..at + FIRST + 8].copy_from_slice(&damaged);
            break;
        }
    }
    bytes
}

/// The first place where a frame should be and none is, and the `first` it should have.
fn first_refused(bytes: &[u8], id: FileId) -> Option<(usize, Seqno)> {
    let mut first = u64::from_le_bytes(array(bytes, 80)?);
    let mut walk = Walk::new(bytes, log::PROLOGUE_LEN, u64::MAX, id).expecting(first);
    first = walk.by_ref().last().map_or(first, |frame| frame.next_first());
    let places = [ALIGN, SECTOR].map(|to| walk.end().next_multiple_of(to) as usize);
    places.into_iter().find(|at| checksum_at(bytes, *at, id).is_some()).map(|at| (at, first))
}

/// The `first` of a frame as the file has it.
pub(crate) fn first_on_disk(env: &dyn Env, path: &Path, frame: &Frame<'_>) -> Seqno {
    let bytes = env.read(path).unwrap_or_default();
    array(&bytes, frame.offset as usize + FIRST).map_or(frame.first, u64::from_le_bytes)
}
