//! RocksDB.
//!
//! Set as its own guides say for a machine of two cores: a HyperClockCache of the budget, full
//! Bloom filters of 10 bits a key, two memtables of 64 MiB, two background jobs. Block size, table
//! format, level sizes and the rest are the defaults of this version. Compression is LZ4 on every
//! level, as shipped: the guide on compression sees few uses for one kind per level, and the kind
//! for the bottom that it likes better, Zstandard, is not compiled in. Large values go to blob
//! files with garbage collection and a cache, as the guide on BlobDB says.
//!
//! By default a write ends in `write(2)`; `WriteOptions::sync` adds `fdatasync`, and log files are
//! recycled then, which spares the device the growth of the file. For the class memory the log
//! stays in the process (`manual_wal_flush`): that is what the guide on the log says for users who
//! want to spare even the call into the kernel. Without a log (`disableWAL`) puts measured 4%
//! faster, but a crash would lose whole memtables, and of several column families not the same
//! part.
//!
//! A careful user keeps option objects, reads values where they lie and keeps one raw iterator,
//! which is refreshed where it must see new writes.

use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, IngestExternalFileOptions, Options, ReadOptions,
    SstFileWriter, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::{Failure, Result};

pub(super) const KIND: Kind = Kind {
    name: "rocksdb",
    package: "librocksdb-sys",
    feature: Some("rocksdb"),
    open: Some(open),
    classes: &[Class::Memory, Class::Buffered, Class::Synced],
    shipped_class: Class::Buffered,
    compression: Some("LZ4"),
    settings: "HyperClockCache of the budget, full Bloom filters of 10 bits a key, 2 memtables of 64 \
               MiB (128 MiB for all, where there is more than one key space), 2 background jobs; a \
               column family for each key space. Buffered: `put`, as shipped. Synced: \
               `WriteOptions::sync`, which is `fdatasync`, and 2 recycled log files. Memory: \
               `manual_wal_flush`. Uncompressed: no compression. Compressed: LZ4 on every level, \
               as shipped. Values from 4 KiB on: blob files with garbage collection, the block \
               cache as blob cache and the compression of the table. Reads through `get_pinned`, \
               `batched_multi_get` and one raw iterator, refreshed where reads are current. Bulk \
               load: `SstFileWriter` and `ingest_external_file`, moved. The rest as shipped: \
               leveled compaction with dynamic level sizes, blocks of 4 KiB, index and filters \
               outside the cache.",
    answers: true,
};

const WRITE_BUFFER: usize = 64 << 20;
const WRITE_BUFFERS: i32 = 2;

/// Bits of a filter for each key.
const FILTER_BITS: f64 = 10.0;

const BACKGROUND_JOBS: i32 = 2;

/// Log files that wait to be written again.
const RECYCLED_LOGS: usize = 2;

/// Values from this size on go to blob files.
const LARGE_VALUE: usize = 4096;

/// Size of a table that a bulk load makes: that of the tables that compaction makes.
const BULK_TABLE: u64 = 64 << 20;

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    if settings.table != Table::Shipped {
        tune(&mut options, settings)?;
    }
    let spaces =
        (0..settings.spaces).map(|space| ColumnFamilyDescriptor::new(name(space), options.clone()));
    let db = DB::open_cf_descriptors(&options, &settings.dir, spaces)?;
    let manual = settings.table != Table::Shipped && settings.class == Class::Memory;
    let bulk_dir = settings.dir.join("bulk");
    let spaces = settings.spaces;
    Ok(Box::new(RocksDb { db, options, class: settings.class, manual, spaces, bulk_dir }))
}

/// The column family of a key space. The first is the one that there always is.
fn name(space: usize) -> String {
    if space == 0 { DEFAULT_COLUMN_FAMILY_NAME.to_owned() } else { space.to_string() }
}

fn tune(options: &mut Options, settings: &Settings) -> Result<()> {
    let capacity = usize::try_from(settings.cache)?;
    // An entry charge of 0 lets the cache find out by itself.
    let cache = Cache::new_hyper_clock_cache(capacity, 0);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_bloom_filter(FILTER_BITS, false);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    if settings.spaces > 1 {
        options.set_db_write_buffer_size(WRITE_BUFFER * WRITE_BUFFERS as usize);
    }
    options.set_max_background_jobs(BACKGROUND_JOBS);
    match settings.class {
        Class::Memory => options.set_manual_wal_flush(true),
        Class::Buffered => {}
        Class::Synced => options.set_recycle_log_file_num(RECYCLED_LOGS),
    }
    let compression = match settings.table {
        Table::Uncompressed => DBCompressionType::None,
        Table::Compressed | Table::Shipped => DBCompressionType::Lz4,
    };
    options.set_compression_type(compression);
    if settings.shape.value_size >= LARGE_VALUE {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(LARGE_VALUE as u64);
        options.set_enable_blob_gc(true);
        options.set_blob_cache(&cache);
        options.set_blob_compression_type(compression);
    }
    Ok(())
}

struct RocksDb {
    db: DB,
    options: Options,
    class: Class,
    /// Whether the log stays in the process until it is flushed.
    manual: bool,
    spaces: usize,
    /// Where a bulk load makes its tables.
    bulk_dir: PathBuf,
}

