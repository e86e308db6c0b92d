//! Cursors over several runs that overlap, forward, backward and turning around, held against an ordered map.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::Bound;

use orlop::{Background, Compression, Cursor, Durability, Store};
use proptest::prelude::*;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One run of the tree: a stretch of keys, every so many of them, and which of these are deletes.
#[derive(Clone, Debug)]
struct Layer {
    from: usize,
    count: usize,
    step: usize,
    deletes: usize,
}

fn layer() -> impl Strategy<Value = Layer> {
    let from = prop_oneof![Just(0_usize), 0..900_usize];
    // Long stretches of one run between two entries of another, and runs that alternate.
    let step = prop_oneof![2 => Just(1_usize), 1 => 2..5_usize, 2 => 20..90_usize];
    (from, 1..500_usize, step, prop_oneof![Just(usize::MAX), 1..9_usize])
        .prop_map(|(from, count, step, deletes)| Layer { from, count, step, deletes })
}

/// What a cursor is told to do.
#[derive(Clone, Debug)]
enum Move {
    Next(usize),
    Prev(usize),
    Seek(usize),
    First,
    Last,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let stretch = || prop_oneof![1..4_usize, 20..90_usize, Just(2000)];
    let one = prop_oneof![
        3 => stretch().prop_map(Move::Next),
        3 => stretch().prop_map(Move::Prev),
        1 => (0..1100_usize).prop_map(Move::Seek),
        1 => Just(Move::First),
        1 => Just(Move::Last),
    ];
    prop::collection::vec(one, 1..40)
}

/// Keys of one shape, which do not sort as their numbers in all of them.
fn key(at: usize, shape: usize) -> Vec<u8> {
    match shape {
        0 => format!("k{at:04}").into_bytes(),
        // The first eight bytes are all the same.
        1 => format!("a head that all have{at:04}").into_bytes(),
        // Of several lengths; some are others with zeros behind them.
        2 => [format!("k{:03}", at / 3).as_bytes(), &[0_u8, 0][..at % 3]].concat(),
        // With tails, which alone tell some apart, and heads that change on the way.
        _ => format!("{}/head {:03}, and a long tail {at:04}", "ab".repeat(at / 400), at / 9)
            .into_bytes(),
    }
}

/// Does the moves on a cursor and on a map, whose gap lies before `gap`; `None`: behind everything.
fn follow(mut cursor: Cursor, map: &Map, moves: &[Move], shape: usize) {
    let mut gap = Some(Vec::new());
    for one in moves {
        match one {
            Move::Seek(at) => {
                gap = Some(key(*at, shape));
                cursor.seek(key(*at, shape)).unwrap();
            }
            Move::First => {
                gap = Some(Vec::new());
                cursor.seek_first();
            }
            Move::Last => {
                gap = None;
                cursor.seek_last();
            }
            Move::Next(steps) => {
                for _ in 0..*steps {
                    let next = gap.as_ref().and_then(|gap| map.range(gap.clone()..).next());
                    let expected = next.map(|(key, value)| (&key[..], &value[..]));
                    assert_eq!(cursor.next().unwrap(), expected, "{one:?}");
                    gap = next.map(|(key, _)| [key, &[0][..]].concat());
                }
            }
            Move::Prev(steps) => {
                for _ in 0..*steps {
                    let end = gap.clone().map_or(Bound::Unbounded, Bound::Excluded);
                    let before = match &gap {
                        Some(gap) if gap.is_empty() => None,
                        _ => map.range((Bound::Unbounded, end)).next_back(),
                    };
                    let expected = before.map(|(key, value)| (&key[..], &value[..]));
                    assert_eq!(cursor.prev().unwrap(), expected, "{one:?}");
                    gap = Some(before.map_or_else(Vec::new, |(key, _)| key.clone()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
    ))]

    #[test]
    fn every_walk_over_runs_is_that_over_a_map(
        layers in prop::collection::vec(layer(), 1..7),
        seen in 0..7_usize,
        shape in 0..4_usize,
        (in_memory, snappy) in any::<(bool, bool)>(),
        moves in moves(),
    ) {
        let compression = if snappy { Compression::Snappy } else { Compression::None };
        let builder = Store::builder().durability(Durability::Memory).compression(compression);
        let store = builder.background(Background::Manual).in_memory().unwrap();
        let database = store.database("d").unwrap();
        let mut map = Map::new();
        let mut old = None;
        for (number, layer) in layers.iter().enumerate() {
            if number == seen {
                old = Some((store.snapshot(), map.clone()));
            }
            for nth in 0..layer.count {
                let at = (layer.from + nth * layer.step) % 1000;
                if nth % layer.deletes == layer.deletes - 1 {
                    database.delete(key(at, shape)).unwrap();
                    map.remove(&key(at, shape));
                } else {
                    let value = format!("{number} of {at}").repeat(4).into_bytes();
                    database.put(key(at, shape), &value).unwrap();
                    map.insert(key(at, shape), value);
                }
            }
            if !in_memory || number + 1 < layers.len() {
                store.flush().unwrap();
            }
        }
        follow(database.cursor().unwrap(), &map, &moves, shape);
        if let Some((snapshot, map)) = old {
            follow(snapshot.cursor(&database).unwrap(), &map, &moves, shape);
        }
    }
}
