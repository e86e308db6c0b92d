//! The sorted writes of one stretch of the log, in memory.
//!
//! One writer (the leader of a commit group) inserts, any number of readers look up and iterate
//! without a lock. A memtable is *active* while it takes writes and *sealed* from the moment a
//! successor exists until its sstable is installed.
//!
//! - [`arena`]: memory that is given back all at once; everything below lies in it
//! - [`record`]: the versions of a key, newest first
//! - [`key`]: the order of keys, and the eight bytes by which most are told apart
//! - [`node`], [`tree`]: the keys in order, each with its newest version
//! - [`filter`]: which keys are there at all, so that most look-ups of others need no tree
//! - [`cursor`]: walking over them
//!
//! A large batch gets a memtable of its own before its place among the commits is known. So the sequence
//! numbers in a memtable count from its *base*, which is 0 but for those.
//!
//! Sealed memtables are flushed together, up to one that is *due*: a memtable can be sealed while it is small
//! still, because a large batch came behind it.
//!
//! Deletes of whole ranges stand beside the keys ([`range_deletes`](super::range_deletes)).
//!
//! A reader finds everything up to the sequence number that was visible when it began; what is newer
//! it may find or not, and passes over. An overwritten key costs a record, and the tree nothing.

mod arena;
mod cursor;
mod filter;
mod key;
mod node;
mod record;
mod tree;

use std::cell::UnsafeCell;
use std::ops::Deref;

use orlop_formats::batch::Op;
use orlop_formats::filter::hash as filter_hash;
use orlop_formats::ids::{DatabaseId, FileNumber, Kind, Seqno};
use orlop_formats::manifest::RangeDelete;

pub(crate) use self::cursor::MemCursor;

pub(crate) use self::arena::Chunks;
use self::arena::{Arena, Placed};
use self::filter::{Filling, Filter};
use self::key::Key;
use self::node::Leaf;
use self::record::Record;
use self::tree::{Path, Tree};
use super::range_deletes::{Growing, RangeDeletes};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// A sorted map of writes; see the module.
pub(crate) struct Memtable {
    tree: Tree,
    filter: Filter,
    /// Where the arena's memory comes from, and goes to.
    memory: Arc<Chunks>,
    /// What only the writer needs, which is [`Active`]; the arena goes with the memtable.
    writing: UnsafeCell<Writing>,
    /// Bytes of the arena that are used.
    live_bytes: AtomicU64,
    entries: AtomicU64,
    garbage: Garbage,
    range_deletes: Growing,
    /// The highest sequence number inserted, from the base; 0 while empty.
    last_seqno: AtomicU64,
    /// The same of entries alone.
    last_entry: AtomicU64,
    /// No batch of this memtable is in a segment below this number.
    log_floor: AtomicU64,
    /// Later commits are in a successor; the maximum while there is none.
    sealed_at: AtomicU64,
    /// Sequence numbers of records count from here. Set, if at all, before readers know the memtable.
    base: AtomicU64,
    /// It is to be flushed, with those that are older.
    is_due: AtomicBool,
}

/// What of a memtable hides others, or will be gone.
#[derive(Default)]
struct Garbage {
    tombstones: AtomicU64,
    /// Entries with an expiry, and the latest of these.
    expiring: AtomicU64,
    latest_expiry: AtomicU64,
    /// Somebody wants to hear when more of them come.
    is_watched: AtomicBool,
    /// They came, and nobody has asked.
    is_news: AtomicBool,
}

/// What the writer knows.
struct Writing {
    arena: Arena,
    /// The record added last, and the leaf that it is in.
    last: Option<(Placed<Leaf>, Record)>,
    /// The last two went into one leaf: the next one is looked for there first.
    stays: bool,
    path: Path,
    filling: Filling,
}

// SAFETY: what it points to lies in its own arena, and threads may share that.
unsafe impl Send for Writing {}

// SAFETY: `writing` is touched by the one `Active` of this memtable only, through a mutable borrow of it; all
// else is shared as its types allow.
unsafe impl Sync for Memtable {}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable")
            .field("entries", &self.entries())
            .field("live_bytes", &self.live_bytes())
            .finish()
    }
}

impl Memtable {
    fn new(log_floor: FileNumber, memory: Arc<Chunks>) -> Self {
        let mut arena = Arena::new(Arc::clone(&memory));
        let tree = Tree::new(&mut arena);
        Self {
            tree,
            filter: Filter::new(),
            memory,
            live_bytes: AtomicU64::new(arena.used() as u64),
            writing: UnsafeCell::new(Writing {
                arena,
                last: None,
                stays: false,
                path: Path::new(),
                filling: Filling::default(),
            }),
            entries: AtomicU64::new(0),
            garbage: Garbage { is_watched: AtomicBool::new(true), ..Garbage::default() },
            range_deletes: Growing::default(),
            last_seqno: AtomicU64::new(0),
            last_entry: AtomicU64::new(0),
            log_floor: AtomicU64::new(log_floor),
            sealed_at: AtomicU64::new(Seqno::MAX),
            base: AtomicU64::new(0),
            is_due: AtomicBool::new(false),
        }
    }

