//! Making checksums right again over bytes that were changed.

use std::ops::Range;

use orlop_formats::checksum::{self, Place};
use orlop_formats::filename::FileName;
use orlop_formats::frame::HEADER_LEN;
use orlop_formats::ids::FileId;
use orlop_formats::{superblock, varint};

use super::anatomy::{Anatomy, Frame, Part};
use super::image::Files;

/// Where a frame's header says how long its payload is.
pub const PAYLOAD_LEN: usize = 8;

/// A CRC-32 behind the bytes it covers, with a file's id before them or not. Nothing happens where
/// there are not so many bytes.
pub fn crc(bytes: &mut [u8], over: Range<usize>, id: Option<FileId>) {
    let Some(covered) = bytes.get(over.clone()) else { return };
    let sum = checksum::crc(&[id.as_ref().map_or(&[][..], |id| &id.0), covered]);
    if let Some(place) = bytes.get_mut(over.end..over.end + 4) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// A frame's checksum, over as many bytes as it says it has, or as it had if those are not there.
pub fn frame(bytes: &mut [u8], frame: &Frame, id: &FileId) {
    let start = frame.range.start;
    let said = varint::u32_at(bytes, start + PAYLOAD_LEN).unwrap_or(0) as usize;
    let end = start + HEADER_LEN + said;
    let end = if end <= bytes.len() { end } else { frame.range.end };
    let Some(covered) = bytes.get(start + 4..end) else { return };
    let sum = checksum::crc(&[&id.0, covered]);
    bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum of a part of a table; the manifest learns that of a footer. `None` if the part is
/// not there.
pub fn part(files: &mut Files, anatomy: &Anatomy, at: usize) -> Option<()> {
    let part = &anatomy.parts[at];
    let place = Place { store: anatomy.store, file: FileName::parse(&part.file)?.number()? };
    let bytes = files.get_mut(&part.file)?;
    let (body, end) = (part.body(), part.range.end);
    let before = bytes.get(body.end..end)?.to_vec();
    let sum = checksum::block(&bytes[body.clone()], &place, body.start as u64).to_le_bytes();
    bytes[body.end..end].copy_from_slice(&sum);
    if part.part == Part::Footer {
        let size = (bytes.len() as u64).to_le_bytes();
        tell(files, anatomy, &[&size[..], &before].concat(), &[size, sum].concat())?;
    }
    Some(())
}

/// Replaces length and footer checksum of a table in every edit of the manifest that has them.
pub fn tell(files: &mut Files, anatomy: &Anatomy, before: &[u8], after: &[u8]) -> Option<()> {
    let id = anatomy.id_of(&anatomy.manifest)?;
    let bytes = files.get_mut(&anatomy.manifest)?;
    for edit in &anatomy.edits {
        let payload = edit.payload();
        let found = bytes.get(payload.clone())?.windows(before.len()).position(|at| at == before);
        if let Some(at) = found {
            let start = payload.start + at;
            bytes[start..start + after.len()].copy_from_slice(after);
            frame(bytes, edit, &id);
        }
    }
    Some(())
}

/// Every checksum of a store whose bytes were changed but whose parts lie where they lay.
pub fn everything(files: &mut Files, anatomy: &Anatomy) {
    for at in 0..anatomy.parts.len() {
        // What is cut off has no checksum.
        let _ = part(files, anatomy, at);
    }
    for (name, id) in &anatomy.ids {
        let Some(bytes) = files.get_mut(name) else { continue };
        crc(bytes, 0..60, None);
        match FileName::parse(name) {
            Some(FileName::Log(_)) => crc(bytes, 64..124, Some(*id)),
            Some(FileName::Superblock) => {
                for slot in [superblock::SLOT_LEN, 2 * superblock::SLOT_LEN] {
                    crc(bytes, slot..slot + superblock::SLOT_LEN - 4, None);
                }
            }
            _ => {}
        }
    }
    for one in anatomy.edits.iter().chain(&anatomy.groups) {
        if let (Some(bytes), Some(id)) = (files.get_mut(&one.file), anatomy.id_of(&one.file)) {
            frame(bytes, one, &id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::{anatomy, reference};

    #[test]
    fn a_changed_store_with_its_checksums_made_right_is_whole_again() {
        let set = reference::closed().unwrap();
        let taken = anatomy::dissect(&set.files).unwrap();
        let mut files = set.files.clone();
        everything(&mut files, &taken);
        assert!(files == set.files, "right checksums are left as they are");
        // Any bits make a filter: the table is as whole as before.
        for filter in taken.parts.iter().filter(|part| part.part == Part::Filter) {
            if let Some(byte) = files.get_mut(&filter.file).unwrap()[filter.body()].first_mut() {
                *byte ^= 1;
            }
        }
        assert!(anatomy::dissect(&files).is_err());
        everything(&mut files, &taken);
        assert!(anatomy::dissect(&files).is_ok());
    }
}
