//! From sorted sources to new tables: what a flush and a compaction have in common.
//!
//! 1. drop entries of dead databases, what was deleted with its range, and versions that nobody can see; of what has
//!    expired, the value
//! 2. write the rest; cut a table when it is large enough, but never between versions of one key
//! 3. sync each file; then their directory

use std::path::PathBuf;

use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::TableMeta;

use crate::error::{Error, Result};
use crate::files::sstable::{Entry, Pace, TableFormat, TableWriter};
use crate::flow::compact::fold::{Fate, Fold, Judged};
use crate::options::Background;
use crate::state::catalog::Liveness;
use crate::state::iter::{Merge, is_live};
use crate::state::range_deletes::Cover;
use crate::state::shared::Shared;
use crate::sync::Ordering;

/// What is rewritten: entries in order, of each key the newest version first.
pub(crate) trait Input {
    /// The entry that it stands on; its value behind [`Input::load_value`].
    fn entry(&self) -> Option<Entry<'_>>;

    fn load_value(&mut self) -> Result<()>;

    fn next(&mut self) -> Result<()>;
}

impl Input for Merge {
    fn entry(&self) -> Option<Entry<'_>> {
        let source = self.entry()?;
        let expiry = source.expiry();
        seeded!(ExpiryNotFlushed: expiry = None);
        Some(Entry {
            database: source.database(),
            key: source.key(),
            seqno: source.seqno(),
            kind: source.kind(),
            expiry,
            value: source.value(),
        })
    }

    fn load_value(&mut self) -> Result<()> {
        self.load_value()
    }

    fn next(&mut self) -> Result<()> {
        self.next()
    }
}

/// Where the new tables will stand, and what may be left out of them.
pub(crate) struct Plan<'a> {
    pub(crate) level: u8,
    /// `None`: each table of level 0 opens the run with its own number; the first one's counts.
    pub(crate) run: Option<u64>,
    pub(crate) fold: Fold,
    /// Range deletes that may delete something in the sources; all up to this commit that do.
    pub(crate) cover: (Cover, Seqno),
    pub(crate) liveness: Liveness,
    /// No level below holds anything: a table here has most of what there is, or will.
    pub(crate) is_lowest: bool,
    /// Whether no older version of a key exists outside of the sources.
    pub(crate) bottom: &'a dyn Fn(DatabaseId, &[u8]) -> bool,
    /// The tables go past the page cache; whether the background is to bring them into it. Those of a merge, if its
    /// inputs were there.
    pub(crate) warm: bool,
    /// Called now and then: does what is more urgent, or ends the job with an error.
    pub(crate) pause: &'a mut dyn FnMut() -> Result<()>,
}

/// Tables that wait to be brought into the page cache, at most.
const MOST_COLD: usize = 32;

/// Entries between two calls of `pause`.
const PAUSE_ENTRIES: u64 = 512;

/// A database that ends in a table of at least this share of its full size ends the table too,
/// so that dropping the database later frees whole files.
const WORTH_A_FILE: u64 = 4;

/// What a rewrite made.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) tables: Vec<TableMeta>,
    /// Entries of the sources, of which some were dropped.
    pub(crate) read: u64,
    paths: Vec<PathBuf>,
}

impl Output {
    /// Tables whose files exist already.
    pub(crate) fn of(tables: Vec<TableMeta>) -> Self {
        Self { tables, ..Self::default() }
    }

    /// Removes the files: nothing names them.
    pub(crate) fn discard(&self, shared: &Shared) {
        for path in &self.paths {
            // What cannot be removed now is an orphan that the next open removes.
            let _ = shared.dir.env.remove(path);
        }
    }

    /// Tables of the same run, behind these.
    pub(crate) fn append(&mut self, mut behind: Output) {
        self.tables.append(&mut behind.tables);
        self.read += behind.read;
        self.paths.append(&mut behind.paths);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.size).sum()
    }
}

/// Writes what survives of `input`; see the module. On an error nothing is left behind.
pub(crate) fn rewrite(
    shared: &Shared,
    input: &mut impl Input,
    mut plan: Plan<'_>,
) -> Result<Output> {
    let mut output = Output::default();
    match fill(shared, input, &mut plan, &mut output) {
        Ok(()) => Ok(output),
        Err(error) => {
            output.discard(shared);
            Err(error)
        }
    }
}

