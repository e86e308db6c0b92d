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

/// Times that are kept of those that were added, at most: those of every so-manyth entry.
const SAMPLE: usize = 1024;

/// Finds [`Expiries`] while entries come.
#[derive(Debug, Default)]
pub struct ExpiriesBuilder {
    entries: u64,
    latest: u64,
    sample: Vec<u64>,
    /// Entries between two of the sample.
    skipped: u64,
}

impl ExpiriesBuilder {
    /// The expiry of one more entry.
    pub fn add(&mut self, expiry: u64) {
        if self.entries.is_multiple_of(self.skipped + 1) {
            self.sample.push(expiry);
            if self.sample.len() == SAMPLE {
                let mut keep = false;
                self.sample.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.skipped = 2 * self.skipped + 1;
            }
        }
        self.entries += 1;
        self.latest = self.latest.max(expiry);
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
