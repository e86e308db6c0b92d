//! Floor 5: one module for each journey.

mod ahead;
pub(crate) mod attach;
pub(crate) mod background;
mod bulk;
pub(crate) mod close;
pub(crate) mod collect;
mod commit;
pub(crate) mod compact;
pub(crate) mod flush;
pub(crate) mod install;
pub(crate) mod load;
pub(crate) mod multi;
pub(crate) mod read;
pub(crate) mod recover;
pub(crate) mod room;
pub(crate) mod scan;
pub(crate) mod scrub;
#[cfg(feature = "sim")]
pub(crate) mod structure;
pub(crate) mod tail;
pub(crate) mod write;
