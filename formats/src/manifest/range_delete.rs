//! What the manifest knows of a delete of all keys of a range, for as long as a table may hold some of them.

use crate::error::Result;
use crate::ids::{DatabaseId, SYSTEM_DATABASE, Seqno};
use crate::layout::{Field, Fixed, Layout, field};
use crate::limits::MAX_KEY_LEN;

const SEQNO: usize = 0;
const DATABASE: usize = 8;
const START_LEN: usize = 12;

/// Bytes of a range delete before its two keys.
const RANGE_DELETE_LEN: usize = 14;

const FIELDS: &[Field] = &[
    field(SEQNO, 8, "seqno"),
    field(DATABASE, 4, "database id"),
    field(START_LEN, 2, "start length"),
];

/// The layout of a range delete before its two keys, start and end.
pub const RANGE_DELETE_LAYOUT: Layout =
    Layout { name: "range delete", len: RANGE_DELETE_LEN, fields: FIELDS };

/// A delete of all keys from one to another: of all entries under them with a lower sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeDelete {
    /// The commit that deleted.
    pub seqno: Seqno,
    /// Whose keys; never the system database.
    pub database: DatabaseId,
    /// The first key, at most [`MAX_KEY_LEN`] bytes.
    pub start: Vec<u8>,
    /// The key behind the last one, greater than the first, at most [`MAX_KEY_LEN`] bytes; `None`: there is none, all
    /// keys to the end of the database are deleted.
    pub end: Option<Vec<u8>>,
}

impl RangeDelete {
    /// Whether it deletes older entries under this key.
    pub fn covers(&self, database: DatabaseId, key: &[u8]) -> bool {
        database == self.database
            && self.start.as_slice() <= key
            && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        debug_assert!(self.start.len() <= MAX_KEY_LEN);
        let end = self.end.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(RANGE_DELETE_LEN + self.start.len() + end.len());
        out.extend_from_slice(&self.seqno.to_le_bytes());
        out.extend_from_slice(&self.database.0.to_le_bytes());
        out.extend_from_slice(&(self.start.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.start);
        out.extend_from_slice(end);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let fixed = Fixed::new(&RANGE_DELETE_LAYOUT, bytes)?;
        let start_len = usize::from(fixed.u16(START_LEN));
        let keys = bytes.get(RANGE_DELETE_LEN..).unwrap_or_default();
        let Some((start, end)) = keys.split_at_checked(start_len) else {
            let found = format!("{} bytes are left", keys.len());
            return Err(fixed.corrupt(START_LEN, "a start inside the field", found));
        };
        let database = DatabaseId(fixed.u32(DATABASE));
        if database == SYSTEM_DATABASE {
            return Err(fixed.corrupt(DATABASE, "a database other than the catalog", "0"));
        }
        if end.len() > MAX_KEY_LEN || (!end.is_empty() && end <= start) {
            let found = format!("{} bytes from {:?} on", end.len(), end.get(..16).unwrap_or(end));
            let expected = "no end, or a key greater than the start";
            return Err(fixed.corrupt(RANGE_DELETE_LEN + start_len, expected, found));
        }
        let end = (!end.is_empty()).then(|| end.to_vec());
        Ok(Self { seqno: fixed.u64(SEQNO), database, start: start.to_vec(), end })
    }
}
