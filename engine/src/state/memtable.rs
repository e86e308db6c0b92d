//! The sorted writes of one stretch of the log, in memory.
//!
//! One writer (the leader of a commit group) inserts, any number of readers look up and iterate
//! without a lock. A memtable is *active* while it takes writes and *sealed* from the moment a
//! successor exists until its sstable is installed.
//!
//! Order: database ascending, key ascending, sequence number descending, so that the first entry
//! at or after `(database, key, s)` is the newest version of the key that `s` can see.

use std::borrow::Borrow;
use std::cmp::Ordering as Order;

use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry as MapEntry;
use orlop_formats::ids::{DatabaseId, FileNumber, Kind, Seqno};
use std::ops::Bound;

use crate::sync::{Arc, AtomicU64, Ordering};

/// What one entry costs beside its key and value: node, tower and allocation headers.
const ENTRY_OVERHEAD: usize = 112;

/// Where an entry stands in the order.
trait Position {
    fn position(&self) -> (DatabaseId, &[u8], Seqno);
}

impl PartialEq for dyn Position + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for dyn Position + '_ {}

impl PartialOrd for dyn Position + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Position + '_ {
    fn cmp(&self, other: &Self) -> Order {
        let (database, key, seqno) = self.position();
        let (other_database, other_key, other_seqno) = other.position();
        (database, key).cmp(&(other_database, other_key)).then(other_seqno.cmp(&seqno))
    }
}

/// A key to look up: borrowed, never stored.
struct Probe<'a> {
    database: DatabaseId,
    key: &'a [u8],
    seqno: Seqno,
}

impl Position for Probe<'_> {
    fn position(&self) -> (DatabaseId, &[u8], Seqno) {
        (self.database, self.key, self.seqno)
    }
}

/// A stored entry: its record holds the key and, behind it, the value.
struct Slot {
    database: DatabaseId,
    key_len: u32,
    seqno: Seqno,
    record: Arc<[u8]>,
}

impl Slot {
    fn key(&self) -> &[u8] {
        self.record.get(..self.key_len as usize).unwrap_or_default()
    }
}

impl Position for Slot {
    fn position(&self) -> (DatabaseId, &[u8], Seqno) {
        (self.database, self.key(), self.seqno)
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.position() == other.position()
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Order {
        (self as &dyn Position).cmp(other as &dyn Position)
    }
}

impl<'a> Borrow<dyn Position + 'a> for Slot {
    fn borrow(&self) -> &(dyn Position + 'a) {
        self
    }
}

/// One version of a key, found in a memtable. Keeps the record alive on its own.
#[derive(Debug, Clone)]
pub(crate) struct MemEntry {
    pub(crate) kind: Kind,
    /// The key, and behind it the value.
    pub(crate) record: Arc<[u8]>,
    /// Where the value starts in `record`.
    pub(crate) value_start: usize,
}

impl MemEntry {
    pub(crate) fn value(&self) -> &[u8] {
        self.record.get(self.value_start..).unwrap_or_default()
    }
}

/// A sorted map of writes; see the module.
pub(crate) struct Memtable {
    map: SkipMap<Slot, Kind>,
    /// Bytes of keys, values and their bookkeeping.
    live_bytes: AtomicU64,
    entries: AtomicU64,
    /// The highest sequence number inserted; 0 while empty.
    last_seqno: AtomicU64,
    /// No batch of this memtable is in a segment below this number.
    log_floor: FileNumber,
    /// Later commits are in a successor; the maximum while there is none.
    sealed_at: AtomicU64,
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable")
            .field("entries", &self.entries())
            .field("live_bytes", &self.live_bytes())
            .finish()
    }
}

impl Memtable {
    pub(crate) fn new(log_floor: FileNumber) -> Self {
        Self {
            map: SkipMap::new(),
            live_bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            last_seqno: AtomicU64::new(0),
            log_floor,
            sealed_at: AtomicU64::new(Seqno::MAX),
        }
    }

    /// Adds one version. A second write of the same key under the same sequence number (one
    /// batch) replaces the first.
    pub(crate) fn insert(
        &self,
        database: DatabaseId,
        key: &[u8],
        seqno: Seqno,
        kind: Kind,
        value: &[u8],
    ) {
        let slot = Slot { database, key_len: key.len() as u32, seqno, record: join(key, value) };
        self.map.insert(slot, kind);
        let bytes = (key.len() + value.len() + ENTRY_OVERHEAD) as u64;
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.last_seqno.fetch_max(seqno, Ordering::Relaxed);
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
        self.log_floor
    }

    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The highest sequence number inserted; 0 while empty.
    pub(crate) fn last_seqno(&self) -> Seqno {
        self.last_seqno.load(Ordering::Relaxed)
    }

