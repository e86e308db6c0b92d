//! Which keys a memtable has: "not here" or "perhaps", for a look at a few words instead of a way down the tree.
//!
//! Bloom filters whose blocks are single words: a key sets [`BITS`] bits of one. A key goes into the *front* at once,
//! which is so small that it is at hand. Once that has [`FRONT_KEYS`] they go into the *layers* together, so that the
//! memory of all of them is waited for once, and the front is cleared. Layers are each several times as large as the one
//! before, until they have what a large memtable needs: keys go into the newest, a look-up asks all of them. So
//! nothing is ever hashed again, and a small memtable stays small.
//!
//! The hash is that of the filters of tables (`orlop_formats::filter`), so that a look-up makes it once.
//!
//! The writer sets the bits of a key before anybody is told of the commit that has it; a reader knows of that commit
//! by an acquiring load. So whoever may see the key sees its bits in the front, or that the front was cleared behind
//! it: then those in the layers.

use std::alloc::Layout;
use std::slice;

use super::arena::{Arena, Link, Placed, Resident};
use crate::prefetch;
use crate::sync::unwatched::{AtomicU64, Ordering};

/// Words of the front.
const FRONT: usize = 128;

/// Keys of the front, at most.
const FRONT_KEYS: usize = 64;

/// Words of each layer: 8 KiB, 128 KiB, 1 MiB.
const LAYERS: [usize; 3] = [1 << 10, 1 << 14, 1 << 17];

/// Keys that a word is meant for. The last layer takes as many as come.
const KEYS_PER_WORD: usize = 4;

/// Bits of a key: at four keys a word one absent key in sixty is taken for one that is there.
const BITS: u32 = 4;

impl Resident for AtomicU64 {}

/// See the module.
pub(super) struct Filter {
    front: [AtomicU64; FRONT],
    /// Where each layer begins.
    layers: [Link<AtomicU64>; LAYERS.len()],
}

/// What the writer of a filter knows of it.
pub(super) struct Filling {
    /// The keys in the front.
    hashes: [u64; FRONT_KEYS],
    len: usize,
    /// The newest layer, counted from 1; 0: there is none.
    layers: usize,
    /// Keys that the newest layer still takes.
    left: usize,
}

impl Default for Filling {
    fn default() -> Self {
        Self { hashes: [0; FRONT_KEYS], len: 0, layers: 0, left: 0 }
    }
}

/// The bits of a hash. The place of its word comes from the upper half.
#[inline]
fn bits(hash: u64) -> u64 {
    (0..BITS).fold(0, |bits, bit| bits | 1 << (hash >> (bit * 6) & 63))
}

/// The word of a hash among so many.
#[inline]
fn place(hash: u64, words: usize) -> usize {
    (((hash >> 32) * words as u64) >> 32) as usize
}

#[inline]
fn set(words: &[AtomicU64], hash: u64) {
    if let Some(word) = words.get(place(hash, words.len())) {
        word.store(word.load(Ordering::Relaxed) | bits(hash), Ordering::Release);
    }
}

#[inline]
fn is_set(words: &[AtomicU64], hash: u64) -> bool {
    let bits = bits(hash);
    let word = words.get(place(hash, words.len()));
    word.is_none_or(|word| word.load(Ordering::Acquire) & bits == bits)
}

impl Filter {
    pub(super) fn new() -> Self {
        Self {
            front: [const { AtomicU64::new(0) }; FRONT],
            layers: std::array::from_fn(|_| Link::none()),
        }
    }

    /// The words of a layer that there is.
    #[inline]
    fn words(&self, layer: usize) -> Option<&[AtomicU64]> {
        let first = self.layers.get(layer)?.get()?;
        // SAFETY: `begin` has set it to the first of so many words, which are initialised, and lie in the arena of the
        // memtable that this filter is a part of.
        Some(unsafe { slice::from_raw_parts(first.place().as_ptr(), *LAYERS.get(layer)?) })
    }

    /// Adds a key. There is one writer.
    #[inline]
    pub(super) fn add(&self, arena: &mut Arena, filling: &mut Filling, hash: u64) {
        set(&self.front, hash);
        if let Some(slot) = filling.hashes.get_mut(filling.len) {
            *slot = hash;
            filling.len += 1;
        }
        if filling.len == FRONT_KEYS {
            self.settle(arena, filling);
        }
    }

