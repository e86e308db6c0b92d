//! Bulk loads: sorted entries become tables, past log and memtable.
//!
//! 1. entries go into tables as they come, in the order of their keys, and without a sequence number; a thread of its own
//!    writes and syncs these (`lane`)
//! 2. one that is full is noted in the manifest as loading, once it is synced and its name is, which is when the next one
//!    is full: then it outlives a crash, and nobody reads it
//!
//! To finish:
//!
//! 3. the last table ends and is noted, too, so that nothing is lost where one of the next steps fails; all are opened
//! 4. with the log in hand: memtables that have a key between the bounds of one of the tables are flushed, for a reader looks
//!    there first, and what they have is older
//! 5. a commit without operations goes into the log, synced: its sequence number is that of all that was loaded. The log has
//!    all numbers without a gap, and nobody else gets this one
//! 6. every table gets a place (`place`), and one edit makes them part of the version
//! 7. the commit is published

use std::mem;

use orlop_formats::batch::Op;
use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, FileId, FileNumber, Seqno};
use orlop_formats::manifest::{TableMeta, VersionEdit};

use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::files::sstable::{Entry, Pace, Table, TableFormat, TableWriter};
use crate::flow::compact::pick::LEVELED_RUN;
use crate::flow::compact::rewrite::sync_names;
use crate::flow::install::install_opened;
use crate::flow::{background, room, write};
use crate::options::{Background, LEVELS};
use crate::prefetch;
use crate::state::catalog::Slot;
use crate::state::lead::Lead;
use crate::state::memtable::{MemCursor, Memtable};
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::state::write_set::Write;
use crate::sync::{Arc, read};

mod lane;
mod place;

use lane::Lane;

/// Bytes of a value that are asked for before anything else is done with its entry.
const MOST_AHEAD: usize = 512;

/// A load that goes on; see the module.
pub(crate) struct Load {
    shared: Arc<Shared>,
    name: Arc<str>,
    database: DatabaseId,
    /// For how long an entry is there that does not say so itself, in milliseconds.
    time_to_live: Option<u64>,
    lane: Lane,
    writer: Option<Box<TableWriter>>,
    /// Those that have ended, in order: the manifest knows, or will know, the first `noted` of them.
    tables: Vec<TableMeta>,
    noted: usize,
    /// Files that this load has made.
    made: Vec<FileNumber>,
    last_key: Option<Vec<u8>>,
    /// What has ended it: an entry may be missing.
    failed: Option<Error>,
}

/// What becomes of tables that an earlier load into the database has left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// They are the beginning of this one.
    GoOn,
    /// They go.
    Discard,
}

impl Load {
    /// Begins a load into the database that a slot has now.
    pub(crate) fn begin(shared: &Arc<Shared>, slot: &Slot, earlier: Earlier) -> Result<Self> {
        let name = Arc::clone(slot.name());
        let dropped = || Error::DatabaseDropped { name: name.to_string() };
        // Together: a swap exchanges them both.
        let catalog = read(&shared.catalog);
        let database = slot.latest().ok_or_else(dropped)?;
        let time_to_live = slot.time_to_live();
        drop(catalog);
        shared.check_poison()?;
        drop(shared.loads.work()?);
        if !shared.loads.begin(database) {
            return Err(Error::InvalidArgument {
                what: "bulk load",
                expected: format!("one at a time into database {name}"),
                found: "another one, which is not finished".to_owned(),
            });
        }
        let threaded = shared.options.background == Background::Thread;
        let mut load = Self {
            name: Arc::clone(&name),
            database,
            time_to_live,
            lane: Lane::new(shared, threaded),
            writer: None,
            tables: noted(shared, |of| of == database),
            noted: 0,
            made: Vec::new(),
            last_key: None,
            failed: None,
            shared: Arc::clone(shared),
        };
        if earlier == Earlier::Discard {
            let tables = mem::take(&mut load.tables);
            forget(shared, &tables)?;
        }
        // What is noted is to outlive a crash, and so is the database that it is for.
        write::sync(shared)?;
        load.noted = load.tables.len();
        load.last_key = load.tables.last().map(|table| table.largest.1.clone());
        Ok(load)
    }

