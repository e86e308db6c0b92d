//! When the entries of a table expire, as far as a table says it as a whole.

use crate::tagged::Field;
use crate::varint::{self, u64_at};

use crate::error::Result;

/// Parts in which entries are counted.
const PARTS: usize = 8;

/// How many entries of a table have an expiry, and by when how many of them have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// Entries with an expiry; at least one.
    pub entries: u64,
    /// By when one, two, … eighths of them have expired, in milliseconds since 1970, ascending. The last one is exact,
    /// the others are about right.
    pub eighths: [u64; PARTS],
}

impl Expiries {
    /// About how many entries have expired at a time; all of them from the last expiry on, and no sooner.
    pub fn expired(&self, now: u64) -> u64 {
        let parts = self.eighths.iter().take_while(|at| **at <= now).count();
        (u128::from(self.entries) * parts as u128 / PARTS as u128) as u64
    }

    /// When so many have expired, or more; `None`: never.
    pub fn when(&self, expired: u64) -> Option<u64> {
        self.eighths.iter().copied().find(|at| self.expired(*at) >= expired)
    }

    /// The field's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, self.entries);
        self.eighths.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
        out
    }

    pub(super) fn decode(field: &Field<'_>) -> Result<Self> {
        let mut at = 0;
        let entries = varint::get(field.bytes, &mut at).filter(|entries| *entries > 0);
        let times = field.bytes.get(at..).unwrap_or_default();
        let eighths = std::array::from_fn(|part| u64_at(times, part * 8).unwrap_or(0));
        match entries {
            Some(entries) if times.len() == PARTS * 8 && eighths.is_sorted() && eighths[0] > 0 => {
                Ok(Self { entries, eighths })
            }
            _ => Err(field.corrupt("entries with an expiry, and eight times that ascend")),
        }
    }
}

/// Times that are kept of those that were added, at most.
const SAMPLE: usize = 1024;

/// Finds [`Expiries`] while entries come, from a sample in which each is as likely as any other, however their expiries
/// follow each other (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R). The same entries give the same.
#[derive(Debug, Default)]
pub struct ExpiriesBuilder {
    entries: u64,
    latest: u64,
    sample: Vec<u64>,
}

impl ExpiriesBuilder {
    /// The expiry of one more entry.
    pub fn add(&mut self, expiry: u64) {
        let place = self.place() as usize;
        if self.sample.len() < SAMPLE {
            self.sample.push(expiry);
        } else if let Some(other) = self.sample.get_mut(place) {
            *other = expiry;
        }
        self.entries += 1;
        self.latest = self.latest.max(expiry);
    }

    /// A number below that of the entries with the next one, by dice that its number throws (SplitMix64).
    fn place(&self) -> u64 {
        let mut mixed = self.entries.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % (self.entries + 1)
    }

    /// What was added; `None`: nothing.
    pub fn finish(mut self) -> Option<Expiries> {
        self.sample.sort_unstable();
        let last = self.sample.len().checked_sub(1)?;
        let mut eighths = std::array::from_fn(|part| {
            let behind = (last + 1) * (part + 1) / PARTS;
            self.sample.get(behind.saturating_sub(1)).copied().unwrap_or(self.latest)
        });
        eighths[PARTS - 1] = self.latest;
        Some(Expiries { entries: self.entries, eighths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Option<Expiries> {
        let mut builder = ExpiriesBuilder::default();
        times.into_iter().for_each(|at| builder.add(at));
        builder.finish()
    }

    #[test]
    fn shares_are_told_about_right() {
        assert_eq!(of([]), None);
        let few = of([7, 5, 9]).unwrap();
        assert_eq!((few.expired(8), few.expired(9), few.when(1)), (2, 3, Some(5)));
        let many = of((0..100_000).map(|n| 1 + n * 7919 % 100_000)).unwrap();
        for part in 1..=8 {
            let exact = part as u64 * 12_500;
            let off = many.eighths[part - 1].abs_diff(exact);
            assert!(off < 3_000, "{part} eighths: {off} off");
        }
        // Those that take turns are seen in equal parts, whichever comes first.
        for first in 0..2 {
            let turns = of((0..50_000).map(|n| if n % 2 == first { 10 } else { 1_000 })).unwrap();
            assert!((18_000..32_000).contains(&turns.expired(10)), "{}", turns.expired(10));
        }
        assert_eq!(many.expired(0), 0);
        assert_eq!(many.expired(99_999), 87_500);
        assert_eq!((many.expired(100_000), many.when(100_001)), (100_000, None));
    }

    proptest! {
        #[test]
        fn all_have_expired_with_the_last(times in vec(1u64.., 1..3_000)) {
            let found = of(times.iter().copied()).unwrap();
            let last = *times.iter().max().unwrap();
            prop_assert_eq!((found.entries, found.eighths[7]), (times.len() as u64, last));
            prop_assert!(found.eighths.is_sorted() && found.eighths[0] > 0);
            prop_assert_eq!(found.expired(last), found.entries);
            prop_assert!(found.expired(last - 1) < found.entries);
            prop_assert_eq!(found.when(found.entries), Some(last));
        }
    }
}
