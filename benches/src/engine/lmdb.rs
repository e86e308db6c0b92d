//! LMDB through heed: a copy-on-write B-tree in a memory map, with one writer at a time.
//!
//! There is no cache to size: the page cache is the cache. What opening requires is set in every
//! table: a map that is large enough for anything (address space, not memory) and the number of
//! named databases. A store of one key space uses the unnamed database, as LMDB's documentation
//! has it: a named one costs its record in every commit and a search for it in every transaction.
//!
//! A synced commit is LMDB's own: fdatasync of the data, then the meta page through a descriptor
//! with `O_DSYNC`. Buffered writes are `NO_SYNC` without `WRITE_MAP`: pages go to the kernel with
//! pwrite, so they outlive the process; after a loss of power the environment may be corrupt. For
//! the same reason no synced write can stand beside buffered ones, though `force_sync` exists: the
//! commits that follow overwrite its meta page and then reuse pages of its tree, and the device may
//! take those writes in any order. `WRITE_MAP` is left out: it gives up the protection of the map.
//!
//! Read transactions are tied to threads (the default). heed cannot reset and renew one; a fresh one
//! that finds its thread's slot costs an allocation, while one without thread-local storage takes a
//! mutex, too. Fixed reads keep theirs. heed's iterators do not seek, so each scan opens a cursor.
//! Read-ahead is off only when the page cache is cold: LMDB's documentation has it help random reads
//! of more than fits into memory, and it slows the rest.

use std::hint::black_box;
use std::ops::Bound;

use heed::types::Bytes;
use heed::{
    AnyTls, CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls,
};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::{Failure, Result};

pub(super) const KIND: Kind = Kind {
    name: "lmdb",
    package: "heed",
    feature: Some("lmdb"),
    open: Some(open),
    classes: &[Class::Buffered, Class::Synced],
    shipped_class: Class::Synced,
    compression: None,
    settings: "LMDB 0.9.70 (`mdb.master`) as the heed crate builds it. The page cache is the \
               cache. Map of 1 TiB; one key space is the unnamed database, several are named ones. \
               Synced writes: no flags (fdatasync, then the meta page with `O_DSYNC`). Buffered \
               writes: `NO_SYNC` without `WRITE_MAP` (pwrite; a loss of power may corrupt the \
               environment). One class for the whole environment: with `NO_SYNC`, later commits \
               endanger a synced one. One write transaction per put or batch. Bulk loads: `APPEND` \
               in transactions of 64 MiB. Reads of a store at rest keep one read transaction; \
               beside writes each read begins its own, tied to its thread (a slot of the reader \
               table that is kept). Each scan opens a cursor. `NO_READ_AHEAD` for reads with cold \
               caches only. No checksums, no compression. Shipped: nothing but the map.",
    answers: true,
};

/// Bytes of the map. It takes address space only; LMDB asks for "as large as possible".
const MAP: usize = 1 << 40;

/// Slots of the reader table as shipped. A slot belongs to a thread until that ends.
const READERS: u32 = 126;

/// Threads that may hold a slot besides those with a session.
const OTHER_READERS: usize = 16;

/// Bytes of one transaction of a bulk load: its dirty pages are the write buffer.
const BULK_TRANSACTION: usize = 64 << 20;

const ONE_CLASS: &str = "LMDB has one class for the whole environment: where some commits are not \
                         synced, a loss of power can take those that are";

type Space = Database<'static, Bytes, Bytes>;

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let env = open_environment(settings)?;
    let spaces = if settings.spaces == 1 {
        vec![open_space(&env, None)?]
    } else {
        let names = (0..settings.spaces).map(|space| space.to_string());
        names.map(|name| open_space(&env, Some(&name))).collect::<Result<_>>()?
    };
    Ok(Box::new(Lmdb { env, spaces, class: settings.class }))
}

