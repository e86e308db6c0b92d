//! Runs of entries that a scan returns as they are: nothing between them is hidden, and none of them is.
//!
//! Whoever has found where a run ends need not look at kinds, sequence numbers and expiries again.

use super::search::{Column, Parsed};
use super::{FLAG_EXPIRY, FLAG_KINDS, FLAG_SEQNOS};
use crate::ids::{AsOf, Kind};
use std::ops::Range;

/// Entries that are looked at for a run: whoever goes on behind a short one looks at them again.
const RUN: usize = 32;

/// How many numbers follow the first one, each greater than the one before.
fn ascending<C: Copy, N: Ord>(column: Option<&[C]>, number: impl Fn(C) -> N) -> usize {
    let pairs = column.unwrap_or_default().windows(2);
    pairs.take_while(|pair| number(pair[0]) < number(pair[1])).count()
}

/// How many numbers come before the last one and up to it, each greater than the one before it.
fn ascending_back<C: Copy, N: Ord>(column: Option<&[C]>, number: impl Fn(C) -> N) -> usize {
    let pairs = column.unwrap_or_default().windows(2).rev();
    pairs.take_while(|pair| number(pair[0]) < number(pair[1])).count()
}

impl<B: AsRef<[u8]>> Parsed<B> {
    /// How many entries follow entry `i`, before `end`, of which each is a value that a reader sees, and has another key
    /// than the one before it, as far as the column of numbers tells. It may be said to be fewer, since no more than 32
    /// are looked at.
    pub fn plain_run(&self, i: usize, end: usize, as_of: AsOf) -> usize {
        let entries = i..end.min(self.count).min(i.saturating_add(RUN + 1));
        let ascending = match self.column() {
            Column::Four(column) => ascending(column.get(entries), u32::from_le_bytes),
            Column::Eight(column) => ascending(column.get(entries), u64::from_le_bytes),
        };
        let start = i.saturating_add(1);
        let mut run = start..start.saturating_add(ascending);
        if self.flags & FLAG_KINDS != 0 {
            let kinds = self.kinds().get(run.clone()).unwrap_or_default();
            run.end = run.start + kinds.iter().take_while(|kind| **kind == Kind::Put as u8).count();
        }
        if self.flags & FLAG_EXPIRY != 0 {
            let is_there = |of: &&[u8; 8]| lasts(**of, as_of);
            run.end = run.start + self.expiries_of(&run).iter().take_while(is_there).count();
        }
        if self.flags & FLAG_SEQNOS != 0 {
            let is_seen = |of: &&[u8; 8]| u64::from_le_bytes(**of) <= as_of.seqno;
            return self.seqnos_of(&run).iter().take_while(is_seen).count();
        }
        if self.base_seqno <= as_of.seqno { run.len() } else { 0 }
    }

    /// How many entries from entry `i` back, none before `start`, are each a value that a reader sees, and have another
    /// key than the one before, as far as the column of numbers tells. The first entry is none of them, since the one
    /// before it is in another block; and no more than 32 are looked at.
    pub fn plain_run_back(&self, i: usize, start: usize, as_of: AsOf) -> usize {
        if i >= self.count {
            return 0;
        }
        let end = i + 1;
        let before = end.saturating_sub(RUN).max(start).max(1) - 1;
        let ascending = match self.column() {
            Column::Four(column) => ascending_back(column.get(before..end), u32::from_le_bytes),
            Column::Eight(column) => ascending_back(column.get(before..end), u64::from_le_bytes),
        };
        let mut run = end - ascending..end;
        if self.flags & FLAG_KINDS != 0 {
            let kinds = self.kinds().get(run.clone()).unwrap_or_default();
            let puts = kinds.iter().rev().take_while(|kind| **kind == Kind::Put as u8).count();
            run.start = end - puts;
        }
        if self.flags & FLAG_EXPIRY != 0 {
            let is_there = |of: &&[u8; 8]| lasts(**of, as_of);
            run.start = end - self.expiries_of(&run).iter().rev().take_while(is_there).count();
        }
        if self.flags & FLAG_SEQNOS != 0 {
            let is_seen = |of: &&[u8; 8]| u64::from_le_bytes(**of) <= as_of.seqno;
            return self.seqnos_of(&run).iter().rev().take_while(is_seen).count();
        }
        if self.base_seqno <= as_of.seqno { run.len() } else { 0 }
    }

    fn seqnos_of(&self, run: &Range<usize>) -> &[[u8; 8]] {
        self.seqnos().as_chunks().0.get(run.clone()).unwrap_or_default()
    }

    fn expiries_of(&self, run: &Range<usize>) -> &[[u8; 8]] {
        self.expiries().as_chunks().0.get(run.clone()).unwrap_or_default()
    }
}

/// Whether an entry with this in the column of expiries has not expired for a reader.
fn lasts(expiry: [u8; 8], as_of: AsOf) -> bool {
    match u64::from_le_bytes(expiry) {
        0 => true,
        expiry => !as_of.has_passed(Some(expiry)),
    }
}
