//! What the log holds behind the last flush, sorted for a run of sstables.
//!
//! Entries stay where they were read. To sort them, each has a *window*: the sixteen bytes behind what all
//! keys begin with, in which most of them differ; the rest of the keys is looked at only where these are the
//! same. A large tail is cut at a key into two halves, which are sorted and written at the same time.

use std::cmp::Reverse;

use orlop_formats::ids::{DatabaseId, Kind, Seqno};
use orlop_formats::manifest::RangeDelete;

use crate::error::Result;
use crate::files::segments::{KEPT, Replayed};
use crate::files::sstable::Entry;
use crate::flow::compact::rewrite::Input;
use crate::prefetch;
use crate::state::memtable::range_delete;
use crate::sync::Arc;

/// See the module.
#[derive(Default)]
pub(crate) struct Tail {
    segments: Vec<Arc<Vec<u8>>>,
    items: Vec<Item>,
    /// Bytes of keys and values, and what an entry takes beside them.
    bytes: usize,
    /// Bytes of the segments that they are in.
    held: usize,
    last_seqno: Seqno,
    /// How many bytes all keys have in common, their database in front.
    common: usize,
    range_deletes: Vec<Arc<RangeDelete>>,
}

/// A version of a key.
struct Item {
    seqno: Seqno,
    segment: u32,
    /// Where the key begins in the segment; the value follows it, and the expiry, if there is one, is before it.
    key_at: u32,
    key_len: u32,
    value_len: u32,
    database: DatabaseId,
    kind: Kind,
    expires: bool,
}

/// An item's place in the order.
#[derive(Clone, Copy)]
struct Place {
    window: u128,
    item: u32,
}

/// Bytes of a window.
const WINDOW: usize = size_of::<u128>();

/// Bytes of the database in front of a key.
const DATABASE: usize = size_of::<u32>();

/// Bytes of an expiry.
const EXPIRY: u32 = size_of::<u64>() as u32;

/// Places that are looked at to find the middle.
const SAMPLE: usize = 1023;

/// So many entries before its turn the bytes of one are asked for; and where they are, as many before that. In the order
/// of keys each lies somewhere else.
const AHEAD: usize = 6;

/// Bytes of an entry that are asked for, at most.
const MOST_AHEAD: usize = 512;

impl Tail {
    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.range_deletes.is_empty()
    }

    /// Bytes of what was added.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has as much as a memtable has, or holds more of the log than is kept in memory anyway.
    pub(crate) fn is_full(&self, memtable: usize) -> bool {
        // The segment that it is in just now stays, whatever is flushed.
        let holds_more = self.segments.len() > 1 && self.held >= memtable.max(KEPT);
        self.bytes >= memtable || holds_more
    }

    /// The highest sequence number that was added.
    pub(crate) fn last_seqno(&self) -> Seqno {
        self.last_seqno
    }

    /// Adds a batch, newer than all before.
    pub(crate) fn add(&mut self, batch: &Replayed<'_>) {
        let Replayed { seqno, ops, segment } = *batch;
        if !self.segments.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            self.segments.push(Arc::clone(segment));
            self.held += segment.len();
        }
        let start = segment.as_ptr().addr();
        for op in ops {
            if op.kind == Kind::RangeDelete {
                self.range_deletes.push(Arc::new(range_delete(op, seqno)));
                self.bytes += op.key.len() + op.value.len() + size_of::<RangeDelete>();
                continue;
            }
            let item = Item {
                seqno,
                segment: (self.segments.len() - 1) as u32,
                key_at: (op.key.as_ptr().addr() - start) as u32,
                key_len: op.key.len() as u32,
                value_len: op.value.len() as u32,
                database: op.database,
                kind: op.kind,
                expires: op.expiry.is_some(),
            };
            self.common = match self.items.first() {
                Some(first) => in_common(self, first, &item, self.common),
                None => DATABASE + op.key.len(),
            };
            self.bytes += op.key.len() + op.value.len() + size_of::<(Item, Place)>();
            self.items.push(item);
        }
        self.last_seqno = seqno;
    }

    /// The ranges that were deleted.
    pub(crate) fn range_deletes(&self) -> &[Arc<RangeDelete>] {
        &self.range_deletes
    }

    fn bytes_of(&self, item: &Item, start: u32, len: u32) -> &[u8] {
        let segment = self.segments.get(item.segment as usize).map(|segment| segment.as_slice());
        let start = start as usize;
        segment.and_then(|bytes| bytes.get(start..start + len as usize)).unwrap_or_default()
    }

    fn key(&self, item: &Item) -> &[u8] {
        self.bytes_of(item, item.key_at, item.key_len)
    }

    fn value(&self, item: &Item) -> &[u8] {
        self.bytes_of(item, item.key_at + item.key_len, item.value_len)
    }

    fn expiry(&self, item: &Item) -> Option<u64> {
        let start = item.key_at.checked_sub(EXPIRY).filter(|_| item.expires)?;
        self.bytes_of(item, start, EXPIRY).first_chunk().map(|expiry| u64::from_le_bytes(*expiry))
    }

    /// The bytes of a key behind what all have in common, as a number that orders as they do; behind the
    /// end are zeros.
    fn window(&self, item: &Item) -> u128 {
        let (database, key) = (item.database.0.to_be_bytes(), self.key(item));
        let (head, tail) = match self.common.checked_sub(DATABASE) {
            Some(common) => (&[][..], key.get(common..).unwrap_or_default()),
            None => (&database[self.common..], key),
        };
        let mut window = [0; WINDOW];
        let (front, back) = window.split_at_mut(head.len());
        front.copy_from_slice(head);
        let len = tail.len().min(back.len());
        back[..len].copy_from_slice(&tail[..len]);
        u128::from_be_bytes(window)
    }

    /// All places, in lists whose order is to be found: each comes before the next.
    fn places(&self, halves: bool) -> Vec<Vec<Place>> {
        let items = self.items.iter().zip(0..);
        let mut all: Vec<Place> =
            items.map(|(item, at)| Place { window: self.window(item), item: at }).collect();
        if !halves || all.is_empty() {
            return vec![all];
        }
        let mut sample: Vec<u128> =
            all.iter().step_by((all.len() / SAMPLE).max(1)).map(|place| place.window).collect();
        let middle = sample.len() / 2;
        let (_, middle, _) = sample.select_nth_unstable(middle);
        // Keys that the window does not tell apart stay together, and so do all versions of one.
        let upper = all.extract_if(.., |place| place.window >= *middle).collect();
        vec![all, upper]
    }

    /// All of it, in parts of which each comes before the next: two if `halves`.
    pub(crate) fn parts(&self, halves: bool) -> Vec<Part<'_>> {
        let parts = self.places(halves).into_iter();
        parts.map(|places| Part { tail: self, places }).collect()
    }
}

