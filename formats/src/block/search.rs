//! Reading a block where it lies: nothing is copied, nothing is allocated.
//!
//! [`Block::parse`] proves in constant time that every region lies inside the body. What the
//! regions hold is not proven (that is [`Block::check`]); every function here therefore gives
//! some answer or an error on any bytes, and never reads outside.

use super::{
    BASE_SEQNO, COUNT, FLAG_SNAPPY, FLAG_WIDE, FLAGS, LAYOUT, PLAIN_LEN, PREFIX_LEN, RESERVED,
    Regions, SNAPPY_MAX_RATIO, STORED_LEN, Shape, TAILS_LEN, WIDTH,
};
use super::{FLAG_EXPIRY, FLAG_KINDS, FLAG_SEQNOS, FLAG_SHORT, FLAG_TAILS};
use crate::error::{DecodeError, Result};
use crate::ids::{Kind, Seqno};
use crate::layout::Fixed;
use crate::limits::MAX_BLOCK_VALUES_LEN;
use crate::varint::u64_at;
use std::cmp::Ordering;
use std::ops::Range;

/// A parsed block in a body that is borrowed.
pub type Block<'a> = Parsed<&'a [u8]>;

/// A parsed block; the body can be anything that gives the same bytes each time.
#[derive(Clone, Debug)]
pub struct Parsed<B> {
    pub(super) body: B,
    pub(super) count: usize,
    pub(super) flags: u8,
    pub(super) base_seqno: Seqno,
    pub(super) plain_len: usize,
    width: u8,
    regions: Regions,
}

/// The first bytes of every key behind the prefix, as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'a> {
    Four(&'a [[u8; 4]]),
    Eight(&'a [[u8; 8]]),
}

impl Column<'_> {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Four(_) => 4,
            Self::Eight(_) => 8,
        }
    }

    pub(super) fn get(&self, i: usize) -> u64 {
        match self {
            Self::Four(column) => column.get(i).map_or(0, |v| u64::from(u32::from_le_bytes(*v))),
            Self::Eight(column) => column.get(i).map_or(0, |v| u64::from_le_bytes(*v)),
        }
    }

    /// The entries whose number is `v`: what the key is compared to further.
    fn equal(&self, v: u64) -> Range<usize> {
        match self {
            Self::Four(column) => equal(column, v, |c| u64::from(u32::from_le_bytes(c))),
            Self::Eight(column) => equal(column, v, u64::from_le_bytes),
        }
    }
}

fn equal<T: Copy>(column: &[T], v: u64, number: impl Fn(T) -> u64) -> Range<usize> {
    let start = column.partition_point(|c| number(*c) < v);
    let rest = &column[start..];
    // Mostly one entry has the number, or none: no second search then.
    let len = match rest {
        [first, second, ..] if number(*first) == v && number(*second) == v => {
            2 + rest[2..].partition_point(|c| number(*c) == v)
        }
        [first, ..] if number(*first) == v => 1,
        _ => 0,
    };
    start..start + len
}

/// The part of a searched key behind the prefix, as the columns have it.
struct Rest<'k> {
    number: u64,
    short: usize,
    tail: &'k [u8],
}

impl<'k> Rest<'k> {
    fn new(rest: &'k [u8], width: usize) -> Self {
        let short = rest.len().min(width);
        let number = match rest.first_chunk::<8>() {
            Some(first) => u64::from_be_bytes(*first),
            None => {
                let mut padded = [0; 8];
                padded[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(padded)
            }
        };
        Self { number: if width == 4 { number >> 32 } else { number }, short, tail: &rest[short..] }
    }
}

impl<'a> Block<'a> {
    /// Reads the header of a block and finds its regions.
    ///
    /// # Errors
    /// A corruption if the header breaks a rule or the regions do not fill the body exactly.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let header = Fixed::new(&LAYOUT, body)?;
        let shape = Shape {
            count: header.u32(COUNT),
            flags: header.u8(FLAGS),
            width: header.u8(WIDTH),
            prefix_len: header.u16(PREFIX_LEN),
            tails_len: header.u32(TAILS_LEN),
            stored_len: header.u32(STORED_LEN),
        };
        check_header(&header, &shape)?;
        let (regions, end) = shape.regions();
        if end != body.len() as u64 || end > u64::from(u32::MAX) {
            let found = format!("{} bytes", body.len());
            return Err(header.corrupt(COUNT, format!("{end} bytes"), found));
        }
        Ok(Self {
            body,
            count: shape.count as usize,
            flags: shape.flags,
            base_seqno: header.u64(BASE_SEQNO),
            plain_len: header.u32(PLAIN_LEN) as usize,
            width: shape.width,
            regions,
        })
    }
}

