//! Deletes of whole ranges of keys, and which of them cover a key.
//!
//! The starts and ends of the ranges of a database cut its keys into *stretches*: each range covers some that follow
//! each other, and keys of one stretch are covered by the same ranges. Over the stretches stands a segment tree (Bentley,
//! 1977): a range is noted at the fewest nodes that make it up, two on a level at most, so that n ranges take n log n
//! places, however they lie inside of each other. What covers a key is noted on the way up from its stretch.
//!
//! How far everything is covered that is older than a commit, which is what a scan passes over and a whole table is held
//! against, a way down and up tells: each node knows the *floor* of its stretches, the oldest of what is newest over each. It
//! holds for readers who see all that is noted there.
//!
//! [`RangeDeletes`] never changes. [`Growing`] are those of a memtable. [`Cover`] goes over keys in order.

mod cover;
mod growing;

use std::ops::Range;

use orlop_formats::ids::{DatabaseId, Seqno};
use orlop_formats::manifest::RangeDelete;

pub(crate) use self::cover::{Cover, Covering};
pub(crate) use self::growing::Growing;
use crate::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RangeDeletes {
    /// Each once, ascending by sequence number.
    all: Vec<Arc<RangeDelete>>,
    /// Ascending.
    databases: Vec<OfDatabase>,
}

/// Those of one database.
#[derive(Debug)]
struct OfDatabase {
    database: DatabaseId,
    /// Every start and end, each once, ascending. Stretch number n ends before cut number n, and the last one with the
    /// database.
    cuts: Vec<Cut>,
    /// The first node of the lowest level, which are the stretches: a power of two. Node 1 is the root, the children of n
    /// are 2n and 2n + 1.
    leaves: usize,
    /// Where in `seqnos` those of each node begin.
    nodes: Vec<u32>,
    /// Of each node, ascending.
    seqnos: Vec<Seqno>,
    /// Of each node: every stretch below it is covered by one that is noted there, or below, and no older than this.
    floors: Vec<Seqno>,
    /// Of each node the newest that is noted there, or below.
    newest_below: Vec<Seqno>,
}

/// Where something ends, in the order of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End<'a> {
    /// Before this key.
    Before(&'a [u8]),
    /// With the database.
    Last,
}

/// A start or an end.
#[derive(Debug, Clone)]
struct Cut {
    of: Arc<RangeDelete>,
    is_end: bool,
}

impl Cut {
    fn key(&self) -> &[u8] {
        match (self.is_end, &self.of.end) {
            (true, Some(end)) => end,
            _ => &self.of.start,
        }
    }
}

/// Where to look from a stretch on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    Behind,
}

/// A stretch of a database.
#[derive(Debug, Clone, Copy)]
struct Stretch<'a> {
    of: &'a OfDatabase,
    number: usize,
}

impl<'a> Stretch<'a> {
    /// Its first key; empty: that of the database.
    fn start(&self) -> &'a [u8] {
        let before = self.number.checked_sub(1).and_then(|before| self.of.cuts.get(before));
        before.map_or(&[], Cut::key)
    }

    /// The key behind it; `None`: it is the last one.
    fn end(&self) -> Option<&'a [u8]> {
        self.of.cuts.get(self.number).map(Cut::key)
    }

    /// The next one.
    fn next(&self) -> Option<Self> {
        (self.number < self.of.cuts.len()).then_some(Self { number: self.number + 1, ..*self })
    }

    /// The one before.
    fn before(&self) -> Option<Self> {
        self.number.checked_sub(1).map(|number| Self { number, ..*self })
    }

    fn is_covered(&self, Between { after, upto }: Between) -> bool {
        self.newest(upto) > after
    }

    /// The next one on a side, itself included, that no range delete of these covers.
    fn uncovered(self, side: Side, between: Between) -> Option<Self> {
        let all = 0..self.of.leaves;
        let number = self.of.uncovered((1, all), (self.number, side), between)?;
        (number <= self.of.cuts.len()).then_some(Self { number, ..self })
    }

    /// The newest range delete, up to this one, that covers it; 0: none does.
    fn newest(&self, upto: Seqno) -> Seqno {
        let (mut node, mut newest) = (self.of.leaves + self.number, 0);
        while node > 0 {
            newest = self.of.newest_noted(node, upto).max(newest);
            node /= 2;
        }
        newest
    }
}

