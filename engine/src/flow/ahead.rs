//! The tables that can have a key, and what is read of them ahead of its time.
//!
//! Whether a table has a key its filter tells, of which one line is read. Those of all tables are asked for before any
//! is looked at, so that they come at the same time.

use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, Seqno};

use crate::error::Result;
use crate::files::sstable::{Found, Location, Pins, Table};
use crate::state::version::Run;

/// What is looked for.
pub(super) struct Asked<'k> {
    pub(super) database: DatabaseId,
    pub(super) key: &'k [u8],
    pub(super) hash: u64,
    pub(super) seqno: Seqno,
}

impl<'k> Asked<'k> {
    #[inline]
    pub(super) fn new(database: DatabaseId, key: &'k [u8], seqno: Seqno) -> Self {
        Self { database, key, hash: filter::hash(database, key), seqno }
    }
}

/// Tables whose filters are fetched at the same time.
const AHEAD: usize = 16;

/// See the module. The newest table first.
#[derive(Default)]
pub(super) struct Ahead<'a> {
    tables: [Option<&'a Table>; AHEAD],
    count: usize,
}

impl<'a> Ahead<'a> {
    /// Takes tables from there, in place of those it had; whether it is full.
    #[inline]
    pub(super) fn fill(
        &mut self,
        runs: &mut impl Iterator<Item = &'a Run>,
        asked: &Asked<'_>,
    ) -> bool {
        self.count = 0;
        while let Some(place) = self.tables.get_mut(self.count) {
            let Some(run) = runs.next() else { return false };
            if let Some(table) = run.table_for(asked.database, asked.key) {
                table.prefetch_filter(asked.hash);
                *place = Some(table);
                self.count += 1;
            }
        }
        true
    }

    /// The newest version in them.
    #[inline]
    pub(super) fn search(
        &self,
        asked: &Asked<'_>,
        pins: &'a Pins,
    ) -> Result<Option<(&'a Table, Found<'a>)>> {
        let Some((last, newer)) = self.tables.get(..self.count).and_then(<[_]>::split_last) else {
            return Ok(None);
        };
        let Some(last) = *last else { return Ok(None) };
        // Mostly the last one has it, which holds the most: its index is searched meanwhile.
        let in_last = last.locate(asked.database, asked.key);
        for table in newer.iter().flatten() {
            if table.may_contain(asked.hash)?
                && let Some(at) = table.locate(asked.database, asked.key)?
                && let Some(found) = table.get(at, asked.key, asked.seqno, pins)?
            {
                return Ok(Some((table, found)));
            }
        }
        // Who need not know where it would be is not told that it cannot be known.
        if !last.may_contain(asked.hash)? {
            return Ok(None);
        }
        let Some(at) = in_last? else { return Ok(None) };
        Ok(last.get(at, asked.key, asked.seqno, pins)?.map(|found| (last, found)))
    }

    /// The newest of the tables from number `from` on whose filter does not deny the key, its number, and where the key
    /// would be in it.
    pub(super) fn candidate(
        &self,
        from: usize,
        asked: &Asked<'_>,
    ) -> Result<Option<Candidate<'a>>> {
        let tables = self.tables.get(from..self.count).unwrap_or_default();
        for (number, table) in (from..).zip(tables.iter().flatten().copied()) {
            if table.may_contain(asked.hash)?
                && let Some(at) = table.locate(asked.database, asked.key)?
            {
                return Ok(Some(Candidate { number, table, at }));
            }
        }
        Ok(None)
    }
}

/// A table that may have the key.
pub(super) struct Candidate<'a> {
    pub(super) number: usize,
    pub(super) table: &'a Table,
    pub(super) at: Location<'a>,
}
