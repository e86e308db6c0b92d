//! The names of the files in a store's directory.
//!
//! A name has one spelling, so that two files never stand for one number.

use crate::ids::FileNumber;
use crate::limits::MAX_FILE_NUMBER;
use std::fmt;

const TEMPORARY: &str = ".tmp";

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `SUPER`: the superblock.
    Superblock,
    /// `LOCK`: locked while the store is open for writing; its text, "pid N\n", is advice.
    Lock,
    /// `000012.log`: a segment of the log.
    Log(FileNumber),
    /// `000012.stage`: what is on its way into a segment.
    Stage(FileNumber),
    /// `000012.manifest`
    Manifest(FileNumber),
    /// `000012.sst`
    Sstable(FileNumber),
    /// `000012.blob`. Reserved: version 1 has none.
    Blob(FileNumber),
}

impl FileName {
    /// The number in the name, if the kind of file has one.
    pub fn number(&self) -> Option<FileNumber> {
        match *self {
            FileName::Superblock | FileName::Lock => None,
            FileName::Log(number)
            | FileName::Stage(number)
            | FileName::Manifest(number)
            | FileName::Sstable(number)
            | FileName::Blob(number) => Some(number),
        }
    }

    /// The file with this name; `None` if it is not a file of a store, or not spelled as we do.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "SUPER" => return Some(Self::Superblock),
            "LOCK" => return Some(Self::Lock),
            _ => {}
        }
        let (digits, extension) = name.split_once('.')?;
        let canonical = digits.len() == 6 || digits.len() > 6 && !digits.starts_with('0');
        if !canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = digits.parse().ok().filter(|number| *number <= MAX_FILE_NUMBER)?;
        match extension {
            "log" => Some(Self::Log(number)),
            "stage" => Some(Self::Stage(number)),
            "manifest" => Some(Self::Manifest(number)),
            "sst" => Some(Self::Sstable(number)),
            "blob" => Some(Self::Blob(number)),
            _ => None,
        }
    }

    /// The name under which the file is written before it is renamed to its own.
    pub fn temporary(&self) -> String {
        format!("{self}{TEMPORARY}")
    }

    /// Whether a name is that of a temporary file of a store. Any that an open finds is litter of
    /// a crash, and may be deleted.
    pub fn is_temporary(name: &str) -> bool {
        Self::parse_temporary(name).is_some()
    }

    /// The file whose temporary name this is.
    pub fn parse_temporary(name: &str) -> Option<Self> {
        name.strip_suffix(TEMPORARY).and_then(Self::parse)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => f.write_str("SUPER"),
            Self::Lock => f.write_str("LOCK"),
            Self::Log(number) => write!(f, "{number:06}.log"),
            Self::Stage(number) => write!(f, "{number:06}.stage"),
            Self::Manifest(number) => write!(f, "{number:06}.manifest"),
            Self::Sstable(number) => write!(f, "{number:06}.sst"),
            Self::Blob(number) => write!(f, "{number:06}.blob"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let names = [
            (FileName::Superblock, "SUPER"),
            (FileName::Lock, "LOCK"),
            (FileName::Log(12), "000012.log"),
            (FileName::Stage(13), "000013.stage"),
            (FileName::Manifest(999_999), "999999.manifest"),
            (FileName::Sstable(1_000_000), "1000000.sst"),
            (FileName::Blob(MAX_FILE_NUMBER), "72057594037927935.blob"),
        ];
        for (file, name) in names {
            assert_eq!(file.to_string(), name);
            assert_eq!(FileName::parse(name), Some(file));
            assert_eq!(FileName::parse_temporary(&file.temporary()), Some(file));
        }
    }

    #[test]
    fn other_spellings() {
        let names = [
            "",
            "super",
            "SUPER.tmp",
            "12.log",
            "0000012.log",
            "+00012.log",
            "000012.LOG",
            "000012",
            "000012.log.tmp",
            "72057594037927936.log",
            "18446744073709551615.log",
            "99999999999999999999.log",
            "00001\u{0662}.log",
        ];
        for name in names {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
        assert!(!FileName::is_temporary("notes.tmp"));
        assert!(!FileName::is_temporary("000012.log"));
    }

    proptest! {
        #[test]
        fn what_parses_is_canonical(name in "[0-9]{1,8}\\.(log|stage|sst|manifest|blob)|\\PC*") {
            if let Some(file) = FileName::parse(&name) {
                prop_assert_eq!(file.to_string(), name);
            }
        }
    }
}
