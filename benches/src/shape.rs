//! Keys and values: how they look, and which belongs to which number.
//!
//! Entry number *n* always has the same key and the same value, so that every answer can be
//! checked. Keys ascend with their numbers.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::engine::touch;
use crate::failure::{Failure, Result};

/// How a number becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyShape {
    /// Decimal digits, zeros in front.
    Decimal,
    /// 8 bytes, most significant first, then `'0'` up to the size: what `db_bench` does.
    Binary,
    /// A prefix that all keys share, then 16 decimal digits.
    Prefixed,
    /// A prefix that so many keys share as [`OF_A_TENANT`] says, then 16 decimal digits.
    Tenants,
}

impl FromStr for KeyShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "decimal" => Ok(Self::Decimal),
            "binary" => Ok(Self::Binary),
            "prefixed" => Ok(Self::Prefixed),
            "tenants" => Ok(Self::Tenants),
            _ => Err("there are decimal, binary, prefixed and tenants".to_owned()),
        }
    }
}

/// The sizes and forms of one run's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) key_shape: KeyShape,
    /// Bytes of a key.
    pub(crate) key_size: usize,
    /// Bytes of a value.
    pub(crate) value_size: usize,
}

/// The shared part of [`KeyShape::Prefixed`], repeated as needed.
const PREFIX: &[u8] = b"tenant/0017/collection/measurements/";

/// The shared part of [`KeyShape::Tenants`], repeated as needed; the tenant's number stands in its
/// begin.
const TENANT_PREFIX: &[u8] = b"tenant/00000000/collection/measurements/";

/// Where the digits of a tenant's number stand.
const TENANT: std::ops::Range<usize> = 7..15;

/// Keys that follow each other and have the same tenant: hundreds of blocks.
const OF_A_TENANT: u64 = 10_000;

/// Decimal digits of a number, where they are not all of the key.
const DIGITS: usize = 16;

impl Shape {
    /// Refuses shapes that cannot tell 100 billion keys apart, or that some engine cannot hold.
    pub(crate) fn check(&self) -> Result<()> {
        let least = match self.key_shape {
            KeyShape::Decimal => 11,
            KeyShape::Binary => 8,
            KeyShape::Prefixed => DIGITS + 1,
            KeyShape::Tenants => TENANT.end + DIGITS,
        };
        // LMDB takes keys of up to 511 bytes; readmissing adds one.
        if !(least..=510).contains(&self.key_size) {
            return Err(Failure::usage(format!(
                "--key-size {} does not do for these keys: from {least} to 510 bytes",
                self.key_size
            )));
        }
        if !(LEAST_VALUE..=16 << 20).contains(&self.value_size) {
            return Err(Failure::usage(format!(
                "--value-size {} is out of range: from {} bytes to 16 MiB",
                self.value_size, LEAST_VALUE
            )));
        }
        Ok(())
    }

    /// Bytes of user data in one entry.
    pub(crate) fn entry_size(&self) -> u64 {
        (self.key_size + self.value_size) as u64
    }

    /// Writes the key of entry `number` into `key`, which is [`Shape::key_size`] long.
    pub(crate) fn write_key(&self, number: u64, key: &mut [u8]) {
        match self.key_shape {
            KeyShape::Decimal => write_decimal(number, key),
            KeyShape::Binary => {
                let (head, tail) = key.split_at_mut(8);
                head.copy_from_slice(&number.to_be_bytes());
                tail.fill(b'0');
            }
            KeyShape::Prefixed => {
                write_decimal(number, write_head(PREFIX, key));
            }
            KeyShape::Tenants => {
                write_decimal(number, write_head(TENANT_PREFIX, key));
                write_decimal(number / OF_A_TENANT, &mut key[TENANT]);
            }
        }
    }

    /// The key of entry `number`.
    pub(crate) fn key(&self, number: u64) -> Vec<u8> {
        let mut key = vec![0; self.key_size];
        self.write_key(number, &mut key);
        key
    }
}

/// Writes the shared part into `key`, as often as needed; what is left for the number.
fn write_head<'a>(shared: &[u8], key: &'a mut [u8]) -> &'a mut [u8] {
    let (head, tail) = key.split_at_mut(key.len() - DIGITS);
    for (byte, shared) in head.iter_mut().zip(shared.iter().cycle()) {
        *byte = *shared;
    }
    tail
}

fn write_decimal(mut number: u64, key: &mut [u8]) {
    for byte in key.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Bytes of the smallest value: what is looked at of each.
const LEAST_VALUE: usize = 8;

/// Spreads numbers evenly over 64 bits (the finaliser of splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Where values come from: a pool of pieces, each of which is a random run of bytes twice, as in
/// `db_bench`: half compresses away. The value of an entry is a stretch of the pool from the begin
/// of a piece on; its number chooses the piece.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    /// Pieces of the pool that a value can begin with.
    pieces: u64,
    size: usize,
}

/// The bytes of a value that tell its versions apart: some engines notice that a put changes
/// nothing, and do nothing. They lie where [`touch`] looks, so that a version
/// changes the sum.
const STAMP: std::ops::Range<usize> = 0..4;

/// The version of a value that no stamp was put on.
pub(crate) const PLAIN: u32 = 0;

/// Bytes of a piece.
const PIECE: usize = 100;

/// Pieces to choose from: four mebibytes and a half, more than the second cache of a core, so that
/// few values are equal.
const PIECES: usize = 45_000;

