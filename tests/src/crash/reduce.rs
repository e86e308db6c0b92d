//! From a workload that fails to the few of its steps that matter.

use super::enumerate::{self, Depth, Seen};
use super::part::Part;
use super::workload::Workload;
use super::{Found, Tally};

/// Leaves out steps as long as what is left fails in the same way; `None` when nothing can be
/// left out. First large parts, then single steps (Zeller's ddmin, without its complements).
pub fn steps(workload: &Workload, depth: Depth, found: &Found) -> Option<Found> {
    let mut kept: Vec<usize> = (0..workload.steps.len()).collect();
    let mut smallest = None;
    let mut part = kept.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + part).min(kept.len()));
            match fails(&workload.only(&fewer), depth, found) {
                Some(same) => (kept, smallest) = (fewer, Some(same)),
                None => at += part,
            }
        }
        part /= 2;
    }
    smallest
}

fn fails(workload: &Workload, depth: Depth, like: &Found) -> Option<Found> {
    // Which recoveries are cut or continued depends on their number: here all are, if any was.
    let every = |n: u64| u64::from(n > 0);
    let all = Depth {
        nested: every(depth.nested) * u64::from(like.is_nested()),
        sequel: every(depth.sequel) * u64::from(like.later),
    };
    let found =
        enumerate::workload(workload, all, Part::WHOLE, &Seen::default(), &mut Tally::default());
    found.filter(|found| found.count() == like.count())
}
