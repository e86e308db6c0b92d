//! Values with known bytes: the examples of SPEC.md and the contents of the golden files.

use orlop_formats::batch;
use orlop_formats::block::{BlockBuilder, Compression, separator};
use orlop_formats::catalog::{CatalogKey, CatalogRecord, DurabilityTag, ObjectKind};
use orlop_formats::checksum::{self, Place};
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filter::{self, FilterBuilder};
use orlop_formats::frame::{self, Fields, FrameKind};
use orlop_formats::ids::{DatabaseId, FileId, Kind, Seqno, StoreId};
use orlop_formats::log::SegmentHeader;
use orlop_formats::manifest::{RangeDelete, SegmentEnd, TableMeta, VersionEdit};
use orlop_formats::sstable::{
    ExpiriesBuilder, FOOTER_LEN, Footer, Handle, Partition, Properties, encode_partitions,
    place_block,
};
use orlop_formats::stage;
use orlop_formats::superblock::{Superblock, encode_file, slot_offset};

/// The bytes first, first + 1, ...: an id one recognises in a dump.
const fn id(first: u8) -> [u8; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = first + i as u8;
        i += 1;
    }
    out
}

pub(crate) const STORE: StoreId = StoreId(id(0xa0));
pub(crate) const FILE: FileId = FileId(id(0xb0));
pub(crate) const USERS: DatabaseId = DatabaseId(16);
pub(crate) const EVENTS: DatabaseId = DatabaseId(17);
pub(crate) const PLACE: Place = Place { store: STORE, file: 12 };

pub(crate) fn header(kind: FileKind) -> FileHeader {
    let number = if kind == FileKind::Superblock { 0 } else { PLACE.file };
    FileHeader { kind, store: STORE, number, id: FILE }
}

pub(crate) fn superblock(generation: u64) -> Superblock {
    Superblock {
        generation,
        store: STORE,
        origin: Some(StoreId(id(0xc0))),
        manifest_number: 11 + generation,
        manifest_id: FILE,
        sector_size: 4096,
        edits: 0,
    }
}

/// Generation 1 in slot A, 2 in slot B.
pub(crate) fn superblock_file() -> Vec<u8> {
    let mut out = encode_file(&header(FileKind::Superblock), &superblock(1));
    let at = slot_offset(2) as usize;
    out[at..at + 4096].copy_from_slice(&superblock(2).encode_slot());
    out
}

type Op = batch::Op<'static>;

pub(crate) fn put(database: DatabaseId, key: &'static [u8], value: &'static [u8]) -> Op {
    Op { kind: Kind::Put, database, key, value, expiry: None }
}

pub(crate) fn delete(database: DatabaseId, key: &'static [u8]) -> Op {
    Op { kind: Kind::Delete, database, key, value: b"", expiry: None }
}

pub(crate) fn batches() -> Vec<Vec<Op>> {
    let expiring = Op { expiry: Some(1_700_000_000_000), ..put(EVENTS, b"", b"empty key") };
    vec![
        vec![put(USERS, b"k", b"v"), delete(EVENTS, b"old")],
        vec![expiring],
        vec![
            Op { kind: Kind::PutBlob, ..put(USERS, b"blob", b"pointer") },
            Op { kind: Kind::RangeDelete, ..put(USERS, b"a", b"c") },
            Op { kind: Kind::Merge, ..put(USERS, b"n", b"+1") },
        ],
    ]
}

pub(crate) fn batch_bytes(ops: &[Op]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = batch::begin(&mut out);
    ops.iter().for_each(|op| batch::push(&mut out, op));
    batch::finish(&mut out, start, ops.len() as u32);
    out
}

/// Appends a frame and gives where it ends.
fn append(out: &mut Vec<u8>, fields: &Fields, payload: &[u8]) -> u64 {
    out.resize(fields.offset as usize, 0);
    let start = frame::begin(out);
    out.extend_from_slice(payload);
    frame::finish(out, start, &FILE, fields);
    out.len() as u64
}

pub(crate) const SEGMENT: SegmentHeader =
    SegmentHeader { predecessor: 9, predecessor_end: 4711, first_seqno: 100 };

