use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

type Drawn = (u64, u32, Vec<u8>, Option<Vec<u8>>);

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(0..4_u8, 0..4)
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    vec((1..40_u64, 16..19_u32, key(), prop::option::of(key())), 0..40)
}

fn ranges(drawn: &[Drawn]) -> Vec<RangeDelete> {
    let one = |(seqno, database, start, end): &Drawn| RangeDelete {
        seqno: *seqno,
        database: DatabaseId(*database),
        start: start.clone(),
        end: end.clone(),
    };
    let is_one = |range: &RangeDelete| range.end.as_ref().is_none_or(|end| *end > range.start);
    drawn.iter().map(one).filter(is_one).collect()
}

fn newest(ranges: &[RangeDelete], database: DatabaseId, key: &[u8], upto: Seqno) -> Seqno {
    let covering = ranges.iter().filter(|range| range.covers(database, key) && range.seqno <= upto);
    covering.map(|range| range.seqno).max().unwrap_or(0)
}

/// Every key of up to four bytes that are drawn, in order.
fn all_keys() -> Vec<Vec<u8>> {
    let mut keys = vec![vec![]];
    for len in 0..4 {
        let longest: Vec<_> =
            keys.iter().filter(|key: &&Vec<u8>| key.len() == len).cloned().collect();
        keys.extend(longest.iter().flat_map(|key| (0..4).map(|last| [key, &[last][..]].concat())));
    }
    keys.sort();
    keys
}

proptest! {
    #[test]
    fn what_covers_a_key(drawn in drawn(), upto in 0..42_u64) {
        let ranges = ranges(&drawn);
        let index = RangeDeletes::of(ranges.iter().cloned().map(Arc::new).collect());
        let mut cover = Cover::default();
        cover.add(Arc::new(RangeDeletes::of(index.all().to_vec())), 0);
        for database in (15..20).map(DatabaseId) {
            for key in all_keys() {
                let expected = newest(&ranges, database, &key, upto);
                prop_assert_eq!(index.newest(database, &key, upto), expected);
                prop_assert_eq!(cover.newest(database, &key, upto), expected);
                let (start, end) = cover.stretch();
                prop_assert!(start <= key.as_slice() && end.is_none_or(|end| key.as_slice() < end));
            }
        }
    }

    /// Piles, from any base, in any number of places, are as good as one.
    #[test]
    fn many_places_are_one(drawn in drawn(), cut in 0..40_usize, base in 0..5_u64, upto in 0..60_u64) {
        let mut ranges = ranges(&drawn);
        ranges.sort();
        let growing = Growing::default();
        let (here, there) = ranges.split_at(cut.min(ranges.len()));
        here.iter().cloned().for_each(|range| growing.add(range));
        prop_assert_eq!(growing.count() as usize, here.len());
        prop_assert!(growing.piles().len() <= 12);
        let mut cover = Cover::default();
        growing.piles().into_iter().for_each(|pile| cover.add(pile, base));
        cover.add(Arc::new(RangeDeletes::of(there.iter().cloned().map(Arc::new).collect())), 0);
        let moved = |range: &RangeDelete| RangeDelete { seqno: base + range.seqno, ..range.clone() };
        let all: Vec<_> = here.iter().map(moved).chain(there.iter().cloned()).collect();
        for key in all_keys().into_iter().rev() {
            for database in [16, 17].map(DatabaseId) {
                prop_assert_eq!(growing.newest(database, &key, upto), newest(here, database, &key, upto));
                let expected = newest(&all, database, &key, upto);
                prop_assert_eq!(cover.newest(database, &key, upto), expected);
            }
        }
    }

    #[test]
    fn what_is_covered(
        drawn in drawn(), bounds in (key(), key()), seqnos in (0..40_u64, 0..40_u64),
    ) {
        let ranges = ranges(&drawn);
        let index = RangeDeletes::of(ranges.iter().cloned().map(Arc::new).collect());
        let (first, last) = (bounds.clone().0.min(bounds.clone().1), bounds.0.max(bounds.1));
        let (after, upto) = (seqnos.0.min(seqnos.1), seqnos.0.max(seqnos.1));
        let (database, bounds) = (DatabaseId(16), (first.as_slice(), last.as_slice()));
        let between = Between { after, upto };
        let mut covered = Vec::new();
        index.each_covered(database, (bounds.0, Some(bounds.1)), between, |start, end| {
            covered.push((start.to_vec(), end.map(<[u8]>::to_vec)));
        });
        for pair in covered.windows(2) {
            prop_assert!(pair[0].1.as_ref().is_some_and(|end| *end < pair[1].0));
        }
        let mut all = true;
        for key in all_keys().into_iter().filter(|key| first <= *key && *key <= last) {
            let expected = newest(&ranges, database, &key, upto) > after;
            let found = covered.iter().any(|(start, end)| {
                *start <= key && end.as_ref().is_none_or(|end| key < *end)
            });
            prop_assert_eq!(found, expected);
            all &= expected;
        }
        prop_assert_eq!(index.cover_all(database, bounds, between), all);
    }
}

