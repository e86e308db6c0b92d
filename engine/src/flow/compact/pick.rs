//! What to compact next. Pure: a function of the tree's shape.
//!
//! 1. level 0 with too many runs goes into level 1, all of it, so that no newer version of a key
//!    ever lies below an older one
//! 2. the level that is furthest over its target gives one table to the next: the one that
//!    overlaps least there
//! 3. a table full of dropped databases is rewritten where it is
//!
//! Before all that, tables go of which nothing is left, because all their keys were deleted with their ranges.
//!
//! Apart from that, when nothing else is to be done: one that is worn goes into the next level; of the lowest, it is
//! rewritten where it is.

use std::collections::HashSet;

use orlop_formats::ids::{DatabaseId, FileNumber};
use orlop_formats::manifest::TableMeta;

/// A table as far as picking needs it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) meta: TableMeta,
    /// Whether its blocks went through compression.
    pub(crate) compressed: bool,
    /// Whether enough of it belongs to dropped databases to be worth a rewrite.
    pub(crate) stale: bool,
    /// Whether so much of it has expired, or is tombstones, that a merge is worth it; if that is asked for.
    pub(crate) worn: bool,
    /// Whether range deletes that everybody sees delete all of it.
    pub(crate) deleted: bool,
}

/// Levels, each a list of runs, newest first, each a list of tables in key order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) levels: Vec<Vec<Vec<Candidate>>>,
}

/// When a level is too large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    /// Runs in level 0.
    pub(crate) level0_runs: usize,
    /// Bytes of level 1.
    pub(crate) level_base: u64,
    /// How much larger each level is than the one above.
    pub(crate) multiplier: u64,
    /// Bytes of a full table.
    pub(crate) table_size: u64,
    /// Levels from this one down hold compressed tables; `None`: no level does.
    pub(crate) compressed_from: Option<u8>,
}

/// What to do with the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Merge them into new tables.
    Merge,
    /// Name them on the new level; nothing overlaps there.
    Move,
    /// Name them no more.
    Drop,
}

/// One compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) action: Action,
    /// Every table that goes in.
    pub(crate) inputs: Vec<FileNumber>,
    pub(crate) level: u8,
    /// The run that the output forms or joins.
    pub(crate) run: u64,
    pub(crate) bytes: u64,
}

/// The id of the only run of a level below 0.
pub(crate) const LEVELED_RUN: u64 = 0;

/// The tables of which nothing is left, if there are any.
pub(crate) fn pick_deleted(shape: &Shape) -> Option<Job> {
    let all = (0..shape.levels.len()).flat_map(|level| shape.tables(level));
    let inputs: Vec<FileNumber> =
        all.filter(|table| table.deleted).map(|table| table.meta.number).collect();
    let job = Job { action: Action::Drop, inputs, level: 0, run: LEVELED_RUN, bytes: 0 };
    (!job.inputs.is_empty()).then_some(job)
}

/// The most urgent compaction, if any is due.
pub(crate) fn pick(shape: &Shape, targets: &Targets) -> Option<Job> {
    if shape.runs(0).len() >= targets.level0_runs {
        return level_zero(shape, targets);
    }
    over_target(shape, targets).or_else(|| stale(shape))
}

/// Bytes that compactions have to bring down: those by which levels exceed their targets, and all of level 0 once it has too many
/// runs. `levels`: runs and bytes of each.
pub(crate) fn debt(levels: &[(usize, u64)], targets: &Targets) -> u64 {
    let [(runs, bytes), below @ .., _] = levels else { return 0 };
    let of_level0 = if *runs >= targets.level0_runs { *bytes } else { 0 };
    let mut target = targets.level_base;
    below.iter().fold(of_level0, |debt, (_, bytes)| {
        let over = bytes.saturating_sub(target);
        target = target.saturating_mul(targets.multiplier);
        debt + over
    })
}

/// A merge of what is worn. Of level 0 it takes all that this overlaps: it is worth it if level 0 is a fair part of that, or
/// if it has no more bytes than this.
pub(crate) fn pick_worn(shape: &Shape, targets: &Targets, worth: u64) -> Option<Job> {
    let lowest = shape.lowest()?;
    let worn = |level| shape.tables(level).find(|table: &&Candidate| table.worn);
    // What hides comes down to what is hidden.
    let of_level = |level| match worn(level) {
        None => None,
        Some(_) if level == 0 => level_zero(shape, targets)
            .filter(|job| shape.bytes(0) * LEVEL0_SHARE >= job.bytes || job.bytes <= worth),
        Some(table) if level < lowest => Some(down(shape, targets, &[table], level + 1)),
        Some(table) => Some(in_place(shape, targets, table)),
    };
    (0..=lowest).find_map(of_level)
}

