use super::*;
use crate::block::Compression;
use crate::checksum::{Place, block};
use crate::ids::{DatabaseId, FileId, StoreId};
use crate::tagged;
use proptest::collection::vec;
use proptest::prelude::*;

const PLACE: Place = Place { store: StoreId([1; 16]), file: 9 };

fn footer() -> Footer {
    Footer {
        file_len: 4096,
        filter: (3000, 72),
        partitions: (3072, 56),
        properties: (3128, 100),
        data_end: 2800,
        id: FileId([2; 16]),
    }
}

fn decode(footer: &Footer) -> Result<Footer> {
    Footer::decode(&footer.encode(&PLACE), &PLACE, footer.file_len - FOOTER_LEN as u64)
}

#[test]
fn blocks_keep_to_pages() {
    let cases = [
        ((64, 100), 64),
        ((65, 100), 72),
        ((64, 4032), 64),
        ((64, 4033), 4096),
        ((4090, 8), 4096),
        ((4088, 8), 4088),
        ((4096, 4096), 4096),
        ((4096, 4097), 4096),
        ((64, 4097), 4096),
        ((4097, 1 << 40), 8192),
    ];
    for ((at, len), start) in cases {
        assert_eq!(place_block(at, len), start, "{at} {len}");
    }
}

#[test]
fn a_footer_belongs_to_its_place() {
    let footer = footer();
    assert_eq!(decode(&footer), Ok(footer));
    let bytes = footer.encode(&PLACE);
    let elsewhere = Place { file: 10, ..PLACE };
    assert!(Footer::decode(&bytes, &elsewhere, 3968).is_err());
    assert!(Footer::decode(&bytes, &PLACE, 3960).is_err());
    assert!(Footer::decode(&bytes[..127], &PLACE, 3968).is_err());
    assert_eq!(Footer::checksum_of(&bytes), block(&bytes[..120], &PLACE, 3968));
    for bit in 0..FOOTER_LEN * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = Footer::decode(&bad, &PLACE, 3968).unwrap_err();
        assert!(error.offset >= 3968, "{error}");
    }
}

#[test]
fn hostile_regions_with_a_right_checksum() {
    let good = footer();
    let bad = [
        Footer { filter: (u64::MAX, 72), ..good },
        Footer { filter: (2792, 72), ..good },
        Footer { filter: (3001, 71), ..good },
        Footer { filter: (3000, 7), ..good },
        Footer { partitions: (3064, 56), ..good },
        Footer { properties: (3128, 900), ..good },
        Footer { properties: (3128, u64::MAX), ..good },
        Footer { data_end: 10, ..good },
        Footer { data_end: 5000, ..good },
    ];
    for footer in bad {
        assert!(decode(&footer).is_err(), "{footer:?}");
    }
    let other_len = Footer { file_len: 4104, ..good };
    assert!(Footer::decode(&other_len.encode(&PLACE), &PLACE, 3968).is_err());
}

fn partition(database: u32) -> Partition {
    Partition {
        database: DatabaseId(database),
        entries: 10,
        tombstones: 2,
        data_bytes: 300,
        blocks: 2,
        index: Handle { offset: 500, len: 80 },
    }
}

#[test]
fn hostile_partitions() {
    let good = [partition(0), partition(16)];
    let bytes = encode_partitions(&good);
    assert_eq!(decode_partitions(&bytes), Ok(good.to_vec()));
    assert_eq!(decode_partitions(&encode_partitions(&[])), Ok(vec![]));
    for count in [0u32, 1, 3, u32::MAX] {
        let mut bad = bytes.clone();
        set(&mut bad, 0, &count.to_le_bytes());
        assert!(decode_partitions(&bad).is_err());
    }
    let swapped = [&bytes[..4], &bytes[48..], &bytes[4..48]].concat();
    assert!(decode_partitions(&swapped).is_err());
    let bad = [
        Partition { blocks: 0, ..good[0] },
        Partition { entries: 1, ..good[0] },
        Partition { tombstones: 11, ..good[0] },
        Partition { data_bytes: 15, ..good[0] },
        Partition { index: Handle { offset: 5, len: 7 }, ..good[0] },
        Partition { index: Handle { offset: u64::MAX, len: 8 }, ..good[0] },
    ];
    for partition in bad {
        assert!(decode_partitions(&encode_partitions(&[partition])).is_err(), "{partition:?}");
    }
}

