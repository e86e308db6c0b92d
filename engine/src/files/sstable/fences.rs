//! The index of a partition, in memory: which block can hold a key, and where that block lies.
//!
//! In the file a separator stands before each block. Their [`Heads`] are here, beside the handles; where those do not
//! tell, the separators in the file do.

use orlop_formats::block::Block;
use orlop_formats::error::{DecodeError, Result};
use orlop_formats::sstable::Handle;

use super::heads::{Heads, HeadsBuilder};
use crate::prefetch;

/// See the module.
#[derive(Debug)]
pub(super) struct Fences {
    heads: Heads,
    handles: Vec<Handle>,
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
        let mut handles = Vec::with_capacity(index.len());
        for at in 0..index.len() {
            let handle = Handle::decode(values.get(index.value_range(at)?).unwrap_or_default())?;
            let Handle { offset, len } = handle;
            if offset.saturating_add(u64::from(len)) > data_end {
                let expected = format!("a block before {data_end}");
                let found = format!("{len} bytes at {offset}");
                return Err(DecodeError::corrupt("block handle", offset, expected, found));
            }
            index.key_into(at, &mut key)?;
            heads.add(&key);
            handles.push(handle);
        }
        let heads = heads.finish().ok_or_else(|| {
            DecodeError::corrupt("index block", 0, "separators in order", "others")
        })?;
        Ok(Fences { heads, handles })
    }

    /// Where a block lies.
    #[inline]
    pub(super) fn handle(&self, block: usize) -> Option<Handle> {
        self.handles.get(block).copied()
    }

    /// The first block that can hold a key of `key` or greater; behind all of them if there is none. `None`: the
    /// separators must be asked.
    #[inline]
    pub(super) fn lower_bound(&self, key: &[u8]) -> Option<usize> {
        self.heads.less_than(key)
    }

    /// Asks the processor for what [`Fences::handle`] will read.
    #[inline]
    pub(super) fn prefetch_handle(&self, block: usize) {
        prefetch::read(self.handles.as_ptr().wrapping_add(block).cast(), size_of::<Handle>());
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.heads.bytes() + size_of_val(self.handles.as_slice())
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
            assert_eq!(fences.lower_bound(&key).unwrap_or(expected), expected);
            let offset = fences.handle(expected).map(|handle| handle.offset);
            assert_eq!(offset, (expected < keys.len()).then_some(expected as u64 * 8));
        }
        assert!(fences.bytes() < 32 * keys.len());
    }

    #[test]
    fn a_handle_of_no_block_is_refused() {
        let keys = [b"a".to_vec(), b"b".to_vec()];
        let body = index(&keys);
        let error = Fences::read(&Block::parse(&body).unwrap(), 15).unwrap_err().to_string();
        assert!(error.contains("a block before 15") && error.contains("8 bytes at 8"), "{error}");
    }
}
