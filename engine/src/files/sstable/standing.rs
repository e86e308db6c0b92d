//! The block that a cursor stands in: found once, then read where it lies without being looked for again.
//!
//! A block is a part of its table's map, which is where it is for as long as there is the table, and the tables are kept
//! here. So where its bytes are can be kept beside them.

use std::ptr::NonNull;

use orlop_formats::block::Parsed;
use orlop_formats::error::DecodeError;
use orlop_formats::ids::DatabaseId;

use super::reader::Table;
use crate::error::{Error, Result};
use crate::sync::Arc;

/// See the module.
pub(super) struct Standing {
    /// Nothing replaces them, for `block` points into their maps.
    tables: Arc<[Arc<Table>]>,
    block: Option<Held>,
}

/// A block, which belongs to the cursor that stands in it: it is lent, and cannot be taken or copied.
pub(super) struct Held {
    pub(super) table: usize,
    pub(super) part: usize,
    pub(super) database: DatabaseId,
    /// Its number in its part.
    pub(super) number: usize,
    pub(super) found: Parsed<Bytes>,
    /// The same bytes in the map that callers look at.
    lent: Bytes,
    /// Where they begin in the file.
    start: usize,
}

/// Bytes in the map of a table that is kept beside them.
pub(super) struct Bytes(NonNull<[u8]>);

// SAFETY: they are read and never written, and threads may share what they lie in, a `Mapping`.
unsafe impl Send for Bytes {}

// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl AsRef<[u8]> for Bytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Standing::enter` alone makes a `Bytes`, of the map of one of its tables; whoever has a reference to
        // it has borrowed that `Standing`, which drops no table before it is dropped itself.
        unsafe { self.0.as_ref() }
    }
}

impl Held {
    /// The body of the block, for the engine alone.
    #[inline]
    pub(super) fn own(&self) -> &[u8] {
        self.found.body().as_ref()
    }

    /// The same, for callers.
    #[inline]
    pub(super) fn lent(&self) -> &[u8] {
        self.lent.as_ref()
    }

    /// Where the body ends in the file.
    pub(super) fn end(&self) -> usize {
        self.start + self.own().len()
    }
}

impl Standing {
    pub(super) fn before(tables: Arc<[Arc<Table>]>) -> Self {
        Self { tables, block: None }
    }

    #[inline]
    pub(super) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    #[inline]
    pub(super) fn block(&self) -> Option<&Held> {
        self.block.as_ref()
    }

    /// The table of the block.
    pub(super) fn table(&self) -> Option<&Arc<Table>> {
        self.tables.get(self.block()?.table)
    }

    /// Says that the block breaks a rule.
    #[cold]
    pub(super) fn corrupt(&self, source: DecodeError) -> Error {
        let start = self.block().map_or(0, |block| block.start as u64);
        let path = self.table().map_or_else(Default::default, |table| table.path().to_owned());
        Error::decode(&path, source.at(start))
    }

    /// Stands in block `number` of a part of a table. `again`: it is checked, whoever has done so before. On an error
    /// the cursor stands where it did.
    pub(super) fn enter(
        &mut self,
        (table, part): (usize, usize),
        number: usize,
        again: bool,
    ) -> Result<()> {
        let of = &self.tables[table];
        let (found, range) = of.block(part, number, again)?;
        let start = range.start;
        let lent = Bytes(of.mapping().lent().get(range).unwrap_or_default().into());
        let own = Bytes((*found.body()).into());
        let database = of.database(part).unwrap_or(DatabaseId(0));
        let found = found.within(own);
        self.block = Some(Held { table, part, database, number, found, lent, start });
        Ok(())
    }

    /// Takes the block for read that could not be.
    #[cfg(feature = "seeded-bugs")]
    pub(super) fn pass_over(&mut self) {
        self.block.iter_mut().for_each(|block| block.number += 1);
    }

    /// Stands nowhere.
    pub(super) fn leave(&mut self) {
        self.block = None;
    }
}
