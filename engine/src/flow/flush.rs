//! From the oldest sealed memtable to a run of level 0.
//!
//! 1. write what survives of it into sstables, synced, their directory synced
//! 2. make the edit durable: the tables in, the log released up to the next memtable's floor
//! 3. replace the view: the tables in, the memtable out
//! 4. remove the segments that nobody needs any more. The next one says which came before it, so
//!    that a manifest without the edit of step 2 would be noticed; where there is none, the
//!    superblock says first how many edits the manifest has

use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, FileNumber};
use orlop_formats::manifest::VersionEdit;

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::flow::compact::fold::Fold;
use crate::flow::compact::rewrite::{Output, Plan, rewrite};
use crate::flow::install::install;
use crate::state::iter::{Merge, Source};
use crate::state::memtable::{MemCursor, Memtable};
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::sync::{Arc, Ordering, read};

/// Flushes the oldest sealed memtable; false when there is none.
pub(crate) fn run(shared: &Shared) -> Result<bool> {
    shared.check_poison()?;
    let view = shared.view.pin();
    let Some(memtable) = view.sealed.last() else { return Ok(false) };
    let next = match view.sealed.len() {
        1 => &view.active,
        len => &view.sealed[len - 2],
    };
    let output = write_tables(shared, &view, memtable)?;
    let bytes = output.bytes();
    let (last, log_number) = (memtable.last_seqno(), next.log_floor());
    seeded!(SegmentsTooEarly: log_number = shared.numbers.load(Ordering::Relaxed));
    let edit = |state: &State| VersionEdit {
        log_number: Some(log_number),
        flushed_seqno: Some(state.flushed_seqno.max(last)),
        next_database_id: Some(read(&shared.catalog).next_id()),
        clock_ms: Some(state.clock_ms.max(shared.dir.env.now_ms())),
        ..VersionEdit::default()
    };
    seeded!(SegmentsBeforeEdit => remove_segments(shared, log_number)?);
    install(shared, output, edit, Some(memtable))?;
    shared.durable.fetch_max(last, Ordering::AcqRel);
    shared.log_number.store(log_number, Ordering::Release);
    remove_segments(shared, log_number)?;
    shared.counters.count_flush(bytes);
    shared.wake();
    Ok(true)
}

fn write_tables(shared: &Shared, view: &View, memtable: &Arc<Memtable>) -> Result<Output> {
    let bottom = |database: DatabaseId, key: &[u8]| {
        view.version.runs().all(|run| run.table_for(database, key).is_none())
    };
    let plan = Plan {
        level: 0,
        run: None,
        fold: Fold::new(shared.snapshots.boundaries(&shared.visible)),
        liveness: shared.liveness(),
        bottom: &bottom,
        pause: &mut || shared.check_poison(),
    };
    let source = Source::Memory(MemCursor::over_all(Arc::clone(memtable)));
    rewrite(shared, &mut Merge::new(vec![source]), plan)
}

/// Step 4. A segment becomes a spare, if one like it is wanted. One that cannot be removed is an orphan that the next open removes.
fn remove_segments(shared: &Shared, log_number: FileNumber) -> Result<()> {
    // In this order: one that is taken in between is counted as a spare.
    let spares = shared.spares.as_ref().map(|spares| spares.numbers()).unwrap_or_default();
    let entries = shared.dir.list()?;
    let segments = entries.iter().filter_map(|entry| match FileName::parse(&entry.name) {
        Some(FileName::Log(number)) if !spares.contains(&number) => Some((number, entry.len)),
        _ => None,
    });
    let (old, needed): (Vec<_>, Vec<_>) = segments.partition(|(number, _)| *number < log_number);
    if !old.is_empty() && needed.is_empty() {
        let Some(manifest) = &mut *shared.manifest.lock() else { return Err(Error::ReadOnly) };
        manifest.vouch().inspect_err(|error| {
            if manifest.failed() {
                shared.poison(error);
            }
        })?;
    }
    for (number, len) in old {
        let recycled = shared.spares.as_ref().is_some_and(|spares| spares.recycle(number, len));
        if !recycled {
            let _ = shared.dir.env.remove(&shared.dir.path_of(FileName::Log(number)));
        }
    }
    Ok(())
}
