use super::*;
use crate::error::Result;
use crate::ids::{AsOf, Kind, Seqno};
use crate::layout::set;
use crate::limits::MAX_BLOCK_VALUES_LEN;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    seqno: Seqno,
    kind: Kind,
    expiry: Option<u64>,
    value: Vec<u8>,
}

fn put(key: &[u8], seqno: Seqno, value: &[u8]) -> Entry {
    Entry { key: key.to_vec(), seqno, kind: Kind::Put, expiry: None, value: value.to_vec() }
}

/// Builds a block, and holds the builder's forecast of its size against what comes out.
fn build(entries: &[Entry], compression: Compression) -> Vec<u8> {
    let mut builder = BlockBuilder::new(compression);
    let mut size = 0;
    for e in entries {
        size = builder.size_with_entry(&e.key, e.seqno, e.kind, e.expiry, e.value.len());
        let within = |limit, builder: &mut BlockBuilder| {
            builder.add_within(limit, (&e.key, e.seqno, e.kind), e.expiry, &e.value)
        };
        assert!(builder.is_empty() || !within(size - 1, &mut builder), "it has no room");
        assert!(within(size, &mut builder), "it has room");
        assert_eq!(builder.last_key(), e.key);
    }
    assert_eq!(builder.len(), entries.len());
    let mut out = b"in front".to_vec();
    builder.finish(&mut out);
    assert!(builder.is_empty());
    let body = out.split_off(8);
    let block = Block::parse(&body).unwrap();
    let saved = block.plain_len - block.values().len();
    assert_eq!(body.len() + saved + 8, size);
    body
}

fn read(body: &[u8]) -> Result<Vec<Entry>> {
    let block = Block::parse(body)?;
    let mut values = Vec::new();
    block.decompress_values(&mut values)?;
    assert!(block.is_compressed() || block.plain_values() == Some(&values));
    let entry = |i| {
        let mut key = b"junk".to_vec();
        block.key_into(i, &mut key)?;
        let value = values[block.value_range(i)?].to_vec();
        let (kind, seqno) = (block.kind(i)?, block.seqno(i));
        Ok(Entry { key, seqno, kind, expiry: block.expiry(i), value })
    };
    (0..block.len()).map(entry).collect()
}

/// Every question a block answers, against the plain list.
fn hold_against(entries: &[Entry], body: &[u8], probes: &[Vec<u8>]) {
    assert_eq!(read(body).unwrap(), entries);
    let block = Block::parse(body).unwrap();
    block.check().unwrap();
    let held = block.clone().within(body.to_vec());
    let mut key = b"junk".to_vec();
    for (i, entry) in entries.iter().enumerate() {
        if i == 0 {
            held.key_into(i, &mut key).unwrap()
        } else {
            held.next_key_into(i, &mut key).unwrap()
        }
        assert_eq!(key, entry.key, "by steps");
        let range = held.value_range(i).unwrap();
        let plain = held.plain_values_start().map(|at| &held.body()[at..][range]);
        assert_eq!(plain, (!held.is_compressed()).then_some(&entry.value[..]));
    }
    assert!(held.next_key_into(entries.len(), &mut key).is_err());
    for probe in probes.iter().chain(entries.iter().map(|e| &e.key)) {
        let lower = entries.iter().position(|e| e.key >= *probe).unwrap_or(entries.len());
        let upper = entries.iter().position(|e| e.key > *probe).unwrap_or(entries.len());
        assert_eq!(block.lower_bound(probe), lower, "lower bound of {probe:?}");
        assert_eq!(block.upper_bound(probe), upper, "upper bound of {probe:?}");
        assert_eq!(block.find(probe), (lower < upper).then_some(lower), "{probe:?}");
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(block.compare(i, probe), entry.key.cmp(probe), "{i} with {probe:?}");
        }
    }
}

/// A reader at a sequence number, at the time at which about a half of what expires in tests has expired.
fn as_of(seqno: Seqno) -> AsOf {
    AsOf { seqno, now: u64::MAX / 2 }
}

/// Whether an entry can be in a run behind another one.
fn keeps(before: &Entry, entry: &Entry, seqno: Seqno) -> bool {
    let is_there = entry.kind == Kind::Put && !as_of(seqno).has_passed(entry.expiry);
    before.key < entry.key && is_there && entry.seqno <= seqno
}

