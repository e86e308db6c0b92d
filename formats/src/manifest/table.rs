//! What the manifest knows of a table: enough to recognise the file and to skip it unread.

use crate::error::Result;
use crate::ids::{DatabaseId, FileId, FileNumber, Seqno};
use crate::layout::{Field, Fixed, Layout, field};
use crate::limits::MAX_KEY_LEN;
use crate::varint::{u16_at, u32_at};

const LEVEL: usize = 0;
const RUN: usize = 1;
const NUMBER: usize = 9;
const ID: usize = 17;
const SIZE: usize = 33;
const FOOTER_CHECKSUM: usize = 41;
const MIN_SEQNO: usize = 49;
const MAX_SEQNO: usize = 57;
const ENTRIES: usize = 65;
const TOMBSTONES: usize = 73;

/// Bytes of a table record before its two bounds.
const TABLE_LEN: usize = 81;

const FIELDS: &[Field] = &[
    field(LEVEL, 1, "level"),
    field(RUN, 8, "run"),
    field(NUMBER, 8, "file number"),
    field(ID, 16, "file id"),
    field(SIZE, 8, "file length"),
    field(FOOTER_CHECKSUM, 8, "footer checksum"),
    field(MIN_SEQNO, 8, "min seqno"),
    field(MAX_SEQNO, 8, "max seqno"),
    field(ENTRIES, 8, "entries"),
    field(TOMBSTONES, 8, "tombstones"),
];

/// The layout of a table record before its two bounds: smallest and largest, each a database id
/// u32, a key length u16 and the key.
pub const TABLE_LAYOUT: Layout = Layout { name: "table", len: TABLE_LEN, fields: FIELDS };

/// A table of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// The level it is in; 0 is the newest.
    pub level: u8,
    /// The run of the level it belongs to. Tables of a run do not overlap; of two runs of level 0
    /// the greater number is the newer.
    pub run: u64,
    /// Its file number.
    pub number: FileNumber,
    /// Its file id.
    pub id: FileId,
    /// Bytes of the file.
    pub size: u64,
    /// The checksum its footer ends with.
    pub footer_checksum: u64,
    /// Its first database and the first key of that.
    pub smallest: (DatabaseId, Vec<u8>),
    /// Its last database and the last key of that.
    pub largest: (DatabaseId, Vec<u8>),
    /// The lowest sequence number in it.
    pub min_seqno: Seqno,
    /// The highest sequence number in it.
    pub max_seqno: Seqno,
    /// Entries, all versions counted.
    pub entries: u64,
    /// Those of them that delete.
    pub tombstones: u64,
}

impl TableMeta {
    pub(super) fn encode(&self) -> Vec<u8> {
        let bounds = [&self.smallest, &self.largest];
        let mut out = Vec::with_capacity(TABLE_LEN + 12 + self.smallest.1.len() * 2);
        out.push(self.level);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.id.0);
        for v in [self.size, self.footer_checksum, self.min_seqno, self.max_seqno] {
            out.extend_from_slice(&v.to_le_bytes());
        }
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.tombstones.to_le_bytes());
        for (database, key) in bounds {
            debug_assert!(key.len() <= MAX_KEY_LEN);
            out.extend_from_slice(&database.0.to_le_bytes());
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(key);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let fixed = Fixed::new(&TABLE_LAYOUT, bytes)?;
        let mut at = TABLE_LEN;
        let mut bound = || {
            let start = at;
            let found = decode_bound(bytes, &mut at);
            found.ok_or_else(|| fixed.corrupt(start, "a database id, a length and a key", "none"))
        };
        let meta = Self {
            level: fixed.u8(LEVEL),
            run: fixed.u64(RUN),
            number: fixed.u64(NUMBER),
            id: FileId(fixed.array(ID)),
            size: fixed.u64(SIZE),
            footer_checksum: fixed.u64(FOOTER_CHECKSUM),
            min_seqno: fixed.u64(MIN_SEQNO),
            max_seqno: fixed.u64(MAX_SEQNO),
            entries: fixed.u64(ENTRIES),
            tombstones: fixed.u64(TOMBSTONES),
            smallest: bound()?,
            largest: bound()?,
        };
        if at != bytes.len() {
            let found = format!("{} more bytes", bytes.len() - at);
            return Err(fixed.corrupt(at, "the end of the table", found));
        }
        if meta.number == 0 {
            return Err(fixed.corrupt(NUMBER, "a file number", "0"));
        }
        if meta.smallest > meta.largest {
            return Err(fixed.corrupt(TABLE_LEN, "smallest before largest", "another order"));
        }
        if meta.min_seqno > meta.max_seqno {
            let expected = format!("at most {}", meta.max_seqno);
            return Err(fixed.corrupt(MIN_SEQNO, expected, meta.min_seqno.to_string()));
        }
        if meta.tombstones > meta.entries {
            let expected = format!("at most {}", meta.entries);
            return Err(fixed.corrupt(TOMBSTONES, expected, meta.tombstones.to_string()));
        }
        Ok(meta)
    }

    /// A table of a bulk load that is not finished: it has no place yet, and no sequence number.
    pub(super) fn decode_loading(bytes: &[u8]) -> Result<Self> {
        let meta = Self::decode(bytes)?;
        let fixed = Fixed::new(&TABLE_LAYOUT, bytes)?;
        let numbers = [
            (LEVEL, u64::from(meta.level)),
            (RUN, meta.run),
            (MIN_SEQNO, meta.min_seqno),
            (MAX_SEQNO, meta.max_seqno),
        ];
        if let Some((at, number)) = numbers.into_iter().find(|(_, number)| *number != 0) {
            let expected = "0 in a table of an unfinished load";
            return Err(fixed.corrupt(at, expected, number.to_string()));
        }
        let (first, last) = (meta.smallest.0, meta.largest.0);
        if first != last {
            let expected = format!("bounds of one database, {first}");
            return Err(fixed.corrupt(TABLE_LEN, expected, last.to_string()));
        }
        Ok(meta)
    }
}

fn decode_bound(bytes: &[u8], at: &mut usize) -> Option<(DatabaseId, Vec<u8>)> {
    let database = u32_at(bytes, *at)?;
    let len = usize::from(u16_at(bytes, *at + 4)?);
    let key = bytes.get(*at + 6..)?.get(..len)?;
    *at += 6 + len;
    Some((DatabaseId(database), key.to_vec()))
}
