//! One record for every database in a table: how much of it there is, and where its index lies.

use super::Handle;
use crate::checksum::CHECKSUM_LEN;
use crate::error::{DecodeError, Result};
use crate::ids::DatabaseId;
use crate::layout::{Field, Fixed, Layout, field};
use crate::varint::u32_at;

/// Bytes of the count before the records.
const COUNT_LEN: usize = 4;

/// Bytes of a record.
pub const PARTITION_LEN: usize = 44;

const DATABASE: usize = 0;
const ENTRIES: usize = 4;
const TOMBSTONES: usize = 12;
const DATA_BYTES: usize = 20;
const BLOCKS: usize = 28;
const INDEX_OFFSET: usize = 32;
const INDEX_LEN: usize = 40;

const FIELDS: &[Field] = &[
    field(DATABASE, 4, "database id"),
    field(ENTRIES, 8, "entries"),
    field(TOMBSTONES, 8, "tombstones"),
    field(DATA_BYTES, 8, "data bytes"),
    field(BLOCKS, 4, "blocks"),
    field(INDEX_OFFSET, 8, "index offset"),
    field(INDEX_LEN, 4, "index sealed length"),
];

/// The layout of a record.
pub const PARTITION_LAYOUT: Layout =
    Layout { name: "partition", len: PARTITION_LEN, fields: FIELDS };

/// The part of a table that belongs to one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// The database.
    pub database: DatabaseId,
    /// Its entries in the table, all versions counted.
    pub entries: u64,
    /// Those of them that delete.
    pub tombstones: u64,
    /// Bytes of its data blocks, sealed.
    pub data_bytes: u64,
    /// Its data blocks: entries of its index.
    pub blocks: u32,
    /// Its index block.
    pub index: Handle,
}

/// The region's bytes, without checksum. Partitions are in ascending order of their databases.
pub fn encode_partitions(partitions: &[Partition]) -> Vec<u8> {
    debug_assert!(partitions.is_sorted_by(|a, b| a.database < b.database));
    let mut out = Vec::with_capacity(COUNT_LEN + partitions.len() * PARTITION_LEN);
    out.extend_from_slice(&(partitions.len() as u32).to_le_bytes());
    for partition in partitions {
        out.extend_from_slice(&partition.database.0.to_le_bytes());
        out.extend_from_slice(&partition.entries.to_le_bytes());
        out.extend_from_slice(&partition.tombstones.to_le_bytes());
        out.extend_from_slice(&partition.data_bytes.to_le_bytes());
        out.extend_from_slice(&partition.blocks.to_le_bytes());
        out.extend_from_slice(&partition.index.encode());
    }
    out
}

/// Reads the region, its checksum stripped.
///
/// # Errors
/// A corruption if its length does not fit its count, if databases do not ascend, or if a
/// partition is empty.
pub fn decode_partitions(bytes: &[u8]) -> Result<Vec<Partition>> {
    let corrupt = |at: usize, expected: String, found: String| {
        Err(DecodeError::corrupt("partitions", at as u64, expected, found))
    };
    let Some(count) = u32_at(bytes, 0) else {
        return corrupt(0, "a count of 4 bytes".into(), format!("{} bytes", bytes.len()));
    };
    let records = &bytes[COUNT_LEN..];
    if u64::from(count) * PARTITION_LEN as u64 != records.len() as u64 {
        let found = format!("{} bytes", records.len());
        return corrupt(0, format!("{count} records of {PARTITION_LEN} bytes"), found);
    }
    let mut out: Vec<Partition> = Vec::with_capacity(records.len() / PARTITION_LEN);
    for (i, record) in records.chunks_exact(PARTITION_LEN).enumerate() {
        let at = COUNT_LEN + i * PARTITION_LEN;
        let partition = decode_partition(record).map_err(|error| error.at(at as u64))?;
        if let Some(last) = out.last()
            && last.database >= partition.database
        {
            let expected = format!("a database behind {}", last.database);
            return corrupt(at, expected, partition.database.to_string());
        }
        out.push(partition);
    }
    Ok(out)
}

fn decode_partition(record: &[u8]) -> Result<Partition> {
    let fixed = Fixed::new(&PARTITION_LAYOUT, record)?;
    let index = Handle::decode(fixed.bytes(INDEX_OFFSET..PARTITION_LEN))
        .map_err(|error| error.at(INDEX_OFFSET as u64))?;
    let partition = Partition {
        database: DatabaseId(fixed.u32(DATABASE)),
        entries: fixed.u64(ENTRIES),
        tombstones: fixed.u64(TOMBSTONES),
        data_bytes: fixed.u64(DATA_BYTES),
        blocks: fixed.u32(BLOCKS),
        index,
    };
    if partition.blocks == 0 {
        return Err(fixed.corrupt(BLOCKS, "one block or more", "0"));
    }
    if partition.entries < u64::from(partition.blocks) {
        let found = format!("{} in {} blocks", partition.entries, partition.blocks);
        return Err(fixed.corrupt(ENTRIES, "an entry for every block", found));
    }
    if partition.tombstones > partition.entries {
        let expected = format!("at most {}", partition.entries);
        return Err(fixed.corrupt(TOMBSTONES, expected, partition.tombstones.to_string()));
    }
    if partition.data_bytes < u64::from(partition.blocks) * CHECKSUM_LEN as u64 {
        let found = partition.data_bytes.to_string();
        return Err(fixed.corrupt(DATA_BYTES, "bytes for every block", found));
    }
    Ok(partition)
}
