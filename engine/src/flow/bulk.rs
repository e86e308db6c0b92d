//! Large batches: what takes time with their length is done while others commit.
//!
//! 1. the ids of the databases are looked up, as of now
//! 2. the entries go into a segment of its own (`files/wal/bulk.rs`) and a memtable of its own, both unknown to
//!    everybody else
//! 3. wait for its turn, for one stands in line at a time, and until flushes that are due have made room
//! 4. stand in line, as any commit. With the log in hand the ids are compared with what they are then: if one
//!    is another, the batch is written again as others are
//! 5. the segment follows the current one, and gets its last sector; the memtable is put in front of the
//!    active one
//!
//! A batch that changes the catalog, or creates a database, cannot know its ids, nor what its databases keep for how long: it
//! is written as others are.

use orlop_formats::batch;
use orlop_formats::ids::DatabaseId;

use crate::error::Result;
use crate::files::wal::{self, BulkWriter, Landing, Spares};
use crate::flow::commit::{Carried, Commit, next_seqno};
use crate::flow::{room, write};
use crate::state::bulk::Bulk;
use crate::state::catalog::Target;
use crate::state::lead::Lead;
use crate::state::memtable::{self, Active};
use crate::state::shadows::Shadows;
use crate::state::shared::Shared;
use crate::state::write_set::WriteSet;
use crate::sync::{Arc, Ordering, read};

/// Steps 1 to 3, if a batch is large. It is as before where that cannot be.
///
/// # Errors
/// A full disk and others; nothing of the batch has happened then.
pub(super) fn prepare(shared: &Shared, writes: &mut WriteSet) -> Result<()> {
    if writes.encoded_bound < shared.options.bulk_bytes() || writes.has_catalog_ops {
        return Ok(());
    }
    let Some(spares) = &shared.spares else { return Ok(()) };
    if writes.has_defaults() {
        return Ok(());
    }
    let Some(ids) = current_ids(shared, writes) else { return Ok(()) };
    let written = write_apart(shared, spares, writes, &ids);
    // Nobody else has the file: its space is free at once.
    let (segment, memtable) = written.inspect_err(|_| shared.chores.empty_bin())?;
    let turn = shared.bulk_turns.take();
    writes.bulk = Some(Box::new(Bulk { segment, memtable, ids, turn }));
    room::wait_for_flushes(shared)
}

/// Step 2.
fn write_apart(
    shared: &Shared,
    spares: &Arc<Spares>,
    writes: &WriteSet,
    ids: &[DatabaseId],
) -> Result<(wal::Bulk, Active)> {
    let shadows = match writes.has_range_deletes {
        true => Shadows::of(writes.writes_to(ids)),
        false => Shadows::default(),
    };
    let left = || {
        let ops = writes.writes_to(ids).zip(0..);
        ops.filter(|(op, at)| !shadows.have(*at, op)).map(|(op, _)| op)
    };
    let len = left().map(|op| batch::op_len(&op)).sum();
    let mut segment = BulkWriter::new(spares, len)?;
    let mut memtable = Active::with_memory(0, Arc::clone(&shared.memory));
    let mut writer = memtable.writer();
    for op in left() {
        segment.push(&op)?;
        writer.insert(&op, memtable::APART);
    }
    drop(writer);
    Ok((segment.finish()?, memtable))
}

/// The id of each target; `None` if one is no database now.
fn current_ids(shared: &Shared, writes: &WriteSet) -> Option<Vec<DatabaseId>> {
    let has_names = writes.targets.iter().any(|target| matches!(target, Target::Name(_)));
    let catalog = has_names.then(|| read(&shared.catalog));
    let id_of = |target: &Target| match target {
        Target::Slot(slot) => slot.latest(),
        Target::Name(name) => catalog.as_ref()?.slot(name)?.latest(),
    };
    writes.targets.iter().map(id_of).collect()
}

/// What was prepared for the one commit of a group, if it still holds (step 4).
pub(super) fn of(shared: &Shared, group: &mut [Commit<'_>]) -> Option<Box<Bulk>> {
    let [Commit { writes: Carried::Set(writes), .. }] = group else { return None };
    writes.bulk.as_ref()?;
    seeded!(BulkIdsUnchecked => return writes.bulk.take());
    let ids = current_ids(shared, writes);
    let bulk = writes.bulk.take().filter(|bulk| Some(&bulk.ids) == ids.as_ref());
    if bulk.is_none() {
        // The background has a file to remove.
        shared.wake();
    }
    bulk
}

/// Steps 1, 3 and 4 of a group (`write`) for a large batch, whose turn ends.
pub(super) fn append(
    shared: &Shared,
    lead: &mut Lead,
    commit: &mut Commit<'_>,
    bulk: Bulk,
) -> Result<Option<Landing>> {
    let Bulk { mut segment, memtable, turn: _turn, .. } = bulk;
    // Nothing has happened yet when this fails.
    room::make_for_bulk(shared)?;
    let seqno = next_seqno(shared)?;
    let begun = lead.log.begin_bulk(&mut segment, seqno);
    let number = write::judge(shared, &lead.log, begun)?;
    // From here on a failure leaves the batch indeterminate.
    shared.assigned.store(seqno, Ordering::Relaxed);
    commit.outcome = Ok(seqno);
    let appended = lead.log.append_bulk(segment, seqno, commit.durability);
    let landing = write::judge(shared, &lead.log, appended)?;
    let has_news = memtable.memtable().has_news();
    room::attach(shared, lead, memtable, (seqno, number));
    if has_news {
        shared.wake();
    }
    Ok(landing)
}
