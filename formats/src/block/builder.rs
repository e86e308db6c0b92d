//! Writing a block.

use super::{
    BASE_SEQNO, COUNT, Compression, FLAG_EXPIRY, FLAG_KINDS, FLAG_SEQNOS, FLAG_SHORT, FLAG_SNAPPY,
    FLAG_TAILS, FLAG_WIDE, FLAGS, HEADER_LEN, PLAIN_LEN, PREFIX_LEN, STORED_LEN, Shape, TAILS_LEN,
    WIDTH,
};
use crate::checksum::CHECKSUM_LEN;
use crate::ids::{Kind, Seqno};
use crate::layout::set;
use crate::limits::{MAX_BLOCK_VALUES_LEN, MAX_KEY_LEN};

/// Collects entries and lays them out. Its buffers are kept from block to block.
#[derive(Debug)]
pub struct BlockBuilder {
    compression: Compression,
    snappy: snap::raw::Encoder,
    compressed: Vec<u8>,
    keys: Vec<u8>,
    key_ends: Vec<usize>,
    values: Vec<u8>,
    value_ends: Vec<usize>,
    seqnos: Vec<Seqno>,
    kinds: Vec<u8>,
    expiries: Vec<u64>,
    sums: Sums,
}

/// What the size of a block depends on, kept up to date entry by entry.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: usize,
    prefix: usize,
    shortest: usize,
    longest: usize,
    /// Bytes of all keys beyond the prefix and 8 more.
    tails: usize,
    flags: u8,
    values: usize,
}

/// Regions of a block, each of which begins on a multiple of 8.
const REGIONS: usize = 10;

