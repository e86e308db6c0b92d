//! From the oldest sealed memtable to a run of level 0.
//!
//! 1. write what survives of it into sstables, synced, their directory synced
//! 2. make the edit durable: the tables in, the log released up to the next memtable's floor
//! 3. replace the view: the tables in, the memtable out
//! 4. remove the segments that nobody needs any more

use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, FileNumber};
use orlop_formats::manifest::VersionEdit;

use crate::error::{Error, Result};
use crate::flow::compact::fold::Fold;
use crate::flow::compact::job::open_tables;
use crate::flow::compact::rewrite::{Output, Plan, rewrite};
use crate::state::iter::{Merge, Source};
use crate::state::memtable::{MemCursor, Memtable};
use crate::state::shared::Shared;
use crate::state::version::Version;
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
    install(shared, memtable, next.log_floor(), output)?;
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

/// Steps 2 to 4.
fn install(
    shared: &Shared,
    memtable: &Arc<Memtable>,
    log_number: FileNumber,
    output: Output,
) -> Result<()> {
    let mut guard = shared.manifest.lock();
    let Some(manifest) = guard.as_mut() else { return Err(Error::ReadOnly) };
    let added = open_tables(shared, &output.tables).inspect_err(|_| output.discard(shared))?;
    let last = memtable.last_seqno();
    let edit = VersionEdit {
        added: output.tables.clone(),
        log_number: Some(log_number),
        flushed_seqno: Some(manifest.state().flushed_seqno.max(last)),
        last_seqno: Some(manifest.state().last_seqno.max(last)),
        next_database_id: Some(read(&shared.catalog).next_id()),
        clock_ms: Some(manifest.state().clock_ms.max(shared.env.now_ms())),
        ..VersionEdit::default()
    };
    if let Err(error) = manifest.append(edit) {
        if manifest.failed() {
            shared.poison(&error);
        } else {
            output.discard(shared);
        }
        return Err(error);
    }
    drop(guard);
    shared.durable.fetch_max(last, Ordering::AcqRel);
    swap(shared, memtable, &added)?;
    shared.log_number.store(log_number, Ordering::Release);
    remove_segments(shared, log_number)
}

fn swap(
    shared: &Shared,
    memtable: &Arc<Memtable>,
    added: &[Arc<crate::files::sstable::Table>],
) -> Result<()> {
    let mut outcome = Ok(());
    shared.view.update(|view| {
        let version: Result<Version, String> =
            view.version.apply(&std::collections::HashSet::new(), added);
        match version {
            Ok(version) => View {
                active: Arc::clone(&view.active),
                sealed: view.sealed.iter().filter(|m| !Arc::ptr_eq(m, memtable)).cloned().collect(),
                version: Arc::new(version),
            },
            Err(found) => {
                outcome = Err(found);
                view.clone()
            }
        }
    });
    outcome.map_err(|found| {
        let error = Error::corrupt(&shared.dir, "version edit", 0, "a valid version", found);
        shared.poison(&error);
        error
    })
}

/// Step 4. A segment that cannot be removed is an orphan that the next open removes.
fn remove_segments(shared: &Shared, log_number: FileNumber) -> Result<()> {
    let entries = shared.env.list(&shared.dir).map_err(|e| Error::io("list", &shared.dir, e))?;
    for entry in entries {
        if let Some(FileName::Log(number)) = FileName::parse(&entry.name)
            && number < log_number
        {
            let _ = shared.env.remove(&shared.dir.join(entry.name));
        }
    }
    Ok(())
}
