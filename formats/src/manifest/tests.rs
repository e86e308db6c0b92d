use super::*;
use crate::ids::{DatabaseId, FileId};
use crate::limits::MAX_KEY_LEN;
use crate::tagged;
use proptest::collection::vec;
use proptest::prelude::*;

fn bound() -> impl Strategy<Value = (DatabaseId, Vec<u8>)> {
    (any::<u32>(), vec(any::<u8>(), 0..20)).prop_map(|(id, key)| (DatabaseId(id), key))
}

fn table() -> impl Strategy<Value = TableMeta> {
    let numbers = (any::<[u64; 4]>(), 1u64.., any::<(u64, u64)>());
    (any::<u8>(), numbers, any::<[u8; 16]>(), bound(), bound()).prop_map(
        |(level, (n, number, seqnos), id, a, b)| TableMeta {
            level,
            run: n[0],
            number,
            id: FileId(id),
            size: n[1],
            footer_checksum: n[2],
            smallest: a.clone().min(b.clone()),
            largest: a.max(b),
            min_seqno: seqnos.0.min(seqnos.1),
            max_seqno: seqnos.0.max(seqnos.1),
            entries: n[3],
            tombstones: n[3] / 2,
        },
    )
}

fn edit() -> impl Strategy<Value = VersionEdit> {
    let segment_end = any::<(u64, u64, u64)>().prop_map(|(number, end, last_seqno)| SegmentEnd {
        number,
        end,
        last_seqno,
    });
    let lists = (vec(table(), 0..4), vec(any::<u64>(), 0..4), vec(segment_end, 0..4));
    let range_deletes = (vec(range_delete(), 0..4), vec(range_delete(), 0..4));
    let loads = (vec(table().prop_map(loading), 0..4), vec(any::<u64>(), 0..4));
    let lists = (lists, range_deletes, loads);
    (any::<bool>(), any::<[Option<u64>; 6]>(), any::<Option<u32>>(), lists).prop_map(
        |(snapshot, n, next_database_id, (lists, ranges, loads))| VersionEdit {
            snapshot,
            next_file_number: n[0],
            log_number: n[1],
            flushed_seqno: n[2],
            next_database_id,
            clock_ms: n[3],
            last_seqno: n[4],
            added: lists.0,
            removed: lists.1,
            segment_ends: lists.2,
            added_range_deletes: ranges.0,
            removed_range_deletes: ranges.1,
            loading: loads.0,
            loaded: loads.1,
            loaded_seqno: n[5],
        },
    )
}

/// The table, as one of an unfinished load.
fn loading(mut table: TableMeta) -> TableMeta {
    let database = table.smallest.0;
    if table.largest.0 != database {
        table.largest = (database, [&table.smallest.1[..], b"z"].concat());
        table.largest.1.truncate(crate::limits::MAX_KEY_LEN);
        table.smallest.1.clear();
    }
    TableMeta { level: 0, run: 0, min_seqno: 0, max_seqno: 0, ..table }
}

fn range_delete() -> impl Strategy<Value = RangeDelete> {
    let key = || vec(any::<u8>(), 0..6);
    (any::<u64>(), 1u32.., key(), key()).prop_map(|(seqno, database, a, b)| {
        let (start, end) = (a.clone().min(b.clone()), a.max(b));
        let end = (end > start).then_some(end);
        RangeDelete { seqno, database: DatabaseId(database), start, end }
    })
}

fn bytes(edit: &VersionEdit) -> Vec<u8> {
    let mut out = Vec::new();
    edit.encode(&mut out);
    out
}

fn sample() -> TableMeta {
    TableMeta {
        level: 1,
        run: 2,
        number: 3,
        id: FileId([4; 16]),
        size: 5,
        footer_checksum: 6,
        smallest: (DatabaseId(16), b"a".to_vec()),
        largest: (DatabaseId(16), b"b".to_vec()),
        min_seqno: 7,
        max_seqno: 8,
        entries: 9,
        tombstones: 1,
    }
}