/// A part of a tail, in no order.
pub(crate) struct Part<'a> {
    tail: &'a Tail,
    places: Vec<Place>,
}

impl<'a> Part<'a> {
    /// A cursor over it: by key, of each the newest version first.
    pub(crate) fn sorted(self) -> TailCursor<'a> {
        let Self { tail, mut places } = self;
        let rest = |place: &Place| {
            let item = tail.items.get(place.item as usize);
            (item.map(|item| (item.database, tail.key(item))), Reverse(place.item))
        };
        places.sort_unstable_by(|a, b| a.window.cmp(&b.window).then_with(|| rest(a).cmp(&rest(b))));
        TailCursor { tail, places, at: 0 }
    }
}

/// How many of the first `most` bytes two keys have in common, their database in front.
fn in_common(tail: &Tail, a: &Item, b: &Item, most: usize) -> usize {
    if a.database != b.database {
        let (a, b) = (a.database.0.to_be_bytes(), b.database.0.to_be_bytes());
        return a.iter().zip(b).take_while(|(a, b)| *a == b).count().min(most);
    }
    let (a, b) = (tail.key(a), tail.key(b));
    let of_keys = most.saturating_sub(DATABASE);
    let common = match (a.get(..of_keys), b.get(..of_keys)) {
        (Some(a), Some(b)) if a == b => of_keys,
        _ => a.iter().zip(b).take(of_keys).take_while(|(a, b)| a == b).count(),
    };
    (DATABASE + common).min(most)
}

/// Goes over a part of a tail in order, every version once.
pub(crate) struct TailCursor<'a> {
    tail: &'a Tail,
    places: Vec<Place>,
    at: usize,
}

impl<'a> TailCursor<'a> {
    fn item(&self) -> Option<&'a Item> {
        self.item_ahead(0)
    }

    fn item_ahead(&self, ahead: usize) -> Option<&'a Item> {
        let place = self.places.get(self.at + ahead)?;
        self.tail.items.get(place.item as usize)
    }

    fn ask_ahead(&self) {
        if let Some(item) = self.item_ahead(2 * AHEAD) {
            prefetch::read(std::ptr::from_ref(item).cast(), size_of::<Item>());
        }
        if let Some(item) = self.item_ahead(AHEAD) {
            let len = (item.key_len as usize).saturating_add(item.value_len as usize);
            prefetch::read(self.tail.key(item).as_ptr(), len.min(MOST_AHEAD));
        }
    }
}

