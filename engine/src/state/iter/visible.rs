//! Each key once, as of one sequence number and one time, in both directions.
//!
//! The position is a gap between keys, not a key: it lies before the first key that is `bound` or
//! greater. `next` returns the entry behind the gap and steps over it, `prev` the one before. So
//! turning around returns the same entry again.
//!
//! Where ranges were deleted, what is covered is passed over: a source that comes to a covered entry goes on to where it
//! may have one that is not.
//!
//! A step looks at maps inside of the engine, but for one in a plain run; behind it one comparison tells whether anything
//! mapped has failed since the cursor was made ([`faults`]). Then its own files are asked.

use orlop_formats::ids::{AsOf, Kind, Seqno};

use crate::env::faults::{self, Inside};
use crate::error::{Error, Result};
use crate::state::iter::{Merge, Source};
use crate::state::range_deletes::{Cover, Covering};

/// Where the gap is.
#[derive(Clone, Copy)]
enum Gap {
    /// Before the first key that is `bound` or greater.
    Bound,
    /// On this or that side of the key last returned.
    BeforeKey,
    BehindKey,
}

/// What the merge stands on.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// Nothing useful: the next step seeks.
    None,
    /// The first version behind the gap.
    Forward,
    /// The last version before the gap.
    Backward,
}

/// See the module.
pub(crate) struct Visible {
    merge: Merge,
    as_of: AsOf,
    /// Deletes of ranges, if there are any.
    cover: Option<Box<Cover>>,
    gap: Gap,
    /// See [`Gap::Bound`]; `None` is behind every key.
    bound: Option<Vec<u8>>,
    direction: Direction,
    /// The entry last returned. Going forward its value is still in the merge, and in a plain run both are.
    key: Vec<u8>,
    value: Vec<u8>,
    value_in_merge: bool,
    key_in_merge: bool,
    /// When it expires, if its key is not in the merge.
    expiry: Option<u64>,
    /// So many entries follow in the merge, in its direction, that are to be returned as they are.
    run: usize,
    /// The merge stands on the entry last returned.
    on_returned: bool,
    /// The first error: every later step returns it again.
    failed: Option<Error>,
    /// The faults up to which no file of this cursor has failed.
    faults: u64,
}

impl Visible {
    pub(crate) fn new(merge: Merge, as_of: AsOf, cover: Cover) -> Self {
        Self {
            merge,
            as_of,
            cover: (!cover.is_empty()).then(|| Box::new(cover)),
            gap: Gap::Bound,
            bound: Some(Vec::new()),
            direction: Direction::None,
            key: Vec::new(),
            value: Vec::new(),
            value_in_merge: false,
            key_in_merge: false,
            expiry: None,
            run: 0,
            on_returned: false,
            failed: None,
            // Files that have failed before are told at their first block.
            faults: faults::count(),
        }
    }

    /// Puts the gap before `key`; `None`: behind every key.
    pub(crate) fn seek(&mut self, key: Option<&[u8]>) {
        self.leave_run();
        self.set_bound(key);
        self.direction = Direction::None;
    }

    /// The entry of the last step that found one, for a caller.
    #[inline]
    pub(crate) fn entry(&self) -> (&[u8], &[u8]) {
        self.entry_with(Source::lent_value)
    }

    /// The same for the engine, which takes of it what it needs.
    pub(crate) fn take<T>(&mut self, take: impl FnOnce(&[u8], &[u8]) -> T) -> Result<T> {
        let inside = Inside::enter();
        let (key, value) = self.entry_with(Source::value);
        let taken = take(key, value);
        drop(inside);
        self.faults_since().map_or(Ok(taken), Err)
    }

    /// When the entry of the last step that found one expires.
    pub(crate) fn expiry(&mut self) -> Result<Option<u64>> {
        if self.key_in_merge {
            let _inside = Inside::enter();
            self.expiry = self.merge.entry().and_then(Source::expiry);
        }
        self.faults_since().map_or(Ok(self.expiry), Err)
    }

    #[inline]
    fn entry_with(&self, value: impl Fn(&Source) -> &[u8]) -> (&[u8], &[u8]) {
        let Some(source) = self.merge.entry().filter(|_| self.value_in_merge) else {
            return (&self.key, &self.value);
        };
        (if self.key_in_merge { source.key() } else { &self.key }, value(source))
    }