    /// Says that commits after `seqno` go to a successor, before there is one.
    pub(crate) fn seal(&self, seqno: Seqno) {
        self.sealed_at.store(seqno, Ordering::Release);
    }

    /// The last commit that can be in here; the maximum while this is the active memtable.
    pub(crate) fn sealed_at(&self) -> Seqno {
        self.sealed_at.load(Ordering::Acquire)
    }

    /// No batch of this memtable is in a segment below this number.
    pub(crate) fn log_floor(&self) -> FileNumber {
        self.log_floor.load(Ordering::Relaxed)
    }

    /// Says that it is to be flushed.
    pub(crate) fn make_due(&self) {
        self.is_due.store(true, Ordering::Release);
    }

    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Acquire)
    }

    fn base(&self) -> Seqno {
        self.base.load(Ordering::Relaxed)
    }

    /// What it and those that follow it use again.
    pub(crate) fn memory(&self) -> &Arc<Chunks> {
        &self.memory
    }

    /// Bytes of keys, values and their bookkeeping.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.load(Ordering::Relaxed) as usize + self.range_deletes.bytes()
    }

    /// Versions of keys.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// How many of these delete.
    pub(crate) fn tombstones(&self) -> u64 {
        self.garbage.tombstones.load(Ordering::Relaxed)
    }

    /// How many of these have an expiry, and when all of them have expired.
    pub(crate) fn expiring(&self) -> (u64, u64) {
        let Garbage { expiring, latest_expiry, .. } = &self.garbage;
        (expiring.load(Ordering::Relaxed), latest_expiry.load(Ordering::Relaxed))
    }

    /// Whether it has such entries, or deletes of ranges.
    pub(crate) fn has_garbage(&self) -> bool {
        self.tombstones() > 0 || self.expiring().0 > 0 || self.has_range_deletes()
    }

    /// From here on the next of them is news. What came before is there for who looks behind this: of this exchange and
    /// that of a writer one comes first, and sees or is seen.
    pub(crate) fn watch_garbage(&self) {
        self.garbage.is_watched.swap(true, Ordering::AcqRel);
    }

    /// Whether more of them came for the first time since somebody watches. Whoever writes asks.
    pub(crate) fn has_news(&self) -> bool {
        let is_news = &self.garbage.is_news;
        is_news.load(Ordering::Relaxed) && is_news.swap(false, Ordering::Relaxed)
    }

    /// Whether no commit was written into it, or noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.last_seqno.load(Ordering::Relaxed) == 0
    }

    /// Whether ranges were deleted.
    #[inline]
    pub(crate) fn has_range_deletes(&self) -> bool {
        self.range_deletes.count() > 0
    }

    /// How many ranges were deleted.
    pub(crate) fn range_deletes(&self) -> u64 {
        self.range_deletes.count()
    }

    /// Where the range deletes are, and what is added to their sequence numbers.
    pub(crate) fn range_delete_piles(&self) -> (Vec<Arc<RangeDeletes>>, Seqno) {
        (self.range_deletes.piles(), self.base())
    }

    /// The newest range delete, up to this commit, that covers a key; 0: none does.
    pub(crate) fn newest_range_delete(
        &self,
        database: DatabaseId,
        key: &[u8],
        upto: Seqno,
    ) -> Seqno {
        match self.range_deletes.newest(database, key, self.as_seen_from_base(upto)) {
            0 => 0,
            newest => self.base() + newest,
        }
    }

    /// Whether it has an entry that the range delete of a commit deletes.
    pub(crate) fn holds_some_of(self: &Arc<Self>, range: &RangeDelete, seqno: Seqno) -> bool {
        let mut cursor = MemCursor::new(Arc::clone(self), range.database, seqno.saturating_sub(1));
        cursor.seek_ge(&range.start);
        cursor.valid() && range.covers(range.database, cursor.key())
    }

    /// The commit of the newest entry in it, as of now.
    fn last_entry(&self) -> Seqno {
        self.base() + self.last_entry.load(Ordering::Relaxed)
    }

    /// The highest sequence number in it; 0 while empty.
    pub(crate) fn last_seqno(&self) -> Seqno {
        match self.last_seqno.load(Ordering::Relaxed) {
            0 => 0,
            last => self.base() + last,
        }
    }

    /// What a reader at `seqno` sees, as sequence numbers of records count.
    fn as_seen_from_base(&self, seqno: Seqno) -> Seqno {
        seqno.saturating_sub(self.base())
    }

    /// The newest version of a key that `seqno` can see. The hash is that of [`hash`](orlop_formats::filter::hash).
    #[inline]
    pub(crate) fn get(
        self: &Arc<Self>,
        database: DatabaseId,
        (key, hash): (&[u8], u64),
        seqno: Seqno,
    ) -> Option<Found<'_>> {
        if self.filter.may_contain(hash) { self.find(database, key, seqno) } else { None }
    }

    fn find(self: &Arc<Self>, database: DatabaseId, key: &[u8], seqno: Seqno) -> Option<Found<'_>> {
        let key = Key { database, bytes: key };
        let leaf = self.tree.leaf_for(key)?;
        let order = leaf.keys.order();
        let (rank, is_there) = leaf.keys.find(order, key);
        let newest = leaf.keys.record(order, rank).filter(|_| is_there)?;
        Some(Found { record: newest.as_of(self.as_seen_from_base(seqno))?, memtable: self })
    }
}