    /// Brings the keys of the front into the newest layer.
    #[cold]
    fn settle(&self, arena: &mut Arena, filling: &mut Filling) {
        if filling.left < FRONT_KEYS && filling.layers < LAYERS.len() {
            self.begin(arena, filling);
        }
        let newest = filling.layers.checked_sub(1).and_then(|newest| self.words(newest));
        let Some(words) = newest else { return };
        for hash in filling.hashes {
            prefetch::write(words.as_ptr().wrapping_add(place(hash, words.len())).cast(), 8);
        }
        filling.hashes.iter().for_each(|hash| set(words, *hash));
        self.front.iter().for_each(|word| word.store(0, Ordering::Release));
        filling.len = 0;
        filling.left = filling.left.saturating_sub(FRONT_KEYS);
    }

    /// Begins the next layer.
    fn begin(&self, arena: &mut Arena, filling: &mut Filling) {
        let at = filling.layers;
        let (Some(link), Some(words)) = (self.layers.get(at), LAYERS.get(at)) else { return };
        let Ok(layout) = Layout::array::<AtomicU64>(*words) else { return };
        let first = arena.take(layout).cast::<AtomicU64>();
        // SAFETY: `take` gives fresh memory of this layout, which nobody else has; zeros are words.
        unsafe { first.write_bytes(0, *words) };
        // SAFETY: it was just initialised.
        link.set(Some(unsafe { Placed::of(first) }));
        (filling.layers, filling.left) = (at + 1, words * KEYS_PER_WORD);
    }

    /// False: no key with this hash was added.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        // The front first: what it lacks because it was cleared is in a layer by then.
        is_set(&self.front, hash)
            || (0..LAYERS.len())
                .map_while(|layer| self.words(layer))
                .any(|words| is_set(words, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;
    use orlop_formats::filter::hash;
    use orlop_formats::ids::DatabaseId;

    fn hash_of(key: u64) -> u64 {
        hash(DatabaseId(16), &key.to_le_bytes())
    }

    #[test]
    fn none_is_missed_and_few_are_taken_for_another() {
        let mut arena = Arena::new(Arc::default());
        let (filter, mut filling) = (Filter::new(), Filling::default());
        assert!(!filter.may_contain(hash_of(0)), "there is nothing in it");
        let count = if cfg!(miri) { 3_000 } else { 400_000 };
        for key in 0..count {
            filter.add(&mut arena, &mut filling, hash_of(key));
            assert!(filter.may_contain(hash_of(key)));
            assert!(filter.may_contain(hash_of(key / 2)), "{} of {key}", key / 2);
        }
        assert!((0..count).all(|key| filter.may_contain(hash_of(key))));
        let wrong = (count..2 * count).filter(|key| filter.may_contain(hash_of(*key))).count();
        assert!(wrong < count as usize / 20, "{wrong} of {count}");
    }

    #[test]
    fn it_grows_with_what_is_in_it_up_to_a_bound() {
        let mut arena = Arena::new(Arc::default());
        let (filter, mut filling) = (Filter::new(), Filling::default());
        let mut add = |keys: std::ops::Range<u64>| {
            keys.for_each(|key| filter.add(&mut arena, &mut filling, hash_of(key)))
        };
        add(0..63);
        add(63..64);
        if !cfg!(miri) {
            add(64..3_000_000);
        }
        let all: usize = LAYERS.iter().take(if cfg!(miri) { 1 } else { LAYERS.len() }).sum();
        assert_eq!(arena.used(), 8 * all);
    }

    /// Readers look while keys go from the front into the layers.
    #[test]
    fn a_key_that_is_known_is_never_missed() {
        use std::sync::atomic::AtomicU64 as Known;
        let count = if cfg!(miri) { 300 } else { 200_000 };
        let (filter, known) = (Filter::new(), Known::new(0));
        let mut arena = Arena::new(Arc::default());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < count {
                    seen = known.load(Ordering::Acquire);
                    let newest = seen.saturating_sub(100)..seen;
                    assert!(newest.into_iter().all(|key| filter.may_contain(hash_of(key))));
                }
            });
            let mut filling = Filling::default();
            for key in 0..count {
                filter.add(&mut arena, &mut filling, hash_of(key));
                known.store(key + 1, Ordering::Release);
            }
        });
    }
}
