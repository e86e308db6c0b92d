//! Filters: a blocked Bloom filter, one cache line a key. It says "not here" or "perhaps".
//!
//! A key sets one bit in each of the eight 64-bit lanes of one line; a look-up reads that line
//! and no other.

use crate::ids::DatabaseId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a line.
pub const LINE_LEN: usize = 64;

/// Lanes of a line, and bits a key sets.
pub const LANES: usize = 8;

/// The most bits a key that a filter is built with.
pub const MAX_BITS_PER_KEY: u32 = 64;

/// Spreads database ids over seeds.
const SEED_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// One odd multiplier a lane: what is left of the product behind [`PLACE_SHIFT`], 6 bits, is the place of the lane's bit.
pub const MULTIPLIERS: [u32; LANES] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// See [`MULTIPLIERS`].
pub const PLACE_SHIFT: i32 = 26;

/// The hash of a key of a database: what filters hold.
#[inline]
pub fn hash(database: DatabaseId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, u64::from(database.0).wrapping_mul(SEED_FACTOR))
}

/// The line of a hash among `lines`. The upper half of the hash chooses the line, the lower half
/// the bits in it.
#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    let lines = u32::try_from(lines).unwrap_or(u32::MAX);
    (((hash >> 32) * u64::from(lines)) >> 32) as usize
}

/// The bit of a hash in a lane: 0 to 63.
#[inline]
fn place_of(hash: u64, lane: usize) -> u32 {
    (hash as u32).wrapping_mul(MULTIPLIERS[lane]) >> PLACE_SHIFT
}

/// Where the line of a hash begins in so many bytes of lines; `None` if they are none.
#[inline]
pub fn line_at(bytes: u64, hash: u64) -> Option<u64> {
    let lines = bytes / LINE_LEN as u64;
    let line = line_of(hash, usize::try_from(lines).ok()?) as u64;
    (line < lines).then_some(line * LINE_LEN as u64)
}

/// The line of a hash; `None` if these are no lines.
#[inline]
pub fn line(lines: &[u8], hash: u64) -> Option<&[u8; LINE_LEN]> {
    let (lines, rest) = lines.as_chunks::<LINE_LEN>();
    lines.get(line_of(hash, lines.len())).filter(|_| rest.is_empty())
}

/// Whether a hash may have been added. Lines that are none at all say "perhaps".
#[inline]
pub fn may_contain(lines: &[u8], hash: u64) -> bool {
    let Some(line) = line(lines, hash) else { return true };
    let (lanes, _) = line.as_chunks::<8>();
    // The bit of each lane, at the place of the first.
    let mut all = 1;
    for (lane, bits) in lanes.iter().enumerate() {
        all &= u64::from_le_bytes(*bits) >> place_of(hash, lane);
    }
    all == 1
}

/// Collects hashes and makes a filter of them.
#[derive(Clone, Debug)]
pub struct FilterBuilder {
    bits_per_key: u32,
    /// In parts of [`PART`]: to move millions when there is no room for one more takes milliseconds, in which other
    /// threads wait for the allocator.
    parts: Vec<Vec<u64>>,
}

/// Hashes that are kept in one piece.
const PART: usize = 8 << 10;

impl FilterBuilder {
    /// A builder of filters with so many bits a key: 1 to [`MAX_BITS_PER_KEY`], others are
    /// brought into the range. 10 gives about 1.2 % false "perhaps".
    pub fn new(bits_per_key: u32) -> Self {
        Self { bits_per_key: bits_per_key.clamp(1, MAX_BITS_PER_KEY), parts: Vec::new() }
    }

    /// Adds a hash. One that was added just before (another version of its key) counts once.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        match self.parts.last_mut() {
            Some(part) if part.last() == Some(&hash) => {}
            Some(part) if part.len() < PART => part.push(hash),
            _ => {
                let mut part = Vec::with_capacity(if self.parts.is_empty() { 0 } else { PART });
                part.push(hash);
                self.parts.push(part);
            }
        }
    }

    /// Hashes added.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// Whether no hash was added.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The lines of the filter; at least one.
    pub fn finish(self) -> Vec<u8> {
        let bits = self.len() as u64 * u64::from(self.bits_per_key);
        let count = bits.div_ceil(8 * LINE_LEN as u64).clamp(1, u64::from(u32::MAX));
        let mut lines = vec![[0u64; LANES]; count as usize];
        for hash in self.parts.into_iter().flatten() {
            let line = &mut lines[line_of(hash, count as usize)];
            for (lane, bits) in line.iter_mut().enumerate() {
                *bits |= 1 << place_of(hash, lane);
            }
        }
        lines.iter().flatten().flat_map(|bits| bits.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(keys: impl Iterator<Item = u64>, bits: u32) -> Vec<u8> {
        let mut builder = FilterBuilder::new(bits);
        keys.for_each(|key| builder.add(hash(DatabaseId(16), &key.to_le_bytes())));
        builder.finish()
    }

    #[test]
    fn few_are_taken_for_another() {
        let lines = filter(0..20_000, 10);
        assert_eq!(lines.len(), (20_000usize * 10).div_ceil(512) * LINE_LEN);
        let wrong = |database| {
            (20_000..40_000u64)
                .filter(|key| may_contain(&lines, hash(database, &key.to_le_bytes())))
                .count()
        };
        assert!(wrong(DatabaseId(16)) < 400, "{} of 20000", wrong(DatabaseId(16)));
        assert!(wrong(DatabaseId(17)) < 400);
        let same_key = |key: &u64| may_contain(&lines, hash(DatabaseId(17), &key.to_le_bytes()));
        assert!((0..20_000u64).filter(same_key).count() < 400, "databases do not meet");
    }

    #[test]
    fn odd_lines_say_perhaps() {
        let lines = filter(0..1, 1);
        assert_eq!(lines.len(), LINE_LEN);
        let hash = hash(DatabaseId(16), b"absent");
        assert!(!may_contain(&lines, hash));
        assert!(may_contain(&lines[..63], hash));
        assert!(may_contain(&[], hash));
        assert_eq!(FilterBuilder::new(10).finish(), [0; LINE_LEN]);
    }

    #[test]
    fn a_repeated_hash_counts_once() {
        let mut builder = FilterBuilder::new(10);
        assert!(builder.is_empty());
        [5, 5, 5, 6].into_iter().for_each(|hash| builder.add(hash));
        assert_eq!(builder.len(), 2);
    }

    proptest! {
        #[test]
        fn none_is_missed(hashes: Vec<u64>, bits in 0u32..100) {
            let mut builder = FilterBuilder::new(bits);
            hashes.iter().for_each(|hash| builder.add(*hash));
            let lines = builder.finish();
            prop_assert!(hashes.iter().all(|hash| may_contain(&lines, *hash)));
        }

        #[test]
        fn any_lines_are_asked(lines: Vec<u8>, hash: u64) {
            let _ = may_contain(&lines, hash);
        }
    }
}
