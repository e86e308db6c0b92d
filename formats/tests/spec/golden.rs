//! The golden files of format version 1 stay for ever: what was written is written again, byte
//! for byte, and read to the same values. `ORLOP_BLESS=1` writes the files anew: only while a
//! version is not released yet. (A new release of the compressor may give other bytes for the
//! same values; then the comparison of bytes is what to loosen, never the reading.)

use crate::samples::{self, Entry, PLACE};
use orlop_formats::batch::{Ops, read_batches};
use orlop_formats::block::{Block, Compression};
use orlop_formats::catalog::{CatalogKey, CatalogRecord};
use orlop_formats::checksum;
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filter;
use orlop_formats::frame::{Frame, FrameKind, Walk};
use orlop_formats::ids::DatabaseId;
use orlop_formats::log::{self, decode_prologue};
use orlop_formats::manifest::{self, VersionEdit};
use orlop_formats::sstable::{FOOTER_LEN, Footer, Handle, Properties, decode_partitions};
use orlop_formats::{stage, superblock};
use std::path::Path;

/// The golden file, which must be what the builder makes today.
fn golden(kind: &str, built: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/v1/{kind}.bin"));
    if std::env::var_os("ORLOP_BLESS").is_some() {
        std::fs::write(&path, built).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    let differs = golden.iter().zip(built).position(|(a, b)| a != b);
    assert!(golden == built, "{kind}: differs from the golden file at {differs:?}");
    golden
}

#[test]
fn superblock() {
    let bytes = golden("superblock", &samples::superblock_file());
    let decoded = superblock::decode_file(&bytes).unwrap();
    assert_eq!(decoded.header, samples::header(FileKind::Superblock));
    assert_eq!((decoded.newest, decoded.bad_slot), (samples::superblock(2), None));
}

#[test]
fn log() {
    let bytes = golden("log", &samples::log_file());
    let (file, segment) = decode_prologue(&bytes, PLACE.file, Some(PLACE.store)).unwrap();
    assert_eq!((file, segment), (samples::header(FileKind::Log), samples::SEGMENT));
    let mut walk =
        Walk::new(&bytes, log::PROLOGUE_LEN, u64::MAX, file.id).expecting(segment.first_seqno);
    let frames: Vec<Frame<'_>> = walk.by_ref().collect();
    assert!(walk.stop().is_none());
    let heads: Vec<_> = frames.iter().map(|f| (f.kind, f.first, f.count, f.synced)).collect();
    let group = FrameKind::Group;
    assert_eq!(heads, [(group, 100, 1, 99), (group, 101, 2, 99), (group, 103, 1, 102)]);
    let read: Vec<Vec<_>> = frames
        .iter()
        .flat_map(|frame| read_batches(frame.payload, frame.count))
        .map(|ops| ops.unwrap().map(Result::unwrap).collect())
        .collect();
    let mut expected = samples::batches();
    expected.push(expected[2].clone());
    assert_eq!(read, expected);
}

#[test]
fn stage() {
    let bytes = golden("stage", &samples::stage_file());
    let ring = stage::ring(&bytes, PLACE.file, Some(PLACE.store)).unwrap();
    stage::check(&bytes).unwrap();
    // The segment of which it holds the last frame.
    let whole = samples::log_file();
    let mut cut = whole.clone();
    cut[4096..].fill(0);
    let (id, first) = log::identity(&cut).unwrap();
    let (own, end) = stage::complete(&mut cut, log::PROLOGUE_LEN, (&id, first), ring);
    assert!(own < 4096 && end > 4096);
    assert_eq!(cut, whole);
}

#[test]
fn manifest() {
    let bytes = golden("manifest", &samples::manifest_file());
    let kind = FileKind::Manifest;
    let header = FileHeader::decode_expecting(&bytes, kind, Some(PLACE.store), PLACE.file).unwrap();
    let mut walk = Walk::new(&bytes, manifest::PROLOGUE_LEN, u64::MAX, header.id).expecting(1);
    let frames: Vec<Frame<'_>> = walk.by_ref().collect();
    assert!(walk.stop().is_none());
    assert!(frames.iter().all(|frame| frame.kind == FrameKind::Edit && frame.count == 1));
    assert!(frames.iter().all(|frame| frame.offset % 4096 == 0));
    let edits: Vec<_> = frames.iter().map(|f| VersionEdit::decode(f.payload).unwrap()).collect();
    assert_eq!(edits, samples::edits());
}

fn read_block(database: DatabaseId, body: &[u8]) -> Vec<Entry> {
    let block = Block::parse(body).unwrap();
    block.check().unwrap();
    let mut values = Vec::new();
    block.decompress_values(&mut values).unwrap();
    (0..block.len())
        .map(|i| {
            let mut key = Vec::new();
            block.key_into(i, &mut key).unwrap();
            let (seqno, kind) = (block.seqno(i), block.kind(i).unwrap());
            let (expiry, value) = (block.expiry(i), values[block.value_range(i).unwrap()].to_vec());
            Entry { database, key, seqno, kind, expiry, value }
        })
        .collect()
}

#[test]
fn block() {
    let entries = samples::block_entries();
    let bytes = golden("block", &samples::block_bytes(&entries, Compression::None));
    assert_eq!(read_block(samples::USERS, &bytes), entries);
}

#[test]
fn batch() {
    let batch = samples::batches().concat();
    let bytes = golden("batch", &samples::batch_bytes(&batch));
    let read: Vec<_> = Ops::of(&bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, batch);
}

#[test]
fn catalog() {
    let bytes = golden("catalog", &samples::catalog_block());
    let read: Vec<_> = read_block(DatabaseId(0), &bytes)
        .iter()
        .map(|e| (CatalogKey::decode(&e.key).unwrap(), CatalogRecord::decode(&e.value).unwrap()))
        .collect();
    assert_eq!(read, samples::catalog());
}

/// The body of a sealed region.
fn open(bytes: &[u8], offset: u64, len: u64) -> &[u8] {
    let sealed = &bytes[offset as usize..(offset + len) as usize];
    checksum::open(sealed, &PLACE, offset, "region").unwrap()
}

#[test]
fn sstable() {
    let bytes = golden("sstable", &samples::sstable_file());
    let kind = FileKind::Sstable;
    let header = FileHeader::decode_expecting(&bytes, kind, Some(PLACE.store), PLACE.file).unwrap();
    let at = bytes.len() - FOOTER_LEN;
    let footer = Footer::decode(&bytes[at..], &PLACE, at as u64).unwrap();
    assert_eq!(footer.id, header.id);
    let properties = open(&bytes, footer.properties.0, footer.properties.1);
    assert_eq!(Properties::decode(properties), Ok(samples::properties()));

    let expected: Vec<Entry> = samples::table_blocks().into_iter().flat_map(|(_, e)| e).collect();
    let lines = open(&bytes, footer.filter.0, footer.filter.1);
    for entry in &expected {
        assert!(filter::may_contain(lines, filter::hash(entry.database, &entry.key)));
    }
    let mut read = Vec::new();
    let mut compressed = 0;
    let partitions = open(&bytes, footer.partitions.0, footer.partitions.1);
    for partition in decode_partitions(partitions).unwrap() {
        let index_body = open(&bytes, partition.index.offset, u64::from(partition.index.len));
        let index = Block::parse(index_body).unwrap();
        index.check().unwrap();
        assert_eq!(index.len(), partition.blocks as usize);
        for i in 0..index.len() {
            let handle = &index.plain_values().unwrap()[index.value_range(i).unwrap()];
            let handle = Handle::decode(handle).unwrap();
            assert!(handle.offset + u64::from(handle.len) <= footer.data_end);
            let body = open(&bytes, handle.offset, u64::from(handle.len));
            let entries = read_block(partition.database, body);
            assert!(entries.iter().all(|e| index.compare(i, &e.key).is_ge()), "the fence is above");
            compressed += usize::from(Block::parse(body).unwrap().is_compressed());
            read.extend(entries);
        }
    }
    assert_eq!(read, expected);
    assert_eq!(compressed, 1);
}
