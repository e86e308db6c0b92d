//! The nodes of the tree: up to fifteen keys each, in an order that one word publishes.
//!
//! A node is filled slot by slot. Which slots are there, and in which order, is one word (Mao et
//! al., "Cache craftiness for fast multicore key-value storage", EuroSys 2012, call it the
//! permutation). The writer fills a slot, then sets the word; a reader takes the word and looks at
//! nothing that it does not name. No slot is used twice: a full node that must take more is replaced by
//! new ones, and stays as it was for the readers that are in it.

use std::cmp::Ordering as Side;
use std::ops::Range;
use std::ptr::NonNull;

use super::arena::{Link, Placed, Resident};
use super::key::{self, Beginning, Key};
use super::record::{Header, Record};
use crate::prefetch;
use crate::sync::unwatched::{AtomicPtr, AtomicU64, Ordering};

/// Keys of a node, at most.
pub(super) const SLOTS: usize = 15;

/// Windows that begin with more bytes alike than this are taken anew, behind these.
const MOST_ALIKE: u32 = 5;

/// Bits that name a slot, and that hold the number of slots.
const NIBBLE: usize = 4;

/// How many slots there are, and their order: a count and fifteen slots of four bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Order(u64);

impl Order {
    /// The first `len` slots, as they come.
    fn straight(len: usize) -> Self {
        (0..len).fold(Self(0), |order, at| order.with(at))
    }

    pub(super) fn len(self) -> usize {
        (self.0 & 15) as usize
    }

    /// The slot of the key number `rank`.
    pub(super) fn slot(self, rank: usize) -> usize {
        (self.0 >> (NIBBLE * (rank + 1)) & 15) as usize
    }

    /// With the next free slot at place `rank`.
    fn with(self, rank: usize) -> Self {
        let (count, slots) = (self.0 & 15, self.0 >> NIBBLE);
        let at = NIBBLE * rank;
        let (before, behind) = (slots & ((1 << at) - 1), slots >> at);
        let slots = before | count << at | (behind << at) << NIBBLE;
        Self(slots << NIBBLE | (count + 1))
    }
}

/// The keys of a node.
pub(super) struct Keys {
    order: AtomicU64,
    /// What all of them begin with …
    beginning: Beginning,
    /// … and one that begins so, unless that is nothing.
    model: Option<Record>,
    /// Eight bytes behind the common beginning; by slot.
    windows: [AtomicU64; SLOTS],
    /// The newest version of each key; by slot.
    records: [Link<Header>; SLOTS],
}

impl Keys {
    /// The first `len` of these, in ascending order. `like`: what the ones to come will begin like,
    /// where there are none.
    fn of(len: usize, record: impl Fn(usize) -> Option<Record>, like: Option<Record>) -> Self {
        let first = record(0).or(like);
        let last = len.checked_sub(1).and_then(&record).or(like);
        let shared = first.zip(last).map_or(0, |(a, b)| key::common(a.key(), b.key()));
        let window = |record: Record| AtomicU64::new(record.key().window(shared));
        let model = first.map_or(Key::default(), Record::key);
        Self {
            order: AtomicU64::new(Order::straight(len).0),
            beginning: Beginning::of(model, shared),
            model: first.filter(|_| shared > 0),
            windows: std::array::from_fn(|at| record(at).map(window).unwrap_or_default()),
            records: std::array::from_fn(|at| Link::to(record(at))),
        }
    }

    /// Some of a node that has become too full. Where its windows still tell them apart they are taken over:
    /// the records lie far from each other.
    fn part_of(&self, crowd: &Crowd, part: Range<usize>) -> Self {
        let entries = crowd.entries.get(part).unwrap_or_default();
        let windows = entries.first().zip(entries.last());
        let alike = windows.map_or(0, |((_, low), (_, high))| (low ^ high).leading_zeros() / 8);
        let record = |at: usize| entries.get(at).map(|(record, _)| *record);
        if !crowd.is_alike || alike > MOST_ALIKE {
            return Self::of(entries.len(), record, None);
        }
        let window = |at: usize| entries.get(at).map(|(_, window)| AtomicU64::new(*window));
        Self {
            order: AtomicU64::new(Order::straight(entries.len()).0),
            beginning: self.beginning,
            model: self.model,
            windows: std::array::from_fn(|at| window(at).unwrap_or_default()),
            records: std::array::from_fn(|at| Link::to(record(at))),
        }
    }

    pub(super) fn order(&self) -> Order {
        Order(self.order.load(Ordering::Acquire))
    }

    /// The newest version of the key number `rank`.
    pub(super) fn record(&self, order: Order, rank: usize) -> Option<Record> {
        if rank < order.len() { self.records.get(order.slot(rank))?.get() } else { None }
    }

    /// All of them, in order.
    fn all(&self) -> impl Iterator<Item = Record> {
        self.all_with_windows().map(|(record, _)| record)
    }

