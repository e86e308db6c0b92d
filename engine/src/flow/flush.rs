//! From the oldest sealed memtables, or from what an open found in the log, to a run of level 0.
//!
//! 1. write what survives of it into sstables, synced, their directory synced
//! 2. make the edit durable: the tables in, the log released up to the next memtable's floor
//! 3. replace the view: the tables in, the memtables out
//! 4. remove the segments that nobody needs any more. The next one says which came before it, so
//!    that a manifest without the edit of step 2 would be noticed; where there is none, the
//!    superblock says first how many edits the manifest has

use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, FileNumber, Seqno};
use orlop_formats::manifest::{RangeDelete, VersionEdit};

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::flow::compact::fold::Fold;
use crate::flow::compact::rewrite::{Input, Output, Plan, rewrite};
use crate::flow::install::install;
use crate::flow::tail::Tail;
use crate::flow::write;
use crate::options::Background;
use crate::state::iter::{Merge, Source};
use crate::state::memtable::{MemCursor, Memtable};
use crate::state::range_deletes::{Cover, RangeDeletes};
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::sync::{Arc, Ordering, join, read};

/// Flushes the oldest sealed memtables, up to one that is due; false when there is none.
pub(crate) fn run(shared: &Shared) -> Result<bool> {
    shared.check_poison()?;
    let view = shared.view.pin();
    let memtables = view.to_flush();
    let [newest, ..] = memtables else { return Ok(false) };
    let behind = (view.sealed.len() - memtables.len()).checked_sub(1);
    let next = behind.and_then(|at| view.sealed.get(at)).unwrap_or(&view.active);
    let sources =
        memtables.iter().map(|memtable| Source::Memory(MemCursor::over_all(Arc::clone(memtable))));
    let range_deletes = range_deletes(memtables);
    let done =
        Flushed { last_seqno: newest.last_seqno(), log_number: next.log_floor(), range_deletes };
    let output = write_tables(shared, &view, &mut Merge::new(sources.collect()), &done, None)?;
    finish(shared, output, &done, memtables)?;
    remove_segments(shared, done.log_number)?;
    let let_go = write::try_with_log(shared, |lead| {
        let ended = lead.log.end_obsolete(done.log_number);
        write::judge(shared, &lead.log, ended)
    });
    let_go.transpose()?;
    shared.chores.empty_bin();
    shared.wake();
    Ok(true)
}

/// A tail of at least so many bytes is written as two tables, or one of half a memtable.
const TWO_TABLES: usize = 4 << 20;

/// The same for what was read back from the log. Segments below `log_number` have nothing else; they stay,
/// for who removes all that an earlier open has left.
pub(crate) fn run_of_tail(shared: &Shared, tail: &Tail, log_number: FileNumber) -> Result<()> {
    let view = shared.view.pin();
    let in_two = tail.bytes() >= TWO_TABLES.min(shared.options.memtable_size / 2);
    let run = shared.next_number();
    let range_deletes = Arc::new(RangeDeletes::of(tail.range_deletes().to_vec()));
    let done = Flushed { last_seqno: tail.last_seqno(), log_number, range_deletes };
    let mut parts = tail
        .parts(in_two)
        .into_iter()
        .map(|part| || write_tables(shared, &view, &mut part.sorted(), &done, Some(run)));
    let output = match (parts.next(), parts.next()) {
        (Some(lower), Some(upper)) => {
            let (lower, upper) = match shared.options.background {
                Background::Thread => join(lower, upper),
                Background::Manual => (lower(), upper()),
            };
            both(shared, lower, upper)?
        }
        (Some(all), None) => all()?,
        (None, _) => Output::default(),
    };
    finish(shared, output, &done, &[])?;
    vouch_for_the_last(shared, &segments(shared)?, log_number)?;
    // The tables went past the page cache, and whoever opens the store waits.
    shared.view.with(|view| {
        let tables = view.version.tables().filter(|table| table.meta().run == run);
        tables.for_each(|table| table.mapping().will_need_all());
    });
    Ok(())
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
    /// The manifest takes these over.
    range_deletes: Arc<RangeDeletes>,
}

