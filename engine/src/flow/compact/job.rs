//! Carries out one compaction.
//!
//! 1. pick it from the current version
//! 2. merge the inputs into new tables, synced, their directory synced; where the inputs were in the page cache, bring
//!    the outputs there
//! 3. make the edit durable: outputs in, inputs out
//! 4. replace the view; inputs are deleted when their last reader lets go

use std::collections::HashSet;

use orlop_formats::ids::{DatabaseId, FileNumber};
use orlop_formats::manifest::{TableMeta, VersionEdit};

use crate::env::faults::Inside;
use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::files::sstable::{RunCursor, Table};
use crate::flow::compact::fold::Fold;
use crate::flow::compact::pick::{self, Action, Candidate, Job, Shape, Targets};
use crate::flow::compact::rewrite::{Output, Plan, rewrite};
use crate::flow::compact::wear::Look;
use crate::flow::install::install;
use crate::flow::{background, flush};
use crate::options::{Compression, FIRST_COMPRESSED_LEVEL, L0_COMPACT};
use crate::state::catalog::Liveness;
use crate::state::iter::{Merge, Source};
use crate::state::range_deletes::Cover;
use crate::state::shared::Shared;
use crate::state::version::{Merging, Run, Version};
use crate::sync::Arc;

/// A table is rewritten when more than one part in this many belongs to dropped databases.
const STALE_SHARE: u64 = 20;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Search {
    /// What is too large; and what dropped databases have left, if some were dropped.
    Due { dead: bool },
    /// What is worn. So many bytes of a merge of level 0 are worth it, however little of it is garbage.
    Worn { worth: u64 },
    /// What is left to do until everything lies in one level, and all is gone that can be, as of this time.
    Full { asked: u64 },
}

fn targets(shared: &Shared) -> Targets {
    Targets {
        level0_runs: L0_COMPACT,
        level_base: shared.options.level_base,
        multiplier: shared.options.level_multiplier,
        table_size: shared.options.table_size,
        compressed_from: (shared.options.compression != Compression::None)
            .then_some(FIRST_COMPRESSED_LEVEL),
    }
}

/// Bytes that compactions have to bring down.
pub(crate) fn debt(shared: &Shared, version: &Version) -> u64 {
    let of_level = |level| {
        let runs = version.level(level);
        (runs.len(), runs.iter().map(Run::bytes).sum())
    };
    let levels: Vec<(usize, u64)> = (0..crate::options::LEVELS).map(of_level).collect();
    pick::debt(&levels, &targets(shared))
}

/// The compaction that is next, if there is one.
pub(crate) fn next(shared: &Shared, search: Search) -> Option<Job> {
    let version = Arc::clone(&shared.view.pin().version);
    let liveness = matches!(search, Search::Due { dead: true }).then(|| shared.liveness());
    let all_since = match search {
        Search::Full { asked } => Some(asked),
        Search::Due { .. } | Search::Worn { .. } => None,
    };
    let look = look(shared, &version, all_since);
    let looks_for_worn = !matches!(search, Search::Due { .. });
    let unmergeable = shared.background.lock().unmergeable.clone();
    let is_worn = |table: &Table| {
        looks_for_worn && look.is_worn(table) && !unmergeable.contains(&table.meta().number)
    };
    let shape = shape(&version, liveness.as_ref(), is_worn, |table| look.is_deleted(table));
    let targets = targets(shared);
    if let Some(job) = pick::pick_deleted(&shape) {
        return Some(job);
    }
    match search {
        Search::Due { .. } => pick::pick(&shape, &targets),
        Search::Worn { worth } => pick::pick_worn(&shape, &targets, worth),
        Search::Full { .. } => pick::pick_full(&shape, &targets),
    }
}

/// With what eyes tables are looked at.
pub(crate) fn look(shared: &Shared, version: &Version, all_since: Option<u64>) -> Look {
    Look {
        boundaries: shared.boundaries(),
        lowest: version.lowest(),
        all_since,
        range_deletes: Arc::clone(version.range_deletes()),
    }
}

fn shape(
    version: &Version,
    liveness: Option<&Liveness>,
    is_worn: impl Fn(&Table) -> bool,
    is_deleted: impl Fn(&Table) -> bool,
) -> Shape {
    let candidate = |table: &Arc<Table>| {
        let (dead, all) = match liveness {
            Some(liveness) => table.dead_bytes(|id| liveness.is_dead(id)),
            None => (0, 0),
        };
        Candidate {
            meta: table.meta().clone(),
            compressed: table.properties().compression != Compression::None,
            stale: dead > 0 && dead * STALE_SHARE >= all,
            worn: is_worn(table),
            deleted: is_deleted(table),
        }
    };
    let tables = |run: &Run| run.tables.iter().map(candidate).collect();
    let level = |at| version.level(at).iter().map(tables).collect();
    Shape { levels: (0..crate::options::LEVELS).map(level).collect() }
}

/// Says where the tables of a job will lie, for as long as it goes on.
struct Claim<'a>(&'a Shared);

impl<'a> Claim<'a> {
    /// `None` if a load has put a table there since the job was picked.
    fn of(shared: &'a Shared, job: &Job) -> Option<(Self, Arc<Version>)> {
        let mut merging = shared.merging.lock();
        let version = Arc::clone(&shared.view.pin().version);
        let inputs = job.input_set();
        let (inputs, others): (Vec<&TableMeta>, Vec<&TableMeta>) =
            version.tables().map(|table| table.meta()).partition(|of| inputs.contains(&of.number));
        let claimed = Merging {
            level: job.level,
            run: job.run,
            smallest: inputs.iter().map(|table| &table.smallest).min()?.clone(),
            largest: inputs.iter().map(|table| &table.largest).max()?.clone(),
        };
        let in_the_way = |table: &&TableMeta| {
            (table.level, table.run) == (job.level, job.run) && claimed.touches(table)
        };
        if others.iter().any(in_the_way) {
            return None;
        }
        *merging = Some(claimed);
        Some((Self(shared), version))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        *self.0.merging.lock() = None;
    }
}