impl OfDatabase {
    /// Of range deletes that are all of one database, ascending by sequence number. Their cuts, in an order that is good
    /// to begin with.
    fn of(database: DatabaseId, all: &[Arc<RangeDelete>], mut cuts: Vec<Cut>) -> Self {
        // What has come in order is found to be so: two piles are merged.
        // Of several at a key the newest stays, which says whether one of them may still delete something.
        cuts.sort_by(|a, b| a.key().cmp(b.key()).then(b.of.seqno.cmp(&a.of.seqno)));
        cuts.dedup_by(|a, b| a.key() == b.key());
        let leaves = (cuts.len() + 1).next_power_of_two();
        let (nodes, seqnos) = (Vec::new(), Vec::new());
        let (floors, newest_below) = (Vec::new(), Vec::new());
        let mut of = Self { database, cuts, leaves, nodes, seqnos, floors, newest_below };
        // How many each node has; then where they begin.
        let mut nodes = vec![0_u32; 2 * leaves + 1];
        let (mut places, mut sum) = (Vec::new(), 0);
        for range in all {
            of.each_node(range, |node| {
                nodes[node] += 1;
                places.push((node, range.seqno));
            });
        }
        for node in &mut nodes {
            sum += std::mem::replace(node, sum);
        }
        of.seqnos = vec![0; places.len()];
        let mut free = nodes.clone();
        for (node, seqno) in places {
            of.seqnos[free[node] as usize] = seqno;
            free[node] += 1;
        }
        of.nodes = nodes;
        (of.floors, of.newest_below) = (vec![0; 2 * leaves], vec![0; 2 * leaves]);
        for node in (1..2 * leaves).rev() {
            let noted = of.noted(node).last().copied().unwrap_or(0);
            let (mut floor, mut newest) = (0, 0);
            if node < leaves {
                let (low, high) = (2 * node, 2 * node + 1);
                floor = of.floors[low].min(of.floors[high]);
                newest = of.newest_below[low].max(of.newest_below[high]);
            }
            (of.floors[node], of.newest_below[node]) = (noted.max(floor), noted.max(newest));
        }
        of
    }

    /// The number of the next stretch on a side of one, itself included, that none of these covers: below a node with these
    /// stretches, above which none does.
    fn uncovered(
        &self,
        (node, stretches): (usize, Range<usize>),
        (from, side): (usize, Side),
        between: Between,
    ) -> Option<usize> {
        let Between { after, upto } = between;
        let is_beside = match side {
            Side::Before => stretches.start <= from,
            Side::Behind => from < stretches.end,
        };
        let is_covered = || {
            let by_floor = self.newest_below[node] <= upto && self.floors[node] > after;
            by_floor || self.newest_noted(node, upto) > after
        };
        if !is_beside || is_covered() {
            return None;
        }
        if node >= self.leaves {
            return Some(stretches.start);
        }
        let middle = stretches.start.midpoint(stretches.end);
        let low = (2 * node, stretches.start..middle);
        let high = (2 * node + 1, middle..stretches.end);
        let (near, far) = match side {
            Side::Before => (high, low),
            Side::Behind => (low, high),
        };
        let uncovered = |of| self.uncovered(of, (from, side), between);
        uncovered(near).or_else(|| uncovered(far))
    }

    /// The newest that is noted at a node, up to a commit; 0: none is.
    fn newest_noted(&self, node: usize, upto: Seqno) -> Seqno {
        let noted = self.noted(node);
        match noted.last() {
            Some(last) if *last <= upto => *last,
            None => 0,
            Some(_) => {
                let behind = noted.partition_point(|seqno| *seqno <= upto);
                let last = behind.checked_sub(1).and_then(|last| noted.get(last));
                last.copied().unwrap_or(0)
            }
        }
    }

    fn stretches(&self) -> usize {
        self.cuts.len() + 1
    }

