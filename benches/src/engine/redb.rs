//! redb: a copy-on-write B-tree in one file, with one writer at a time.
//!
//! The cache is the budget and that of write buffers together, since dirty pages lie inside it.
//! Everything else is as shipped: it has no compression, and quick repair
//! and two-phase commits are offered as trades of speed, not as defaults.
//!
//! A put is a write transaction, and a transaction is durable or in memory only: a commit of
//! `Durability::None` leaves its pages in the process's buffer, where a killed process loses them.
//! There is nothing between, so redb stands in no row of buffered writes. A durable commit writes
//! its dirty pages and ends in one fdatasync; a file that grows costs another.
//!
//! Readers of a store at rest keep their table, as its own benchmark does: opening one is a search
//! of its own. A table owns the transaction behind it, so nothing borrows. Scans go by `Cursor`,
//! whose step is cheaper than that of `range`; it cannot be moved to another key, so each scan makes
//! one. Sorted loads go by `CursorMut::insert_before`, as its change log recommends.

use std::hint::black_box;
use std::ops::Bound;

use redb::{
    Cursor, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table,
    TableDefinition,
};

use super::{
    Class, Direction, Engine, Found, Kind, Reads, Session, Settings, WRITE_BUFFERS, touch,
};
use crate::failure::{Failure, Result};

pub(super) const KIND: Kind = Kind {
    name: "redb",
    package: "redb",
    feature: Some("redb"),
    open: Some(open),
    classes: &[Class::Memory, Class::Synced],
    shipped_class: Class::Synced,
    compression: None,
    settings: "`set_cache_size` is the cache budget and 128 MiB, since dirty pages count; everything else as \
               shipped (one-phase commits, no quick repair). One write transaction per put or \
               batch: `Durability::Immediate` (fdatasync) for synced writes, `Durability::None` \
               for those in memory. It has no buffered writes: what is not synced is lost with the \
               process. Bulk loads put sorted entries through `CursorMut::insert_before` in one \
               transaction. Reads of a store at rest keep one read transaction and its open table; \
               beside writes each read begins its own. Scans by `Cursor`. Settling is one durable \
               commit; `compact` is not called, as it needs the database for itself and rewrites \
               it. No compression. Shipped: cache of 1 GiB, every commit synced.",
    answers: true,
};

/// The file in the store's directory.
const FILE: &str = "store.redb";

const NO_BUFFERED: &str = "a redb commit is either synced or held in the memory of the process";

type Bytes = &'static [u8];

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut builder = Database::builder();
    let durability = if settings.table == super::Table::Shipped {
        None
    } else {
        builder.set_cache_size(usize::try_from(settings.cache + WRITE_BUFFERS)?);
        Some(durability(settings.class)?)
    };
    let db = builder.create(settings.dir.join(FILE))?;
    let names: Vec<_> = (0..settings.spaces).map(|space| space.to_string()).collect();
    // Reading a table that nobody made is an error. One that is there costs no commit.
    let missing = {
        let txn = db.begin_read()?;
        names.iter().any(|name| txn.open_table(definition(name)).is_err())
    };
    if missing {
        let txn = db.begin_write()?;
        for name in &names {
            txn.open_table(definition(name))?;
        }
        txn.commit()?;
    }
    Ok(Box::new(Redb { db, names, durability }))
}

fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

fn durability(class: Class) -> Result<Durability> {
    match class {
        Class::Memory => Ok(Durability::None),
        Class::Buffered => Err(Failure::unsupported(NO_BUFFERED)),
        Class::Synced => Ok(Durability::Immediate),
    }
}

struct Redb {
    db: Database,
    names: Vec<String>,
    /// Of a write that says nothing else; `None` leaves it to the library.
    durability: Option<Durability>,
}

impl Redb {
    /// One transaction that writes to one key space.
    fn write(
        &self,
        space: usize,
        durability: Option<Durability>,
        change: impl FnOnce(&mut Table<'_, Bytes, Bytes>) -> Result<()>,
    ) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        if let Some(durability) = durability {
            txn.set_durability(durability)?;
        }
        change(&mut txn.open_table(definition(&self.names[space]))?)?;
        Ok(txn.commit()?)
    }
}

impl Engine for Redb {
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Open { engine: self, space: 0, reads, kept: None }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        self.write(0, self.durability, |table| {
            let mut cursor = table.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
            for (key, value) in entries {
                cursor.insert_before(key, value)?;
            }
            Ok(cursor.close()?)
        })
    }

    fn settle(&self) -> Result<()> {
        // Takes every commit before it to the device, and frees pages that they left behind.
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        Ok(txn.commit()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping it is the close: it saves the allocator's state, and has no error to tell.
        drop(self);
        Ok(())
    }
}

type Reading = ReadOnlyTable<Bytes, Bytes>;

struct Open<'a> {
    engine: &'a Redb,
    space: usize,
    reads: Reads,
    /// The table, and the read transaction in it, while reads are fixed.
    kept: Option<Reading>,
}

impl Open<'_> {
    /// A table as it is now.
    fn fresh(&self) -> Result<Reading> {
        let txn = self.engine.db.begin_read()?;
        Ok(txn.open_table(definition(&self.engine.names[self.space]))?)
    }

    /// Reads from the kept table, or from a fresh one.
    #[inline]
    fn read<T>(&mut self, read: impl FnOnce(&Reading) -> Result<T>) -> Result<T> {
        if self.reads == Reads::Current {
            return read(&self.fresh()?);
        }
        if let Some(table) = &self.kept {
            return read(table);
        }
        let table = self.fresh()?;
        read(self.kept.insert(table))
    }
}

#[inline]
fn get(table: &Reading, key: &[u8]) -> Result<Option<u64>> {
    Ok(table.get(key)?.map(|value| touch(value.value())))
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = space;
        self.kept = None;
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.write(self.space, self.engine.durability, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.write(self.space, Some(durability(class)?), |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        self.engine.write(self.space, self.engine.durability, |table| {
            for (key, value) in entries {
                table.insert(*key, *value)?;
            }
            Ok(())
        })
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.write(self.space, self.engine.durability, |table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        self.read(|table| get(table, key))
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        self.read(|table| {
            let mut found = Found::default();
            for key in keys {
                if let Some(sum) = get(table, key)? {
                    found.merge(Found { entries: 1, sum });
                }
            }
            Ok(found)
        })
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let bound = from.map_or(Bound::Unbounded, Bound::Included);
        self.read(|table| match direction {
            Direction::Forward => walk(table.lower_bound(bound)?, limit, Cursor::next),
            Direction::Backward => walk(table.upper_bound(bound)?, limit, Cursor::prev),
        })
    }
}

/// What one step of a cursor comes to.
type Step<'a> = redb::Result<
    Option<(redb::AccessGuard<'a, Bytes>, redb::AccessGuard<'a, Bytes>)>,
    redb::StorageError,
>;

#[inline]
fn walk<'a>(
    mut cursor: Cursor<'a, Bytes, Bytes>,
    limit: u64,
    step: impl Fn(&mut Cursor<'a, Bytes, Bytes>) -> Step<'a>,
) -> Result<Found> {
    let mut found = Found::default();
    while found.entries < limit {
        let Some((key, value)) = step(&mut cursor)? else { break };
        black_box(key.value());
        found.add(value.value());
    }
    Ok(found)
}
