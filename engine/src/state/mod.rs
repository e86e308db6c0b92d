//! Floor 4: what is in memory.

pub(crate) mod bulk;
pub(crate) mod catalog;
pub(crate) mod clock;
pub(crate) mod iter;
pub(crate) mod lead;
pub(crate) mod linger;
pub(crate) mod loads;
pub(crate) mod memtable;
pub(crate) mod queue;
pub(crate) mod range_deletes;
pub(crate) mod shadows;
pub(crate) mod shared;
pub(crate) mod snapshots;
pub(crate) mod ticket;
pub(crate) mod value;
pub(crate) mod version;
pub(crate) mod view;
pub(crate) mod write_set;