/// Runs one compaction, or none where it does not fit any more; see the module.
pub(crate) fn run(shared: &Shared, job: &Job) -> Result<()> {
    let Some((_claim, version)) = Claim::of(shared, job) else { return Ok(()) };
    let inputs = job.input_set();
    let tables: Vec<&Arc<Table>> =
        version.tables().filter(|table| inputs.contains(&table.meta().number)).collect();
    let output = match job.action {
        Action::Move => moved(&tables, job),
        Action::Drop => Output::default(),
        Action::Merge => {
            // Asked before the merge reads them all.
            let were_resident = tables.iter().all(|table| table.mapping().is_resident());
            let output = merge(shared, &version, &inputs, job, were_resident)?;
            // Who reads what is in memory finds it there afterwards, too.
            background::warm_output(shared, &output.tables);
            output
        }
    };
    let bytes_out = output.bytes();
    let edit = |state: &State| {
        // What was left out because of its time would not have been at an earlier one.
        let clock_ms = Some(state.clock_ms.max(shared.clock.now()));
        VersionEdit { removed: job.inputs.clone(), clock_ms, ..VersionEdit::default() }
    };
    seeded!(InputsBeforeEdit => if job.action == Action::Merge { remove_inputs(shared, &tables) });
    install(shared, output, edit, &[])?;
    if job.action != Action::Move {
        tables.iter().for_each(|table| table.mark_obsolete());
    }
    shared.counters.count_compaction(job.bytes, bytes_out);
    Ok(())
}

#[cfg(feature = "seeded-bugs")]
fn remove_inputs(shared: &Shared, tables: &[&Arc<Table>]) {
    tables.iter().for_each(|table| drop(shared.dir.env.remove(table.path())));
}

fn moved(tables: &[&Arc<Table>], job: &Job) -> Output {
    let to = |meta: &TableMeta| TableMeta { level: job.level, run: job.run, ..meta.clone() };
    Output::of(tables.iter().map(|table| to(table.meta())).collect())
}

fn merge(
    shared: &Shared,
    version: &Version,
    inputs: &HashSet<FileNumber>,
    job: &Job,
    warm: bool,
) -> Result<Output> {
    let _inside = Inside::enter();
    // No flush has come since the version was loaded: this is a step.
    let known = shared.manifest.lock().as_ref().map_or(0, |of| of.state().flushed_seqno);
    let mut cover = Cover::default();
    if !version.range_deletes().is_empty() {
        cover.add(Arc::clone(version.range_deletes()), 0);
    }
    let mut sources = Vec::new();
    let mut read = Vec::new();
    for run in version.runs() {
        let tables: Vec<Arc<Table>> = run
            .tables
            .iter()
            .filter(|table| inputs.contains(&table.meta().number))
            .cloned()
            .collect();
        if !tables.is_empty() {
            read.extend(tables.iter().cloned());
            sources.push(Source::Run(Box::new(RunCursor::over_all(tables)?)));
        }
    }
    let bottom = |database: DatabaseId, key: &[u8]| is_bottom(version, inputs, job, database, key);
    let plan = Plan {
        level: job.level,
        run: Some(job.run),
        is_lowest: version.lowest() <= usize::from(job.level),
        fold: Fold::new(shared.boundaries()),
        cover: (cover, known),
        liveness: shared.liveness(),
        bottom: &bottom,
        warm,
        pause: &mut || pause(shared),
    };
    let output = rewrite(shared, &mut Merge::new(sources), plan);
    // Zeros in place of a page are no entries, and no end of them.
    let sound = read.iter().try_for_each(|table| table.check());
    let output = output?;
    let sound = sound.and_then(|()| check_count(shared, &read, &output));
    sound.inspect_err(|_| output.discard(shared)).map(|()| output)
}

/// Nothing is dropped but what was looked at: what was read is what the tables say that they have.
fn check_count(shared: &Shared, tables: &[Arc<Table>], output: &Output) -> Result<()> {
    let entries: u64 = tables.iter().map(|table| table.meta().entries).sum();
    if output.read == entries {
        return Ok(());
    }
    let numbers: Vec<FileNumber> = tables.iter().map(|table| table.meta().number).collect();
    let expected = format!("{entries} entries, as the tables {numbers:?} say");
    Err(Error::corrupt(&shared.dir.path, "merge", 0, expected, output.read.to_string()))
}

/// Whether no table outside of the merge can hold an older version of a key. The tables that can
/// are those on the output's level and below; with a rewrite in place, older runs beside it too.
fn is_bottom(
    version: &Version,
    inputs: &HashSet<FileNumber>,
    job: &Job,
    database: DatabaseId,
    key: &[u8],
) -> bool {
    seeded!(TombstonesDroppedEarly => return true);
    (usize::from(job.level)..crate::options::LEVELS).flat_map(|level| version.level(level)).all(
        |run| {
            run.table_for(database, key).is_none_or(|table| inputs.contains(&table.meta().number))
        },
    )
}

/// What is more urgent goes first; a closing store ends the job.
fn pause(shared: &Shared) -> Result<()> {
    loop {
        if shared.background.lock().stop {
            return Err(Error::Closed);
        }
        shared.check_poison()?;
        let more = flush::run(shared)?
            || background::sync_ended(shared)?
            || background::prepare_spare(shared);
        shared.chores.empty_bin();
        if !more {
            return Ok(());
        }
    }
}