    /// The newest version of a key that `seqno` can see.
    pub(crate) fn get(&self, database: DatabaseId, key: &[u8], seqno: Seqno) -> Option<MemEntry> {
        let probe = Probe { database, key, seqno };
        let entry = self.map.lower_bound(Bound::Included(&probe as &dyn Position))?;
        let slot = entry.key();
        (slot.database == database && slot.key() == key).then(|| entry_of(slot, *entry.value()))
    }
}

/// Key and value in one allocation, copied once.
fn join(key: &[u8], value: &[u8]) -> Arc<[u8]> {
    let mut record = Arc::<[u8]>::new_uninit_slice(key.len() + value.len());
    if let Some(bytes) = Arc::get_mut(&mut record) {
        let (head, tail) = bytes.split_at_mut(key.len());
        head.write_copy_of_slice(key);
        tail.write_copy_of_slice(value);
    }
    // SAFETY: nobody else has the new allocation, so that `get_mut` gave it to us, and the two
    // copies above have written all of it: head and tail are as long as key and value.
    unsafe { record.assume_init() }
}

fn entry_of(slot: &Slot, kind: Kind) -> MemEntry {
    MemEntry { kind, record: Arc::clone(&slot.record), value_start: slot.key_len as usize }
}

/// Walks the versions of one database, or of all of them, in both directions.
pub(crate) struct MemCursor {
    /// Borrows from `memtable`; declared first, so that it is dropped first.
    entry: Option<MapEntry<'static, Slot, Kind>>,
    memtable: Arc<Memtable>,
    /// `None`: all databases.
    database: Option<DatabaseId>,
}

impl MemCursor {
    pub(crate) fn new(memtable: Arc<Memtable>, database: DatabaseId) -> Self {
        Self { entry: None, memtable, database: Some(database) }
    }

    /// A cursor over every database, standing on the first entry: what a flush reads.
    pub(crate) fn over_all(memtable: Arc<Memtable>) -> Self {
        let mut cursor = Self { entry: None, memtable, database: None };
        cursor.place(cursor.map().front());
        cursor
    }

