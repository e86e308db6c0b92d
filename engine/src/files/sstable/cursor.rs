//! Walks the entries of one run, in both directions.
//!
//! A run's tables do not overlap, so that one position (table, partition, block, entry) is enough.
//! A block is parsed once, when it is entered. The key of the entry is rebuilt into a buffer; the value stays
//! where it lies unless its block is compressed, then the block's values are decompressed once and kept until the
//! block is left.

use std::ops::Range;

use orlop_formats::block::{Block, Parsed};
use orlop_formats::error::DecodeError;
use orlop_formats::ids::{DatabaseId, Kind, Seqno};

use crate::env::Mapping;
use crate::error::{Error, Result};
use crate::files::sstable::{Plain, Table};
use crate::sync::Arc;

/// See the module.
pub(crate) struct RunCursor {
    tables: Arc<[Arc<Table>]>,
    /// `None`: all databases of all tables.
    database: Option<DatabaseId>,
    position: Option<Position>,
    key: Vec<u8>,
    /// `key` is that of an entry of the current block.
    key_is_of_block: bool,
    seqno: Seqno,
    kind: Kind,
    expiry: Option<u64>,
    /// The values of the current block, once one was asked for and they are compressed.
    plain: Values,
    /// Memory for the values of the blocks of a scan.
    buffer: Vec<u8>,
    /// In `plain`, or else in the table's mapping.
    value: Range<usize>,
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

    fn table_left(&mut self) {
        self.until = 0;
    }
}

struct Position {
    table: usize,
    part: usize,
    database: DatabaseId,
    block: usize,
    entry: usize,
    found: Parsed<Body>,
}

/// The body of a block, in the mapping of its table.
struct Body {
    table: Arc<Table>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Body {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.table.mapping().bytes().get(self.range.clone()).unwrap_or_default()
    }
}

