//! TSV: `key<TAB>value`, and `<TAB>time` if it expires, in milliseconds since 1970. Bytes 00-1F, 7F and the backslash are written as `\t \n \r \\ \xNN`,
//! bytes that are not part of valid UTF-8 as `\xNN`; everything else stands verbatim.

use std::borrow::Cow;
use std::io::{self, Write};

use super::{Entry, Written};

/// Reads a line, its LF stripped.
pub(super) fn parse(line: &[u8]) -> Result<Entry<'_>, String> {
    if line.last() == Some(&b'\r') {
        return Err("a CR before the end of the line: convert the file to LF line ends".to_owned());
    }
    let mut columns = line.split(|byte| *byte == b'\t');
    let (Some(key), Some(value)) = (columns.next(), columns.next()) else {
        return Err("no tab between a key and a value".to_owned());
    };
    let expiry = columns.next().map(time).transpose()?;
    if columns.next().is_some() {
        return Err("a third tab: one inside a key or value is written \\t".to_owned());
    }
    Ok(Entry { key: unescape(key)?, value: unescape(value)?, expiry })
}

fn time(text: &[u8]) -> Result<u64, String> {
    let time = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    time.filter(|time| *time > 0).ok_or_else(|| {
        let found = text.get(..20).unwrap_or(text).escape_ascii();
        format!(
            "behind a second tab is no time in milliseconds, but \"{found}\": a tab inside a key or value is \
             written \\t"
        )
    })
}

fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let Some(first) = text.iter().position(|byte| *byte == b'\\') else {
        return Ok(Cow::Borrowed(text));
    };
    let (plain, mut rest) = text.split_at(first);
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(plain);
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            let run = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
            let (plain, after) = rest.split_at(run);
            out.extend_from_slice(plain);
            rest = after;
            continue;
        }
        let (byte, after) = unescape_one(after)?;
        out.push(byte);
        rest = after;
    }
    Ok(Cow::Owned(out))
}

/// What the text behind a backslash stands for, and what follows it.
fn unescape_one(text: &[u8]) -> Result<(u8, &[u8]), String> {
    let unknown = |len: usize| {
        let found = text.get(..len.min(text.len())).unwrap_or_default().escape_ascii();
        Err(format!("unknown escape \\{found}: expected \\t, \\n, \\r, \\\\ or \\xNN"))
    };
    match text {
        [b't', rest @ ..] => Ok((b'\t', rest)),
        [b'n', rest @ ..] => Ok((b'\n', rest)),
        [b'r', rest @ ..] => Ok((b'\r', rest)),
        [b'\\', rest @ ..] => Ok((b'\\', rest)),
        [b'x', high, low, rest @ ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => Ok(((high << 4 | low) as u8, rest)),
                _ => unknown(3),
            }
        }
        [b'x', ..] => unknown(3),
        _ => unknown(1),
    }
}

/// Writes an entry as a line; without a value, only its key.
pub(super) fn write(out: &mut impl Write, entry: &Written<'_>) -> io::Result<()> {
    write_escaped(out, entry.key)?;
    if let Some(value) = entry.value {
        out.write_all(b"\t")?;
        write_escaped(out, value)?;
        if let Some(expiry) = entry.expiry {
            write!(out, "\t{expiry}")?;
        }
    }
    out.write_all(b"\n")
}

/// Writes bytes with escapes.
fn write_escaped(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        write_valid(out, chunk.valid().as_bytes())?;
        for byte in chunk.invalid() {
            out.write_all(&hex_escape(*byte))?;
        }
    }
    Ok(())
}

/// `\xNN`. By hand: formatting would be most of the time of a dump of binary values.
fn hex_escape(byte: u8) -> [u8; 4] {
    let digit = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    [b'\\', b'x', digit(byte >> 4), digit(byte & 15)]
}

/// The same for valid UTF-8: long runs go out as they are.
fn write_valid(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    let special = |byte: &u8| matches!(byte, 0..=0x1f | 0x7f | b'\\');
    while let Some(at) = text.iter().position(special) {
        let (plain, rest) = text.split_at(at);
        out.write_all(plain)?;
        let Some((byte, rest)) = rest.split_first() else { break };
        match byte {
            b'\t' => out.write_all(b"\\t")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\\' => out.write_all(b"\\\\")?,
            byte => out.write_all(&hex_escape(*byte))?,
        }
        text = rest;
    }
    out.write_all(text)
}

/// Bytes with escapes, as text.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    // Writing to memory does not fail, and what is written is UTF-8.
    let _ = write_escaped(&mut out, bytes);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
        parse(line.as_bytes()).map(|entry| (entry.key.into_owned(), entry.value.into_owned()))
    }

    #[test]
    fn escapes_exactly_what_it_must() {
        assert_eq!(escape(b"a\tb\nc\rd\\e\0\x1f\x7f"), "a\\tb\\nc\\rd\\\\e\\x00\\x1f\\x7f");
        assert_eq!(escape("grün \u{85} \u{1f6a2}".as_bytes()), "grün \u{85} \u{1f6a2}");
        assert_eq!(escape(b"\xc3\xa4 \xc3 \xff\xf0\x9f"), "ä \\xc3 \\xff\\xf0\\x9f");
        assert_eq!(escape(b""), "");
    }

    #[test]
    fn reads_what_others_write() {
        assert_eq!(read("k\tv"), Ok((b"k".to_vec(), b"v".to_vec())));
        assert_eq!(read("\t"), Ok((vec![], vec![])));
        assert_eq!(read("\\xFF\\x0a\t\\x41"), Ok((vec![255, 10], b"A".to_vec())));
        assert_eq!(parse(b"\xff\t\x01").unwrap().key.as_ref(), b"\xff", "raw bytes are kept");
        assert_eq!(read("a\rb\tv"), Ok((b"a\rb".to_vec(), b"v".to_vec())));
    }

    #[test]
    fn refuses_bad_lines() {
        for (line, reason) in [
            ("", "no tab"),
            ("key", "no tab"),
            ("k\tv\tw", "behind a second tab"),
            ("k\tv\t0", "behind a second tab"),
            ("k\tv\t1\t2", "a third tab"),
            ("k\tv\r", "CR"),
            ("k\\q\tv", "unknown escape \\q"),
            ("k\tv\\", "unknown escape \\"),
            ("k\t\\x4", "unknown escape \\x4"),
            ("k\t\\xg0", "unknown escape \\xg0"),
            ("k\t\\0", "unknown escape \\0"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(reason), "{line:?}: {error}");
        }
    }
}