    /// When an entry expires that is added now and does not say so itself.
    pub(crate) fn default_expiry(&self) -> Option<u64> {
        self.time_to_live.map(|lives| self.shared.clock.now().saturating_add(lives))
    }

    /// The name that the database had when the load began.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The last key that was put, or that an earlier load has left.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.last_key.as_deref()
    }

    /// Adds an entry. Its lengths were held against the limits.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the key is not greater than the one before, which changes nothing; and what ends the load.
    pub(crate) fn add(&mut self, write: Write<'_>) -> Result<()> {
        // It is copied last.
        prefetch::read(write.value.as_ptr(), write.value.len().min(MOST_AHEAD));
        self.check()?;
        let Op { kind, database, key, value, expiry } = write.to(self.database);
        if let Some(last) = self.last_key.as_deref().filter(|last| *last >= key) {
            return Err(out_of_order(last, key));
        }
        if self.writer.as_ref().is_some_and(|of| of.size() >= self.shared.options.table_size) {
            let ended = self.end_table().and_then(|()| self.note());
            self.judge(ended)?;
        }
        let entry = Entry { database, key, seqno: 0, kind, expiry, value };
        let added = self.writer().and_then(|writer| writer.add(entry));
        self.judge(added)?;
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    /// Ends the table in hand, and returns when all that was added outlives a crash.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        self.check()?;
        let noted = self.end_table().and_then(|()| self.note()).and_then(|()| self.lane.drain());
        self.judge(noted)
    }

    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Ends the load with the first error that is there, which is told from then on.
    fn judge<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let first = self.lane.error().unwrap_or(error);
            self.failed = Some(first.clone());
            first
        })
    }

    /// The table in hand, or a new one.
    fn writer(&mut self) -> Result<&mut TableWriter> {
        if self.writer.is_none() {
            self.writer = Some(Box::new(self.begin_table()?));
        }
        // It is there now.
        self.writer.as_deref_mut().ok_or(Error::Closed)
    }

    fn begin_table(&mut self) -> Result<TableWriter> {
        let Self { shared, lane, made, .. } = self;
        let _working = shared.loads.work()?;
        let number = shared.next_number();
        let path = shared.dir.path_of(FileName::Sstable(number));
        let env = &shared.dir.env;
        let file = env.create(&path).map_err(|source| Error::io("create", &path, source))?;
        let format = TableFormat {
            block_size: shared.options.block_size,
            // Where most of them will lie.
            compression: shared.options.compression_of(LEVELS as u8 - 1),
            filter_bits: shared.options.filter_bits_of(true),
            cleared_to: 0,
            pace: Pace::FAST,
        };
        let (file, id) = (lane.file(file, path.clone()), FileId(env.random()));
        let place = shared.place(number);
        made.push(number);
        Ok(TableWriter::over(file, id, path, place, format))
    }

    fn end_table(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        // The one before it.
        self.lane.catch_up()?;
        self.tables.push(writer.finish(0, 0)?);
        Ok(())
    }

    /// Step 2, for those that have ended.
    fn note(&mut self) -> Result<()> {
        let tables = self.tables.get(self.noted..).unwrap_or_default().to_vec();
        if tables.is_empty() {
            return Ok(());
        }
        self.noted = self.tables.len();
        let shared = Arc::clone(&self.shared);
        self.lane.send(move || note_loading(&shared, tables))
    }

    /// Steps 3 to 7. An empty load is no commit.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.checkpoint()?;
        if self.tables.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let tables = open(&shared, &self.tables)?;
        // Merges are to keep up with loads that overlap, too.
        room::make_for_bulk(&shared)?;
        write::with_log(&shared, |lead| self.install(lead, tables))??;
        // They are the store's now.
        self.made.clear();
        Ok(())
    }

    /// Steps 4 to 7.
    fn install(&self, lead: &mut Lead, tables: Vec<Table>) -> Result<()> {
        let shared = &*self.shared;
        shared.check_poison()?;
        if !read(&shared.catalog).is_live(self.database) {
            return Err(Error::DatabaseDropped { name: self.name.to_string() });
        }
        if lead.is_full {
            // Of a log that has nothing but loads, too.
            room::seal(shared, lead);
        }
        seeded!(LoadBehindMemtable => (), else clear_the_way(shared, lead, &tables)?);
        let seqno = write::commit_nothing(shared, lead)?;
        let installed = install_as(shared, seqno, tables);
        // It is a commit, of nothing perhaps.
        write::publish(shared, seqno);
        installed
    }

    /// Ends it, and gives all of its space back.
    pub(crate) fn abandon(mut self) -> Result<()> {
        self.writer = None;
        // What has failed before this changes nothing of it.
        let _ = self.lane.drain();
        let (shared, database) = (&self.shared, self.database);
        forget(shared, &noted(shared, |of| of == database))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.writer = None;
        let _ = self.lane.drain();
        let Self { shared, database, made, .. } = self;
        remove_unnamed(shared, made);
        shared.loads.end(*database);
        if read(&shared.catalog).is_live(*database) {
            shared.wake();
        } else {
            // The background has passed by what this one still had.
            background::search_dead(shared);
        }
    }
}

