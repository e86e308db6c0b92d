//! Hexadecimal: `key<TAB>value`, both as digits, and `<TAB>time` if it expires, in milliseconds since 1970. For the eye
//! and for `--hex`.

use std::io::{self, Write};

use super::Written;

/// Writes an entry as a line; without a value, only its key.
pub(super) fn write(out: &mut impl Write, entry: &Written<'_>) -> io::Result<()> {
    write_hex(out, entry.key)?;
    if let Some(value) = entry.value {
        out.write_all(b"\t")?;
        write_hex(out, value)?;
        if let Some(expiry) = entry.expiry {
            write!(out, "\t{expiry}")?;
        }
    }
    out.write_all(b"\n")
}

fn write_hex(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for chunk in bytes.chunks(256) {
        let mut digits = [0; 512];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(chunk) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out.write_all(&digits[..2 * chunk.len()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_digits() {
        let mut out = Vec::new();
        let value = Some(&[7; 300][..]);
        write(&mut out, &Written { key: &[0, 255, 0x1a], value, expiry: Some(9) }).unwrap();
        assert_eq!(out, format!("00ff1a\t{}\t9\n", "07".repeat(300)).as_bytes());
        out.clear();
        write(&mut out, &Written { key: b"", value: None, expiry: None }).unwrap();
        assert_eq!(out, b"\n");
    }
}
