//! From the oldest sealed memtable to a run of level 0.
//!
//! 1. write what survives of it into sstables, synced, their directory synced
//! 2. make the edit durable: the tables in, the log released up to the next memtable's floor
//! 3. replace the view: the tables in, the memtable out
//! 4. remove the segments that nobody needs any more. The next one says which came before it, so
//!    that a manifest without the edit of step 2 would be noticed; where there is none, the
//!    superblock says first how many edits the manifest has

use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, FileNumber, Seqno};
use orlop_formats::manifest::VersionEdit;

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::flow::compact::fold::Fold;
use crate::flow::compact::rewrite::{Input, Output, Plan, rewrite};
use crate::flow::install::{Haste, install};
use crate::flow::tail::Tail;
use crate::options::Background;
use crate::state::iter::{Merge, Source};
use crate::state::memtable::{MemCursor, Memtable};
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::sync::{Arc, Ordering, join, read};

/// Flushes the oldest sealed memtable; false when there is none.
pub(crate) fn run(shared: &Shared) -> Result<bool> {
    shared.check_poison()?;
    let view = shared.view.pin();
    let Some(memtable) = view.sealed.last() else { return Ok(false) };
    let next = match view.sealed.len() {
        1 => &view.active,
        len => &view.sealed[len - 2],
    };
    let source = Source::Memory(MemCursor::over_all(Arc::clone(memtable)));
    let output = write_tables(shared, &view, &mut Merge::new(vec![source]), None)?;
    let done = Flushed { last_seqno: memtable.last_seqno(), log_number: next.log_floor() };
    finish(shared, output, &done, Some(memtable))?;
    remove_segments(shared, done.log_number)?;
    shared.wake();
    Ok(true)
}

/// A tail of at least so many bytes is worth two threads.
const TWO_THREADS: usize = 4 << 20;

/// The same for what was read back from the log. Segments below `log_number` have nothing else; they stay,
/// for who removes all that an earlier open has left.
pub(crate) fn run_of_tail(shared: &Shared, tail: &Tail, log_number: FileNumber) -> Result<()> {
    let view = shared.view.pin();
    let at_once = tail.bytes() >= TWO_THREADS && shared.options.background == Background::Thread;
    let run = shared.next_number();
    let mut parts = tail
        .parts(at_once)
        .into_iter()
        .map(|part| || write_tables(shared, &view, &mut part.sorted(), Some(run)));
    let output = match (parts.next(), parts.next()) {
        (Some(lower), Some(upper)) => {
            let (lower, upper) = join(lower, upper);
            both(shared, lower, upper)?
        }
        (Some(all), None) => all()?,
        (None, _) => Output::default(),
    };
    finish(shared, output, &Flushed { last_seqno: tail.last_seqno(), log_number }, None)?;
    obsolete_segments(shared, log_number).map(drop)
}

/// The outputs of two threads as one. Of a failure nothing is left.
fn both(shared: &Shared, lower: Result<Output>, upper: Result<Output>) -> Result<Output> {
    match (lower, upper) {
        (Ok(mut lower), Ok(upper)) => {
            lower.append(upper);
            Ok(lower)
        }
        (Ok(half), Err(error)) | (Err(error), Ok(half)) => {
            half.discard(shared);
            Err(error)
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// What an sstable takes over from the log.
struct Flushed {
    /// Every commit up to this one is in sstables.
    last_seqno: Seqno,
    /// No segment below this number has any other.
    log_number: FileNumber,
}

/// Steps 2 and 3.
fn finish(
    shared: &Shared,
    output: Output,
    &Flushed { last_seqno, log_number }: &Flushed,
    memtable: Option<&Arc<Memtable>>,
) -> Result<()> {
    let bytes = output.bytes();
    seeded!(SegmentsTooEarly: log_number = shared.numbers.load(Ordering::Relaxed));
    let edit = |state: &State| VersionEdit {
        log_number: Some(log_number),
        flushed_seqno: Some(state.flushed_seqno.max(last_seqno)),
        next_database_id: Some(read(&shared.catalog).next_id()),
        clock_ms: Some(state.clock_ms.max(shared.dir.env.now_ms())),
        ..VersionEdit::default()
    };
    seeded!(SegmentsBeforeEdit => remove_segments(shared, log_number)?);
    let haste = if memtable.is_some() { Haste::Calm } else { Haste::Urgent };
    install(shared, output, edit, memtable, haste)?;
    shared.durable.fetch_max(last_seqno, Ordering::AcqRel);
    shared.log_number.store(log_number, Ordering::Release);
    shared.counters.count_flush(bytes);
    Ok(())
}

/// Step 1.
fn write_tables(
    shared: &Shared,
    view: &View,
    input: &mut impl Input,
    run: Option<u64>,
) -> Result<Output> {
    let bottom = |database: DatabaseId, key: &[u8]| {
        view.version.runs().all(|run| run.table_for(database, key).is_none())
    };
    let plan = Plan {
        level: 0,
        run,
        fold: Fold::new(shared.snapshots.boundaries(&shared.visible)),
        liveness: shared.liveness(),
        bottom: &bottom,
        pause: &mut || shared.check_poison(),
    };
    rewrite(shared, input, plan)
}

/// Step 4. A segment becomes a spare, if one like it is wanted. One that cannot be removed is an orphan that
/// the next open removes.
fn remove_segments(shared: &Shared, log_number: FileNumber) -> Result<()> {
    for (number, len) in obsolete_segments(shared, log_number)? {
        let recycled = shared.spares.as_ref().is_some_and(|spares| spares.recycle(number, len));
        if !recycled {
            let _ = shared.dir.env.remove(&shared.dir.path_of(FileName::Log(number)));
        }
    }
    Ok(())
}

/// Segments below `log_number`, which can be removed now, and their lengths. Where there are no others the
/// superblock says so first.
fn obsolete_segments(shared: &Shared, log_number: FileNumber) -> Result<Vec<(FileNumber, u64)>> {
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
    Ok(old)
}
