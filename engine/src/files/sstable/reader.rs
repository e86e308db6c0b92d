//! One open sstable.
//!
//! Opening checks the header, the footer, the partitions and the properties; the filter and every
//! block are checked at their first touch. A table that a version no longer names is deleted when
//! its last reader lets go: it is put into the [`Graveyard`], which the background empties. After a close
//! nobody does, for the directory may be somebody else's by then: the next open removes the file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use orlop_formats::block::Block;
use orlop_formats::checksum::{self, Place};
use orlop_formats::error::{DecodeError, Reason};
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, Kind, Seqno};
use orlop_formats::manifest::TableMeta;
use orlop_formats::sstable::{
    FOOTER_LEN, Footer, Handle, Partition, Properties, decode_partitions,
};

use super::fences::Fences;
use crate::env::{Env, Mapping};
use crate::error::{Error, Result};
use crate::prefetch;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering};

/// Files that nobody names or reads any more.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    paths: Mutex<Vec<PathBuf>>,
    /// Tables that no version names, but that somebody may still read.
    condemned: AtomicU64,
}

impl Graveyard {
    pub(crate) fn bury(&self, path: PathBuf) {
        self.paths.lock().push(path);
    }

    /// Whether files are, or will be, to be removed.
    pub(crate) fn expects(&self) -> bool {
        self.condemned.load(Ordering::Acquire) > 0 || !self.paths.lock().is_empty()
    }

    /// Takes all of them, to be removed.
    pub(crate) fn empty(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.paths.lock())
    }
}

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
    path: PathBuf,
    place: Place,
    map: Mapping,
    parts: Vec<Part>,
    properties: Properties,
    filter: (u64, u64),
    data_end: u64,
    /// One bit for each data block that was found good.
    verified_blocks: Vec<AtomicU64>,
    /// One bit for each partition's index, and one more for the filter.
    verified_regions: Vec<AtomicU64>,
    obsolete: AtomicBool,
    graveyard: Arc<Graveyard>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("number", &self.meta.number).finish_non_exhaustive()
    }
}

/// Where a value was found.
pub(crate) enum Payload {
    /// In the mapping, at these bytes.
    Mapped(Range<usize>),
    /// Decompressed.
    Owned(Vec<u8>),
}

/// Where a key would be in a table.
#[derive(Clone, Copy)]
pub(crate) struct Location<'a> {
    part: usize,
    fences: &'a Fences,
    block: usize,
}

/// The beginning of a block, where its keys are and where its values begin, has at least so many bytes mostly.
const HEAD_OF_BLOCK: usize = 512;

/// A version of a key found in a table.
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) value: Payload,
}

