//! `SUPER`, the entrance of a store: which manifest is in force.
//!
//! Three sectors: the file header, then two slots that are written in turn, so that the one in
//! force is never the one being written.

use crate::checksum::crc;
use crate::error::{DecodeError, Result};
use crate::file_header::{FileHeader, FileKind, HEADER_LEN};
use crate::ids::{FileId, FileNumber, StoreId};
use crate::layout::{Field, Fixed, Layout, field, set, zeros};
use crate::limits::{MAX_GENERATION, SECTOR};

/// Bytes of a slot.
pub const SLOT_LEN: usize = 4096;

/// Bytes of the file.
pub const FILE_LEN: usize = 3 * SLOT_LEN;

const GENERATION: usize = 0;
const STORE: usize = 8;
const ORIGIN: usize = 24;
const MANIFEST_NUMBER: usize = 40;
const MANIFEST_ID: usize = 48;
const SECTOR_SIZE: usize = 64;
const EDITS: usize = 68;
const ZEROS: usize = 76;
const CRC: usize = 4092;

const FIELDS: &[Field] = &[
    field(GENERATION, 8, "generation"),
    field(STORE, 16, "store id"),
    field(ORIGIN, 16, "origin store id"),
    field(MANIFEST_NUMBER, 8, "manifest number"),
    field(MANIFEST_ID, 16, "manifest file id"),
    field(SECTOR_SIZE, 4, "sector size"),
    field(EDITS, 8, "edits"),
    field(ZEROS, CRC - ZEROS, "zero"),
    field(CRC, 4, "crc32 of bytes 0..4092"),
];

/// The layout of a slot.
pub const LAYOUT: Layout = Layout { name: "superblock slot", len: SLOT_LEN, fields: FIELDS };

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Counts the writes of superblocks of this store, from 1.
    pub generation: u64,
    /// The id of the store; that of the file's header.
    pub store: StoreId,
    /// The store this one was copied from by a checkpoint.
    pub origin: Option<StoreId>,
    /// The number of the manifest in force.
    pub manifest_number: FileNumber,
    /// Its file id.
    pub manifest_id: FileId,
    /// Bytes of a sector. Version 1: always 4096.
    pub sector_size: u32,
    /// The manifest holds at least so many edits: they were on the device before this was written.
    pub edits: u64,
}

/// A superblock file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The header of the file.
    pub header: FileHeader,
    /// The valid slot of the highest generation.
    pub newest: Superblock,
    /// Why the other slot is not valid, if it was written at all. The store opens without it; a
    /// crash during its write leaves it like this.
    pub bad_slot: Option<DecodeError>,
}

/// Where the slot of a generation lies in the file: odd ones in slot A, even ones in slot B.
pub fn slot_offset(generation: u64) -> u64 {
    if generation % 2 == 1 { SECTOR } else { 2 * SECTOR }
}

impl Superblock {
    /// The bytes of the slot, [`SLOT_LEN`] of them.
    pub fn encode_slot(&self) -> Vec<u8> {
        let mut out = vec![0; SLOT_LEN];
        set(&mut out, GENERATION, &self.generation.to_le_bytes());
        set(&mut out, STORE, &self.store.0);
        set(&mut out, ORIGIN, &self.origin.unwrap_or_default().0);
        set(&mut out, MANIFEST_NUMBER, &self.manifest_number.to_le_bytes());
        set(&mut out, MANIFEST_ID, &self.manifest_id.0);
        set(&mut out, SECTOR_SIZE, &self.sector_size.to_le_bytes());
        set(&mut out, EDITS, &self.edits.to_le_bytes());
        let sum = crc(&[&out[..CRC]]);
        set(&mut out, CRC, &sum.to_le_bytes());
        out
    }
}

/// The whole file with one slot written.
pub fn encode_file(header: &FileHeader, superblock: &Superblock) -> Vec<u8> {
    let mut out = vec![0; FILE_LEN];
    set(&mut out, 0, &header.encode());
    let at = if slot_offset(superblock.generation) == SECTOR { SLOT_LEN } else { 2 * SLOT_LEN };
    set(&mut out, at, &superblock.encode_slot());
    out
}

