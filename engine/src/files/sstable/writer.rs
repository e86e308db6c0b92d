//! Writes one sstable, front to back.
//!
//! 1. data blocks as entries arrive; each leaves a fence (separator key and handle) behind
//! 2. one index block per database, from its fences
//! 3. filter, partitions, properties, footer
//! 4. sync; the caller syncs the directory before a manifest edit names the file

use std::mem;
use std::path::PathBuf;

use orlop_formats::block::{BlockBuilder, Compression, separator};
use orlop_formats::checksum::{self, Place};
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filter::{self, FilterBuilder};
use orlop_formats::ids::{DatabaseId, FileId, FileNumber, Kind, Seqno};
use orlop_formats::manifest::TableMeta;
use orlop_formats::sstable::{
    ExpiriesBuilder, FOOTER_LEN, Footer, Handle, Partition, Properties, encode_partitions,
    place_block,
};

use crate::env::{Env, WriteFile};
use crate::error::{Error, Result};

/// How a table is brought to the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes of a write, but for the last one: whole sectors, which can go past the page cache.
    write: usize,
    /// Bytes between two syncs: while the device makes a large part durable, what a commit wants of it waits.
    sync: u64,
}

impl Pace {
    /// Beside commits.
    pub(crate) const BESIDE_COMMITS: Pace = Pace { write: 1 << 20, sync: 8 << 20 };

    /// As fast as the device can: a commit that needs it waits longer.
    pub(crate) const FAST: Pace = Pace { write: 1 << 20, sync: u64::MAX };
}

/// One entry on its way into a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) database: DatabaseId,
    pub(crate) key: &'a [u8],
    pub(crate) seqno: Seqno,
    pub(crate) kind: Kind,
    pub(crate) expiry: Option<u64>,
    pub(crate) value: &'a [u8],
}

impl Entry<'_> {
    /// The delete that hides what this entry hid, now that it has expired.
    pub(crate) fn buried(self) -> Self {
        Self { kind: Kind::Delete, expiry: None, value: b"", ..self }
    }
}

/// What a table is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableFormat {
    /// Bytes of a data block.
    pub(crate) block_size: usize,
    pub(crate) compression: Compression,
    /// Bits of the filter for each key; 0: no filter.
    pub(crate) filter_bits: u32,
    /// No range delete up to this commit deletes an entry.
    pub(crate) cleared_to: Seqno,
    pub(crate) pace: Pace,
}

/// A data block that is written, and whose fence waits for the next block's first key.
struct Fence {
    handle: Handle,
    last_key: Vec<u8>,
    last_seqno: Seqno,
}

/// See the module.
pub(crate) struct TableWriter {
    path: PathBuf,
    place: Place,
    id: FileId,
    file: Box<dyn WriteFile>,
    /// Bytes not written yet; the first stands at `written` in the file.
    buffer: Vec<u8>,
    written: u64,
    /// Bytes before this are on the device.
    synced: u64,
    pace: Pace,
    block_size: usize,
    block: BlockBuilder,
    index: BlockBuilder,
    fence: Option<Fence>,
    scratch: Vec<u8>,
    /// The database whose entries arrive.
    partition: Option<Partition>,
    last_seqno: Seqno,
    partitions: Vec<Partition>,
    /// Bodies of the index blocks of finished databases.
    indexes: Vec<Vec<u8>>,
    filter: Option<FilterBuilder>,
    properties: Properties,
    expiries: ExpiriesBuilder,
    last_hash: Option<u64>,
}

impl TableWriter {
    /// Creates the file of table `place.file`.
    pub(crate) fn create(
        env: &dyn Env,
        path: PathBuf,
        place: Place,
        format: TableFormat,
    ) -> Result<Self> {
        let file = env.create(&path).map_err(|source| Error::io("create", &path, source))?;
        Ok(Self::over(file, FileId(env.random()), path, place, format))
    }

    /// The same over a file that is empty.
    pub(crate) fn over(
        file: Box<dyn WriteFile>,
        id: FileId,
        path: PathBuf,
        place: Place,
        format: TableFormat,
    ) -> Self {
        let header =
            FileHeader { kind: FileKind::Sstable, store: place.store, number: place.file, id };
        let TableFormat { block_size, compression, filter_bits: bits, cleared_to, pace } = format;
        Self {
            path,
            place,
            id,
            file,
            buffer: header.encode().to_vec(),
            written: 0,
            synced: 0,
            pace,
            block_size,
            block: BlockBuilder::new(compression),
            index: BlockBuilder::new(Compression::None),
            fence: None,
            scratch: Vec::new(),
            partition: None,
            last_seqno: 0,
            partitions: Vec::new(),
            indexes: Vec::new(),
            filter: (bits > 0).then(|| FilterBuilder::new(bits)),
            properties: Properties {
                min_seqno: Seqno::MAX,
                filter_bits: bits,
                compression,
                cleared_to,
                ..Properties::default()
            },
            last_hash: None,
            expiries: ExpiriesBuilder::default(),
        }
    }