/// Two groups, a sync after the second, a third group, and free space.
pub(crate) fn log_file() -> Vec<u8> {
    let mut out = header(FileKind::Log).encode().to_vec();
    out.extend_from_slice(&SEGMENT.encode(&FILE));
    let [a, b, c] = [0, 1, 2].map(|i| batch_bytes(&batches()[i]));
    let group = Fields {
        kind: FrameKind::Group,
        count: 1,
        first: 100,
        synced: 99,
        offset: 128,
        previous_end: 128,
    };
    let end = append(&mut out, &group, &a);
    let (offset, count) = (end.next_multiple_of(64), 2);
    let group = Fields { first: 101, count, offset, previous_end: end, ..group };
    let end = append(&mut out, &group, &[b, c.clone()].concat());
    let (first, synced, offset) = (103, 102, end.next_multiple_of(4096));
    let group = Fields { first, synced, count: 1, offset, previous_end: end, ..group };
    append(&mut out, &group, &c);
    out.resize(8192, 0);
    out
}

/// With the last frame of the segment on its ring of two sectors.
pub(crate) fn stage_file() -> Vec<u8> {
    let mut out = stage::encode_prologue(&header(FileKind::Stage));
    let log = log_file();
    out.resize(out.len() + 8192, 0);
    let at = stage::place(4096, 8192) as usize;
    out[at..at + 4096].copy_from_slice(&log[4096..]);
    out
}

pub(crate) fn table(number: u64) -> TableMeta {
    TableMeta {
        level: 0,
        run: number,
        number,
        id: FILE,
        size: 8192,
        footer_checksum: 0x0123_4567_89ab_cdef,
        smallest: (USERS, b"a".to_vec()),
        largest: (EVENTS, b"zz".to_vec()),
        min_seqno: 1,
        max_seqno: 99,
        entries: 50,
        tombstones: 3,
    }
}

pub(crate) fn edits() -> Vec<VersionEdit> {
    let snapshot = VersionEdit {
        snapshot: true,
        next_file_number: Some(14),
        log_number: Some(9),
        flushed_seqno: Some(99),
        next_database_id: Some(18),
        clock_ms: Some(1_700_000_000_000),
        last_seqno: Some(99),
        added: vec![table(10), table(11)],
        ..VersionEdit::default()
    };
    let compaction = VersionEdit {
        next_file_number: Some(15),
        added: vec![TableMeta { level: 1, ..table(14) }],
        removed: vec![10, 11],
        ..VersionEdit::default()
    };
    let flush = VersionEdit {
        next_file_number: Some(17),
        log_number: Some(16),
        flushed_seqno: Some(103),
        added_range_deletes: range_deletes(),
        ..VersionEdit::default()
    };
    let merge =
        VersionEdit { removed_range_deletes: range_deletes()[..1].to_vec(), ..flush.clone() };
    let merge = VersionEdit { added_range_deletes: Vec::new(), ..merge };
    let part_of_load = TableMeta { level: 0, run: 0, min_seqno: 0, max_seqno: 0, ..table(17) };
    let load = VersionEdit {
        next_file_number: Some(18),
        loading: vec![TableMeta { smallest: (EVENTS, b"a".to_vec()), ..part_of_load }],
        ..VersionEdit::default()
    };
    let loaded = TableMeta { level: 1, min_seqno: 104, max_seqno: 104, ..load.loading[0].clone() };
    let finish = VersionEdit {
        last_seqno: Some(104),
        added: vec![loaded],
        loaded: vec![17],
        loaded_seqno: Some(104),
        ..VersionEdit::default()
    };
    let end = SegmentEnd { number: 12, end: 4300, last_seqno: 103 };
    let close =
        VersionEdit { last_seqno: Some(103), segment_ends: vec![end], ..VersionEdit::default() };
    vec![snapshot, compaction, flush, merge, load, finish, close]
}

/// One with an end, and one without.
pub(crate) fn range_deletes() -> Vec<RangeDelete> {
    let bounded = RangeDelete {
        seqno: 102,
        database: USERS,
        start: b"user/1".to_vec(),
        end: Some(b"user/2".to_vec()),
    };
    let to_the_end =
        RangeDelete { seqno: 103, database: EVENTS, start: b"events/2026".to_vec(), end: None };
    vec![bounded, to_the_end]
}

pub(crate) fn edit_bytes(edit: &VersionEdit) -> Vec<u8> {
    let mut out = Vec::new();
    edit.encode(&mut out);
    out
}