#[test]
fn hostile_edits() {
    for tag in [0, 16, u64::MAX] {
        let mut out = Vec::new();
        tagged::put(&mut out, tag, &[]);
        assert!(VersionEdit::decode(&out).is_err(), "tag {tag}");
    }
    for tag in [1, 2, 3, 4, 5, 6, 10, 15] {
        let mut out = Vec::new();
        for _ in 0..2 {
            if tag == 1 { tagged::put(&mut out, 1, &[]) } else { tagged::put_u64(&mut out, tag, 1) }
        }
        assert!(VersionEdit::decode(&out[..out.len() / 2]).is_ok());
        assert!(VersionEdit::decode(&out).is_err(), "tag {tag} twice");
    }
    let mut wide = Vec::new();
    tagged::put_u64(&mut wide, 5, 1 << 32);
    assert!(VersionEdit::decode(&wide).is_err(), "a database id of 33 bits");
    let mut long = vec![7];
    crate::varint::put(&mut long, u64::MAX);
    long.extend([0; 200]);
    assert!(VersionEdit::decode(&long).is_err());
    let mut short = Vec::new();
    tagged::put(&mut short, 9, &[0; 25]);
    assert!(VersionEdit::decode(&short).is_err());
}

#[test]
fn hostile_tables() {
    let good = sample();
    assert_eq!(TableMeta::decode(&good.encode()), Ok(good.clone()));
    let encoded = good.encode();
    for cut in 0..encoded.len() {
        assert!(TableMeta::decode(&encoded[..cut]).is_err(), "cut at {cut}");
    }
    assert!(TableMeta::decode(&[&encoded[..], &[0]].concat()).is_err());
    let swapped = (good.largest.clone(), good.smallest.clone());
    for bad in [
        TableMeta { number: 0, ..good.clone() },
        TableMeta { min_seqno: 9, ..good.clone() },
        TableMeta { tombstones: 10, ..good.clone() },
        TableMeta { smallest: swapped.0, largest: swapped.1, ..good },
    ] {
        assert!(TableMeta::decode(&bad.encode()).is_err(), "{bad:?}");
    }
}

#[test]
fn hostile_tables_of_loads() {
    let good = loading(sample());
    let decode = |meta: &TableMeta| {
        let edit = VersionEdit { loading: vec![meta.clone()], ..VersionEdit::default() };
        VersionEdit::decode(&bytes(&edit))
    };
    assert_eq!(decode(&good).unwrap().loading, std::slice::from_ref(&good));
    for bad in [
        TableMeta { level: 1, ..good.clone() },
        TableMeta { run: 1, ..good.clone() },
        TableMeta { max_seqno: 1, ..good.clone() },
        TableMeta { min_seqno: 1, max_seqno: 1, ..good.clone() },
        TableMeta { largest: (DatabaseId(17), b"b".to_vec()), ..good },
    ] {
        assert!(decode(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn hostile_range_deletes() {
    let good = RangeDelete {
        seqno: 7,
        database: DatabaseId(16),
        start: b"b".to_vec(),
        end: Some(b"c".to_vec()),
    };
    let encoded = good.encode();
    assert_eq!(RangeDelete::decode(&encoded), Ok(good.clone()));
    for cut in 0..encoded.len() - 1 {
        assert!(RangeDelete::decode(&encoded[..cut]).is_err(), "cut at {cut}");
    }
    let to_the_end = RangeDelete { end: None, ..good.clone() };
    assert_eq!(RangeDelete::decode(&encoded[..encoded.len() - 1]), Ok(to_the_end));
    for bad in [
        RangeDelete { database: DatabaseId(0), ..good.clone() },
        RangeDelete { end: Some(b"b".to_vec()), ..good.clone() },
        RangeDelete { end: Some(b"a".to_vec()), ..good.clone() },
        RangeDelete { end: Some(vec![b'c'; MAX_KEY_LEN + 1]), ..good.clone() },
    ] {
        assert!(RangeDelete::decode(&bad.encode()).is_err());
    }
    let of = |key: &[u8]| good.covers(DatabaseId(16), key);
    assert_eq!([of(b"a"), of(b"b"), of(b"bz"), of(b"c")], [false, true, true, false]);
    assert!(!good.covers(DatabaseId(17), b"b"));
}

proptest! {
    #[test]
    fn round_trip(edit in edit()) {
        prop_assert_eq!(VersionEdit::decode(&bytes(&edit)), Ok(edit));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _ = VersionEdit::decode(&bytes);
        let _ = TableMeta::decode(&bytes);
        let _ = SegmentEnd::decode(&bytes);
        let _ = RangeDelete::decode(&bytes);
    }

    #[test]
    fn changed_bytes_are_decoded_or_refused(edit in edit(), at: usize, byte: u8, cut: usize) {
        let mut out = bytes(&edit);
        prop_assume!(!out.is_empty());
        let len = out.len();
        out[at % len] = byte;
        let _ = VersionEdit::decode(&out);
        out.truncate(cut % len);
        let _ = VersionEdit::decode(&out);
    }
}
