//! Several sources as one, in order. It keeps every version; nothing is hidden here.

use std::cmp::Ordering;

use orlop_formats::ids::{AsOf, DatabaseId};

use crate::error::Result;
use crate::files::sstable::RunCursor;
use crate::state::iter::Source;
use crate::state::iter::losers::Losers;
use crate::state::range_deletes::Covering;

/// Stands on the first (going forward) or last (going back) of its sources' entries.
///
/// It turns around only through a seek: [`Merge::next`] follows [`Merge::seek_ge`],
/// [`Merge::prev`] follows [`Merge::seek_lt`].
pub(crate) struct Merge {
    sources: Vec<Source>,
    /// What the keys of all sources begin with, where there are several; a part of it, once some have begun with less.
    shared: Vec<u8>,
    /// Of each source what is compared first, and tells most entries apart; `None`: it is at its end.
    heads: Vec<Option<Head>>,
    losers: Losers,
    current: Option<usize>,
    /// The one that comes first among the others.
    rival: Option<usize>,
    /// For so many steps the current one has come first again.
    stayed: usize,
}

/// The database of an entry, and the first bytes of its key behind what is shared, as a number.
type Head = (DatabaseId, u64);

/// A source that has come first so many times is asked how long it will.
const STAYED: usize = 3;

impl Merge {
    /// Sources that all stand on their first entry, or will be positioned by a seek.
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let (heads, losers) = (vec![None; sources.len()], Losers::default());
        let (shared, current, rival) = (Vec::new(), None, None);
        let mut merge = Self { sources, shared, heads, losers, current, rival, stayed: 0 };
        merge.begin(Ordering::Less);
        merge
    }

    /// Whether a file that a source reads has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.sources.iter().try_for_each(Source::check)
    }

    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek_ge(key))?;
        self.begin(Ordering::Less);
        Ok(())
    }

    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek_lt(key))?;
        self.begin(Ordering::Greater);
        Ok(())
    }

    /// Steps over the entry, which is covered, and over what follows it in its source as far as that is.
    pub(crate) fn skip_covered(&mut self, by: Covering<'_>) -> Result<()> {
        self.step(|source| source.skip_covered(by), Ordering::Less)
    }

    /// The same going back, if all that its source has there is covered; whether it is.
    pub(crate) fn skip_covered_back(&mut self, by: Covering<'_>) -> Result<bool> {
        let mut is_covered = false;
        let skip = |source: &mut Source| {
            is_covered = source.skip_covered_back(by)?;
            Ok(())
        };
        self.step(skip, Ordering::Greater)?;
        Ok(is_covered)
    }

    pub(crate) fn next(&mut self) -> Result<()> {
        self.step(Source::next, Ordering::Less)
    }

    pub(crate) fn prev(&mut self) -> Result<()> {
        self.step(Source::prev, Ordering::Greater)
    }

    /// How many entries of the current source follow that nobody need compare: values that a reader sees, the
    /// only versions of their keys; all before `limit`, if there is one. It may be said to be fewer. The value of the entry
    /// that it stands on must be available.
    #[inline]
    pub(crate) fn plain_run(&mut self, limit: Option<&[u8]>, as_of: AsOf) -> usize {
        let (run, rival) = self.unrivalled();
        seeded!(RunPastRival: rival = None);
        seeded!(RunPastRangeDelete: limit = None);
        let limit = match (rival, limit) {
            (Some(rival), Some(limit)) => Some(rival.min(limit)),
            (rival, limit) => rival.or(limit),
        };
        run.map_or(0, |cursor| cursor.plain_run(limit, as_of))
    }

    /// The same going back, all behind `limit`; `None` where the entry that it stands on is none of them.
    pub(crate) fn plain_run_back(&mut self, limit: Option<&[u8]>, as_of: AsOf) -> Option<usize> {
        let (run, rival) = self.unrivalled();
        seeded!(RunBackPastRival: rival = None);
        run?.plain_run_back(rival.max(limit), as_of)
    }

    /// The current source if it is a run that comes first again and again, and the key that it will come to be behind.
    fn unrivalled(&mut self) -> (Option<&mut RunCursor>, Option<&[u8]>) {
        let alone = (None, None);
        let Some(current) = self.current else { return alone };
        if self.rival.is_some() && self.stayed < STAYED {
            return alone;
        }
        let (current, rival) = match self.rival {
            None => (self.sources.get_mut(current), None),
            Some(rival) => match self.sources.get_disjoint_mut([current, rival]) {
                Ok([current, rival]) => (Some(current), Some(&*rival)),
                Err(_) => return alone,
            },
        };
        match current {
            Some(Source::Run(cursor)) => (Some(cursor), rival.map(Source::key)),
            _ => alone,
        }
    }

    /// Steps to the next entry of a [plain run](Merge::plain_run), whose value is available then.
    #[inline]
    pub(crate) fn run_on(&mut self) {
        if let Some(Source::Run(cursor)) = self.current.and_then(|at| self.sources.get_mut(at)) {
            cursor.run_on();
        }
    }

    /// Steps to the entry before in a [plain run](Merge::plain_run_back), as above.
    #[inline]
    pub(crate) fn run_back(&mut self) {
        if let Some(Source::Run(cursor)) = self.current.and_then(|at| self.sources.get_mut(at)) {
            cursor.run_back();
        }
    }

    /// Looks at the value of the entry where it lies, so that a device that cannot read it says so now.
    pub(crate) fn touch_value(&self) {
        std::hint::black_box(self.entry().and_then(|source| source.value().first().copied()));
    }

    /// The source that stands on the entry, if there is one.
    #[inline]
    pub(crate) fn entry(&self) -> Option<&Source> {
        self.current.and_then(|at| self.sources.get(at))
    }

    /// Makes the entry's value available.
    #[inline]
    pub(crate) fn load_value(&mut self) -> Result<()> {
        match self.current.and_then(|at| self.sources.get_mut(at)) {
            Some(source) => source.load_value(),
            None => Ok(()),
        }
    }

    /// Finds the source whose entry comes first, and the next best, after any have moved.
    fn begin(&mut self, wanted: Ordering) {
        let Self { sources, shared, heads, losers, .. } = self;
        share(sources, shared);
        heads.iter_mut().zip(sources.iter()).for_each(|(head, source)| {
            *head = head_of(source, shared).unwrap_or_default();
        });
        losers.play(sources.len(), |a, b| is_first(sources, heads, (a, b), wanted));
        self.take_winner(wanted);
    }

    /// Moves the current source. Mostly it still comes first, and one comparison says so.
    fn step(
        &mut self,
        step: impl FnOnce(&mut Source) -> Result<()>,
        wanted: Ordering,
    ) -> Result<()> {
        let Self { sources, shared, heads, losers, .. } = self;
        let Some(current) = self.current else { return Ok(()) };
        if let (Some(source), Some(head)) = (sources.get_mut(current), heads.get_mut(current)) {
            step(source)?;
            match head_of(source, shared) {
                Some(now) => *head = now,
                None => {
                    self.begin(wanted);
                    return Ok(());
                }
            }
        }
        let is_first = |a, b| is_first(sources, heads, (a, b), wanted);
        let stays = match self.rival {
            Some(rival) => is_first(current, rival),
            None => heads.get(current).is_some_and(Option::is_some),
        };
        if stays {
            self.stayed += 1;
        } else {
            losers.play_again(is_first);
            self.take_winner(wanted);
        }
        Ok(())
    }

    fn take_winner(&mut self, wanted: Ordering) {
        let Self { sources, heads, losers, .. } = self;
        let valid = |at: &usize| heads.get(*at).is_some_and(Option::is_some);
        let second = losers.second(|a, b| is_first(sources, heads, (a, b), wanted));
        (self.current, self.rival) = (losers.winner().filter(valid), second.filter(valid));
        self.stayed = 0;
    }
}

