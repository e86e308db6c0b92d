//! Walking over a memtable.

use orlop_formats::ids::{DatabaseId, Kind, Seqno};

use super::Memtable;
use super::arena::Placed;
use super::key::Key;
use super::node::{Leaf, Order};
use super::record::Record;
use crate::state::range_deletes::{Covering, End};
use crate::sync::Arc;

/// Walks over one database as of one sequence number, in both directions, or forward over all versions
/// of all databases.
pub(crate) struct MemCursor {
    /// `None`: all databases, …
    database: Option<DatabaseId>,
    /// … and all versions. As records count, from the base of the memtable.
    seqno: Option<Seqno>,
    /// Where it stands: a leaf, how that was ordered, a place in it.
    leaf: Option<Placed<Leaf>>,
    order: Order,
    rank: usize,
    /// The version that it shows.
    version: Option<Record>,
    /// The range delete whose entries were stepped over last.
    stepped_over: Seqno,
    /// Holds the arena that all of these lie in.
    memtable: Arc<Memtable>,
}

// SAFETY: what it points to lies in the memtable that it holds, and threads may share that.
unsafe impl Send for MemCursor {}

// SAFETY: as above; and a shared cursor does not move.
unsafe impl Sync for MemCursor {}

impl MemCursor {
    /// A cursor over what `seqno` sees in a database: one version of each key.
    pub(crate) fn new(memtable: Arc<Memtable>, database: DatabaseId, seqno: Seqno) -> Self {
        Self::standing_nowhere(memtable, Some(database), Some(seqno))
    }

    /// A cursor over every version in every database, standing on the first: what a flush reads.
    pub(crate) fn over_all(memtable: Arc<Memtable>) -> Self {
        let mut cursor = Self::standing_nowhere(memtable, None, None);
        cursor.seek_ge(b"");
        cursor
    }

    fn standing_nowhere(
        memtable: Arc<Memtable>,
        database: Option<DatabaseId>,
        seqno: Option<Seqno>,
    ) -> Self {
        let order = Order::default();
        let seqno = seqno.map(|seqno| memtable.as_seen_from_base(seqno));
        let (leaf, version) = (None, None);
        Self { database, seqno, leaf, order, rank: 0, version, stepped_over: 0, memtable }
    }

    fn enter(&mut self, leaf: Option<Placed<Leaf>>) {
        self.leaf = leaf;
        self.order = leaf.map(|leaf| leaf.keys.order()).unwrap_or_default();
    }

    /// Stands on the first entry whose key is `key` or greater.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) {
        let key = Key { database: self.database.unwrap_or_default(), bytes: key };
        self.enter(self.memtable.tree.leaf_for(key));
        self.rank = self.leaf.map_or(0, |leaf| leaf.keys.find(self.order, key).0);
        self.go_forward();
    }

    /// Stands on the last entry whose key is less than `key`; `None`: the last entry.
    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) {
        let database = self.database.unwrap_or(DatabaseId(u32::MAX));
        let behind = match key {
            Some(bytes) => Some(Key { database, bytes }),
            // What is behind the database; behind the last one there is nothing.
            None => {
                database.0.checked_add(1).map(|id| Key { database: DatabaseId(id), bytes: b"" })
            }
        };
        let tree = &self.memtable.tree;
        let leaf = behind.map_or_else(|| tree.last_leaf(), |key| tree.leaf_for(key));
        self.enter(leaf);
        let len = self.order.len();
        let find = |(leaf, key): (Placed<Leaf>, Key<'_>)| leaf.keys.find(self.order, key).0;
        self.rank = self.leaf.zip(behind).map_or(len, find);
        self.go_back();
    }

    /// Whether a record is one that the cursor walks over; behind its database it ends.
    fn is_inside(&self, record: Record) -> bool {
        self.database.is_none_or(|database| record.key().database == database)
    }

    fn visible(&self, record: Record) -> Option<Record> {
        self.seqno.map_or(Some(record), |seqno| record.as_of(seqno))
    }

    /// To the first entry at or behind the place.
    fn go_forward(&mut self) {
        while let Some(leaf) = self.leaf {
            while let Some(record) = leaf.keys.record(self.order, self.rank) {
                if !self.is_inside(record) {
                    return self.end();
                }
                self.version = self.visible(record);
                if self.version.is_some() {
                    return;
                }
                self.rank += 1;
            }
            self.enter(leaf.next.get());
            self.rank = 0;
        }
        self.end();
    }

    /// To the last entry before the place.
    fn go_back(&mut self) {
        while let Some(leaf) = self.leaf {
            while let Some(rank) = self.rank.checked_sub(1) {
                self.rank = rank;
                let Some(record) = leaf.keys.record(self.order, rank) else { continue };
                if !self.is_inside(record) {
                    return self.end();
                }
                self.version = self.visible(record);
                if self.version.is_some() {
                    return;
                }
            }
            self.enter(leaf.prev.get());
            self.rank = self.order.len();
        }
        self.end();
    }

    fn end(&mut self) {
        (self.leaf, self.version) = (None, None);
    }

    pub(crate) fn next(&mut self) {
        if self.seqno.is_none()
            && let Some(older) = self.version.and_then(Record::older)
        {
            self.version = Some(older);
            return;
        }
        self.rank += 1;
        self.go_forward();
    }

    pub(crate) fn prev(&mut self) {
        self.go_back();
    }

    /// Steps over the entry that it stands on, which is covered, and over what follows as far as all that it has there is.
    pub(crate) fn skip_covered(&mut self, by: Covering<'_>) {
        match by.covered_to(self.database(), self.key(), self.memtable.last_entry()) {
            Some(End::Before(key)) => self.seek_ge(key),
            Some(End::Last) => self.end(),
            // Something in it is newer, somewhere.
            None => self.step_over(by),
        }
    }

    /// Steps over the entry, and over those behind it that the same range delete covers: to the end of the stretch, or, if
    /// that went on behind the last one, as far as it goes on.
    fn step_over(&mut self, by: Covering<'_>) {
        let of_stretch = by.cover.stretch().1.map_or(End::Last, End::Before);
        let goes_on = self.stepped_over == by.newest;
        let further = || by.covered_to(self.database(), self.key(), by.newest.saturating_sub(1));
        let end = goes_on.then(further).flatten().unwrap_or(of_stretch);
        self.stepped_over = by.newest;
        self.next();
        while self.valid() && self.seqno() < by.newest && End::Before(self.key()) < end {
            self.next();
        }
    }

    /// The same going back, if all that it has there is covered; whether it is.
    pub(crate) fn skip_covered_back(&mut self, by: Covering<'_>) -> bool {
        let from = by.covered_from(self.database(), self.key(), self.memtable.last_entry());
        from.inspect(|from| self.seek_lt(Some(from))).is_some()
    }

    pub(crate) fn valid(&self) -> bool {
        self.version.is_some()
    }

    pub(crate) fn database(&self) -> DatabaseId {
        self.version.map_or(DatabaseId(0), |version| version.key().database)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.version.map_or(&[], |version| version.key().bytes)
    }

    pub(crate) fn seqno(&self) -> Seqno {
        self.version.map_or(0, |version| self.memtable.base() + version.seqno())
    }

    pub(crate) fn kind(&self) -> Kind {
        self.version.map_or(Kind::Delete, Record::kind)
    }

    #[inline]
    pub(crate) fn expiry(&self) -> Option<u64> {
        self.version.and_then(Record::expiry)
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.version.map_or(&[], Record::value)
    }
}