impl Body {
    fn corrupt(&self, source: DecodeError) -> Error {
        Error::decode(self.table.path(), source.at(self.range.start as u64))
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
            tables,
            database,
            position: None,
            key: Vec::new(),
            key_is_of_block: false,
            seqno: 0,
            kind: Kind::Delete,
            expiry: None,
            plain: Values::Mapped,
            buffer: Vec::new(),
            value: 0..0,
            ahead: ReadAhead::default(),
        }
    }

    pub(crate) fn valid(&self) -> bool {
        self.position.is_some()
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

    pub(crate) fn expiry(&self) -> Option<u64> {
        self.expiry
    }

    pub(crate) fn database(&self) -> DatabaseId {
        self.position.as_ref().map_or(DatabaseId(0), |position| position.database)
    }

    /// Stands on the first entry whose key is `key` or greater.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        let database = self.database.unwrap_or(DatabaseId(0));
        let table = self.tables.partition_point(|table| {
            let (last_database, last_key) = &table.meta().largest;
            (*last_database, last_key.as_slice()) < (database, key)
        });
        let Some((table, part)) = self.span(table, 0) else {
            self.position = None;
            return Ok(());
        };
        self.ahead = ReadAhead::default();
        let block = self.tables[table].find_block(part, key)?;
        if block == self.tables[table].blocks(part) {
            return self.leave_forward(table, part);
        }
        let entry = |found: &Parsed<Body>| found.lower_bound(key);
        if self.enter_block((table, part), block, entry)? {
            return self.read_entry();
        }
        self.next_block()
    }

    /// Stands on the last entry whose key is less than `key`; `None`: the last entry.
    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) -> Result<()> {
        let Some(key) = key else {
            self.ahead = ReadAhead::default();
            let last = self.span_back(self.tables.len());
            return self.enter(last, End::Last);
        };
        let database = self.database.unwrap_or(DatabaseId(0));
        let after = self.tables.partition_point(|table| {
            let (first_database, first_key) = &table.meta().smallest;
            (*first_database, first_key.as_slice()) < (database, key)
        });
        let Some((table, part)) = self.span_back(after) else {
            self.position = None;
            return Ok(());
        };
        self.ahead = ReadAhead::default();
        let blocks = self.tables[table].blocks(part);
        let block = self.tables[table].find_block(part, key)?;
        if block == blocks {
            return self.enter(Some((table, part)), End::Last);
        }
        self.enter_block((table, part), block, |found| found.lower_bound(key))?;
        self.prev()
    }

    /// Steps to the next entry; past the last one the cursor is not valid any more.
    pub(crate) fn next(&mut self) -> Result<()> {
        let Some(position) = &mut self.position else { return Ok(()) };
        position.entry += 1;
        if position.entry < position.found.len() {
            return self.read_entry();
        }
        self.next_block()
    }

    /// How many entries follow in this block of which each is a value that `seqno` can see and the only version of
    /// its key there; all of them before `limit`.
    pub(crate) fn plain_run(&self, limit: Option<&[u8]>, seqno: Seqno) -> usize {
        let Some(Position { entry, found, .. }) = &self.position else { return 0 };
        let end = limit.map_or(found.len(), |limit| found.lower_bound(limit));
        found.plain_run(*entry, end, seqno)
    }

    /// Steps to the next entry of a [plain run](RunCursor::plain_run), whose value is available then; its sequence
    /// number is not.
    #[inline]
    pub(crate) fn run_on(&mut self) -> Result<()> {
        let Some(Position { entry, found, .. }) = &mut self.position else { return Ok(()) };
        *entry += 1;
        let read = found.next_key_into(*entry, &mut self.key);
        read.map_err(|source| found.body().corrupt(source))?;
        self.load_value()
    }

    /// Steps to the entry before; before the first one the cursor is not valid any more.
    pub(crate) fn prev(&mut self) -> Result<()> {
        let Some(position) = &mut self.position else { return Ok(()) };
        if position.entry > 0 {
            position.entry -= 1;
            return self.read_entry();
        }
        let (table, part, block) = (position.table, position.part, position.block);
        if block > 0 {
            self.ahead.walked += 1;
            return self.stand(table, part, block - 1, End::Last);
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
        let Some(Position { entry, found, .. }) = &self.position else { return Ok(()) };
        let range = found.value_range(*entry).map_err(|source| found.body().corrupt(source))?;
        if let Some(start) = found.plain_values_start() {
            let start = found.body().range.start + start;
            self.value = start + range.start..start + range.end;
            return Ok(());
        }
        self.value = range;
        if matches!(self.plain, Values::Mapped) {
            self.decompress()?;
        }
        Ok(())
    }

    fn decompress(&mut self) -> Result<()> {
        let Some(Position { part, block, found, .. }) = &self.position else { return Ok(()) };
        let table = &found.body().table;
        if let Some(plain) = table.cached_values(*part, *block) {
            self.plain = Values::Shared(plain);
            return Ok(());
        }
        if self.database.is_some() && self.ahead.walked < KEPT_OF_SCAN {
            self.plain = Values::Shared(table.plain_values(found, *part, *block)?);
            return Ok(());
        }
        let done = found.decompress_values(&mut self.buffer);
        done.map_err(|source| found.body().corrupt(source))?;
        self.plain = Values::Own;
        Ok(())
    }

    /// The value of the entry, after [`RunCursor::load_value`]; for the engine alone.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.value_in(Mapping::bytes)
    }

    /// The same, for a caller.
    #[inline]
    pub(crate) fn lent_value(&self) -> &[u8] {
        self.value_in(Mapping::lent)
    }

    #[inline]
    fn value_in(&self, bytes: impl Fn(&Mapping) -> &[u8]) -> &[u8] {
        let bytes = match (&self.plain, &self.position) {
            (Values::Shared(plain), _) => plain.bytes(),
            (Values::Mapped, Some(position)) => bytes(position.found.body().table.mapping()),
            (Values::Mapped, None) => return &[],
            (Values::Own, _) => &self.buffer,
        };
        bytes.get(self.value.clone()).unwrap_or_default()
    }

    /// Whether a table of the run has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.tables.iter().try_for_each(|table| table.check())
    }

    /// The first span at or after a table and part: a part of a table that this cursor reads.
    fn span(&self, table: usize, part: usize) -> Option<(usize, usize)> {
        for at in table..self.tables.len() {
            match self.database {
                Some(database) => {
                    if let Some(part) = self.tables[at].part(database) {
                        return Some((at, part));
                    }
                }
                None => {
                    let part = if at == table { part } else { 0 };
                    if part < self.tables[at].databases().count() {
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
                Some(database) => self.tables[at].part(database),
                None => self.tables[at].databases().count().checked_sub(1),
            };
            part.map(|part| (at, part))
        })
    }

    fn enter(&mut self, span: Option<(usize, usize)>, end: End) -> Result<()> {
        let Some((table, part)) = span else {
            self.position = None;
            return Ok(());
        };
        let last = self.tables[table].blocks(part).saturating_sub(1);
        let block = match end {
            End::First => 0,
            End::Last => last,
        };
        self.stand(table, part, block, end)
    }

    fn stand(&mut self, table: usize, part: usize, block: usize, end: End) -> Result<()> {
        seeded!(CompactionErrorSwallowed => if self.ends_at(table, part, block) { return Ok(()) });
        let entry = |found: &Parsed<Body>| match end {
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
        entry: impl FnOnce(&Parsed<Body>) -> usize,
    ) -> Result<bool> {
        let (found, range) = self.load(table, part, block)?;
        let of = &self.tables[table];
        let found = found.within(Body { table: Arc::clone(of), range });
        let database = self.database.or_else(|| of.databases().nth(part));
        let database = database.unwrap_or(DatabaseId(0));
        let entry = entry(&found);
        let has_it = entry < found.len();
        (self.plain, self.key_is_of_block) = (Values::Mapped, false);
        if self.buffer.capacity() > PLAIN_KEPT {
            self.buffer = Vec::new();
        }
        self.position = Some(Position { table, part, database, block, entry, found });
        Ok(has_it)
    }

    /// Takes a block that cannot be read for the end of a compaction's input.
    #[cfg(feature = "seeded-bugs")]
    fn ends_at(&mut self, table: usize, part: usize, block: usize) -> bool {
        let ends = self.database.is_none() && self.load(table, part, block).is_err();
        self.position = self.position.take().filter(|_| !ends);
        ends
    }

    fn load(&self, table: usize, part: usize, block: usize) -> Result<(Block<'_>, Range<usize>)> {
        // What a compaction reads gets a new checksum: it must not be of something that has rotted since.
        self.tables[table].block(part, block, self.database.is_none())
    }

    fn next_block(&mut self) -> Result<()> {
        let Some(position) = &self.position else { return Ok(()) };
        let (table, part, block) = (position.table, position.part, position.block + 1);
        if block < self.tables[table].blocks(part) {
            let is_known = self.tables[table].was_read(part, block);
            self.ahead.reached(&self.tables[table], position.found.body().range.end, is_known);
            seeded!(IteratorNotFused => self.position.iter_mut().for_each(|at| at.block = block));
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
        let Some(Position { entry, found, .. }) = &self.position else { return Ok(()) };
        let read = match self.key_is_of_block {
            true => found.next_key_into(*entry, &mut self.key),
            false => found.key_into(*entry, &mut self.key),
        };
        read.map_err(|source| found.body().corrupt(source))?;
        self.key_is_of_block = true;
        self.kind = found.kind(*entry).map_err(|source| found.body().corrupt(source))?;
        (self.seqno, self.expiry) = (found.seqno(*entry), found.expiry(*entry));
        Ok(())
    }
}
