//! What a caller can choose when a store is opened: few knobs, each with unit, default and why.

pub use orlop_formats::block::Compression;
use orlop_formats::filter::MAX_BITS_PER_KEY;
use orlop_formats::limits::{MAX_RING_LEN, SECTOR};

use crate::error::{Error, Result};

/// What an acknowledged commit is worth. Each class also makes every earlier commit at least
/// as safe as itself.
///
/// Commits become visible in their order: each when it is acknowledged, or when a later one of a weaker
/// class is, which does not wait for it. So while a `Synced` commit is on its way to the device, it may be
/// seen already, if a weaker one came behind it; its own acknowledgement waits for the device. If that
/// fails, the store takes no more commits, and whether this one will be there after the next open is not
/// known.
///
/// | class | acknowledged means | survives `kill -9` | survives power loss |
/// |---|---|---|---|
/// | `Synced` | bytes and directory entry are on the device | all | all |
/// | `Buffered` | in memory the kernel owns | all | a prefix in commit order, at least to the last sync |
/// | `Memory` | in the process | a prefix | a prefix, at least to the last stronger commit |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Durability {
    /// In the process. Written ahead of the next stronger commit.
    Memory,
    /// In memory the kernel owns.
    Buffered,
    /// On the device. The default.
    #[default]
    Synced,
}

/// Who runs flushes and compactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Background {
    /// One thread of the store's own. The default.
    #[default]
    Thread,
    /// The caller, through [`Store::step`](crate::Store::step): every run is the same run.
    /// A write that must wait for a flush does that flush itself.
    Manual,
}

/// How often what is read from sstables is checked against its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Each block once in an open, when it is first read. The default: what the page cache has is not checked
    /// again.
    #[default]
    Once,
    /// Each block every time it is entered, and the index where it is looked at; filters are checked once, into memory of
    /// their own. A hot get takes about half as long again.
    Always,
}

/// The options of one open. See the setters of [`Builder`](crate::Builder) for the meaning.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) durability: Durability,
    pub(crate) background: Background,
    pub(crate) memtable_size: usize,
    pub(crate) stage_size: u64,
    pub(crate) segment_size: u64,
    pub(crate) table_size: u64,
    pub(crate) level_base: u64,
    pub(crate) level_multiplier: u64,
    pub(crate) block_size: usize,
    pub(crate) filter_bits: u32,
    pub(crate) compression: Compression,
    pub(crate) cache_size: u64,
    pub(crate) verify: Verify,
    pub(crate) scrub_rate: u64,
    pub(crate) create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            background: Background::Thread,
            memtable_size: 64 << 20,
            stage_size: STAGE_SIZE,
            segment_size: 64 << 20,
            table_size: 64 << 20,
            level_base: 256 << 20,
            level_multiplier: 10,
            block_size: 4096,
            filter_bits: 10,
            compression: Compression::Snappy,
            cache_size: 64 << 20,
            verify: Verify::Once,
            scrub_rate: 0,
            create: true,
        }
    }
}

/// Levels from this one down are compressed: what lies above is short-lived, and is read
/// without a copy as long as it is stored plain.
pub(crate) const FIRST_COMPRESSED_LEVEL: u8 = 2;

/// Bytes of the ring of a stage, unless asked for otherwise: two stages, and a short one of an earlier segment, are no
/// more than the 8 MiB that an ordinary user may lock in memory.
pub(crate) const STAGE_SIZE: u64 = 3 << 20;

/// Number of levels; the last holds everything that has settled.
pub(crate) const LEVELS: usize = 7;

/// A memtable with so many range deletes is full: who reads beside them looks through all piles of them.
pub(crate) const MOST_RANGE_DELETES: u64 = 4096;

/// A compaction of level 0 starts at this many runs.
pub(crate) const L0_COMPACT: usize = 4;

/// Writers wait for compaction at this many runs in level 0.
pub(crate) const L0_STALL: usize = 20;

/// Sealed memtables that may wait for their flush; a writer that would seal one more waits.
pub(crate) const SEALED_LIMIT: usize = 2;

/// So many sealed memtables wait for the active one, at most: a reader looks into each.
pub(crate) const BEHIND_LIMIT: usize = 16;

