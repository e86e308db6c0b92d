//! Tables of fixed fields: the same offsets that the code reads and writes by, as data, so that
//! SPEC.md can be held against them and a tool can annotate bytes with them.

use crate::error::{DecodeError, Result};
use std::ops::Range;

/// One field of a fixed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the layout.
    pub offset: usize,
    /// Bytes of the field.
    pub size: usize,
    /// The field's name, as SPEC.md spells it.
    pub name: &'static str,
}

/// A fixed layout: the fields in order, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The layout's name, as SPEC.md spells it.
    pub name: &'static str,
    /// Bytes of the whole.
    pub len: usize,
    /// The fields.
    pub fields: &'static [Field],
}

/// A row of a [`Layout`].
pub(crate) const fn field(offset: usize, size: usize, name: &'static str) -> Field {
    Field { offset, size, name }
}

/// Every fixed layout of the format, in the order of the chapters of SPEC.md.
pub const LAYOUTS: &[&Layout] = &[
    &crate::file_header::LAYOUT,
    &crate::superblock::LAYOUT,
    &crate::frame::LAYOUT,
    &crate::log::LAYOUT,
    &crate::batch::LAYOUT,
    &crate::block::LAYOUT,
    &crate::sstable::HANDLE_LAYOUT,
    &crate::sstable::PARTITION_LAYOUT,
    &crate::sstable::FOOTER_LAYOUT,
    &crate::manifest::TABLE_LAYOUT,
    &crate::manifest::SEGMENT_END_LAYOUT,
    &crate::manifest::RANGE_DELETE_LAYOUT,
    &crate::catalog::LAYOUT,
];

/// Bytes known to be as long as their layout, so that fields are read without further checks.
#[derive(Clone, Copy)]
pub(crate) struct Fixed<'a> {
    layout: &'static Layout,
    bytes: &'a [u8],
}

impl<'a> Fixed<'a> {
    /// The first bytes of `bytes`, as many as the layout has.
    pub(crate) fn new(layout: &'static Layout, bytes: &'a [u8]) -> Result<Self> {
        match bytes.get(..layout.len) {
            Some(bytes) => Ok(Self { layout, bytes }),
            None => Err(DecodeError::corrupt(
                layout.name,
                0,
                format!("{} bytes", layout.len),
                format!("{} bytes", bytes.len()),
            )),
        }
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    pub(crate) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[at..at + N]);
        out
    }

    pub(crate) fn u8(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// Refuses bytes other than zero in a reserved range.
    #[inline]
    pub(crate) fn zeros(&self, range: Range<usize>) -> Result<()> {
        zeros(self.layout.name, &self.bytes[range.clone()], range.start as u64)
    }

    /// A corruption at a field.
    pub(crate) fn corrupt(
        &self,
        at: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DecodeError {
        DecodeError::corrupt(self.layout.name, at as u64, expected, found)
    }
}

/// Refuses bytes other than zero; `base` is the offset of `bytes`.
#[inline]
pub(crate) fn zeros(what: &'static str, bytes: &[u8], base: u64) -> Result<()> {
    // A few bytes are looked at as one number.
    let is_zero = bytes.as_array().map(|four: &[u8; 4]| u32::from_ne_bytes(*four) == 0);
    if is_zero == Some(true) {
        return Ok(());
    }
    match bytes.iter().position(|&byte| byte != 0) {
        None => Ok(()),
        Some(i) => Err(DecodeError::corrupt(
            what,
            base.saturating_add(i as u64),
            "zero",
            format!("{:#04x}", bytes[i]),
        )),
    }
}

/// Writes a field of a buffer that is as long as its layout.
pub(crate) fn set(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_side_by_side() {
        for layout in LAYOUTS {
            let mut at = 0;
            for field in layout.fields {
                assert_eq!(field.offset, at, "{}: {}", layout.name, field.name);
                at += field.size;
            }
            assert_eq!(at, layout.len, "{}", layout.name);
        }
    }
}