    /// The nodes that make up a range.
    fn each_node(&self, range: &RangeDelete, mut each: impl FnMut(usize)) {
        let stretches = self.stretches();
        let behind = range.end.as_ref().map_or(stretches, |end| self.stretch_of(end));
        let (mut first, mut behind) =
            (self.leaves + self.stretch_of(&range.start), self.leaves + behind);
        while first < behind {
            if first % 2 == 1 {
                each(first);
                first += 1;
            }
            if behind % 2 == 1 {
                behind -= 1;
                each(behind);
            }
            (first, behind) = (first / 2, behind / 2);
        }
    }

    fn noted(&self, node: usize) -> &[Seqno] {
        let ends = (self.nodes.get(node), self.nodes.get(node + 1));
        let (Some(start), Some(end)) = ends else { return &[] };
        self.seqnos.get(*start as usize..*end as usize).unwrap_or_default()
    }

    /// The number of the stretch that a key is in.
    fn stretch_of(&self, key: &[u8]) -> usize {
        self.cuts.partition_point(|cut| cut.key() <= key)
    }
}

/// Range deletes between two commits: newer than the first, and up to the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Between {
    pub(crate) after: Seqno,
    pub(crate) upto: Seqno,
}

impl RangeDeletes {
    /// Of these, in any order.
    pub(crate) fn of(all: Vec<Arc<RangeDelete>>) -> Self {
        Self::with_cuts(all, |_, of_one| {
            let ends = of_one.iter().filter(|range| range.end.is_some());
            let cut = |range: &Arc<RangeDelete>, is_end| Cut { of: Arc::clone(range), is_end };
            let starts = of_one.iter().map(|range| cut(range, false));
            starts.chain(ends.map(|range| cut(range, true))).collect()
        })
    }

    /// Those of both.
    pub(crate) fn merged(a: &Self, b: &Self) -> Self {
        Self::with_cuts([a.all.as_slice(), &b.all].concat(), |database, _| {
            let of_both = [a.database(database), b.database(database)].into_iter().flatten();
            of_both.flat_map(|of| of.cuts.iter().cloned()).collect()
        })
    }

    fn with_cuts(
        mut all: Vec<Arc<RangeDelete>>,
        cuts: impl Fn(DatabaseId, &[Arc<RangeDelete>]) -> Vec<Cut>,
    ) -> Self {
        // These sorts find out what is in order already.
        all.sort();
        all.dedup();
        let mut by_database = all.clone();
        by_database.sort_by_key(|range| range.database);
        let of_one = by_database.chunk_by(|a, b| a.database == b.database);
        let of_one = of_one.filter_map(|of| {
            let database = of.first()?.database;
            Some(OfDatabase::of(database, of, cuts(database, of)))
        });
        let databases = of_one.collect();
        Self { all, databases }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Each of them once, ascending by sequence number.
    pub(crate) fn all(&self) -> &[Arc<RangeDelete>] {
        &self.all
    }

    fn database(&self, database: DatabaseId) -> Option<&OfDatabase> {
        let found = self.databases.binary_search_by_key(&database, |of| of.database);
        found.ok().and_then(|at| self.databases.get(at))
    }

    /// Whether there are any of a database.
    pub(crate) fn has(&self, database: DatabaseId) -> bool {
        self.database(database).is_some()
    }

    fn stretch(&self, database: DatabaseId, key: &[u8]) -> Option<Stretch<'_>> {
        let of = self.database(database)?;
        Some(Stretch { of, number: of.stretch_of(key) })
    }

