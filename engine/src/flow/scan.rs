//! The way up for many keys: one merge over everything that holds entries of a database.

use orlop_formats::ids::{AsOf, DatabaseId};

use crate::files::sstable::RunCursor;
use crate::state::iter::{Merge, Source, Visible};
use crate::state::memtable::MemCursor;
use crate::state::range_deletes::Cover;
use crate::state::view::View;
use crate::sync::Arc;

/// Every key of a database as of one moment.
pub(crate) fn open(view: &View, database: DatabaseId, as_of: AsOf) -> Visible {
    let mut sources = Vec::new();
    for memtable in view.memtables() {
        if !memtable.is_empty() {
            let cursor = MemCursor::new(Arc::clone(memtable), database, as_of.seqno);
            sources.push(Source::Memory(cursor));
        }
    }
    for run in view.version.runs() {
        let tables = run.tables_of(database);
        if tables.iter().any(|table| table.holds(database)) {
            sources.push(Source::Run(Box::new(RunCursor::new(tables, database))));
        }
    }
    Visible::new(Merge::new(sources), as_of, cover(view, database))
}

/// Where ranges of a database were deleted.
fn cover(view: &View, database: DatabaseId) -> Cover {
    let mut cover = Cover::default();
    for memtable in view.memtables().filter(|memtable| memtable.has_range_deletes()) {
        let (piles, base) = memtable.range_delete_piles();
        piles.into_iter().filter(|pile| pile.has(database)).for_each(|pile| cover.add(pile, base));
    }
    let of_tables = view.version.range_deletes();
    if of_tables.has(database) {
        cover.add(Arc::clone(of_tables), 0);
    }
    cover
}