    /// Bytes of the file so far, without what follows the data.
    pub(crate) fn size(&self) -> u64 {
        self.position()
    }

    /// The table's file number.
    pub(crate) fn number(&self) -> FileNumber {
        self.place.file
    }

    /// Adds an entry. Order: database, key ascending; seqno descending. Entries out of order come
    /// from a damaged input, and are refused before they make a damaged output.
    pub(crate) fn add(&mut self, entry: Entry<'_>) -> Result<()> {
        self.check_order(&entry)?;
        if self.partition.as_ref().map(|p| p.database) != Some(entry.database) {
            self.end_partition()?;
            self.begin_partition(&entry);
        }
        // Before the value is looked at, which may be on its way here.
        self.account(&entry);
        let Entry { key, seqno, kind, expiry, value, .. } = entry;
        if self.block.is_empty() {
            self.place_fence(Some(key));
        }
        if !self.block.add_within(self.block_size, (key, seqno, kind), expiry, value) {
            self.end_block()?;
            self.place_fence(Some(key));
            self.block.add(key, seqno, kind, expiry, value);
        }
        self.last_seqno = seqno;
        Ok(())
    }

    fn check_order(&self, entry: &Entry<'_>) -> Result<()> {
        let Some(partition) = &self.partition else { return Ok(()) };
        let last_key = match &self.fence {
            Some(fence) if self.block.is_empty() => fence.last_key.as_slice(),
            _ => self.block.last_key(),
        };
        let last = (partition.database, last_key, std::cmp::Reverse(self.last_seqno));
        if last < (entry.database, entry.key, std::cmp::Reverse(entry.seqno)) {
            return Ok(());
        }
        let expected = "entries in order from the tables it is made of";
        let found = format!("{:?} out of order", entry.key.escape_ascii().to_string());
        Err(Error::corrupt(&self.path, "sstable input", self.position(), expected, found))
    }

    fn account(&mut self, entry: &Entry<'_>) {
        let tombstone = u64::from(entry.kind == Kind::Delete);
        if let Some(partition) = &mut self.partition {
            partition.entries += 1;
            partition.tombstones += tombstone;
        }
        let properties = &mut self.properties;
        properties.entries += 1;
        properties.tombstones += tombstone;
        properties.min_seqno = properties.min_seqno.min(entry.seqno);
        properties.max_seqno = properties.max_seqno.max(entry.seqno);
        properties.raw_key_bytes += entry.key.len() as u64;
        properties.raw_value_bytes += entry.value.len() as u64;
        entry.expiry.into_iter().for_each(|expiry| self.expiries.add(expiry));
        if let Some(filter) = &mut self.filter {
            // Versions of one key follow each other: one hash for all of them.
            seeded!(FilterMissesKeys => if properties.entries % 7 == 3 { return });
            let hash = filter::hash(entry.database, entry.key);
            if self.last_hash.replace(hash) != Some(hash) {
                filter.add(hash);
            }
        }
    }

    fn begin_partition(&mut self, entry: &Entry<'_>) {
        if self.properties.entries == 0 {
            self.properties.smallest = (entry.database, entry.key.to_vec());
        }
        self.partition = Some(Partition { database: entry.database, ..Partition::default() });
    }

