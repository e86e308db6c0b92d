//! What a reader pins: the memtables and the version, as one value that is replaced as a whole.
//!
//! Readers load the current view without a lock and without touching a shared counter. A replaced
//! view is freed when the last reader that could still see it has left: this module is the only
//! place that knows how (crossbeam-epoch).

use orlop_formats::ids::{DatabaseId, Seqno};

use crate::state::memtable::Memtable;
use crate::state::version::Version;
use crate::sync::epoch::{self, Atomic, Guard, Owned};
use crate::sync::{self, Arc, AtomicU64, Mutex, Ordering};

/// One consistent state of the store. Newest first: active, sealed, version.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Newest first.
    pub(crate) sealed: Vec<Arc<Memtable>>,
    pub(crate) version: Arc<Version>,
    /// Later commits may come behind a load that this version does not have; the maximum while there is none. Shared by all
    /// views between two loads.
    pub(crate) until: Arc<AtomicU64>,
}

impl View {
    /// The first view of an open.
    pub(crate) fn of(active: Arc<Memtable>, version: Version) -> Self {
        let until = Arc::new(AtomicU64::new(Seqno::MAX));
        Self { active, sealed: Vec::new(), version: Arc::new(version), until }
    }

    /// The commit at which a reader of this view reads: asked for after the view was loaded.
    ///
    /// Not simply the last visible one: when the view's active memtable has been sealed since, a
    /// later commit is in a memtable that the view does not know, while other effects of it, a
    /// cleared database for one, would be seen; and behind a load it would be seen without that. And not an earlier one than the view: what nobody
    /// reads at may have been compacted away.
    pub(crate) fn readable(&self, visible: &AtomicU64) -> Seqno {
        let visible = visible.load(Ordering::Acquire).min(self.active.sealed_at());
        visible.min(self.until.load(Ordering::Acquire))
    }

    /// All memtables, the newest first.
    #[inline]
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(&self.sealed)
    }

    /// Whether ranges were deleted, and something that they delete may be there.
    #[inline]
    pub(crate) fn has_range_deletes(&self) -> bool {
        !self.version.range_deletes().is_empty()
            || self.memtables().any(|memtable| memtable.has_range_deletes())
    }

    /// The newest range delete, up to this commit, that covers a key; 0: none does.
    pub(crate) fn newest_range_delete(
        &self,
        database: DatabaseId,
        key: &[u8],
        upto: Seqno,
    ) -> Seqno {
        let with_some = self.memtables().filter(|memtable| memtable.has_range_deletes());
        let in_memory = with_some.map(|of| of.newest_range_delete(database, key, upto)).max();
        let of_tables = self.version.range_deletes().newest(database, key, upto);
        of_tables.max(in_memory.unwrap_or(0))
    }

    /// The memtables that are to be flushed next, newest first: the oldest one that is due, and all that are
    /// older.
    pub(crate) fn to_flush(&self) -> &[Arc<Memtable>] {
        let from = self.sealed.iter().rposition(|memtable| memtable.is_due());
        from.and_then(|from| self.sealed.get(from..)).unwrap_or_default()
    }

    /// How many flushes those that are due will take.
    pub(crate) fn flushes_due(&self) -> usize {
        self.sealed.iter().filter(|memtable| memtable.is_due()).count()
    }
}

/// The current view, or another value that is replaced as a whole.
#[derive(Debug)]
pub(crate) struct ViewCell<T = View> {
    current: Atomic<Arc<T>>,
    /// Taken by whoever replaces the view, never by readers.
    replace: Mutex<()>,
    /// Views that were replaced and not yet freed.
    retired: Arc<AtomicU64>,
}

/// Frees a retired view and counts it.
struct Retired<T> {
    view: Option<Arc<T>>,
    count: Arc<AtomicU64>,
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        self.view = None;
        self.count.fetch_sub(1, Ordering::Release);
    }
}

impl<T> ViewCell<T> {
    pub(crate) fn new(view: T) -> Self {
        Self {
            current: Atomic::new(Arc::new(view)),
            replace: Mutex::new(()),
            retired: Arc::default(),
        }
    }

    /// Reads the current view without counting the reader: for point reads, whose result does
    /// not outlive the call.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = self.guard();
        read(self.load(&guard))
    }

    /// What is loaded with it stays for as long as it is held: the length of a point read, since nothing that was
    /// replaced is freed meanwhile.
    #[inline]
    pub(crate) fn guard(&self) -> Guard {
        epoch::pin()
    }

    /// Pins the current view for as long as the caller likes: for cursors.
    pub(crate) fn pin(&self) -> Arc<T> {
        let guard = epoch::pin();
        Arc::clone(self.load(&guard))
    }

    /// The current view.
    #[inline]
    pub(crate) fn load<'g>(&'g self, guard: &'g Guard) -> &'g Arc<T> {
        let shared = self.current.load(Ordering::Acquire, guard);
        // SAFETY: `current` is never null (set in `new`, replaced by another owned value in
        // `update`), and a replaced value is freed only after every guard pinned before the
        // replacement is gone; `guard` outlives the reference. The current one is freed with the cell, which
        // is borrowed for as long.
        unsafe { shared.deref() }
    }

    /// Replaces the view by a function of the current one. Readers that hold the old one keep it.
    pub(crate) fn update(&self, change: impl FnOnce(&T) -> T) {
        let _replacing = self.replace.lock();
        let guard = epoch::pin();
        let next = Arc::new(change(self.load(&guard)));
        let old = self.current.swap(Owned::new(next), Ordering::AcqRel, &guard);
        self.retired.fetch_add(1, Ordering::Relaxed);
        let count = Arc::clone(&self.retired);
        // SAFETY: `old` was reachable only through `current`, from which it has just been taken
        // out, and `replace` makes us the only one to take it out. The closure runs after every
        // reader pinned before the swap has left. It owns all it captures.
        unsafe {
            guard.defer_unchecked(move || {
                let owned = old.into_owned().into_box();
                drop(Retired { view: Some(*owned), count });
            });
        }
        guard.flush();
    }

    /// Frees retired views until none is left. Other threads hold them for the length of a point
    /// read at most, so this ends soon; it gives up after `rounds` in case a thread never runs. Says
    /// whether none is left.
    pub(crate) fn reclaim(&self, rounds: usize) -> bool {
        for _ in 0..rounds {
            if self.retired.load(Ordering::Acquire) == 0 {
                return true;
            }
            epoch::pin().flush();
            sync::yield_now();
        }
        self.retired.load(Ordering::Acquire) == 0
    }
}

impl<T> Drop for ViewCell<T> {
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: `&mut self` proves that no reader is inside `with`, `pin` or `update`; the
        // value is taken out of `self`, so nothing can load it again.
        drop(unsafe { current.try_into_owned() });
        self.reclaim(10_000);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
