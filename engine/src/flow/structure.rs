//! What must be true of the files of an open store, whatever was written into it. For tests.
//!
//! 1. every table's file is there with the size that the manifest says, and nothing else is: no
//!    second file for a number, no orphan, no second stage
//! 2. below level 0 a level is one run, and the tables of a run do not overlap
//! 3. inside a table, entries ascend by database and key and descend by sequence number; their
//!    number, bounds and tombstones are those of the manifest; its filter knows every key
//! 4. from the newest run to the oldest, the versions of one key descend
//! 5. no sequence number is above the last that was given out, no file number is at or above the next
//! 6. the range deletes of the version are those of the manifest; each is needed; none deletes an entry of a table that says
//!    it is cleared

use std::collections::{BTreeMap, BTreeSet};

use orlop_formats::filename::FileName;
use orlop_formats::filter;
use orlop_formats::ids::{DatabaseId, FileNumber, Kind, Seqno};
use orlop_formats::manifest::TableMeta;

use crate::env::faults::Inside;
use crate::error::{Error, Result};
use crate::files::sstable::{RunCursor, Table};
use crate::state::shared::Shared;
use crate::state::version::Version;
use crate::sync::{Arc, Ordering};

/// The lowest sequence number seen so far of each key, in the runs that are newer.
type Oldest = BTreeMap<Place, Seqno>;

/// Checks all of it.
///
/// # Errors
/// What reading meets, and [`Error::Corrupt`] for the first rule that is broken.
pub(crate) fn check(shared: &Shared) -> Result<()> {
    // Files come and go in steps.
    let _stepping = shared.stepping.lock();
    let view = shared.view.pin();
    let visible = shared.assigned.load(Ordering::Acquire);
    check_files(shared, &view.version)?;
    check_range_deletes(shared, &view.version)?;
    let mut oldest = Oldest::new();
    for level in 0..crate::options::LEVELS {
        let runs = view.version.level(level);
        if level > 0 && runs.len() > 1 {
            return Err(broken(shared, "level", "one run", format!("{} runs", runs.len())));
        }
        for run in runs {
            for table in run.tables.iter() {
                check_table(&view.version, table, visible, &mut oldest)?;
            }
        }
    }
    Ok(())
}

fn broken(shared: &Shared, what: &'static str, expected: &str, found: String) -> Error {
    Error::corrupt(&shared.dir.path, what, 0, expected, found)
}

fn check_range_deletes(shared: &Shared, version: &Version) -> Result<()> {
    let known = version.range_deletes().all();
    if let Some(manifest) = shared.manifest.lock().as_ref() {
        let named = &manifest.state().range_deletes;
        if !known.iter().eq(named.iter()) {
            let (expected, found) = (named.len().to_string(), known.len().to_string());
            return Err(broken(shared, "range deletes", &expected, found));
        }
    }
    match known.iter().find(|range| !version.needs(range)) {
        Some(range) => {
            let found = format!("that of commit {} in database {}", range.seqno, range.database);
            Err(broken(shared, "range deletes", "those that delete something", found))
        }
        None => Ok(()),
    }
}

fn check_files(shared: &Shared, version: &Version) -> Result<()> {
    let was_loading = !shared.loads.is_empty();
    let listed = shared.dir.list()?;
    let next = shared.numbers.load(Ordering::Relaxed);
    let log_number = shared.log_number.load(Ordering::Acquire);
    let guard = shared.manifest.lock();
    let manifest = guard.as_ref().map(|manifest| manifest.superblock().manifest_number);
    let loading = guard.iter().flat_map(|manifest| &manifest.state().loading);
    // Whether they are what they were is seen by who finishes the load.
    let loading: BTreeSet<FileNumber> = loading.map(|table| table.number).collect();
    drop(guard);
    let mut tables: BTreeMap<FileNumber, u64> = BTreeMap::new();
    let mut stages = 0;
    // The background has not come to them.
    let orphans = shared.background.lock().orphans.clone();
    for entry in listed {
        let orphan = || broken(shared, "directory", "no orphans", entry.name.clone());
        if orphans.contains(&shared.dir.path.join(&entry.name)) {
            continue;
        }
        let name = FileName::parse(&entry.name).ok_or_else(orphan)?;
        if name.number().is_some_and(|number| number >= next) {
            return Err(broken(shared, "file number", &format!("below {next}"), entry.name));
        }
        match name {
            FileName::Sstable(number) => drop(tables.insert(number, entry.len)),
            FileName::Log(number) if number < log_number => return Err(orphan()),
            FileName::Stage(_) => stages += 1,
            FileName::Manifest(number) if manifest.is_some_and(|m| m != number) => {
                return Err(orphan());
            }
            _ => {}
        }
    }
    // One in use, one of a segment that trails, one for the next; and those that wait for their end.
    let most = 3 + shared.chores.stages();
    if stages > most && !shared.read_only {
        return Err(broken(shared, "directory", "three stages", format!("{stages} of them")));
    }
    let named: BTreeMap<FileNumber, u64> =
        version.tables().map(|table| (table.meta().number, table.meta().size)).collect();
    // The last reader of a table may have let go of it a moment ago.
    let waiting = shared.tables.graveyard.expects() || was_loading || !shared.loads.is_empty();
    let is_named = |number| named.contains_key(number) || loading.contains(number);
    let extra: BTreeSet<_> = tables.iter().filter(|table| !is_named(table.0)).collect();
    let missing = named.iter().any(|(number, size)| tables.get(number) != Some(size));
    if missing || !(extra.is_empty() || waiting) {
        let expected = format!("the sstables {named:?}");
        return Err(broken(shared, "directory", &expected, format!("{tables:?}")));
    }
    Ok(())
}

