//! Walks the entries of one run, in both directions.
//!
//! A run's tables do not overlap, so that one position (table, partition, block, entry) is enough.
//! A block is parsed once, when it is entered. The key of the entry is rebuilt into a buffer; the value stays
//! where it lies unless its block is compressed, then the block's values are decompressed once and kept until the
//! block is left.

mod skip;

use std::ops::Range;

use orlop_formats::block::{Parsed, Rows};
use orlop_formats::ids::{AsOf, DatabaseId, Kind, Seqno};

use super::lookup::Wanted;
use super::standing::{Bytes, Held, Standing};
use crate::error::Result;
use crate::files::sstable::{Plain, Table};
use crate::sync::Arc;

/// See the module.
pub(crate) struct RunCursor {
    standing: Standing,
    /// Which of the entries of the block.
    entry: usize,
    /// `None`: all databases of all tables.
    database: Option<DatabaseId>,
    key: Vec<u8>,
    /// `key` is that of an entry of the current block.
    key_is_of_block: bool,
    seqno: Seqno,
    kind: Kind,
    /// The values of the current block, once one was asked for and they are compressed.
    plain: Values,
    /// Memory for the values of the blocks of a scan.
    buffer: Vec<u8>,
    /// In `plain`, or else in the block.
    value: Range<usize>,
    /// Where the values begin there.
    values_start: usize,
    /// Entries of the block that need not be compared with any others, from number `first_row` on.
    rows: Rows,
    first_row: usize,
    ahead: ReadAhead,
}

/// Fetches what a scan will reach: nothing at first, then windows that double.
///
/// Each window is a call of the system. A short scan over blocks that somebody has read in this open makes none.
#[derive(Default)]
struct ReadAhead {
    /// Half-way through the last window, in the current table, where the next one is asked for; 0
    /// before the first.
    until: usize,
    window: usize,
    /// Blocks that were walked to since the last seek.
    walked: usize,
    /// Entries were copied out of a block since then.
    has_rows: bool,
}

/// Where the values of a block are.
enum Values {
    /// Where they lie, or nobody has asked for them.
    Mapped,
    /// In memory that others use as well.
    Shared(Arc<Plain>),
    /// In `buffer`.
    Own,
}

/// Blocks behind a seek whose values are kept for others: of a short scan; what a long one reads is read once.
const KEPT_OF_SCAN: usize = 3;

/// A larger buffer for the values of a block is given up with the block.
const PLAIN_KEPT: usize = 1 << 20;

/// The first window of a scan, and the largest, in bytes.
const READ_AHEAD: (usize, usize) = (64 << 10, 1 << 20);

/// Entries that are copied out of a block behind a seek.
const FIRST_ROWS: usize = 12;

/// … and later on.
const MOST_ROWS: usize = 32;

/// A scan that has walked over so many blocks is a long one, and will come to what nobody has read lately.
const SHORT_SCAN: usize = 8;

impl ReadAhead {
    /// The scan has reached the block at `at`, coming from the one before it. `is_known`: it was read in this open.
    fn reached(&mut self, table: &Table, at: usize, is_known: bool) {
        self.walked += 1;
        if at < self.until || (is_known && self.walked < SHORT_SCAN) {
            return;
        }
        self.window = (self.window * 2).clamp(READ_AHEAD.0, READ_AHEAD.1);
        self.until = at + self.window / 2;
        table.mapping().will_need(at..at + self.window);
    }

    /// Entries to copy out of a block at once, at most: few behind a seek, for that may be all that is wanted.
    fn rows(&self) -> usize {
        if self.has_rows { MOST_ROWS } else { FIRST_ROWS }
    }

    fn table_left(&mut self) {
        self.until = 0;
    }
}