/// A run is of what it promises, and stops for a reason: what follows breaks the promise, or the column cannot tell its
/// key from the one before, or 32 are enough.
fn hold_runs_against(entries: &[Entry], body: &[u8]) {
    let block = Block::parse(body).unwrap();
    for seqno in 0..7 {
        for i in 0..entries.len() {
            for end in [i + 1, (i + entries.len()) / 2 + 1, entries.len(), usize::MAX] {
                let run = block.plain_run(i, end, as_of(seqno));
                let end = end.min(entries.len());
                assert!(i + run < end, "{run} behind {i} of {end}");
                let keeps = |at: usize| keeps(&entries[at - 1], &entries[at], seqno);
                assert!((i + 1..=i + run).all(keeps), "{run} behind {i} as of {seqno}");
                let next = i + run + 1;
                let told = |at: usize| block.column().get(at) != block.column().get(at - 1);
                assert!(run == 32 || next >= end || !keeps(next) || !told(next), "ends at {next}");
            }
        }
    }
}

/// Rows are the entries that they were copied from.
fn hold_rows_against(entries: &[Entry], body: &[u8]) {
    let block = Block::parse(body).unwrap();
    let (mut rows, mut key) = (Rows::default(), Vec::new());
    for start in 0..entries.len() {
        for end in [start, start + 1, (start + entries.len()) / 2, entries.len()] {
            assert_eq!(block.rows_into(start..end, &mut rows), end - start.min(end));
            for at in (start..end).chain((start..end).rev()) {
                block.key_into(start, &mut key).unwrap();
                rows.next_key_into(at - start, &mut key);
                assert_eq!(key, entries[at].key, "{at} of {start}..{end}");
                assert_eq!(rows.value(at - start), block.value_range(at).unwrap());
            }
        }
    }
    assert_eq!(block.rows_into(0..entries.len() + 1, &mut rows), entries.len());
    assert_eq!(rows.value(entries.len()), 0..0);
}

/// The same going back: every entry is told from the one before it, so the first one of a block never is.
fn hold_runs_back_against(entries: &[Entry], body: &[u8]) {
    let block = Block::parse(body).unwrap();
    for seqno in 0..7 {
        for i in 0..entries.len() {
            for start in [0, 1, i / 2, i, i + 1, usize::MAX] {
                let run = block.plain_run_back(i, start, as_of(seqno));
                let keeps = |at: usize| keeps(&entries[at - 1], &entries[at], seqno);
                assert!(run == 0 || i + 1 - run >= start.max(1), "{run} back from {i} to {start}");
                assert!((i + 1 - run..=i).all(keeps), "{run} back from {i} as of {seqno}");
                let told = |at: usize| block.column().get(at) != block.column().get(at - 1);
                let is_last = |at: usize| at == 0 || at < start || !keeps(at) || !told(at);
                assert!(run == 32 || run > i || is_last(i - run), "ends at {i} - {run}");
            }
        }
    }
}

fn ordered(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.key.cmp(&b.key).then(b.seqno.cmp(&a.seqno)));
    entries.dedup_by(|a, b| a.key == b.key && a.seqno == b.seqno);
    entries
}

/// Keys that lie close together: few letters, some with a long shared head.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let letter = prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(b'b'), Just(0xff)];
    let short = vec(letter.clone(), 0..5);
    let long = vec(letter, 7..14);
    let headed = short.clone().prop_map(|rest| [vec![b'h'; 64], rest].concat());
    prop_oneof![short, long, headed]
}

fn entry(key: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Entry> {
    let value = prop_oneof![vec(any::<u8>(), 0..30), (0..200usize).prop_map(|n| vec![7; n])];
    let expiry = prop_oneof![4 => Just(None), 1 => (1u64..).prop_map(Some)];
    (key, 0u64..6, 1u8..6, expiry, value).prop_map(|(key, seqno, kind, expiry, value)| {
        let kind = Kind::from_byte(kind).unwrap();
        let value = if kind == Kind::Delete { vec![] } else { value };
        Entry { key, seqno, kind, expiry, value }
    })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let mixed = vec(entry(key()), 1..40);
    let narrow = vec(entry(vec(0u8..3, 0..4)), 1..40);
    let alike = (key(), vec(any::<u32>(), 1..60)).prop_map(|(head, tails)| {
        let of = |n: u32| put(&[&head[..], &n.to_be_bytes(), b"/element"].concat(), 9, b"v");
        tails.into_iter().map(of).collect()
    });
    prop_oneof![mixed, narrow, alike].prop_map(ordered)
}

#[test]
fn keys_that_zeros_could_confuse() {
    let keys: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"a\0\0\0\0\0\0\0",
        b"a\0\0\0\0\0\0\0\0",
        b"a\x01",
        b"b",
    ];
    let probes: Vec<Vec<u8>> =
        keys.iter().flat_map(|k| [k.to_vec(), [k, &b"\0"[..]].concat()]).collect();
    for chosen in 1u32..1 << keys.len() {
        let chosen: Vec<Entry> = (0..keys.len())
            .filter(|i| chosen >> i & 1 == 1)
            .map(|i| put(keys[i], 1, keys[i]))
            .collect();
        hold_against(&chosen, &build(&chosen, Compression::None), &probes);
    }
}

