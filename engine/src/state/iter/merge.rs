//! Several sources as one, in order. It keeps every version; nothing is hidden here.

use std::cmp::Ordering;

use orlop_formats::ids::Seqno;

use crate::error::Result;
use crate::state::iter::Source;

/// Stands on the first (going forward) or last (going back) of its sources' entries.
///
/// It turns around only through a seek: [`Merge::next`] follows [`Merge::seek_ge`],
/// [`Merge::prev`] follows [`Merge::seek_lt`].
pub(crate) struct Merge {
    sources: Vec<Source>,
    current: Option<usize>,
    /// The one that comes first among the others.
    rival: Option<usize>,
    /// For so many steps the current one has come first again.
    stayed: usize,
}

/// A source that has come first so many times is asked how long it will.
const STAYED: usize = 3;

impl Merge {
    /// Sources that all stand on their first entry, or will be positioned by a seek.
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        let mut merge = Self { sources, current: None, rival: None, stayed: 0 };
        merge.pick(Ordering::Less);
        merge
    }

    /// Whether a file that a source reads has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.sources.iter().try_for_each(Source::check)
    }

    pub(crate) fn seek_ge(&mut self, key: &[u8]) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek_ge(key))?;
        self.pick(Ordering::Less);
        Ok(())
    }

    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) -> Result<()> {
        self.sources.iter_mut().try_for_each(|source| source.seek_lt(key))?;
        self.pick(Ordering::Greater);
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<()> {
        if let Some(source) = self.current.and_then(|at| self.sources.get_mut(at)) {
            source.next()?;
        }
        self.pick_again(Ordering::Less);
        Ok(())
    }

    pub(crate) fn prev(&mut self) -> Result<()> {
        if let Some(source) = self.current.and_then(|at| self.sources.get_mut(at)) {
            source.prev()?;
        }
        self.pick_again(Ordering::Greater);
        Ok(())
    }

    /// How many entries of the current source follow that nobody need compare: values that `seqno` can see, the
    /// only versions of their keys. It may be said to be fewer.
    pub(crate) fn plain_run(&self, seqno: Seqno) -> usize {
        let rival = self.rival.and_then(|at| self.sources.get(at));
        seeded!(RunPastRival: rival = None::<&Source>);
        match self.entry() {
            Some(Source::Run(cursor)) if rival.is_none() || self.stayed >= STAYED => {
                cursor.plain_run(rival.map(Source::key), seqno)
            }
            _ => 0,
        }
    }

    /// Steps to the next entry of a [plain run](Merge::plain_run), and makes its value available.
    #[inline]
    pub(crate) fn run_on(&mut self) -> Result<()> {
        match self.current.and_then(|at| self.sources.get_mut(at)) {
            Some(Source::Run(cursor)) => cursor.run_on(),
            _ => Ok(()),
        }
    }

    /// The source that stands on the entry, if there is one.
    #[inline]
    pub(crate) fn entry(&self) -> Option<&Source> {
        self.current.and_then(|at| self.sources.get(at))
    }

    /// Makes the entry's value available.
    pub(crate) fn load_value(&mut self) -> Result<()> {
        match self.current.and_then(|at| self.sources.get_mut(at)) {
            Some(source) => source.load_value(),
            None => Ok(()),
        }
    }

    /// The same as [`Merge::pick`] when none but the current source has moved: mostly it still comes first, and one
    /// comparison says so.
    fn pick_again(&mut self, wanted: Ordering) {
        let of = |at: Option<usize>| at.and_then(|at| self.sources.get(at));
        let stays = match (of(self.current), of(self.rival)) {
            (Some(current), _) if !current.valid() => false,
            (Some(current), Some(rival)) => compare(current, rival) == wanted,
            (current, None) => current.is_some(),
            (None, Some(_)) => false,
        };
        if stays {
            self.stayed += 1;
        } else {
            self.pick(wanted);
        }
    }

    /// Finds the valid source whose entry compares `wanted` to all others', and the next best.
    fn pick(&mut self, wanted: Ordering) {
        let mut best: Option<(usize, &Source)> = None;
        let mut rival: Option<(usize, &Source)> = None;
        let beats = |source: &Source, other: Option<(usize, &Source)>| {
            other.is_none_or(|(_, other)| compare(source, other) == wanted)
        };
        for (at, source) in self.sources.iter().enumerate().filter(|(_, s)| s.valid()) {
            if beats(source, best) {
                (best, rival) = (Some((at, source)), best);
            } else if beats(source, rival) {
                rival = Some((at, source));
            }
        }
        self.stayed = 0;
        (self.current, self.rival) = (best.map(|(at, _)| at), rival.map(|(at, _)| at));
    }
}

fn compare(a: &Source, b: &Source) -> Ordering {
    let by_key = (a.database(), a.key()).cmp(&(b.database(), b.key()));
    by_key.then_with(|| b.seqno().cmp(&a.seqno()))
}
