//! RocksDB.
//!
//! Set as its own guides say for a machine of two cores: a HyperClockCache of the budget, full
//! Bloom filters of 10 bits a key, two memtables of 64 MiB, two background jobs. Block size, table
//! format, level sizes and the rest are its defaults of today, which its header files recommend.
//! Compression is LZ4 on every level, as shipped: the guide on compression sees few uses for one
//! kind per level, and the kind for the bottom that it likes better, Zstandard, is not compiled in.
//! Large values go to blob files with garbage collection and a cache, as the guide on BlobDB says.
//!
//! By default a write ends in `write(2)`; `WriteOptions::sync` adds `fdatasync`, and log files are
//! recycled then, which spares the device the growth of the file. For the class memory the log
//! stays in the process (`manual_wal_flush`). Without a log (`disableWAL`) it would be a little
//! faster, but that option is for data that can be made anew: what is lost then is not the end of
//! what was written but any part of it.
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
    settings: "",
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
            return Err(Failure::unsupported(
                "whether the log stays in the process is for all writes",
            ));
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

#[cfg(test)]
mod experiment {
    use super::*;
    use crate::shape::{KeyShape, Shape, Values};
    use std::time::Instant;

    #[test]
    #[ignore]
    #[allow(clippy::unwrap_used)]
    fn exp() {
        let env = |name: &str, default: u64| {
            std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let n = env("N", 1_000_000);
        let value_size = env("VS", 100) as usize;
        let shape = Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size };
        let class = match env("CLASS", 1) {
            0 => Class::Memory,
            1 => Class::Buffered,
            _ => Class::Synced,
        };
        let table = match env("TABLE", 0) {
            0 => Table::Uncompressed,
            1 => Table::Compressed,
            _ => Table::Shipped,
        };
        let values = Values::new(value_size);
        let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or("/work/main/target".into()))
            .unwrap();
        let settings = Settings {
            dir: dir.path().to_path_buf(),
            class,
            table,
            cache: 1 << 30,
            shape,
            spaces: 1,
            sessions: env("S", 4) as usize,
            cold: false,
        };
        let what = std::env::var("WHAT").unwrap_or("fill,settle,get,miss,scan,seek,multi".into());
        let threads = env("T", 1);
        let mut numbers: Vec<u64> = (0..n).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut numbers);
        let mut engine = Some(KIND.open(&settings).unwrap());
        for what in what.split(',') {
            let start = Instant::now();
            let mut ops = n;
            match what {
                "fill" | "fillseq" => {
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                let mut lat = Vec::with_capacity(n as usize);
                                for i in (t..n).step_by(threads as usize) {
                                    let number =
                                        if what == "fill" { numbers[i as usize] } else { i };
                                    let at = Instant::now();
                                    s.put(&shape.key(number), values.of(number)).unwrap();
                                    lat.push(at.elapsed().as_nanos() as u64);
                                }
                                lat.sort_unstable();
                                let q = |p: f64| {
                                    lat[((lat.len() - 1) as f64 * p) as usize] as f64 / 1000.0
                                };
                                println!(
                                    "   p50 {:.1} p99 {:.1} p99.9 {:.1} p99.99 {:.1} max {:.1} us",
                                    q(0.5),
                                    q(0.99),
                                    q(0.999),
                                    q(0.9999),
                                    q(1.0)
                                );
                            });
                        }
                    });
                }
                "batch" => {
                    let e = engine.as_ref().unwrap();
                    let mut s = e.session(Reads::Current).unwrap();
                    for chunk in numbers.chunks(1000) {
                        let keys: Vec<_> = chunk.iter().map(|n| shape.key(*n)).collect();
                        let entries: Vec<_> =
                            keys.iter().zip(chunk).map(|(k, n)| (&k[..], values.of(*n))).collect();
                        s.put_batch(&entries).unwrap();
                    }
                }
                "bulk" => {
                    let keys: Vec<Vec<u8>> = (0..n).map(|i| shape.key(i)).collect();
                    let start = Instant::now();
                    let mut it = keys.iter().zip(0..).map(|(k, n)| (&k[..], values.of(n)));
                    engine.as_ref().unwrap().bulk_load(&mut it).unwrap();
                    println!("   bulk inner {:.0}/s", n as f64 / start.elapsed().as_secs_f64());
                }
                "sync" => {
                    ops = 2000 * threads;
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                for i in 0..2000 {
                                    let number = numbers[((i * threads + t) % n) as usize];
                                    s.put_as(Class::Synced, &shape.key(number), values.of(number))
                                        .unwrap();
                                }
                            });
                        }
                    });
                }
                "settle" => engine.as_ref().unwrap().settle().unwrap(),
                "reopen" => {
                    engine.take().unwrap().close().unwrap();
                    println!("   close {:?}", start.elapsed());
                    engine = Some(KIND.open(&settings).unwrap());
                }
                "get" | "getcur" => {
                    let e = engine.as_ref().unwrap();
                    let reads = if what == "get" { Reads::Fixed } else { Reads::Current };
                    ops = n.min(500_000) * threads;
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(reads).unwrap();
                                for i in 0..n.min(500_000) {
                                    let number = numbers[((i * 7919 + t * 31) % n) as usize];
                                    let got = s.get(&shape.key(number)).unwrap();
                                    if i % 64 == 0 {
                                        assert_eq!(got, Some(touch(values.of(number))));
                                    }
                                }
                            });
                        }
                    });
                }
                "miss" => {
                    ops = n.min(500_000);
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for i in 0..ops {
                        let mut k = shape.key(numbers[i as usize]);
                        k.push(b'x');
                        assert!(s.get(&k).unwrap().is_none());
                    }
                }
                "multi" => {
                    ops = n.min(500_000) / 32 * 32;
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for c in numbers[..ops as usize].chunks(32) {
                        let keys: Vec<_> = c.iter().map(|n| shape.key(*n)).collect();
                        let keys: Vec<_> = keys.iter().map(|k| &k[..]).collect();
                        assert_eq!(s.multi_get(&keys).unwrap().entries, 32);
                    }
                }
                "scan" | "rscan" => {
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    let d = if what == "scan" { Direction::Forward } else { Direction::Backward };
                    let f = s.scan(None, d, u64::MAX).unwrap();
                    assert_eq!(f.entries, n);
                }
                "seek" | "seekcur" => {
                    ops = n.min(100_000);
                    let mut s = engine
                        .as_ref()
                        .unwrap()
                        .session(if what == "seek" { Reads::Fixed } else { Reads::Current })
                        .unwrap();
                    for i in 0..ops {
                        let _ = s
                            .scan(Some(&shape.key(numbers[i as usize])), Direction::Forward, 10)
                            .unwrap();
                    }
                }
                _ => panic!("{what}"),
            }
            let t = start.elapsed().as_secs_f64();
            let disk =
                std::process::Command::new("du").arg("-sk").arg(dir.path()).output().unwrap();
            let disk = String::from_utf8_lossy(&disk.stdout)
                .split_whitespace()
                .next()
                .unwrap_or("")
                .to_owned();
            println!(
                "{:>8}: {:>10.0}/s  {:.3} s  {:.2} us  disk {} MB",
                what,
                ops as f64 / t,
                t,
                t * 1e6 / ops as f64,
                disk.parse::<u64>().unwrap_or(0) / 1024
            );
        }
        engine.take().unwrap().close().unwrap();
    }
}
