//! What is known of a table as a whole: tagged fields, of which a reader skips those it does not
//! know.

use super::Expiries;
use crate::block::Compression;
use crate::error::{DecodeError, Result};
use crate::ids::{DatabaseId, Seqno};
use crate::limits::MAX_KEY_LEN;
use crate::tagged::{self, Field, Fields};
use crate::varint;

const WHAT: &str = "properties";

const ENTRIES: u64 = 1;
const TOMBSTONES: u64 = 2;
const MIN_SEQNO: u64 = 3;
const MAX_SEQNO: u64 = 4;
const RAW_KEY_BYTES: u64 = 5;
const RAW_VALUE_BYTES: u64 = 6;
const SMALLEST: u64 = 7;
const LARGEST: u64 = 8;
const FILTER_BITS: u64 = 9;
const COMPRESSION: u64 = 10;
const BLOCKS: u64 = 11;
const EXPIRIES: u64 = 12;
const CLEARED_TO: u64 = 13;

/// A database and a key of it.
type Bound = (DatabaseId, Vec<u8>);

/// The properties of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Entries, all versions of all databases.
    pub entries: u64,
    /// Those of them that delete.
    pub tombstones: u64,
    /// The lowest sequence number.
    pub min_seqno: Seqno,
    /// The highest sequence number.
    pub max_seqno: Seqno,
    /// Bytes of all keys.
    pub raw_key_bytes: u64,
    /// Bytes of all values, uncompressed.
    pub raw_value_bytes: u64,
    /// The first database and its first key.
    pub smallest: Bound,
    /// The last database and its last key.
    pub largest: Bound,
    /// Bits a key that the filter was built with; 0: there is no filter.
    pub filter_bits: u32,
    /// How values were to be stored; every block says how its own are.
    pub compression: Compression,
    /// Data blocks.
    pub blocks: u64,
    /// When entries expire; `None`: none does.
    pub expiries: Option<Expiries>,
    /// No range delete up to this sequence number deletes an entry of the table.
    pub cleared_to: Seqno,
}

impl Properties {
    /// Whether the table was written by a bulk load, before there was a commit for it: the manifest says the sequence
    /// number of its entries.
    pub fn is_loaded(&self) -> bool {
        self.max_seqno == 0
    }

    /// The region's bytes, without checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        tagged::put_u64(&mut out, ENTRIES, self.entries);
        tagged::put_u64(&mut out, TOMBSTONES, self.tombstones);
        tagged::put_u64(&mut out, MIN_SEQNO, self.min_seqno);
        tagged::put_u64(&mut out, MAX_SEQNO, self.max_seqno);
        tagged::put_u64(&mut out, RAW_KEY_BYTES, self.raw_key_bytes);
        tagged::put_u64(&mut out, RAW_VALUE_BYTES, self.raw_value_bytes);
        tagged::put(&mut out, SMALLEST, &encode_bound(&self.smallest));
        tagged::put(&mut out, LARGEST, &encode_bound(&self.largest));
        tagged::put_u64(&mut out, FILTER_BITS, u64::from(self.filter_bits));
        let compression = match self.compression {
            Compression::None => 0,
            Compression::Snappy => 1,
        };
        tagged::put_u64(&mut out, COMPRESSION, compression);
        tagged::put_u64(&mut out, BLOCKS, self.blocks);
        if let Some(expiries) = &self.expiries {
            tagged::put(&mut out, EXPIRIES, &expiries.encode());
        }
        if self.cleared_to > 0 {
            tagged::put_u64(&mut out, CLEARED_TO, self.cleared_to);
        }
        out
    }

    /// Reads the region, its checksum stripped. Unknown tags are skipped.
    ///
    /// # Errors
    /// A corruption if a field is malformed, comes twice, or is missing (only the last two may
    /// be).
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut read = Read::default();
        for field in Fields::new(WHAT, bytes) {
            read.field(&field?)?;
        }
        let [entries, tombstones, min_seqno, max_seqno, raw_key_bytes, raw_value_bytes, blocks] =
            read.numbers;
        let properties = Self {
            entries: required(ENTRIES, entries)?,
            tombstones: required(TOMBSTONES, tombstones)?,
            min_seqno: required(MIN_SEQNO, min_seqno)?,
            max_seqno: required(MAX_SEQNO, max_seqno)?,
            raw_key_bytes: required(RAW_KEY_BYTES, raw_key_bytes)?,
            raw_value_bytes: required(RAW_VALUE_BYTES, raw_value_bytes)?,
            smallest: required(SMALLEST, read.smallest)?,
            largest: required(LARGEST, read.largest)?,
            filter_bits: required(FILTER_BITS, read.filter_bits)?,
            compression: required(COMPRESSION, read.compression)?,
            blocks: required(BLOCKS, blocks)?,
            expiries: read.expiries,
            cleared_to: read.cleared_to.unwrap_or(0),
        };
        let ordered = properties.smallest <= properties.largest
            && properties.min_seqno <= properties.max_seqno
            && properties.tombstones <= properties.entries
            && properties.expiries.is_none_or(|of| of.entries <= properties.entries);
        if ordered {
            return Ok(properties);
        }
        let expected = "smallest before largest, tombstones and those that expire among entries";
        Err(DecodeError::corrupt(WHAT, 0, expected, "another order"))
    }
}

/// The fields that were read so far.
#[derive(Default)]
struct Read {
    numbers: [Option<u64>; 7],
    smallest: Option<Bound>,
    largest: Option<Bound>,
    filter_bits: Option<u32>,
    compression: Option<Compression>,
    expiries: Option<Expiries>,
    cleared_to: Option<Seqno>,
}

impl Read {
    fn field(&mut self, field: &Field<'_>) -> Result<()> {
        match field.tag {
            ENTRIES..=RAW_VALUE_BYTES => {
                field.once(&mut self.numbers[(field.tag - ENTRIES) as usize], field.u64()?)
            }
            BLOCKS => field.once(&mut self.numbers[6], field.u64()?),
            SMALLEST => field.once(&mut self.smallest, decode_bound(field)?),
            LARGEST => field.once(&mut self.largest, decode_bound(field)?),
            FILTER_BITS => field.once(&mut self.filter_bits, field.u32()?),
            COMPRESSION => {
                let compression = match field.u64()? {
                    0 => Compression::None,
                    1 => Compression::Snappy,
                    _ => return Err(field.corrupt("compression 0 or 1")),
                };
                field.once(&mut self.compression, compression)
            }
            EXPIRIES => field.once(&mut self.expiries, Expiries::decode(field)?),
            CLEARED_TO => field.once(&mut self.cleared_to, field.u64()?),
            _ => Ok(()),
        }
    }
}

fn required<T>(tag: u64, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| DecodeError::corrupt(WHAT, 0, format!("a field of tag {tag}"), "none"))
}

fn encode_bound((database, key): &Bound) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, u64::from(database.0));
    out.extend_from_slice(key);
    out
}

fn decode_bound(field: &Field<'_>) -> Result<Bound> {
    let mut at = 0;
    let database = varint::get(field.bytes, &mut at).and_then(|id| u32::try_from(id).ok());
    match (database, &field.bytes[at..]) {
        (Some(id), key) if key.len() <= MAX_KEY_LEN => Ok((DatabaseId(id), key.to_vec())),
        _ => Err(field.corrupt("a database id and a key")),
    }
}