impl<B> Parsed<B> {
    /// The body.
    #[inline]
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The same block, where the same body is held in another way. With another body every answer is some answer,
    /// or an error.
    pub fn within<C>(self, body: C) -> Parsed<C> {
        let Self { count, flags, base_seqno, plain_len, width, regions, .. } = self;
        Parsed { body, count, flags, base_seqno, plain_len, width, regions }
    }

    /// The same block, whose entries all have one sequence number, which is said elsewhere. `None` where it says any
    /// itself.
    #[must_use]
    pub fn numbered(self, seqno: Seqno) -> Option<Self> {
        let says_none = self.flags & FLAG_SEQNOS == 0 && self.base_seqno == 0;
        says_none.then_some(Self { base_seqno: seqno, ..self })
    }

    /// Entries in the block; at least 1.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never: a block without entries does not parse.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the plain values begin in the body, if they are stored as such.
    #[inline]
    pub fn plain_values_start(&self) -> Option<usize> {
        (!self.is_compressed()).then_some(self.regions.values.start as usize)
    }

    /// Whether the values must be decompressed to be read.
    #[inline]
    pub fn is_compressed(&self) -> bool {
        self.flags & FLAG_SNAPPY != 0
    }
}

impl<B: AsRef<[u8]>> Parsed<B> {
    /// A region, which lies inside of the body that was parsed.
    #[inline]
    fn region(&self, region: &Range<u32>) -> &[u8] {
        let range = region.start as usize..region.end as usize;
        self.body.as_ref().get(range).unwrap_or_default()
    }

    #[inline]
    pub(super) fn prefix(&self) -> &[u8] {
        self.region(&self.regions.prefix)
    }