/// Reads the whole file. The newest valid slot wins.
///
/// # Errors
/// Those of the file header; a corruption if no slot is valid, with the error of a slot that was
/// written.
pub fn decode_file(bytes: &[u8]) -> Result<Decoded> {
    let header = FileHeader::decode_expecting(bytes, FileKind::Superblock, None, 0)?;
    if bytes.len() != FILE_LEN {
        return Err(DecodeError::corrupt(
            "superblock",
            bytes.len().min(FILE_LEN) as u64,
            format!("{FILE_LEN} bytes"),
            format!("{} bytes", bytes.len()),
        ));
    }
    zeros("superblock", &bytes[HEADER_LEN..SLOT_LEN], HEADER_LEN as u64)?;
    let a = decode_slot(&bytes[SLOT_LEN..2 * SLOT_LEN], &header, SECTOR);
    let b = decode_slot(&bytes[2 * SLOT_LEN..], &header, 2 * SECTOR);
    let decoded = |newest, bad_slot| Ok(Decoded { header, newest, bad_slot });
    match (a, b) {
        (Ok(Some(a)), Ok(Some(b))) => {
            decoded(if a.generation > b.generation { a } else { b }, None)
        }
        (Ok(Some(slot)), Ok(None)) | (Ok(None), Ok(Some(slot))) => decoded(slot, None),
        (Ok(Some(slot)), Err(bad)) | (Err(bad), Ok(Some(slot))) => decoded(slot, Some(bad)),
        (Err(bad), _) | (_, Err(bad)) => Err(bad),
        (Ok(None), Ok(None)) => {
            Err(DecodeError::corrupt("superblock", SECTOR, "a written slot", "only zeros"))
        }
    }
}

/// The slot at `offset` of the file; `None` if it was never written.
fn decode_slot(bytes: &[u8], header: &FileHeader, offset: u64) -> Result<Option<Superblock>> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    checked_slot(bytes, header, offset).map(Some).map_err(|error| error.at(offset))
}

