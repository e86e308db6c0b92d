//! Making new tables part of the store: what a flush and a compaction end with.
//!
//! 1. open the tables, so that readers never wait for that
//! 2. find out which range deletes are needed for what there is then: the others are forgotten
//! 3. make the edit durable that names all this
//! 4. replace the view

use std::collections::HashSet;

use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileNumber, Seqno};
use orlop_formats::manifest::{RangeDelete, TableMeta, VersionEdit};

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::files::sstable::Table;
use crate::flow::compact::rewrite::Output;
use crate::state::memtable::Memtable;
use crate::state::range_deletes::{Between, RangeDeletes};
use crate::state::shared::Shared;
use crate::state::version::Version;
use crate::state::view::View;
use crate::sync::{Arc, AtomicU64, Ordering};

/// Installs the tables of `output` with an edit made from the manifest's state, and takes `flushed`
/// out of the view. On an error the tables are gone again, unless it is unknown whether the edit
/// is in effect: then the store is poisoned.
pub(crate) fn install(
    shared: &Shared,
    output: Output,
    edit: impl FnOnce(&State) -> VersionEdit,
    flushed: &[Arc<Memtable>],
) -> Result<()> {
    let opened = open_tables(shared, &output.tables).inspect_err(|_| output.discard(shared))?;
    install_opened(shared, &opened, edit, flushed).map_err(|failed| {
        if !failed.in_doubt {
            output.discard(shared);
        }
        failed.error
    })
}

/// Why tables are not installed.
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether the edit may be in effect all the same; the store is poisoned then.
    in_doubt: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, in_doubt: false }
    }
}

/// Steps 2 to 4.
pub(crate) fn install_opened(
    shared: &Shared,
    opened: &[Arc<Table>],
    edit: impl FnOnce(&State) -> VersionEdit,
    flushed: &[Arc<Memtable>],
) -> Result<(), Failed> {
    let mut manifest = shared.manifest.lock();
    let Some(manifest) = manifest.as_mut() else { return Err(Error::ReadOnly.into()) };
    let mut edit = edit(manifest.state());
    // A log that ends before what is durable now has lost something.
    let durable = seeded!(MarkLeftOut => 0, else shared.durable());
    let last_seqno = manifest.state().last_seqno.max(edit.flushed_seqno.unwrap_or(0)).max(durable);
    let added = opened.iter().map(|table| table.meta().clone()).collect();
    (edit.added, edit.last_seqno) = (added, Some(last_seqno));
    let next = next_version(shared, &mut edit, opened)?;
    let loaded_seqno = edit.loaded_seqno;
    seeded!(ViewBeforeEdit => replace_view(shared, next.clone(), flushed, loaded_seqno));
    if let Err(error) = manifest.append(edit) {
        let in_doubt = manifest.failed();
        if in_doubt {
            shared.poison(&error);
        }
        return Err(Failed { error, in_doubt });
    }
    seeded!(ViewBeforeEdit => return Ok(()));
    replace_view(shared, next, flushed, loaded_seqno);
    Ok(())
}

fn open_tables(shared: &Shared, metas: &[TableMeta]) -> Result<Vec<Arc<Table>>> {
    let open = |meta: &TableMeta| {
        let path = shared.dir.path_of(FileName::Sstable(meta.number));
        let context = Arc::clone(&shared.tables);
        let place = shared.place(meta.number);
        let table = Table::open(&*shared.dir.env, path, place, meta.clone(), context)?;
        table.read_indexes();
        Ok(Arc::new(table))
    };
    metas.iter().map(open).collect()
}

