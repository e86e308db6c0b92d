//! The examples of SPEC.md by name, as the code encodes them.

use crate::samples::{
    FILE, PLACE, SEGMENT, USERS, batch_bytes, batches, block_bytes, block_entries, catalog,
    edit_bytes, edits, header, log_file, properties, range_deletes, superblock, table,
};
use orlop_formats::block::Compression;
use orlop_formats::checksum;
use orlop_formats::file_header::FileKind;
use orlop_formats::filter::{self, FilterBuilder};
use orlop_formats::manifest::VersionEdit;
use orlop_formats::sstable::{Footer, Handle, Partition, encode_partitions};
use orlop_formats::varint;

/// Name and bytes, in the order of the document.
pub(crate) fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut number = Vec::new();
    varint::put(&mut number, 300);
    let sealed = |bytes: &[u8]| {
        let mut out = bytes.to_vec();
        checksum::seal(&mut out, 0, &PLACE, 4096);
        out
    };
    let next_number = VersionEdit { next_file_number: Some(300), ..VersionEdit::default() };
    let mut lines = FilterBuilder::new(10);
    lines.add(filter::hash(USERS, b"k"));
    let index = Handle { offset: 4096, len: 100 };
    let partition =
        Partition { database: USERS, entries: 5, tombstones: 1, data_bytes: 400, blocks: 2, index };
    let footer = Footer {
        file_len: 8192,
        filter: (4200, 72),
        partitions: (4272, 56),
        properties: (4328, 80),
        data_end: 4090,
        id: FILE,
    };
    let added_range_deletes = range_deletes()[..1].to_vec();
    let range_delete = VersionEdit { added_range_deletes, ..VersionEdit::default() };
    let (key, record) = &catalog()[0];
    vec![
        ("varint", number),
        ("tagged", edit_bytes(&next_number)),
        ("checksum", sealed(b"123456789")),
        ("file header", header(FileKind::Log).encode().to_vec()),
        ("superblock slot", superblock(1).encode_slot()),
        ("frame", log_file()[128..128 + 40 + batch_bytes(&batches()[0]).len()].to_vec()),
        ("segment header", SEGMENT.encode(&FILE).to_vec()),
        ("batch", batch_bytes(&batches()[0])),
        ("block", block_bytes(&block_entries(), Compression::None)),
        ("filter", lines.finish()),
        ("handle", index.encode().to_vec()),
        ("partitions", encode_partitions(&[partition])),
        ("properties", properties().encode()),
        ("sstable footer", footer.encode(&PLACE).to_vec()),
        ("version edit", edit_bytes(&edits()[6])),
        ("table", edit_bytes(&VersionEdit { added: vec![table(10)], ..VersionEdit::default() })),
        ("range delete", edit_bytes(&range_delete)),
        ("catalog key", key.encode()),
        ("catalog record", record.encode()),
        ("stage", header(FileKind::Stage).encode().to_vec()),
    ]
}