/// Finds out what the keys of all sources begin with. One alone need not be compared.
fn share(sources: &[Source], shared: &mut Vec<u8>) {
    shared.clear();
    let mut keys = sources.iter().filter(|source| source.valid()).map(Source::key);
    let Some((first, second)) = keys.next().zip(keys.next()) else { return };
    shared.extend_from_slice(first);
    for key in std::iter::once(second).chain(keys) {
        let common = shared.iter().zip(key).take_while(|(a, b)| a == b).count();
        shared.truncate(common);
    }
}

/// The head of a source's entry; `None`: its key does not begin with what is shared.
#[inline]
fn head_of(source: &Source, shared: &[u8]) -> Option<Option<Head>> {
    if !source.valid() {
        return Some(None);
    }
    let rest = source.key().strip_prefix(shared)?;
    Some(Some((source.database(), first_eight(rest))))
}

/// The first bytes of a key as a number; of two keys the lesser one has no greater number.
#[inline]
fn first_eight(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(padded)
        }
    }
}

/// Whether the entry of the first of two sources is what comes first of both: one that is at its end never is.
#[inline]
fn is_first(
    sources: &[Source],
    heads: &[Option<Head>],
    (a, b): (usize, usize),
    wanted: Ordering,
) -> bool {
    match (heads.get(a).copied().flatten(), heads.get(b).copied().flatten()) {
        (Some(head), Some(other)) => {
            let whole = || Some(compare(sources.get(a)?, sources.get(b)?));
            head.cmp(&other).then_with(|| whole().unwrap_or(Ordering::Equal)) == wanted
        }
        (head, _) => head.is_some(),
    }
}

fn compare(a: &Source, b: &Source) -> Ordering {
    let by_key = (a.database(), a.key()).cmp(&(b.database(), b.key()));
    by_key.then_with(|| b.seqno().cmp(&a.seqno()))
}
