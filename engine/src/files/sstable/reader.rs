//! One open sstable.
//!
//! Opening checks the header, the footer, the partitions and the properties; the filter and every
//! block are checked at their first touch. Before that the system is asked whether it can read them, so that a device
//! that cannot is an error and not a signal; what fails later is told by [`Table::check`]. A table that a version no
//! longer names is deleted when its last reader lets go: it is put into the [graveyard](super::Graveyard), which the
//! background empties. After a close nobody does, for the directory may be somebody else's by then: the next open
//! removes the file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use orlop_formats::block::{Block, Compression};
use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::TableMeta;
use orlop_formats::sstable::{Footer, Handle, Partition, Properties};

use super::cache::Slots;
use super::context::Context;
use super::ends::{Unread, decode};
use super::fences::Fences;
use super::marks::Marks;
use super::probe;
use crate::env::faults::Inside;
use crate::env::{Env, Mapping};
use crate::error::{Error, Result};
use crate::options::Verify;
use crate::prefetch;
use crate::sync::{Arc, AtomicBool, AtomicU64, OnceLock, Ordering};

/// A partition, and the ordinal of its first block in the whole table.
#[derive(Debug)]
struct Part {
    partition: Partition,
    first_block: usize,
    /// Its index, once somebody has read it.
    fences: OnceLock<Fences>,
}

/// An open sstable; see the module.
pub(crate) struct Table {
    meta: TableMeta,
    /// The sequence number of all entries, of a table that was loaded; 0: its blocks say them.
    numbered: Seqno,
    path: PathBuf,
    place: Place,
    map: Mapping,
    parts: Vec<Part>,
    properties: Properties,
    footer: Footer,
    /// One bit for each data block that was found good.
    verified_blocks: Marks,
    /// One bit for each partition's index, and one more for the filter.
    verified_regions: Marks,
    /// The filter in memory, where nothing that the file says is to be believed twice.
    filter_copy: OnceLock<Vec<u8>>,
    /// See [`Context::verify`]; here it is beside what is read with it.
    pub(super) verify: Verify,
    /// Places of decompressed blocks; none where nothing is compressed.
    pub(super) slots: Arc<Slots>,
    /// Where the system was asked for more than somebody needed: from there in its upper half, up to there in its
    /// lower, in [`ASKED_UNIT`]s.
    asked: AtomicU64,
    obsolete: AtomicBool,
    pub(super) context: Arc<Context>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("number", &self.meta.number).finish_non_exhaustive()
    }
}

/// Bytes that the system is asked for at once where blocks are read in order: as many as one fault maps.
const ASKED_IN_ORDER: usize = 64 << 10;

const ASKED_UNIT: usize = 4096;