#[test]
fn properties_skip_the_unknown_and_miss_nothing() {
    let good = Properties { entries: 3, max_seqno: 9, ..Properties::default() };
    let mut bytes = good.encode();
    tagged::put(&mut bytes, 99, b"of a later writer");
    assert_eq!(Properties::decode(&bytes), Ok(good.clone()));
    tagged::put_u64(&mut bytes, 1, 3);
    assert!(Properties::decode(&bytes).is_err(), "entries twice");
    let bytes = good.encode();
    for cut in 0..bytes.len() {
        assert!(Properties::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for bad in [
        Properties { tombstones: 4, ..good.clone() },
        Properties { min_seqno: 10, ..good.clone() },
        Properties { smallest: (DatabaseId(1), vec![]), ..good.clone() },
        Properties { expiries: Some(Expiries { entries: 4, eighths: [9; 8] }), ..good.clone() },
        Properties { expiries: Some(Expiries { entries: 0, eighths: [9; 8] }), ..good.clone() },
        Properties { expiries: Some(Expiries { entries: 1, eighths: [0; 8] }), ..good.clone() },
        Properties {
            expiries: Some(Expiries { entries: 1, eighths: [1, 2, 3, 4, 5, 4, 7, 8] }),
            ..good
        },
    ] {
        assert!(Properties::decode(&bad.encode()).is_err());
    }
}

fn bound() -> impl Strategy<Value = (DatabaseId, Vec<u8>)> {
    (any::<u32>(), vec(any::<u8>(), 0..20)).prop_map(|(id, key)| (DatabaseId(id), key))
}

proptest! {
    #[test]
    fn properties_round_trip(
        n: [u64; 5], seqnos: (u64, u64), bounds in (bound(), bound()), filter_bits: u32,
        snappy: bool, expiring: u64, mut eighths: [u64; 8], cleared_to: u64,
    ) {
        let compression = if snappy { Compression::Snappy } else { Compression::None };
        eighths.sort_unstable();
        let entries = expiring % n[0].max(n[1]).max(1);
        let expiries =
            (entries > 0 && eighths[0] > 0).then_some(Expiries { entries, eighths });
        let properties = Properties {
            entries: n[0].max(n[1]), tombstones: n[0].min(n[1]),
            min_seqno: seqnos.0.min(seqnos.1), max_seqno: seqnos.0.max(seqnos.1),
            raw_key_bytes: n[2], raw_value_bytes: n[3],
            smallest: bounds.clone().0.min(bounds.clone().1), largest: bounds.0.max(bounds.1),
            filter_bits, compression, blocks: n[4], expiries, cleared_to,
        };
        prop_assert_eq!(Properties::decode(&properties.encode()), Ok(properties));
    }

    #[test]
    fn handle_round_trip(offset in 0..u64::MAX / 2, len in 8u32..) {
        let handle = Handle { offset, len };
        prop_assert_eq!(Handle::decode(&handle.encode()), Ok(handle));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..200), count in 0u32..5) {
        let _ = Handle::decode(&bytes);
        let _ = Properties::decode(&bytes);
        let _ = Footer::decode(&bytes, &PLACE, 3968);
        let _ = decode_partitions(&bytes);
        let mut records = bytes;
        records.resize(count as usize * 44, 0);
        let _ = decode_partitions(&[&count.to_le_bytes()[..], &records].concat());
    }

    #[test]
    fn places_are_free_aligned_and_in_one_page(at in 0u64..100_000, len in 9u64..10_000) {
        let start = place_block(at, len);
        prop_assert!(start >= at && start.is_multiple_of(8) && start < at + 4096 + 8);
        if len <= PAGE {
            prop_assert_eq!(start / PAGE, (start + len - 1) / PAGE);
        } else {
            prop_assert_eq!(start % PAGE, 0);
        }
    }
}
