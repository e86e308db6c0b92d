use super::*;
use crossbeam_skiplist::SkipMap;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::ops::Bound;

const DB: DatabaseId = DatabaseId(16);

fn op<'a>(kind: Kind, database: DatabaseId, key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    Op { kind, database, key, value, expiry: None }
}

fn put(active: &mut Active, database: DatabaseId, key: &[u8], seqno: Seqno, value: &[u8]) {
    active.writer().insert(&op(Kind::Put, database, key, value), seqno);
}

fn get<'a>(
    memtable: &'a Arc<Memtable>,
    database: DatabaseId,
    key: &[u8],
    seqno: Seqno,
) -> Option<Found<'a>> {
    memtable.get(database, (key, filter_hash(database, key)), seqno)
}

fn empty() -> (Active, Arc<Memtable>) {
    let active = Active::new(1);
    let memtable = Arc::clone(active.memtable());
    (active, memtable)
}

fn filled() -> Arc<Memtable> {
    let (mut active, memtable) = empty();
    let mut writer = active.writer();
    writer.insert(&op(Kind::Put, DB, b"", b"empty"), 1);
    writer.insert(&op(Kind::Put, DB, b"a", b"1"), 2);
    writer.insert(&op(Kind::Put, DB, b"a\0", b"2"), 3);
    writer.insert(&op(Kind::Delete, DB, b"a", b""), 4);
    writer.insert(&op(Kind::Put, DatabaseId(17), b"a", b"other"), 5);
    drop(writer);
    assert_eq!((memtable.entries(), memtable.last_seqno()), (5, 5));
    memtable
}

/// A batch that gets its place late is there from that commit on, and from no other.
#[test]
fn a_batch_without_a_place_gets_one() {
    for seqno in [1, 2, 1_000] {
        let (mut active, _) = empty();
        let mut writer = active.writer();
        writer.insert(&op(Kind::Put, DB, b"a", b"old"), APART);
        writer.insert(&op(Kind::Put, DB, b"a", b"new"), APART);
        writer.insert(&op(Kind::Delete, DB, b"b", b""), APART);
        drop(writer);
        let memtable = active.place(seqno, 7);
        assert_eq!((memtable.last_seqno(), memtable.sealed_at()), (seqno, seqno));
        assert_eq!(memtable.log_floor(), 7);
        for (at, is_seen) in
            [(seqno - 1, false), (seqno, true), (seqno + 1, true), (u64::MAX, true)]
        {
            let found = get(&memtable, DB, b"a", at).map(|found| found.value());
            assert_eq!(found, is_seen.then_some(&b"new"[..]));
            let mut cursor = MemCursor::new(Arc::clone(&memtable), DB, at);
            cursor.seek_ge(b"");
            assert_eq!(
                (cursor.valid(), cursor.seqno()),
                (is_seen, if is_seen { seqno } else { 0 })
            );
            cursor.seek_lt(None);
            assert_eq!((cursor.valid(), cursor.kind()), (is_seen, Kind::Delete));
        }
        let mut all = MemCursor::over_all(memtable);
        assert_eq!((all.key(), all.seqno(), all.value()), (&b"a"[..], seqno, &b"new"[..]));
        all.next();
        assert_eq!((all.key(), all.seqno()), (&b"b"[..], seqno));
        all.next();
        assert!(!all.valid());
    }
}

#[test]
fn get_sees_the_newest_version_at_or_below_its_seqno() {
    let memtable = filled();
    assert!(get(&memtable, DB, b"a", 1).is_none());
    assert_eq!(get(&memtable, DB, b"a", 3).unwrap().value(), b"1");
    assert_eq!(get(&memtable, DB, b"a", 9).unwrap().kind(), Kind::Delete);
    assert_eq!(get(&memtable, DB, b"", 9).unwrap().value(), b"empty");
    assert!(get(&memtable, DatabaseId(18), b"a", 9).is_none());
}

#[test]
fn the_last_write_of_a_batch_wins() {
    let (mut active, memtable) = empty();
    put(&mut active, DB, b"k", 5, b"earlier");
    put(&mut active, DB, b"k", 7, b"first");
    put(&mut active, DB, b"k", 7, b"second");
    assert_eq!(get(&memtable, DB, b"k", 7).unwrap().value(), b"second");
    assert_eq!(get(&memtable, DB, b"k", 6).unwrap().value(), b"earlier");
    let mut all = MemCursor::over_all(Arc::clone(&memtable));
    let mut seen = Vec::new();
    while all.valid() {
        seen.push((all.seqno(), all.value().to_vec()));
        all.next();
    }
    assert_eq!(seen, [(7, b"second".to_vec()), (5, b"earlier".to_vec())]);
}