/// The sequence number under which a batch is inserted that has no place yet.
pub(crate) const APART: Seqno = 1;

/// The right to write into a memtable: there is one for each, which belongs to whoever leads.
pub(crate) struct Active(Arc<Memtable>);

impl Active {
    /// An empty memtable, with memory of its own.
    pub(crate) fn new(log_floor: FileNumber) -> Self {
        Self::with_memory(log_floor, Arc::default())
    }

    /// An empty memtable, with memory from there.
    pub(crate) fn with_memory(log_floor: FileNumber, memory: Arc<Chunks>) -> Self {
        Self(Arc::new(Memtable::new(log_floor, memory)))
    }

    /// An empty one to follow this one.
    pub(crate) fn successor(&self, log_floor: FileNumber) -> Self {
        Self::with_memory(log_floor, Arc::clone(&self.0.memory))
    }

    pub(crate) fn memtable(&self) -> &Arc<Memtable> {
        &self.0
    }

    /// Gives a memtable with the one batch that was inserted under [`APART`] its place: that of the commit
    /// `seqno`, in the segment `log_floor`. Nobody else writes into it any more.
    pub(crate) fn place(self, seqno: Seqno, log_floor: FileNumber) -> Arc<Memtable> {
        let memtable = self.0;
        memtable.base.store(seqno.saturating_sub(APART), Ordering::Relaxed);
        memtable.log_floor.store(log_floor, Ordering::Relaxed);
        memtable.seal(seqno);
        memtable
    }

    /// A commit without entries is part of what this memtable hands over.
    pub(crate) fn note(&mut self, seqno: Seqno) {
        let last_seqno = &self.0.last_seqno;
        let last = last_seqno.load(Ordering::Relaxed).max(seqno - self.0.base());
        last_seqno.store(last, Ordering::Relaxed);
    }

    /// Lets its holder insert.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        let writing = self.0.writing.get();
        // SAFETY: `with_memory` makes the memtable, and nothing else gives an `Active` of it; this one is
        // borrowed for as long as the writer is there. Nobody else looks into the cell.
        let writing = unsafe { &mut *writing };
        Writer {
            memtable: &self.0,
            writing,
            entries: 0,
            tombstones: 0,
            expiring: (0, 0),
            range_deletes: 0,
            last_seqno: 0,
            last_entry: 0,
        }
    }
}

/// Inserts into a memtable, group by group.
pub(crate) struct Writer<'a> {
    memtable: &'a Memtable,
    writing: &'a mut Writing,
    /// Inserted since the group began.
    entries: u64,
    tombstones: u64,
    /// Entries with an expiry, and the latest of these.
    expiring: (u64, u64),
    range_deletes: u64,
    last_seqno: Seqno,
    last_entry: Seqno,
}

