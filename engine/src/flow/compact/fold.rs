//! Which versions of a key survive. Pure.
//!
//! The sequence numbers that somebody reads at cut the versions of a key into stripes; of each
//! stripe only the newest version can be seen. A tombstone is dropped when it is the oldest stripe's
//! and nothing lies below: then there is nothing left for it to hide. A value that has expired for
//! everybody who can see it is a tombstone. What a range delete of the same stripe covers is dropped: that hides all that is
//! older, wherever it lies, for as long as there is any.

use orlop_formats::ids::{AsOf, Kind, Seqno};

/// Decides over the versions of one key after the other, each newest first.
#[derive(Debug)]
pub(crate) struct Fold {
    /// Ascending, in both.
    boundaries: Vec<AsOf>,
    /// The stripe of the version kept or dropped last, of the current key.
    last_stripe: Option<usize>,
}

/// A version of a key, as far as its fate depends on that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) seqno: Seqno,
    pub(crate) kind: Kind,
    pub(crate) expiry: Option<u64>,
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

    /// Up to which commit no range delete deletes anything of what is kept, where all of them up to `known` are judged by:
    /// those that the oldest reader sees, everybody does.
    pub(crate) fn clears_to(&self, known: Seqno) -> Seqno {
        self.boundaries.first().map_or(0, |oldest| oldest.seqno.min(known))
    }

    /// What becomes of a version. `range_delete`: the newest one up to a commit that covers the key, 0 if none does.
    /// `bottom`: no older version of the key exists outside of this merge.
    pub(crate) fn judge(
        &mut self,
        Judged { seqno, kind, expiry }: Judged,
        range_delete: impl FnOnce(Seqno) -> Seqno,
        bottom: impl FnOnce() -> bool,
    ) -> Fate {
        let stripe = self.boundaries.partition_point(|boundary| boundary.seqno < seqno);
        if self.last_stripe == Some(stripe) {
            return Fate::Drop;
        }
        self.last_stripe = Some(stripe);
        let end_of_stripe = self.boundaries.get(stripe).map_or(Seqno::MAX, |end| end.seqno);
        seeded!(RangeDeletedForSnapshots: end_of_stripe = Seqno::MAX);
        if range_delete(end_of_stripe) > seqno {
            return Fate::Drop;
        }
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
        let keep = versions.iter().filter(|(seqno, kind)| {
            let version = Judged { seqno: *seqno, kind: *kind, expiry: None };
            fold.judge(version, |_| 0, || bottom) == Fate::Keep
        });
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
            let version = Judged { seqno: *seqno, kind: Kind::Put, expiry: *expiry };
            fold.judge(version, |_| 0, || bottom)
        };
        versions.iter().map(judge).collect()
    }

    /// Of versions 9, 7, 5 and 3 those that are left behind range deletes of their key.
    fn left(boundaries: &[Seqno], range_deletes: &[Seqno]) -> Vec<Seqno> {
        let boundaries = boundaries.iter().map(|seqno| AsOf { seqno: *seqno, now: 0 }).collect();
        let mut fold = Fold::new(boundaries);
        let newest = |upto: Seqno| {
            range_deletes.iter().copied().filter(|seqno| *seqno <= upto).max().unwrap_or(0)
        };
        let keep = PUTS.iter().filter(|(seqno, kind)| {
            let version = Judged { seqno: *seqno, kind: *kind, expiry: None };
            fold.judge(version, newest, || false) == Fate::Keep
        });
        keep.map(|(seqno, _)| *seqno).collect()
    }

    #[test]
    fn what_a_range_delete_covers_goes_for_those_who_see_it() {
        assert_eq!(left(&[20], &[12]), [] as [Seqno; 0]);
        assert_eq!(left(&[20], &[9]), [9]);
        assert_eq!(left(&[20], &[8]), [9]);
        // A snapshot from before it keeps what it sees, one behind it nothing.
        assert_eq!(left(&[9, 20], &[12]), [9]);
        assert_eq!(left(&[6, 8, 20], &[8]), [9, 5]);
        assert_eq!(left(&[6, 7, 20], &[8]), [9, 7, 5]);
        assert_eq!(left(&[4, 6, 20], &[4, 12]), [5]);
        // Nobody sees it yet: whoever will see the entry, will see that, too.
        assert_eq!(left(&[4], &[12]), [3]);
        assert_eq!(Fold::new(vec![AsOf { seqno: 5, now: 0 }]).clears_to(9), 5);
        assert_eq!(Fold::new(vec![AsOf { seqno: 5, now: 0 }]).clears_to(4), 4);
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