    fn all_with_windows(&self) -> impl Iterator<Item = (Record, u64)> {
        let order = self.order();
        (0..order.len()).filter_map(move |rank| {
            let window = self.windows[order.slot(rank)].load(Ordering::Relaxed);
            Some((self.record(order, rank)?, window))
        })
    }

    #[inline(always)]
    fn side(&self, key: Key<'_>) -> Side {
        self.beginning.side(key, || self.model.map(Record::key))
    }

    /// How many keys are less than `key`, and whether the next one equals it.
    // A key in memory that was just put together cannot be read at once by a load of another width: here
    // and wherever keys are handed on, no call must stand between.
    #[inline(always)]
    pub(super) fn find(&self, order: Order, key: Key<'_>) -> (usize, bool) {
        match self.side(key) {
            Side::Less => return (0, false),
            Side::Greater => return (order.len(), false),
            Side::Equal => {}
        }
        let window = key.window(self.beginning.len());
        let used = self.windows.iter().take(order.len());
        let mut rank = used.filter(|slot| slot.load(Ordering::Relaxed) < window).count();
        while let Some(slot) = (rank < order.len()).then(|| order.slot(rank))
            && self.windows[slot].load(Ordering::Relaxed) == window
            && let Some(record) = self.records[slot].get()
        {
            match record.key().cmp(&key) {
                Side::Less => rank += 1,
                Side::Equal => return (rank, true),
                Side::Greater => break,
            }
        }
        (rank, false)
    }

    /// Whether a key can be added as the node is.
    fn can_take(&self, key: Key<'_>) -> bool {
        self.order().len() < SLOTS && self.side(key) == Side::Equal
    }

    /// Fills the next slot and publishes it at place `rank`.
    fn add(&self, rank: usize, record: Record) {
        let order = self.order();
        let slot = order.len();
        self.windows[slot].store(record.key().window(self.beginning.len()), Ordering::Relaxed);
        self.records[slot].set(Some(record));
        self.order.store(order.with(rank).0, Ordering::Release);
    }
}

/// A node with entries.
pub(super) struct Leaf {
    pub(super) keys: Keys,
    pub(super) next: Link<Leaf>,
    pub(super) prev: Link<Leaf>,
}

// SAFETY: what changes in it are atomics; the model never does.
unsafe impl Sync for Leaf {}

impl Resident for Leaf {}

impl Leaf {
    pub(super) fn of(records: &[Record]) -> Self {
        let keys = Keys::of(records.len(), |at| records.get(at).copied(), None);
        Self { keys, next: Link::none(), prev: Link::none() }
    }

    /// Some of what this leaf and one more make.
    pub(super) fn part_of(&self, crowd: &Crowd, part: Range<usize>) -> Self {
        Self { keys: self.keys.part_of(crowd, part), next: Link::none(), prev: Link::none() }
    }

    pub(super) fn can_take(&self, key: Key<'_>) -> bool {
        self.keys.can_take(key)
    }

    pub(super) fn add(&self, rank: usize, record: Record) {
        self.keys.add(rank, record);
    }

    /// Puts a newer version in front of the one of number `rank`.
    pub(super) fn replace(&self, rank: usize, record: Record) {
        let slot = self.keys.order().slot(rank);
        self.keys.records[slot].set(Some(record));
    }

    /// All records, with one more at place `rank`.
    pub(super) fn with(&self, rank: usize, record: Record) -> Crowd {
        let key = record.key();
        let added = (record, key.window(self.keys.beginning.len()));
        let is_alike = self.keys.side(key) == Side::Equal;
        let mut crowd = Crowd { entries: [added; SLOTS + 1], len: 0, is_alike };
        for (at, old) in self.keys.all_with_windows().enumerate() {
            crowd.entries[at + usize::from(at >= rank)] = old;
            crowd.len = at + 1;
        }
        crowd.len += 1;
        crowd
    }
}

/// The keys of a leaf and one more: what becomes of it is made of parts of this.
pub(super) struct Crowd {
    /// In ascending order; with the windows that they have in the leaf.
    pub(super) entries: [(Record, u64); SLOTS + 1],
    /// How many of these there are.
    pub(super) len: usize,
    /// The new one begins like the others.
    is_alike: bool,
}

/// A leaf or an inner node, as the level of its parent says.
pub(super) type Child = Placed<Node>;

/// Nothing is known of it.
pub(super) struct Node(());

/// A node with nodes below it.
pub(super) struct Inner {
    /// 1: its children are leaves.
    level: usize,
    keys: Keys,
    /// What is below all keys.
    first: AtomicPtr<Node>,
    /// What is not below the key of the slot, and below the next one.
    children: [AtomicPtr<Node>; SLOTS],
}

// SAFETY: what changes in it are atomics; the model never does.
unsafe impl Sync for Inner {}

impl Resident for Inner {}

pub(super) fn child_of<T: Resident>(node: Placed<T>) -> Child {
    // SAFETY: a `Node` says nothing of what is there; it lies where the other did.
    unsafe { Placed::of(node.place().cast()) }
}

fn place_of(child: Child) -> *mut Node {
    child.place().as_ptr()
}

