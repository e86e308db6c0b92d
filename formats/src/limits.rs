//! Every maximum of the format, in one table. A length from disk is held against these before
//! anything is allocated for it.

/// Bytes of a key. An empty key is valid.
pub const MAX_KEY_LEN: usize = 65_535;

/// Bytes of a value. An empty value is valid.
pub const MAX_VALUE_LEN: usize = 64 << 20;

/// Encoded bytes of one batch, its 8-byte head included.
pub const MAX_BATCH_LEN: usize = 256 << 20;

/// Bytes of the plain values of one block. A block of ordinary entries holds about 4 KiB; the
/// bound leaves room for one largest value among them.
pub const MAX_BLOCK_VALUES_LEN: usize = MAX_VALUE_LEN + (1 << 20);

/// Bytes of the name of a database, a container or a depot; at least 1.
pub const MAX_NAME_LEN: usize = 255;

/// Bytes of a log segment or a manifest: their frames name offsets in 32 bits.
pub const MAX_FRAMED_FILE_LEN: u64 = u32::MAX as u64;

/// The highest sequence number. Far beyond what a store can count to, and far enough below the
/// largest integer that adding a batch count never overflows.
pub const MAX_SEQNO: u64 = (1 << 56) - 1;

/// The highest file number, for the same reason.
pub const MAX_FILE_NUMBER: u64 = (1 << 56) - 1;

/// The highest generation of a superblock.
pub const MAX_GENERATION: u64 = (1 << 56) - 1;

/// Bytes that a device writes as one: a sector that holds acknowledged bytes is never rewritten
/// with other bytes.
pub const SECTOR: u64 = 4096;

/// Bytes of the ring of a stage.
pub const MAX_RING_LEN: u64 = 4 << 20;

/// The version of the format this crate writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
