//! Lines of a stream, one in memory at a time, none longer than a limit.

use std::io::{self, BufRead, Read};

/// A buffer that grew over this is given back after its line.
const KEEP_BYTES: usize = 1 << 20;

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes without the LF.
    Bytes(&'a [u8]),
    /// It is longer than the limit; its bytes were skipped.
    TooLong,
}

/// See the module.
pub(crate) struct Lines<R> {
    reader: R,
    limit: usize,
    buffer: Vec<u8>,
    read: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, buffer: Vec::new(), read: 0 }
    }

    /// Bytes read so far, LFs included.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next line; `None` at the end. The LF of the last line is optional.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.buffer.capacity() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        let most = self.limit as u64 + 1;
        self.reader.by_ref().take(most).read_until(b'\n', &mut self.buffer)?;
        self.read += self.buffer.len() as u64;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > self.limit {
            self.read += self.reader.skip_until(b'\n')? as u64;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Bytes(&self.buffer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, limit: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(text.as_bytes(), limit);
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(match line {
                Line::Bytes(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.bytes_read(), text.len() as u64);
        out
    }

    #[test]
    fn the_last_lf_is_optional() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(lines("a\n\nb", 9), [some("a"), some(""), some("b")]);
        assert_eq!(lines("a\n\nb\n", 9), [some("a"), some(""), some("b")]);
        assert_eq!(lines("", 9), []);
    }

    #[test]
    fn long_lines_are_skipped() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            lines("abc\nabcd\nabcde\nx\nabcdefgh", 4),
            [some("abc"), some("abcd"), None, some("x"), None]
        );
    }
}
