//! Two checksums. CRC-32 guards small headers and frames of the log; a 64-bit hash guards
//! blocks, and is bound to the place of the block, so that a block that was swapped with another,
//! or that an older file left behind, does not pass.
//!
//! The place is added to the hash of the bytes rather than hashed with them: a block that a
//! compaction moves unchanged gets a new checksum without being read again.

use crate::error::{DecodeError, Result};
use crate::ids::{FileNumber, StoreId};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a block's checksum.
pub const CHECKSUM_LEN: usize = 8;

/// The file a block lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The store of the file.
    pub store: StoreId,
    /// The number of the file.
    pub file: FileNumber,
}

/// CRC-32 (IEEE 802.3) of what was hashed to `before`, and then `bytes`.
#[inline]
pub fn crc_behind(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// CRC-32 (IEEE 802.3) of the parts, one after the other.
#[inline]
pub fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// CRC-32 (IEEE 802.3) of bytes that come one after the other, whatever comes before them.
#[derive(Clone, Debug, Default)]
pub struct Running {
    hasher: crc32fast::Hasher,
    len: u64,
}

impl Running {
    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// How many bytes there were.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there was none yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The checksum of what was hashed to `before`, and then these bytes.
    pub fn behind(&self, before: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(before);
        hasher.combine(&self.hasher);
        hasher.finalize()
    }
}

/// The checksum of a block whose first byte lies at `offset` of its file.
#[inline]
pub fn block(bytes: &[u8], place: &Place, offset: u64) -> u64 {
    xxh3_64(bytes).wrapping_add(mix(place, offset))
}

fn mix(place: &Place, offset: u64) -> u64 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&place.store.0);
    bytes[16..24].copy_from_slice(&place.file.to_le_bytes());
    bytes[24..].copy_from_slice(&offset.to_le_bytes());
    xxh3_64(&bytes)
}

/// The checksum of the same block at another place, without its bytes.
#[inline]
pub fn moved(checksum: u64, from: (&Place, u64), to: (&Place, u64)) -> u64 {
    checksum.wrapping_sub(mix(from.0, from.1)).wrapping_add(mix(to.0, to.1))
}

/// Appends the checksum of `out[start..]`, a block that will lie at `offset` of its file.
///
/// # Panics
/// If `start` is behind the end of `out`.
pub fn seal(out: &mut Vec<u8>, start: usize, place: &Place, offset: u64) {
    let sum = block(&out[start..], place, offset);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Verifies a sealed block that lies at `offset` of its file, and gives its bytes without the
/// checksum. The error's offset is `offset`.
pub fn open<'a>(
    sealed: &'a [u8],
    place: &Place,
    offset: u64,
    what: &'static str,
) -> Result<&'a [u8]> {
    let Some((body, stored)) = sealed.split_last_chunk::<CHECKSUM_LEN>() else {
        let found = format!("{} bytes", sealed.len());
        return Err(DecodeError::corrupt(what, offset, "a sealed block of 8 bytes or more", found));
    };
    let (stored, computed) = (u64::from_le_bytes(*stored), block(body, place, offset));
    if stored == computed {
        return Ok(body);
    }
    Err(DecodeError::corrupt(
        what,
        offset,
        format!("checksum {computed:016x}"),
        format!("{stored:016x}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: Place = Place { store: StoreId([7; 16]), file: 12 };

    #[test]
    fn crc_is_the_ieee_one() {
        assert_eq!(crc(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc(&[b"1234", b"", b"56789"]), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn a_running_one_fits_behind_any_other(before: Vec<u8>, parts: Vec<Vec<u8>>) {
            let mut running = Running::default();
            prop_assert!(running.is_empty());
            parts.iter().for_each(|part| running.update(part));
            prop_assert_eq!(running.len(), parts.concat().len() as u64);
            let all = [before.clone(), parts.concat()].concat();
            prop_assert_eq!(running.behind(crc(&[&before])), crc(&[&all]));
        }
    }

    #[test]
    fn a_block_belongs_to_its_place() {
        let mut sealed = b"payload".to_vec();
        seal(&mut sealed, 0, &HERE, 4096);
        assert_eq!(open(&sealed, &HERE, 4096, "block"), Ok(&b"payload"[..]));
        let error = open(&sealed, &HERE, 8192, "block").unwrap_err();
        assert_eq!((error.what, error.offset), ("block", 8192));
        let other_file = Place { file: 13, ..HERE };
        assert!(open(&sealed, &other_file, 4096, "block").is_err());
        let other_store = Place { store: StoreId([8; 16]), ..HERE };
        assert!(open(&sealed, &other_store, 4096, "block").is_err());
        assert!(open(&sealed[..7], &HERE, 4096, "block").is_err());
    }

    proptest! {
        #[test]
        fn moving_needs_no_bytes(bytes: Vec<u8>, from: u64, to: u64, file: u64) {
            let there = Place { file, ..HERE };
            let sum = moved(block(&bytes, &HERE, from), (&HERE, from), (&there, to));
            prop_assert_eq!(sum, block(&bytes, &there, to));
        }

        #[test]
        fn any_bytes_are_opened_or_refused(bytes: Vec<u8>, offset: u64) {
            let _ = open(&bytes, &HERE, offset, "block");
        }

        #[test]
        fn every_flipped_bit_is_seen(bytes in proptest::collection::vec(any::<u8>(), 1..300), bit: usize) {
            let mut sealed = bytes;
            seal(&mut sealed, 0, &HERE, 64);
            let bit = bit % (sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&sealed, &HERE, 64, "block").is_err());
        }
    }
}