impl Writer<'_> {
    /// Adds one version, no older than any of the same key that is there. A second write under the same
    /// sequence number (one batch) replaces the first.
    pub(crate) fn insert(&mut self, op: &Op<'_>, seqno: Seqno) {
        self.last_seqno = self.last_seqno.max(seqno);
        if op.kind == Kind::RangeDelete {
            return self.delete_range(op, seqno);
        }
        let key = Key { database: op.database, bytes: op.key };
        let Memtable { tree, filter, .. } = self.memtable;
        let Writing { arena, last, stays, path, filling } = &mut *self.writing;
        // To know that a key belongs to a leaf takes a look at the next one, which is not near in memory.
        let near = last.filter(|_| *stays);
        let near = near.and_then(|(leaf, _)| place_in(leaf, key).map(|place| (leaf, place)));
        let found = near.or_else(|| {
            let leaf = tree.leaf_for(key)?;
            *stays = last.is_some_and(|(last, _)| last == leaf);
            Some((leaf, leaf.keys.find(leaf.keys.order(), key)))
        });
        // A tree has a leaf for every key.
        let Some((leaf, (rank, is_there))) = found else { return };
        if is_there {
            let newest = leaf.keys.record(leaf.keys.order(), rank);
            let older = newest.and_then(|newest| match newest.seqno() == seqno {
                true => newest.older(),
                false => Some(newest),
            });
            let record = record::write(arena, op, seqno, older);
            leaf.replace(rank, record);
            *last = Some((leaf, record));
        } else {
            let before =
                rank.checked_sub(1).and_then(|rank| leaf.keys.record(leaf.keys.order(), rank));
            let in_order = before.is_some() && before == last.map(|(_, record)| record);
            let hash = filter_hash(op.database, op.key);
            seeded!(MemtableFilterMissesKeys: hash = if seqno % 7 == 3 { !hash } else { hash });
            filter.add(arena, filling, hash);
            let record = record::write(arena, op, seqno, None);
            let leaf = tree.add(arena, leaf, (rank, in_order), record, path);
            *last = Some((leaf, record));
        }
        self.entries += 1;
        self.tombstones += u64::from(op.kind == Kind::Delete);
        if let Some(expiry) = op.expiry {
            self.expiring = (self.expiring.0 + 1, self.expiring.1.max(expiry));
        }
        self.last_entry = self.last_seqno;
    }

    #[cold]
    fn delete_range(&mut self, op: &Op<'_>, seqno: Seqno) {
        self.memtable.range_deletes.add(range_delete(op, seqno));
        self.range_deletes += 1;
    }

    fn count_garbage(&self) {
        let Garbage { tombstones, expiring, latest_expiry, is_watched, is_news } =
            &self.memtable.garbage;
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(tombstones, self.tombstones);
        add(expiring, self.expiring.0);
        latest_expiry.fetch_max(self.expiring.1, Ordering::Relaxed);
        if is_watched.swap(false, Ordering::AcqRel) {
            is_news.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.tombstones > 0 || self.expiring.0 > 0 || self.range_deletes > 0 {
            self.count_garbage();
        }
        let Memtable { live_bytes, entries, last_seqno, last_entry, .. } = self.memtable;
        live_bytes.store(self.writing.arena.used() as u64, Ordering::Relaxed);
        entries.store(entries.load(Ordering::Relaxed) + self.entries, Ordering::Relaxed);
        let last = last_seqno.load(Ordering::Relaxed).max(self.last_seqno);
        last_seqno.store(last, Ordering::Relaxed);
        let last = last_entry.load(Ordering::Relaxed).max(self.last_entry);
        last_entry.store(last, Ordering::Relaxed);
    }
}

/// What an operation of that kind deletes, as of a commit.
pub(crate) fn range_delete(op: &Op<'_>, seqno: Seqno) -> RangeDelete {
    let end = (!op.value.is_empty()).then(|| op.value.to_vec());
    RangeDelete { seqno, database: op.database, start: op.key.to_vec(), end }
}

/// Where a key is in a leaf, or would be; `None`: it may belong into another one.
fn place_in(leaf: Placed<Leaf>, key: Key<'_>) -> Option<(usize, bool)> {
    let order = leaf.keys.order();
    let (rank, is_there) = leaf.keys.find(order, key);
    if is_there || (1..order.len()).contains(&rank) {
        return Some((rank, is_there));
    }
    // Behind its last key comes the first one of the next leaf.
    let next = leaf.next.get();
    let is_before = |next: Placed<Leaf>| {
        next.keys.record(next.keys.order(), 0).is_some_and(|first| key < first.key())
    };
    (rank > 0 && next.is_none_or(is_before)).then_some((rank, false))
}

/// One version of a key, found in a memtable.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    record: Record,
    memtable: &'a Arc<Memtable>,
}

impl<'a> Found<'a> {
    pub(crate) fn kind(self) -> Kind {
        self.record.kind()
    }

    pub(crate) fn expiry(self) -> Option<u64> {
        self.record.expiry()
    }

    pub(crate) fn seqno(self) -> Seqno {
        self.memtable.base() + self.record.seqno()
    }

    pub(crate) fn value(self) -> &'a [u8] {
        self.record.value()
    }

    /// The same, which holds the memtable.
    pub(crate) fn keep(self) -> Kept {
        Kept { record: self.record, _memtable: Arc::clone(self.memtable) }
    }
}

/// A value in a memtable, which it holds.
#[derive(Clone)]
pub(crate) struct Kept {
    record: Record,
    _memtable: Arc<Memtable>,
}

// SAFETY: the record lies in the memtable, does not change, and threads may share it.
unsafe impl Send for Kept {}

// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.record.value()
    }
}

#[cfg(test)]
mod tests;
