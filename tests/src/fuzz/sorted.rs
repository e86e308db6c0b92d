//! Targets of what is sorted: blocks, filters, and what stands around them in a table.

use orlop_formats::block::{Block, BlockBuilder, Compression};
use orlop_formats::checksum::{self, Place};
use orlop_formats::filter::{self as filters, FilterBuilder};
use orlop_formats::ids::{DatabaseId, Kind, Seqno, StoreId};
use orlop_formats::limits::MAX_KEY_LEN;
use orlop_formats::sstable::{
    FOOTER_LEN, Footer, PARTITION_LEN, Properties, decode_partitions, encode_partitions,
};

use super::padded;

const PLACE: Place = Place { store: StoreId([0xa0; 16]), file: 12 };

/// An entry of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    seqno: Seqno,
    kind: Kind,
    expiry: Option<u64>,
    value: Vec<u8>,
}

/// All entries, if every one can be read.
fn entries(block: &Block<'_>) -> Option<Vec<Entry>> {
    let mut values = Vec::new();
    block.decompress_values(&mut values).ok()?;
    let entry = |at: usize| {
        let mut key = Vec::new();
        block.key_into(at, &mut key).ok()?;
        let value = values.get(block.value_range(at).ok()?)?.to_vec();
        let (seqno, kind) = (block.seqno(at), block.kind(at).ok()?);
        Some(Entry { key, seqno, kind, expiry: block.expiry(at), value })
    };
    (0..block.len()).map(entry).collect()
}

/// Reads of a block give an answer or an error whatever its regions hold.
fn poke(block: &Block<'_>, keys: &[&[u8]]) {
    let mut key = Vec::new();
    for at in (0..block.len().min(2_000) + 2).chain([usize::MAX]) {
        let _ = (block.seqno(at), block.kind(at), block.expiry(at), block.value_range(at));
        let _ = block.key_into(at, &mut key);
        let _ = block.compare(at, b"key");
    }
    for key in keys {
        let (first, behind) = (block.lower_bound(key), block.upper_bound(key));
        assert!(first <= block.len() && behind <= block.len());
    }
    let _ = (block.is_compressed(), block.plain_values());
}