    /// The same, where it is likely to be this one or the one behind it.
    fn stretch_near(&self, database: DatabaseId, key: &[u8], last: usize) -> Option<Stretch<'_>> {
        let of = self.database(database)?;
        let near = Stretch { of, number: last };
        let is_near = |stretch: &Stretch<'_>| {
            stretch.number <= of.cuts.len()
                && stretch.start() <= key
                && stretch.end().is_none_or(|end| key < end)
        };
        let near = [Some(near), near.next()].into_iter().flatten().find(is_near);
        Some(near.unwrap_or_else(|| Stretch { of, number: of.stretch_of(key) }))
    }

    /// A stretch by its number.
    fn stretch_number(&self, database: DatabaseId, number: usize) -> Option<Stretch<'_>> {
        let of = self.database(database)?;
        (number <= of.cuts.len()).then_some(Stretch { of, number })
    }

    /// The newest one, up to this commit, that covers a key; 0: none does.
    pub(crate) fn newest(&self, database: DatabaseId, key: &[u8], upto: Seqno) -> Seqno {
        self.stretch(database, key).map_or(0, |stretch| stretch.newest(upto))
    }

    /// How far everything is covered from a key on; `None`: the key is not.
    pub(crate) fn covered_to(
        &self,
        database: DatabaseId,
        key: &[u8],
        between: Between,
    ) -> Option<End<'_>> {
        let stretch = self.stretch(database, key).filter(|stretch| stretch.is_covered(between))?;
        let uncovered = stretch.uncovered(Side::Behind, between);
        Some(uncovered.map_or(End::Last, |stretch| End::Before(stretch.start())))
    }

    /// From which key on everything is covered up to this one; `None`: that is not.
    pub(crate) fn covered_from(
        &self,
        database: DatabaseId,
        key: &[u8],
        between: Between,
    ) -> Option<&[u8]> {
        let stretch = self.stretch(database, key).filter(|stretch| stretch.is_covered(between))?;
        let uncovered = stretch.uncovered(Side::Before, between);
        Some(uncovered.and_then(|stretch| stretch.end()).unwrap_or_default())
    }

    /// From which key on everything is covered up to right before this one; `None`: what lies there is not.
    fn covered_before(&self, database: DatabaseId, key: &[u8], between: Between) -> Option<&[u8]> {
        let stretch = self.stretch(database, key)?;
        let before = match stretch.start() == key {
            true => stretch.before()?,
            false => stretch,
        };
        let uncovered =
            before.is_covered(between).then(|| before.uncovered(Side::Before, between))?;
        let start = uncovered.and_then(|stretch| stretch.end()).unwrap_or_default();
        (start < key).then_some(start)
    }

    /// Whether all keys from the first to the last of these are covered.
    pub(crate) fn cover_all(
        &self,
        database: DatabaseId,
        (first, last): (&[u8], &[u8]),
        between: Between,
    ) -> bool {
        self.covered_to(database, first, between).is_some_and(|end| End::Before(last) < end)
    }

    /// Whether all that a range delete covers is covered.
    pub(crate) fn cover_range(&self, range: &RangeDelete, between: Between) -> bool {
        let end = range.end.as_deref().map_or(End::Last, End::Before);
        self.covered_to(range.database, &range.start, between).is_some_and(|to| end <= to)
    }

    /// Hands over what is covered, as far as it touches the keys from the first to the last of these, or to the end: start,
    /// and the key behind, if there is one.
    pub(crate) fn each_covered<'a>(
        &'a self,
        database: DatabaseId,
        (first, last): (&[u8], Option<&[u8]>),
        between: Between,
        mut each: impl FnMut(&'a [u8], Option<&'a [u8]>),
    ) {
        let touches =
            |stretch: &Stretch<'_>| last.is_none_or(|last: &[u8]| stretch.start() <= last);
        let mut next = self.stretch(database, first);
        while let Some(stretch) = next.filter(touches) {
            if stretch.is_covered(between) {
                next = stretch.uncovered(Side::Behind, between);
                each(stretch.start(), next.map(|next| next.start()));
            } else {
                next = stretch.next();
            }
        }
    }

    /// How many of them begin or end among these keys.
    pub(crate) fn edges(
        &self,
        database: DatabaseId,
        (first, last): (&[u8], Option<&[u8]>),
        Between { after, upto }: Between,
    ) -> usize {
        let Some(of) = self.database(database) else { return 0 };
        let behind = last.map_or(of.cuts.len(), |last| of.stretch_of(last));
        let cuts = of.cuts.get(of.stretch_of(first)..behind).unwrap_or_default();
        cuts.iter().filter(|cut| after < cut.of.seqno && cut.of.seqno <= upto).count()
    }
}

#[cfg(test)]
mod tests;