/// Level 0 is a fair part of a merge if it is one part in so many.
const LEVEL0_SHARE: u64 = 16;

/// Everything into the lowest level in use: what an explicit compaction does, step by step.
pub(crate) fn pick_full(shape: &Shape, targets: &Targets) -> Option<Job> {
    if !shape.runs(0).is_empty() {
        return level_zero(shape, targets);
    }
    let bottom = shape.lowest()?;
    let Some(upper) = (1..bottom).find(|&level| shape.bytes(level) > 0) else {
        return pick_worn(shape, targets, u64::MAX);
    };
    let inputs: Vec<&Candidate> = shape.tables(upper).collect();
    Some(down(shape, targets, &inputs, upper + 1))
}

impl Shape {
    fn runs(&self, level: usize) -> &[Vec<Candidate>] {
        self.levels.get(level).map(Vec::as_slice).unwrap_or_default()
    }

    fn tables(&self, level: usize) -> impl Iterator<Item = &Candidate> {
        self.runs(level).iter().flatten()
    }

    fn bytes(&self, level: usize) -> u64 {
        self.tables(level).map(|table| table.meta.size).sum()
    }

    /// The last level that holds anything.
    fn lowest(&self) -> Option<usize> {
        (0..self.levels.len()).rev().find(|&level| self.bytes(level) > 0)
    }

    fn overlapping<'a>(
        &'a self,
        level: usize,
        range: KeyRange<'a>,
    ) -> impl Iterator<Item = &'a Candidate> {
        self.tables(level).filter(move |table| range.overlaps(&table.meta))
    }
}

type Bound<'a> = (DatabaseId, &'a [u8]);

/// The keys from the smallest to the largest of some tables.
struct KeyRange<'a> {
    smallest: Bound<'a>,
    largest: Bound<'a>,
}

fn bound(key: &(DatabaseId, Vec<u8>)) -> Bound<'_> {
    (key.0, &key.1)
}

