//! Memory that is given back all at once.
//!
//! Nothing in an arena moves or is freed before the arena is. So one writer can put things there
//! and link them, while readers follow the links without a lock or a count.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;

use crate::prefetch;
use crate::sync::unwatched::{AtomicPtr, Ordering};
use crate::sync::{Arc, Mutex};

/// Bytes of the first chunk: small stores stay small.
const FIRST: usize = 16 << 10;

/// Bytes of the chunks of a large arena; what is a quarter of it or more gets a chunk of its own.
const LARGEST: usize = 1 << 20;

/// What is asked for before it is taken: so many bytes, so far behind what was taken last.
const AHEAD: (usize, usize) = (128, 256);

/// The largest alignment of anything: a cache line.
const ALIGN: usize = 64;

/// Chunks that arenas have given back, for the arenas to come: memory that is new costs a page fault for every
/// page.
#[derive(Default)]
pub(crate) struct Chunks {
    kept: Mutex<Kept>,
    /// How many of them, at most.
    most: usize,
}

#[derive(Default)]
struct Kept {
    /// Of [`LARGEST`] bytes each.
    spare: Vec<Chunk>,
    /// How many were asked for so far.
    taken: u64,
}

impl Chunks {
    /// Keeps so many bytes at most.
    pub(crate) fn keeping(bytes: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), most: bytes / LARGEST })
    }

    /// Gives all of it back to the system; false if there is none.
    pub(crate) fn clear(&self) -> bool {
        let spare = std::mem::take(&mut self.kept.lock().spare);
        !spare.is_empty()
    }

    /// How many chunks were asked for so far, if there are some.
    pub(crate) fn taken_beside_some(&self) -> Option<u64> {
        let kept = self.kept.lock();
        (!kept.spare.is_empty()).then_some(kept.taken)
    }

    fn take(&self) -> Option<Chunk> {
        let mut kept = self.kept.lock();
        kept.taken += 1;
        kept.spare.pop()
    }

    fn put_back(&self, chunk: Chunk) {
        let mut kept = self.kept.lock();
        if chunk.layout.size() == LARGEST && kept.spare.len() < self.most {
            kept.spare.push(chunk);
        }
    }
}

/// Memory of its own.
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is the only owner of what it points to.
unsafe impl Send for Chunk {}

impl Chunk {
    fn of(size: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(size, ALIGN) else {
            // No record is half as large as the address space.
            handle_alloc_error(Layout::new::<Arena>());
        };
        // SAFETY: the size is not 0: that of something that was asked for, or of a whole chunk.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `of` allocated it with this layout, and nobody else frees it.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// See the module.
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    pool: Arc<Chunks>,
    next: NonNull<u8>,
    left: usize,
    /// Bytes handed out, with what alignment has cost.
    used: usize,
}

// SAFETY: the arena owns its chunks, and only a mutable borrow of it touches `next`.
unsafe impl Send for Arena {}

impl Arena {
    /// One that takes its large chunks from there, and gives them back.
    pub(super) fn new(pool: Arc<Chunks>) -> Self {
        Self { chunks: Vec::new(), pool, next: NonNull::dangling(), left: 0, used: 0 }
    }

    /// Bytes handed out so far.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Puts a value here. It is not dropped, so that it must not need to be.
    pub(super) fn put<T: Resident>(&mut self, value: T) -> Placed<T> {
        const { assert!(!std::mem::needs_drop::<T>() && align_of::<T>() <= ALIGN) };
        let place = self.take(Layout::new::<T>()).cast::<T>();
        // SAFETY: `take` gives fresh memory of this layout, which nobody else has.
        unsafe { place.write(value) };
        Placed(place)
    }

    /// Fresh memory that nobody else has, aligned as asked for, not initialised.
    pub(super) fn take(&mut self, layout: Layout) -> NonNull<u8> {
        debug_assert!(layout.align() <= ALIGN && layout.size() > 0);
        if layout.size() >= LARGEST / 4 {
            self.used += layout.size();
            return self.chunk(layout.size());
        }
        let aligned = |at: NonNull<u8>| at.addr().get().next_multiple_of(layout.align());
        let mut skip = aligned(self.next) - self.next.addr().get();
        if skip + layout.size() > self.left {
            let size = (FIRST << self.chunks.len().min(6)).min(LARGEST).max(layout.size());
            self.next = self.chunk(size);
            (self.left, skip) = (size, 0);
        }
        let taken = skip + layout.size();
        // SAFETY: `left` bytes of the current chunk begin at `next`, and `taken` are no more.
        let place = unsafe { self.next.add(skip) };
        // SAFETY: as above; the end of the chunk at most.
        self.next = unsafe { self.next.add(taken) };
        self.left -= taken;
        self.used += taken;
        prefetch::write(self.next.as_ptr().wrapping_add(AHEAD.0), AHEAD.1);
        place
    }

