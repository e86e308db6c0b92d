//! Orlop itself.
//!
//! As shipped, but for what every engine here is given: the durability of the row, and the
//! compression of the table. Where nothing is compressed there is no block cache to size: tables are
//! mapped, and the page cache holds what the others keep in theirs. `get` returns a value that owns
//! its place; `get_with`, which lends it, has a row of its own.

use orlop::{Compression, Cursor, Database, Durability, Store};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::Result;

pub(super) const KIND: Kind = Kind {
    name: "orlop",
    package: "orlop",
    feature: None,
    open: Some(open),
    classes: &[Class::Memory, Class::Buffered, Class::Synced],
    shipped_class: Class::Synced,
    compression: Some("Snappy"),
    settings: "As shipped, but for the durability of the row. Tables are memory-mapped, so the page \
               cache is the cache. Compressed: Snappy from \
               level 2 down as shipped, and level 1 of 32 MiB instead of 256, so that most of the \
               store lies there, and the cache for decompressed blocks. Reads through `get` (a \
               value that pins its table) and one cursor that is reused; the row in place through `get_with`. Bulk load: \
               `Database::bulk_load`, which ends on the device whatever the row is worth.",
    answers: true,
};

/// The size of level 1, above which nothing is compressed, in the table with compression. As shipped
/// it is 256 MiB, and a store of that size would be measured without any.
const COMPRESSED_LEVEL_BASE: u64 = 32 << 20;

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut builder = Store::builder();
    if settings.table != Table::Shipped {
        builder = builder.durability(durability(settings.class)).compression(Compression::None);
    }
    if settings.table == Table::Compressed {
        let compressed = builder.compression(Compression::Snappy);
        builder = compressed.level_base(COMPRESSED_LEVEL_BASE).cache_size(settings.cache);
    }
    let store = builder.open(&settings.dir)?;
    let spaces = (0..settings.spaces).map(|space| store.database(space.to_string()));
    let spaces = spaces.collect::<Result<_, _>>()?;
    Ok(Box::new(Orlop { store, spaces }))
}

fn durability(class: Class) -> Durability {
    match class {
        Class::Memory => Durability::Memory,
        Class::Buffered => Durability::Buffered,
        Class::Synced => Durability::Synced,
    }
}

struct Orlop {
    store: Store,
    spaces: Vec<Database>,
}

impl Engine for Orlop {
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Open { engine: self, space: &self.spaces[0], reads, cursor: None }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let mut load = self.spaces[0].bulk_load()?;
        for (key, value) in entries {
            load.put(key, value)?;
        }
        Ok(load.finish()?)
    }

    fn settle(&self) -> Result<()> {
        self.store.settle()?;
        Ok(self.store.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.store.close()?)
    }

    fn runs(&self) -> Option<usize> {
        Some(self.store.stats().levels.iter().map(|level| level.runs.len()).sum())
    }

    fn remark(&self) -> Option<String> {
        let stats = self.store.stats();
        Some(match stats.log_path_fallback {
            Some(why) => format!("log by {} ({why})", stats.log_path),
            None => format!("log by {}", stats.log_path),
        })
    }
}

struct Open<'a> {
    engine: &'a Orlop,
    space: &'a Database,
    reads: Reads,
    /// Kept from scan to scan while reads are fixed.
    cursor: Option<Cursor>,
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = &self.engine.spaces[space];
        self.cursor = None;
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.space.put(key, value)?)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.space.put_with(key, value, durability(class))?)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = self.engine.store.batch();
        for (key, value) in entries {
            batch.put(self.space, key, value)?;
        }
        Ok(batch.commit()?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.space.delete(key)?)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.space.get(key)?.map(|value| touch(&value)))
    }

    fn get_in_place(&mut self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.space.get_with(key, touch)?)
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        let mut found = Found::default();
        for value in self.space.multi_get(keys)?.iter().flatten() {
            found.add(value);
        }
        Ok(found)
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let kept = self.cursor.take().filter(|_| self.reads == Reads::Fixed);
        let cursor = match kept {
            Some(cursor) => self.cursor.insert(cursor),
            None => self.cursor.insert(self.space.cursor()?),
        };
        let mut found = Found::default();
        match (from, direction) {
            (None, Direction::Forward) => cursor.seek_first(),
            (None, Direction::Backward) => cursor.seek_last(),
            (Some(from), Direction::Forward) => cursor.seek(from)?,
            (Some(from), Direction::Backward) => {
                // The gap lies before `from`: an entry that stands there is the first.
                cursor.seek(from)?;
                if limit > 0
                    && let Some((key, value)) = cursor.next()?
                    && key == from
                {
                    found.add(value);
                }
                cursor.seek(from)?;
            }
        }
        while found.entries < limit {
            let entry = match direction {
                Direction::Forward => cursor.next()?,
                Direction::Backward => cursor.prev()?,
            };
            let Some((key, value)) = entry else { break };
            std::hint::black_box(key);
            found.add(value);
        }
        Ok(found)
    }
}
