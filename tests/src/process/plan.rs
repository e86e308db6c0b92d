//! What the writers of a child do: a function of seed, writer and number, so that the parent knows
//! what must be there without having been told.
//!
//! Each writer has keys of its own in databases that all share, and two databases of its own, which
//! it creates, clears, exchanges and drops. A value carries a [`Stamp`]: who wrote it, in which life
//! of the store, as part of which commit. So a wrong version says where it comes from.

use std::collections::BTreeMap;

use orlop::{Batch, DatabaseOptions, Store};

use crate::dice::Dice;

/// Writers of a child.
pub const WRITERS: usize = 3;

/// Bytes that a stamp takes in a value.
const HEAD: usize = 24;

/// Commits after which a writer's own databases have seen everything once.
const CYCLE: u64 = 24;

/// Keys of a writer in each database.
const KEYS: u64 = 24;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The writer.
    pub writer: u8,
    /// The run of the child that wrote it.
    pub life: u32,
    /// The writer's commit, counted from 1 over all lives that were recovered.
    pub number: u64,
    /// Bytes of the value.
    pub len: u32,
}

impl Stamp {
    /// The value that this stamp stands for under `key`: stamp, checksum and filler.
    pub fn value(&self, key: &[u8]) -> Vec<u8> {
        let parts = [u64::from(self.writer), u64::from(self.life), self.number, self.len.into()];
        let mut dice = Dice::of(&parts);
        let mut hash = dice.roll();
        for byte in key {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        let mut value = Vec::with_capacity(self.len as usize + 8);
        value.extend(hash.to_le_bytes());
        value.extend(self.number.to_le_bytes());
        value.extend(self.life.to_le_bytes());
        value.extend([self.writer, 0, 0, 0]);
        while value.len() < self.len as usize {
            // Every second commit can be compressed.
            let word = if self.number.is_multiple_of(2) { hash } else { dice.roll() };
            value.extend(word.to_le_bytes());
        }
        value.truncate(self.len as usize);
        value
    }

    /// The stamp of a value found under `key`; `None` if no writer ever wrote these bytes there.
    pub fn read(key: &[u8], value: &[u8]) -> Option<Stamp> {
        let number = u64::from_le_bytes(value.get(8..16)?.try_into().ok()?);
        let life = u32::from_le_bytes(value.get(16..20)?.try_into().ok()?);
        let writer = *value.get(20)?;
        let stamp = Stamp { writer, life, number, len: u32::try_from(value.len()).ok()? };
        (value.len() >= HEAD && stamp.value(key) == value).then_some(stamp)
    }
}

/// One operation of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A write of so many bytes.
    Put(String, String, u32),
    /// A delete of a key that may be there.
    Delete(String, String),
    /// The creation of a database that is not there.
    Create(String),
    /// The drop of a database that is there.
    Drop(String),
    /// The removal of everything in a database.
    Clear(String),
    /// The exchange of two databases.
    Swap(String, String),
}

/// What one writer has in a store: by database and key, the stamps.
pub type Holdings = BTreeMap<String, BTreeMap<String, Stamp>>;

/// The key that every commit of a writer writes, in database [`COUNTED`]: it tells how far the
/// writer has got.
pub fn counter(writer: usize) -> String {
    format!("{writer}/n")
}

/// Where the counters are.
pub const COUNTED: &str = "a";

/// The operations of a writer's commit. The last one writes the counter.
pub fn commit(seed: u64, writer: usize, number: u64) -> Vec<Op> {
    let mut dice = Dice::of(&[seed, writer as u64, number]);
    let (own, other) = (format!("own{writer}"), format!("other{writer}"));
    let put = |dice: &mut Dice, name: &str| {
        Op::Put(name.to_owned(), format!("{writer}/{:02}", dice.below(KEYS)), small(dice))
    };
    let mut ops = Vec::new();
    match number % CYCLE {
        0 => ops.push(Op::Drop(own)),
        1 => {
            // After the first commit of a cycle both are there.
            if (number / CYCLE).is_multiple_of(2) {
                ops.push(Op::Create(own.clone()));
            }
            ops.extend([put(&mut dice, &own), put(&mut dice, &other)]);
        }
        12 => ops.extend([Op::Clear(own.clone()), put(&mut dice, &own)]),
        18 => ops.push(Op::Swap(own, other)),
        _ => {
            for _ in 0..dice.below(4) {
                let name = dice.pick(&[COUNTED, "b", "c", &own, &own, &other]);
                ops.push(match dice.below(8) {
                    0 => Op::Delete(name.to_owned(), format!("{writer}/{:02}", dice.below(KEYS))),
                    _ => put(&mut dice, name),
                });
            }
        }
    }
    if dice.below(200) == 0 {
        // More than the ring's threshold: in flight also without a sync.
        let len = 70_000 + dice.below(30_000) as u32;
        ops.push(Op::Put("b".to_owned(), format!("{writer}/large"), len));
    }
    ops.push(Op::Put(COUNTED.to_owned(), counter(writer), small(&mut dice)));
    ops
}

