//! The 64 bytes at the start of every file: what it is, whose it is, which one it is.
//!
//! With them any file is recognised wherever it turns up, and one that lies in the wrong place
//! is refused.

use crate::checksum::crc;
use crate::error::{DecodeError, Reason, Result};
use crate::ids::{FileId, FileNumber, StoreId};
use crate::layout::{Field, Fixed, Layout, field, set};
use crate::limits::FORMAT_VERSION;

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

const MAGIC: usize = 0;
const VERSION: usize = 8;
const RESERVED: usize = 12;
const STORE: usize = 16;
const NUMBER: usize = 32;
const ID: usize = 40;
const RESERVED_2: usize = 56;
const CRC: usize = 60;

const FIELDS: &[Field] = &[
    field(MAGIC, 8, "magic"),
    field(VERSION, 4, "format version"),
    field(RESERVED, 4, "zero"),
    field(STORE, 16, "store id"),
    field(NUMBER, 8, "file number"),
    field(ID, 16, "file id"),
    field(RESERVED_2, 4, "zero"),
    field(CRC, 4, "crc32 of bytes 0..60"),
];

/// The layout of the header.
pub const LAYOUT: Layout = Layout { name: "file header", len: HEADER_LEN, fields: FIELDS };

const FAMILY: &[u8; 5] = b"ORLOP";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// The superblock, see [`crate::superblock`].
    Superblock,
    /// A segment of the log, see [`crate::log`].
    Log,
    /// What is on its way into a segment, see [`crate::stage`].
    Stage,
    /// A manifest, see [`crate::manifest`].
    Manifest,
    /// A table of sorted entries, see [`crate::sstable`].
    Sstable,
    /// A file of large values. Reserved: version 1 has none.
    Blob,
}

impl FileKind {
    const ALL: [Self; 6] =
        [Self::Superblock, Self::Log, Self::Stage, Self::Manifest, Self::Sstable, Self::Blob];

    /// The first 8 bytes of such a file.
    pub fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Superblock => b"ORLOPSUP",
            Self::Log => b"ORLOPLOG",
            Self::Stage => b"ORLOPSTG",
            Self::Manifest => b"ORLOPMAN",
            Self::Sstable => b"ORLOPSST",
            Self::Blob => b"ORLOPBLB",
        }
    }
}

/// The first 64 bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// What the file is.
    pub kind: FileKind,
    /// The store it belongs to.
    pub store: StoreId,
    /// Its number in the store; 0 for the superblock.
    pub number: FileNumber,
    /// Its own random id.
    pub id: FileId,
}