pub(crate) fn manifest_file() -> Vec<u8> {
    let mut out = header(FileKind::Manifest).encode().to_vec();
    let mut end = out.len() as u64;
    for (i, edit) in edits().iter().enumerate() {
        let fields = Fields {
            kind: FrameKind::Edit,
            count: 1,
            first: i as u64 + 1,
            synced: i as u64,
            offset: end.next_multiple_of(4096),
            previous_end: end,
        };
        end = append(&mut out, &fields, &edit_bytes(edit));
    }
    out
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) database: DatabaseId,
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: Seqno,
    pub(crate) kind: Kind,
    pub(crate) expiry: Option<u64>,
    pub(crate) value: Vec<u8>,
}

fn entry(database: DatabaseId, key: &str, seqno: Seqno, value: &str) -> Entry {
    let (key, value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    Entry { database, key, seqno, kind: Kind::Put, expiry: None, value }
}

fn tombstone(database: DatabaseId, key: &str, seqno: Seqno) -> Entry {
    Entry { kind: Kind::Delete, ..entry(database, key, seqno, "") }
}

/// Three entries that use as much of the block format as fits on a page of SPEC.md.
pub(crate) fn block_entries() -> Vec<Entry> {
    vec![
        entry(USERS, "user/1", 7, "anna"),
        tombstone(USERS, "user/1/avatar-2", 9),
        entry(USERS, "user/2", 8, "bo"),
    ]
}

pub(crate) fn block_bytes(entries: &[Entry], compression: Compression) -> Vec<u8> {
    let mut builder = BlockBuilder::new(compression);
    for e in entries {
        builder.add(&e.key, e.seqno, e.kind, e.expiry, &e.value);
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

/// The table's data blocks: of users one plain and one that begins with an older version of the
/// key the first ends with; of events one compressed with expiries and one of tombstones.
pub(crate) fn table_blocks() -> Vec<(Compression, Vec<Entry>)> {
    let event = |i: u32| Entry {
        expiry: i.is_multiple_of(2).then_some(1_700_000_000_000 + u64::from(i)),
        ..entry(EVENTS, &format!("events/2026-11-21/{i:06}"), 30, &"observed ".repeat(5))
    };
    let dropped = |i: u32| tombstone(EVENTS, &format!("events/2026-11-22/{i:06}"), 31);
    let many = vec![
        entry(USERS, "user/1", 21, "newest"),
        entry(USERS, "user/1", 20, "older"),
        entry(USERS, "user/2", 19, "new"),
    ];
    let rest = vec![
        entry(USERS, "user/2", 3, "old"),
        entry(USERS, "user/30000000000", 2, &"long ".repeat(760)),
    ];
    vec![
        (Compression::None, many),
        (Compression::None, rest),
        (Compression::Snappy, (0..60).map(event).collect()),
        (Compression::None, (0..20).map(dropped).collect()),
    ]
}

/// A table of these blocks, written as SPEC.md says.
pub(crate) fn sstable_file() -> Vec<u8> {
    let blocks = table_blocks();
    let entries: Vec<&Entry> = blocks.iter().flat_map(|(_, entries)| entries).collect();
    let mut out = header(FileKind::Sstable).encode().to_vec();
    let mut handles = Vec::new();
    for (compression, entries) in &blocks {
        let body = block_bytes(entries, *compression);
        let offset = place_block(out.len() as u64, body.len() as u64 + 8);
        handles.push(seal_at(&mut out, offset, &body));
    }
    let data_end = out.len() as u64;
    let partitions = partitions(&mut out, &blocks, &handles);
    let mut lines = FilterBuilder::new(10);
    entries.iter().for_each(|e| lines.add(filter::hash(e.database, &e.key)));
    let filter = region(&mut out, &lines.finish());
    let partitions = region(&mut out, &encode_partitions(&partitions));
    let properties = region(&mut out, &properties().encode());
    out.resize(out.len().next_multiple_of(8), 0);
    let file_len = (out.len() + FOOTER_LEN) as u64;
    let footer = Footer { file_len, filter, partitions, properties, data_end, id: FILE };
    out.extend_from_slice(&footer.encode(&PLACE));
    out
}

fn seal_at(out: &mut Vec<u8>, offset: u64, body: &[u8]) -> Handle {
    out.resize(offset as usize, 0);
    out.extend_from_slice(body);
    checksum::seal(out, offset as usize, &PLACE, offset);
    Handle { offset, len: body.len() as u32 + 8 }
}

fn region(out: &mut Vec<u8>, body: &[u8]) -> (u64, u64) {
    let offset = (out.len() as u64).next_multiple_of(8);
    let handle = seal_at(out, offset, body);
    (handle.offset, u64::from(handle.len))
}

/// Writes the index blocks and describes the partitions.
fn partitions(
    out: &mut Vec<u8>,
    blocks: &[(Compression, Vec<Entry>)],
    handles: &[Handle],
) -> Vec<Partition> {
    let mut partitions = Vec::new();
    for database in [USERS, EVENTS] {
        let mut index = BlockBuilder::new(Compression::None);
        let mut partition = Partition { database, ..Partition::default() };
        let own: Vec<usize> =
            (0..blocks.len()).filter(|i| blocks[*i].1[0].database == database).collect();
        for &i in &own {
            let entries = &blocks[i].1;
            let last = &entries[entries.len() - 1];
            let next = own.contains(&(i + 1)).then(|| &blocks[i + 1].1[0].key);
            let (key, seqno) = match next {
                Some(next) if *next == last.key => (last.key.clone(), last.seqno),
                Some(next) => (separator(&last.key, next), 0),
                None => (last.key.clone(), 0),
            };
            index.add(&key, seqno, Kind::Put, None, &handles[i].encode());
            partition.entries += entries.len() as u64;
            let deletes = entries.iter().filter(|e| e.kind == Kind::Delete).count();
            partition.tombstones += deletes as u64;
            partition.data_bytes += u64::from(handles[i].len);
            partition.blocks += 1;
        }
        let mut body = Vec::new();
        index.finish(&mut body);
        let (offset, len) = region(out, &body);
        partition.index = Handle { offset, len: len as u32 };
        partitions.push(partition);
    }
    partitions
}

pub(crate) fn properties() -> Properties {
    let blocks = table_blocks();
    let entries: Vec<&Entry> = blocks.iter().flat_map(|(_, entries)| entries).collect();
    let (first, last) = (entries[0], entries[entries.len() - 1]);
    let mut expiries = ExpiriesBuilder::default();
    entries.iter().filter_map(|e| e.expiry).for_each(|at| expiries.add(at));
    Properties {
        entries: entries.len() as u64,
        tombstones: entries.iter().filter(|e| e.kind == Kind::Delete).count() as u64,
        min_seqno: 2,
        max_seqno: 31,
        raw_key_bytes: entries.iter().map(|e| e.key.len() as u64).sum(),
        raw_value_bytes: entries.iter().map(|e| e.value.len() as u64).sum(),
        smallest: (first.database, first.key.clone()),
        largest: (last.database, last.key.clone()),
        filter_bits: 10,
        compression: Compression::Snappy,
        blocks: blocks.len() as u64,
        expiries: expiries.finish(),
        cleared_to: 25,
    }
}

pub(crate) fn catalog() -> Vec<(CatalogKey, CatalogRecord)> {
    let object = |kind, name: &str, id, durability, time_to_live| {
        let record = CatalogRecord { id: DatabaseId(id), durability, time_to_live };
        (CatalogKey { kind, name: name.into() }, record)
    };
    vec![
        object(ObjectKind::Database, "events", 17, Some(DurabilityTag::Buffered), Some(86_400_000)),
        object(ObjectKind::Database, "users", 16, None, None),
        object(ObjectKind::Container, "runs/42", 18, Some(DurabilityTag::Memory), None),
        object(ObjectKind::Depot, "frames", 19, Some(DurabilityTag::Synced), None),
    ]
}

/// The catalog as the block of database 0 that holds it.
pub(crate) fn catalog_block() -> Vec<u8> {
    let entries: Vec<Entry> = catalog()
        .iter()
        .map(|(key, record)| Entry {
            database: DatabaseId(0),
            key: key.encode(),
            seqno: 1,
            kind: Kind::Put,
            expiry: None,
            value: record.encode(),
        })
        .collect();
    block_bytes(&entries, Compression::None)
}
