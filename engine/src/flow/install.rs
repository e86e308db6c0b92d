//! Making new tables part of the store: what a flush and a compaction end with.
//!
//! 1. open the tables, so that readers never wait for that
//! 2. make the edit durable that names them
//! 3. replace the view

use std::collections::HashSet;

use orlop_formats::filename::FileName;
use orlop_formats::ids::FileNumber;
use orlop_formats::manifest::{TableMeta, VersionEdit};

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::files::sstable::Table;
use crate::flow::compact::rewrite::Output;
use crate::state::memtable::Memtable;
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::sync::Arc;

/// Installs the tables of `output` with an edit made from the manifest's state, and takes `flushed`
/// out of the view. On an error the tables are gone again, unless it is unknown whether the edit
/// is in effect: then the store is poisoned.
pub(crate) fn install(
    shared: &Shared,
    output: Output,
    edit: impl FnOnce(&State) -> VersionEdit,
    flushed: &[Arc<Memtable>],
) -> Result<()> {
    let mut manifest = shared.manifest.lock();
    let Some(manifest) = manifest.as_mut() else { return Err(Error::ReadOnly) };
    let opened = open_tables(shared, &output.tables).inspect_err(|_| output.discard(shared))?;
    let edit = edit(manifest.state());
    // A log that ends before what is durable now has lost something.
    let durable = seeded!(MarkLeftOut => 0, else shared.durable());
    let last_seqno = manifest.state().last_seqno.max(edit.flushed_seqno.unwrap_or(0)).max(durable);
    let added = output.tables.clone();
    let edit = VersionEdit { added, last_seqno: Some(last_seqno), ..edit };
    let removed: HashSet<FileNumber> = edit.removed.iter().copied().collect();
    seeded!(ViewBeforeEdit => replace_view(shared, &removed, &opened, flushed)?);
    if let Err(error) = manifest.append(edit) {
        if manifest.failed() {
            shared.poison(&error);
        } else {
            output.discard(shared);
        }
        return Err(error);
    }
    seeded!(ViewBeforeEdit => return Ok(()));
    replace_view(shared, &removed, &opened, flushed)
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

fn replace_view(
    shared: &Shared,
    removed: &HashSet<FileNumber>,
    added: &[Arc<Table>],
    flushed: &[Arc<Memtable>],
) -> Result<()> {
    let stays =
        |memtable: &&Arc<Memtable>| !flushed.iter().any(|other| Arc::ptr_eq(other, memtable));
    let mut outcome = Ok(());
    shared.view.update(|view| match view.version.apply(removed, added) {
        Ok(version) => View {
            active: Arc::clone(&view.active),
            sealed: view.sealed.iter().filter(stays).cloned().collect(),
            version: Arc::new(version),
        },
        Err(found) => {
            outcome = Err(found);
            view.clone()
        }
    });
    outcome.map_err(|found| {
        let error = Error::corrupt(&shared.dir.path, "version edit", 0, "a valid version", found);
        // The manifest and the view disagree: nothing more may be built on either.
        shared.poison(&error);
        error
    })?;
    shared.remember_flushed(flushed);
    shared.wake();
    Ok(())
}
