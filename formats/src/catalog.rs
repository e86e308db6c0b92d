//! The catalog: the entries of the system database, one for every database, container and depot.
//!
//! A key is the kind of the object and its name; a value its id and its options.

use crate::error::{DecodeError, Reason, Result};
use crate::ids::DatabaseId;
use crate::layout::{self, Fixed, Layout, field};
use crate::limits::MAX_NAME_LEN;
use crate::tagged::{self, Fields};

const KEY: &str = "catalog key";

/// The version of the records this crate writes, and the newest it reads.
pub const RECORD_VERSION: u8 = 1;

const VERSION: usize = 0;
const ID: usize = 1;
const OPTIONS: usize = 5;

const FIELDS: &[layout::Field] = &[field(VERSION, 1, "record version"), field(ID, 4, "id")];

/// The layout of a record before its options.
pub const LAYOUT: Layout = Layout { name: "catalog record", len: OPTIONS, fields: FIELDS };

const DURABILITY: u64 = 1;
const TIME_TO_LIVE: u64 = 2;

/// What an object of the catalog is. On disk: never renumber.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A key space.
    Database = 1,
    /// A tree of records. Reserved.
    Container = 2,
    /// A set of blobs. Reserved.
    Depot = 3,
}

/// How safe a commit is before it is acknowledged. On disk: never renumber.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DurabilityTag {
    /// In the memory of the process.
    Memory = 1,
    /// In memory that the kernel owns.
    Buffered = 2,
    /// On the device.
    Synced = 3,
}

/// The key of an object: its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogKey {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name, see [`check_name`].
    pub name: String,
}

/// What the catalog says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogRecord {
    /// Its id. Never reused.
    pub id: DatabaseId,
    /// The durability of commits that name none; `None`: that of the store.
    pub durability: Option<DurabilityTag>,
    /// For how many milliseconds entries are there that do not say so themselves, at least 1; `None`: for ever.
    pub time_to_live: Option<u64>,
}

/// Whether a name is one: 1 to [`MAX_NAME_LEN`] bytes of UTF-8 without NUL.
///
/// # Errors
/// A corruption that says what a name must be.
pub fn check_name(name: &str) -> Result<()> {
    let what = "name";
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        let expected = format!("1 to {MAX_NAME_LEN} bytes");
        return Err(DecodeError::corrupt(what, 0, expected, format!("{} bytes", name.len())));
    }
    match name.bytes().position(|byte| byte == 0) {
        Some(at) => Err(DecodeError::corrupt(what, at as u64, "no NUL byte", "one")),
        None => Ok(()),
    }
}

impl CatalogKey {
    /// The key's bytes.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(check_name(&self.name).is_ok());
        [&[self.kind as u8], self.name.as_bytes()].concat()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// A corruption if the kind is unknown or the name is none.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = |at: usize, expected: &str, found: String| {
            Err(DecodeError::corrupt(KEY, at as u64, expected, found))
        };
        let Some((&kind, name)) = bytes.split_first() else {
            return corrupt(0, "a kind and a name", "no bytes".into());
        };
        let kind = match kind {
            1 => ObjectKind::Database,
            2 => ObjectKind::Container,
            3 => ObjectKind::Depot,
            _ => return corrupt(0, "a kind of 1 to 3", kind.to_string()),
        };
        match std::str::from_utf8(name) {
            Ok(name) => {
                check_name(name).map_err(|error| error.at(1))?;
                Ok(Self { kind, name: name.into() })
            }
            Err(error) => corrupt(1 + error.valid_up_to(), "UTF-8", "other bytes".into()),
        }
    }
}

