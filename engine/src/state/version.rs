//! The set of live sstables: levels of runs of tables.
//!
//! A version never changes; an edit makes a new one. Level 0 holds one run for each flush, newest
//! first; below, a level's runs are also newest first (leveled compaction keeps one).

use std::collections::{HashMap, HashSet};

use orlop_formats::ids::{DatabaseId, FileNumber};
use orlop_formats::manifest::{RangeDelete, TableMeta};

use crate::files::sstable::{Heads, Table};
use crate::options::LEVELS;
use crate::state::range_deletes::RangeDeletes;
use crate::sync::Arc;

/// Sstables that do not overlap, in key order.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: u64,
    /// Shared with cursors that read all of them.
    pub(crate) tables: Arc<[Arc<Table>]>,
    /// The last keys of the tables, if all are of one database.
    ends: Option<(DatabaseId, Heads)>,
}

impl Run {
    /// A run of tables in order.
    fn new(id: u64, tables: Vec<Arc<Table>>) -> Self {
        let mut ends = tables.iter().map(|table| &table.meta().largest);
        let of_one = ends.next().map(|(database, _)| *database);
        let of_one = of_one.filter(|database| ends.all(|(other, _)| other == database));
        let keys: Vec<&[u8]> =
            tables.iter().map(|table| table.meta().largest.1.as_slice()).collect();
        let ends = of_one.and_then(|database| Some((database, Heads::of(&keys)?)));
        Self { id, tables: tables.into(), ends }
    }

    /// The first table that does not end before a key.
    #[inline]
    fn first_up_to(&self, database: DatabaseId, key: &[u8]) -> usize {
        let told = match &self.ends {
            Some((of, ends)) if *of == database => ends.less_than(key),
            _ => None,
        };
        told.unwrap_or_else(|| {
            self.tables.partition_point(|table| {
                let (last_database, last_key) = &table.meta().largest;
                (*last_database, last_key.as_slice()) < (database, key)
            })
        })
    }

    /// The table that can hold a key.
    #[inline]
    pub(crate) fn table_for(&self, database: DatabaseId, key: &[u8]) -> Option<&Arc<Table>> {
        let table = self.tables.get(self.first_up_to(database, key))?;
        let (first_database, first_key) = &table.meta().smallest;
        ((*first_database, first_key.as_slice()) <= (database, key)).then_some(table)
    }

    /// The tables that can hold keys of a range.
    pub(crate) fn tables_in(&self, range: &RangeDelete) -> impl Iterator<Item = &Arc<Table>> {
        let first = self.first_up_to(range.database, &range.start);
        let is_before_end = |table: &&Arc<Table>| {
            let (database, key) = &table.meta().smallest;
            match &range.end {
                Some(end) => (*database, key) < (range.database, end),
                None => *database <= range.database,
            }
        };
        self.tables.get(first..).unwrap_or_default().iter().take_while(is_before_end)
    }

    /// Whether a table can have keys between two of one database, or these.
    pub(crate) fn overlaps(&self, smallest: &(DatabaseId, Vec<u8>), largest: &[u8]) -> bool {
        let first = self.tables.get(self.first_up_to(smallest.0, &smallest.1));
        first.is_some_and(|table| {
            let (database, key) = &table.meta().smallest;
            (*database, key.as_slice()) <= (smallest.0, largest)
        })
    }