    fn end_partition(&mut self) -> Result<()> {
        if self.partition.is_none() {
            return Ok(());
        }
        self.end_block()?;
        self.place_fence(None);
        if let Some(partition) = self.partition.take() {
            let mut body = Vec::new();
            self.index.finish(&mut body);
            self.indexes.push(body);
            self.partitions.push(partition);
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let last_key = self.block.last_key().to_vec();
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        self.block.finish(&mut body);
        let handle = self.put_block(&mut body)?;
        self.scratch = body;
        if let Some(partition) = &mut self.partition {
            self.properties.largest = (partition.database, last_key.clone());
            partition.blocks += 1;
            partition.data_bytes += u64::from(handle.len);
        }
        self.properties.blocks += 1;
        self.fence = Some(Fence { handle, last_key, last_seqno: self.last_seqno });
        Ok(())
    }

    /// Adds the fence of the last block to the index, now that the first key behind it is known.
    fn place_fence(&mut self, next: Option<&[u8]>) {
        let Some(fence) = self.fence.take() else { return };
        let handle = fence.handle.encode();
        match next {
            // The key goes on in the next block: the fence needs its seqno to stay in order.
            Some(next) if next == fence.last_key => {
                self.index.add(next, fence.last_seqno, Kind::Put, None, &handle);
            }
            Some(next) => {
                let separator = separator(&fence.last_key, next);
                self.index.add(&separator, 0, Kind::Put, None, &handle);
            }
            None => self.index.add(&fence.last_key, 0, Kind::Put, None, &handle),
        }
    }

    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn pad_to(&mut self, start: u64) {
        let padding = start.saturating_sub(self.position()) as usize;
        self.buffer.resize(self.buffer.len() + padding, 0);
    }

    /// Seals a body and puts it behind what is there, by the page rule.
    fn put_block(&mut self, body: &mut Vec<u8>) -> Result<Handle> {
        let sealed_len = body.len() as u64 + 8;
        let offset = place_block(self.position(), sealed_len);
        self.pad_to(offset);
        let place = (&self.place, offset);
        seeded!(PlaceUnbound: place = crate::seeded::unbound("data block", place.0, offset));
        checksum::seal(body, 0, place.0, place.1);
        self.buffer.extend_from_slice(body);
        self.write_out()?;
        let len = u32::try_from(sealed_len).map_err(|_| Error::TooLarge {
            what: "sstable block",
            limit: u64::from(u32::MAX),
            found: sealed_len,
        })?;
        Ok(Handle { offset, len })
    }

    /// Seals a region behind the data, on the next multiple of 8.
    fn put_region(&mut self, mut body: Vec<u8>) -> Result<(u64, u64)> {
        let offset = self.position().next_multiple_of(8);
        self.pad_to(offset);
        checksum::seal(&mut body, 0, &self.place, offset);
        self.buffer.extend_from_slice(&body);
        self.write_out()?;
        Ok((offset, body.len() as u64))
    }

    /// Writes what is whole.
    fn write_out(&mut self) -> Result<()> {
        self.write(self.buffer.len() / self.pace.write * self.pace.write)
    }

    /// Writes the first `len` bytes of the buffer.
    fn write(&mut self, len: usize) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let bytes = self.buffer.get(..len).unwrap_or(&self.buffer);
        let written = self.file.write_at(self.written, bytes);
        written.map_err(|source| Error::io("write", &self.path, source))?;
        self.written += len as u64;
        self.buffer.drain(..len);
        if self.written - self.synced >= self.pace.sync {
            self.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        seeded!(TableUnsynced => return Ok(()));
        let synced = self.file.sync();
        seeded!(TableSyncErrorIgnored => return Ok(()));
        synced.map_err(|source| Error::io("sync", &self.path, source))
    }

    /// Writes what follows the data (steps 2 to 4) and describes the table for the manifest.
    pub(crate) fn finish(mut self, level: u8, run: u64) -> Result<TableMeta> {
        self.end_partition()?;
        let data_end = self.position();
        let indexes = std::mem::take(&mut self.indexes);
        for (at, body) in indexes.into_iter().enumerate() {
            let (offset, len) = self.put_region(body)?;
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.index = Handle { offset, len: len as u32 };
            }
        }
        let lines = self.filter.take().map(FilterBuilder::finish).unwrap_or_default();
        let filter = self.put_region(lines)?;
        let partitions = self.put_region(encode_partitions(&self.partitions))?;
        self.properties.expiries = mem::take(&mut self.expiries).finish();
        let properties = self.put_region(self.properties.encode())?;
        let footer_offset = self.position().next_multiple_of(8);
        self.pad_to(footer_offset);
        let size = footer_offset + FOOTER_LEN as u64;
        let footer =
            Footer { file_len: size, filter, partitions, properties, data_end, id: self.id };
        let bytes = footer.encode(&self.place);
        self.buffer.extend_from_slice(&bytes);
        self.write(self.buffer.len())?;
        self.sync()?;
        Ok(TableMeta {
            level,
            run,
            number: self.place.file,
            id: self.id,
            size,
            footer_checksum: Footer::checksum_of(&bytes),
            smallest: self.properties.smallest,
            largest: self.properties.largest,
            min_seqno: self.properties.min_seqno,
            max_seqno: self.properties.max_seqno,
            entries: self.properties.entries,
            tombstones: self.properties.tombstones,
        })
    }
}
