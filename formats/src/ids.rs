//! The names of things: stores, files, databases, commits and the kinds of entries.

use std::fmt;

/// A place in the commit order of a store. 0 is before every commit.
pub type Seqno = u64;

/// The number of a file in its store. Never reused; 0 is the superblock, or "none".
pub type FileNumber = u64;

/// Where and when a reader reads: it sees what was written up to a commit, and has not expired by a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last commit that it sees.
    pub seqno: Seqno,
    /// Its time, in milliseconds since 1970.
    pub now: u64,
}

impl AsOf {
    /// Whether an entry with this expiry has expired: from that millisecond on.
    #[inline]
    pub fn has_passed(self, expiry: Option<u64>) -> bool {
        expiry.is_some_and(|expiry| expiry <= self.now)
    }
}

/// 16 random bytes that name one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreId(pub [u8; 16]);

/// 16 random bytes that name one file, drawn anew when the file is created.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub [u8; 16]);

/// The number of a database in its store. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DatabaseId(pub u32);

/// The database that holds the catalog (see [`crate::catalog`]).
pub const SYSTEM_DATABASE: DatabaseId = DatabaseId(0);

/// The lowest id a database of a user can have; 1 to 15 are reserved.
pub const FIRST_USER_DATABASE: u32 = 16;

/// What an entry does to its key. These numbers are in every log and every table: never renumber
/// them, never give 0 a meaning.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The key has this value.
    Put = 1,
    /// The key has no value.
    Delete = 2,
    /// The key has a value that lies in a blob file; the entry's value is the pointer. Reserved.
    PutBlob = 3,
    /// Every key from this one up to, and without, the entry's value is deleted; to the end of the database, if the value
    /// is empty. In batches only: of tables the manifest knows them.
    RangeDelete = 4,
    /// The entry's value is an operand to combine with older values. Reserved.
    Merge = 5,
}

impl Kind {
    /// The kind with this number, if there is one.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::PutBlob),
            4 => Some(Self::RangeDelete),
            5 => Some(Self::Merge),
            _ => None,
        }
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_numbers() {
        let known = [Kind::Put, Kind::Delete, Kind::PutBlob, Kind::RangeDelete, Kind::Merge];
        for byte in 0..=255u8 {
            let expected = known.iter().copied().find(|kind| *kind as u8 == byte);
            assert_eq!(Kind::from_byte(byte), expected);
        }
        assert_eq!(known.map(|kind| kind as u8), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn ids_print_as_hex() {
        let id = StoreId([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(format!("{:?}", FileId([1; 16])), format!("FileId({})", "01".repeat(16)));
        assert_eq!(DatabaseId(16).to_string(), "16");
    }
}
