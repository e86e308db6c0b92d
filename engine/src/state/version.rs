//! The set of live sstables: levels of runs of tables.
//!
//! A version never changes; an edit makes a new one. Level 0 holds one run for each flush, newest
//! first; below, a level's runs are also newest first (leveled compaction keeps one).

use std::collections::HashSet;

use orlop_formats::ids::{DatabaseId, FileNumber};

use crate::files::sstable::Table;
use crate::options::LEVELS;
use crate::sync::Arc;

/// Sstables that do not overlap, in key order.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) tables: Vec<Arc<Table>>,
}

impl Run {
    /// The table that can hold a key.
    pub(crate) fn table_for(&self, database: DatabaseId, key: &[u8]) -> Option<&Arc<Table>> {
        let at = self.tables.partition_point(|table| {
            let (last_database, last_key) = &table.meta().largest;
            (*last_database, last_key.as_slice()) < (database, key)
        });
        let table = self.tables.get(at)?;
        let (first_database, first_key) = &table.meta().smallest;
        ((*first_database, first_key.as_slice()) <= (database, key)).then_some(table)
    }

    /// The tables that can hold keys of a database.
    pub(crate) fn tables_of(&self, database: DatabaseId) -> &[Arc<Table>] {
        let start = self.tables.partition_point(|table| table.meta().largest.0 < database);
        let end = self.tables.partition_point(|table| table.meta().smallest.0 <= database);
        self.tables.get(start..end).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.meta().size).sum()
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Version {
    levels: Vec<Vec<Run>>,
}

impl Version {
    pub(crate) fn empty() -> Self {
        Self { levels: vec![Vec::new(); LEVELS] }
    }

    /// The runs of a level, newest first.
    pub(crate) fn level(&self, level: usize) -> &[Run] {
        self.levels.get(level).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every run, newest data first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.levels.iter().flatten()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs().flat_map(|run| &run.tables)
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
        let mut levels: Vec<Vec<Run>> = vec![Vec::new(); LEVELS];
        let kept = self.tables().filter(|table| !removed.contains(&table.meta().number));
        for table in kept.chain(added) {
            let meta = table.meta();
            let Some(runs) = levels.get_mut(usize::from(meta.level)) else {
                return Err(format!("table {} is on level {}", meta.number, meta.level));
            };
            match runs.iter_mut().find(|run| run.id == meta.run) {
                Some(run) => run.tables.push(Arc::clone(table)),
                None => runs.push(Run { id: meta.run, tables: vec![Arc::clone(table)] }),
            }
        }
        for run in levels.iter_mut().flatten() {
            run.tables.sort_by(|a, b| a.meta().smallest.cmp(&b.meta().smallest));
            check_disjoint(run)?;
        }
        for runs in &mut levels {
            runs.sort_by_key(|run| std::cmp::Reverse(run.id));
            seeded!(RunsOutOfOrder => runs.reverse());
        }
        Ok(Version { levels })
    }
}

fn check_disjoint(run: &Run) -> Result<(), String> {
    seeded!(KeySplit => return Ok(()));
    for pair in run.tables.windows(2) {
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
