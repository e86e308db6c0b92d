//! What one commit carries, and the limits that every door checks.

use std::ops::Range;

use orlop_formats::ids::Kind;
use orlop_formats::limits::{MAX_BATCH_LEN, MAX_KEY_LEN, MAX_VALUE_LEN};

use crate::error::{Error, Result};
use crate::state::catalog::{CatalogOp, Target};
use crate::sync::Arc;

/// What one item costs in the log at most, beside its key and value.
const ITEM_OVERHEAD: usize = 32;

/// What a change of the catalog, or a database's birth, costs in the log at most.
const CATALOG_OVERHEAD: usize = 640;

/// The writes of one commit, in order. The bytes stand in `data`, the items point there.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    pub(crate) items: Vec<Item>,
    pub(crate) targets: Vec<Target>,
    pub(crate) data: Vec<u8>,
    /// Bytes this takes in the log at most.
    pub(crate) encoded_bound: usize,
    /// Whether any item is a change of the catalog.
    pub(crate) has_catalog_ops: bool,
}

/// One item of a [`WriteSet`].
#[derive(Debug)]
pub(crate) enum Item {
    Write { target: usize, kind: Kind, key: Range<usize>, value: Range<usize> },
    Catalog(CatalogOp),
}

impl WriteSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn write(
        &mut self,
        target: Target,
        kind: Kind,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        check_key(key)?;
        too_large("value", MAX_VALUE_LEN, value.len())?;
        let target_index = self.target(target);
        self.grow(key.len() + value.len() + ITEM_OVERHEAD)?;
        let start = self.data.len();
        self.data.extend_from_slice(key);
        let middle = self.data.len();
        self.data.extend_from_slice(value);
        self.items.push(Item::Write {
            target: target_index,
            kind,
            key: start..middle,
            value: middle..self.data.len(),
        });
        Ok(())
    }

    pub(crate) fn catalog(&mut self, op: CatalogOp) -> Result<()> {
        self.grow(2 * CATALOG_OVERHEAD)?;
        self.has_catalog_ops = true;
        self.items.push(Item::Catalog(op));
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        too_large("batch", MAX_BATCH_LEN, self.encoded_bound + bytes)?;
        self.encoded_bound += bytes;
        Ok(())
    }

    /// The index of a target; items of one database that follow each other share it.
    fn target(&mut self, target: Target) -> usize {
        let same = |other: &Target| match (other, &target) {
            (Target::Slot(a), Target::Slot(b)) => Arc::ptr_eq(a, b),
            (Target::Name(a), Target::Name(b)) => a == b,
            _ => false,
        };
        if let Some(last) = self.targets.last()
            && same(last)
        {
            return self.targets.len() - 1;
        }
        if let Some(found) = self.targets.iter().rposition(same) {
            return found;
        }
        self.encoded_bound += CATALOG_OVERHEAD;
        self.targets.push(target);
        self.targets.len() - 1
    }
}

/// Refuses a key over the limit, at every door.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    too_large("key", MAX_KEY_LEN, key.len())
}

fn too_large(what: &'static str, limit: usize, found: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what, limit: limit as u64, found: found as u64 })
}