/// A block as it stands in a table, without its checksum.
pub fn block(input: &[u8]) -> bool {
    let Ok(block) = Block::parse(input) else { return false };
    let middle = &input[input.len() / 2..];
    poke(&block, &[b"", b"k", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", &input[32..], middle]);
    // A block may claim a large value region that decompresses: the limits keep it in bounds.
    let found = entries(&block);
    if block.check().is_err() {
        return false;
    }
    let found = found.expect("a block that was checked can be read");
    if found.iter().any(|entry| entry.key.len() > MAX_KEY_LEN) {
        return false; // nobody writes such a key
    }
    search(&block, &found);
    let written = write(&found, Compression::None);
    let again = Block::parse(&written).expect("what is written is read");
    assert_eq!(again.check(), Ok(()));
    assert_eq!(entries(&again), Some(found));
    true
}

/// Searching agrees with looking at one entry after the other.
fn search(block: &Block<'_>, entries: &[Entry]) {
    let mut keys: Vec<Vec<u8>> = vec![Vec::new(), vec![0xff; 12]];
    for entry in entries.iter().take(64) {
        let shorter = entry.key.split_last().map(|(_, head)| head.to_vec()).unwrap_or_default();
        keys.extend([entry.key.clone(), [&entry.key[..], b"\0"].concat(), shorter]);
    }
    for key in keys {
        assert_eq!(block.lower_bound(&key), entries.partition_point(|entry| entry.key < key));
        assert_eq!(block.upper_bound(&key), entries.partition_point(|entry| entry.key <= key));
    }
    for (at, entry) in entries.iter().enumerate().take(64) {
        assert!(block.compare(at, &entry.key).is_eq());
    }
}

fn write(entries: &[Entry], compression: Compression) -> Vec<u8> {
    let mut builder = BlockBuilder::new(compression);
    for Entry { key, seqno, kind, expiry, value } in entries {
        builder.add(key, *seqno, *kind, *expiry, value);
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

/// A block that the builder makes of entries which the input describes.
pub fn built_block(input: &[u8]) -> bool {
    let Some((&how, mut rest)) = input.split_first() else { return false };
    let mut described: Vec<Entry> = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<4>()
        && described.len() < 200
    {
        let [key_len, share, value_len, more] = *head;
        let (own, left) = behind.split_at(usize::from(key_len).min(behind.len()));
        rest = left;
        let kept = described.last().map(|last| last.key.as_slice()).unwrap_or_default();
        let kept = kept[..usize::from(share).min(kept.len())].to_vec();
        let key = [&kept[..], own].concat();
        let kind = if more & 1 == 1 { Kind::Delete } else { Kind::Put };
        let long = usize::from(value_len) * if more & 2 == 2 { 300 } else { 1 };
        let value = if kind == Kind::Delete { Vec::new() } else { vec![value_len; long] };
        let expiry = (more & 4 == 4).then_some(u64::from(more));
        described.push(Entry { key, seqno: u64::from(more >> 3), kind, expiry, value });
    }
    described.sort_by(|a, b| a.key.cmp(&b.key).then(b.seqno.cmp(&a.seqno)));
    described.dedup_by(|a, b| a.key == b.key && a.seqno == b.seqno);
    if described.is_empty() {
        return false;
    }
    let compression = if how & 1 == 1 { Compression::Snappy } else { Compression::None };
    let written = write(&described, compression);
    let block = Block::parse(&written).expect("what is written is read");
    assert_eq!(block.check(), Ok(()));
    assert_eq!(entries(&block).as_ref(), Some(&described));
    search(&block, &described);
    true
}

/// Lines of a filter, then keys.
pub fn filter(input: &[u8]) -> bool {
    for (at, key) in input.chunks(7).enumerate() {
        let hash = filters::hash(DatabaseId(at as u32), key);
        let _ = filters::may_contain(input, hash);
        let _ = filters::may_contain(&input[..at.min(input.len())], hash);
    }
    let Some((&bits, keys)) = input.split_first() else { return false };
    let hashes: Vec<u64> =
        keys.chunks(5).map(|key| filters::hash(DatabaseId(u32::from(bits)), key)).collect();
    let mut builder = FilterBuilder::new(u32::from(bits) % 65);
    hashes.iter().for_each(|hash| builder.add(*hash));
    let lines = builder.finish();
    assert!(hashes.iter().all(|hash| filters::may_contain(&lines, *hash)), "a key was lost");
    true
}

/// A footer; its checksum and its place are made right.
pub fn footer(input: &[u8]) -> bool {
    let _ = Footer::decode(input, &PLACE, 0);
    let mut bytes: [u8; FOOTER_LEN] = padded(input);
    let len = u64::from_le_bytes(padded(&bytes[8..16]));
    let offset = len.saturating_sub(FOOTER_LEN as u64);
    let sum = checksum::block(&bytes[..FOOTER_LEN - 8], &PLACE, offset);
    bytes[FOOTER_LEN - 8..].copy_from_slice(&sum.to_le_bytes());
    let Ok(footer) = Footer::decode(&bytes, &PLACE, offset) else { return false };
    assert_eq!(footer.encode(&PLACE), bytes, "a footer has one spelling");
    assert_eq!(Footer::checksum_of(&bytes), sum);
    assert!(Footer::decode(&bytes, &Place { file: 13, ..PLACE }, offset).is_err());
    for (start, len) in [footer.filter, footer.partitions, footer.properties] {
        assert!(start >= footer.data_end && start + len <= offset, "inside the file");
    }
    true
}

/// The partitions of a table.
pub fn partitions(input: &[u8]) -> bool {
    let decoded = decode_partitions(input).or_else(|_| {
        // A count that fits is what random bytes do not have.
        let records = input.len().saturating_sub(4) / PARTITION_LEN;
        let mut bytes = input.get(..4 + records * PARTITION_LEN).unwrap_or_default().to_vec();
        if let Some(count) = bytes.first_chunk_mut::<4>() {
            *count = (records as u32).to_le_bytes();
        }
        decode_partitions(&bytes)
    });
    let Ok(decoded) = decoded else { return false };
    let written = encode_partitions(&decoded);
    assert_eq!(written[4..], input[4..written.len()], "partitions have one spelling");
    assert_eq!(decode_partitions(&written), Ok(decoded));
    true
}

/// The properties of a table.
pub fn properties(input: &[u8]) -> bool {
    let Ok(properties) = Properties::decode(input) else { return false };
    assert_eq!(Properties::decode(&properties.encode()), Ok(properties), "what is written is read");
    true
}
