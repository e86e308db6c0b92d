//! One place that holds entries in order: a memtable or a run. A closed set, so an enum.

use orlop_formats::ids::{DatabaseId, Kind, Seqno};

use crate::error::Result;
use crate::files::sstable::RunCursor;
use crate::state::memtable::MemCursor;
use crate::state::range_deletes::{Covering, End};

/// See the module. Order: database, key ascending; sequence number descending.
pub(crate) enum Source {
    Memory(MemCursor),
    Run(Box<RunCursor>),
}

impl Source {
    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Source::Memory(cursor) => {
                cursor.seek_ge(key);
                Ok(())
            }
            Source::Run(cursor) => cursor.seek_ge(key),
        }
    }

    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) -> Result<()> {
        match self {
            Source::Memory(cursor) => {
                cursor.seek_lt(key);
                Ok(())
            }
            Source::Run(cursor) => cursor.seek_lt(key),
        }
    }

    pub(crate) fn next(&mut self) -> Result<()> {
        match self {
            Source::Memory(cursor) => {
                cursor.next();
                Ok(())
            }
            Source::Run(cursor) => cursor.next(),
        }
    }

    pub(crate) fn prev(&mut self) -> Result<()> {
        match self {
            Source::Memory(cursor) => {
                cursor.prev();
                Ok(())
            }
            Source::Run(cursor) => cursor.prev(),
        }
    }

    /// Steps over the entry that it stands on, which is covered, and over what follows as far as all that it has there is.
    pub(crate) fn skip_covered(&mut self, by: Covering<'_>) -> Result<()> {
        let database = self.database();
        match self {
            Source::Memory(cursor) => {
                cursor.skip_covered(by);
                Ok(())
            }
            Source::Run(cursor) => cursor.skip_covered(&|key, after| {
                by.covered_to(database, key, after).map(|end| match end {
                    End::Before(key) => Some(key),
                    End::Last => None,
                })
            }),
        }
    }

    /// The same going back, if all that it has there is covered; whether it is.
    pub(crate) fn skip_covered_back(&mut self, by: Covering<'_>) -> Result<bool> {
        let database = self.database();
        match self {
            Source::Memory(cursor) => Ok(cursor.skip_covered_back(by)),
            Source::Run(cursor) => {
                cursor.skip_covered_back(&|key, after| by.covered_from(database, key, after))
            }
        }
    }

    pub(crate) fn valid(&self) -> bool {
        match self {
            Source::Memory(cursor) => cursor.valid(),
            Source::Run(cursor) => cursor.valid(),
        }
    }

    pub(crate) fn database(&self) -> DatabaseId {
        match self {
            Source::Memory(cursor) => cursor.database(),
            Source::Run(cursor) => cursor.database(),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Source::Memory(cursor) => cursor.key(),
            Source::Run(cursor) => cursor.key(),
        }
    }

    pub(crate) fn seqno(&self) -> Seqno {
        match self {
            Source::Memory(cursor) => cursor.seqno(),
            Source::Run(cursor) => cursor.seqno(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Source::Memory(cursor) => cursor.kind(),
            Source::Run(cursor) => cursor.kind(),
        }
    }

    #[inline]
    pub(crate) fn expiry(&self) -> Option<u64> {
        match self {
            Source::Memory(cursor) => cursor.expiry(),
            Source::Run(cursor) => cursor.expiry(),
        }
    }

    /// Makes [`Source::value`] available.
    #[inline]
    pub(crate) fn load_value(&mut self) -> Result<()> {
        match self {
            Source::Memory(_) => Ok(()),
            Source::Run(cursor) => cursor.load_value(),
        }
    }

    /// The value of the entry, after [`Source::load_value`], for a caller.
    pub(crate) fn lent_value(&self) -> &[u8] {
        match self {
            Source::Memory(cursor) => cursor.value(),
            Source::Run(cursor) => cursor.lent_value(),
        }
    }

    /// Whether a file that it reads has failed.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Source::Memory(_) => Ok(()),
            Source::Run(cursor) => cursor.check(),
        }
    }

    /// The value of the entry, after [`Source::load_value`]; for the engine alone.
    pub(crate) fn value(&self) -> &[u8] {
        match self {
            Source::Memory(cursor) => cursor.value(),
            Source::Run(cursor) => cursor.value(),
        }
    }
}
