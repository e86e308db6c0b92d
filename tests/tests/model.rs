//! Random histories against the model: every public way to write and read, with flushes,
//! compactions, snapshots and reopens in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use orlop::env::{Env, MemoryEnv, SimEnv};
use orlop::{Background, Durability, Store};
use orlop_tests::history::{self, Change, Step};
use orlop_tests::model::{self, Model};
use proptest::prelude::*;

/// Keys that collide, share heads, are empty or sort by length.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0_u32..60).prop_map(|n| format!("key{n:04}").into_bytes()),
        2 => (0_u32..20).prop_map(|n| format!("a/very/long/shared/head/of/many/keys/{n}").into()),
        1 => proptest::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..12),
    ]
}

/// In one of the databases all keys share a head, and eight bytes tell them apart: what blocks and indexes are best at.
fn key_in(name: &str, key: Vec<u8>) -> Vec<u8> {
    if name != "b" {
        return key;
    }
    let number = key.iter().fold(0_u32, |sum, byte| sum * 7 % 997 + u32::from(*byte)) % 90;
    format!("shared/{number:08}").into_bytes()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        5 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => (any::<u8>(), 100_usize..700).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u8>(), 4_000_usize..9_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("a"), 3 => Just("b"), 2 => Just("0"), 1 => Just("käse")]
        .prop_map(str::to_owned)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => (name(), key(), value()).prop_map(|(n, k, v)| Change::Put(n.clone(), key_in(&n, k), v)),
        4 => (name(), key(), value(), 1_u64..400).prop_map(|(n, k, v, after)| {
            let value = model::until(history::START + after, &v);
            Change::Until(n.clone(), key_in(&n, k), value)
        }),
        1 => (name(), key(), value()).prop_map(|(n, k, v)| Change::Gone(n.clone(), key_in(&n, k), v)),
        8 => (name(), key()).prop_map(|(n, k)| Change::Delete(n.clone(), key_in(&n, k))),
        3 => (name(), key(), key(), 0..8_u32).prop_map(|(n, a, b, open)| {
            let (a, b) = (key_in(&n, a), key_in(&n, b));
            let (start, end) = (a.clone().min(b.clone()), a.max(b));
            let end = (open > 0 && start < end).then_some(end);
            Change::DeleteRange(n, start, end)
        }),
        1 => name().prop_map(Change::Drop),
        1 => name().prop_map(Change::Clear),
        1 => (name(), name())
            .prop_filter("two names", |(a, b)| a != b)
            .prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let durability =
        prop_oneof![Just(Durability::Memory), Just(Durability::Buffered), Just(Durability::Synced)];
    prop_oneof![
        20 => (proptest::collection::vec(change(), 1..6), durability)
            .prop_map(|(changes, durability)| Step::Commit(changes, durability)),
        2 => (name(), proptest::collection::vec(change(), 1..20), any::<bool>())
            .prop_map(|(name, changes, is_finished)| {
                let into = changes.into_iter().filter_map(|change| change.loaded_into(&name));
                let changes = into.collect();
                Step::Load(name, changes, is_finished)
            }),
        1 => Just(Step::Sync),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        4 => Just(Step::Background),
        1 => Just(Step::Reopen),
    ]
}

/// One shape of the tree.
#[derive(Debug, Clone)]
struct Shape {
    memtable: usize,
    table: u64,
    block: usize,
    filter_bits: u32,
    compression: orlop::Compression,
}

fn shape() -> impl Strategy<Value = Shape> {
    let compression = prop_oneof![Just(orlop::Compression::None), Just(orlop::Compression::Snappy)];
    (1_024_usize..20_000, 1_024_u64..20_000, 256_usize..5_000, 0_u32..20, compression).prop_map(
        |(memtable, table, block, filter_bits, compression)| Shape {
            memtable,
            table,
            block,
            filter_bits,
            compression,
        },
    )
}