/// How many bytes two keys have in common at their start.
fn common(a: &[u8], b: &[u8]) -> usize {
    let most = a.len().min(b.len());
    let mut at = 0;
    while let (Some(a), Some(b)) = (eight(a, at), eight(b, at)) {
        if a != b {
            return at + ((a ^ b).trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = a[at..most].iter().zip(&b[at..most]);
    at + rest.take_while(|(a, b)| a == b).count()
}

/// The eight bytes from a place on, if there are so many; the first weighs least.
fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

impl Sums {
    /// Four bytes do where no key has more behind the prefix: then there are no tails either.
    fn width(&self) -> usize {
        if self.longest - self.prefix <= 4 { 4 } else { 8 }
    }

    /// Bytes of the sealed block, at most: what takes a moment to say.
    fn at_most(&self) -> usize {
        let has = |flag: u8, bytes: usize| if self.flags & flag != 0 { bytes } else { 0 };
        // Column, short column, two offsets.
        let per_entry =
            8 + 1 + 2 * 4 + has(FLAG_KINDS, 1) + has(FLAG_SEQNOS, 8) + has(FLAG_EXPIRY, 8);
        let around = HEADER_LEN + REGIONS * 7 + 2 * 4 + CHECKSUM_LEN;
        around + self.prefix + self.tails + self.values + per_entry * self.count
    }

    fn shape(&self, stored_len: usize) -> Shape {
        let width = self.width();
        let mut flags = self.flags;
        if self.shortest - self.prefix < width {
            flags |= FLAG_SHORT;
        }
        if self.tails > 0 {
            flags |= FLAG_TAILS;
        }
        if self.tails.max(self.values) > usize::from(u16::MAX) {
            flags |= FLAG_WIDE;
        }
        Shape {
            count: self.count as u32,
            flags,
            width: width as u8,
            prefix_len: self.prefix as u16,
            tails_len: self.tails as u32,
            stored_len: stored_len as u32,
        }
    }
}

impl BlockBuilder {
    /// An empty builder.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            snappy: snap::raw::Encoder::new(),
            compressed: Vec::new(),
            keys: Vec::new(),
            key_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            seqnos: Vec::new(),
            kinds: Vec::new(),
            expiries: Vec::new(),
            sums: Sums::default(),
        }
    }

    /// Whether no entry was added since the last block.
    pub fn is_empty(&self) -> bool {
        self.sums.count == 0
    }

    /// Entries added since the last block.
    pub fn len(&self) -> usize {
        self.sums.count
    }

    /// The key added last; empty if there is none.
    pub fn last_key(&self) -> &[u8] {
        match self.sums.count {
            0 => &[],
            n => self.key(n - 1),
        }
    }

    fn key(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.key_ends[i - 1] };
        &self.keys[start..self.key_ends[i]]
    }

    /// The sums with one entry more. Looks at earlier keys only if the prefix gets shorter.
    fn sums_with(&self, key: &[u8], value_len: usize, flags: u8) -> Sums {
        let old = self.sums;
        let mut new = Sums {
            count: old.count + 1,
            flags: old.flags | flags,
            values: old.values + value_len,
            ..old
        };
        if old.count == 0 {
            (new.prefix, new.shortest, new.longest) = (key.len(), key.len(), key.len());
            return new;
        }
        new.prefix = common(&self.key(0)[..old.prefix], key);
        new.shortest = old.shortest.min(key.len());
        new.longest = old.longest.max(key.len());
        let tail = |len: usize| len.saturating_sub(new.prefix + 8);
        if new.prefix < old.prefix {
            new.tails = (0..old.count).map(|i| tail(self.key(i).len())).sum();
        }
        new.tails += tail(key.len());
        new
    }

    fn flags_of(&self, seqno: Seqno, kind: Kind, expiry: Option<u64>) -> u8 {
        let mut flags = 0;
        if kind != Kind::Put {
            flags |= FLAG_KINDS;
        }
        if self.seqnos.first().is_some_and(|first| *first != seqno) {
            flags |= FLAG_SEQNOS;
        }
        if expiry.is_some() {
            flags |= FLAG_EXPIRY;
        }
        flags
    }

    fn sealed_size(sums: &Sums) -> usize {
        sums.shape(sums.values).regions().1 as usize + CHECKSUM_LEN
    }

    /// Bytes of the sealed block, values uncompressed, if this entry were added: exact.
    #[cfg(test)]
    pub(super) fn size_with_entry(
        &self,
        key: &[u8],
        seqno: Seqno,
        kind: Kind,
        expiry: Option<u64>,
        value_len: usize,
    ) -> usize {
        let flags = self.flags_of(seqno, kind, expiry);
        Self::sealed_size(&self.sums_with(key, value_len, flags))
    }

    /// Adds an entry as [`BlockBuilder::add`] does, unless the block would get more than so many bytes (values
    /// uncompressed, sealed); false then. An empty one takes an entry of any size.
    pub fn add_within(
        &mut self,
        limit: usize,
        (key, seqno, kind): (&[u8], Seqno, Kind),
        expiry: Option<u64>,
        value: &[u8],
    ) -> bool {
        let flags = self.flags_of(seqno, kind, expiry);
        let sums = self.sums_with(key, value.len(), flags);
        let is_over = || sums.at_most() > limit && Self::sealed_size(&sums) > limit;
        if !self.is_empty() && is_over() {
            return false;
        }
        self.push(sums, (key, seqno, kind), expiry, value);
        true
    }

    /// Adds an entry. The caller keeps the order (key ascending, then sequence number descending,
    /// no two alike) and the limits of keys and values. An expiry of 0 becomes 1.
    pub fn add(&mut self, key: &[u8], seqno: Seqno, kind: Kind, expiry: Option<u64>, value: &[u8]) {
        let flags = self.flags_of(seqno, kind, expiry);
        let sums = self.sums_with(key, value.len(), flags);
        self.push(sums, (key, seqno, kind), expiry, value);
    }

    fn push(
        &mut self,
        sums: Sums,
        (key, seqno, kind): (&[u8], Seqno, Kind),
        expiry: Option<u64>,
        value: &[u8],
    ) {
        debug_assert!(key.len() <= MAX_KEY_LEN);
        debug_assert!(
            self.is_empty()
                || self.last_key() < key
                || self.last_key() == key && self.seqnos.last().is_some_and(|last| *last > seqno),
            "entries must be added in order"
        );
        self.sums = sums;
        debug_assert!(self.sums.values <= MAX_BLOCK_VALUES_LEN);
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len());
        self.values.extend_from_slice(value);
        self.value_ends.push(self.values.len());
        self.seqnos.push(seqno);
        self.kinds.push(kind as u8);
        self.expiries.push(expiry.map_or(0, |at| at.max(1)));
    }

    /// Appends the block to `out`, without a checksum, and starts the next one. Without entries
    /// it appends nothing: there is no empty block.
    ///
    /// # Panics
    /// If there are 4 GiB of values or tails, far behind the limits.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        assert!(u32::try_from(self.values.len().max(self.keys.len())).is_ok());
        let compressed = self.compress();
        let stored = if compressed { &self.compressed } else { &self.values };
        let mut shape = self.sums.shape(stored.len());
        if compressed {
            shape.flags |= FLAG_SNAPPY;
        }
        let start = out.len();
        self.write_header(out, &shape);
        self.write_keys(out, start, &shape);
        self.write_offsets(out, start, &shape, |i| self.value_ends[i]);
        if shape.flags & FLAG_KINDS != 0 {
            out.extend_from_slice(&self.kinds);
            pad(out, start);
        }
        for (flag, column) in [(FLAG_SEQNOS, &self.seqnos), (FLAG_EXPIRY, &self.expiries)] {
            if shape.flags & flag != 0 {
                out.extend(column.iter().flat_map(|v| v.to_le_bytes()));
            }
        }
        out.extend_from_slice(stored);
        debug_assert_eq!((out.len() - start) as u64, shape.regions().1);
        self.reset();
    }

    /// Compresses the values if that is wished for and saves an eighth of them.
    fn compress(&mut self) -> bool {
        if self.compression == Compression::None || self.values.is_empty() {
            return false;
        }
        self.compressed.resize(snap::raw::max_compress_len(self.values.len()), 0);
        match self.snappy.compress(&self.values, &mut self.compressed) {
            Ok(len) if len <= self.values.len() - self.values.len().div_ceil(8) => {
                self.compressed.truncate(len);
                true
            }
            _ => false,
        }
    }

    fn write_header(&self, out: &mut Vec<u8>, shape: &Shape) {
        let plain_len = self.values.len() as u32;
        let base = if shape.flags & FLAG_SEQNOS != 0 { 0 } else { self.seqnos[0] };
        let mut header = [0; HEADER_LEN];
        set(&mut header, COUNT, &shape.count.to_le_bytes());
        header[FLAGS] = shape.flags;
        header[WIDTH] = shape.width;
        set(&mut header, PREFIX_LEN, &shape.prefix_len.to_le_bytes());
        set(&mut header, BASE_SEQNO, &base.to_le_bytes());
        set(&mut header, TAILS_LEN, &shape.tails_len.to_le_bytes());
        set(&mut header, STORED_LEN, &shape.stored_len.to_le_bytes());
        set(&mut header, PLAIN_LEN, &plain_len.to_le_bytes());
        out.extend_from_slice(&header);
    }

    /// Prefix, column, short column, tail offsets, tails.
    fn write_keys(&self, out: &mut Vec<u8>, start: usize, shape: &Shape) {
        let (prefix, width) = (self.sums.prefix, usize::from(shape.width));
        out.extend_from_slice(&self.key(0)[..prefix]);
        pad(out, start);
        for i in 0..self.sums.count {
            let rest = &self.key(i)[prefix..];
            let head = &rest[..rest.len().min(width)];
            // Stored back to front: read as a little-endian number, the first byte weighs most.
            out.extend(std::iter::repeat_n(0, width - head.len()));
            out.extend(head.iter().rev());
        }
        pad(out, start);
        if shape.flags & FLAG_SHORT != 0 {
            let short = |i| (self.key(i).len() - prefix).min(width) as u8;
            out.extend((0..self.sums.count).map(short));
            pad(out, start);
        }
        if shape.flags & FLAG_TAILS != 0 {
            let tail = |i: usize| self.key(i).get(prefix + width..).unwrap_or_default();
            let mut end = 0;
            self.write_offsets(out, start, shape, |i| {
                end += tail(i).len();
                end
            });
            (0..self.sums.count).for_each(|i| out.extend_from_slice(tail(i)));
            pad(out, start);
        }
    }

    /// 0 and the end of every entry.
    fn write_offsets(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        shape: &Shape,
        mut end_of: impl FnMut(usize) -> usize,
    ) {
        let ends = std::iter::once(0).chain((0..self.sums.count).map(&mut end_of));
        if shape.flags & FLAG_WIDE != 0 {
            out.extend(ends.flat_map(|end| (end as u32).to_le_bytes()));
        } else {
            out.extend(ends.flat_map(|end| (end as u16).to_le_bytes()));
        }
        pad(out, start);
    }

    fn reset(&mut self) {
        self.keys.clear();
        self.key_ends.clear();
        self.values.clear();
        self.value_ends.clear();
        self.seqnos.clear();
        self.kinds.clear();
        self.expiries.clear();
        self.sums = Sums::default();
    }
}

/// Zeros up to the next multiple of 8 from `start`.
fn pad(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start).next_multiple_of(8);
    out.resize(start + len, 0);
}