fn check_table(
    of: &Version,
    table: &Arc<Table>,
    visible: Seqno,
    oldest: &mut Oldest,
) -> Result<()> {
    let wrong = |what, expected: &str, found: String| {
        Err(Error::corrupt(table.path(), what, 0, expected, found))
    };
    let meta = table.meta();
    let mut sums = Sums::default();
    let mut before: Option<(DatabaseId, Vec<u8>, Seqno)> = None;
    let _inside = Inside::enter();
    let mut cursor = RunCursor::over_all(vec![Arc::clone(table)])?;
    while cursor.valid() {
        let (database, key, seqno) = (cursor.database(), cursor.key().to_vec(), cursor.seqno());
        cursor.load_value()?;
        if let Some((d, k, s)) = &before
            && ((*d, k) > (database, &key) || (*d, k) == (database, &key) && *s <= seqno)
        {
            return wrong("entries", "in order", format!("{:?} at {seqno}", key.escape_ascii()));
        }
        if !table.may_contain(filter::hash(database, &key))? {
            return wrong("filter", "every key", format!("not {:?}", key.escape_ascii()));
        }
        let cleared_to = table.properties().cleared_to;
        let range_delete = of.range_deletes().newest(database, &key, cleared_to);
        if range_delete > seqno {
            let found = format!("{:?} at {seqno}", key.escape_ascii());
            return wrong("cleared", &format!("nothing that {range_delete} deletes"), found);
        }
        sums.add(database, &key, seqno, cursor.kind());
        let version = oldest.entry((database, key.clone())).or_insert(Seqno::MAX);
        if seqno >= *version {
            let expected = format!("a version below {version}, which a newer run has");
            return wrong("run", &expected, format!("{:?} at {seqno}", key.escape_ascii()));
        }
        *version = seqno;
        before = Some((database, key, seqno));
        cursor.next()?;
    }
    if !sums.fit(meta) {
        return wrong("table", &format!("{meta:?}"), format!("{sums:?}"));
    }
    if meta.max_seqno > visible {
        let found = meta.max_seqno.to_string();
        return wrong("sequence number", &format!("up to {visible}"), found);
    }
    Ok(())
}

/// A database and a key of it.
type Place = (DatabaseId, Vec<u8>);

/// What the entries of a table come to.
#[derive(Debug, Default)]
struct Sums {
    entries: u64,
    tombstones: u64,
    seqnos: Option<(Seqno, Seqno)>,
    bounds: Option<(Place, Place)>,
}

impl Sums {
    fn add(&mut self, database: DatabaseId, key: &[u8], seqno: Seqno, kind: Kind) {
        self.entries += 1;
        self.tombstones += u64::from(kind == Kind::Delete);
        let (low, high) = self.seqnos.unwrap_or((seqno, seqno));
        self.seqnos = Some((low.min(seqno), high.max(seqno)));
        let here = (database, key.to_vec());
        match &mut self.bounds {
            Some((_, last)) => *last = here,
            None => self.bounds = Some((here.clone(), here)),
        }
    }

    fn fit(&self, meta: &TableMeta) -> bool {
        self.entries == meta.entries
            && self.tombstones == meta.tombstones
            && self.seqnos == Some((meta.min_seqno, meta.max_seqno))
            && self.bounds == Some((meta.smallest.clone(), meta.largest.clone()))
    }
}