fn checked_slot(bytes: &[u8], header: &FileHeader, offset: u64) -> Result<Superblock> {
    let slot = Fixed::new(&LAYOUT, bytes)?;
    let (stored, computed) = (slot.u32(CRC), crc(&[slot.bytes(0..CRC)]));
    if stored != computed {
        let expected = format!("crc {computed:08x}");
        return Err(slot.corrupt(CRC, expected, format!("{stored:08x}")));
    }
    let superblock = Superblock {
        generation: slot.u64(GENERATION),
        store: StoreId(slot.array(STORE)),
        origin: Some(StoreId(slot.array(ORIGIN))).filter(|id| *id != StoreId::default()),
        manifest_number: slot.u64(MANIFEST_NUMBER),
        manifest_id: FileId(slot.array(MANIFEST_ID)),
        sector_size: slot.u32(SECTOR_SIZE),
        edits: slot.u64(EDITS),
    };
    let Superblock { generation, store, sector_size, .. } = superblock;
    if !(1..=MAX_GENERATION).contains(&generation) || slot_offset(generation) != offset {
        let parity = if offset == SECTOR { "odd" } else { "even" };
        let expected = format!("an {parity} generation from 1 to {MAX_GENERATION}");
        return Err(slot.corrupt(GENERATION, expected, generation.to_string()));
    }
    if store != header.store {
        return Err(slot.corrupt(STORE, format!("store {}", header.store), store.to_string()));
    }
    if u64::from(sector_size) != SECTOR {
        return Err(slot.corrupt(SECTOR_SIZE, SECTOR.to_string(), sector_size.to_string()));
    }
    slot.zeros(ZEROS..CRC)?;
    Ok(superblock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use proptest::prelude::*;

    const STORE_ID: StoreId = StoreId([1; 16]);
    const HEADER: FileHeader =
        FileHeader { kind: FileKind::Superblock, store: STORE_ID, number: 0, id: FileId([2; 16]) };

    fn generation(generation: u64) -> Superblock {
        Superblock {
            generation,
            store: STORE_ID,
            origin: None,
            manifest_number: 10 + generation,
            manifest_id: FileId([3; 16]),
            sector_size: 4096,
            edits: generation % 3,
        }
    }

    fn file(slots: &[Superblock]) -> Vec<u8> {
        let mut out = encode_file(&HEADER, &slots[0]);
        for slot in slots {
            set(&mut out, slot_offset(slot.generation) as usize, &slot.encode_slot());
        }
        out
    }

    #[test]
    fn the_newest_valid_slot_wins() {
        let (one, two, three) = (generation(1), generation(2), generation(3));
        let newest = |bytes: &[u8]| decode_file(bytes).map(|d| (d.newest, d.bad_slot.is_some()));
        assert_eq!(newest(&file(&[one])), Ok((one, false)));
        assert_eq!(newest(&file(&[two])), Ok((two, false)));
        assert_eq!(newest(&file(&[one, two])), Ok((two, false)));
        assert_eq!(newest(&file(&[two, three])), Ok((three, false)));
        let mut torn = file(&[two, three]);
        torn[SLOT_LEN + 100] = 1;
        assert_eq!(newest(&torn), Ok((two, true)));
        torn[2 * SLOT_LEN + 100] = 1;
        assert_eq!(newest(&torn).unwrap_err().reason, Reason::Corrupt);
    }

    #[test]
    fn a_slot_in_the_wrong_place_is_bad() {
        let mut bytes = file(&[generation(2)]);
        bytes[SLOT_LEN..2 * SLOT_LEN].copy_from_slice(&generation(4).encode_slot());
        let decoded = decode_file(&bytes).unwrap();
        assert_eq!(decoded.newest, generation(2));
        assert_eq!(decoded.bad_slot.unwrap().offset, SECTOR);
        let foreign = Superblock { store: StoreId([9; 16]), ..generation(1) };
        assert!(decode_file(&file(&[foreign])).is_err());
        // There must be one more to write.
        let last = Superblock { generation: u64::MAX, ..generation(1) };
        assert!(decode_file(&file(&[last])).is_err());
        let odd_sector = Superblock { sector_size: 512, ..generation(1) };
        assert!(decode_file(&file(&[odd_sector])).is_err());
    }

    #[test]
    fn sizes_and_free_bytes() {
        let bytes = file(&[generation(1)]);
        assert!(decode_file(&bytes[..FILE_LEN - 1]).is_err());
        assert!(decode_file(&[&bytes[..], &[0]].concat()).is_err());
        let mut dirty = bytes.clone();
        dirty[HEADER_LEN] = 1;
        assert!(decode_file(&dirty).is_err());
        assert!(decode_file(&encode_file(&HEADER, &generation(1))[..64]).is_err());
        let mut empty = bytes;
        empty[SLOT_LEN..].fill(0);
        assert!(decode_file(&empty).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(
            generation in 1..=MAX_GENERATION,
            origin: Option<[u8; 16]>,
            manifest_number: u64,
            manifest_id: [u8; 16],
        ) {
            let origin = origin.filter(|id| *id != [0; 16]).map(StoreId);
            let manifest_id = FileId(manifest_id);
            let slot = Superblock {
                generation, store: STORE_ID, origin, manifest_number, manifest_id, sector_size: 4096,
                edits: generation % 5,
            };
            let decoded = decode_file(&encode_file(&HEADER, &slot)).unwrap();
            prop_assert_eq!(decoded, Decoded { header: HEADER, newest: slot, bad_slot: None });
        }

        #[test]
        fn a_flipped_bit_is_seen(bit in 0..FILE_LEN * 8) {
            let mut bytes = file(&[generation(1), generation(2)]);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode_file(&bytes);
            prop_assert!(decoded.is_err() || decoded.unwrap().bad_slot.is_some());
        }
    }
}
