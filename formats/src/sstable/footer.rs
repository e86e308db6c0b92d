//! The last 128 bytes of a table: where everything is.

use super::ALIGN;
use crate::checksum::{self, CHECKSUM_LEN, Place};
use crate::error::Result;
use crate::file_header;
use crate::ids::FileId;
use crate::layout::{Field, Fixed, Layout, field, set};
use crate::varint::u64_at;

/// Bytes of the footer.
pub const FOOTER_LEN: usize = 128;

const MAGIC: usize = 0;
const FILE_LEN: usize = 8;
const FILTER: usize = 16;
const PARTITIONS: usize = 32;
const PROPERTIES: usize = 48;
const DATA_END: usize = 64;
const ID: usize = 72;
const ZEROS: usize = 88;
const CHECKSUM: usize = 120;

const MAGIC_BYTES: &[u8; 8] = b"ORLOPFTR";

const FIELDS: &[Field] = &[
    field(MAGIC, 8, "magic"),
    field(FILE_LEN, 8, "file length"),
    field(FILTER, 8, "filter offset"),
    field(FILTER + 8, 8, "filter sealed length"),
    field(PARTITIONS, 8, "partitions offset"),
    field(PARTITIONS + 8, 8, "partitions sealed length"),
    field(PROPERTIES, 8, "properties offset"),
    field(PROPERTIES + 8, 8, "properties sealed length"),
    field(DATA_END, 8, "data end"),
    field(ID, 16, "file id"),
    field(ZEROS, CHECKSUM - ZEROS, "zero"),
    field(CHECKSUM, CHECKSUM_LEN, "block checksum of bytes 0..120"),
];

/// The layout of the footer.
pub const FOOTER_LAYOUT: Layout =
    Layout { name: "sstable footer", len: FOOTER_LEN, fields: FIELDS };

/// What the footer says. Regions are (offset, sealed length), both in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Bytes of the file, footer included.
    pub file_len: u64,
    /// The filter. Without one: a region of no lines, its checksum alone.
    pub filter: (u64, u64),
    /// The partitions.
    pub partitions: (u64, u64),
    /// The properties.
    pub properties: (u64, u64),
    /// The end of the last data block: index blocks lie between it and the filter.
    pub data_end: u64,
    /// The file's id, as in its header.
    pub id: FileId,
}

impl Footer {
    /// The footer's bytes at the end of a file of [`Footer::file_len`] bytes.
    pub fn encode(&self, place: &Place) -> [u8; FOOTER_LEN] {
        let mut out = [0; FOOTER_LEN];
        set(&mut out, MAGIC, MAGIC_BYTES);
        set(&mut out, FILE_LEN, &self.file_len.to_le_bytes());
        for (at, region) in self.regions() {
            set(&mut out, at, &region.0.to_le_bytes());
            set(&mut out, at + 8, &region.1.to_le_bytes());
        }
        set(&mut out, DATA_END, &self.data_end.to_le_bytes());
        set(&mut out, ID, &self.id.0);
        let offset = self.file_len.saturating_sub(FOOTER_LEN as u64);
        let sum = checksum::block(&out[..CHECKSUM], place, offset);
        set(&mut out, CHECKSUM, &sum.to_le_bytes());
        out
    }

    fn regions(&self) -> [(usize, (u64, u64)); 3] {
        [(FILTER, self.filter), (PARTITIONS, self.partitions), (PROPERTIES, self.properties)]
    }

    /// Reads the footer: exactly its bytes, which lie at `offset` of the file. Offsets of errors
    /// count from the start of the file.
    ///
    /// # Errors
    /// A corruption if the footer is not whole, is of another place, or names regions that do not
    /// lie in order between the data and the footer.
    pub fn decode(bytes: &[u8], place: &Place, offset: u64) -> Result<Self> {
        Self::checked(bytes, place, offset).map_err(|error| error.at(offset))
    }

    fn checked(bytes: &[u8], place: &Place, offset: u64) -> Result<Self> {
        let fixed = Fixed::new(&FOOTER_LAYOUT, bytes)?;
        if bytes.len() != FOOTER_LEN {
            return Err(fixed.corrupt(0, "128 bytes", format!("{} bytes", bytes.len())));
        }
        if fixed.array(MAGIC) != *MAGIC_BYTES {
            let found = format!("{:02x?}", fixed.bytes(MAGIC..FILE_LEN));
            return Err(fixed.corrupt(MAGIC, "the letters ORLOPFTR", found));
        }
        let computed = checksum::block(fixed.bytes(0..CHECKSUM), place, offset);
        let stored = fixed.u64(CHECKSUM);
        if stored != computed {
            let expected = format!("checksum {computed:016x}");
            return Err(fixed.corrupt(CHECKSUM, expected, format!("{stored:016x}")));
        }
        fixed.zeros(ZEROS..CHECKSUM)?;
        let region = |at: usize| (fixed.u64(at), fixed.u64(at + 8));
        let footer = Self {
            file_len: fixed.u64(FILE_LEN),
            filter: region(FILTER),
            partitions: region(PARTITIONS),
            properties: region(PROPERTIES),
            data_end: fixed.u64(DATA_END),
            id: FileId(fixed.array(ID)),
        };
        if footer.file_len.checked_sub(FOOTER_LEN as u64) != Some(offset) {
            let expected = format!("a file that ends behind the footer at {offset}");
            return Err(fixed.corrupt(FILE_LEN, expected, footer.file_len.to_string()));
        }
        footer.check_order(&fixed, offset)?;
        Ok(footer)
    }

    /// Header, data, filter, partitions, properties, footer: in this order, without overlap.
    fn check_order(&self, fixed: &Fixed<'_>, offset: u64) -> Result<()> {
        if self.data_end < file_header::HEADER_LEN as u64 || self.data_end > offset {
            let expected = format!("an end between the header and {offset}");
            return Err(fixed.corrupt(DATA_END, expected, self.data_end.to_string()));
        }
        let mut end = self.data_end;
        for (at, (start, len)) in self.regions() {
            let region_end = start.checked_add(len).filter(|region_end| *region_end <= offset);
            match region_end {
                Some(region_end)
                    if start >= end && start % ALIGN == 0 && len >= CHECKSUM_LEN as u64 =>
                {
                    end = region_end;
                }
                _ => {
                    let expected = format!("a region between {end} and {offset}");
                    let found = format!("{len} bytes at {start}");
                    return Err(fixed.corrupt(at, expected, found));
                }
            }
        }
        Ok(())
    }

    /// The checksum that the footer's bytes end with: what the manifest keeps of a table. 0 if
    /// there are not as many bytes.
    pub fn checksum_of(footer: &[u8]) -> u64 {
        u64_at(footer, CHECKSUM).unwrap_or(0)
    }
}
