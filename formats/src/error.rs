//! The one error of this crate: what was being read, where, what was expected, what was found.

use std::fmt;

/// Why bytes were refused. A caller acts on this; the words are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The bytes break a rule of the format.
    Corrupt,
    /// The file does not begin like any file of Orlop.
    NotOrlop,
    /// The bytes were written by a newer version of the format.
    TooNew,
    /// A right format in a wrong place: another store, another file number, another file id.
    Foreign,
}

/// Bytes that do not decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Why the bytes were refused.
    pub reason: Reason,
    /// What was being decoded, for example "superblock slot".
    pub what: &'static str,
    /// Where, in bytes from the start of what the decoder was given (see [`DecodeError::at`]).
    pub offset: u64,
    /// What a valid file would hold there.
    pub expected: String,
    /// What this one holds.
    pub found: String,
}

/// The result of every decoder in this crate.
pub type Result<T> = std::result::Result<T, DecodeError>;

impl DecodeError {
    /// An error with the reason given.
    pub fn new(
        reason: Reason,
        what: &'static str,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { reason, what, offset, expected: expected.into(), found: found.into() }
    }

    /// An error with [`Reason::Corrupt`].
    pub fn corrupt(
        what: &'static str,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::new(Reason::Corrupt, what, offset, expected, found)
    }

    /// The same error with `base` added to its offset: a decoder of a part counts from the part,
    /// its caller knows where the part lies in the file.
    #[must_use]
    pub fn at(mut self, base: u64) -> Self {
        self.offset = self.offset.saturating_add(base);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, offset, expected, found, .. } = self;
        write!(f, "{what} at offset {offset}: expected {expected}, found {found}")
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_expected_and_found() {
        let error = DecodeError::corrupt("frame", 8, "kind 1 or 2", "kind 9").at(4096);
        assert_eq!(error.to_string(), "frame at offset 4104: expected kind 1 or 2, found kind 9");
        assert_eq!(error.clone().at(u64::MAX).offset, u64::MAX);
    }
}
