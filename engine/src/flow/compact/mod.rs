//! Merging sstables so that reads stay short and space comes back.
//!
//! [`pick`] says what, [`wear`] where little is that anybody sees, [`fold`] which versions survive, [`rewrite`] makes the
//! tables, [`job`] carries a compaction out.

pub(crate) mod fold;
pub(crate) mod job;
pub(crate) mod pick;
pub(crate) mod rewrite;
pub(crate) mod wear;