#[test]
fn cursors_stay_inside_their_database() {
    let mut cursor = MemCursor::new(filled(), DB, 9);
    cursor.seek_ge(b"");
    let mut seen = Vec::new();
    while cursor.valid() {
        seen.push((cursor.key().to_vec(), cursor.seqno()));
        cursor.next();
    }
    assert_eq!(seen, [(b"".to_vec(), 1), (b"a".to_vec(), 4), (b"a\0".to_vec(), 3)]);
    cursor.seek_lt(None);
    assert_eq!((cursor.key(), cursor.seqno()), (&b"a\0"[..], 3));
    cursor.seek_lt(Some(b"a"));
    assert_eq!(cursor.key(), b"");
    cursor.seek_lt(Some(b""));
    assert!(!cursor.valid());
}

#[test]
fn one_key_written_again_and_again_stays_fast() {
    let (mut active, memtable) = empty();
    let count: Seqno = if cfg!(miri) { 100 } else { 200_000 };
    let mut writer = active.writer();
    for seqno in 1..=count {
        writer.insert(&op(Kind::Put, DB, b"hot", &seqno.to_le_bytes()), seqno);
    }
    drop(writer);
    for seqno in (1..=count).step_by(97) {
        assert_eq!(get(&memtable, DB, b"hot", seqno).unwrap().value(), seqno.to_le_bytes());
    }
    let mut back = MemCursor::new(Arc::clone(&memtable), DB, 5);
    back.seek_lt(None);
    assert_eq!(back.seqno(), 5);
    assert!(memtable.live_bytes() as u64 <= 70 * count + 20_000, "{}", memtable.live_bytes());
}

#[test]
fn readers_go_on_beside_the_writer() {
    let entries: u64 = if cfg!(miri) { 60 } else { 40_000 };
    let (mut active, memtable) = empty();
    // As a leader publishes what it has inserted.
    let visible = AtomicU64::new(0);
    let write = || {
        for seqno in 1..=entries {
            // By turns anywhere, in order, and back.
            let number = match seqno % 3 {
                0 => seqno.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                1 => seqno,
                _ => u64::MAX / 2 - seqno,
            };
            let key = number.to_be_bytes();
            put(&mut active, DB, &key, seqno, &key);
            visible.store(seqno, Ordering::Release);
            assert_eq!(get(&memtable, DB, &key, seqno).unwrap().value(), key);
        }
    };
    let scan = || {
        // What was there before is there, and nothing newer, in both directions.
        let seen = visible.load(Ordering::Acquire);
        let mut cursor = MemCursor::new(Arc::clone(&memtable), DB, seen);
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        cursor.seek_ge(b"");
        while cursor.valid() {
            assert_eq!(cursor.key(), cursor.value());
            forward.push(cursor.key().to_vec());
            cursor.next();
        }
        cursor.seek_lt(None);
        while cursor.valid() {
            backward.push(cursor.key().to_vec());
            cursor.prev();
        }
        assert!(forward.is_sorted_by(|a, b| a < b));
        assert_eq!(forward.len() as u64, seen);
        backward.reverse();
        assert_eq!(forward, backward);
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        while !writer.is_finished() {
            scan();
            std::thread::yield_now();
        }
    });
    scan();
    assert_eq!(memtable.entries(), entries);
}

/// A reader that took the order of a node from before a split, and a child from behind it, missed the
/// half of the leaf that had gone elsewhere.
#[test]
fn what_is_visible_is_found_while_leaves_split() {
    // Few keys often, so that leaves split under a reader; and so many that inner nodes do.
    let runs = if cfg!(miri) { vec![(1, 20)] } else { vec![(300, 61), (3, 2_503)] };
    let rounds = runs.into_iter().flat_map(|(rounds, entries)| (0..rounds).map(move |_| entries));
    for entries in rounds {
        let key = |seqno: u64| (seqno * 37 % entries.max(61)).to_be_bytes();
        let (mut active, memtable) = empty();
        let visible = AtomicU64::new(0);
        let read = || {
            let mut seen = 0;
            while seen < entries {
                seen = visible.load(Ordering::Acquire);
                let step = 1 + seen / 100;
                for seqno in (1..=seen).rev().step_by(step as usize) {
                    assert!(get(&memtable, DB, &key(seqno), seen).is_some(), "{seqno} of {seen}");
                }
                let mut cursor = MemCursor::new(Arc::clone(&memtable), DB, seen);
                cursor.seek_lt(None);
                let count = std::iter::from_fn(|| cursor.valid().then(|| cursor.prev())).count();
                assert_eq!(count as u64, seen);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(read);
            for seqno in 1..=entries {
                put(&mut active, DB, &key(seqno), seqno, b"");
                visible.store(seqno, Ordering::Release);
            }
        });
    }
}

#[test]
fn what_was_found_outlives_the_memtable() {
    let memtable = filled();
    let mut cursor = MemCursor::new(Arc::clone(&memtable), DB, 9);
    cursor.seek_ge(b"a");
    let kept = get(&memtable, DB, b"a", 3).unwrap().keep();
    drop(memtable);
    assert_eq!((cursor.key(), cursor.seqno()), (&b"a"[..], 4));
    drop(cursor);
    assert_eq!(&*kept, b"1");
}

