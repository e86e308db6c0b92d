//! Which versions of a key survive. Pure.
//!
//! The sequence numbers that somebody reads at cut the versions of a key into stripes; of each
//! stripe only the newest version can be seen. A tombstone is dropped when it is the oldest stripe's
//! and nothing lies below: then there is nothing left for it to hide. A value that has expired for
//! everybody who can see it is a tombstone.

use orlop_formats::ids::{AsOf, Kind, Seqno};

/// Decides over the versions of one key after the other, each newest first.
#[derive(Debug)]
pub(crate) struct Fold {
    /// Ascending, in both.
    boundaries: Vec<AsOf>,
    /// The stripe of the version kept or dropped last, of the current key.
    last_stripe: Option<usize>,
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    /// Its value goes. A tombstone takes its place, for older versions may lie below.
    Bury,
    Drop,
}

impl Fold {
    /// `boundaries`: everything that is read at, ascending; who reads later reads at the last one, or behind it.
    pub(crate) fn new(boundaries: Vec<AsOf>) -> Self {
        Self { boundaries, last_stripe: None }
    }

    /// The next version belongs to another key.
    pub(crate) fn next_key(&mut self) {
        self.last_stripe = None;
    }

    /// What becomes of a version. `bottom`: no older version of the key exists outside of this
    /// merge.
    pub(crate) fn judge(
        &mut self,
        seqno: Seqno,
        kind: Kind,
        expiry: Option<u64>,
        bottom: impl FnOnce() -> bool,
    ) -> Fate {
        let stripe = self.boundaries.partition_point(|boundary| boundary.seqno < seqno);
        if self.last_stripe == Some(stripe) {
            return Fate::Drop;
        }
        self.last_stripe = Some(stripe);
        let has_expired = kind == Kind::Put && self.has_expired(stripe, expiry);
        if kind != Kind::Delete && !has_expired {
            return Fate::Keep;
        }
        match (stripe == 0 && bottom(), has_expired) {
            (true, _) => Fate::Drop,
            (false, true) => Fate::Bury,
            (false, false) => Fate::Keep,
        }
    }

    /// Whether a version has expired for the first who sees this stripe: then it has for all who do.
    fn has_expired(&self, stripe: usize, expiry: Option<u64>) -> bool {
        let first = self.boundaries.get(stripe).or(self.boundaries.last());
        seeded!(ExpiredForSnapshots: first = self.boundaries.last());
        first.is_some_and(|first| first.has_passed(expiry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of one key, newest first, with what the fold keeps.
    fn kept(boundaries: &[Seqno], bottom: bool, versions: &[(Seqno, Kind)]) -> Vec<Seqno> {
        let boundaries = boundaries.iter().map(|seqno| AsOf { seqno: *seqno, now: 0 }).collect();
        let mut fold = Fold::new(boundaries);
        let keep = versions
            .iter()
            .filter(|(seqno, kind)| fold.judge(*seqno, *kind, None, || bottom) == Fate::Keep);
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

    /// What becomes of versions of one key that expire, newest first.
    fn fates(
        boundaries: &[(Seqno, u64)],
        bottom: bool,
        versions: &[(Seqno, Option<u64>)],
    ) -> Vec<Fate> {
        let as_of = |(seqno, now): &(Seqno, u64)| AsOf { seqno: *seqno, now: *now };
        let mut fold = Fold::new(boundaries.iter().map(as_of).collect());
        let judge = |(seqno, expiry): &(Seqno, Option<u64>)| {
            fold.judge(*seqno, Kind::Put, *expiry, || bottom)
        };
        versions.iter().map(judge).collect()
    }

    #[test]
    fn what_has_expired_is_a_tombstone() {
        use Fate::{Bury, Drop, Keep};
        let versions = [(9, Some(100)), (5, None)];
        assert_eq!(fates(&[(20, 99)], true, &versions), [Keep, Drop]);
        assert_eq!(fates(&[(20, 100)], false, &versions), [Bury, Drop]);
        assert_eq!(fates(&[(20, 100)], true, &versions), [Drop, Drop]);
        // A snapshot from before keeps what had not expired then.
        assert_eq!(fates(&[(9, 99), (20, 100)], true, &versions), [Keep, Drop]);
        assert_eq!(fates(&[(9, 100), (20, 200)], true, &versions), [Drop, Drop]);
        // One that sees the older version has it, and the tombstone hides it from all others.
        assert_eq!(fates(&[(6, 50), (20, 100)], true, &versions), [Bury, Keep]);
        // Nobody sees it yet: whoever will, will do so later.
        assert_eq!(fates(&[(6, 50), (8, 100)], true, &versions), [Bury, Keep]);
        assert_eq!(fates(&[(6, 50), (8, 99)], true, &versions), [Keep, Keep]);
    }
}