proptest! {
    /// How far everything is covered, in both directions, in one place and in several.
    #[test]
    fn how_far_it_is_covered(
        drawn in drawn(), cut in 0..40_usize, base in 0..5_u64, seqnos in (0..50_u64, 0..50_u64),
    ) {
        let mut ranges = ranges(&drawn);
        ranges.sort();
        let (after, upto) = (seqnos.0.min(seqnos.1), seqnos.0.max(seqnos.1));
        let between = Between { after, upto };
        let index = |ranges: &[RangeDelete]| {
            Arc::new(RangeDeletes::of(ranges.iter().cloned().map(Arc::new).collect()))
        };
        let (here, there) = ranges.split_at(cut.min(ranges.len()));
        let growing = Growing::default();
        here.iter().cloned().for_each(|range| growing.add(range));
        let mut cover = Cover::default();
        growing.piles().into_iter().for_each(|pile| cover.add(pile, base));
        cover.add(index(there), 0);
        let moved = |range: &RangeDelete| RangeDelete { seqno: base + range.seqno, ..range.clone() };
        let all: Vec<_> = here.iter().map(moved).chain(there.iter().cloned()).collect();
        let one = index(&all);
        let (database, keys) = (DatabaseId(16), all_keys());
        let is_covered = |key: &[u8]| newest(&all, database, key, upto) > after;
        for key in &keys {
            let to = one.covered_to(database, key, between);
            let from = one.covered_from(database, key, between);
            prop_assert_eq!(to.is_some(), is_covered(key));
            prop_assert_eq!(cover.covered_to(database, key, between), to);
            prop_assert_eq!(cover.covered_from(database, key, between), from);
            let Some((to, from)) = to.zip(from) else { continue };
            let is_inside = |key: &&Vec<u8>| from <= key.as_slice() && End::Before(key) < to;
            let hole = keys.iter().filter(is_inside).find(|key| !is_covered(key));
            prop_assert_eq!(hole, None);
            // What lies right behind, and right before, is not.
            if let End::Before(end) = to {
                prop_assert!(!is_covered(end));
            }
            let before = keys.iter().rev().find(|other| other.as_slice() < from);
            let has_cut = |key: &[u8]| {
                all.iter().any(|of| of.start == key || of.end.as_deref() == Some(key))
            };
            // Cuts have three bytes at most: keys of four are between them.
            let last = before.filter(|before| before.len() == 4 && !has_cut(before));
            prop_assert!(last.is_none_or(|last| from.is_empty() || !is_covered(last)));
        }
    }
}

#[test]
fn piles_stay_few_and_small_ones_are_moved_seldom() {
    // Without a memtable: what it lets go of is freed with what all others let go of.
    let most = crate::options::MOST_RANGE_DELETES;
    let mut piles = Vec::new();
    // Such as one batch may bring comes behind.
    for n in 0..20 * most {
        let start = (n * 7919 % (20 * most)).to_be_bytes().to_vec();
        let range = RangeDelete { seqno: n + 1, database: DatabaseId(16), start, end: None };
        piles = growing::with(&piles, Arc::new(RangeDeletes::of(vec![Arc::new(range)])));
        let few = if n < most { 24 } else { 80 };
        assert!(piles.len() <= few, "{} piles of {n}", piles.len());
    }
    assert_eq!(piles.iter().map(|pile| pile.all().len() as u64).sum::<u64>(), 20 * most);
}

#[test]
fn ranges_inside_of_each_other_take_little() {
    let all: Vec<_> = (0..20_000_u32)
        .map(|n| RangeDelete {
            seqno: u64::from(n) + 1,
            database: DatabaseId(16),
            start: n.to_be_bytes().to_vec(),
            end: Some((100_000 - n).to_be_bytes().to_vec()),
        })
        .collect();
    let index = RangeDeletes::of(all.iter().cloned().map(Arc::new).collect());
    let places: usize = index.databases.iter().map(|of| of.seqnos.len()).sum();
    assert!(places < 20_000 * 32, "{places}");
    let middle = 50_000_u32.to_be_bytes();
    assert_eq!(index.newest(DatabaseId(16), &middle, 7_000), 7_000);
    assert_eq!(index.newest(DatabaseId(16), &9_u32.to_be_bytes(), u64::MAX), 10);
}
