//! Whether a table holds an entry that it must not: one that is deleted by a range delete which the table says is cleared.
//!
//! The starts and ends of range deletes cut the keys into stretches; the newest over each is found by going over them once,
//! with those that are open at hand, the newest on top.

use std::collections::BinaryHeap;

use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::RangeDelete;

/// See the module. Entries must come in order.
#[derive(Debug, Default)]
pub(super) struct Cleared<'a> {
    /// Ascending; each ends where the next one begins.
    stretches: Vec<Stretch<'a>>,
    /// Those that begin at the last entry or before.
    reached: usize,
}

#[derive(Debug)]
struct Stretch<'a> {
    database: DatabaseId,
    start: &'a [u8],
    newest: Option<&'a RangeDelete>,
}

impl<'a> Cleared<'a> {
    /// Of the range deletes of a version those that are cleared up to a commit.
    pub(super) fn of(ranges: impl Iterator<Item = &'a RangeDelete>, cleared_to: Seqno) -> Self {
        let mut ranges: Vec<_> = ranges.filter(|range| range.seqno <= cleared_to).collect();
        ranges.sort_by(|a, b| (a.database, &a.start).cmp(&(b.database, &b.start)));
        let starts = ranges.iter().map(|range| (range.database, range.start.as_slice()));
        let ends = ranges.iter().filter_map(|of| Some((of.database, of.end.as_deref()?)));
        let mut cuts: Vec<_> = starts.chain(ends).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let (mut open, mut next) = (BinaryHeap::new(), ranges.into_iter().peekable());
        let newest_at = |(database, start): (DatabaseId, &'a [u8])| {
            let begins = |range: &&RangeDelete| {
                (range.database, range.start.as_slice()) <= (database, start)
            };
            while let Some(range) = next.next_if(begins) {
                open.push((range.seqno, range));
            }
            let is_over = |(_, range): &(Seqno, &RangeDelete)| !range.covers(database, start);
            while open.peek().is_some_and(is_over) {
                open.pop();
            }
            Stretch { database, start, newest: open.peek().map(|(_, range)| *range) }
        };
        Self { stretches: cuts.into_iter().map(newest_at).collect(), reached: 0 }
    }

    /// The range delete that deletes an entry, if one does.
    pub(super) fn that_deletes(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        seqno: Seqno,
    ) -> Option<&'a RangeDelete> {
        let begins = |stretch: &Stretch<'_>| (stretch.database, stretch.start) <= (database, key);
        while self.stretches.get(self.reached).is_some_and(begins) {
            self.reached += 1;
        }
        let stretch = self.stretches.get(self.reached.checked_sub(1)?)?;
        let newest = stretch.newest.filter(|_| stretch.database == database)?;
        (newest.seqno > seqno).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_should_be_gone() {
        let range = |seqno, database, start: &str, end: Option<&str>| RangeDelete {
            seqno,
            database: DatabaseId(database),
            start: start.into(),
            end: end.map(Into::into),
        };
        let ranges = [
            range(5, 16, "b", Some("d")),
            range(9, 16, "c", Some("e")),
            range(7, 16, "x", None),
            range(8, 17, "", Some("b")),
        ];
        let mut cleared = Cleared::of(ranges.iter(), 8);
        let mut deleted = |database: u32, key: &str, seqno: Seqno| {
            let by = cleared.that_deletes(DatabaseId(database), key.as_bytes(), seqno);
            by.map(|range| range.seqno)
        };
        assert_eq!(deleted(16, "a", 1), None);
        assert_eq!(deleted(16, "b", 5), None);
        assert_eq!(deleted(16, "c", 4), Some(5));
        // The one of commit 9 is not said to be cleared.
        assert_eq!(deleted(16, "d", 4), None);
        assert_eq!(deleted(16, "z", 6), Some(7));
        assert_eq!(deleted(17, "a", 7), Some(8));
        assert_eq!(deleted(17, "b", 7), None);
    }
}