impl FileHeader {
    /// The header's bytes, in [`FORMAT_VERSION`].
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        set(&mut out, MAGIC, self.kind.magic());
        set(&mut out, VERSION, &FORMAT_VERSION.to_le_bytes());
        set(&mut out, STORE, &self.store.0);
        set(&mut out, NUMBER, &self.number.to_le_bytes());
        set(&mut out, ID, &self.id.0);
        let sum = crc(&[&out[..CRC]]);
        set(&mut out, CRC, &sum.to_le_bytes());
        out
    }

    /// Reads the header at the start of a file of any kind.
    ///
    /// # Errors
    /// [`Reason::NotOrlop`], then [`Reason::TooNew`], then [`Reason::Corrupt`]: a newer version
    /// may have changed everything behind its version, the checksum included.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let what = LAYOUT.name;
        if !bytes.is_empty() && bytes.iter().zip(FAMILY).any(|(byte, magic)| byte != magic) {
            let found = format!("{:02x?}", &bytes[..bytes.len().min(8)]);
            return Err(DecodeError::new(Reason::NotOrlop, what, 0, "the letters ORLOP", found));
        }
        let header = Fixed::new(&LAYOUT, bytes)?;
        let version = header.u32(VERSION);
        if version > FORMAT_VERSION {
            return Err(DecodeError::new(
                Reason::TooNew,
                what,
                VERSION as u64,
                format!("format version {FORMAT_VERSION} or older"),
                format!("version {version}"),
            ));
        }
        let (stored, computed) = (header.u32(CRC), crc(&[header.bytes(0..CRC)]));
        if stored != computed {
            let expected = format!("crc {computed:08x}");
            return Err(header.corrupt(CRC, expected, format!("{stored:08x}")));
        }
        if version == 0 {
            return Err(header.corrupt(VERSION, "a format version", "0"));
        }
        header.zeros(RESERVED..STORE)?;
        header.zeros(RESERVED_2..CRC)?;
        let magic: [u8; 8] = header.array(MAGIC);
        let Some(kind) = FileKind::ALL.into_iter().find(|kind| *kind.magic() == magic) else {
            return Err(header.corrupt(MAGIC, "the magic of a file kind", format!("{magic:02x?}")));
        };
        Ok(Self {
            kind,
            store: StoreId(header.array(STORE)),
            number: header.u64(NUMBER),
            id: FileId(header.array(ID)),
        })
    }

    /// Reads the header of a file that must be of a kind, of a store (if one is given) and of a
    /// number.
    ///
    /// # Errors
    /// Those of [`FileHeader::decode`]; [`Reason::Foreign`] if it is a header of another file.
    pub fn decode_expecting(
        bytes: &[u8],
        kind: FileKind,
        store: Option<StoreId>,
        number: FileNumber,
    ) -> Result<Self> {
        let header = Self::decode(bytes)?;
        let foreign = |at: usize, expected: String, found: String| {
            Err(DecodeError::new(Reason::Foreign, LAYOUT.name, at as u64, expected, found))
        };
        if header.kind != kind {
            return foreign(MAGIC, format!("a {kind:?} file"), format!("{:?}", header.kind));
        }
        if let Some(store) = store
            && header.store != store
        {
            return foreign(STORE, format!("store {store}"), format!("store {}", header.store));
        }
        if header.number != number {
            return foreign(NUMBER, format!("file {number}"), format!("file {}", header.number));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: FileHeader = FileHeader {
        kind: FileKind::Log,
        store: StoreId([1; 16]),
        number: 12,
        id: FileId([2; 16]),
    };

    fn reason(bytes: &[u8]) -> Reason {
        FileHeader::decode(bytes).unwrap_err().reason
    }

    fn resealed(mut bytes: [u8; 64]) -> [u8; 64] {
        let sum = crc(&[&bytes[..CRC]]);
        set(&mut bytes, CRC, &sum.to_le_bytes());
        bytes
    }

    #[test]
    fn refuses_in_order() {
        let bytes = HEADER.encode();
        assert_eq!(reason(b""), Reason::Corrupt);
        assert_eq!(reason(b"ORLOPLOG"), Reason::Corrupt);
        assert_eq!(reason(b"SQLite format 3"), Reason::NotOrlop);
        let mut newer = bytes;
        newer[VERSION] = 2;
        assert_eq!(reason(&newer), Reason::TooNew, "although its crc is not ours");
        let mut none = bytes;
        none[VERSION] = 0;
        assert_eq!(reason(&none), Reason::Corrupt);
        assert_eq!(reason(&resealed(none)), Reason::Corrupt);
        for (at, field) in [(MAGIC + 5, MAGIC), (RESERVED, RESERVED), (RESERVED_2, RESERVED_2)] {
            let mut bad = bytes;
            bad[at] ^= 1;
            let error = FileHeader::decode(&resealed(bad)).unwrap_err();
            assert_eq!(error.reason, Reason::Corrupt);
            assert_eq!(error.offset as usize, field);
        }
    }

    #[test]
    fn refuses_a_misplaced_file() {
        let bytes = HEADER.encode();
        let expecting = |kind, store, number| {
            FileHeader::decode_expecting(&bytes, kind, store, number).map_err(|e| e.reason)
        };
        let (log, store) = (FileKind::Log, Some(HEADER.store));
        assert_eq!(expecting(log, store, 12), Ok(HEADER));
        assert_eq!(expecting(log, None, 12), Ok(HEADER));
        assert_eq!(expecting(FileKind::Sstable, store, 12), Err(Reason::Foreign));
        assert_eq!(expecting(log, Some(StoreId([9; 16])), 12), Err(Reason::Foreign));
        assert_eq!(expecting(log, store, 13), Err(Reason::Foreign));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = HEADER.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(kind in 0..FileKind::ALL.len(), store: [u8; 16], number: u64, id: [u8; 16]) {
            let kind = FileKind::ALL[kind];
            let header = FileHeader { kind, store: StoreId(store), number, id: FileId(id) };
            prop_assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes: Vec<u8>, ours: bool) {
            if ours {
                bytes.splice(0..0, *b"ORLOPSST\x01\0\0\0");
            }
            let _ = FileHeader::decode(&bytes);
        }
    }
}