    fn map(&self) -> &'static SkipMap<Slot, Kind> {
        let map: *const SkipMap<Slot, Kind> = &self.memtable.map;
        // SAFETY: the map lives inside `self.memtable`, an `Arc` that this cursor holds for its
        // whole life and never replaces. The extended lifetime never leaves this struct: `entry`
        // is private and dropped before `memtable` (fields drop in declaration order).
        unsafe { &*map }
    }

    fn place(&mut self, entry: Option<MapEntry<'static, Slot, Kind>>) {
        self.entry =
            entry.filter(|entry| self.database.is_none_or(|id| entry.key().database == id));
    }

    /// Stands on the first entry whose key is `key` or greater.
    pub(crate) fn seek_ge(&mut self, key: &[u8]) {
        let probe = self.probe(key);
        let found = self.map().lower_bound(Bound::Included(&probe as &dyn Position));
        self.place(found);
    }

    /// Stands on the last entry whose key is less than `key`; `None`: the last entry.
    pub(crate) fn seek_lt(&mut self, key: Option<&[u8]>) {
        let found = match (key, self.database) {
            (Some(key), _) => {
                let probe = self.probe(key);
                self.map().upper_bound(Bound::Excluded(&probe as &dyn Position))
            }
            (None, None) => self.map().back(),
            (None, Some(DatabaseId(u32::MAX))) => self.map().back(),
            (None, Some(DatabaseId(id))) => {
                let probe = Probe { database: DatabaseId(id + 1), key: b"", seqno: Seqno::MAX };
                self.map().upper_bound(Bound::Excluded(&probe as &dyn Position))
            }
        };
        self.place(found);
    }

    fn probe<'a>(&self, key: &'a [u8]) -> Probe<'a> {
        Probe { database: self.database.unwrap_or(DatabaseId(0)), key, seqno: Seqno::MAX }
    }

    pub(crate) fn next(&mut self) {
        let next = self.entry.as_ref().and_then(|entry| entry.next());
        self.place(next);
    }

    pub(crate) fn prev(&mut self) {
        let prev = self.entry.as_ref().and_then(|entry| entry.prev());
        self.place(prev);
    }

    pub(crate) fn valid(&self) -> bool {
        self.entry.is_some()
    }

    pub(crate) fn database(&self) -> DatabaseId {
        self.entry.as_ref().map_or(DatabaseId(0), |entry| entry.key().database)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| entry.key().key())
    }

    pub(crate) fn seqno(&self) -> Seqno {
        self.entry.as_ref().map_or(0, |entry| entry.key().seqno)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.entry.as_ref().map_or(Kind::Delete, |entry| *entry.value())
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| {
            entry.key().record.get(entry.key().key_len as usize..).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DatabaseId = DatabaseId(16);

    fn filled() -> Arc<Memtable> {
        let memtable = Memtable::new(1);
        memtable.insert(DB, b"", 1, Kind::Put, b"empty");
        memtable.insert(DB, b"a", 2, Kind::Put, b"1");
        memtable.insert(DB, b"a\0", 3, Kind::Put, b"2");
        memtable.insert(DB, b"a", 4, Kind::Delete, b"");
        memtable.insert(DatabaseId(17), b"a", 5, Kind::Put, b"other");
        Arc::new(memtable)
    }

    #[test]
    fn get_sees_the_newest_version_at_or_below_its_seqno() {
        let memtable = filled();
        assert!(memtable.get(DB, b"a", 1).is_none());
        assert_eq!(memtable.get(DB, b"a", 3).unwrap().value(), b"1");
        assert_eq!(memtable.get(DB, b"a", 9).unwrap().kind, Kind::Delete);
        assert_eq!(memtable.get(DB, b"", 9).unwrap().value(), b"empty");
        assert!(memtable.get(DatabaseId(18), b"a", 9).is_none());
    }

    #[test]
    fn the_last_write_of_a_batch_wins() {
        let memtable = Memtable::new(1);
        memtable.insert(DB, b"k", 7, Kind::Put, b"first");
        memtable.insert(DB, b"k", 7, Kind::Put, b"second");
        assert_eq!(memtable.get(DB, b"k", 7).unwrap().value(), b"second");
    }

    #[test]
    fn cursors_stay_inside_their_database() {
        let mut cursor = MemCursor::new(filled(), DB);
        cursor.seek_ge(b"");
        let mut seen = Vec::new();
        while cursor.valid() {
            seen.push((cursor.key().to_vec(), cursor.seqno()));
            cursor.next();
        }
        let expected: Vec<(Vec<u8>, u64)> =
            vec![(b"".to_vec(), 1), (b"a".to_vec(), 4), (b"a".to_vec(), 2), (b"a\0".to_vec(), 3)];
        assert_eq!(seen, expected);
        cursor.seek_lt(None);
        assert_eq!((cursor.key(), cursor.seqno()), (&b"a\0"[..], 3));
        cursor.seek_lt(Some(b"a"));
        assert_eq!(cursor.key(), b"");
        cursor.seek_lt(Some(b""));
        assert!(!cursor.valid());
    }

    #[test]
    fn readers_go_on_beside_the_writer() {
        let entries: u64 = if cfg!(miri) { 12 } else { 400 };
        let memtable = Arc::new(Memtable::new(1));
        let write = || {
            for seqno in 1..=entries {
                let key = seqno.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
                memtable.insert(DB, &key, seqno, Kind::Put, &key);
                assert_eq!(memtable.get(DB, &key, seqno).unwrap().value(), key);
            }
        };
        let scan = || {
            let mut cursor = MemCursor::new(Arc::clone(&memtable), DB);
            let (mut forward, mut backward) = (0, 0);
            cursor.seek_ge(b"");
            while cursor.valid() {
                assert_eq!(cursor.key(), cursor.value());
                forward += 1;
                cursor.next();
            }
            cursor.seek_lt(None);
            while cursor.valid() {
                backward += 1;
                cursor.prev();
            }
            assert!(forward <= backward, "entries do not vanish");
            backward
        };
        std::thread::scope(|scope| {
            let writer = scope.spawn(write);
            let mut found = 0;
            while !writer.is_finished() {
                let now = scan();
                assert!(found <= now, "entries do not vanish");
                found = now;
                std::thread::yield_now();
            }
        });
        assert_eq!(scan(), entries);
    }

    #[test]
    fn what_was_found_outlives_the_memtable() {
        let memtable = filled();
        let mut cursor = MemCursor::new(Arc::clone(&memtable), DB);
        cursor.seek_ge(b"a");
        let entry = memtable.get(DB, b"a", 3).unwrap();
        drop(memtable);
        assert_eq!((cursor.key(), cursor.seqno()), (&b"a"[..], 4));
        drop(cursor);
        assert_eq!(entry.value(), b"1");
    }
}