/// The version that an edit makes, which gets its range deletes settled.
fn next_version(
    shared: &Shared,
    edit: &mut VersionEdit,
    opened: &[Arc<Table>],
) -> Result<Arc<Version>> {
    let version = shared.view.with(|view| Arc::clone(&view.version));
    let removed: HashSet<FileNumber> = edit.removed.iter().copied().collect();
    let next = version.apply(&removed, opened).map_err(|found| {
        Error::corrupt(&shared.dir.path, "version edit", 0, "a valid version", found)
    })?;
    let before = version.range_deletes();
    let gone = settle_range_deletes(shared, &version, &next, edit, &removed);
    if gone.is_empty() && edit.added_range_deletes.is_empty() {
        return Ok(Arc::new(next));
    }
    let stay = before.all().iter().filter(|range| !gone.contains(*range)).cloned();
    let added = edit.added_range_deletes.iter().cloned().map(Arc::new);
    let range_deletes = RangeDeletes::of(stay.chain(added).collect());
    edit.removed_range_deletes = gone.iter().map(|range| (**range).clone()).collect();
    edit.removed_range_deletes.sort_unstable();
    Ok(Arc::new(next.with_range_deletes(Arc::new(range_deletes))))
}

/// Leaves those out of an edit that are not needed. Gives those that were, and are no more: no table has anything that they
/// delete, or newer ones delete all of it, for everybody who sees them.
fn settle_range_deletes(
    shared: &Shared,
    version: &Version,
    next: &Version,
    edit: &mut VersionEdit,
    removed: &HashSet<FileNumber>,
) -> HashSet<Arc<RangeDelete>> {
    let before = version.range_deletes();
    let (boundaries, liveness) = (shared.boundaries(), shared.liveness());
    let is_needed = |range: &RangeDelete| !liveness.is_dead(range.database) && next.needs(range);
    edit.added_range_deletes.retain(is_needed);
    let added = RangeDeletes::of(edit.added_range_deletes.iter().cloned().map(Arc::new).collect());
    let is_surpassed = |range: &RangeDelete, by: &RangeDeletes| {
        let first = boundaries.partition_point(|boundary| boundary.seqno < range.seqno);
        let upto = boundaries.get(first).map_or(Seqno::MAX, |boundary| boundary.seqno);
        seeded!(SurpassedForSnapshots: upto = Seqno::MAX);
        by.cover_range(range, Between { after: range.seqno, upto })
    };
    edit.added_range_deletes.retain(|range| !is_surpassed(range, &added));
    let tables: Vec<&TableMeta> = version
        .tables()
        .map(|table| table.meta())
        .filter(|of| removed.contains(&of.number))
        .collect();
    let is_gone = |range: &&Arc<RangeDelete>| {
        let was_there = tables.iter().any(|table| touches(table, range));
        was_there && !is_needed(range) || !added.is_empty() && is_surpassed(range, &added)
    };
    before.all().iter().filter(is_gone).cloned().collect()
}

/// Whether a table can hold keys of a range.
fn touches(table: &TableMeta, range: &RangeDelete) -> bool {
    let (first, last) = (&table.smallest, &table.largest);
    let is_before_end = match &range.end {
        Some(end) => (first.0, &first.1) < (range.database, end),
        None => first.0 <= range.database,
    };
    is_before_end && (range.database, &range.start) <= (last.0, &last.1)
}

/// Step 4. Who reads an older view reads at no commit behind `loaded_seqno`, which is not published yet.
fn replace_view(
    shared: &Shared,
    version: Arc<Version>,
    flushed: &[Arc<Memtable>],
    loaded_seqno: Option<Seqno>,
) {
    let stays =
        |memtable: &&Arc<Memtable>| !flushed.iter().any(|other| Arc::ptr_eq(other, memtable));
    let until = shared.view.with(|view| Arc::clone(&view.until));
    shared.view.update(|view| View {
        active: Arc::clone(&view.active),
        sealed: view.sealed.iter().filter(stays).cloned().collect(),
        version,
        until: match loaded_seqno {
            Some(_) => Arc::new(AtomicU64::new(Seqno::MAX)),
            None => Arc::clone(&view.until),
        },
    });
    if let Some(seqno) = loaded_seqno {
        until.store(seqno - 1, Ordering::Release);
    }
    shared.remember_flushed(flushed);
    shared.wake();
}