impl Table {
    /// Maps a table and checks that it is the one the manifest names.
    pub(crate) fn open(
        env: &dyn Env,
        path: PathBuf,
        place: Place,
        meta: TableMeta,
        context: Arc<Context>,
    ) -> Result<Self> {
        let map = env.map(&path).map_err(|source| Error::io("open", &path, source))?;
        let inside = Inside::enter();
        let decoded = decode(&map, &place, &meta);
        drop(inside);
        map.check().map_err(|source| Error::io("read", &path, source))?;
        let (footer, partitions, properties) = decoded.map_err(|unread| match unread {
            Unread::Io(source) => Error::io("read", &path, source),
            Unread::Decode(source) => Error::decode(&path, source),
        })?;
        let mut first_block = 0;
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let blocks = partition.blocks as usize;
            parts.push(Part { partition, first_block, fences: OnceLock::default() });
            first_block += blocks;
        }
        let is_cached = context.cache.takes() && properties.compression != Compression::None;
        Ok(Self {
            verified_blocks: Marks::new(first_block),
            verified_regions: Marks::new(parts.len() + 1),
            filter_copy: OnceLock::default(),
            slots: Arc::new(Slots::new(if is_cached { first_block } else { 0 }, &context.cache)),
            numbered: if properties.is_loaded() { meta.min_seqno } else { 0 },
            meta,
            path,
            place,
            map,
            parts,
            properties,
            footer,
            asked: AtomicU64::new(0),
            obsolete: AtomicBool::new(false),
            verify: context.verify,
            context,
        })
    }

    /// The table, which was loaded, in its place: on a level, in a run, of a commit.
    pub(crate) fn placed(mut self, level: u8, run: u64, seqno: Seqno) -> Self {
        (self.meta.level, self.meta.run) = (level, run);
        (self.meta.min_seqno, self.meta.max_seqno) = (seqno, seqno);
        self.numbered = seqno;
        self
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.map
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the file has failed: then what was read of it before this may have been anything.
    pub(crate) fn check(&self) -> Result<()> {
        self.map.check().map_err(|e| self.unread(e))
    }

    #[cold]
    fn unread(&self, source: io::Error) -> Error {
        Error::io("read", &self.path, source)
    }

    pub(crate) fn filter_bytes(&self) -> u64 {
        self.footer.filter.1
    }

    /// Bytes of data blocks of databases for which `dead` holds, and of all of them.
    pub(crate) fn dead_bytes(&self, dead: impl Fn(DatabaseId) -> bool) -> (u64, u64) {
        let mut sums = (0, 0);
        for Part { partition, .. } in &self.parts {
            sums.1 += partition.data_bytes;
            if dead(partition.database) {
                sums.0 += partition.data_bytes;
            }
        }
        sums
    }

    /// Deletes the file once nobody reads it any more.
    pub(crate) fn mark_obsolete(&self) {
        if !self.obsolete.swap(true, Ordering::AcqRel) {
            self.context.graveyard.condemn(self.meta.size);
        }
    }

    pub(super) fn part_index(&self, database: DatabaseId) -> Option<usize> {
        self.parts.binary_search_by_key(&database, |part| part.partition.database).ok()
    }

    /// Whether the table holds entries of a database.
    pub(crate) fn holds(&self, database: DatabaseId) -> bool {
        self.part_index(database).is_some()
    }

    /// The database of a partition.
    #[inline]
    pub(super) fn database(&self, part: usize) -> Option<DatabaseId> {
        self.parts.get(part).map(|part| part.partition.database)
    }

    /// The databases in the table, ascending.
    pub(crate) fn databases(&self) -> impl Iterator<Item = DatabaseId> {
        self.parts.iter().map(|part| part.partition.database)
    }

    pub(super) fn corrupt(&self, source: DecodeError) -> Error {
        Error::decode(&self.path, source)
    }

    #[inline]
    fn sealed(&self, offset: u64, len: u64, what: &'static str) -> Result<&[u8]> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(usize::try_from(len).ok()?)?));
        let bytes = match range {
            Some(range) => self.map.read(range).map_err(|e| self.unread(e))?,
            None => None,
        };
        bytes.ok_or_else(|| self.outside(offset, len, what))
    }

    #[cold]
    fn outside(&self, offset: u64, len: u64, what: &'static str) -> Error {
        let expected = format!("a region inside the file of {} bytes", self.meta.size);
        let found = format!("{len} bytes at {offset}");
        self.corrupt(DecodeError::corrupt(what, offset, expected, found))
    }

    /// A sealed region's body, verified if its bit is not set yet, or if it is to be verified every time.
    #[inline]
    fn body(
        &self,
        region: (u64, u64),
        what: &'static str,
        verified: (&Marks, usize),
        verify: Verify,
    ) -> Result<&[u8]> {
        let (offset, len) = region;
        let sealed = self.sealed(offset, len, what)?;
        let (marks, at) = verified;
        if seeded!(BlockUnchecked => true, else marks.has(at) && verify == Verify::Once) {
            return Ok(&sealed[..sealed.len().saturating_sub(8)]);
        }
        // Whoever reads in order does not ask the system for each block.
        self.ask_system(offset as usize, sealed.len(), at > 0 && marks.has(at - 1))?;
        self.verify(sealed, offset, what).inspect(|_| marks.set(at))
    }

    /// Has the system say whether it can read bytes that nobody has touched, and what follows them if they were reached
    /// in order.
    #[cold]
    fn ask_system(&self, start: usize, len: usize, in_order: bool) -> Result<()> {
        let end = start.saturating_add(len);
        let asked = self.asked.load(Ordering::Relaxed);
        let (from, to) = ((asked >> 32) as usize * ASKED_UNIT, asked as u32 as usize * ASKED_UNIT);
        if from <= start && end <= to {
            return Ok(());
        }
        let window = start.saturating_add(ASKED_IN_ORDER).next_multiple_of(ASKED_UNIT);
        if in_order && end <= window && self.map.populate(start..window).is_ok() {
            let unit = |at: usize| u64::from(u32::try_from(at / ASKED_UNIT).unwrap_or(0));
            self.asked.store(unit(start + ASKED_UNIT - 1) << 32 | unit(window), Ordering::Relaxed);
            return Ok(());
        }
        // What cannot be read behind it is no matter of this one.
        self.map.populate(start..end).map_err(|e| self.unread(e))
    }

    /// The body of a sealed region that nobody has looked at in this open.
    #[cold]
    fn verify<'a>(&self, sealed: &'a [u8], offset: u64, what: &'static str) -> Result<&'a [u8]> {
        let place = (&self.place, offset);
        seeded!(PlaceUnbound: place = crate::seeded::unbound(what, place.0, offset));
        checksum::open(sealed, place.0, place.1, what).map_err(|source| self.corrupt(source))
    }

    /// Whether a key with this hash can be in the table.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> Result<bool> {
        Ok(probe::may_contain(self.filter_lines()?, hash))
    }

    #[inline]
    fn filter_lines(&self) -> Result<&[u8]> {
        if self.verify == Verify::Once {
            return self.filter_body();
        }
        match self.filter_copy.get() {
            Some(lines) => Ok(lines),
            None => self.copy_filter(),
        }
    }

    fn filter_body(&self) -> Result<&[u8]> {
        let verified = (&self.verified_regions, self.parts.len());
        self.body(self.footer.filter, "filter", verified, Verify::Once)
    }

    #[cold]
    fn copy_filter(&self) -> Result<&[u8]> {
        let (offset, len) = self.footer.filter;
        self.ask_system(offset as usize, len as usize, false)?;
        let copy = self.sealed(offset, len, "filter")?.to_vec();
        let lines = self.verify(&copy, offset, "filter")?.len();
        Ok(self.filter_copy.get_or_init(|| copy.into_iter().take(lines).collect()))
    }

    /// Asks the processor for the line of the filter that [`Table::may_contain`] will read.
    #[inline]
    pub(crate) fn prefetch_filter(&self, hash: u64) {
        let Some(line) = filter::line_at(self.footer.filter.1.saturating_sub(8), hash) else {
            return;
        };
        let start = self.footer.filter.0.saturating_add(line) as usize;
        prefetch::read(self.map.bytes().as_ptr().wrapping_add(start), filter::LINE_LEN);
    }

    #[inline]
    fn part_at(&self, part: usize) -> Result<&Part> {
        self.parts.get(part).ok_or_else(|| {
            let expected = format!("fewer than {}", self.parts.len());
            self.corrupt(DecodeError::corrupt("partition", 0, expected, part.to_string()))
        })
    }

    /// The index of one partition as it is in the file: separators and, as values, handles.
    pub(super) fn index(&self, part: usize) -> Result<Block<'_>> {
        let partition = &self.part_at(part)?.partition;
        let Handle { offset, len } = partition.index;
        let region = (offset, u64::from(len));
        let body = self.body(region, "index block", (&self.verified_regions, part), self.verify)?;
        let block = Block::parse(body).map_err(|source| self.corrupt(source.at(offset)))?;
        if block.len() == partition.blocks as usize {
            return Ok(block);
        }
        let (expected, found) = (format!("{} fences", partition.blocks), block.len().to_string());
        Err(self.corrupt(DecodeError::corrupt("index block", offset, expected, found)))
    }

    /// The same in memory. Whoever comes first reads it.
    #[inline]
    pub(super) fn fences(&self, part: usize) -> Result<&Fences> {
        let of = self.part_at(part)?;
        match of.fences.get() {
            Some(fences) => Ok(fences),
            None => self.read_fences(part, of),
        }
    }

    #[cold]
    fn read_fences<'a>(&self, part: usize, of: &'a Part) -> Result<&'a Fences> {
        let fences = Fences::read(&self.index(part)?, self.footer.data_end);
        let offset = of.partition.index.offset;
        // They stay, and say where blocks are: they must not be those of a file that was failing.
        self.check()?;
        let fences = fences.map_err(|source| self.corrupt(source.at(offset)))?;
        Ok(of.fences.get_or_init(|| fences))
    }

    /// Reads all indexes, so that no reader waits for that. What cannot be read is told to who comes to need it.
    pub(crate) fn read_indexes(&self) {
        let _inside = Inside::enter();
        (0..self.parts.len()).for_each(|part| drop(self.fences(part)));
    }

    /// Bytes that indexes take in memory.
    pub(crate) fn index_bytes(&self) -> u64 {
        let read = self.parts.iter().filter_map(|part| part.fences.get());
        read.map(|fences| fences.bytes() as u64).sum()
    }

    /// Data block number `at` of a partition, and where its body lies in the file. `again`: it is checked, whoever has
    /// done so before.
    pub(crate) fn block(
        &self,
        part: usize,
        at: usize,
        again: bool,
    ) -> Result<(Block<'_>, Range<usize>)> {
        let verify = if again { Verify::Always } else { self.verify };
        match self.fences(part)?.handle(at) {
            Some(handle) => self.block_of(part, handle, at, verify),
            None => Err(self.no_block(part, at)),
        }
    }

    #[cold]
    fn no_block(&self, part: usize, at: usize) -> Error {
        let expected = format!("fewer than {}", self.blocks(part));
        self.corrupt(DecodeError::corrupt("block", 0, expected, at.to_string()))
    }

    #[inline]
    pub(super) fn block_of(
        &self,
        part: usize,
        Handle { offset, len }: Handle,
        at: usize,
        verify: Verify,
    ) -> Result<(Block<'_>, Range<usize>)> {
        let verified = (&self.verified_blocks, self.ordinal(part, at));
        let region = (offset, u64::from(len));
        let body = self.body(region, "data block", verified, verify)?;
        let mut block = Block::parse(body).map_err(|source| self.corrupt(source.at(offset)))?;
        if seeded!(LoadedUnnumbered => false, else self.numbered != 0) {
            block = block.numbered(self.numbered).ok_or_else(|| self.has_numbers(offset))?;
        }
        let start = offset as usize;
        Ok((block, start..start + body.len()))
    }

    #[cold]
    fn has_numbers(&self, offset: u64) -> Error {
        let (expected, found) = ("no sequence numbers, as in a table that was loaded", "some");
        self.corrupt(DecodeError::corrupt("data block", offset, expected, found))
    }

    /// Whether somebody has read a data block in this open.
    pub(crate) fn was_read(&self, part: usize, at: usize) -> bool {
        self.verified_blocks.has(self.ordinal(part, at))
    }

    /// Number of data blocks of a partition.
    pub(crate) fn blocks(&self, part: usize) -> usize {
        self.parts.get(part).map_or(0, |part| part.partition.blocks as usize)
    }

    /// The partition of a database, as the other functions take it.
    pub(crate) fn part(&self, database: DatabaseId) -> Option<usize> {
        self.part_index(database)
    }

    /// The number of a block among all of the table.
    #[inline]
    pub(super) fn ordinal(&self, part: usize, at: usize) -> usize {
        self.parts.get(part).map_or(0, |part| part.first_block) + at
    }

    /// Data blocks of all partitions.
    pub(super) fn all_blocks(&self) -> usize {
        self.parts.last().map_or(0, |part| part.first_block + part.partition.blocks as usize)
    }

    /// Where data block number `ordinal` of all lies.
    pub(super) fn handle_of(&self, ordinal: usize) -> Result<Handle> {
        let behind = self.parts.partition_point(|part| part.first_block <= ordinal);
        let part = behind.saturating_sub(1);
        let at = ordinal - self.parts.get(part).map_or(0, |part| part.first_block);
        self.fences(part)?.handle(at).ok_or_else(|| self.no_block(part, at))
    }

    /// The first block behind the partition that a block is in.
    pub(super) fn end_of_part(&self, ordinal: usize) -> usize {
        let behind = self.parts.partition_point(|part| part.first_block <= ordinal);
        self.parts.get(behind).map_or(self.all_blocks(), |part| part.first_block)
    }

    /// The regions behind the data, and what they are. Always in the same order, which is not that of the file.
    pub(super) fn sealed_regions(&self) -> impl Iterator<Item = ((u64, u64), &'static str)> {
        let Footer { filter, partitions, properties, .. } = self.footer;
        let indexes = self.parts.iter().map(|part| part.partition.index);
        let indexes =
            indexes.map(|Handle { offset, len }| ((offset, u64::from(len)), "index block"));
        indexes.chain([(filter, "filter"), (partitions, "partitions"), (properties, "properties")])
    }

    /// Whoever reads a data block next checks it again; of other stretches nothing is read twice.
    pub(super) fn doubt(&self, ordinal: usize) {
        if ordinal < self.all_blocks() {
            self.verified_blocks.unset(ordinal);
        }
    }

    /// Whether values may be compressed.
    #[inline]
    pub(super) fn is_compressed(&self) -> bool {
        self.properties.compression != Compression::None
    }

    /// Entries that expire, or have expired.
    pub(crate) fn expiring(&self) -> u64 {
        self.properties.expiries.map_or(0, |expiries| expiries.entries)
    }

    /// The properties block.
    pub(crate) fn properties(&self) -> &Properties {
        &self.properties
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.context.graveyard.bury(self.path.clone());
            self.context.graveyard.release(self.meta.size);
        }
    }
}