impl Inner {
    /// A node of a level with this child, and these separators with what is at and behind them. `like`:
    /// what separators to come will begin like, where there are none.
    pub(super) fn of(
        level: usize,
        first: Child,
        rest: &[(Record, Child)],
        like: Option<Record>,
    ) -> Self {
        let record = |at: usize| rest.get(at).map(|(record, _)| *record);
        let child = |at: usize| rest.get(at).map(|(_, child)| AtomicPtr::new(place_of(*child)));
        Self {
            level,
            keys: Keys::of(rest.len(), record, like),
            first: AtomicPtr::new(place_of(first)),
            children: std::array::from_fn(|at| child(at).unwrap_or_default()),
        }
    }

    pub(super) fn level(&self) -> usize {
        self.level
    }

    /// The place of child number `at`: 0 is the one below all separators.
    fn place(&self, order: Order, at: usize) -> &AtomicPtr<Node> {
        match at.checked_sub(1) {
            Some(rank) => &self.children[order.slot(rank)],
            None => &self.first,
        }
    }

    fn child(&self, order: Order, at: usize) -> Child {
        let child = self.place(order, at).load(Ordering::Acquire);
        // SAFETY: every place that the order names was set to a child before the order was, and the
        // first one when the node was made: nodes of the arena that this node lies in.
        unsafe { Placed::of(NonNull::new_unchecked(child)) }
    }

    /// The child that `number` says for an order, and its number. A child is cut short only behind the
    /// order that has a separator for what it loses: who sees the shorter one sees that order, too, and
    /// looks again.
    fn child_by(&self, number: impl Fn(Order) -> usize) -> (Child, usize) {
        let mut order = self.keys.order();
        loop {
            let at = number(order);
            let child = self.child(order, at);
            // A look at one part of a node says where to look next.
            prefetch::read(place_of(child).cast(), size_of::<Self>());
            let now = self.keys.order();
            if now == order {
                return (child, at);
            }
            order = now;
        }
    }

    /// The child for a key, and its number.
    pub(super) fn child_for(&self, key: Key<'_>) -> (Child, usize) {
        self.child_by(|order| {
            let (rank, is_there) = self.keys.find(order, key);
            rank + usize::from(is_there)
        })
    }

    /// The last child.
    pub(super) fn last(&self) -> Child {
        self.child_by(Order::len).0
    }

    pub(super) fn can_take(&self, key: Key<'_>) -> bool {
        self.keys.can_take(key)
    }

    /// Adds a separator behind child number `at`, and what is at and behind it. Only then that child is
    /// cut short, by [`Inner::replace`].
    pub(super) fn add(&self, at: usize, separator: Record, child: Child) {
        let slot = self.keys.order().len();
        self.children[slot].store(place_of(child), Ordering::Release);
        self.keys.add(at, separator);
    }

    pub(super) fn replace(&self, at: usize, child: Child) {
        self.place(self.keys.order(), at).store(place_of(child), Ordering::Release);
    }

    /// The first child, and all separators with what is behind them, with one more behind child number
    /// `at`: of sixteen places, how many are used.
    pub(super) fn with(
        &self,
        at: usize,
        added: (Record, Child),
    ) -> (Child, [(Record, Child); SLOTS + 1], usize) {
        let order = self.keys.order();
        let mut all = [added; SLOTS + 1];
        let mut len = 0;
        for (rank, separator) in self.keys.all().enumerate() {
            all[rank + usize::from(rank >= at)] = (separator, self.child(order, rank + 1));
            len = rank + 1;
        }
        (self.child(order, 0), all, len + 1)
    }
}

/// The leaf that a child of a node of level 1 is.
pub(super) fn leaf(parent: &Inner, child: Child) -> Option<Placed<Leaf>> {
    // SAFETY: the children of a node of level 1 are leaves; see `Tree`, which alone makes nodes.
    (parent.level == 1).then(|| unsafe { Placed::of(child.place().cast()) })
}

/// What is known to be an inner node.
///
/// # Safety
/// It is one.
pub(super) unsafe fn as_inner(child: Child) -> Placed<Inner> {
    // SAFETY: as above.
    unsafe { Placed::of(child.place().cast()) }
}

/// The inner node that a child of a node above level 1 is.
pub(super) fn inner(parent: &Inner, child: Child) -> Option<Placed<Inner>> {
    // SAFETY: the children of a node above level 1 are inner nodes; see `Tree`, which alone makes
    // nodes.
    (parent.level > 1).then(|| unsafe { as_inner(child) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_order_is_a_list_that_is_inserted_into(places in prop::collection::vec(0..15_usize, 0..16)) {
            let (mut order, mut list) = (Order::straight(0), Vec::new());
            for (slot, place) in places.into_iter().take(SLOTS).enumerate() {
                let rank = place.min(slot);
                order = order.with(rank);
                list.insert(rank, slot);
                prop_assert_eq!(order.len(), list.len());
                prop_assert!(list.iter().enumerate().all(|(rank, slot)| order.slot(rank) == *slot));
            }
        }
    }
}