fn open(env: &SimEnv, shape: &Shape) -> Store {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .memtable_size(shape.memtable)
        .table_size(shape.table)
        .level_base(2 * shape.table)
        .block_size(shape.block)
        .filter_bits(shape.filter_bits)
        .compression(shape.compression)
        .open("/store")
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_is_its_model(
        shape in shape(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let env = SimEnv::new(1);
        let mut store = open(&env, &shape);
        let mut model = Model::new();
        let mut snapshots = Vec::new();
        let mut now = env.now_ms();
        prop_assert_eq!(now, history::START);
        for (at, step) in steps.iter().enumerate() {
            if at % 5 == 2 {
                // It goes on, and back at times, which the store does not follow.
                let turned = if at % 15 == 2 { now - 30 } else { now + 23 };
                env.set_now(turned);
                drop(store.snapshot());
                now = now.max(turned);
            }
            match step {
                Step::Commit(changes, durability) => {
                    let batch = history::batch(&store, changes, &mut model).unwrap();
                    batch.commit_with(*durability).unwrap();
                }
                Step::Snapshot | Step::Flight(..) | Step::Beside(..) => {} // taken below, more of them; not among these
                Step::Load(name, changes, is_finished) => {
                    history::load(&store, name, changes, *is_finished).unwrap();
                    model.entry(name.clone()).or_default();
                    if *is_finished {
                        changes.iter().for_each(|change| change.apply(&mut model));
                    }
                }
                Step::Sync => store.sync().unwrap(),
                Step::Flush => store.flush().unwrap(),
                Step::Compact => store.compact().unwrap(),
                Step::Background => {
                    store.step().unwrap();
                }
                Step::Reopen => {
                    snapshots.clear();
                    store.close().unwrap();
                    store = open(&env, &shape);
                }
            }
            if at % 7 == 3 {
                let handles: Vec<_> =
                    model.keys().map(|name| store.database(name).unwrap()).collect();
                // Bound while they exist, so that the snapshot sees them after a drop.
                handles.iter().for_each(|handle| assert!(handle.exists().unwrap()));
                snapshots.push((store.snapshot(), handles, model::at(&model, now)));
            }
            if at % 11 == 5 {
                let checked = model::check(&store, &model::at(&model, now));
                prop_assert!(checked.is_ok(), "after step {at}: {checked:?}");
            }
        }
        let checked = model::check(&store, &model::at(&model, now));
        prop_assert!(checked.is_ok(), "at the end: {checked:?}");
        for (snapshot, handles, then) in &snapshots {
            let names: Vec<String> = then.keys().cloned().collect();
            prop_assert_eq!(snapshot.databases().unwrap(), names);
            for (handle, (name, contents)) in handles.iter().zip(then) {
                let seen: Vec<_> = snapshot
                    .iter(handle)
                    .map(|entry| entry.map(|(key, value)| (key, value.to_vec())).unwrap())
                    .collect();
                let expected: Vec<_> =
                    contents.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(seen, expected, "snapshot of {}", name);
            }
        }
    }

    #[test]
    fn ranges_from_both_ends_meet_once(
        keys in proptest::collection::btree_set(key(), 0..60),
        bounds in (key(), key()),
        inclusive in any::<(bool, bool)>(),
        picks in proptest::collection::vec(any::<bool>(), 80),
        flush in any::<bool>(),
    ) {
        use std::ops::Bound;
        let store = Store::builder().env(Arc::new(MemoryEnv::new())).open("/s").unwrap();
        let database = store.database("d").unwrap();
        for key in &keys {
            database.put(key, key).unwrap();
        }
        if flush {
            store.flush().unwrap();
        }
        let (low, high) = if bounds.0 <= bounds.1 { bounds } else { (bounds.1, bounds.0) };
        let start = if inclusive.0 { Bound::Included(&low) } else { Bound::Excluded(&low) };
        let end = if inclusive.1 { Bound::Included(&high) } else { Bound::Excluded(&high) };
        let inside = |key: &&Vec<u8>| {
            (**key > low || inclusive.0 && **key == low)
                && (**key < high || inclusive.1 && **key == high)
        };
        let expected: Vec<Vec<u8>> = keys.iter().filter(inside).cloned().collect();
        let mut range = database.range::<&Vec<u8>>((start, end));
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for pick in picks {
            let entry = if pick { range.next() } else { range.next_back() };
            match entry {
                Some(entry) => {
                    let (key, value) = entry.unwrap();
                    prop_assert_eq!(&key[..], &value[..]);
                    if pick { front.push(key) } else { back.push(key) }
                }
                None => break,
            }
        }
        back.reverse();
        front.extend(back);
        prop_assert_eq!(front, expected);
    }
}