/// All that memtables have.
fn range_deletes(memtables: &[Arc<Memtable>]) -> Arc<RangeDeletes> {
    let mut all = Vec::new();
    for memtable in memtables.iter().filter(|memtable| memtable.has_range_deletes()) {
        let (piles, base) = memtable.range_delete_piles();
        let of_piles = piles.iter().flat_map(|pile| pile.all());
        all.extend(of_piles.map(|range| match base {
            0 => Arc::clone(range),
            _ => Arc::new(RangeDelete { seqno: base + range.seqno, ..(**range).clone() }),
        }));
    }
    Arc::new(RangeDeletes::of(all))
}

/// Steps 2 and 3.
fn finish(
    shared: &Shared,
    output: Output,
    &Flushed { last_seqno, log_number, ref range_deletes }: &Flushed,
    memtables: &[Arc<Memtable>],
) -> Result<()> {
    let bytes = output.bytes();
    seeded!(RangeDeleteNotFlushed: range_deletes = &Arc::default());
    seeded!(SegmentsTooEarly: log_number = shared.numbers.load(Ordering::Relaxed));
    let edit = |state: &State| VersionEdit {
        log_number: Some(log_number),
        flushed_seqno: Some(state.flushed_seqno.max(last_seqno)),
        next_database_id: Some(read(&shared.catalog).next_id()),
        clock_ms: Some(state.clock_ms.max(shared.clock.now())),
        added_range_deletes: range_deletes.all().iter().map(|range| (**range).clone()).collect(),
        ..VersionEdit::default()
    };
    seeded!(SegmentsBeforeEdit => remove_segments(shared, log_number)?);
    install(shared, output, edit, memtables)?;
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
    done: &Flushed,
    run: Option<u64>,
) -> Result<Output> {
    let bottom = |database: DatabaseId, key: &[u8]| {
        view.version.runs().all(|run| run.table_for(database, key).is_none())
    };
    let mut cover = Cover::default();
    if !done.range_deletes.is_empty() {
        cover.add(Arc::clone(&done.range_deletes), 0);
    }
    let plan = Plan {
        level: 0,
        run,
        is_lowest: view.version.lowest() == 0,
        fold: Fold::new(shared.boundaries()),
        cover: (cover, done.last_seqno),
        liveness: shared.liveness(),
        bottom: &bottom,
        warm: run.is_none(),
        pause: &mut || shared.check_poison(),
    };
    rewrite(shared, input, plan)
}

/// Step 4. A segment becomes a spare, if one like it is wanted. One that cannot be removed is an orphan that
/// the next open removes.
fn remove_segments(shared: &Shared, log_number: FileNumber) -> Result<()> {
    let segments = segments(shared)?;
    vouch_for_the_last(shared, &segments, log_number)?;
    for (number, len) in segments.into_iter().filter(|(number, _)| *number < log_number) {
        let recycled = shared.spares.as_ref().is_some_and(|spares| spares.recycle(number, len));
        if !recycled {
            let _ = shared.dir.env.remove(&shared.dir.path_of(FileName::Log(number)));
        }
    }
    shared.spares.iter().for_each(|spares| spares.forget(log_number));
    Ok(())
}

/// The segments that are no spares, and their lengths.
fn segments(shared: &Shared) -> Result<Vec<(FileNumber, u64)>> {
    // Asked for twice: one that was begun in between is counted as a spare, and so is one that was named.
    let spares = || shared.spares.as_ref().map(|spares| spares.numbers()).unwrap_or_default();
    let before = spares();
    let entries = shared.dir.list()?;
    let spares = [before, spares()].concat();
    let segments = entries.iter().filter_map(|entry| match FileName::parse(&entry.name) {
        Some(FileName::Log(number)) if !spares.contains(&number) => Some((number, entry.len)),
        _ => None,
    });
    Ok(segments.collect())
}

/// Where no segment is left that will say which came before it, the superblock says how many edits there are.
fn vouch_for_the_last(
    shared: &Shared,
    segments: &[(FileNumber, u64)],
    log_number: FileNumber,
) -> Result<()> {
    if segments.is_empty() || segments.iter().any(|(number, _)| *number >= log_number) {
        return Ok(());
    }
    let Some(manifest) = &mut *shared.manifest.lock() else { return Err(Error::ReadOnly) };
    manifest.vouch().inspect_err(|error| {
        if manifest.failed() {
            shared.poison(error);
        }
    })
}
