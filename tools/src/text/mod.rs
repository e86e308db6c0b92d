//! Entries as lines of text. Each form writes what it reads: a dump that is loaded gives the same
//! entries, whatever their bytes.

mod hex;
mod lines;
mod ndjson;
mod tsv;

use std::borrow::Cow;
use std::io::{self, Write};

use orlop_formats::limits::{MAX_KEY_LEN, MAX_VALUE_LEN};

use crate::cli::{ScanFormat, TextFormat};

pub(crate) use lines::{Line, Lines};
pub(crate) use tsv::escape;

/// An entry of a line; borrowed from it where nothing was escaped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) value: Cow<'a, [u8]>,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expiry: Option<u64>,
}

/// An entry to be written: without a value only its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) expiry: Option<u64>,
}

/// Reads a line, its LF stripped.
///
/// # Errors
/// A clause that says what is wrong with the line.
pub(crate) fn parse(format: TextFormat, line: &[u8]) -> Result<Entry<'_>, String> {
    let entry = match format {
        TextFormat::Tsv => tsv::parse(line)?,
        TextFormat::Ndjson => ndjson::parse(line)?,
    };
    let over = |what: &str, len: usize, limit: usize| {
        Err(format!("{what} of {len} bytes is over the limit of {limit} bytes"))
    };
    if entry.key.len() > MAX_KEY_LEN {
        return over("a key", entry.key.len(), MAX_KEY_LEN);
    }
    if entry.value.len() > MAX_VALUE_LEN {
        return over("a value", entry.value.len(), MAX_VALUE_LEN);
    }
    Ok(entry)
}

/// Bytes that no good line is longer than: every byte of an entry escaped in the longest way.
pub(crate) fn max_line_len(format: TextFormat) -> usize {
    let longest_escape = match format {
        TextFormat::Tsv => 4,
        TextFormat::Ndjson => 6,
    };
    longest_escape * (MAX_KEY_LEN + MAX_VALUE_LEN) + 4096
}

/// Writes an entry as a line.
pub(crate) fn write(
    out: &mut impl Write,
    format: ScanFormat,
    entry: &Written<'_>,
) -> io::Result<()> {
    match format {
        ScanFormat::Tsv => tsv::write(out, entry),
        ScanFormat::Ndjson => ndjson::write(out, entry),
        ScanFormat::Hex => hex::write(out, entry),
    }
}

impl From<TextFormat> for ScanFormat {
    fn from(format: TextFormat) -> Self {
        match format {
            TextFormat::Tsv => ScanFormat::Tsv,
            TextFormat::Ndjson => ScanFormat::Ndjson,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..40),
            any::<String>().prop_map(String::into_bytes),
            vec(prop_oneof![Just(b'\\'), Just(b'\t'), Just(b'x'), Just(0xc3), Just(0xa4)], 0..12),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(key in bytes(), value in bytes(), expiry: Option<u64>) {
            let expiry = expiry.filter(|expiry| *expiry > 0);
            for format in [TextFormat::Tsv, TextFormat::Ndjson] {
                let mut line = Vec::new();
                let written = Written { key: &key, value: Some(&value), expiry };
                write(&mut line, format.into(), &written).unwrap();
                prop_assert_eq!(line.pop(), Some(b'\n'));
                prop_assert!(!line.contains(&b'\n'), "one entry, one line");
                prop_assert!(std::str::from_utf8(&line).is_ok());
                let entry = parse(format, &line).unwrap();
                prop_assert_eq!((&*entry.key, &*entry.value), (&key[..], &value[..]));
                prop_assert_eq!(entry.expiry, expiry);
            }
        }

        #[test]
        fn any_line_is_read_or_refused(line in bytes()) {
            let _ = parse(TextFormat::Tsv, &line);
            let _ = parse(TextFormat::Ndjson, &line);
        }
    }

    #[test]
    fn over_the_limit_is_a_bad_line() {
        let line = [vec![b'k'; MAX_KEY_LEN + 1], b"\tv".to_vec()].concat();
        assert!(parse(TextFormat::Tsv, &line).unwrap_err().contains("65536 bytes"));
        assert!(parse(TextFormat::Tsv, &line[1..]).is_ok());
    }
}
