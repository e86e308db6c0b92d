//! Blocks: sorted entries of one database, laid out in columns so that a search touches the
//! bytes that tell keys apart and nothing else.
//!
//! What all keys of a block share is stored once. The next 4 or 8 bytes of each key stand in a
//! column of numbers that compare like the bytes; what a key has beyond those is its tail. Every
//! column that would say the same for all entries is left out.
//!
//! [`BlockBuilder`] writes a block, [`Block`] searches and reads one, [`Block::check`] proves one
//! whole. The checksum of a block is its file's business (see [`crate::checksum`]).

mod builder;
mod check;
mod rows;
mod runs;
mod search;
mod separator;

pub use builder::BlockBuilder;
pub use rows::Rows;
pub use search::{Block, Parsed};
pub use separator::separator;

use crate::layout::{Field, Layout, field};
use std::ops::Range;

/// Bytes of a block's header.
pub const HEADER_LEN: usize = 32;

const COUNT: usize = 0;
const FLAGS: usize = 4;
const WIDTH: usize = 5;
const PREFIX_LEN: usize = 6;
const BASE_SEQNO: usize = 8;
const TAILS_LEN: usize = 16;
const STORED_LEN: usize = 20;
const PLAIN_LEN: usize = 24;
const RESERVED: usize = 28;

const FIELDS: &[Field] = &[
    field(COUNT, 4, "count"),
    field(FLAGS, 1, "flags"),
    field(WIDTH, 1, "column width"),
    field(PREFIX_LEN, 2, "common prefix length"),
    field(BASE_SEQNO, 8, "base seqno"),
    field(TAILS_LEN, 4, "tails length"),
    field(STORED_LEN, 4, "stored values length"),
    field(PLAIN_LEN, 4, "plain values length"),
    field(RESERVED, 4, "zero"),
];

/// The layout of a block's header.
pub const LAYOUT: Layout = Layout { name: "block", len: HEADER_LEN, fields: FIELDS };

/// Offsets take 4 bytes instead of 2.
pub const FLAG_WIDE: u8 = 1;
/// A column says how many of an entry's bytes in the key column count.
pub const FLAG_SHORT: u8 = 2;
/// Keys have tails.
pub const FLAG_TAILS: u8 = 4;
/// A column gives kinds; else every entry is a put.
pub const FLAG_KINDS: u8 = 8;
/// A column gives sequence numbers; else every entry has the base.
pub const FLAG_SEQNOS: u8 = 16;
/// A column gives expiries; else no entry has one.
pub const FLAG_EXPIRY: u8 = 32;
/// The values are one raw Snappy block.
pub const FLAG_SNAPPY: u8 = 64;

/// A Snappy block of n bytes decompresses to fewer than this many times n. (Its densest element
/// gives 64 bytes for 3.) What claims more is refused before room is made for it.
const SNAPPY_MAX_RATIO: u64 = 24;

/// How the values of blocks are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// As a raw Snappy block, where that saves an eighth or more.
    Snappy,
}

/// The numbers that fix where each region of a block lies.
#[derive(Clone, Copy, Debug)]
struct Shape {
    count: u32,
    flags: u8,
    width: u8,
    prefix_len: u16,
    tails_len: u32,
    stored_len: u32,
}

/// Where each region of a block lies in its body. In order; each begins on a multiple of 8.
#[derive(Clone, Debug)]
struct Regions {
    prefix: Range<u32>,
    column: Range<u32>,
    short: Range<u32>,
    tail_offsets: Range<u32>,
    tails: Range<u32>,
    value_offsets: Range<u32>,
    kinds: Range<u32>,
    seqnos: Range<u32>,
    expiries: Range<u32>,
    values: Range<u32>,
}

impl Shape {
    /// The regions, which are right if they end as far from the beginning as 32 bits can say; and where they end.
    #[inline]
    fn regions(&self) -> (Regions, u64) {
        // Cannot overflow: 2^32 entries of 30 bytes and three regions of 2^32 are far below 2^64.
        let n = u64::from(self.count);
        let has = |flag: u8| if self.flags & flag != 0 { u64::MAX } else { 0 };
        let offset = if self.flags & FLAG_WIDE != 0 { 4 } else { 2 };
        let (mut at, mut end) = (HEADER_LEN as u64, 0);
        let mut take = |len: u64| {
            end = at + len;
            let region = at as u32..end as u32;
            at = end.next_multiple_of(8);
            region
        };
        let regions = Regions {
            prefix: take(u64::from(self.prefix_len)),
            column: take(n * u64::from(self.width)),
            short: take(n & has(FLAG_SHORT)),
            tail_offsets: take(((n + 1) * offset) & has(FLAG_TAILS)),
            tails: take(u64::from(self.tails_len)),
            value_offsets: take((n + 1) * offset),
            kinds: take(n & has(FLAG_KINDS)),
            seqnos: take((n * 8) & has(FLAG_SEQNOS)),
            expiries: take((n * 8) & has(FLAG_EXPIRY)),
            values: take(u64::from(self.stored_len)),
        };
        (regions, end)
    }
}

#[cfg(test)]
mod tests;
