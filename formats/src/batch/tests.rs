use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

type OwnedOp = (u8, u32, Vec<u8>, Vec<u8>, Option<u64>);

fn op((kind, database, key, value, expiry): &OwnedOp) -> Op<'_> {
    let kind = Kind::from_byte(*kind).unwrap();
    let value = if kind == Kind::Delete { &[][..] } else { value };
    let op = Op { kind, database: DatabaseId(*database), key, value, expiry: *expiry };
    match kind {
        Kind::RangeDelete => Op {
            database: DatabaseId((*database).max(1)),
            value: if value > key { value } else { &[] },
            expiry: None,
            ..op
        },
        _ => op,
    }
}

fn ops() -> impl Strategy<Value = Vec<OwnedOp>> {
    let expiry = proptest::option::of(1u64..);
    vec((1u8..6, any::<u32>(), vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..200), expiry), 1..6)
}

fn encode(batches: &[Vec<OwnedOp>]) -> Vec<u8> {
    let mut out = Vec::new();
    for batch in batches {
        let start = begin(&mut out);
        batch.iter().for_each(|owned| push(&mut out, &op(owned)));
        finish(&mut out, start, batch.len() as u32);
    }
    out
}

fn read_all(payload: &[u8], count: u32) -> Result<Vec<Vec<Op<'_>>>> {
    read_batches(payload, count).map(|batch| batch?.collect()).collect()
}

fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin(&mut out);
    push(&mut out, &Op { kind: Kind::Put, database: DatabaseId(16), key, value, expiry: None });
    finish(&mut out, start, 1);
    out
}

fn error_at(bytes: &[u8]) -> u64 {
    read_all(bytes, 1).unwrap_err().offset
}

proptest! {
    #[test]
    fn a_batch_can_be_made_in_parts(ops in ops()) {
        let mut parts = Vec::new();
        begin(&mut parts);
        for owned in &ops {
            let before = parts.len();
            push_key(&mut parts, &op(owned));
            parts.extend_from_slice(op(owned).value);
            prop_assert_eq!(op_len(&op(owned)), parts.len() - before);
        }
        let len = parts.len() - HEADER_LEN;
        finish_before(&mut parts[..HEADER_LEN], ops.len() as u32, len);
        prop_assert_eq!(parts, encode(&[ops]));
    }
}

#[test]
fn a_batch_without_ops_is_read() {
    let empty = encode(&[vec![], vec![]]);
    assert_eq!(read_all(&empty, 2), Ok(vec![vec![], vec![]]));
}

#[test]
fn hostile_heads() {
    let good = put(b"key", b"value");
    assert_eq!(read_all(&good, 1).unwrap()[0][0].key, b"key");
    assert!(read_all(&good, 0).is_err(), "bytes behind the last batch");
    assert!(read_all(&good, 2).is_err(), "a batch too few");
    for (at, value) in [(LEN, u32::MAX), (LEN, good.len() as u32 - 7)] {
        let mut bad = good.clone();
        set(&mut bad, at, &value.to_le_bytes());
        assert_eq!(error_at(&bad), at as u64);
    }
    let mut none = good.clone();
    none[COUNT] = 0;
    assert_eq!(error_at(&none), 8, "bytes where there are no ops");
    let mut many = good.clone();
    many[COUNT] = 2;
    assert_eq!(error_at(&many), good.len() as u64);
    let two = [&good[8..], &good[8..]].concat();
    let mut few = good[..8].to_vec();
    few.extend(&two);
    few[LEN] = two.len() as u8;
    assert_eq!(error_at(&few), good.len() as u64, "more ops than counted");
    assert!(Ops::of(&good).is_ok());
    assert!(Ops::of(&[&good[..], &[0]].concat()).is_err());
}

#[test]
fn hostile_ops() {
    let good = put(b"key", b"value");
    // kind, flags, database, key length, value length
    for (at, byte, error) in
        [(8, 0, 8), (8, 6, 8), (8, 2, 12), (9, 2, 9), (11, 90, 13), (12, 6, 13)]
    {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(error_at(&bad), error, "byte {at}");
    }
    let mut zero_expiry = put(b"key", &[0; 8]);
    zero_expiry[9] = EXPIRY;
    assert!(read_all(&zero_expiry, 1).is_err());
    for (key_len, value_len) in [(MAX_KEY_LEN + 1, 0), (0, MAX_VALUE_LEN + 1), (usize::MAX, 1)] {
        let mut bad = vec![0; HEADER_LEN];
        bad.extend([1, 0, 16]);
        varint::put(&mut bad, key_len as u64);
        varint::put(&mut bad, value_len as u64);
        bad.resize(bad.len() + 100, 0);
        finish(&mut bad, 0, 1);
        assert!(read_all(&bad, 1).is_err());
    }
}

#[test]
fn hostile_range_deletes() {
    let bytes = |database: u8, flags: u8, key: &[u8], end: &[u8]| {
        let mut out = vec![0; HEADER_LEN];
        out.extend([4, flags, database]);
        varint::put(&mut out, key.len() as u64);
        varint::put(&mut out, end.len() as u64);
        out.extend([9; 8].iter().take(usize::from(flags) * 8));
        out.extend([key, end].concat());
        finish(&mut out, 0, 1);
        out
    };
    for (key, end) in [(&b""[..], &b""[..]), (b"", b"a"), (b"a", b""), (b"a", b"b"), (b"a", b"a\0")]
    {
        let good = bytes(16, 0, key, end);
        let op = read_all(&good, 1).unwrap()[0][0];
        assert_eq!((op.kind, op.key, op.value), (Kind::RangeDelete, key, end));
    }
    let long = vec![b'z'; MAX_KEY_LEN + 1];
    for (bad, offset) in [
        (bytes(0, 0, b"a", b"b"), 10),
        (bytes(16, 1, b"a", b"b"), 9),
        (bytes(16, 0, b"b", b"b"), 14),
        (bytes(16, 0, b"b", b"a"), 14),
        (bytes(16, 0, b"a", &long), 12),
    ] {
        assert_eq!(error_at(&bad), offset);
    }
    assert!(read_all(&bytes(16, 0, b"a", &long[1..]), 1).is_ok());
}

#[test]
fn errors_of_a_later_batch_count_from_the_payload() {
    let mut payload = [put(b"a", b""), put(b"b", b"")].concat();
    let second = payload.len() / 2;
    payload[second + HEADER_LEN] = 9;
    assert_eq!(read_all(&payload, 2).unwrap_err().offset as usize, second + HEADER_LEN);
}

proptest! {
    #[test]
    fn round_trip(batches in vec(ops(), 1..5)) {
        let payload = encode(&batches);
        let expected: Vec<Vec<Op<'_>>> =
            batches.iter().map(|batch| batch.iter().map(op).collect()).collect();
        prop_assert_eq!(read_all(&payload, batches.len() as u32), Ok(expected));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, count in 0u32..4) {
        let _ = read_all(&bytes, count);
        let _ = Ops::of(&bytes).map(Iterator::count);
    }

    #[test]
    fn changed_bytes_are_read_or_refused(batches in vec(ops(), 1..3), at: usize, byte: u8) {
        let mut payload = encode(&batches);
        let at = at % payload.len();
        payload[at] = byte;
        let _ = read_all(&payload, batches.len() as u32);
    }
}