    fn chunk(&mut self, size: usize) -> NonNull<u8> {
        let spare = if size == LARGEST { self.pool.take() } else { None };
        let chunk = spare.unwrap_or_else(|| Chunk::of(size));
        let start = chunk.start;
        self.chunks.push(chunk);
        start
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.chunks.drain(..).for_each(|chunk| self.pool.put_back(chunk));
    }
}

/// What can lie in an arena: it need not be dropped, and threads may share it.
pub(super) trait Resident: Sync {}

/// Something in an arena. Whoever has one holds the memtable with that arena, or lies in it.
pub(super) struct Placed<T>(NonNull<T>);

impl<T> Clone for Placed<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Placed<T> {}

impl<T> PartialEq for Placed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Placed<T> {
    /// What `take` gave.
    ///
    /// # Safety
    /// It is a `T` that is initialised, of an arena that whoever gets this holds on to.
    pub(super) unsafe fn of(place: NonNull<T>) -> Self {
        Self(place)
    }

    /// Where it lies.
    pub(super) fn place(self) -> NonNull<T> {
        self.0
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it was made by an arena, of memory that was initialised before it was shared and
        // that lives as long as the arena, which whoever has this holds on to. Nobody has a mutable
        // reference: what changes in an arena are atomics.
        unsafe { self.0.as_ref() }
    }
}

/// A place in an arena that can be made to point to something there.
#[derive(Debug)]
pub(super) struct Link<T>(AtomicPtr<T>);

impl<T> Link<T> {
    pub(super) fn none() -> Self {
        Self(AtomicPtr::default())
    }

    pub(super) fn to(target: Option<Placed<T>>) -> Self {
        let link = Self::none();
        link.set(target);
        link
    }

    /// What it points to, as whoever set it had written it.
    pub(super) fn get(&self) -> Option<Placed<T>> {
        NonNull::new(self.0.load(Ordering::Acquire)).map(Placed)
    }

    /// Lets readers see `target`, and all that was written before.
    pub(super) fn set(&self, target: Option<Placed<T>>) {
        let target = target.map_or(std::ptr::null_mut(), |target| target.0.as_ptr());
        self.0.store(target, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Resident for [u64; 8] {}

    #[test]
    fn what_is_put_stays_and_is_aligned() {
        let mut arena = Arena::new(Arc::default());
        let count = if cfg!(miri) { 300 } else { 30_000 };
        let places: Vec<_> = (0..count)
            .map(|n| {
                let odd = Layout::from_size_align(1 + n % 7, 1).unwrap();
                arena.take(odd);
                arena.put([n as u64; 8])
            })
            .collect();
        for (n, place) in places.iter().enumerate() {
            assert_eq!(**place, [n as u64; 8]);
            assert_eq!(place.place().addr().get() % 8, 0);
        }
        assert!(arena.used() >= count * 65);
    }

    #[test]
    fn a_large_piece_has_a_chunk_of_its_own_and_wastes_none() {
        let mut arena = Arena::new(Arc::default());
        arena.take(Layout::from_size_align(100, 8).unwrap());
        arena.take(Layout::from_size_align(3 << 20, 8).unwrap());
        arena.take(Layout::from_size_align(100, 8).unwrap());
        assert_eq!(arena.chunks.len(), 2);
        assert!(arena.used() < (3 << 20) + 300);
    }

    #[test]
    fn chunks_are_used_again_as_many_as_are_kept() {
        let pool = Chunks::keeping(3 * LARGEST);
        let fill = |chunks: usize| {
            let mut arena = Arena::new(Arc::clone(&pool));
            while arena.chunks.iter().filter(|chunk| chunk.layout.size() == LARGEST).count()
                < chunks
            {
                arena.put([0; 8]);
            }
            arena
        };
        drop(fill(1));
        assert_eq!(pool.kept.lock().spare.len(), 1);
        drop((fill(2), fill(4)));
        assert_eq!(pool.kept.lock().spare.len(), 3);
        let arena = fill(2);
        assert_eq!(pool.kept.lock().spare.len(), 1);
        drop(arena);
        assert!(pool.taken_beside_some().is_some());
        assert!(pool.clear() && !pool.clear());
        assert_eq!(pool.taken_beside_some(), None);
    }
}