#[cold]
fn out_of_order(last: &[u8], key: &[u8]) -> Error {
    let shown =
        |key: &[u8]| key.get(..key.len().min(64)).unwrap_or_default().escape_ascii().to_string();
    Error::InvalidArgument {
        what: "key of a bulk load",
        expected: format!("one greater than \"{}\", the one before", shown(last)),
        found: format!("\"{}\"", shown(key)),
    }
}

/// Tables of unfinished loads into databases for which something holds, in the order of keys.
fn noted(shared: &Shared, is_asked_for: impl Fn(DatabaseId) -> bool) -> Vec<TableMeta> {
    let manifest = shared.manifest.lock();
    let loading = manifest.iter().flat_map(|manifest| &manifest.state().loading);
    let mut tables: Vec<TableMeta> =
        loading.filter(|table| is_asked_for(table.smallest.0)).cloned().collect();
    tables.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    tables
}

fn note_loading(shared: &Shared, loading: Vec<TableMeta>) -> Result<()> {
    seeded!(LoadingUnsynced => (), else sync_names(shared)?);
    let next_database_id = Some(read(&shared.catalog).next_id());
    append(shared, VersionEdit { loading, next_database_id, ..VersionEdit::default() })
}

fn append(shared: &Shared, edit: VersionEdit) -> Result<()> {
    shared.check_poison()?;
    let mut manifest = shared.manifest.lock();
    let Some(of_store) = manifest.as_mut() else { return Err(Error::ReadOnly) };
    of_store.append(edit).inspect_err(|error| {
        if of_store.failed() {
            shared.poison(error);
        }
    })?;
    drop(manifest);
    tell_figures(shared);
    Ok(())
}

fn tell_figures(shared: &Shared) {
    if let Some(manifest) = shared.manifest.lock().as_ref() {
        shared.loads.set_figures(manifest.state().loading_figures());
    }
}

/// Has the manifest forget tables of loads, and removes them.
fn forget(shared: &Shared, tables: &[TableMeta]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let _working = shared.loads.work()?;
    let loaded = tables.iter().map(|table| table.number).collect();
    append(shared, VersionEdit { loaded, ..VersionEdit::default() })?;
    for table in tables {
        // What cannot be removed now is an orphan that the next open removes.
        let _ = shared.dir.env.remove(&shared.dir.path_of(FileName::Sstable(table.number)));
    }
    Ok(())
}

