//! Proving a block whole: what a reader trusts after the checksum, a verifier looks at.

use super::{Block, FLAG_TAILS, HEADER_LEN, LAYOUT};
use crate::error::{DecodeError, Result};
use crate::ids::{Kind, Seqno};
use crate::layout::zeros;

impl Block<'_> {
    /// Checks everything that [`Block::parse`] leaves out, in time linear in the block: offsets
    /// ascend and cover their region, keys and sequence numbers are in order, kinds are valid, a
    /// delete has no value, padding is zero, the values decompress.
    pub fn check(&self) -> Result<()> {
        self.check_offsets("value offsets", self.value_offsets(), self.plain_len)?;
        if self.flags & FLAG_TAILS != 0 {
            self.check_offsets("tail offsets", self.tail_offsets(), self.tails().len())?;
        }
        self.check_padding()?;
        let mut previous: Option<(Vec<u8>, Seqno)> = None;
        for i in 0..self.count {
            self.check_entry(i)?;
            let mut key = Vec::new();
            self.key_into(i, &mut key)?;
            let seqno = self.seqno(i);
            if let Some((last, last_seqno)) = &previous
                && (*last > key || *last == key && *last_seqno <= seqno)
            {
                return Err(entry_error(i, "keys ascending, then seqnos descending"));
            }
            previous = Some((key, seqno));
        }
        if self.is_compressed() {
            self.decompress_values(&mut Vec::new())?;
        }
        Ok(())
    }

    fn check_offsets(&self, what: &'static str, table: &[u8], len: usize) -> Result<()> {
        let mut end = 0;
        for i in 0..self.count {
            match self.offsets(table, i) {
                Some(range) if range.start == end && range.end >= end && range.end <= len => {
                    end = range.end;
                }
                range => {
                    let expected = format!("{what} from {end} up to {len}");
                    return Err(DecodeError::corrupt(
                        LAYOUT.name,
                        0,
                        expected,
                        format!("{range:?}"),
                    ));
                }
            }
        }
        if end == len {
            return Ok(());
        }
        Err(DecodeError::corrupt(LAYOUT.name, 0, format!("{what} up to {len}"), end.to_string()))
    }

    /// Every byte between two regions is zero.
    fn check_padding(&self) -> Result<()> {
        let width = self.column().width();
        let regions = [
            self.prefix().len(),
            self.count * width,
            self.shorts().len(),
            self.tail_offsets().len(),
            self.tails().len(),
            self.value_offsets().len(),
            self.kinds().len(),
        ];
        let mut at = HEADER_LEN;
        for len in regions {
            let (end, next) = (at + len, (at + len).next_multiple_of(8));
            zeros(LAYOUT.name, self.body.get(end..next).unwrap_or_default(), end as u64)?;
            at = next;
        }
        Ok(())
    }

    fn check_entry(&self, i: usize) -> Result<()> {
        let (short, width) = (self.short(i), self.column().width());
        if self.shorts().get(i).is_some_and(|stored| usize::from(*stored) > width) {
            return Err(entry_error(i, "at most the column's width of bytes"));
        }
        let unused = 8 * (width - short) as u32;
        if unused > 0 {
            let mask = u64::MAX.checked_shr(64 - unused).unwrap_or(u64::MAX);
            let tail = match self.flags & FLAG_TAILS {
                0 => 0..0,
                _ => self.offsets(self.tail_offsets(), i).unwrap_or(0..0),
            };
            if self.column().get(i) & mask != 0 || !tail.is_empty() {
                return Err(entry_error(i, "nothing behind the end of a short key"));
            }
        }
        if self.kind(i)? == Kind::Delete && !self.value_range(i)?.is_empty() {
            return Err(entry_error(i, "no value of a delete"));
        }
        Ok(())
    }
}

fn entry_error(i: usize, expected: &str) -> DecodeError {
    DecodeError::corrupt(LAYOUT.name, 0, expected, format!("something else in entry {i}"))
}
