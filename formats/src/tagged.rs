//! Tagged fields: tag varint, length varint, bytes; again and again to the end of the record.
//!
//! Records that will grow use them: manifest edits, table properties, catalog records. Whether an
//! unknown tag is skipped or refused is the record's rule, not this module's.

use crate::error::{DecodeError, Result};
use crate::varint;

/// Appends a field.
pub(crate) fn put(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    varint::put(out, tag);
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that holds one varint.
pub(crate) fn put_u64(out: &mut Vec<u8>, tag: u64, v: u64) {
    varint::put(out, tag);
    varint::put(out, varint::len(v) as u64);
    varint::put(out, v);
}

/// One field of a record.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    what: &'static str,
    pub(crate) tag: u64,
    /// Where the bytes of the field begin in the record.
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// A corruption at this field.
    pub(crate) fn corrupt(&self, expected: impl Into<String>) -> DecodeError {
        let found = format!("tag {} with {} bytes", self.tag, self.bytes.len());
        DecodeError::corrupt(self.what, self.offset, expected, found)
    }

    /// The varint that is the whole field.
    pub(crate) fn u64(&self) -> Result<u64> {
        let mut at = 0;
        let v = varint::get(self.bytes, &mut at);
        match v {
            Some(v) if at == self.bytes.len() => Ok(v),
            _ => Err(self.corrupt("one varint")),
        }
    }

    /// The same, of at most 32 bits.
    pub(crate) fn u32(&self) -> Result<u32> {
        u32::try_from(self.u64()?).map_err(|_| self.corrupt("a varint of at most 32 bits"))
    }

    /// Sets `slot` to `value`; a field that was there before is a corruption.
    pub(crate) fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<()> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.corrupt(format!("tag {} once", self.tag))),
        }
    }
}

/// Reads the fields of a record in order; after an error nothing more comes.
pub(crate) struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    fn read(&mut self) -> Option<Field<'a>> {
        let mut at = self.at;
        let tag = varint::get(self.bytes, &mut at)?;
        let len = usize::try_from(varint::get(self.bytes, &mut at)?).ok()?;
        let bytes = self.bytes.get(at..)?.get(..len)?;
        self.at = at + len;
        Some(Field { what: self.what, tag, offset: at as u64, bytes })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let start = self.at;
        Some(self.read().ok_or_else(|| {
            self.at = self.bytes.len();
            let found = format!("{} bytes that are none", self.bytes.len() - start);
            DecodeError::corrupt(
                self.what,
                start as u64,
                "a tag, a length and as many bytes",
                found,
            )
        }))
    }
}
