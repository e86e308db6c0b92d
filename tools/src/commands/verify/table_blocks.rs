//! The index and data blocks of an sstable: checksums, structure, order across blocks, fences,
//! filter, and what they add up to.

use std::path::Path;

use orlop_formats::block::Block;
use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::HEADER_LEN;
use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, FIRST_USER_DATABASE, Kind, SYSTEM_DATABASE, Seqno};
use orlop_formats::sstable::{Handle, Partition, place_block};

use super::catalog::{Catalog, Entry, KNOWN, Origin, may_be};
use super::cleared::Cleared;
use super::manifest::told;
use super::report::Report;

/// What the entries of a table add up to.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) blocks: u64,
    pub(super) min_seqno: Seqno,
    pub(super) max_seqno: Seqno,
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
    pub(super) expiring: u64,
    pub(super) max_expiry: Option<u64>,
    pub(super) smallest: Option<(DatabaseId, Vec<u8>)>,
    pub(super) largest: Option<(DatabaseId, Vec<u8>)>,
}

/// An entry of an index block: where a data block lies, and the last place in the order of
/// entries that it may reach.
struct Fence {
    key: Vec<u8>,
    seqno: Seqno,
    handle: Handle,
}

impl Fence {
    /// Whether an entry belongs at or before this fence. Versions of a key are newest first.
    fn covers(&self, key: &[u8], seqno: Seqno) -> bool {
        key < self.key.as_slice() || key == self.key.as_slice() && seqno >= self.seqno
    }
}

/// See the module.
pub(super) struct Blocks<'a, 'r> {
    report: &'r mut Report,
    catalog: &'r mut Catalog,
    path: &'r Path,
    place: Place,
    bytes: &'a [u8],
    data_end: u64,
    filter: Option<&'a [u8]>,
    /// The end of the data block before; `None` when that is not known.
    at: Option<u64>,
    /// The entry before, in the same database.
    last: Option<(Vec<u8>, Seqno)>,
    totals: Totals,
    /// Whether every block could be read.
    complete: bool,
    /// What must have deleted nothing of what is here.
    pub(super) cleared: Cleared<'a>,
    /// No block says a sequence number.
    pub(super) is_loaded: bool,
}

impl<'a, 'r> Blocks<'a, 'r> {
    pub(super) fn new(
        report: &'r mut Report,
        catalog: &'r mut Catalog,
        path: &'r Path,
        place: Place,
        bytes: &'a [u8],
        data_end: u64,
        filter: Option<&'a [u8]>,
    ) -> Self {
        let totals = Totals { min_seqno: Seqno::MAX, ..Totals::default() };
        let at = Some(HEADER_LEN as u64);
        let (last, complete, cleared, is_loaded) = (None, true, Cleared::default(), false);
        Self {
            report,
            catalog,
            path,
            place,
            bytes,
            data_end,
            filter,
            at,
            last,
            totals,
            complete,
            cleared,
            is_loaded,
        }
    }

    /// Checks the blocks of all partitions. Gives the sums if all of them could be read.
    pub(super) fn check(&mut self, partitions: &[Partition], index_end: u64) -> Option<Totals> {
        for partition in partitions {
            self.partition(partition, index_end);
        }
        if let Some(end) = self.at {
            self.report.equal(self.path, end, "data end", end, self.data_end);
        }
        self.complete.then(|| std::mem::take(&mut self.totals))
    }