impl CatalogRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![RECORD_VERSION];
        out.extend_from_slice(&self.id.0.to_le_bytes());
        if let Some(durability) = self.durability {
            tagged::put(&mut out, DURABILITY, &[durability as u8]);
        }
        if let Some(time) = self.time_to_live {
            tagged::put_u64(&mut out, TIME_TO_LIVE, time.max(1));
        }
        out
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Reason::TooNew`] if a later version wrote it; a corruption if an option is malformed,
    /// unknown, or there twice.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let fixed = Fixed::new(&LAYOUT, bytes)?;
        let version = fixed.u8(VERSION);
        if version > RECORD_VERSION {
            let expected = format!("version {RECORD_VERSION} or older");
            let found = format!("version {version}");
            return Err(DecodeError::new(Reason::TooNew, LAYOUT.name, 0, expected, found));
        }
        if version == 0 {
            return Err(fixed.corrupt(VERSION, "a record version", "0"));
        }
        let (mut durability, mut time_to_live) = (None, None);
        for option in Fields::new(LAYOUT.name, &bytes[OPTIONS..]) {
            let option = option.map_err(|error| error.at(OPTIONS as u64))?;
            let read = match (option.tag, option.bytes) {
                (DURABILITY, [1]) => option.once(&mut durability, DurabilityTag::Memory),
                (DURABILITY, [2]) => option.once(&mut durability, DurabilityTag::Buffered),
                (DURABILITY, [3]) => option.once(&mut durability, DurabilityTag::Synced),
                (DURABILITY, _) => Err(option.corrupt("a durability of 1 to 3, one byte")),
                (TIME_TO_LIVE, _) => match option.u64() {
                    Ok(time) if time > 0 => option.once(&mut time_to_live, time),
                    _ => Err(option.corrupt("a time to live of a millisecond or more, one varint")),
                },
                _ => Err(option.corrupt("a known option")),
            };
            read.map_err(|error| error.at(OPTIONS as u64))?;
        }
        Ok(Self { id: DatabaseId(fixed.u32(ID)), durability, time_to_live })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DURABILITIES: [Option<DurabilityTag>; 4] = [
        None,
        Some(DurabilityTag::Memory),
        Some(DurabilityTag::Buffered),
        Some(DurabilityTag::Synced),
    ];

    #[test]
    fn names() {
        for good in ["a", "0", "path/to/it", "\u{e9}", &"x".repeat(255)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a\0", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_keys() {
        for bad in [&b""[..], b"\x01", b"\x00a", b"\x04a", b"\x01a\0", b"\x01\xff"] {
            assert!(CatalogKey::decode(bad).is_err(), "{bad:?}");
        }
        assert!(CatalogKey::decode(&[1; 257]).is_err());
    }

    #[test]
    fn hostile_records() {
        let good = [1, 16, 0, 0, 0, 1, 1, 3];
        let durability = Some(DurabilityTag::Synced);
        let record = CatalogRecord { id: DatabaseId(16), durability, time_to_live: None };
        assert_eq!(CatalogRecord::decode(&good), Ok(record));
        let lives = [&good[..], &[2, 1, 9]].concat();
        let record = CatalogRecord { time_to_live: Some(9), ..record };
        assert_eq!(CatalogRecord::decode(&lives), Ok(record));
        let reason = |bytes: &[u8]| CatalogRecord::decode(bytes).unwrap_err().reason;
        let with = |at: usize, byte| {
            let mut bad = good;
            bad[at] = byte;
            reason(&bad)
        };
        assert_eq!(with(0, 2), Reason::TooNew);
        for (at, byte) in [(0, 0), (5, 3), (6, 0), (6, 2), (7, 0), (7, 4)] {
            assert_eq!(with(at, byte), Reason::Corrupt);
        }
        for bad in [&[2, 1, 0][..], &[2, 0], &[2, 2, 9, 9], &[2, 1, 9, 2, 1, 9], &[3, 1, 9]] {
            assert_eq!(reason(&[&good[..], bad].concat()), Reason::Corrupt, "{bad:?}");
        }
        assert_eq!(reason(&good[..4]), Reason::Corrupt);
        assert_eq!(reason(&[&good[..], &good[5..]].concat()), Reason::Corrupt, "twice");
    }

    proptest! {
        #[test]
        fn round_trip(
            kind in 0..3usize, name in "[^\0]{1,60}", id: u32, durability in 0..4usize, time: u64,
        ) {
            let kind = [ObjectKind::Database, ObjectKind::Container, ObjectKind::Depot][kind];
            let key = CatalogKey { kind, name };
            prop_assert_eq!(CatalogKey::decode(&key.encode()), Ok(key));
            let durability = DURABILITIES[durability];
            let time_to_live = Some(time).filter(|time| *time > 0);
            let record = CatalogRecord { id: DatabaseId(id), durability, time_to_live };
            prop_assert_eq!(CatalogRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes: Vec<u8>, current: bool) {
            if current {
                bytes.splice(0..0, [1]);
            }
            let _ = CatalogKey::decode(&bytes);
            let _ = CatalogRecord::decode(&bytes);
        }
    }
}
