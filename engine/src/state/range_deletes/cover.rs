//! What covers one key after the other, of a scan or a merge.
//!
//! Mostly the next key lies in the same stretch as the last one, which two comparisons say, or in the next one.

use orlop_formats::ids::{DatabaseId, Seqno};

use super::{Between, End, RangeDeletes};
use crate::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    places: Vec<Place>,
    /// The stretch of the last key that was asked for: one to all places.
    stretch: Stretch,
}

/// Where range deletes are.
#[derive(Debug)]
struct Place {
    ranges: Arc<RangeDeletes>,
    /// What is added to their sequence numbers.
    base: Seqno,
    /// The stretch of the last key that was asked for, in there.
    last: usize,
}

/// Keys that are covered by the same range deletes.
#[derive(Debug, Default)]
struct Stretch {
    /// None until a key was asked for.
    database: Option<DatabaseId>,
    start: Vec<u8>,
    end: Vec<u8>,
    has_end: bool,
    /// Up to a commit the newest that covers it.
    newest: Option<(Seqno, Seqno)>,
}

/// What covers the entry that a source stands on, and perhaps what is beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covering<'a> {
    /// Its stretch is the one that was asked for last.
    pub(crate) cover: &'a Cover,
    /// The newest range delete over it.
    pub(crate) newest: Seqno,
    /// Newer ones do not count.
    pub(crate) upto: Seqno,
}

impl<'a> Covering<'a> {
    /// How far everything is covered that is no newer than a commit, from the entry or another key on; `None`: that is not.
    pub(crate) fn covered_to(
        &self,
        database: DatabaseId,
        key: &[u8],
        after: Seqno,
    ) -> Option<End<'a>> {
        let is_any = self.newest > after || !self.cover.stretch.has(database, key);
        let between = Between { after, upto: self.upto };
        is_any.then(|| self.cover.covered_to(database, key, between))?
    }

    /// From which key on everything is, up to the entry or another key.
    pub(crate) fn covered_from(
        &self,
        database: DatabaseId,
        key: &[u8],
        after: Seqno,
    ) -> Option<&'a [u8]> {
        let is_any = self.newest > after || !self.cover.stretch.has(database, key);
        let between = Between { after, upto: self.upto };
        is_any.then(|| self.cover.covered_from(database, key, between))?
    }
}

impl Stretch {
    fn has(&self, database: DatabaseId, key: &[u8]) -> bool {
        self.database == Some(database)
            && self.start.as_slice() <= key
            && (!self.has_end || key < self.end.as_slice())
    }
}

impl Place {
    /// What is between two commits, as its own sequence numbers count.
    fn between(&self, Between { after, upto }: Between) -> Option<Between> {
        // Below the base there is none of them.
        let upto = upto.checked_sub(self.base)?;
        Some(Between { after: after.saturating_sub(self.base), upto })
    }
}

impl Cover {
    /// Adds range deletes whose sequence numbers count from `base`.
    pub(crate) fn add(&mut self, ranges: Arc<RangeDeletes>, base: Seqno) {
        self.places.push(Place { ranges, base, last: 0 });
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The newest range delete, up to this commit, that covers a key; 0: none does.
    pub(crate) fn newest(&mut self, database: DatabaseId, key: &[u8], upto: Seqno) -> Seqno {
        if !self.stretch.has(database, key) {
            self.find_stretch(database, key);
        }
        match self.stretch.newest {
            Some((of, newest)) if of == upto => newest,
            _ => {
                let of_each = self.places.iter().filter_map(|place| {
                    let stretch = place.ranges.stretch_number(database, place.last)?;
                    let newest = stretch.newest(upto.checked_sub(place.base)?);
                    (newest > 0).then(|| place.base + newest)
                });
                let newest = of_each.max().unwrap_or(0);
                self.stretch.newest = Some((upto, newest));
                newest
            }
        }
    }

    fn find_stretch(&mut self, database: DatabaseId, key: &[u8]) {
        let (mut start, mut end): (&[u8], Option<&[u8]>) = (&[], None);
        for place in &mut self.places {
            let Some(stretch) = place.ranges.stretch_near(database, key, place.last) else {
                continue;
            };
            place.last = stretch.number;
            start = start.max(stretch.start());
            end = match (end, stretch.end()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let stretch = &mut self.stretch;
        (stretch.database, stretch.newest, stretch.has_end) = (Some(database), None, end.is_some());
        stretch.start.clear();
        stretch.start.extend_from_slice(start);
        stretch.end.clear();
        stretch.end.extend_from_slice(end.unwrap_or_default());
    }

    /// The stretch of the last key that was asked for: its first key, and the one behind it, if there is one.
    pub(crate) fn stretch(&self) -> (&[u8], Option<&[u8]>) {
        let Stretch { start, end, has_end, .. } = &self.stretch;
        (start, has_end.then_some(end.as_slice()))
    }

    /// How far everything is covered from a key on; `None`: the key is not.
    pub(crate) fn covered_to(
        &self,
        database: DatabaseId,
        key: &[u8],
        between: Between,
    ) -> Option<End<'_>> {
        let mut covered = None;
        loop {
            let from = match covered {
                None => key,
                Some(End::Before(end)) => end,
                Some(End::Last) => return covered,
            };
            let further = self.places.iter().filter_map(|place| {
                place.ranges.covered_to(database, from, place.between(between)?)
            });
            match further.max() {
                None => return covered,
                further => covered = further,
            }
        }
    }

    /// From which key on everything is covered up to this one; `None`: that is not.
    pub(crate) fn covered_from(
        &self,
        database: DatabaseId,
        key: &[u8],
        between: Between,
    ) -> Option<&[u8]> {
        let from = |key: &[u8]| {
            let of_each = self.places.iter().filter_map(|place| {
                place.ranges.covered_from(database, key, place.between(between)?)
            });
            of_each.min()
        };
        let mut covered = from(key)?;
        // What ends where this begins goes on, if there is something.
        while let Some(further) = self.covered_before(database, covered, between) {
            covered = further;
        }
        Some(covered)
    }

    /// From which key on everything is covered that lies right before this one.
    fn covered_before(&self, database: DatabaseId, key: &[u8], between: Between) -> Option<&[u8]> {
        let of_each = self.places.iter().filter_map(|place| {
            place.ranges.covered_before(database, key, place.between(between)?)
        });
        of_each.min()
    }
}
