//! Walking over all the places that hold entries, as if they were one.
//!
//! [`Source`] is one place, [`Merge`] puts them in order, [`Visible`] shows each key once, as of
//! one sequence number.

mod losers;
mod merge;
mod source;
mod visible;

pub(crate) use merge::Merge;
pub(crate) use source::Source;
pub(crate) use visible::{Visible, is_live};
