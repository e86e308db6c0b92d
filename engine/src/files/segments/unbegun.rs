//! Segments that were made ahead of their time and not begun.
//!
//! They can be as large as all the rest of the log, zeros or bytes of an earlier life, and their first
//! sectors say all that there is to know of them. What those do not prove, whoever reads the whole segment
//! judges.

use std::path::Path;

use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileNumber, StoreId};
use orlop_formats::log;

use crate::env::Env;
use crate::options::SEGMENT_MIN;

/// Takes those that were surely not begun out of a list of segments in order.
///
/// The last one is looked at first: beside a live writer, which begins one behind the other, none is missing
/// then before one that is there.
pub(super) fn leave_out(
    env: &dyn Env,
    dir: &Path,
    store: StoreId,
    segments: &mut Vec<(FileNumber, u64)>,
) {
    seeded!(EmptySegmentRefused => return);
    let mut at = segments.len();
    while let Some(before) = at.checked_sub(1) {
        at = before;
        // A small one is as soon read.
        if segments.get(at).is_some_and(|(number, len)| {
            *len > SEGMENT_MIN && never_begun(env, dir, store, *number).unwrap_or(false)
        }) {
            segments.remove(at);
        }
    }
}

/// As [`log::was_never_begun`] of the whole segment, which no stage completes: there is no commit with the
/// number that its first frame would have to begin with.
fn never_begun(env: &dyn Env, dir: &Path, store: StoreId, number: FileNumber) -> Option<bool> {
    let path = dir.join(FileName::Log(number).to_string());
    let start = |len| env.read_start(&path, len).ok();
    let head = start(log::HEAD_LEN)?;
    let reach = log::reach_if_not_begun(&head, number, Some(store))?;
    let bytes = if reach > log::HEAD_LEN { start(reach)? } else { head };
    Some(log::was_never_begun(&bytes, number, Some(store)))
}