#[expect(unsafe_code, reason = "LMDB trusts what it maps, so heed has no safe way to open it")]
fn open_environment(settings: &Settings) -> Result<Env> {
    let mut flags = EnvFlags::empty();
    if settings.table != Table::Shipped {
        match settings.class {
            Class::Memory => {
                return Err(Failure::unsupported("an LMDB commit is in the kernel at least"));
            }
            Class::Buffered => flags |= EnvFlags::NO_SYNC,
            Class::Synced => {}
        }
        if settings.cold {
            flags |= EnvFlags::NO_READ_AHEAD;
        }
    }
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP);
    if settings.spaces > 1 {
        options.max_dbs(u32::try_from(settings.spaces)?);
    }
    let readers = u32::try_from(settings.sessions + OTHER_READERS)?;
    if readers > READERS {
        options.max_readers(readers);
    }
    // SAFETY: the directory belongs to this process alone for as long as the environment is open:
    // the harness made it, on a local disk, and nothing else writes to the files in it; heed refuses
    // to open it a second time. The lock file stays on. `NO_SYNC` endangers the data where the system
    // goes down, which is the risk that the class stands for.
    Ok(unsafe { options.flags(flags).open(&settings.dir) }?)
}

/// Opens a database and makes it where it is missing.
fn open_space(env: &Env, name: Option<&str>) -> Result<Space> {
    let opened = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database(txn, name).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    match opened {
        CommitOrAbort::Commit(space) => Ok(space),
        CommitOrAbort::Abort(()) => Err(Failure::other("a commit was taken back")),
    }
}

struct Lmdb {
    env: Env,
    spaces: Vec<Space>,
    class: Class,
}

impl Engine for Lmdb {
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>> {
        let kept = match reads {
            Reads::Fixed => Some(self.env.read_txn()?),
            Reads::Current => None,
        };
        Ok(Box::new(Open { engine: self, space: &self.spaces[0], kept }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let mut txn = self.env.write_txn()?;
            let mut bytes = 0;
            while bytes < BULK_TRANSACTION
                && let Some((key, value)) = entries.next()
            {
                self.spaces[0].put_with_flags(&mut txn, PutFlags::APPEND, key, value)?;
                bytes += key.len() + value.len();
            }
            txn.commit()?;
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Open<'a> {
    engine: &'a Lmdb,
    space: &'a Space,
    /// The read transaction of fixed reads.
    kept: Option<RoTxn<'a, WithTls>>,
}

impl Open<'_> {
    /// Reads in the kept transaction, or in a fresh one.
    #[inline]
    fn read<T>(&self, read: impl FnOnce(&RoTxn<'_, AnyTls>) -> Result<T>) -> Result<T> {
        match &self.kept {
            Some(txn) => read(txn),
            None => read(&*self.engine.env.read_txn()?),
        }
    }
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = &self.engine.spaces[space];
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut txn = self.engine.env.write_txn()?;
        self.space.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        if class != self.engine.class {
            return Err(Failure::unsupported(ONE_CLASS));
        }
        self.put(key, value)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mut txn = self.engine.env.write_txn()?;
        for (key, value) in entries {
            self.space.put(&mut txn, key, value)?;
        }
        Ok(txn.commit()?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        let mut txn = self.engine.env.write_txn()?;
        self.space.delete(&mut txn, key)?;
        Ok(txn.commit()?)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        self.read(|txn| Ok(self.space.get(txn, key)?.map(touch)))
    }

    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        self.read(|txn| {
            let mut found = Found::default();
            for key in keys {
                if let Some(value) = self.space.get(txn, key)? {
                    found.add(value);
                }
            }
            Ok(found)
        })
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        const NO_BOUND: Bound<&[u8]> = Bound::Unbounded;
        self.read(|txn| match (from.map(Bound::Included), direction) {
            (None, Direction::Forward) => walk(self.space.iter(txn)?, limit),
            (None, Direction::Backward) => walk(self.space.rev_iter(txn)?, limit),
            (Some(from), Direction::Forward) => {
                walk(self.space.range(txn, &(from, NO_BOUND))?, limit)
            }
            (Some(from), Direction::Backward) => {
                walk(self.space.rev_range(txn, &(NO_BOUND, from))?, limit)
            }
        })
    }
}

#[inline]
fn walk<'a>(
    mut entries: impl Iterator<Item = heed::Result<(&'a [u8], &'a [u8])>>,
    limit: u64,
) -> Result<Found> {
    let mut found = Found::default();
    while found.entries < limit {
        let Some(entry) = entries.next() else { break };
        let (key, value) = entry?;
        black_box(key);
        found.add(value);
    }
    Ok(found)
}
