//! What a damaged store may show.
//!
//! A store that was closed shows all of its commits or an error. Of a store that was killed nobody
//! recorded where its log ends, so damage to the trailing part may pass for a torn write (SPEC.md,
//! "Torn tail or corruption"): the part behind which no whole frame says that it was synced. Then
//! the commits before the first damaged frame are shown, and none behind it. The same goes for the
//! edits of its manifest.
//!
//! What is damaged is seen by comparing bytes, frame by frame: nothing here asks the engine.

use super::anatomy::{Anatomy, Frame};
use super::image::{Changes, changed};
use super::reference::Set;

/// How many commits a reader may see, all that were made among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Numbers of commits, ascending.
    pub commits: Vec<usize>,
    /// Whether the damage reaches an edit of the manifest that nothing vouches for.
    pub edits: bool,
}

/// What a mutant of a set may show.
pub fn allowed(set: &Set, anatomy: &Anatomy, changes: &Changes) -> Allowed {
    let all = set.commits();
    let mut allowed = Allowed { commits: vec![all], edits: false };
    if set.closed {
        return allowed;
    }
    let whole = |frame: &Frame| {
        let now = changed(&set.files, changes, &frame.file).unwrap_or_default();
        now.get(frame.range.clone()) == Some(&set.files[&frame.file][frame.range.clone()])
    };
    let cut = torn(&anatomy.groups, &whole).map(|at| anatomy.groups[at].first as usize - 1);
    allowed.commits.extend(cut);
    if let Some(at) = torn(&anatomy.edits, &whole) {
        // An older version: the log it still needs may be gone. What it says was flushed is in its
        // tables; how far the log goes on from there, if at all, is for the log to say.
        let flushed = anatomy.said[..at].iter().filter_map(|edit| edit.flushed_seqno).max();
        let least = flushed.map_or(all, |flushed| flushed as usize).min(cut.unwrap_or(all));
        allowed.edits = at > 0;
        allowed.commits.extend((least..all).filter(|_| at > 0));
    }
    allowed.commits.sort_unstable();
    allowed.commits.dedup();
    allowed
}

/// The first damaged frame, if no whole frame behind it says that it was synced.
fn torn(frames: &[Frame], whole: &impl Fn(&Frame) -> bool) -> Option<usize> {
    let at = frames.iter().position(|frame| !whole(frame))?;
    let first = frames[at].first;
    let vouched = frames[at..].iter().any(|frame| frame.synced >= first && whole(frame));
    (!vouched).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at: usize, first: u64, synced: u64) -> Frame {
        Frame { file: "f".into(), range: at..at + 10, count: 2, first, synced }
    }

    #[test]
    fn only_what_nothing_vouches_for_is_torn() {
        let frames = [frame(0, 1, 0), frame(20, 3, 2), frame(40, 5, 2), frame(60, 7, 2)];
        let torn = |damaged: &[usize]| {
            torn(&frames, &|frame: &Frame| !damaged.contains(&(frame.range.start / 20)))
        };
        assert_eq!(torn(&[]), None);
        assert_eq!(torn(&[0]), None, "later frames say that 2 was synced");
        assert_eq!(torn(&[1]), Some(1));
        assert_eq!(torn(&[3]), Some(3));
        assert_eq!(torn(&[0, 1, 2]), None, "the last one vouches for the first");
        assert_eq!(torn(&[0, 1, 2, 3]), Some(0), "the witnesses are damaged, too");
    }
}