    fn partition(&mut self, partition: &Partition, index_end: u64) {
        let database = partition.database;
        if database != SYSTEM_DATABASE && database.0 < FIRST_USER_DATABASE {
            let offset = partition.index.offset;
            let found = database.to_string();
            self.report.finding(
                self.path,
                offset,
                "partition",
                "database 0, or 16 and more",
                found,
            );
        }
        self.last = None;
        let within = self.data_end..index_end;
        let Some(fences) = self.index(partition.index, within) else {
            (self.at, self.complete) = (None, false);
            return;
        };
        let (entries, tombstones) = (self.totals.entries, self.totals.tombstones);
        let (mut data_bytes, mut whole) = (0, true);
        let mut before = None;
        for fence in &fences {
            data_bytes += u64::from(fence.handle.len);
            let good = self.data_block(database, fence, before);
            whole &= good;
            before = good.then_some(fence);
        }
        self.complete &= whole;
        let offset = partition.index.offset;
        let blocks = fences.len() as u64;
        self.totals.blocks += blocks;
        let path = self.path;
        let mut equal = |what: &str, counted: u64, said: u64| {
            let what = format!("partition of database {database}: {what}");
            self.report.equal(path, offset, &what, counted, said);
        };
        equal("blocks", blocks, u64::from(partition.blocks));
        equal("data bytes", data_bytes, partition.data_bytes);
        if whole {
            equal("entries", self.totals.entries - entries, partition.entries);
            equal("tombstones", self.totals.tombstones - tombstones, partition.tombstones);
        }
    }

    fn fail<T>(&mut self, error: DecodeError, base: u64) -> Option<T> {
        self.report.decode(self.path, error.at(base));
        None
    }

