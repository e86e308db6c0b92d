//! Floor 3: one module for each kind of file.

pub(crate) mod manifest;
pub(crate) mod segments;
pub(crate) mod sstable;
pub(crate) mod superblock;
pub(crate) mod wal;
