//! Which versions of a key survive. Pure.
//!
//! The sequence numbers that somebody reads at cut the versions of a key into stripes; of each
//! stripe only the newest version can be seen. A tombstone is dropped when it is the oldest stripe's
//! and nothing lies below: then there is nothing left for it to hide.

use orlop_formats::ids::{Kind, Seqno};

/// Decides over the versions of one key after the other, each newest first.
#[derive(Debug)]
pub(crate) struct Fold {
    /// Ascending.
    boundaries: Vec<Seqno>,
    /// The stripe of the version kept or dropped last, of the current key.
    last_stripe: Option<usize>,
}

impl Fold {
    /// `boundaries`: every sequence number that is read at, ascending.
    pub(crate) fn new(boundaries: Vec<Seqno>) -> Self {
        Self { boundaries, last_stripe: None }
    }

    /// The next version belongs to another key.
    pub(crate) fn next_key(&mut self) {
        self.last_stripe = None;
    }

    /// Whether to keep a version. `bottom`: no older version of the key exists outside of this
    /// merge.
    pub(crate) fn keep(&mut self, seqno: Seqno, kind: Kind, bottom: impl FnOnce() -> bool) -> bool {
        let stripe = self.boundaries.partition_point(|&boundary| boundary < seqno);
        if self.last_stripe == Some(stripe) {
            return false;
        }
        self.last_stripe = Some(stripe);
        !(kind == Kind::Delete && stripe == 0 && bottom())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of one key, newest first, with what the fold keeps.
    fn kept(boundaries: &[Seqno], bottom: bool, versions: &[(Seqno, Kind)]) -> Vec<Seqno> {
        let mut fold = Fold::new(boundaries.to_vec());
        let keep = versions.iter().filter(|(seqno, kind)| fold.keep(*seqno, *kind, || bottom));
        keep.map(|(seqno, _)| *seqno).collect()
    }

    const PUTS: [(Seqno, Kind); 4] =
        [(9, Kind::Put), (7, Kind::Put), (5, Kind::Put), (3, Kind::Put)];

    #[test]
    fn without_snapshots_only_the_newest_survives() {
        assert_eq!(kept(&[20], false, &PUTS), [9]);
    }

    #[test]
    fn each_snapshot_keeps_what_it_sees() {
        assert_eq!(kept(&[6, 20], false, &PUTS), [9, 5]);
        assert_eq!(kept(&[3, 7, 8, 20], false, &PUTS), [9, 7, 3]);
        assert_eq!(kept(&[1, 2, 20], false, &PUTS), [9]);
    }

    #[test]
    fn what_no_reader_sees_yet_is_kept_once() {
        assert_eq!(kept(&[4], false, &PUTS), [9, 3]);
    }

    #[test]
    fn tombstones_go_only_at_the_bottom_and_below_every_snapshot() {
        let versions = [(9, Kind::Delete), (5, Kind::Put)];
        assert_eq!(kept(&[20], false, &versions), [9]);
        assert_eq!(kept(&[20], true, &versions), [] as [Seqno; 0]);
        assert_eq!(kept(&[6, 20], true, &versions), [9, 5]);
    }
}
