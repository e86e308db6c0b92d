//! The index of a partition, in memory: which block can hold a key, and where that block lies.
//!
//! In the file a separator stands before each block. Their [`Heads`] are here, beside the handles; where those do not
//! tell, the separators in the file do.

use orlop_formats::block::Block;
use orlop_formats::error::{DecodeError, Result};
use orlop_formats::sstable::Handle;

use super::heads::{Heads, HeadsBuilder};
use super::numbers::Place;

/// See the module.
#[derive(Debug)]
pub(super) struct Fences {
    heads: Heads<Packed>,
    /// The handles that cannot be packed, and their blocks.
    wide: Vec<(usize, Handle)>,
}

/// A handle in eight bytes: the offset above the length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Packed(u64);

/// Bits of a length.
const LEN_BITS: u32 = 24;

impl Packed {
    /// In place of one that is wide.
    const WIDE: Packed = Packed(u64::MAX);

    fn of(handle: Handle) -> Option<Packed> {
        let Handle { offset, len } = handle;
        let packed = Packed(offset << LEN_BITS | u64::from(len));
        (packed.handle() == handle && packed != Self::WIDE).then_some(packed)
    }

    #[inline]
    fn handle(self) -> Handle {
        let Packed(both) = self;
        Handle { offset: both >> LEN_BITS, len: both as u32 & ((1 << LEN_BITS) - 1) }
    }
}

impl Fences {
    /// Reads an index block. Every handle must be of a block that ends at `data_end` at the latest.
    pub(super) fn read(index: &Block<'_>, data_end: u64) -> Result<Fences> {
        let values = index.plain_values().unwrap_or_default();
        let (mut first, mut key) = (Vec::new(), Vec::new());
        index.key_into(0, &mut first)?;
        index.key_into(index.len().saturating_sub(1), &mut key)?;
        // One key at a time: what all begin with is long in some files, and in there once.
        let mut heads = HeadsBuilder::new(&first, &key);
        let mut wide = Vec::new();
        for at in 0..index.len() {
            let handle = Handle::decode(values.get(index.value_range(at)?).unwrap_or_default())?;
            let Handle { offset, len } = handle;
            if offset.saturating_add(u64::from(len)) > data_end {
                let expected = format!("a block before {data_end}");
                let found = format!("{len} bytes at {offset}");
                return Err(DecodeError::corrupt("block handle", offset, expected, found));
            }
            index.key_into(at, &mut key)?;
            let packed = Packed::of(handle);
            if packed.is_none() {
                wide.push((at, handle));
            }
            heads.add(&key, packed.unwrap_or(Packed::WIDE));
        }
        let heads = heads.finish().ok_or_else(|| {
            DecodeError::corrupt("index block", 0, "separators in order", "others")
        })?;
        Ok(Fences { heads, wide })
    }

    /// Where a block lies.
    #[inline]
    pub(super) fn handle(&self, block: usize) -> Option<Handle> {
        match self.heads.with(block)? {
            Packed::WIDE => self.wide_handle(block),
            packed => Some(packed.handle()),
        }
    }

    #[cold]
    fn wide_handle(&self, block: usize) -> Option<Handle> {
        let found = self.wide.binary_search_by_key(&block, |(block, _)| *block).ok()?;
        self.wide.get(found).map(|(_, handle)| *handle)
    }

    /// The first block that can hold a key of `key` or greater; behind all of them if there is none. `None`: the
    /// separators must be asked.
    #[inline]
    pub(super) fn lower_bound(&self, key: &[u8]) -> Option<Place> {
        self.heads.place(key)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.heads.bytes() + size_of_val(self.wide.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_formats::block::{BlockBuilder, Compression};
    use orlop_formats::ids::Kind;

    fn index(keys: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = BlockBuilder::new(Compression::None);
        for (at, key) in keys.iter().enumerate() {
            let handle = Handle { offset: at as u64 * 8, len: 8 };
            builder.add(key, 0, Kind::Put, None, &handle.encode());
        }
        let mut body = Vec::new();
        builder.finish(&mut body);
        body
    }

    #[test]
    fn where_blocks_are() {
        let keys: Vec<Vec<u8>> =
            (0..1000).map(|at| format!("{:06}", at * 7).into_bytes()).collect();
        let body = index(&keys);
        let block = Block::parse(&body).unwrap();
        let fences = Fences::read(&block, 8000).unwrap();
        for asked in 0..7010 {
            let key = format!("{asked:06}").into_bytes();
            let expected = block.lower_bound(&key);
            assert_eq!(fences.lower_bound(&key).map_or(expected, |place| place.at), expected);
            let offset = fences.handle(expected).map(|handle| handle.offset);
            assert_eq!(offset, (expected < keys.len()).then_some(expected as u64 * 8));
        }
        assert!(fences.bytes() < 32 * keys.len());
    }

    #[test]
    fn handles_of_every_width() {
        let handles =
            [(0, 8), (8, 8), (1 << 39, 9), (1 << 40, 9), (16, 1 << 24), (1 << 50, 1 << 30)];
        let edge = [((1 << 40) - 1, (1 << 24) - 1), ((1 << 40) - 1, (1 << 24) - 2)];
        let handles: Vec<Handle> =
            handles.into_iter().chain(edge).map(|(offset, len)| Handle { offset, len }).collect();
        let mut builder = BlockBuilder::new(Compression::None);
        for (at, handle) in handles.iter().enumerate() {
            builder.add(&[at as u8], 0, Kind::Put, None, &handle.encode());
        }
        let mut body = Vec::new();
        builder.finish(&mut body);
        let fences = Fences::read(&Block::parse(&body).unwrap(), u64::MAX).unwrap();
        for (at, handle) in handles.iter().enumerate() {
            assert_eq!(fences.handle(at), Some(*handle));
        }
        assert_eq!((fences.handle(handles.len()), fences.wide.len()), (None, 4));
    }

    #[test]
    fn a_handle_of_no_block_is_refused() {
        let keys = [b"a".to_vec(), b"b".to_vec()];
        let body = index(&keys);
        let error = Fences::read(&Block::parse(&body).unwrap(), 15).unwrap_err().to_string();
        assert!(error.contains("a block before 15") && error.contains("8 bytes at 8"), "{error}");
    }
}
