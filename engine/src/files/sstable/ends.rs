//! What an open reads of a table: header, footer, partitions, properties.

use std::io;

use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{self, FileHeader, FileKind};
use orlop_formats::manifest::TableMeta;
use orlop_formats::sstable::{FOOTER_LEN, Footer, Partition, Properties, decode_partitions};

use crate::env::Mapping;

/// What tells where the rest is, and of what kind it is.
pub(super) type Decoded = (Footer, Vec<Partition>, Properties);

/// Why it could not be read.
pub(super) enum Unread {
    Io(io::Error),
    Decode(DecodeError),
}

impl From<io::Error> for Unread {
    fn from(source: io::Error) -> Self {
        Unread::Io(source)
    }
}

impl From<DecodeError> for Unread {
    fn from(source: DecodeError) -> Self {
        Unread::Decode(source)
    }
}

/// The footer of a table, which must be the one that the manifest names.
fn footer(map: &Mapping, place: &Place, meta: &TableMeta) -> Result<Footer, Unread> {
    let bytes = map.bytes();
    map.populate(0..file_header::HEADER_LEN)?;
    let header =
        FileHeader::decode_expecting(bytes, FileKind::Sstable, Some(place.store), place.file)?;
    if bytes.len() as u64 != meta.size || header.id != meta.id {
        return Err(Unread::Decode(DecodeError::corrupt(
            "sstable",
            0,
            format!("{} bytes with file id {}", meta.size, meta.id),
            format!("{} bytes with file id {}", bytes.len(), header.id),
        )));
    }
    let footer_offset = bytes.len().saturating_sub(FOOTER_LEN);
    map.populate(footer_offset..bytes.len())?;
    let footer_bytes = bytes.get(footer_offset..).unwrap_or_default();
    let footer = Footer::decode(footer_bytes, place, footer_offset as u64)?;
    let checksum = Footer::checksum_of(footer_bytes);
    if checksum != meta.footer_checksum || footer.id != meta.id || footer.file_len != meta.size {
        return Err(Unread::Decode(DecodeError::corrupt(
            "footer",
            footer_offset as u64,
            format!("checksum {:016x} as in the manifest", meta.footer_checksum),
            format!("{checksum:016x}"),
        )));
    }
    Ok(footer)
}

/// Reads what an open reads of a table.
pub(super) fn decode(map: &Mapping, place: &Place, meta: &TableMeta) -> Result<Decoded, Unread> {
    let footer = footer(map, place, meta)?;
    let bytes = map.bytes();
    let region = |(offset, len): (u64, u64), what: &'static str| {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        let sealed = bytes.get(start..end).ok_or_else(|| {
            DecodeError::corrupt(
                what,
                offset,
                format!("a region inside the file of {} bytes", bytes.len()),
                format!("{len} bytes"),
            )
        })?;
        map.populate(start..end)?;
        Ok::<_, Unread>(checksum::open(sealed, place, offset, what)?)
    };
    let partitions = decode_partitions(region(footer.partitions, "partitions")?)
        .map_err(|source| source.at(footer.partitions.0))?;
    // Entries of another database than the manifest says would be found by compactions only.
    let ends = [partitions.first(), partitions.last()].map(|end| end.map(|part| part.database));
    let said = [meta.smallest.0, meta.largest.0];
    if ends != said.map(Some) {
        return Err(Unread::Decode(DecodeError::corrupt(
            "partitions",
            footer.partitions.0,
            format!("databases {} to {} as in the manifest", said[0], said[1]),
            format!("{ends:?}"),
        )));
    }
    // What is kept in memory for each block is held against the file first.
    let data = partitions.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.data_bytes));
    if data.is_none_or(|data| data > footer.data_end) {
        let expected = format!("at most {} bytes of data blocks", footer.data_end);
        let found = format!("{data:?}");
        let source = DecodeError::corrupt("partitions", footer.partitions.0, expected, found);
        return Err(Unread::Decode(source));
    }
    let properties = Properties::decode(region(footer.properties, "properties")?)
        .map_err(|source| source.at(footer.properties.0))?;
    // Without numbers of its own it gets one for all; and none where it has some.
    let fits = match properties.is_loaded() {
        true => meta.min_seqno == meta.max_seqno,
        false => meta.max_seqno != 0,
    };
    if !fits {
        let expected =
            format!("seqnos {} to {} as in the manifest", meta.min_seqno, meta.max_seqno);
        let found = format!("{} to {}", properties.min_seqno, properties.max_seqno);
        let source = DecodeError::corrupt("properties", footer.properties.0, expected, found);
        return Err(Unread::Decode(source));
    }
    Ok((footer, partitions, properties))
}