fn bits(count: usize) -> Vec<AtomicU64> {
    (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect()
}

fn is_set(bits: &[AtomicU64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|word| word.load(Ordering::Acquire) >> (at % 64) & 1 == 1)
}

fn set(bits: &[AtomicU64], at: usize) {
    if let Some(word) = bits.get(at / 64) {
        word.fetch_or(1 << (at % 64), Ordering::AcqRel);
    }
}

impl Table {
    /// Maps a table and checks that it is the one the manifest names.
    pub(crate) fn open(
        env: &dyn Env,
        path: PathBuf,
        place: Place,
        meta: TableMeta,
        graveyard: Arc<Graveyard>,
    ) -> Result<Self> {
        let map = env.map(&path).map_err(|source| Error::io("open", &path, source))?;
        let decoded = decode(map.bytes(), &place, &meta);
        let (footer, partitions, properties) =
            decoded.map_err(|source| Error::decode(&path, source))?;
        let mut first_block = 0;
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let blocks = partition.blocks as usize;
            parts.push(Part { partition, first_block, fences: OnceLock::default() });
            first_block += blocks;
        }
        Ok(Self {
            verified_blocks: bits(first_block),
            verified_regions: bits(parts.len() + 1),
            meta,
            path,
            place,
            map,
            parts,
            properties,
            filter: footer.filter,
            data_end: footer.data_end,
            obsolete: AtomicBool::new(false),
            graveyard,
        })
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

    pub(crate) fn filter_bytes(&self) -> u64 {
        self.filter.1
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
            self.graveyard.condemned.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn part_index(&self, database: DatabaseId) -> Option<usize> {
        self.parts.binary_search_by_key(&database, |part| part.partition.database).ok()
    }

    /// Whether the table holds entries of a database.
    pub(crate) fn holds(&self, database: DatabaseId) -> bool {
        self.part_index(database).is_some()
    }

    /// The databases in the table, ascending.
    pub(crate) fn databases(&self) -> impl Iterator<Item = DatabaseId> {
        self.parts.iter().map(|part| part.partition.database)
    }

    fn corrupt(&self, source: DecodeError) -> Error {
        Error::decode(&self.path, source)
    }

    #[inline]
    fn sealed(&self, offset: u64, len: u64, what: &'static str) -> Result<&[u8]> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(usize::try_from(len).ok()?)?));
        let bytes = match range {
            Some(range) => self.map.read(range).map_err(|e| Error::io("read", &self.path, e))?,
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

    /// A sealed region's body, verified if its bit is not set yet.
    #[inline]
    fn body(
        &self,
        region: (u64, u64),
        what: &'static str,
        verified: (&[AtomicU64], usize),
    ) -> Result<&[u8]> {
        let (offset, len) = region;
        let sealed = self.sealed(offset, len, what)?;
        let (bits, at) = verified;
        if seeded!(BlockUnchecked => true, else is_set(bits, at)) {
            return Ok(&sealed[..sealed.len().saturating_sub(8)]);
        }
        self.verify(sealed, offset, what).inspect(|_| set(bits, at))
    }

    /// The body of a sealed region that nobody has looked at in this open.
    #[cold]
    fn verify<'a>(&self, sealed: &'a [u8], offset: u64, what: &'static str) -> Result<&'a [u8]> {
        let place = (&self.place, offset);
        seeded!(PlaceUnbound: place = crate::seeded::unbound(what, place.0, offset));
        checksum::open(sealed, place.0, place.1, what).map_err(|source| self.corrupt(source))
    }

    /// Whether a key with this hash can be in the table.
    pub(crate) fn may_contain(&self, hash: u64) -> Result<bool> {
        let lines = self.body(self.filter, "filter", (&self.verified_regions, self.parts.len()))?;
        Ok(filter::may_contain(lines, hash))
    }

    /// Asks the processor for the line of the filter that [`Table::may_contain`] will read.
    #[inline]
    pub(crate) fn prefetch_filter(&self, hash: u64) {
        let Some(line) = filter::line_at(self.filter.1.saturating_sub(8), hash) else { return };
        let start = self.filter.0.saturating_add(line) as usize;
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
    fn index(&self, part: usize) -> Result<Block<'_>> {
        let partition = &self.part_at(part)?.partition;
        let Handle { offset, len } = partition.index;
        let region = (offset, u64::from(len));
        let body = self.body(region, "index block", (&self.verified_regions, part))?;
        let block = Block::parse(body).map_err(|source| self.corrupt(source.at(offset)))?;
        if block.len() == partition.blocks as usize {
            return Ok(block);
        }
        let (expected, found) = (format!("{} fences", partition.blocks), block.len().to_string());
        Err(self.corrupt(DecodeError::corrupt("index block", offset, expected, found)))
    }

    /// The same in memory. Whoever comes first reads it.
    #[inline]
    fn fences(&self, part: usize) -> Result<&Fences> {
        let of = self.part_at(part)?;
        match of.fences.get() {
            Some(fences) => Ok(fences),
            None => self.read_fences(part, of),
        }
    }

    #[cold]
    fn read_fences<'a>(&self, part: usize, of: &'a Part) -> Result<&'a Fences> {
        let fences = Fences::read(&self.index(part)?, self.data_end);
        let offset = of.partition.index.offset;
        let fences = fences.map_err(|source| self.corrupt(source.at(offset)))?;
        Ok(of.fences.get_or_init(|| fences))
    }

    /// Reads all indexes, so that no reader waits for that. What cannot be read is told to who comes to need it.
    pub(crate) fn read_indexes(&self) {
        (0..self.parts.len()).for_each(|part| drop(self.fences(part)));
    }

    /// Bytes that indexes take in memory.
    pub(crate) fn index_bytes(&self) -> u64 {
        let read = self.parts.iter().filter_map(|part| part.fences.get());
        read.map(|fences| fences.bytes() as u64).sum()
    }

    /// Data block number `at` of a partition, and where its body lies in the file.
    pub(crate) fn block(&self, part: usize, at: usize) -> Result<(Block<'_>, Range<usize>)> {
        let Some(handle) = self.fences(part)?.handle(at) else {
            let expected = format!("fewer than {}", self.blocks(part));
            return Err(self.corrupt(DecodeError::corrupt("block", 0, expected, at.to_string())));
        };
        self.block_of(part, handle, at)
    }

    #[inline]
    fn block_of(
        &self,
        part: usize,
        Handle { offset, len }: Handle,
        at: usize,
    ) -> Result<(Block<'_>, Range<usize>)> {
        let first = self.parts.get(part).map_or(0, |part| part.first_block);
        let verified = (self.verified_blocks.as_slice(), first + at);
        let body = self.body((offset, u64::from(len)), "data block", verified)?;
        let block = Block::parse(body).map_err(|source| self.corrupt(source.at(offset)))?;
        let start = offset as usize;
        Ok((block, start..start + body.len()))
    }

    /// Number of data blocks of a partition.
    pub(crate) fn blocks(&self, part: usize) -> usize {
        self.parts.get(part).map_or(0, |part| part.partition.blocks as usize)
    }

    /// The partition of a database, as the other functions take it.
    pub(crate) fn part(&self, database: DatabaseId) -> Option<usize> {
        self.part_index(database)
    }

    /// The first block of a partition that can hold a key of `key` or greater.
    #[inline]
    pub(crate) fn find_block(&self, part: usize, key: &[u8]) -> Result<usize> {
        match self.fences(part)?.lower_bound(key) {
            Some(at) => Ok(at),
            None => Ok(self.index(part)?.lower_bound(key)),
        }
    }

    /// Where a key would be. The processor is asked for what says so.
    #[inline]
    pub(crate) fn locate(&self, database: DatabaseId, key: &[u8]) -> Result<Option<Location<'_>>> {
        let Some(part) = self.part_index(database) else { return Ok(None) };
        let fences = self.fences(part)?;
        let block = match fences.lower_bound(key) {
            Some(at) => at,
            None => self.index(part)?.lower_bound(key),
        };
        fences.prefetch_handle(block);
        Ok(Some(Location { part, fences, block }))
    }

    /// Asks for what [`Table::get`] will read first: the processor, and also the device if it may have to come from
    /// there. One that nobody has read in this open may.
    pub(crate) fn ask_for(&self, at: Location<'_>, from_device: bool) {
        let Location { part, fences, block } = at;
        let Some(Handle { offset, len }) = fences.handle(block) else { return };
        let first = self.parts.get(part).map_or(0, |part| part.first_block);
        let start = offset as usize;
        if from_device || !is_set(&self.verified_blocks, first + block) {
            self.map.will_need(start..start.saturating_add(len as usize));
        } else {
            prefetch::read(self.map.bytes().as_ptr().wrapping_add(start), HEAD_OF_BLOCK);
        }
    }

    /// The newest version of a key that `seqno` can see, from where it would be on.
    #[inline]
    pub(crate) fn get(&self, at: Location<'_>, key: &[u8], seqno: Seqno) -> Result<Option<Found>> {
        let Location { part, fences, mut block } = at;
        while let Some(handle) = fences.handle(block) {
            let start = self.map.bytes().as_ptr().wrapping_add(handle.offset as usize);
            prefetch::read(start, HEAD_OF_BLOCK);
            let (found, body) = self.block_of(part, handle, block)?;
            let Some(first) = found.find(key) else { return Ok(None) };
            for entry in first..found.len() {
                if entry > first && found.compare(entry, key).is_ne() {
                    return Ok(None);
                }
                if found.seqno(entry) <= seqno {
                    return self.found(&found, body.start, entry).map(Some);
                }
            }
            // Versions of one key can go on in the next block.
            block += 1;
        }
        Ok(None)
    }

    #[inline]
    fn found(&self, block: &Block<'_>, body_start: usize, entry: usize) -> Result<Found> {
        let fail = |source: DecodeError| self.corrupt(source.at(body_start as u64));
        Ok(Found { kind: block.kind(entry).map_err(fail)?, value: self.value(block, entry)? })
    }

    #[inline]
    fn value(&self, block: &Block<'_>, entry: usize) -> Result<Payload> {
        let range = block.value_range(entry).map_err(|source| self.corrupt(source))?;
        match block.plain_values() {
            Some(values) => {
                let value = values.get(range).unwrap_or_default();
                Ok(Payload::Mapped(self.range_of(value)))
            }
            None => {
                let mut plain = Vec::new();
                block.decompress_values(&mut plain).map_err(|source| self.corrupt(source))?;
                plain.truncate(range.end);
                plain.drain(..range.start);
                Ok(Payload::Owned(plain))
            }
        }
    }

    /// Where a slice of the mapping stands in it.
    fn range_of(&self, slice: &[u8]) -> Range<usize> {
        let start = slice.as_ptr().addr().saturating_sub(self.map.bytes().as_ptr().addr());
        start..start + slice.len()
    }

    /// The properties block.
    pub(crate) fn properties(&self) -> &Properties {
        &self.properties
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Acquire) {
            self.graveyard.bury(self.path.clone());
            self.graveyard.condemned.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

type Decoded = (Footer, Vec<Partition>, Properties);

fn decode(bytes: &[u8], place: &Place, meta: &TableMeta) -> Result<Decoded, DecodeError> {
    let header =
        FileHeader::decode_expecting(bytes, FileKind::Sstable, Some(place.store), place.file)?;
    if bytes.len() as u64 != meta.size || header.id != meta.id {
        return Err(DecodeError::corrupt(
            "sstable",
            0,
            format!("{} bytes with file id {}", meta.size, meta.id),
            format!("{} bytes with file id {}", bytes.len(), header.id),
        ));
    }
    let footer_offset = bytes.len().saturating_sub(FOOTER_LEN);
    let footer_bytes = bytes.get(footer_offset..).unwrap_or_default();
    let footer = Footer::decode(footer_bytes, place, footer_offset as u64)?;
    let checksum = Footer::checksum_of(footer_bytes);
    if checksum != meta.footer_checksum || footer.id != meta.id || footer.file_len != meta.size {
        return Err(DecodeError::corrupt(
            "footer",
            footer_offset as u64,
            format!("checksum {:016x} as in the manifest", meta.footer_checksum),
            format!("{checksum:016x}"),
        ));
    }
    let region = |(offset, len): (u64, u64), what: &'static str| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        let sealed = bytes.get(start..end).ok_or_else(|| {
            DecodeError::corrupt(
                what,
                offset,
                format!("a region inside the file of {} bytes", bytes.len()),
                format!("{len} bytes"),
            )
        })?;
        checksum::open(sealed, place, offset, what)
    };
    let partitions = decode_partitions(region(footer.partitions, "partitions")?)
        .map_err(|source| source.at(footer.partitions.0))?;
    // Entries of another database than the manifest says would be found by compactions only.
    let ends = [partitions.first(), partitions.last()].map(|end| end.map(|part| part.database));
    let said = [meta.smallest.0, meta.largest.0];
    if ends != said.map(Some) {
        return Err(DecodeError::corrupt(
            "partitions",
            footer.partitions.0,
            format!("databases {} to {} as in the manifest", said[0], said[1]),
            format!("{ends:?}"),
        ));
    }
    // What is kept in memory for each block is held against the file first.
    let data = partitions.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.data_bytes));
    if data.is_none_or(|data| data > footer.data_end) {
        let expected = format!("at most {} bytes of data blocks", footer.data_end);
        let found = format!("{data:?}");
        return Err(DecodeError::corrupt("partitions", footer.partitions.0, expected, found));
    }
    let properties = Properties::decode(region(footer.properties, "properties")?)
        .map_err(|source| source.at(footer.properties.0))?;
    if let Some(expiry) = properties.max_expiry {
        let expected = "entries that do not expire";
        let found = format!("an expiry at {expiry}");
        return Err(DecodeError::new(
            Reason::TooNew,
            "sstable",
            footer.properties.0,
            expected,
            found,
        ));
    }
    Ok((footer, partitions, properties))
}