    /// A sealed block, proven whole; errors are findings.
    fn block(
        &mut self,
        handle: Handle,
        within: std::ops::Range<u64>,
        what: &'static str,
    ) -> Option<Block<'a>> {
        let Handle { offset, len } = handle;
        let end = offset.saturating_add(u64::from(len));
        if offset < within.start || end > within.end {
            let expected = format!("a block between {} and {}", within.start, within.end);
            self.report.finding(self.path, offset, what, expected, format!("{len} bytes"));
            return None;
        }
        let sealed = self.bytes.get(offset as usize..end as usize).unwrap_or_default();
        let body = match checksum::open(sealed, &self.place, offset, what) {
            Ok(body) => body,
            Err(error) => return self.fail(error, 0),
        };
        let block = match Block::parse(body) {
            Ok(block) => block,
            Err(error) => return self.fail(error, offset),
        };
        match block.check() {
            Ok(()) => Some(block),
            Err(error) => self.fail(error, offset),
        }
    }

    fn index(&mut self, handle: Handle, within: std::ops::Range<u64>) -> Option<Vec<Fence>> {
        let block = self.block(handle, within, "index block")?;
        let mut values = Vec::new();
        let mut fences = Vec::with_capacity(block.len());
        let mut read = || -> Result<(), DecodeError> {
            block.decompress_values(&mut values)?;
            for at in 0..block.len() {
                let mut key = Vec::new();
                block.key_into(at, &mut key)?;
                let value = values.get(block.value_range(at)?).unwrap_or_default();
                fences.push(Fence { key, seqno: block.seqno(at), handle: Handle::decode(value)? });
            }
            Ok(())
        };
        match read() {
            Ok(()) => Some(fences),
            Err(error) => self.fail(error, handle.offset),
        }
    }

    /// Checks one data block; `before` is the fence of the one before it, if that was good.
    fn data_block(&mut self, database: DatabaseId, fence: &Fence, before: Option<&Fence>) -> bool {
        let Handle { offset, len } = fence.handle;
        if let Some(at) = self.at {
            let start = place_block(at, u64::from(len));
            if offset != start {
                let expected = format!("offset {start}");
                self.report.finding(self.path, offset, "data block", expected, offset.to_string());
            } else if let Some(padding) = self.bytes.get(at as usize..start as usize) {
                self.report.zeros(self.path, at, "padding", padding);
            }
        }
        self.at = Some(offset.saturating_add(u64::from(len)));
        let within = HEADER_LEN as u64..self.data_end;
        let Some(block) = self.block(fence.handle, within, "data block") else {
            self.last = None;
            return false;
        };
        if self.is_loaded && block.clone().numbered(0).is_none() {
            let (expected, found) = ("no seqnos, as in a table that was loaded", "some");
            self.report.finding(self.path, offset, "data block", expected, found);
        }
        match self.entries(database, &block, fence, before) {
            Ok(()) => true,
            Err(error) => self.fail::<()>(error, offset).is_some(),
        }
    }

    fn entries(
        &mut self,
        database: DatabaseId,
        block: &Block<'_>,
        fence: &Fence,
        before: Option<&Fence>,
    ) -> Result<(), DecodeError> {
        let offset = fence.handle.offset;
        let mut values = Vec::new();
        if database == SYSTEM_DATABASE {
            block.decompress_values(&mut values)?;
        }
        let mut key = Vec::new();
        for at in 0..block.len() {
            block.key_into(at, &mut key)?;
            let (seqno, kind, value) = (block.seqno(at), block.kind(at)?, block.value_range(at)?);
            if at == 0 {
                self.check_first(&key, seqno, offset, before);
            }
            if at + 1 == block.len() && !fence.covers(&key, seqno) {
                let expected = format!("keys up to \"{}\"", crate::text::escape(&fence.key));
                self.mismatch(offset, "fence", expected, &key);
            }
            let hash = filter::hash(database, &key);
            if self.filter.is_some_and(|lines| !filter::may_contain(lines, hash)) {
                self.mismatch(offset, "filter", "every key in the filter".to_owned(), &key);
            }
            let expiry = block.expiry(at);
            if !may_be(database, kind, expiry) {
                let found = format!("{kind:?} in {database}, expiry {expiry:?}");
                self.report.finding(self.path, offset, "entry", KNOWN, found);
            }
            if let Some(range) = self.cleared.that_deletes(database, &key, seqno) {
                let expected = format!("nothing that a range delete deletes, {}", told(range));
                self.mismatch(offset, "cleared seqno", expected, &key);
            }
            self.count(database, &key, seqno, kind, value.len() as u64, expiry);
            if database == SYSTEM_DATABASE {
                let value = values.get(value).unwrap_or_default();
                let entry = Entry { key: &key, seqno, kind, value };
                self.catalog.entry(self.report, Origin { path: self.path, offset }, &entry);
            }
            if at + 1 == block.len() {
                self.last = Some((key.clone(), seqno));
            }
        }
        self.totals.largest = Some((database, key));
        Ok(())
    }

    /// The first entry of a block lies behind the last one of the block before, and behind its
    /// fence.
    fn check_first(&mut self, key: &[u8], seqno: Seqno, offset: u64, before: Option<&Fence>) {
        if let Some((last, last_seqno)) = self.last.take() {
            let ascends = *last < *key || *last == *key && last_seqno > seqno;
            if !ascends {
                let expected = format!("a key behind \"{}\"", crate::text::escape(&last));
                self.mismatch(offset, "order of blocks", expected, key);
            }
        }
        if let Some(before) = before.filter(|before| before.covers(key, seqno)) {
            let expected =
                format!("keys behind the fence \"{}\"", crate::text::escape(&before.key));
            self.mismatch(offset, "fence", expected, key);
        }
    }

    fn mismatch(&mut self, offset: u64, what: &str, expected: String, key: &[u8]) {
        let found = format!("key \"{}\"", crate::text::escape(key));
        self.report.finding(self.path, offset, what, expected, found);
    }

    fn count(
        &mut self,
        database: DatabaseId,
        key: &[u8],
        seqno: Seqno,
        kind: Kind,
        value_len: u64,
        expiry: Option<u64>,
    ) {
        let totals = &mut self.totals;
        totals.entries += 1;
        totals.tombstones += u64::from(kind == Kind::Delete);
        totals.min_seqno = totals.min_seqno.min(seqno);
        totals.max_seqno = totals.max_seqno.max(seqno);
        totals.key_bytes += key.len() as u64;
        totals.value_bytes += value_len;
        totals.expiring += u64::from(expiry.is_some());
        totals.max_expiry = totals.max_expiry.max(expiry);
        if totals.smallest.is_none() {
            totals.smallest = Some((database, key.to_vec()));
        }
    }
}