fn fill(
    shared: &Shared,
    input: &mut impl Input,
    plan: &mut Plan<'_>,
    output: &mut Output,
) -> Result<()> {
    let mut writer: Option<TableWriter> = None;
    let mut current: Option<(DatabaseId, Vec<u8>)> = None;
    while let Some(entry) = input.entry() {
        output.read += 1;
        if output.read.is_multiple_of(PAUSE_ENTRIES) {
            (plan.pause)()?;
        }
        let Entry { database, key, seqno, kind, expiry, .. } = entry;
        if seqno > shared.assigned.load(Ordering::Relaxed) {
            // A table with such an entry could not be opened.
            let expected = "a sequence number that was given out";
            return Err(Error::corrupt(&shared.dir.path, "entry", 0, expected, seqno.to_string()));
        }
        let same_database = current.as_ref().is_some_and(|(last, _)| *last == database);
        let same_key = same_database && current.as_ref().is_some_and(|(_, k)| k == key);
        let may_cut = seeded!(KeySplit => true, else !same_key);
        if may_cut && cut_here(shared, writer.as_ref(), same_database) {
            end(shared, plan, &mut writer, output)?;
        }
        if !same_key {
            plan.fold.next_key();
            let (last_database, last_key) = current.get_or_insert((database, Vec::new()));
            *last_database = database;
            last_key.clear();
            last_key.extend_from_slice(key);
        }
        // What this version does not know is refused rather than lost, or judged.
        is_live(kind, expiry)?;
        let fate = match plan.liveness.is_dead(database) {
            true => Fate::Drop,
            false => judge(plan, (database, key), Judged { seqno, kind, expiry }),
        };
        if fate == Fate::Drop {
            input.next()?;
            continue;
        }
        if fate == Fate::Keep {
            input.load_value()?;
        }
        if let Some(entry) = input.entry() {
            let entry = if fate == Fate::Bury { entry.buried() } else { entry };
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(begin(shared, plan, output)?),
            };
            writer.add(entry)?;
        }
        input.next()?;
    }
    end(shared, plan, &mut writer, output)?;
    if output.tables.is_empty() {
        return Ok(());
    }
    sync_names(shared)
}

fn judge(plan: &mut Plan<'_>, (database, key): (DatabaseId, &[u8]), version: Judged) -> Fate {
    let Plan { fold, cover: (cover, _), bottom, .. } = plan;
    let range_delete = |upto| match cover.is_empty() {
        true => 0,
        false => cover.newest(database, key, upto),
    };
    fold.judge(version, range_delete, || bottom(database, key))
}

pub(crate) fn sync_names(shared: &Shared) -> Result<()> {
    seeded!(TableDirectoryUnsynced => return Ok(()));
    shared.dir.sync().inspect_err(|error| {
        if shared.dir.has_failed() {
            shared.poison(error);
        }
    })
}

fn cut_here(shared: &Shared, writer: Option<&TableWriter>, same_database: bool) -> bool {
    let enough = if same_database {
        shared.options.table_size
    } else {
        shared.options.table_size / WORTH_A_FILE
    };
    writer.is_some_and(|writer| writer.size() >= enough)
}

fn begin(shared: &Shared, plan: &Plan<'_>, output: &mut Output) -> Result<TableWriter> {
    let number = shared.next_number();
    let path = shared.dir.path_of(FileName::Sstable(number));
    output.paths.push(path.clone());
    let options = &shared.options;
    let format = TableFormat {
        block_size: options.block_size,
        compression: options.compression_of(plan.level),
        filter_bits: options.filter_bits_of(plan.is_lowest),
        cleared_to: plan.fold.clears_to(plan.cover.1),
        pace: Pace::BESIDE_COMMITS,
    };
    TableWriter::create(&*shared.dir.env, path, shared.place(number), format)
}

fn end(
    shared: &Shared,
    plan: &mut Plan<'_>,
    writer: &mut Option<TableWriter>,
    output: &mut Output,
) -> Result<()> {
    let Some(writer) = writer.take() else { return Ok(()) };
    let (number, run) = (writer.number(), *plan.run.get_or_insert(writer.number()));
    output.tables.push(writer.finish(plan.level, run)?);
    if plan.warm && shared.options.background == Background::Thread {
        let cold = &mut shared.background.lock().cold;
        cold.push_back(number);
        // Where the background does not come to it, older ones stay where they are.
        if cold.len() > MOST_COLD {
            cold.pop_front();
        }
    }
    Ok(())
}
