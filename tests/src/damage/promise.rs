//! What a damaged store may show.
//!
//! A store that was closed shows all of its commits or an error. Of a store that was killed nobody
//! recorded where its log ends, so damage to the trailing part may pass for a torn write (SPEC.md,
//! "Torn tail or corruption"): the part behind which no whole frame says that it was synced. Then
//! the commits before the first damaged frame are shown, and none behind it. The edits of its
//! manifest may be torn in the same way, but then the log says what they have forgotten.
//!
//! What is damaged is seen by comparing bytes, frame by frame: nothing here asks the engine.

use orlop_formats::superblock;

use super::anatomy::{Anatomy, Frame};
use super::image::{Changes, changed};
use super::reference::Set;

/// How many commits a reader of a mutant may see, ascending; all that were made among them.
pub fn allowed(set: &Set, anatomy: &Anatomy, changes: &Changes) -> Vec<usize> {
    let mut allowed = vec![set.commits()];
    if set.closed {
        return allowed;
    }
    let whole = |frame: &Frame| {
        let now = changed(&set.files, changes, &frame.file).unwrap_or_default();
        now.get(frame.range.clone()) == Some(&set.files[&frame.file][frame.range.clone()])
    };
    allowed.extend(torn(&anatomy.groups, &whole).map(|at| anatomy.groups[at].first as usize - 1));
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}

/// Whether a flipped bit may go unnoticed: in free space, in a slot of the superblock, since there
/// are two, and in edits of a killed store's manifest that nothing vouches for.
pub fn may_be_harmless(set: &Set, anatomy: &Anatomy, file: &str, at: usize) -> bool {
    let slot = file == "SUPER" && at >= superblock::SLOT_LEN;
    let whole = |frame: &Frame| !(frame.file == file && frame.range.contains(&at));
    let edit = !set.closed && torn(&anatomy.edits, &whole).is_some();
    slot || edit || anatomy.is_free(file, at)
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