    /// The tables that can hold keys of a database. No others: who keeps them keeps their files.
    pub(crate) fn tables_of(&self, database: DatabaseId) -> Arc<[Arc<Table>]> {
        if matches!(&self.ends, Some((of, _)) if *of == database) {
            return Arc::clone(&self.tables);
        }
        let start = self.tables.partition_point(|table| table.meta().largest.0 < database);
        let end = self.tables.partition_point(|table| table.meta().smallest.0 <= database);
        match start..end {
            all if all == (0..self.tables.len()) => Arc::clone(&self.tables),
            part => self.tables.get(part).unwrap_or_default().into(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.meta().size).sum()
    }
}

/// Where the tables of a compaction will lie.
#[derive(Debug)]
pub(crate) struct Merging {
    pub(crate) level: u8,
    pub(crate) run: u64,
    /// The bounds of its inputs, and so of its outputs.
    pub(crate) smallest: (DatabaseId, Vec<u8>),
    pub(crate) largest: (DatabaseId, Vec<u8>),
}

impl Merging {
    /// Whether a table has keys between these bounds, or could have.
    pub(crate) fn touches(&self, table: &TableMeta) -> bool {
        self.smallest <= table.largest && table.smallest <= self.largest
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Version {
    /// Of all levels, in their order.
    runs: Vec<Run>,
    /// Where in `runs` each level ends.
    ends: [usize; LEVELS],
    /// Those that may delete something in the tables.
    range_deletes: Arc<RangeDeletes>,
}

impl Version {
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    fn of(levels: Vec<Vec<Run>>) -> Self {
        let mut version = Self::default();
        for (end, runs) in version.ends.iter_mut().zip(levels) {
            version.runs.extend(runs);
            *end = version.runs.len();
        }
        version
    }

    /// The runs of a level, newest first.
    pub(crate) fn level(&self, level: usize) -> &[Run] {
        let start = level.checked_sub(1).and_then(|above| self.ends.get(above));
        let end = self.ends.get(level).copied().unwrap_or_default();
        self.runs.get(start.copied().unwrap_or_default()..end).unwrap_or_default()
    }

    /// The last level that holds anything; 0 if none does.
    pub(crate) fn lowest(&self) -> usize {
        (0..LEVELS).rev().find(|level| !self.level(*level).is_empty()).unwrap_or_default()
    }

    /// The range deletes that may delete something in the tables.
    #[inline]
    pub(crate) fn range_deletes(&self) -> &Arc<RangeDeletes> {
        &self.range_deletes
    }

    /// The same tables with these range deletes.
    pub(crate) fn with_range_deletes(self, range_deletes: Arc<RangeDeletes>) -> Self {
        Self { range_deletes, ..self }
    }

    /// Every run, newest data first.
    #[inline]
    pub(crate) fn runs(&self) -> std::slice::Iter<'_, Run> {
        self.runs.iter()
    }

    /// Whether a table has an entry that a range delete may delete.
    pub(crate) fn needs(&self, range: &RangeDelete) -> bool {
        let may_hold = |table: &Arc<Table>| {
            seeded!(RangeDeleteForgotten => return table.meta().level == 0);
            let cleared_to = table.properties().cleared_to;
            table.meta().min_seqno < range.seqno
                && cleared_to < range.seqno
                && table.holds(range.database)
        };
        self.runs().flat_map(|run| run.tables_in(range)).any(may_hold)
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs().flat_map(|run| run.tables.iter())
    }

    /// This version without the tables numbered in `removed` and with `added`.
    ///
    /// # Errors
    /// A sentence, when the result would break a rule: a table that is not there is removed, one
    /// that is there is added, a level does not exist, tables of a run overlap.
    pub(crate) fn apply(
        &self,
        removed: &HashSet<FileNumber>,
        added: &[Arc<Table>],
    ) -> Result<Version, String> {
        let present: HashSet<FileNumber> = self.tables().map(|t| t.meta().number).collect();
        if let Some(number) = removed.iter().find(|number| !present.contains(number)) {
            return Err(format!("table {number} is removed but not live"));
        }
        let mut levels = vec![HashMap::<u64, Vec<Arc<Table>>>::new(); LEVELS];
        let kept = self.tables().filter(|table| !removed.contains(&table.meta().number));
        for table in kept.chain(added) {
            let meta = table.meta();
            let Some(runs) = levels.get_mut(usize::from(meta.level)) else {
                return Err(format!("table {} is on level {}", meta.number, meta.level));
            };
            runs.entry(meta.run).or_default().push(Arc::clone(table));
        }
        let in_order = |(id, mut tables): (u64, Vec<Arc<Table>>)| {
            tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
            check_disjoint(&tables).map(|()| Run::new(id, tables))
        };
        let in_order = |runs: HashMap<_, _>| {
            let mut runs = runs.into_iter().map(in_order).collect::<Result<Vec<Run>, String>>()?;
            runs.sort_by_key(|run| std::cmp::Reverse(run.id));
            seeded!(RunsOutOfOrder => runs.reverse());
            Ok::<_, String>(runs)
        };
        let levels = levels.into_iter().map(in_order).collect::<Result<_, _>>()?;
        Ok(Version::of(levels).with_range_deletes(Arc::clone(&self.range_deletes)))
    }
}

fn check_disjoint(tables: &[Arc<Table>]) -> Result<(), String> {
    seeded!(KeySplit => return Ok(()));
    for pair in tables.windows(2) {
        let [left, right] = pair else { continue };
        if left.meta().largest >= right.meta().smallest {
            return Err(format!(
                "tables {} and {} of one run overlap",
                left.meta().number,
                right.meta().number
            ));
        }
    }
    Ok(())
}