/// A batch of this part of a memtable is large: it gets one of its own, and a segment.
const BULK_PART: usize = 16;

/// It need not be larger than this, in bytes, and is not smaller.
const BULK_BOUNDS: (usize, usize) = (16 << 10, 16 << 20);

/// A group of commits is closed when it has this many bytes.
pub(crate) const GROUP_BYTES: usize = 1 << 20;

/// The first segment of an open; later ones grow.
pub(crate) const SEGMENT_MIN: u64 = 64 << 10;

/// The log is so many times as long as a segment, or as a memtable if that is larger; then it is flushed.
pub(crate) const LOG_SIZES: u64 = 4;

/// A log of this many segments is flushed, too, however small they are: each is a file, which the next open
/// would have to look for.
pub(crate) const LOG_SEGMENTS: usize = 256;

/// A close leaves at most this much to replay; more is flushed first.
pub(crate) const CLOSE_FLUSH_BYTES: usize = 1 << 20;

/// A close leaves at most this many segments to replay; more are flushed away first.
pub(crate) const CLOSE_FLUSH_SEGMENTS: usize = 8;

/// Compactions whose inputs are at most this large are finished inside a close.
pub(crate) const CLOSE_COMPACT_BYTES: u64 = 4 << 20;

/// Bits for each key that filters above the lowest level have more. What lies there is a tenth of all, or less, and each
/// run of it is asked for every key: so a bit there buys ten times as much (Dayan et al., Monkey, SIGMOD 2017).
const UPPER_FILTER_BITS: u32 = 4;

impl Options {
    /// How the values of a level are stored.
    pub(crate) fn compression_of(&self, level: u8) -> Compression {
        if level >= FIRST_COMPRESSED_LEVEL { self.compression } else { Compression::None }
    }

    /// Bits for each key in the filter of a table: of one on the lowest level in use, or above it.
    pub(crate) fn filter_bits_of(&self, is_lowest: bool) -> u32 {
        match self.filter_bits {
            0 => 0,
            bits if is_lowest => bits,
            bits => (bits + UPPER_FILTER_BITS).min(MAX_BITS_PER_KEY),
        }
    }

    /// Bytes in the log from which on a batch is large.
    pub(crate) fn bulk_bytes(&self) -> usize {
        (self.memtable_size / BULK_PART).clamp(BULK_BOUNDS.0, BULK_BOUNDS.1)
    }

    /// Bytes of a group of commits: a large batch is in none with others.
    pub(crate) fn group_bytes(&self) -> usize {
        GROUP_BYTES.min(self.bulk_bytes() - 1)
    }

    /// Refuses sizes that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        fn within(what: &'static str, got: u64, min: u64, max: u64) -> Result<()> {
            if (min..=max).contains(&got) {
                return Ok(());
            }
            Err(Error::InvalidArgument {
                what,
                expected: format!("{min} to {max}"),
                found: got.to_string(),
            })
        }
        within("memtable_size", self.memtable_size as u64, 1 << 10, 1 << 30)?;
        within("stage_size", self.stage_size, 8 << 10, MAX_RING_LEN)?;
        within("segment_size", self.segment_size, SEGMENT_MIN, 1 << 30)?;
        within("table_size", self.table_size, 1 << 10, 1 << 30)?;
        within("level_base", self.level_base, 1 << 10, 1 << 50)?;
        within("level_multiplier", self.level_multiplier, 2, 100)?;
        within("cache_size", self.cache_size, 0, 1 << 40)?;
        within("scrub_rate", self.scrub_rate, 0, 1 << 40)?;
        within("block_size", self.block_size as u64, 256, 1 << 20)?;
        within("filter_bits", u64::from(self.filter_bits), 0, u64::from(MAX_BITS_PER_KEY))?;
        whole_sectors("stage_size", self.stage_size)?;
        whole_sectors("segment_size", self.segment_size)
    }
}

fn whole_sectors(what: &'static str, size: u64) -> Result<()> {
    if size.is_multiple_of(SECTOR) {
        return Ok(());
    }
    let expected = format!("a multiple of {SECTOR}");
    Err(Error::InvalidArgument { what, expected, found: size.to_string() })
}