impl RocksDb {
    fn space(&self, space: usize) -> Result<&ColumnFamily> {
        let name = name(space);
        self.db
            .cf_handle(&name)
            .ok_or_else(|| Failure::other(format!("column family {name} is gone")))
    }

    /// Makes a table of the next entries, if there are any.
    fn write_table(
        &self,
        path: &Path,
        entries: &mut dyn Iterator<Item = (&[u8], &[u8])>,
    ) -> Result<bool> {
        let Some((key, value)) = entries.next() else { return Ok(false) };
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(path)?;
        writer.put(key, value)?;
        while writer.file_size() < BULK_TABLE {
            let Some((key, value)) = entries.next() else { break };
            writer.put(key, value)?;
        }
        writer.finish()?;
        Ok(true)
    }
}

impl Engine for RocksDb {
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>> {
        let spaces = (0..self.spaces).map(|space| self.space(space)).collect::<Result<Vec<_>>>()?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Box::new(Open {
            engine: self,
            space: spaces[0],
            spaces,
            reads,
            read_options: ReadOptions::default(),
            synced,
            unsynced: WriteOptions::default(),
            iterator: None,
        }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        fs::create_dir(&self.bulk_dir)?;
        let mut paths = Vec::new();
        loop {
            let path = self.bulk_dir.join(paths.len().to_string());
            if !self.write_table(&path, entries)? {
                break;
            }
            paths.push(path);
        }
        if !paths.is_empty() {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            self.db.ingest_external_file_cf_opts(self.space(0)?, &options, paths)?;
        }
        Ok(fs::remove_dir_all(&self.bulk_dir)?)
    }

    fn settle(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        self.db.wait_for_compact(&options)?;
        Ok(self.db.flush_wal(true)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping it does the rest, but cannot say what went wrong.
        Ok(self.db.flush_wal(true)?)
    }
}

struct Open<'a> {
    engine: &'a RocksDb,
    spaces: Vec<&'a ColumnFamily>,
    space: &'a ColumnFamily,
    reads: Reads,
    read_options: ReadOptions,
    synced: WriteOptions,
    unsynced: WriteOptions,
    /// Kept from scan to scan.
    iterator: Option<DBRawIterator<'a>>,
}

impl<'a> Open<'a> {
    fn write_options(&self, class: Class) -> &WriteOptions {
        match class {
            Class::Memory | Class::Buffered => &self.unsynced,
            Class::Synced => &self.synced,
        }
    }

    /// Hands a write that has been made to the kernel, where that is not done yet and `class` asks
    /// for it.
    fn flush(&self, class: Class) -> Result<()> {
        if self.engine.manual && class == Class::Buffered {
            self.engine.db.flush_wal(false)?;
        }
        Ok(())
    }

    /// An iterator that sees what it must see.
    fn iterator(&mut self) -> Result<&mut DBRawIterator<'a>> {
        match self.iterator.take() {
            Some(mut kept) => {
                if self.reads == Reads::Current {
                    kept.refresh()?;
                }
                Ok(self.iterator.insert(kept))
            }
            None => Ok(self.iterator.insert(self.engine.db.raw_iterator_cf(self.space))),
        }
    }
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = self.spaces[space];
        self.iterator = None;
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let options = self.write_options(self.engine.class);
        Ok(self.engine.db.put_cf_opt(self.space, key, value, options)?)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        if class == Class::Memory && !self.engine.manual {
            let why = "whether the log stays in the process is for all writes of a store";
            return Err(Failure::unsupported(why));
        }
        self.engine.db.put_cf_opt(self.space, key, value, self.write_options(class))?;
        self.flush(class)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put_cf(self.space, key, value);
        }
        Ok(self.engine.db.write_opt(batch, self.write_options(self.engine.class))?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        let options = self.write_options(self.engine.class);
        Ok(self.engine.db.delete_cf_opt(self.space, key, options)?)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        let value = self.engine.db.get_pinned_cf_opt(self.space, key, &self.read_options)?;
        Ok(value.map(|value| touch(&value)))
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        let keys = keys.iter().copied();
        let options = &self.read_options;
        let mut found = Found::default();
        for value in self.engine.db.batched_multi_get_cf_opt(self.space, keys, false, options) {
            if let Some(value) = value? {
                found.add(&value);
            }
        }
        Ok(found)
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let iterator = self.iterator()?;
        match (from, direction) {
            (None, Direction::Forward) => iterator.seek_to_first(),
            (None, Direction::Backward) => iterator.seek_to_last(),
            (Some(from), Direction::Forward) => iterator.seek(from),
            (Some(from), Direction::Backward) => iterator.seek_for_prev(from),
        }
        let mut found = Found::default();
        while found.entries < limit {
            let Some((key, value)) = iterator.item() else { break };
            std::hint::black_box(key);
            found.add(value);
            if found.entries < limit {
                match direction {
                    Direction::Forward => iterator.next(),
                    Direction::Backward => iterator.prev(),
                }
            }
        }
        iterator.status()?;
        Ok(found)
    }
}
