//! Walking over the entries of a database.

use std::cmp::Ordering;
use std::iter::FusedIterator;
use std::ops::Bound;

use orlop_formats::ids::{AsOf, DatabaseId};

use crate::error::Result;
use crate::expiry::Expiry;
use crate::flow::scan;
use crate::state::iter::{Merge, Visible};
use crate::state::range_deletes::Cover;
use crate::state::value::Value;
use crate::state::view::View;
use crate::state::write_set::check_key;
use crate::sync::Arc;

/// A cursor over one database as of one commit and one moment, in both directions, without a copy per entry.
///
/// It stands *between* entries: [`Cursor::next`] returns the entry behind the gap and steps over
/// it, [`Cursor::prev`] the one before, so turning around returns the same entry again. What it
/// returns is borrowed until the next step. After an error every step returns that error again.
///
/// A cursor keeps the memtables and files that it reads; it does not see later writes. What is kept for cursors,
/// snapshots and values alone, [`Stats`](crate::Stats) tells as `pinned_*`: a scan that goes on for hours holds back the
/// space of everything that was merged meanwhile. Where that is too much, drop the cursor now and then, and let a new
/// one seek the key that the old one has returned last.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// let store = orlop::Store::in_memory()?;
/// let users = store.database("users")?;
/// for name in ["ada", "grace", "mary"] {
///     users.put(name, "1")?;
/// }
/// let mut cursor = users.cursor()?;
/// cursor.seek("b")?;
/// assert_eq!(cursor.next()?, Some((&b"grace"[..], &b"1"[..])));
/// assert_eq!(cursor.next()?, Some((&b"mary"[..], &b"1"[..])));
/// assert_eq!(cursor.next()?, None);
/// assert_eq!(cursor.prev()?, Some((&b"mary"[..], &b"1"[..])));
/// # Ok(()) }
/// ```
pub struct Cursor {
    entries: Visible,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

/// An entry that a cursor lends: key, value, and when it expires.
pub type ExpiringEntry<'a> = (&'a [u8], &'a [u8], Expiry);

/// What a cursor reads: a view, and what is visible in it.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    pub(crate) view: Arc<View>,
    /// `None`: the database does not exist.
    pub(crate) database: Option<DatabaseId>,
    pub(crate) as_of: AsOf,
}

impl Cursor {
    pub(crate) fn new(pin: &Pin) -> Self {
        let entries = match pin.database {
            Some(database) => scan::open(&pin.view, database, pin.as_of),
            None => Visible::new(Merge::new(Vec::new()), pin.as_of, Cover::default()),
        };
        Self { entries }
    }

    /// Stands before the first key that is `key` or greater.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge).
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        check_key(key.as_ref())?;
        self.entries.seek(Some(key.as_ref()));
        Ok(())
    }

    /// Stands before the first key.
    pub fn seek_first(&mut self) {
        self.entries.seek(Some(b""));
    }

    /// Stands behind the last key.
    pub fn seek_last(&mut self) {
        self.entries.seek(None);
    }

    /// Steps over the entry behind the gap and returns it; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io): never a shorter scan.
    #[expect(clippy::should_implement_trait, reason = "it lends; an iterator cannot")]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(if self.entries.next()? { Some(self.entries.entry()) } else { None })
    }

    /// Steps back over the entry before the gap and returns it; `None` at the start.
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub fn prev(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Ok(if self.entries.prev()? { Some(self.entries.entry()) } else { None })
    }

    /// As [`Cursor::next`], with the time when the entry expires: [`Expiry::At`] or [`Expiry::Never`].
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub fn next_with_expiry(&mut self) -> Result<Option<ExpiringEntry<'_>>> {
        let stepped = self.entries.next()?;
        self.with_expiry(stepped)
    }

    /// As [`Cursor::prev`], with the time when the entry expires.
    ///
    /// # Errors
    /// As [`Cursor::next`].
    pub fn prev_with_expiry(&mut self) -> Result<Option<ExpiringEntry<'_>>> {
        let stepped = self.entries.prev()?;
        self.with_expiry(stepped)
    }

    fn with_expiry(&mut self, stepped: bool) -> Result<Option<ExpiringEntry<'_>>> {
        if !stepped {
            return Ok(None);
        }
        let expiry = Expiry::of(self.entries.expiry()?);
        let (key, value) = self.entries.entry();
        Ok(Some((key, value, expiry)))
    }
}