/// Forgets what was loaded into databases that are no more; true if there was something.
pub(crate) fn forget_dead(shared: &Shared) -> Result<bool> {
    let liveness = shared.liveness();
    let is_dead = |id| liveness.is_dead(id) && !shared.loads.has(id);
    let dead = noted(shared, is_dead);
    forget(shared, &dead)?;
    Ok(!dead.is_empty())
}

/// Removes those of these files that the manifest does not name.
fn remove_unnamed(shared: &Shared, made: &[FileNumber]) {
    let Ok(_working) = shared.loads.work() else { return };
    let manifest = shared.manifest.lock();
    let Some(manifest) = manifest.as_ref().filter(|manifest| !manifest.failed()) else { return };
    let State { tables, loading, .. } = manifest.state();
    let is_named = |number| tables.iter().chain(loading).any(|table| table.number == number);
    for number in made.iter().filter(|number| !is_named(**number)) {
        let _ = shared.dir.env.remove(&shared.dir.path_of(FileName::Sstable(*number)));
    }
}

/// Step 3: with their indexes, so that nobody waits for these.
fn open(shared: &Shared, metas: &[TableMeta]) -> Result<Vec<Table>> {
    let _working = shared.loads.work()?;
    let open = |meta: &TableMeta| {
        let path = shared.dir.path_of(FileName::Sstable(meta.number));
        let (place, context) = (shared.place(meta.number), Arc::clone(&shared.tables));
        let table = Table::open(&*shared.dir.env, path, place, meta.clone(), context)?;
        table.read_indexes();
        Ok(table)
    };
    metas.iter().map(open).collect()
}

/// Step 4.
fn clear_the_way(shared: &Shared, lead: &mut Lead, tables: &[Table]) -> Result<()> {
    let is_in_the_way = |view: &View| {
        view.memtables().any(|memtable| tables.iter().any(|of| lies_over(memtable, of)))
    };
    if !shared.view.with(is_in_the_way) {
        return Ok(());
    }
    let retired = lead.log.retire();
    write::judge(shared, &lead.log, retired)?;
    room::seal(shared, lead);
    room::wait_while(shared, || shared.view.with(is_in_the_way))
}

/// Whether a memtable has a key between the bounds of a table.
fn lies_over(memtable: &Arc<Memtable>, table: &Table) -> bool {
    let TableMeta { smallest, largest, .. } = table.meta();
    if memtable.is_empty() {
        return false;
    }
    let mut cursor = MemCursor::new(Arc::clone(memtable), smallest.0, Seqno::MAX);
    cursor.seek_ge(&smallest.1);
    cursor.valid() && cursor.key() <= largest.1.as_slice()
}

/// Step 6.
fn install_as(shared: &Shared, seqno: Seqno, tables: Vec<Table>) -> Result<()> {
    let merging = shared.merging.lock();
    let version = Arc::clone(&shared.view.pin().version);
    let metas: Vec<&TableMeta> = tables.iter().map(Table::meta).collect();
    let levels = place::levels(&version, merging.as_ref(), &metas, &shared.options);
    let run = shared.next_number();
    let placed = |(table, level): (Table, u8)| {
        Arc::new(table.placed(level, if level == 0 { run } else { LEVELED_RUN }, seqno))
    };
    let tables: Vec<Arc<Table>> = tables.into_iter().zip(levels).map(placed).collect();
    let edit = |state: &State| VersionEdit {
        loaded: tables.iter().map(|table| table.meta().number).collect(),
        next_database_id: Some(read(&shared.catalog).next_id()),
        clock_ms: Some(state.clock_ms.max(shared.clock.now())),
        loaded_seqno: Some(seqno),
        ..VersionEdit::default()
    };
    install_opened(shared, &tables, edit, &[]).map_err(|failed| failed.error)?;
    tell_figures(shared);
    Ok(())
}
