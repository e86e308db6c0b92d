//! What a batch writes, and deletes again itself with a range of keys.
//!
//! All of a batch has one sequence number, and a range delete deletes what has a lower one. So what came before it in its
//! batch is left out.

use orlop_formats::batch::Op;
use orlop_formats::ids::{Kind, Seqno};

use crate::state::memtable::range_delete;
use crate::state::range_deletes::RangeDeletes;
use crate::sync::Arc;

/// See the module. By default there is nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    /// With places in the batch, from 1 on, for sequence numbers.
    range_deletes: RangeDeletes,
}

impl Shadows {
    /// Of the operations of a batch, in order.
    pub(crate) fn of<'a>(ops: impl Iterator<Item = Op<'a>>) -> Self {
        let ranges = ops.zip(1..).filter(|(op, _)| op.kind == Kind::RangeDelete);
        let ranges = ranges.map(|(op, place)| Arc::new(range_delete(&op, place))).collect();
        Self { range_deletes: RangeDeletes::of(ranges) }
    }

    /// Whether operation number `at`, from 0 on, is deleted behind it.
    #[inline]
    pub(crate) fn have(&self, at: usize, op: &Op<'_>) -> bool {
        seeded!(RangeDeletedBehindWrites => return false);
        !self.range_deletes.is_empty()
            && op.kind != Kind::RangeDelete
            && self.range_deletes.newest(op.database, op.key, Seqno::MAX) > at as Seqno + 1
    }
}
