//! Entries of a block that were copied out of its columns: their keys, and where their values are.

use super::search::{Column, Parsed};
use super::{FLAG_TAILS, FLAG_WIDE};
use std::ops::Range;

/// See the module. Whoever walks over them looks at nothing but this, and need not check anything again.
#[derive(Debug, Default)]
pub struct Rows {
    /// Bytes of the prefix that their keys have in common.
    prefix: usize,
    /// What follows it, as the first of eight bytes.
    numbers: Vec<u64>,
    /// How many of these are of the key; if there are none, `width`.
    shorts: Vec<u8>,
    width: usize,
    /// Where their tails are in `tails`, and where the last one ends; none if they have no tails.
    tail_offsets: Vec<u32>,
    tails: Vec<u8>,
    /// Where their values are in the plain values, and where the last one ends.
    value_offsets: Vec<u32>,
}

impl Rows {
    /// Brings the key of entry `at` of these into `out`, which holds that of another entry of the same block.
    #[inline]
    pub fn next_key_into(&self, at: usize, out: &mut Vec<u8>) {
        let number = self.numbers.get(at).copied().unwrap_or_default();
        let short = self.shorts.get(at).map_or(self.width, |short| usize::from(*short));
        out.truncate(self.prefix);
        // All eight at once, which takes one store, and those that are too many off again.
        out.extend_from_slice(&number.to_be_bytes());
        out.truncate(self.prefix + short);
        if let Some(tail) = between(&self.tail_offsets, at) {
            out.extend_from_slice(self.tails.get(tail).unwrap_or_default());
        }
    }

    /// Where the value of entry `at` of these lies in the plain values; nowhere if there is no such entry.
    #[inline]
    pub fn value(&self, at: usize) -> Range<usize> {
        between(&self.value_offsets, at).unwrap_or_default()
    }
}

#[inline]
fn between(offsets: &[u32], at: usize) -> Option<Range<usize>> {
    match offsets.get(at..)? {
        [start, end, ..] => Some(*start as usize..*end as usize),
        _ => None,
    }
}

impl<B: AsRef<[u8]>> Parsed<B> {
    /// Copies entries in place of those that `out` has, up to the first that breaks a rule. Gives how many they are.
    pub fn rows_into(&self, entries: Range<usize>, out: &mut Rows) -> usize {
        let entries = entries.start..entries.end.min(self.count);
        let column = self.column();
        (out.prefix, out.width) = (self.prefix().len(), column.width());
        out.numbers.clear();
        match column {
            Column::Four(column) => {
                let column = column.get(entries.clone()).unwrap_or_default();
                let numbers = column.iter().map(|v| u64::from(u32::from_le_bytes(*v)) << 32);
                out.numbers.extend(numbers);
            }
            Column::Eight(column) => {
                let column = column.get(entries.clone()).unwrap_or_default();
                out.numbers.extend(column.iter().map(|v| u64::from_le_bytes(*v)));
            }
        }
        out.shorts.clear();
        let shorts = self.shorts().get(entries.clone()).unwrap_or_default();
        out.shorts.extend(shorts.iter().map(|short| (*short).min(out.width as u8)));
        let tails = self.tails_into(entries.clone(), out);
        self.offsets_into(self.value_offsets(), entries, &mut out.value_offsets);
        let values = good(&out.value_offsets, self.plain_len);
        out.numbers.len().min(tails).min(values)
    }

    /// How many of the entries have a tail inside of the block.
    fn tails_into(&self, entries: Range<usize>, out: &mut Rows) -> usize {
        out.tail_offsets.clear();
        out.tails.clear();
        if self.flags & FLAG_TAILS == 0 {
            return usize::MAX;
        }
        self.offsets_into(self.tail_offsets(), entries, &mut out.tail_offsets);
        let good = good(&out.tail_offsets, self.tails().len());
        let start = out.tail_offsets.first().copied().unwrap_or_default();
        let end = out.tail_offsets.get(good).copied().unwrap_or_default();
        let tails = self.tails().get(start as usize..end as usize).unwrap_or_default();
        out.tails.extend_from_slice(tails);
        out.tail_offsets.truncate(good + 1);
        out.tail_offsets.iter_mut().for_each(|offset| *offset -= start);
        good
    }

    /// The offsets of entries, and the end of the last one.
    fn offsets_into(&self, table: &[u8], entries: Range<usize>, out: &mut Vec<u32>) {
        out.clear();
        let offsets = entries.start..entries.end.saturating_add(1);
        if self.flags & FLAG_WIDE == 0 {
            let table = table.as_chunks().0.get(offsets).unwrap_or_default();
            out.extend(table.iter().map(|offset| u32::from(u16::from_le_bytes(*offset))));
        } else {
            let table = table.as_chunks().0.get(offsets).unwrap_or_default();
            out.extend(table.iter().map(|offset| u32::from_le_bytes(*offset)));
        }
    }
}

/// How many of the first stretches between offsets end behind where they begin, and none behind `end`.
fn good(offsets: &[u32], end: usize) -> usize {
    let is_good = |pair: &&[u32]| pair[0] <= pair[1] && pair[1] as usize <= end;
    offsets.windows(2).take_while(is_good).count()
}