    #[inline]
    pub(super) fn column(&self) -> Column<'_> {
        let column = self.region(&self.regions.column);
        match self.width {
            4 => Column::Four(column.as_chunks().0),
            _ => Column::Eight(column.as_chunks().0),
        }
    }

    #[inline]
    pub(super) fn shorts(&self) -> &[u8] {
        self.region(&self.regions.short)
    }

    #[inline]
    pub(super) fn tail_offsets(&self) -> &[u8] {
        self.region(&self.regions.tail_offsets)
    }

    #[inline]
    pub(super) fn tails(&self) -> &[u8] {
        self.region(&self.regions.tails)
    }

    #[inline]
    pub(super) fn value_offsets(&self) -> &[u8] {
        self.region(&self.regions.value_offsets)
    }

    #[inline]
    pub(super) fn kinds(&self) -> &[u8] {
        self.region(&self.regions.kinds)
    }

    #[inline]
    pub(super) fn seqnos(&self) -> &[u8] {
        self.region(&self.regions.seqnos)
    }

    #[inline]
    pub(super) fn expiries(&self) -> &[u8] {
        self.region(&self.regions.expiries)
    }

    #[inline]
    pub(super) fn values(&self) -> &[u8] {
        self.region(&self.regions.values)
    }

    /// The first entry whose key is `key` or greater; [`Block::len`] if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        self.bound(key, Ordering::Less)
    }

    /// The first entry whose key is `key`, if there is one.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let rest = Rest::new(key.strip_prefix(self.prefix())?, usize::from(self.width));
        let Range { start, end } = self.column().equal(rest.number);
        if self.flags & (FLAG_SHORT | FLAG_TAILS) == 0 {
            let is_whole = rest.short == usize::from(self.width) && rest.tail.is_empty();
            return (start < end && is_whole).then_some(start);
        }
        let at = match end - start {
            // Mostly one entry has the number.
            1 => start,
            _ => self.bound_among(start..end, &rest, Ordering::Less),
        };
        (at < end && self.compare_rest(at, &rest).is_eq()).then_some(at)
    }

    /// The first entry whose key is greater than `key`; [`Block::len`] if there is none.
    pub fn upper_bound(&self, key: &[u8]) -> usize {
        self.bound(key, Ordering::Equal)
    }

    /// The first entry that compares to `key` as greater than `most`.
    fn bound(&self, key: &[u8], most: Ordering) -> usize {
        let Some(rest) = key.strip_prefix(self.prefix()) else {
            return if key < self.prefix() { 0 } else { self.count };
        };
        let rest = Rest::new(rest, usize::from(self.width));
        self.bound_among(self.column().equal(rest.number), &rest, most)
    }

    /// The same among entries with the number of `rest`.
    fn bound_among(&self, among: Range<usize>, rest: &Rest<'_>, most: Ordering) -> usize {
        let Range { mut start, mut end } = among;
        while start < end {
            let middle = start + (end - start) / 2;
            if self.compare_rest(middle, rest) <= most {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// How an entry's key compares to a rest with the same number in the column.
    #[inline]
    fn compare_rest(&self, i: usize, rest: &Rest<'_>) -> Ordering {
        // Of two keys with the same number, padded with zeros, the shorter begins the longer.
        self.short(i).cmp(&rest.short).then_with(|| self.tail(i).cmp(rest.tail))
    }

    /// How the key of entry `i` compares to `key`. Behind the last entry: greater.
    pub fn compare(&self, i: usize, key: &[u8]) -> Ordering {
        if i >= self.count {
            return Ordering::Greater;
        }
        let Some(rest) = key.strip_prefix(self.prefix()) else {
            return self.prefix().cmp(key);
        };
        let rest = Rest::new(rest, usize::from(self.width));
        self.column().get(i).cmp(&rest.number).then_with(|| self.compare_rest(i, &rest))
    }

    /// Bytes of the key column that belong to the key.
    pub(super) fn short(&self, i: usize) -> usize {
        let width = usize::from(self.width);
        self.shorts().get(i).map_or(width, |short| usize::from(*short).min(width))
    }

    fn tail(&self, i: usize) -> &[u8] {
        self.tail_range(i).and_then(|range| self.tails().get(range)).unwrap_or_default()
    }

    fn tail_range(&self, i: usize) -> Option<Range<usize>> {
        if self.flags & FLAG_TAILS == 0 {
            return Some(0..0);
        }
        self.offsets(self.tail_offsets(), i)
    }

    /// Offsets `i` and `i + 1` of a table.
    pub(super) fn offsets(&self, table: &[u8], i: usize) -> Option<Range<usize>> {
        if i >= self.count {
            return None;
        }
        if self.flags & FLAG_WIDE == 0 {
            let [a, b, c, d] = *table.get(i * 2..)?.first_chunk()?;
            let at = |bytes| usize::from(u16::from_le_bytes(bytes));
            return Some(at([a, b])..at([c, d]));
        }
        let both = table.get(i * 4..)?;
        let at = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
        Some(at(both.first_chunk()?)..at(both.get(4..)?.first_chunk()?))
    }

    fn corrupt(&self, i: usize, expected: &str, found: impl Into<String>) -> DecodeError {
        let found = format!("{} in entry {i} of {}", found.into(), self.count);
        DecodeError::corrupt(LAYOUT.name, 0, expected, found)
    }

    /// Replaces `out` by the key of entry `i`.
    ///
    /// # Errors
    /// A corruption if there is no such entry or its tail lies outside the block.
    pub fn key_into(&self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let tail = self.tail_range(i).filter(|_| i < self.count);
        let Some(tail) = tail.and_then(|range| self.tails().get(range)) else {
            return Err(self.corrupt(i, "a tail inside the block", "none"));
        };
        let number = match self.column() {
            Column::Four(_) => self.column().get(i) << 32,
            Column::Eight(_) => self.column().get(i),
        };
        out.reserve(self.prefix().len() + 8 + tail.len());
        out.extend_from_slice(self.prefix());
        out.extend_from_slice(&number.to_be_bytes()[..self.short(i)]);
        out.extend_from_slice(tail);
        Ok(())
    }

    /// The same, where `out` holds the key of another entry of this block.
    ///
    /// # Errors
    /// As [`Parsed::key_into`].
    #[inline]
    pub fn next_key_into(&self, i: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.flags & FLAG_TAILS != 0 || i >= self.count {
            return self.key_into(i, out);
        }
        out.truncate((self.regions.prefix.end - self.regions.prefix.start) as usize);
        let number = match self.column() {
            Column::Four(column) => {
                column.get(i).map_or(0, |v| u64::from(u32::from_le_bytes(*v)) << 32)
            }
            Column::Eight(column) => column.get(i).map_or(0, |v| u64::from_le_bytes(*v)),
        };
        let short =
            if self.flags & FLAG_SHORT == 0 { usize::from(self.width) } else { self.short(i) };
        // All eight at once, which takes one store, and those that are too many off again.
        let len = out.len();
        out.extend_from_slice(&number.to_be_bytes());
        out.truncate(len + short);
        Ok(())
    }

    /// The sequence number of entry `i`; 0 if there is no such entry.
    #[inline]
    pub fn seqno(&self, i: usize) -> Seqno {
        if i >= self.count {
            0
        } else if self.flags & FLAG_SEQNOS == 0 {
            self.base_seqno
        } else {
            u64_at(self.seqnos(), i * 8).unwrap_or(0)
        }
    }

    /// The kind of entry `i`.
    ///
    /// # Errors
    /// A corruption if there is no such entry or no such kind.
    #[inline]
    pub fn kind(&self, i: usize) -> Result<Kind> {
        if self.flags & FLAG_KINDS == 0 && i < self.count {
            return Ok(Kind::Put);
        }
        let byte = self.kinds().get(i).copied();
        byte.and_then(Kind::from_byte).ok_or_else(|| {
            self.corrupt(i, "a kind of 1 to 5", byte.map_or("none".into(), |b| b.to_string()))
        })
    }

    /// When entry `i` expires, in milliseconds since 1970; `None`: never, or no such entry.
    #[inline]
    pub fn expiry(&self, i: usize) -> Option<u64> {
        if self.flags & FLAG_EXPIRY == 0 {
            return None;
        }
        u64_at(self.expiries(), i.checked_mul(8)?).filter(|expiry| *expiry > 0)
    }

    /// Where the value of entry `i` lies in the plain values.
    ///
    /// # Errors
    /// A corruption if there is no such entry or its value lies outside.
    #[inline]
    pub fn value_range(&self, i: usize) -> Result<Range<usize>> {
        match self.offsets(self.value_offsets(), i) {
            Some(range) if range.start <= range.end && range.end <= self.plain_len => Ok(range),
            range => Err(self.corrupt(i, "a value inside the block", format!("{range:?}"))),
        }
    }

    /// The plain values, if they are stored as such.
    #[inline]
    pub fn plain_values(&self) -> Option<&[u8]> {
        (!self.is_compressed()).then_some(self.values())
    }

    /// Replaces `out` by the plain values.
    ///
    /// # Errors
    /// A corruption if the stored values are no Snappy block of the length the header says; then
    /// `out` is empty.
    pub fn decompress_values(&self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        if !self.is_compressed() {
            out.extend_from_slice(self.values());
            return Ok(());
        }
        let corrupt = |found: String| {
            let at = PLAIN_LEN as u64;
            let expected = format!("a Snappy block of {} plain bytes", self.plain_len);
            DecodeError::corrupt(LAYOUT.name, at, expected, found)
        };
        let len = snap::raw::decompress_len(self.values()).map_err(|e| corrupt(e.to_string()))?;
        if len != self.plain_len {
            return Err(corrupt(format!("one of {len}")));
        }
        out.resize(len, 0);
        let done = snap::raw::Decoder::new().decompress(self.values(), out);
        done.map(drop).map_err(|error| {
            out.clear();
            corrupt(error.to_string())
        })
    }
}

/// The rules of the header that do not depend on the length of the body.
#[inline]
fn check_header(header: &Fixed<'_>, shape: &Shape) -> Result<()> {
    let (stored, plain) = (u64::from(shape.stored_len), u64::from(header.u32(PLAIN_LEN)));
    if shape.count == 0 {
        return Err(header.corrupt(COUNT, "one entry or more", "0"));
    }
    if shape.flags & 0x80 != 0 {
        return Err(header.corrupt(FLAGS, "known flags", format!("{:#04x}", shape.flags)));
    }
    if !matches!(shape.width, 4 | 8) {
        return Err(header.corrupt(WIDTH, "4 or 8", shape.width.to_string()));
    }
    if (shape.flags & FLAG_TAILS == 0) != (shape.tails_len == 0) {
        let found = format!("{} bytes of tails", shape.tails_len);
        return Err(header.corrupt(TAILS_LEN, "tails if the flag says so", found));
    }
    if shape.flags & FLAG_SEQNOS != 0 && header.u64(BASE_SEQNO) != 0 {
        let found = header.u64(BASE_SEQNO).to_string();
        return Err(header.corrupt(BASE_SEQNO, "0 beside a column of seqnos", found));
    }
    let consistent = match shape.flags & FLAG_SNAPPY {
        0 => stored == plain,
        _ => plain < stored.saturating_mul(SNAPPY_MAX_RATIO),
    };
    if !consistent || plain > MAX_BLOCK_VALUES_LEN as u64 {
        let expected = format!("a length that {stored} stored bytes can have");
        return Err(header.corrupt(PLAIN_LEN, expected, plain.to_string()));
    }
    header.zeros(RESERVED..RESERVED + 4)
}