impl<'a> KeyRange<'a> {
    fn of(tables: &[&'a Candidate]) -> Option<Self> {
        let smallest = tables.iter().map(|table| bound(&table.meta.smallest)).min()?;
        let largest = tables.iter().map(|table| bound(&table.meta.largest)).max()?;
        Some(Self { smallest, largest })
    }

    fn overlaps(&self, meta: &TableMeta) -> bool {
        bound(&meta.smallest) <= self.largest && bound(&meta.largest) >= self.smallest
    }
}

fn level_zero(shape: &Shape, targets: &Targets) -> Option<Job> {
    let inputs: Vec<&Candidate> = shape.tables(0).collect();
    (!inputs.is_empty()).then(|| down(shape, targets, &inputs, 1))
}

fn over_target(shape: &Shape, targets: &Targets) -> Option<Job> {
    let last = shape.levels.len().saturating_sub(1);
    let mut target = targets.level_base;
    let mut worst: Option<(f64, usize)> = None;
    for level in 1..last {
        let score = shape.bytes(level) as f64 / target as f64;
        if score > worst.map_or(1.0, |(score, _)| score) {
            worst = Some((score, level));
        }
        target = target.saturating_mul(targets.multiplier);
    }
    let (_, level) = worst?;
    let table = shape.tables(level).min_by(|a, b| {
        let share = |table: &Candidate| {
            let range = KeyRange::of(&[table]);
            let overlap: u64 = range.map_or(0, |range| {
                shape.overlapping(level + 1, range).map(|other| other.meta.size).sum()
            });
            overlap as f64 / table.meta.size.max(1) as f64
        };
        share(a).total_cmp(&share(b)).then(a.meta.number.cmp(&b.meta.number))
    })?;
    Some(down(shape, targets, &[table], level + 1))
}

/// A table below this share of a full one is small: it is merged where a larger one would be moved.
pub(crate) const SMALL_SHARE: u64 = 4;

/// Takes `inputs` down to `level`, with what they overlap there.
fn down<'a>(shape: &'a Shape, targets: &Targets, inputs: &[&'a Candidate], level: usize) -> Job {
    let is_small = |table: &&Candidate| table.meta.size < targets.table_size / SMALL_SHARE;
    let to_compress = targets.compressed_from.is_some_and(|from| level >= usize::from(from));
    let mut below: Vec<&Candidate> = match KeyRange::of(inputs) {
        Some(range) => shape.overlapping(level, range).collect(),
        None => Vec::new(),
    };
    let movable = below.is_empty()
        && disjoint(inputs)
        && inputs.iter().all(|table| !table.stale && (table.compressed || !to_compress))
        && !inputs.iter().any(is_small);
    if !movable {
        below = with_small_neighbours(shape, level, inputs, is_small);
    }
    let all = inputs.iter().chain(&below);
    Job {
        action: if movable { Action::Move } else { Action::Merge },
        inputs: all.clone().map(|table| table.meta.number).collect(),
        level: level as u8,
        run: LEVELED_RUN,
        bytes: all.map(|table| table.meta.size).sum(),
    }
}

/// What `inputs` overlap on `level`, and the small tables on both sides of that: otherwise keys
/// that arrive in order would leave a small table for each compaction.
fn with_small_neighbours<'a>(
    shape: &'a Shape,
    level: usize,
    inputs: &[&'a Candidate],
    is_small: impl Fn(&&Candidate) -> bool,
) -> Vec<&'a Candidate> {
    let Some(range) = KeyRange::of(inputs) else { return Vec::new() };
    let tables: Vec<&Candidate> = shape.tables(level).collect();
    let before = |table: &&Candidate| bound(&table.meta.largest) < range.smallest;
    let mut start = tables.partition_point(before);
    let mut end = tables.partition_point(|table| bound(&table.meta.smallest) <= range.largest);
    while start > 0 && is_small(&tables[start - 1]) {
        start -= 1;
    }
    while tables.get(end).is_some_and(&is_small) {
        end += 1;
    }
    tables.get(start..end).unwrap_or_default().to_vec()
}

fn disjoint(tables: &[&Candidate]) -> bool {
    let mut sorted: Vec<&TableMeta> = tables.iter().map(|table| &table.meta).collect();
    sorted.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    sorted.windows(2).all(|pair| match pair {
        [left, right] => left.largest < right.smallest,
        _ => true,
    })
}

fn stale(shape: &Shape) -> Option<Job> {
    let tables = (0..shape.levels.len()).flat_map(|level| shape.tables(level));
    let table = tables.filter(|table| table.stale).max_by_key(|table| table.meta.size)?;
    Some(Job {
        action: Action::Merge,
        inputs: vec![table.meta.number],
        level: table.meta.level,
        run: table.meta.run,
        bytes: table.meta.size,
    })
}

/// A table of the lowest level, and small ones beside it: otherwise many would become smaller and smaller.
fn in_place(shape: &Shape, targets: &Targets, table: &Candidate) -> Job {
    let is_small = |table: &&Candidate| table.meta.size < targets.table_size / SMALL_SHARE;
    let level = usize::from(table.meta.level);
    let tables = with_small_neighbours(shape, level, &[table], is_small);
    Job {
        action: Action::Merge,
        inputs: tables.iter().map(|table| table.meta.number).collect(),
        level: table.meta.level,
        run: table.meta.run,
        bytes: tables.iter().map(|table| table.meta.size).sum(),
    }
}

impl Job {
    /// The inputs as a set.
    pub(crate) fn input_set(&self) -> HashSet<FileNumber> {
        self.inputs.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_a_target_is_left_to_do() {
        let targets = Targets {
            level0_runs: 4,
            level_base: 100,
            multiplier: 10,
            table_size: 10,
            compressed_from: None,
        };
        let debt = |levels: &[(usize, u64)]| debt(levels, &targets);
        assert_eq!(debt(&[]), 0);
        assert_eq!(debt(&[(3, 50), (1, 100), (1, 1_000), (1, 9_000)]), 0);
        assert_eq!(debt(&[(4, 50), (1, 130), (1, 1_007), (1, 9_000)]), 50 + 30 + 7);
        assert_eq!(debt(&[(0, 0), (1, u64::MAX), (0, 0)]), u64::MAX - 100);
    }
}