#[test]
fn the_column_is_as_narrow_as_it_can_be() {
    let width = |keys: &[&str]| {
        let entries: Vec<Entry> = keys.iter().map(|key| put(key.as_bytes(), 1, b"")).collect();
        let body = build(&entries, Compression::None);
        let block = Block::parse(&body).unwrap();
        (block.column().width(), block.flags)
    };
    assert_eq!(width(&["user/0001", "user/1001"]), (4, 0));
    assert_eq!(width(&["user/000", "user/1001"]), (4, FLAG_SHORT));
    assert_eq!(width(&["user/00010001", "user/10000001"]), (8, 0));
    assert_eq!(width(&["user/0000x", "user/1000y"]), (8, FLAG_SHORT));
    assert_eq!(width(&["user/0000xtail-of-it", "user/1000y"]), (8, FLAG_SHORT | FLAG_TAILS));
    assert_eq!(width(&["one"]), (4, FLAG_SHORT));
}

#[test]
fn wide_offsets_and_a_huge_value() {
    let huge = put(b"k2", 1, &vec![5; 1 << 20]);
    let entries = [put(b"k1", 1, b"small"), huge, put(b"k3", 1, b"")];
    let plain = build(&entries, Compression::None);
    assert_eq!(Block::parse(&plain).unwrap().flags & FLAG_WIDE, FLAG_WIDE);
    hold_against(&entries, &plain, &[b"k".to_vec(), b"k22".to_vec()]);
    let snappy = build(&entries, Compression::Snappy);
    assert!(Block::parse(&snappy).unwrap().is_compressed());
    assert!(snappy.len() < plain.len() / 10);
    hold_against(&entries, &snappy, &[]);
    let long = |c: u8| put(&[&[c][..], &vec![c; 65_534][..]].concat(), 1, b"");
    let tails = [long(1), long(2)];
    let body = build(&tails, Compression::None);
    assert_eq!(Block::parse(&body).unwrap().flags & FLAG_WIDE, FLAG_WIDE);
    hold_against(&tails, &body, &[vec![1; 65_534], vec![2; 65_534]]);
}

#[test]
fn versions_of_one_key_descend() {
    let mut entries = vec![put(b"a", 5, b"1")];
    entries.extend((0..20).rev().map(|seqno| put(b"key-of-many", seqno, b"v")));
    entries.push(put(b"z", 5, b"2"));
    let body = build(&entries, Compression::None);
    hold_against(&entries, &body, &[b"key".to_vec(), b"key-of-many\0".to_vec()]);
    let block = Block::parse(&body).unwrap();
    assert_eq!((block.lower_bound(b"key-of-many"), block.upper_bound(b"key-of-many")), (1, 21));
}

