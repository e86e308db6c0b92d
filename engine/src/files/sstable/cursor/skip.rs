//! Passing over what was deleted with its range, without reading it.
//!
//! What a range delete covers is covered for every entry that is older. So a table is asked for its newest entry: as far as
//! all is covered that is no newer than that, nothing of the table need be looked at.

use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::TableMeta;

use super::{End, Held, ReadAhead, RunCursor};
use crate::error::Result;
use crate::files::sstable::Table;
use crate::sync::Arc;

/// See [`RunCursor::skip_covered`].
type CoveredTo<'f, 'c> = &'f dyn Fn(&[u8], Seqno) -> Option<Option<&'c [u8]>>;

/// See [`RunCursor::skip_covered_back`].
type CoveredFrom<'f, 'c> = &'f dyn Fn(&[u8], Seqno) -> Option<&'c [u8]>;

/// A bound of a table, to be compared.
fn bound((database, key): &(DatabaseId, Vec<u8>)) -> (DatabaseId, &[u8]) {
    (*database, key)
}

impl RunCursor {
    /// Steps over the entry that it stands on, which is covered, and over what follows as far as all that its tables have
    /// there is. `covered_to`: how far everything is that is no newer than a commit, from a key on, if that is: to a key, or
    /// to the end of the database.
    pub(crate) fn skip_covered<'c>(&mut self, covered_to: CoveredTo<'_, 'c>) -> Result<()> {
        let (Some(block), Some(database)) = (self.standing.block(), self.database) else {
            return self.next();
        };
        let (here, table) = (block.table, &self.standing.tables()[block.table]);
        let after = table.meta().max_seqno;
        seeded!(SkippedNewerTable: after = table.meta().min_seqno);
        match covered_to(&self.key, after) {
            None => self.next(),
            Some(Some(end)) if (database, end) <= bound(&table.meta().largest) => {
                self.go_on_to(end)
            }
            Some(_) => {
                let next = self.first_not_covered(here + 1, database, covered_to);
                self.ahead.table_left();
                self.enter(self.span(next, 0), End::First)
            }
        }
    }

    /// Stands on the first entry whose key is `key` or greater, from here on: the scan goes on.
    fn go_on_to(&mut self, key: &[u8]) -> Result<()> {
        let Some(Held { found, .. }) = self.standing.block() else { return Ok(()) };
        let entry = found.lower_bound(key);
        if entry < found.len() {
            self.entry = entry;
            return self.read_entry();
        }
        let ahead = std::mem::take(&mut self.ahead);
        let here = self.standing.block().map(|block| block.table);
        let gone = self.seek_ge(key);
        self.ahead = ReadAhead { walked: ahead.walked + 1, ..ahead };
        if self.standing.block().map(|block| block.table) != here {
            self.ahead.table_left();
        }
        gone
    }

    /// The first table from there on of which not all is covered.
    fn first_not_covered(
        &self,
        from: usize,
        database: DatabaseId,
        covered_to: CoveredTo<'_, '_>,
    ) -> usize {
        let is_covered = |table: &Arc<Table>| {
            let TableMeta { smallest, largest, max_seqno, .. } = table.meta();
            let first = if smallest.0 == database { smallest.1.as_slice() } else { &[] };
            match covered_to(first, *max_seqno) {
                Some(Some(end)) => bound(largest) < (database, end),
                Some(None) => true,
                None => false,
            }
        };
        let rest = self.standing.tables().get(from..).unwrap_or_default();
        from + rest.iter().take_while(|table| is_covered(table)).count()
    }

    /// The same going back, if all that the table has there is covered; whether it is. `covered_from`: from which key on
    /// everything is that is no newer than a commit, up to a key, if that is.
    pub(crate) fn skip_covered_back<'c>(
        &mut self,
        covered_from: CoveredFrom<'_, 'c>,
    ) -> Result<bool> {
        let (Some(block), Some(database)) = (self.standing.block(), self.database) else {
            return Ok(false);
        };
        let (here, table) = (block.table, &self.standing.tables()[block.table]);
        let Some(start) = covered_from(&self.key, table.meta().max_seqno) else { return Ok(false) };
        if bound(&table.meta().smallest) < (database, start) {
            let ahead = std::mem::take(&mut self.ahead);
            let gone = self.seek_lt(Some(start));
            self.ahead = ReadAhead { walked: ahead.walked + 1, ..ahead };
            return gone.map(|()| true);
        }
        let is_covered = |table: &&Arc<Table>| {
            let TableMeta { smallest, largest, max_seqno, .. } = table.meta();
            let first = if smallest.0 == database { smallest.1.as_slice() } else { &[] };
            largest.0 == database
                && covered_from(&largest.1, *max_seqno).is_some_and(|start| start <= first)
        };
        let before = self.standing.tables().get(..here).unwrap_or_default();
        let covered = before.iter().rev().take_while(is_covered).count();
        self.enter(self.span_back(here - covered), End::Last)?;
        Ok(true)
    }
}