/// Which end of a span to stand on.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl RunCursor {
    /// A cursor over one database in tables that are in order.
    pub(crate) fn new(tables: Arc<[Arc<Table>]>, database: DatabaseId) -> Self {
        Self::over(tables, Some(database))
    }

    /// A cursor over everything, standing on the first entry: what a compaction reads.
    pub(crate) fn over_all(tables: Vec<Arc<Table>>) -> Result<Self> {
        let mut cursor = Self::over(tables.into(), None);
        let first = cursor.span(0, 0);
        cursor.enter(first, End::First)?;
        Ok(cursor)
    }

    fn over(tables: Arc<[Arc<Table>]>, database: Option<DatabaseId>) -> Self {
        Self {
            standing: Standing::before(tables),
            entry: 0,
            database,
            key: Vec::new(),
            key_is_of_block: false,
            seqno: 0,
            kind: Kind::Delete,
            plain: Values::Mapped,
            buffer: Vec::new(),
            value: 0..0,
            values_start: 0,
            rows: Rows::default(),
            first_row: 0,
            ahead: ReadAhead::default(),
        }
    }

    pub(crate) fn valid(&self) -> bool {
        self.standing.block().is_some()
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn seqno(&self) -> Seqno {
        self.seqno
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    #[inline]
    pub(crate) fn expiry(&self) -> Option<u64> {
        self.standing.block()?.found.expiry(self.entry)
    }

    pub(crate) fn database(&self) -> DatabaseId {
        self.standing.block().map_or(DatabaseId(0), |block| block.database)
    }

    /// Stands on the first entry whose key is `key` or greater.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        let database = self.database.unwrap_or(DatabaseId(0));
        let table = self.standing.tables().partition_point(|table| {
            let (last_database, last_key) = &table.meta().largest;
            (*last_database, last_key.as_slice()) < (database, key)
        });
        let Some((table, part)) = self.span(table, 0) else {
            self.standing.leave();
            return Ok(());
        };
        self.ahead = ReadAhead::default();
        let block = self.standing.tables()[table].seek_block(part, key, Wanted::ON)?;
        if block == self.standing.tables()[table].blocks(part) {
            return self.leave_forward(table, part);
        }
        let entry = |found: &Parsed<Bytes>| found.lower_bound(key);
        if self.enter_block((table, part), block, entry)? {
            return self.read_entry();
        }
        self.next_block()
    }

    /// Stands on the last entry whose key is less than `key`; `None`: the last entry.
    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) -> Result<()> {
        let Some(key) = key else {
            self.ahead = ReadAhead::default();
            let last = self.span_back(self.standing.tables().len());
            return self.enter(last, End::Last);
        };
        let database = self.database.unwrap_or(DatabaseId(0));
        let after = self.standing.tables().partition_point(|table| {
            let (first_database, first_key) = &table.meta().smallest;
            (*first_database, first_key.as_slice()) < (database, key)
        });
        let Some((table, part)) = self.span_back(after) else {
            self.standing.leave();
            return Ok(());
        };
        self.ahead = ReadAhead::default();
        let blocks = self.standing.tables()[table].blocks(part);
        let block = self.standing.tables()[table].seek_block(part, key, Wanted::BACK)?;
        if block == blocks {
            return self.enter(Some((table, part)), End::Last);
        }
        self.enter_block((table, part), block, |found| found.lower_bound(key))?;
        self.prev()
    }

    /// Steps to the next entry; past the last one the cursor is not valid any more.
    pub(crate) fn next(&mut self) -> Result<()> {
        let Some(block) = self.standing.block() else { return Ok(()) };
        if self.entry + 1 < block.found.len() {
            self.entry += 1;
            return self.read_entry();
        }
        self.next_block()
    }

    /// How many entries follow in this block of which each is a value that a reader sees and the only version of
    /// its key there; all of them before `limit`. The value of the one that it stands on must be available.
    pub(crate) fn plain_run(&mut self, limit: Option<&[u8]>, as_of: AsOf) -> usize {
        seeded!(RunPastExpiry: as_of = AsOf { now: 0, ..as_of });
        let Some(Held { found, .. }) = self.standing.block() else { return 0 };
        let end = limit.map_or(found.len(), |limit| found.lower_bound(limit));
        self.first_row = self.entry + 1;
        let end = end.min(self.first_row.saturating_add(self.ahead.rows()));
        let run = found.plain_run(self.entry, end, as_of);
        let good = found.rows_into(self.first_row..self.first_row + run, &mut self.rows);
        self.ahead.has_rows |= good > 0;
        good
    }

    /// How many entries before this one in this block are each a value that a reader sees and the only version of its
    /// key, as this one is; all of them behind `limit`. `None`: this one is not.
    pub(crate) fn plain_run_back(&mut self, limit: Option<&[u8]>, as_of: AsOf) -> Option<usize> {
        let Held { found, .. } = self.standing.block()?;
        let start = limit.map_or(0, |limit| found.upper_bound(limit));
        let start = start.max(self.entry.saturating_sub(self.ahead.rows()));
        let run = found.plain_run_back(self.entry, start, as_of).checked_sub(1)?;
        self.first_row = self.entry - run;
        let good = found.rows_into(self.first_row..self.entry, &mut self.rows);
        self.ahead.has_rows |= good > 0;
        // One that cannot be read is met when its turn has come.
        Some(if good == run { run } else { 0 })
    }

    /// Steps to the next entry of a [plain run](RunCursor::plain_run), whose value is available then; its sequence
    /// number is not.
    #[inline]
    pub(crate) fn run_on(&mut self) {
        self.entry += 1;
        self.read_row();
    }

    /// Steps to the entry before in a [plain run](RunCursor::plain_run_back), as above.
    #[inline]
    pub(crate) fn run_back(&mut self) {
        self.entry = self.entry.saturating_sub(1);
        self.read_row();
    }

    #[inline]
    fn read_row(&mut self) {
        let row = self.entry.wrapping_sub(self.first_row);
        self.rows.next_key_into(row, &mut self.key);
        let value = self.rows.value(row);
        self.value = self.values_start + value.start..self.values_start + value.end;
    }

    /// Steps to the entry before; before the first one the cursor is not valid any more.
    pub(crate) fn prev(&mut self) -> Result<()> {
        let Some(&Held { table, part, number, .. }) = self.standing.block() else { return Ok(()) };
        if self.entry > 0 {
            self.entry -= 1;
            return self.read_entry();
        }
        if number > 0 {
            self.ahead.walked += 1;
            if let Some(before) = number.checked_sub(2) {
                self.standing.tables()[table].ask_ahead(part, before, true);
            }
            return self.stand(table, part, number - 1, End::Last);
        }
        let before = if self.database.is_none() && part > 0 {
            Some((table, part - 1))
        } else {
            self.span_back(table)
        };
        self.enter(before, End::Last)
    }

    /// Makes [`RunCursor::value`] available.
    #[inline]
    pub(crate) fn load_value(&mut self) -> Result<()> {
        let Some(Held { found, .. }) = self.standing.block() else { return Ok(()) };
        let range = found.value_range(self.entry);
        let range = range.map_err(|source| self.standing.corrupt(source))?;
        self.values_start = found.plain_values_start().unwrap_or(0);
        self.value = self.values_start + range.start..self.values_start + range.end;
        if !found.is_compressed() {
            return Ok(());
        }
        if matches!(self.plain, Values::Mapped) {
            self.decompress()?;
        }
        Ok(())
    }

    fn decompress(&mut self) -> Result<()> {
        let Some(Held { table, part, number, found, .. }) = self.standing.block() else {
            return Ok(());
        };
        let table = &self.standing.tables()[*table];
        if let Some(plain) = table.cached_values(*part, *number) {
            self.plain = Values::Shared(plain);
            return Ok(());
        }
        if self.database.is_some() && self.ahead.walked < KEPT_OF_SCAN {
            self.plain = Values::Shared(table.plain_values(found, *part, *number)?);
            return Ok(());
        }
        let done = found.decompress_values(&mut self.buffer);
        done.map_err(|source| self.standing.corrupt(source))?;
        self.plain = Values::Own;
        Ok(())
    }

    /// The value of the entry, after [`RunCursor::load_value`]; for the engine alone.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.value_in(Held::own)
    }

    /// The same, for a caller.
    #[inline]
    pub(crate) fn lent_value(&self) -> &[u8] {
        self.value_in(Held::lent)
    }

    #[inline]
    fn value_in(&self, bytes: impl Fn(&Held) -> &[u8]) -> &[u8] {
        let bytes = match (&self.plain, self.standing.block()) {
            (Values::Shared(plain), _) => plain.bytes(),
            (Values::Mapped, Some(block)) => bytes(block),
            (Values::Mapped, None) => return &[],
            (Values::Own, _) => &self.buffer,
        };
        bytes.get(self.value.clone()).unwrap_or_default()
    }

    /// Whether a table of the run has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.standing.tables().iter().try_for_each(|table| table.check())
    }

    /// The first span at or after a table and part: a part of a table that this cursor reads.
    fn span(&self, table: usize, part: usize) -> Option<(usize, usize)> {
        for at in table..self.standing.tables().len() {
            match self.database {
                Some(database) => {
                    if let Some(part) = self.standing.tables()[at].part(database) {
                        return Some((at, part));
                    }
                }
                None => {
                    let part = if at == table { part } else { 0 };
                    if part < self.standing.tables()[at].databases().count() {
                        return Some((at, part));
                    }
                }
            }
        }
        None
    }

    /// The last span in the tables before `table`.
    fn span_back(&self, table: usize) -> Option<(usize, usize)> {
        (0..table).rev().find_map(|at| {
            let part = match self.database {
                Some(database) => self.standing.tables()[at].part(database),
                None => self.standing.tables()[at].databases().count().checked_sub(1),
            };
            part.map(|part| (at, part))
        })
    }

    fn enter(&mut self, span: Option<(usize, usize)>, end: End) -> Result<()> {
        let Some((table, part)) = span else {
            self.standing.leave();
            return Ok(());
        };
        let last = self.standing.tables()[table].blocks(part).saturating_sub(1);
        let block = match end {
            End::First => 0,
            End::Last => last,
        };
        self.stand(table, part, block, end)
    }

    fn stand(&mut self, table: usize, part: usize, block: usize, end: End) -> Result<()> {
        seeded!(CompactionErrorSwallowed => if self.ends_at(table, part, block) { return Ok(()) });
        let entry = |found: &Parsed<Bytes>| match end {
            End::First => 0,
            End::Last => found.len().saturating_sub(1),
        };
        self.enter_block((table, part), block, entry)?;
        self.read_entry()
    }

    /// Goes to an entry of a block; whether it has that.
    fn enter_block(
        &mut self,
        (table, part): (usize, usize),
        block: usize,
        entry: impl FnOnce(&Parsed<Bytes>) -> usize,
    ) -> Result<bool> {
        // What a compaction reads gets a new checksum: it must not be of something that has rotted since.
        let again = self.database.is_none();
        self.standing.enter((table, part), block, again)?;
        (self.plain, self.key_is_of_block) = (Values::Mapped, false);
        if self.buffer.capacity() > PLAIN_KEPT {
            self.buffer = Vec::new();
        }
        let Some(Held { found, .. }) = self.standing.block() else { return Ok(false) };
        self.entry = entry(found);
        Ok(self.entry < found.len())
    }

    /// Takes a block that cannot be read for the end of a compaction's input.
    #[cfg(feature = "seeded-bugs")]
    fn ends_at(&mut self, table: usize, part: usize, block: usize) -> bool {
        let of = &self.standing.tables()[table];
        let ends = self.database.is_none() && of.block(part, block, true).is_err();
        if ends {
            self.standing.leave();
        }
        ends
    }

    fn next_block(&mut self) -> Result<()> {
        let Some(held) = self.standing.block() else { return Ok(()) };
        let (table, part, block) = (held.table, held.part, held.number + 1);
        let of = &self.standing.tables()[table];
        if block < of.blocks(part) {
            self.ahead.reached(of, held.end(), of.was_read(part, block));
            of.ask_ahead(part, block + 1, false);
            seeded!(IteratorNotFused => self.standing.pass_over());
            return self.stand(table, part, block, End::First);
        }
        self.ahead.table_left();
        self.leave_forward(table, part)
    }

    fn leave_forward(&mut self, table: usize, part: usize) -> Result<()> {
        let next = match self.database {
            Some(_) => self.span(table + 1, 0),
            None => self.span(table, part + 1),
        };
        self.enter(next, End::First)
    }

    #[inline]
    fn read_entry(&mut self) -> Result<()> {
        let Some(Held { found, .. }) = self.standing.block() else { return Ok(()) };
        let read = match self.key_is_of_block {
            true => found.next_key_into(self.entry, &mut self.key),
            false => found.key_into(self.entry, &mut self.key),
        };
        read.map_err(|source| self.standing.corrupt(source))?;
        self.key_is_of_block = true;
        self.kind = found.kind(self.entry).map_err(|source| self.standing.corrupt(source))?;
        self.seqno = found.seqno(self.entry);
        Ok(())
    }
}
