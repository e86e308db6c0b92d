//! sled 0.34.7, the last stable version: 1.0 has been an alpha for years.
//!
//! The cache is the budget; how much memory it takes is sled's own estimate. The mode is the one
//! that its documentation has for throughput, though nothing in 0.34.7 reads it. Buffers of 512 KiB
//! and the background flush every 500 ms stay as shipped. Its compression is left out: zstd in C,
//! which is there only with a cargo feature.
//!
//! A put goes into a buffer in the memory of the process, so it is of the memory class. The
//! documentation of `flush` promises an fsync. On Linux it is a pwrite and `sync_file_range`, which
//! saves neither the new length of a file that grew nor what the device holds in its cache (sled
//! issues 1351 and 1452); values with files of their own get not even that. So there are no synced
//! writes, and a put with a flush is no buffered one either: it waits for the device. Only the
//! background thread and the close call fsync.
//!
//! A put of the value that the key has already logs nothing, so the workloads never do that. There is no read transaction, and no
//! iterator that seeks; a get lends the value, counted.

use std::fs::File;
use std::hint::black_box;
use std::ops::Bound;
use std::path::PathBuf;

use sled::{Batch, Config, Db, IVec, Mode, Tree};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::{Failure, Result};

pub(super) const KIND: Kind = Kind {
    name: "sled",
    package: "sled",
    feature: Some("sled"),
    open: Some(open),
    classes: &[Class::Memory],
    shipped_class: Class::Memory,
    compression: None,
    settings: "0.34.7, the last stable version (1.0 is an alpha). `cache_capacity` is the cache \
               budget and `mode` is `HighThroughput`, which 0.34.7 does not look at; buffers of \
               512 KiB and the background flush every 500 ms as shipped. Writes are of the memory \
               class only: a put stays in a buffer of the process. No synced writes: `flush` on \
               Linux ends in `sync_file_range`, not in the fsync that its documentation promises, \
               and leaves out a file's new length and the cache of the device. No buffered ones: a \
               flush waits for the device nevertheless. Batches by `apply_batch`; bulk loads are inserts in order, as \
               it has no call for them; scans by `range`. Settling is a flush and a \
               sync of the filesystem; the collection of garbage in its log goes on in the \
               background and cannot be waited for. Compression (zstd, by a cargo feature) is left \
               out. Shipped: cache of 1 GiB, the rest is the same.",
    answers: true,
};

const ONLY_MEMORY: &str = "sled's flush ends in sync_file_range: it waits for the device and still \
                           does not make the write safe from a loss of power";

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut config = Config::new().path(&settings.dir);
    if settings.table != Table::Shipped {
        if settings.class != Class::Memory {
            return Err(Failure::unsupported(ONLY_MEMORY));
        }
        config = config.cache_capacity(settings.cache).mode(Mode::HighThroughput);
    }
    let db = config.open()?;
    let spaces = (0..settings.spaces).map(|space| db.open_tree(space.to_string()));
    let spaces = spaces.collect::<Result<_, _>>()?;
    Ok(Box::new(Sled { spaces, db, dir: settings.dir.clone() }))
}

struct Sled {
    spaces: Vec<Tree>,
    db: Db,
    dir: PathBuf,
}

impl Engine for Sled {
    fn session(&self, _reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Open { engine: self, space: &self.spaces[0] }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        for (key, value) in entries {
            self.spaces[0].insert(key, value)?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        // Its files are many: every value above some 128 KiB has one of its own.
        Ok(rustix::fs::syncfs(File::open(&self.dir)?)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping the last handle stops the background thread and syncs; it has no error to tell.
        self.db.flush()?;
        drop(self);
        Ok(())
    }
}

struct Open<'a> {
    engine: &'a Sled,
    space: &'a Tree,
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = &self.engine.spaces[space];
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.space.insert(key, value)?;
        Ok(())
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        if class != Class::Memory {
            return Err(Failure::unsupported(ONLY_MEMORY));
        }
        self.put(key, value)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.insert(*key, *value);
        }
        Ok(self.space.apply_batch(batch)?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.space.remove(key)?;
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.space.get(key)?.map(|value| touch(&value)))
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let bound = from.map_or(Bound::Unbounded, Bound::Included);
        match direction {
            Direction::Forward => {
                walk(self.space.range::<&[u8], _>((bound, Bound::Unbounded)), limit)
            }
            Direction::Backward => {
                walk(self.space.range::<&[u8], _>((Bound::Unbounded, bound)).rev(), limit)
            }
        }
    }
}

#[inline]
fn walk(
    mut entries: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
    limit: u64,
) -> Result<Found> {
    let mut found = Found::default();
    while found.entries < limit {
        let Some(entry) = entries.next() else { break };
        let (key, value) = entry?;
        black_box(&*key);
        found.add(&value);
    }
    Ok(found)
}
