//! The tree over the newest versions of all keys: one writer, any number of readers.
//!
//! A B+-tree whose nodes are never removed while the arena lives. A reader goes down without a lock. It
//! finds every key that was there when it began, whatever the writer does meanwhile:
//!
//! 1. a key is added to a leaf with room by one store (see [`node`](super::node))
//! 2. a full leaf is replaced by two. Both are complete and linked to their neighbours before the parent
//!    gets the separator, and only then the left one takes the old one's place: a reader that comes too
//!    early for the separator finds the old leaf, which has everything, or looks again
//! 3. inner nodes in the same way; the root last
//!
//! A leaf that was replaced keeps its keys and its links. Whoever stands in it goes on from there, and
//! misses only what was added later than it began.
//!
//! What is written in order fills its leaves: behind a full one it gets a leaf of its own.

use super::arena::{Arena, Link, Placed};
use super::key::Key;
use super::node::{self, Child, Inner, Leaf, SLOTS, child_of};
use super::record::Record;

/// See the module.
pub(super) struct Tree {
    root: Link<Inner>,
}

/// The inner nodes above a leaf, the root first, and which child of each was taken.
pub(super) type Path = Vec<(Placed<Inner>, usize)>;

/// The keys of a leaf after a full one is split, and of the left half of an inner node.
const HALF: usize = SLOTS.div_ceil(2);

/// What becomes of a child: another in its place, and one behind it.
struct Change {
    left: Option<Child>,
    right: Option<(Record, Child)>,
}

impl Tree {
    pub(super) fn new(arena: &mut Arena) -> Self {
        let leaf = arena.put(Leaf::of(&[]));
        let root = arena.put(Inner::of(1, child_of(leaf), &[], None));
        Self { root: Link::to(Some(root)) }
    }

    fn root(&self) -> Option<Placed<Inner>> {
        self.root.get()
    }

    /// The leaf that a key is in, or would be.
    pub(super) fn leaf_for(&self, key: Key<'_>) -> Option<Placed<Leaf>> {
        let mut inner = self.root()?;
        loop {
            let (child, _) = inner.child_for(key);
            match node::inner(&inner, child) {
                Some(below) => inner = below,
                None => return node::leaf(&inner, child),
            }
        }
    }

    /// The leaf with the greatest keys.
    pub(super) fn last_leaf(&self) -> Option<Placed<Leaf>> {
        let mut inner = self.root()?;
        loop {
            let child = inner.last();
            match node::inner(&inner, child) {
                Some(below) => inner = below,
                None => return node::leaf(&inner, child),
            }
        }
    }

    /// As [`Tree::leaf_for`], with the way there.
    pub(super) fn way_to(&self, key: Key<'_>, path: &mut Path) -> Option<Placed<Leaf>> {
        path.clear();
        let mut inner = self.root()?;
        loop {
            let (child, at) = inner.child_for(key);
            path.push((inner, at));
            match node::inner(&inner, child) {
                Some(below) => inner = below,
                None => return node::leaf(&inner, child),
            }
        }
    }

    /// Adds a record of a new key to the leaf that its key belongs into, at place `rank`. `in_order`: it
    /// comes behind the one added last. Gives the leaf that it is in then.
    pub(super) fn add(
        &self,
        arena: &mut Arena,
        leaf: Placed<Leaf>,
        (rank, in_order): (usize, bool),
        record: Record,
        path: &mut Path,
    ) -> Placed<Leaf> {
        if leaf.can_take(record.key()) {
            leaf.add(rank, record);
            return leaf;
        }
        // The leaf may have been known without the way there.
        if self.way_to(record.key(), path).is_none() {
            return leaf;
        }
        let all = leaf.with(rank, record);
        let (prev, next) = (leaf.prev.get(), leaf.next.get());
        let (change, home) = if all.len <= SLOTS {
            let copy = arena.put(leaf.part_of(&all, 0..all.len));
            splice(prev, (copy, copy), next);
            (Change { left: Some(child_of(copy)), right: None }, copy)
        } else if rank == SLOTS && (next.is_none() || in_order) {
            let last = arena.put(Leaf::of(&[record]));
            splice(Some(leaf), (last, last), next);
            (Change { left: None, right: Some((record, child_of(last))) }, last)
        } else if rank == 0 && prev.is_none() {
            let first = arena.put(Leaf::of(&[record]));
            splice(None, (first, first), Some(leaf));
            (
                Change {
                    left: Some(child_of(first)),
                    right: Some((all.entries[1].0, child_of(leaf))),
                },
                first,
            )
        } else {
            let left = arena.put(leaf.part_of(&all, 0..HALF));
            let right = arena.put(leaf.part_of(&all, HALF..all.len));
            left.next.set(Some(right));
            right.prev.set(Some(left));
            splice(prev, (left, right), next);
            let home = if rank < HALF { left } else { right };
            let separator = all.entries[HALF].0;
            (Change { left: Some(child_of(left)), right: Some((separator, child_of(right))) }, home)
        };
        self.install(arena, path, change);
        home
    }

    /// Makes a change known above, level by level.
    fn install(&self, arena: &mut Arena, path: &mut Path, mut change: Change) {
        while let Some((parent, at)) = path.pop() {
            let Some((separator, child)) = change.right else {
                if let Some(left) = change.left {
                    parent.replace(at, left);
                }
                return;
            };
            if parent.can_take(separator.key()) {
                parent.add(at, separator, child);
                if let Some(left) = change.left {
                    parent.replace(at, left);
                }
                return;
            }
            change = divide(arena, &parent, at, change.left, (separator, child));
        }
        let Some(root) = self.root() else { return };
        let first = change.left.unwrap_or(child_of(root));
        match change.right {
            Some(right) => {
                let above = Inner::of(root.level() + 1, first, &[right], None);
                self.root.set(Some(arena.put(above)));
            }
            // SAFETY: it is the root, or what `divide` has made of it.
            None => self.root.set(Some(unsafe { node::as_inner(first) })),
        }
    }
}

/// An inner node that cannot take a separator as it is: a copy that can, or two.
fn divide(
    arena: &mut Arena,
    parent: &Inner,
    at: usize,
    left: Option<Child>,
    added: (Record, Child),
) -> Change {
    let level = parent.level();
    let (mut first, mut rest, len) = parent.with(at, added);
    if let Some(left) = left {
        match at.checked_sub(1) {
            Some(rank) => rest[rank].1 = left,
            None => first = left,
        }
    }
    if len <= SLOTS {
        let copy = arena.put(Inner::of(level, first, &rest[..len], None));
        return Change { left: Some(child_of(copy)), right: None };
    }
    if at == SLOTS && left.is_none() {
        let (separator, child) = added;
        let last = arena.put(Inner::of(level, child, &[], Some(separator)));
        return Change { left: None, right: Some((separator, child_of(last))) };
    }
    let (separator, middle) = rest[HALF];
    let lower = arena.put(Inner::of(level, first, &rest[..HALF], None));
    let upper = arena.put(Inner::of(level, middle, &rest[HALF + 1..], None));
    Change { left: Some(child_of(lower)), right: Some((separator, child_of(upper))) }
}

/// Puts new leaves, the first and the last of which these are, between two others. Their own links
/// come first: whoever finds them can go on to both sides.
fn splice(
    prev: Option<Placed<Leaf>>,
    (first, last): (Placed<Leaf>, Placed<Leaf>),
    next: Option<Placed<Leaf>>,
) {
    first.prev.set(prev);
    last.next.set(next);
    if let Some(prev) = prev {
        prev.next.set(Some(first));
    }
    if let Some(next) = next {
        next.prev.set(Some(last));
    }
}