fn small(dice: &mut Dice) -> u32 {
    let len = match dice.below(64) {
        0 => 4_000 + dice.below(8_000),
        1..=8 => 200 + dice.below(800),
        _ => HEAD as u64 + dice.below(100),
    };
    len as u32
}

/// Brings a commit into what its writer has.
pub fn apply(ops: &[Op], holdings: &mut Holdings, writer: usize, life: u32, number: u64) {
    for op in ops {
        match op {
            Op::Put(name, key, len) => {
                let stamp = Stamp { writer: writer as u8, life, number, len: *len };
                holdings.entry(name.clone()).or_default().insert(key.clone(), stamp);
            }
            Op::Delete(name, key) => {
                // Any write creates its database.
                holdings.entry(name.clone()).or_default().remove(key);
            }
            Op::Create(name) => {
                holdings.entry(name.clone()).or_default();
            }
            Op::Drop(name) => {
                holdings.remove(name);
            }
            Op::Clear(name) => {
                holdings.entry(name.clone()).or_default().clear();
            }
            Op::Swap(first, second) => {
                let (a, b) = (holdings.remove(first), holdings.remove(second));
                holdings.extend(a.map(|entries| (second.clone(), entries)));
                holdings.extend(b.map(|entries| (first.clone(), entries)));
            }
        }
    }
}

/// The same commit as a batch of a store.
///
/// # Errors
/// As the functions of [`Batch`].
pub fn batch(
    store: &Store,
    ops: &[Op],
    writer: usize,
    life: u32,
    number: u64,
) -> orlop::Result<Batch> {
    let mut batch = store.batch();
    for op in ops {
        match op {
            Op::Put(name, key, len) => {
                let stamp = Stamp { writer: writer as u8, life, number, len: *len };
                batch.put(&store.database(name)?, key, stamp.value(key.as_bytes()))?;
            }
            Op::Delete(name, key) => batch.delete(&store.database(name)?, key)?,
            Op::Create(name) => batch.create_database(name, DatabaseOptions::default())?,
            Op::Drop(name) => batch.drop_database(name)?,
            Op::Clear(name) => batch.clear(&store.database(name)?)?,
            Op::Swap(first, second) => batch.swap_databases(first, second)?,
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_where_it_comes_from_and_only_under_its_own_key() {
        let stamp = Stamp { writer: 2, life: 7, number: 41, len: 133 };
        let value = stamp.value(b"2/05");
        assert_eq!(value.len(), 133);
        assert_eq!(Stamp::read(b"2/05", &value), Some(stamp));
        assert_eq!(Stamp::read(b"2/06", &value), None);
        for at in 0..value.len() {
            let mut other = value.clone();
            other[at] ^= 1;
            assert_eq!(Stamp::read(b"2/05", &other), None, "byte {at}");
        }
        assert_eq!(Stamp::read(b"2/05", &value[..20]), None);
    }

    #[test]
    fn the_plan_and_a_store_agree_over_many_cycles() {
        let store = Store::in_memory().unwrap();
        let mut holdings = Holdings::new();
        for number in 1..=10 * CYCLE {
            let ops = commit(9, 0, number);
            batch(&store, &ops, 0, 1, number).unwrap().commit().unwrap();
            apply(&ops, &mut holdings, 0, 1, number);
        }
        let found = crate::model::contents(&store).unwrap();
        let stamps = |entries: &BTreeMap<Vec<u8>, Vec<u8>>| -> BTreeMap<String, Stamp> {
            let stamp = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                (String::from_utf8(key.clone()).unwrap(), Stamp::read(key, value).unwrap())
            };
            entries.iter().map(stamp).collect()
        };
        let found: Holdings =
            found.iter().map(|(name, entries)| (name.clone(), stamps(entries))).collect();
        assert_eq!(found, holdings);
    }
}