#[test]
fn values_that_do_not_shrink_stay_plain() {
    let noise: Vec<u8> = (0..500u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = build(&[put(b"k", 1, &noise)], Compression::Snappy);
    assert!(!Block::parse(&body).unwrap().is_compressed());
    let empty = build(&[put(b"k", 1, b"")], Compression::Snappy);
    assert!(!Block::parse(&empty).unwrap().is_compressed());
    let mut out = Vec::new();
    BlockBuilder::new(Compression::Snappy).finish(&mut out);
    assert!(out.is_empty() && Block::parse(&out).is_err(), "there is no empty block");
}

#[test]
fn hostile_headers() {
    let body = build(&[put(b"key", 1, b"value"), put(b"kez", 1, b"value")], Compression::None);
    let set_to = |at: usize, bytes: &[u8]| {
        let mut bad = body.clone();
        set(&mut bad, at, bytes);
        Block::parse(&bad).map(|_| ()).map_err(|e| e.offset as usize)
    };
    let most = u32::MAX.to_le_bytes();
    for at in [COUNT, TAILS_LEN, STORED_LEN, PLAIN_LEN] {
        assert!(set_to(at, &most).is_err(), "field {at}");
    }
    assert_eq!(set_to(COUNT, &[0; 4]), Err(COUNT));
    assert_eq!(set_to(FLAGS, &[0x80]), Err(FLAGS));
    assert_eq!(set_to(WIDTH, &[5]), Err(WIDTH));
    assert!(set_to(PREFIX_LEN, &[0xff, 0xff]).is_err());
    assert_eq!(set_to(RESERVED, &[1]), Err(RESERVED));
    assert!(Block::parse(&body[..body.len() - 1]).is_err());
    assert!(Block::parse(&[&body[..], &[0]].concat()).is_err());
    // What Snappy could never give is refused before room is made for it.
    let mut bomb = build(&[put(b"k", 1, &[0; 5000])], Compression::Snappy);
    set(&mut bomb, PLAIN_LEN, &(MAX_BLOCK_VALUES_LEN as u32).to_le_bytes());
    assert_eq!(Block::parse(&bomb).unwrap_err().offset as usize, PLAIN_LEN);
}

#[test]
fn a_check_sees_what_a_parse_does_not() {
    let mut entries = vec![put(b"ka", 9, b"value"), put(b"kb", 8, b"value")];
    entries[1].kind = Kind::Merge;
    let body = build(&entries, Compression::None);
    let regions = Shape {
        count: 2,
        flags: body[FLAGS],
        width: body[WIDTH],
        prefix_len: 1,
        tails_len: 0,
        stored_len: 10,
    }
    .regions()
    .0;
    let spoil = |at: u32, byte: u8| {
        let mut bad = body.clone();
        bad[at as usize] = byte;
        let _ = read(&bad);
        Block::parse(&bad).unwrap().check()
    };
    assert!(spoil(regions.prefix.end, 1).is_err(), "padding");
    assert!(spoil(regions.column.start + 3, b'c').is_err(), "key order");
    assert!(spoil(regions.column.start, 1).is_err(), "bytes behind a short key");
    assert!(spoil(regions.short.start, 5).is_err(), "more bytes than the column has");
    assert!(spoil(regions.value_offsets.start, 1).is_err(), "the first offset");
    assert!(spoil(regions.value_offsets.start + 2, 99).is_err(), "an offset outside");
    assert!(spoil(regions.value_offsets.start + 4, 9).is_err(), "the last offset");
    assert!(spoil(regions.kinds.start, 0).is_err(), "a kind");
    assert!(spoil(regions.kinds.start, 2).is_err(), "a delete with a value");
    assert!(spoil(regions.values.start, 1).is_ok(), "a value is anybody's");
    entries[1].key = b"ka".to_vec();
    let mut versions = build(&entries, Compression::None);
    let seqnos = versions.len() - 10 - 16;
    versions[seqnos] = 8;
    assert!(Block::parse(&versions).unwrap().check().is_err(), "a version twice");
}

/// Asks everything of any bytes: nothing may panic.
fn interrogate(body: &[u8]) {
    let Ok(block) = Block::parse(body) else { return };
    let (mut buffer, mut rows) = (Vec::new(), Rows::default());
    let _ = block.check();
    let _ = block.decompress_values(&mut buffer);
    for i in [0, 1, block.len() - 1, block.len(), usize::MAX] {
        let _ = (block.key_into(i, &mut buffer), block.kind(i), block.value_range(i));
        let _ = (block.seqno(i), block.expiry(i), block.compare(i, b"key"));
        let at = as_of(5);
        let _ = (block.plain_run(i, usize::MAX, at), block.plain_run(i, 1, at));
        let _ = (block.plain_run_back(i, 0, at), block.plain_run_back(i, usize::MAX, at));
        let good = block.rows_into(i..i.saturating_add(40), &mut rows);
        for at in [0, 1, good, usize::MAX] {
            rows.next_key_into(at, &mut buffer);
            let value = rows.value(at);
            assert!(at >= good || (value.start <= value.end && value.end <= block.plain_len));
        }
    }
    for key in [&b""[..], b"a", b"hhhhhhhhhhhhhh", &[0xff; 20]] {
        assert!(block.lower_bound(key) <= block.len());
        assert!(block.upper_bound(key) <= block.len());
        assert!(block.find(key).is_none_or(|at| at < block.len()));
    }
}

proptest! {
    #[test]
    fn answers_like_a_list(entries in entries(), probes in vec(key(), 0..10), snappy: bool) {
        let compression = if snappy { Compression::Snappy } else { Compression::None };
        let body = build(&entries, compression);
        hold_against(&entries, &body, &probes);
        hold_runs_against(&entries, &body);
        hold_runs_back_against(&entries, &body);
        hold_rows_against(&entries, &body);
    }

    #[test]
    fn any_bytes_are_answered_or_refused(body in vec(any::<u8>(), 0..300)) {
        interrogate(&body);
    }

    #[test]
    fn changed_bytes_are_answered_or_refused(
        entries in entries(), changes in vec((any::<usize>(), any::<u8>()), 1..4), snappy: bool,
    ) {
        let compression = if snappy { Compression::Snappy } else { Compression::None };
        let mut body = build(&entries, compression);
        let len = body.len();
        for (at, byte) in changes {
            body[at % len] = byte;
        }
        interrogate(&body);
    }
}
