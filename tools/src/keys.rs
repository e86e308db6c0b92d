//! Keys and bounds as they are typed, and the range that bounds make together.

use std::ffi::{OsStr, OsString};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orlop_formats::catalog;
use orlop_formats::limits::{MAX_KEY_LEN, MAX_NAME_LEN, MAX_VALUE_LEN};

use crate::cli::{Notation, TypedBounds};
use crate::failure::Failure;

/// The bytes of a key or bound. `what` names the argument in an error.
pub(crate) fn parse(typed: &OsStr, notation: Notation, what: &str) -> Result<Vec<u8>, Failure> {
    let bytes = typed.as_encoded_bytes();
    let key = if notation.hex {
        decode_hex(bytes).map_err(|why| bad(what, "hexadecimal", &why))?
    } else if notation.base64 {
        STANDARD.decode(bytes).map_err(|error| bad(what, "base64", &error.to_string()))?
    } else {
        bytes.to_vec()
    };
    check_len("key", key.len(), MAX_KEY_LEN)?;
    Ok(key)
}

fn bad(what: &str, notation: &str, why: &str) -> Failure {
    Failure::new(format!("{what} is not {notation}: {}", why.replace('\n', " ")))
}

fn decode_hex(typed: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |(at, byte): (usize, &u8)| {
        let digit = char::from(*byte).to_digit(16).ok_or_else(|| {
            let found = byte.escape_ascii();
            format!("position {at} holds {found}, not a digit 0-9 or a-f")
        })?;
        Ok::<_, String>(digit as u8)
    };
    let digits = typed.iter().enumerate().map(digit).collect::<Result<Vec<_>, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("{} digits are not a whole number of bytes", digits.len()));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Refuses what the engine would refuse, before anything is opened or created.
fn check_len(what: &'static str, found: usize, limit: usize) -> Result<(), Failure> {
    if found <= limit {
        return Ok(());
    }
    let (limit, found) = (limit as u64, found as u64);
    Err(Failure::Engine(orlop::Error::TooLarge { what, limit, found }))
}

/// Refuses a value over the limit.
pub(crate) fn check_value(len: usize) -> Result<(), Failure> {
    check_len("value", len, MAX_VALUE_LEN)
}

/// Refuses a database name that no store takes.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    if catalog::check_name(name).is_ok() {
        return Ok(());
    }
    let why = match name.len() {
        0 => "it is empty",
        len if len > MAX_NAME_LEN => "it is longer than 255 bytes",
        _ => "it contains a NUL byte",
    };
    Err(Failure::Engine(orlop::Error::InvalidName { name: name.to_owned(), why }))
}

/// Keys from one, included, to another, excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: Vec<u8>,
    /// `None`: to the last key.
    pub(crate) end: Option<Vec<u8>>,
}

impl Bounds {
    /// What lies inside all three, as they are typed.
    pub(crate) fn parse(
        TypedBounds { prefix, from, to }: &TypedBounds,
        notation: Notation,
    ) -> Result<Self, Failure> {
        let bound = |typed: &Option<OsString>, what| {
            typed.as_ref().map(|typed| parse(typed, notation, what)).transpose()
        };
        let (prefix, from) = (bound(prefix, "--prefix")?, bound(from, "--from")?);
        Ok(Self::intersect(prefix, from, bound(to, "--to")?))
    }

    /// What lies inside all three.
    pub(crate) fn intersect(
        prefix: Option<Vec<u8>>,
        from: Option<Vec<u8>>,
        to: Option<Vec<u8>>,
    ) -> Self {
        let prefix = prefix.unwrap_or_default();
        let prefix_end = behind_prefix(&prefix);
        let start = from.unwrap_or_default().max(prefix);
        let end = match (prefix_end, to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { start, end }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether a key lies at or behind the end.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_some_and(|end| key >= end)
    }
}

/// The least key that is greater than all that begin with `prefix`.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    *end.last_mut()? += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: Notation = Notation { hex: true, base64: false };
    const BASE64: Notation = Notation { hex: false, base64: true };
    const PLAIN: Notation = Notation { hex: false, base64: false };

    fn parsed(typed: &str, notation: Notation) -> Result<Vec<u8>, String> {
        parse(OsStr::new(typed), notation, "KEY").map_err(|failure| failure.to_string())
    }

    #[test]
    fn three_notations() {
        assert_eq!(parsed("00fFa0", HEX), Ok(vec![0, 255, 160]));
        assert_eq!(parsed("", HEX), Ok(vec![]));
        assert_eq!(parsed("AP+g", BASE64), Ok(vec![0, 255, 160]));
        assert_eq!(parsed("00ff", PLAIN), Ok(b"00ff".to_vec()));
    }

    #[test]
    fn a_bad_notation_says_where() {
        assert!(parsed("00fx", HEX).unwrap_err().contains("position 3 holds x"));
        assert!(parsed("00f", HEX).unwrap_err().contains("3 digits"));
        assert!(parsed("AP+", BASE64).unwrap_err().contains("KEY is not base64"));
        assert!(parsed("A*+g", BASE64).unwrap_err().contains('1'));
    }

    #[test]
    fn the_limits_hold() {
        assert!(parsed(&"k".repeat(65_535), PLAIN).is_ok());
        assert!(parsed(&"k".repeat(65_536), PLAIN).is_err());
        assert!(check_name("").is_err());
        assert!(check_name(&"n".repeat(255)).is_ok());
        assert!(check_name(&"n".repeat(256)).is_err());
    }

    proptest! {
        #[test]
        fn bounds_are_an_intersection(
            prefix in proptest::option::of(proptest::collection::vec(250u8.., 0..3)),
            from in proptest::option::of(proptest::collection::vec(250u8.., 0..3)),
            to in proptest::option::of(proptest::collection::vec(250u8.., 0..3)),
            key in proptest::collection::vec(250u8.., 0..4),
        ) {
            let expected = prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix))
                && from.as_ref().is_none_or(|from| key >= *from)
                && to.as_ref().is_none_or(|to| key < *to);
            let bounds = Bounds::intersect(prefix, from, to);
            let inside = key >= bounds.start && !bounds.ends_before(&key);
            prop_assert_eq!(inside, expected);
            prop_assert!(!(inside && bounds.is_empty()));
        }
    }
}