impl Input for TailCursor<'_> {
    fn entry(&self) -> Option<Entry<'_>> {
        let item = self.item()?;
        Some(Entry {
            database: item.database,
            key: self.tail.key(item),
            seqno: item.seqno,
            kind: item.kind,
            expiry: self.tail.expiry(item),
            value: self.tail.value(item),
        })
    }

    fn load_value(&mut self) -> Result<()> {
        Ok(())
    }

    /// Of two writes of a key in one batch the later one counts, which comes first here.
    fn next(&mut self) -> Result<()> {
        let Some(last) = self.item() else { return Ok(()) };
        loop {
            self.at += 1;
            self.ask_ahead();
            let same = |item: &Item| {
                item.seqno == last.seqno
                    && item.database == last.database
                    && self.tail.key(item) == self.tail.key(last)
            };
            if !self.item().is_some_and(same) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_formats::batch::Op;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Write = (u32, Vec<u8>, Vec<u8>);

    /// Keys that are empty, beginnings of others, or alike for longer than a window.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let tail = || prop::collection::vec(0..3_u8, 0..6);
        let long = tail().prop_map(|tail| [vec![7; 20], tail].concat());
        prop_oneof![tail(), long]
    }

    fn batches() -> impl Strategy<Value = Vec<Vec<Write>>> {
        let write =
            (prop_oneof![Just(0), 16..18_u32], key(), prop::collection::vec(any::<u8>(), 0..5));
        prop::collection::vec(prop::collection::vec(write, 1..6), 0..40)
    }

    /// Some values have an expiry.
    fn expiry(value: &[u8]) -> Option<u64> {
        value.first().filter(|first| **first > 99).map(|first| u64::from(*first) << 33 | 5)
    }

    /// A tail of batches that lie in segments of three each.
    fn tail(batches: &[Vec<Write>]) -> Tail {
        let mut tail = Tail::default();
        for (segment, group) in batches.chunks(3).enumerate() {
            let mut bytes = vec![0; 5];
            for (_, key, value) in group.iter().flatten() {
                bytes.extend(expiry(value).iter().flat_map(|expiry| expiry.to_le_bytes()));
                bytes.extend(key);
                bytes.extend(value);
            }
            let (bytes, mut at) = (Arc::new(bytes), 5);
            for (number, batch) in group.iter().enumerate() {
                let mut take = |len: usize| {
                    at += len;
                    &bytes[at - len..at]
                };
                let ops: Vec<Op<'_>> = batch
                    .iter()
                    .map(|(database, key, value)| {
                        let expiry = expiry(value);
                        take(expiry.map_or(0, |_| EXPIRY as usize));
                        let (key, value) = (take(key.len()), take(value.len()));
                        Op { kind: Kind::Put, database: DatabaseId(*database), key, value, expiry }
                    })
                    .collect();
                let seqno = (3 * segment + number + 1) as Seqno;
                tail.add(&Replayed { seqno, ops: &ops, segment: &bytes });
            }
        }
        tail
    }

    proptest! {
        #[test]
        fn a_tail_is_what_was_added_in_order(batches in batches(), halves: bool) {
            let mut expected = BTreeMap::new();
            for (batch, seqno) in batches.iter().zip(1..) {
                for (database, key, value) in batch {
                    expected.insert((*database, key.clone(), Reverse(seqno)), value.clone());
                }
            }
            let tail = tail(&batches);
            prop_assert_eq!(tail.is_empty(), expected.is_empty());
            let mut found = Vec::new();
            let mut ends: Vec<(u32, Vec<u8>)> = Vec::new();
            for part in tail.parts(halves) {
                let mut cursor = part.sorted();
                let first = cursor.entry().map(|entry| (entry.database.0, entry.key.to_vec()));
                // No key is in two parts.
                prop_assert!(first.is_none_or(|first| ends.last().is_none_or(|end| *end < first)));
                while let Some(Entry { database, key, seqno, value, expiry, .. }) = cursor.entry() {
                    prop_assert_eq!(expiry, self::expiry(value));
                    found.push(((database.0, key.to_vec(), Reverse(seqno)), value.to_vec()));
                    cursor.next().unwrap();
                }
                ends.extend(found.last().map(|((database, key, _), _)| (*database, key.clone())));
            }
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_large_tail_is_cut_near_its_middle() {
        let batches: Vec<Vec<Write>> = (0..9_000_u32)
            .map(|n| vec![(16, (n * 7919 % 9_001).to_be_bytes().to_vec(), vec![])])
            .collect();
        let tail = tail(&batches);
        let sizes: Vec<usize> = tail.parts(true).iter().map(|part| part.places.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 9_000);
        assert!(sizes.iter().all(|size| *size > 3_500), "{sizes:?}");
        assert!(tail.is_full(1 << 10) && !tail.is_full(1 << 30));
    }

    #[test]
    fn one_segment_that_is_held_is_no_reason_to_flush() {
        let batches = vec![vec![(16, b"key".to_vec(), b"value".to_vec())]; 3];
        let mut tail = tail(&batches);
        tail.held = 2 * KEPT;
        assert!(!tail.is_full(1 << 20));
        tail.segments.push(Arc::default());
        assert!(tail.is_full(1 << 20));
    }
}