impl Values {
    pub(crate) fn new(size: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(301);
        let pieces = PIECES + size.div_ceil(PIECE);
        let mut pool = Vec::with_capacity(pieces * PIECE);
        for _ in 0..pieces {
            let run: [u8; PIECE / 2] = std::array::from_fn(|_| random.u8(b' '..=b'~'));
            pool.extend_from_slice(&run);
            pool.extend_from_slice(&run);
        }
        Self { pool, pieces: PIECES as u64, size }
    }

    /// The value of entry `number`.
    #[inline]
    pub(crate) fn of(&self, number: u64) -> &[u8] {
        // Maps 32 mixed bits evenly onto the pieces.
        let piece = ((mix(number) >> 32) * self.pieces) >> 32;
        &self.pool[piece as usize * PIECE..][..self.size]
    }

    /// What [`touch`] makes of the value of entry `number` in that version.
    pub(crate) fn sum(&self, number: u64, version: u32) -> u64 {
        let plain = self.of(number);
        let (mut old, mut new) = ([0; 8], [0; 8]);
        old.copy_from_slice(&plain[..8]);
        new.copy_from_slice(&plain[..8]);
        if version != PLAIN {
            new[STAMP].copy_from_slice(&version.to_le_bytes());
        }
        let difference = u64::from_le_bytes(new).wrapping_sub(u64::from_le_bytes(old));
        touch(plain).wrapping_add(difference)
    }

    /// The value of entry `number` in a version of its own, not [`PLAIN`], made in `buffer`.
    #[inline]
    pub(crate) fn version<'a>(
        &self,
        number: u64,
        version: u32,
        buffer: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        buffer.clear();
        buffer.extend_from_slice(self.of(number));
        buffer[STAMP].copy_from_slice(&version.to_le_bytes());
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_with_their_numbers_and_are_of_their_size() {
        for (key_shape, key_size) in [
            (KeyShape::Decimal, 16),
            (KeyShape::Binary, 20),
            (KeyShape::Prefixed, 64),
            (KeyShape::Tenants, 31),
            (KeyShape::Tenants, 64),
        ] {
            let shape = Shape { key_shape, key_size, value_size: 100 };
            shape.check().unwrap();
            let numbers = [0, 1, 9, 10, 255, 256, 65_535, 65_536, 99_999_999_999];
            let keys: Vec<_> = numbers.iter().map(|number| shape.key(*number)).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{key_shape:?}");
            assert!(keys.iter().all(|key| key.len() == key_size));
        }
    }

    #[test]
    fn a_shape_that_cannot_hold_its_keys_is_refused() {
        for (key_shape, key_size) in [
            (KeyShape::Decimal, 10),
            (KeyShape::Binary, 7),
            (KeyShape::Prefixed, 16),
            (KeyShape::Tenants, 30),
        ] {
            assert!(Shape { key_shape, key_size, value_size: 100 }.check().is_err());
        }
        let shape = Shape { key_shape: KeyShape::Decimal, key_size: 511, value_size: 100 };
        assert!(shape.check().is_err());
        assert!(Shape { key_size: 16, value_size: 0, ..shape }.check().is_err());
        assert!(Shape { key_size: 16, value_size: 7, ..shape }.check().is_err());
    }

    #[test]
    fn a_tenant_has_its_keys_and_no_others() {
        let shape = Shape { key_shape: KeyShape::Tenants, key_size: 64, value_size: 100 };
        let head = |number| shape.key(number)[..48].to_vec();
        let (first, last) = (3 * OF_A_TENANT, 4 * OF_A_TENANT - 1);
        assert_eq!(head(first), b"tenant/00000003/collection/measurements/tenant/0");
        assert_eq!(head(first), head(last));
        assert_ne!(head(first), head(first - 1));
        assert_ne!(head(last), head(last + 1));
        assert_eq!(&shape.key(first)[48..], b"0000000000030000");
    }

    #[test]
    fn half_of_a_value_compresses_away() {
        for (size, most) in [(100, 0.65), (400, 0.65), (100_000, 0.60)] {
            let values = Values::new(size);
            let packed: usize = (0..100).map(|number| snappy_size(values.of(number))).sum();
            let ratio = packed as f64 / (100 * size) as f64;
            assert!((0.45..most).contains(&ratio), "{size}: {ratio}");
        }
    }

    fn snappy_size(bytes: &[u8]) -> usize {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap().len()
    }

    #[test]
    fn a_version_changes_the_sum_as_foretold() {
        for size in [8, 12, 63, 64, 65, 100, 4096] {
            let values = Values::new(size);
            let mut buffers = (Vec::new(), Vec::new());
            let one = values.version(7, 1, &mut buffers.0);
            let other = values.version(7, 2, &mut buffers.1);
            assert_ne!(touch(one), touch(other));
            assert_eq!(touch(one), values.sum(7, 1));
            assert_eq!(touch(other), values.sum(7, 2));
            assert_eq!(touch(values.of(7)), values.sum(7, 0));
        }
    }

    #[test]
    fn entries_have_values_of_their_own() {
        let values = Values::new(100);
        let mut seen: Vec<_> = (0..1000).map(|number| values.of(number)).collect();
        assert!(seen.iter().all(|value| value.len() == 100));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 990);
        assert_eq!(values.of(5), Values::new(100).of(5));
    }
}
