//! Targets of values that stand alone.

use orlop_formats::catalog::{CatalogKey, CatalogRecord};
use orlop_formats::checksum::crc;
use orlop_formats::file_header::{FileHeader, FileKind, HEADER_LEN};
use orlop_formats::filename::FileName;
use orlop_formats::sstable::{HANDLE_LEN, Handle};
use orlop_formats::superblock::{self as format, FILE_LEN, SLOT_LEN};
use orlop_formats::varint as numbers;

use super::padded;

/// Varints, one behind the other.
pub fn varint(input: &[u8]) -> bool {
    let mut at = 0;
    while at < input.len() {
        let start = at;
        let Some(value) = numbers::get(input, &mut at) else { break };
        let mut out = Vec::new();
        numbers::put(&mut out, value);
        assert_eq!(out, input[start..at], "a varint has one spelling");
        assert_eq!(numbers::len(value), out.len());
    }
    at > 0
}

/// The name of a file.
pub fn filename(input: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(input) else { return false };
    let temporary = FileName::is_temporary(name);
    let Some(file) = FileName::parse(name) else { return temporary };
    assert_eq!(file.to_string(), name, "a name has one spelling");
    assert!(!temporary && FileName::is_temporary(&file.temporary()));
    true
}

/// The header of a file.
pub fn file_header(input: &[u8]) -> bool {
    let _ = FileHeader::decode(input);
    let mut bytes: [u8; HEADER_LEN] = padded(input);
    let sum = crc(&[&bytes[..60]]);
    bytes[60..].copy_from_slice(&sum.to_le_bytes());
    let Ok(header) = FileHeader::decode(&bytes) else { return false };
    assert_eq!(header.encode(), bytes, "a header has one spelling");
    let FileHeader { kind, store, number, .. } = header;
    assert_eq!(FileHeader::decode_expecting(&bytes, kind, Some(store), number), Ok(header));
    let other = if kind == FileKind::Log { FileKind::Manifest } else { FileKind::Log };
    assert!(FileHeader::decode_expecting(&bytes, other, None, number).is_err());
    true
}

/// Fields of a slot before its zeros.
const SLOT_FIELDS: usize = 76;

/// A superblock: the input is header, slot A and slot B without their zeros.
pub fn superblock(input: &[u8]) -> bool {
    let _ = format::decode_file(input);
    let mut bytes = vec![0; FILE_LEN];
    let parts = [(0, HEADER_LEN), (SLOT_LEN, SLOT_FIELDS), (2 * SLOT_LEN, SLOT_FIELDS)];
    let mut rest = input;
    for (at, len) in parts {
        let (part, behind) = rest.split_at(len.min(rest.len()));
        bytes[at..at + part.len()].copy_from_slice(part);
        rest = behind;
    }
    let _ = format::decode_file(&bytes);
    for (start, end) in [(0, 60), (SLOT_LEN, 2 * SLOT_LEN - 4), (2 * SLOT_LEN, 3 * SLOT_LEN - 4)] {
        // A slot of zeros was never written, and has no checksum.
        if bytes[start..end].iter().any(|byte| *byte != 0) {
            let sum = crc(&[&bytes[start..end]]);
            bytes[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    let Ok(decoded) = format::decode_file(&bytes) else { return false };
    let at = format::slot_offset(decoded.newest.generation) as usize;
    assert_eq!(decoded.newest.encode_slot(), bytes[at..at + SLOT_LEN], "a slot has one spelling");
    let alone = format::encode_file(&decoded.header, &decoded.newest);
    let again = format::decode_file(&alone).map(|again| (again.header, again.newest));
    assert_eq!(again, Ok((decoded.header, decoded.newest)));
    true
}

/// The key of an object in the catalog.
pub fn catalog_key(input: &[u8]) -> bool {
    let Ok(key) = CatalogKey::decode(input) else { return false };
    assert_eq!(key.encode(), input, "a key has one spelling");
    true
}

/// What the catalog says of an object.
pub fn catalog_record(input: &[u8]) -> bool {
    let Ok(record) = CatalogRecord::decode(input) else { return false };
    assert_eq!(record.encode(), input, "a record has one spelling");
    true
}

/// Where a block lies.
pub fn handle(input: &[u8]) -> bool {
    let Ok(handle) = Handle::decode(input) else { return false };
    assert_eq!(handle.encode()[..], input[..HANDLE_LEN.min(input.len())]);
    true
}