#[test]
fn a_small_memtable_is_small() {
    let (mut active, memtable) = empty();
    put(&mut active, DB, b"key", 1, b"value");
    assert!(memtable.live_bytes() < 2_000, "{}", memtable.live_bytes());
}

/// Bytes that keys begin with in common: mostly few, now and then as many as can be.
fn shared_len() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 0..40_usize, 2 => 200..300_usize, 1 => Just(5_000), 1 => Just(65_530)]
}

/// Keys with common beginnings of all lengths, in several databases.
fn any_key() -> impl Strategy<Value = (DatabaseId, Vec<u8>)> {
    let database =
        prop_oneof![4 => Just(16_u32), 2 => 17..20_u32, 1 => Just(u32::MAX), 1 => Just(0)];
    let key = prop_oneof![
        4 => (0..3000_u32).prop_map(|n| format!("user/{n:06}").into_bytes()),
        2 => prop::collection::vec(0..3_u8, 0..12),
        1 => (prop::collection::vec(0..3_u8, 0..3), shared_len()).prop_map(|(tail, shared)| {
            let mut key = vec![b'x'; shared];
            key.extend(tail);
            key
        }),
    ];
    (database.prop_map(DatabaseId), key)
}

type Oracle = SkipMap<(DatabaseId, Vec<u8>, Reverse<Seqno>), Vec<u8>>;

fn oracle_get(oracle: &Oracle, key: &(DatabaseId, Vec<u8>), seqno: Seqno) -> Option<Vec<u8>> {
    let from = (key.0, key.1.clone(), Reverse(seqno));
    let entry = oracle.lower_bound(Bound::Included(&from))?;
    let found = entry.key();
    ((found.0, &found.1) == (key.0, &key.1)).then(|| entry.value().clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 120 }))]

    /// The skiplist of crossbeam, which was the memtable once, says what must be there.
    #[test]
    fn it_equals_an_ordered_map(
        writes in prop::collection::vec((any_key(), 0..4_u64), 1..if cfg!(miri) { 60 } else { 900 }),
        probes in prop::collection::vec(any_key(), 1..40),
        sorted in 0..3_u8,
    ) {
        let mut writes = writes;
        match sorted {
            0 => {}
            1 => writes.sort(),
            _ => writes.sort_by(|a, b| b.cmp(a)),
        }
        let ((mut active, memtable), oracle) = (empty(), Oracle::new());
        let mut seqno = 1;
        for (at, ((database, key), step)) in writes.iter().enumerate() {
            // Sequence numbers repeat inside of a batch.
            seqno += step / 2;
            let value = at.to_le_bytes();
            put(&mut active, *database, key, seqno, &value);
            oracle.insert((*database, key.clone(), Reverse(seqno)), value.to_vec());
        }
        let keys = writes.iter().map(|(key, _)| key).chain(&probes);
        for key in keys {
            for seqno in [0, seqno / 2, seqno] {
                let found = get(&memtable, key.0, &key.1, seqno).map(|v| v.value().to_vec());
                prop_assert_eq!(found, oracle_get(&oracle, key, seqno));
            }
        }
        let mut all = MemCursor::over_all(Arc::clone(&memtable));
        for entry in &oracle {
            let (database, key, Reverse(seqno)) = entry.key();
            prop_assert_eq!((all.database(), all.key(), all.seqno()), (*database, &key[..], *seqno));
            prop_assert_eq!(all.value(), &entry.value()[..]);
            all.next();
        }
        prop_assert!(!all.valid());
        for (database, key) in &probes {
            let half = seqno / 2;
            let visible: Vec<Vec<u8>> = {
                let mut keys: Vec<Vec<u8>> = oracle
                    .iter()
                    .filter(|e| e.key().0 == *database && e.key().2.0 <= half)
                    .map(|e| e.key().1.clone())
                    .collect();
                keys.dedup();
                keys
            };
            let mut cursor = MemCursor::new(Arc::clone(&memtable), *database, half);
            cursor.seek_ge(key);
            for expected in visible.iter().filter(|k| *k >= key) {
                prop_assert_eq!(cursor.key(), &expected[..]);
                cursor.next();
            }
            prop_assert!(!cursor.valid());
            cursor.seek_lt(Some(key));
            for expected in visible.iter().rev().filter(|k| *k < key) {
                prop_assert_eq!(cursor.key(), &expected[..]);
                cursor.prev();
            }
            prop_assert!(!cursor.valid());
            cursor.seek_lt(None);
            prop_assert_eq!(cursor.valid(), !visible.is_empty());
            prop_assert!(visible.last().is_none_or(|last| cursor.key() == &last[..]));
        }
    }
}