    /// Steps over the entry behind the gap; false at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        if self.run > 0 && self.direction == Direction::Forward {
            self.merge.run_on();
            return self.stepped_in_run();
        }
        self.step(Self::step_forward)
    }

    /// Steps over the entry before the gap; false at the start.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<bool> {
        if self.run > 0 && self.direction == Direction::Backward {
            self.merge.run_back();
            return self.stepped_in_run();
        }
        self.step(Self::step_backward)
    }

    /// Has come to an entry that was copied before: no map was looked at for that.
    #[inline]
    fn stepped_in_run(&mut self) -> Result<bool> {
        self.run -= 1;
        self.key_in_merge = true;
        if faults::caught() {
            // Where a fault can be told, it is told here, and not by the end of the process in the caller's hands.
            let _inside = Inside::enter();
            self.merge.touch_value();
        }
        self.faults_since().map_or(Ok(true), Err)
    }

    fn step(&mut self, step: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let inside = Inside::enter();
        let mut stepped = self.guarded(step);
        drop(inside);
        if let Some(error) = self.faults_since() {
            stepped = Err(error);
        }
        stepped
    }

    /// Why what was found may be zeros in place of a page.
    #[inline]
    fn faults_since(&mut self) -> Option<Error> {
        let faults = faults::count();
        if faults == self.faults { None } else { self.ask_files(faults) }
    }

    #[cold]
    fn ask_files(&mut self, faults: u64) -> Option<Error> {
        match self.merge.check() {
            Ok(()) => self.faults = faults,
            Err(error) => (self.run, self.failed) = (0, Some(error)),
        }
        self.failed.clone()
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        seeded!(ScanErrorSwallowed => return Ok(step(self).unwrap_or(false)));
        seeded!(IteratorNotFused => self.failed = None);
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        step(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// What follows is to be looked at.
    fn leave_run(&mut self) {
        self.run = 0;
        if std::mem::take(&mut self.key_in_merge) {
            self.key.clear();
            self.key.extend_from_slice(self.merge.entry().map_or(&[], Source::key));
        }
    }

    fn step_forward(&mut self) -> Result<bool> {
        self.leave_run();
        if self.direction != Direction::Forward {
            self.spell_gap_out();
            let Some(bound) = &self.bound else { return Ok(false) };
            self.merge.seek_ge(bound)?;
            self.direction = Direction::Forward;
        } else if self.on_returned {
            self.skip_key_forward()?;
        }
        self.on_returned = false;
        while let Some(source) = self.merge.entry() {
            if source.seqno() > self.as_of.seqno {
                self.merge.next()?;
                continue;
            }
            // The newest version that we can see decides.
            self.key.clear();
            self.key.extend_from_slice(source.key());
            let (seqno, expiry) = (source.seqno(), source.expiry());
            let is_live = is_live(source.kind(), expiry)? && !self.as_of.has_passed(expiry);
            let range_delete = self.range_delete();
            if is_live && range_delete <= seqno {
                self.expiry = expiry;
                self.merge.load_value()?;
                (self.value_in_merge, self.on_returned) = (true, true);
                self.run = match &self.cover {
                    None => self.merge.plain_run(None, self.as_of),
                    Some(_) if range_delete > 0 => 0,
                    Some(cover) => self.merge.plain_run(cover.stretch().1, self.as_of),
                };
                self.gap = Gap::BehindKey;
                return Ok(true);
            }
            if range_delete > seqno {
                self.skip_covered(range_delete)?;
            } else {
                self.skip_key_forward()?;
            }
        }
        self.set_bound(None);
        Ok(false)
    }

    /// The newest range delete that covers `key` for us; 0: none does.
    #[inline]
    fn range_delete(&mut self) -> Seqno {
        match (&mut self.cover, self.merge.entry()) {
            (Some(cover), Some(source)) => {
                cover.newest(source.database(), &self.key, self.as_of.seqno)
            }
            _ => 0,
        }
    }

    /// Steps over the entry that the merge stands on, which a range delete covers, and over what follows it in its source,
    /// as far as all of it is covered.
    #[cold]
    fn skip_covered(&mut self, range_delete: Seqno) -> Result<()> {
        match &self.cover {
            Some(cover) => {
                let by = Covering { cover, newest: range_delete, upto: self.as_of.seqno };
                self.merge.skip_covered(by)
            }
            None => self.merge.next(),
        }
    }

    /// The same going back, if all that the source of the entry has there is covered; whether it is.
    #[cold]
    fn skip_covered_back(&mut self, range_delete: Seqno) -> Result<bool> {
        match &self.cover {
            Some(cover) => {
                let by = Covering { cover, newest: range_delete, upto: self.as_of.seqno };
                self.merge.skip_covered_back(by)
            }
            None => Ok(false),
        }
    }

    /// Leaves the remaining versions of `key` behind.
    fn skip_key_forward(&mut self) -> Result<()> {
        while self.merge.entry().is_some_and(|source| source.key() == self.key) {
            self.merge.next()?;
        }
        Ok(())
    }

    fn step_backward(&mut self) -> Result<bool> {
        self.leave_run();
        if self.direction != Direction::Backward {
            self.spell_gap_out();
            self.merge.seek_lt(self.bound.as_deref())?;
            self.direction = Direction::Backward;
        } else if self.on_returned {
            // There it is the only version of its key.
            self.merge.prev()?;
        }
        (self.value_in_merge, self.on_returned) = (false, false);
        if self.begin_run_back()? {
            return Ok(true);
        }
        // Versions of a key come oldest first: the last one that we can see decides.
        while let Some(source) = self.merge.entry() {
            self.key.clear();
            self.key.extend_from_slice(source.key());
            let range_delete = self.range_delete();
            if range_delete > 0 && self.skip_covered_back(range_delete)? {
                continue;
            }
            if self.take_key_backward(range_delete)? {
                self.gap = Gap::BeforeKey;
                return Ok(true);
            }
        }
        self.set_bound(Some(b""));
        Ok(false)
    }

    /// Returns the entry of the merge as it is, and says how many more will be; false where none can.
    fn begin_run_back(&mut self) -> Result<bool> {
        let limit = match (&mut self.cover, self.merge.entry()) {
            (Some(cover), Some(source)) => {
                if cover.newest(source.database(), source.key(), self.as_of.seqno) > 0 {
                    return Ok(false);
                }
                Some(cover.stretch().0)
            }
            _ => None,
        };
        let Some(more) = self.merge.plain_run_back(limit, self.as_of) else { return Ok(false) };
        self.merge.load_value()?;
        (self.value_in_merge, self.key_in_merge, self.on_returned) = (true, true, true);
        (self.run, self.gap) = (more, Gap::BeforeKey);
        Ok(true)
    }

    /// Walks over all versions of `key`; whether the key is there for us.
    fn take_key_backward(&mut self, range_delete: Seqno) -> Result<bool> {
        let mut live = false;
        while let Some(source) = self.merge.entry()
            && source.key() == self.key
        {
            if source.seqno() <= self.as_of.seqno {
                let expiry = source.expiry();
                live = is_live(source.kind(), expiry)?
                    && !self.as_of.has_passed(expiry)
                    && range_delete <= source.seqno();
                if live {
                    self.expiry = expiry;
                    self.merge.load_value()?;
                    let value = self.merge.entry().map_or(&[][..], |source| source.value());
                    self.value.clear();
                    self.value.extend_from_slice(value);
                }
            }
            self.merge.prev()?;
        }
        Ok(live)
    }

    fn set_bound(&mut self, key: Option<&[u8]>) {
        self.gap = Gap::Bound;
        match (key, &mut self.bound) {
            (Some(key), Some(bound)) => {
                bound.clear();
                bound.extend_from_slice(key);
            }
            (key, bound) => *bound = key.map(<[u8]>::to_vec),
        }
    }

    /// Says in a bound where the gap is: what a seek asks for.
    fn spell_gap_out(&mut self) {
        let behind: &[u8] = match self.gap {
            Gap::Bound => return,
            Gap::BeforeKey => &[],
            Gap::BehindKey => &[0],
        };
        self.gap = Gap::Bound;
        let bound = self.bound.get_or_insert_default();
        bound.clone_from(&self.key);
        bound.extend_from_slice(behind);
    }
}

/// Whether a version is a value, as long as it has not expired.
pub(crate) fn is_live(kind: Kind, expiry: Option<u64>) -> Result<bool> {
    match (kind, expiry) {
        (Kind::Put, _) => Ok(true),
        (Kind::Delete, None) => Ok(false),
        _ => Err(later_kind(kind, expiry)),
    }
}

#[cold]
fn later_kind(kind: Kind, expiry: Option<u64>) -> Error {
    Error::TooNew {
        path: "an entry of this store".into(),
        expected: "a Put, or a Delete without an expiry".to_owned(),
        found: format!("{kind:?}, expiry {expiry:?}"),
    }
}