/// The entries of a range, from both ends. Owns what it reads; no lifetimes.
///
/// An error ends it: after an `Err` both ends return `None`.
#[derive(Debug)]
pub struct Range {
    /// `Err` until the first step has reported it.
    pin: Result<Pin>,
    /// Each end has a cursor of its own, made when it is first used.
    front: Option<Cursor>,
    back: Option<Cursor>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    done: bool,
}

/// An entry of a [`Range`].
pub type Entry = (Vec<u8>, Value);

impl Range {
    pub(crate) fn new(pin: Result<Pin>, start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Self {
        let checked = [&start, &end].into_iter().try_for_each(|bound| match bound {
            Bound::Included(key) | Bound::Excluded(key) => check_key(key),
            Bound::Unbounded => Ok(()),
        });
        let pin = checked.and(pin);
        Self { pin, front: None, back: None, start, end, done: false }
    }

    /// The cursor of one end, standing at its bound when it is new.
    fn cursor(&mut self, from_front: bool) -> Result<&mut Cursor> {
        let (slot, bound) =
            if from_front { (&mut self.front, &self.start) } else { (&mut self.back, &self.end) };
        if let Some(cursor) = slot {
            return Ok(cursor);
        }
        let cursor = slot.insert(Cursor::new(self.pin.as_ref().map_err(Clone::clone)?));
        // An excluded start and an included end both stand behind the key.
        match bound {
            Bound::Unbounded if from_front => cursor.seek_first(),
            Bound::Unbounded => cursor.seek_last(),
            Bound::Included(key) if from_front => cursor.entries.seek(Some(key)),
            Bound::Excluded(key) if !from_front => cursor.entries.seek(Some(key)),
            Bound::Included(key) | Bound::Excluded(key) => {
                cursor.entries.seek(Some(&[key.as_slice(), &[0]].concat()));
            }
        }
        Ok(cursor)
    }

    /// Whether a key from the front has passed the end, or one from the back the start.
    fn outside(bound: &Bound<Vec<u8>>, key: &[u8], passed: Ordering) -> bool {
        match bound {
            Bound::Included(limit) => key.cmp(limit) == passed,
            Bound::Excluded(limit) => key.cmp(limit) != passed.reverse(),
            Bound::Unbounded => false,
        }
    }

    fn step(&mut self, from_front: bool) -> Option<Result<Entry>> {
        if self.done {
            return None;
        }
        let found = self.find(from_front);
        self.done = !matches!(found, Ok(Some(_)));
        found.transpose()
    }

    fn find(&mut self, from_front: bool) -> Result<Option<Entry>> {
        let cursor = self.cursor(from_front)?;
        let entries = &mut cursor.entries;
        let stepped = if from_front { entries.next()? } else { entries.prev()? };
        if !stepped {
            return Ok(None);
        }
        let entry = entries.take(|key, value| (key.to_vec(), Value::copy_of(value)))?;
        let (limit, passed) =
            if from_front { (&self.end, Ordering::Greater) } else { (&self.start, Ordering::Less) };
        if Self::outside(limit, &entry.0, passed) {
            return Ok(None);
        }
        // What one end has returned is outside for the other.
        let returned = Bound::Excluded(entry.0.clone());
        *(if from_front { &mut self.start } else { &mut self.end }) = returned;
        Ok(Some(entry))
    }
}

impl Iterator for Range {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

impl FusedIterator for Range {}
