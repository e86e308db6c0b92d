//! What is crashed: scripted, exhaustive short and random sequences of steps, each with a name
//! from which it can be made again.
//!
//! - `script:synced`: histories written by hand (`scripts.rs`)
//! - `short:put.flush.step`: a prelude, then any sequence of the [`MACROS`]; most bugs of storage
//!   systems need no more than three operations (Mohan et al., "Finding crash-consistency bugs
//!   with bounded black-box crash testing", OSDI 2018)
//! - `random:42`: many steps by dice; `random:42[0,3,5]` is its first, fourth and sixth step

use std::fmt;
use std::str::FromStr;

use orlop::Durability::{self, Buffered, Memory, Synced};

use super::scripts;
use crate::dice::Dice;
use crate::history::{Change, SMALL, START, Step, Tree};
use crate::model;

/// A sequence of steps to crash.
#[derive(Debug, Clone)]
pub struct Workload {
    pub(super) name: String,
    /// The sizes of the tree.
    pub tree: Tree,
    /// What is there already.
    pub prelude: Vec<Step>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A macro-operation: its name, and its steps at a position in a sequence.
pub type Macro = (&'static str, fn(u32) -> Vec<Step>);

/// What short sequences are made of.
pub const MACROS: [Macro; 18] = [
    ("put", |at| vec![commit(vec![put("a", at, "p", 60)], Synced)]),
    ("pair", |at| vec![commit(vec![put("a", 20 + at, "q", 90), put("b", at, "q", 90)], Synced)]),
    ("buffer", |at| vec![commit(vec![put("a", 30 + at, "r", 50)], Buffered)]),
    ("memory", |at| vec![commit(vec![put("b", 30 + at, "s", 40)], Memory)]),
    ("flight", flight),
    ("delete", |at| vec![commit(vec![delete("a", at), put("c", at, "d", 9)], Buffered)]),
    ("range", |at| {
        vec![commit(vec![delete_range("a", at, Some(30)), put("a", 9, "w", 40)], Buffered)]
    }),
    ("clear", |at| vec![commit(vec![Change::Clear("a".into()), put("a", at, "t", 30)], Synced)]),
    ("drop", |at| vec![commit(vec![Change::Drop("b".into()), put("c", at, "u", 30)], Buffered)]),
    ("swap", |_| vec![commit(vec![Change::Swap("a".into(), "b".into())], Synced)]),
    ("load", |at| {
        let changes =
            vec![put("a", at, "l", 900), delete("a", 20 + at), put("a", 30 + at, "l", 90)];
        vec![Step::Load("a".into(), changes, true)]
    }),
    ("large", |at| vec![commit(vec![put("a", 40 + at, "v", 20 << 10)], Buffered)]),
    ("flush", |_| vec![Step::Flush]),
    ("compact", |_| vec![Step::Compact]),
    ("step", |_| vec![Step::Background]),
    ("snapshot", |_| vec![Step::Snapshot]),
    ("reopen", |_| vec![Step::Reopen]),
    ("sync", |_| vec![Step::Sync]),
];

pub(super) fn commit(changes: Vec<Change>, durability: Durability) -> Step {
    Step::Commit(changes, durability)
}

/// Weaker commits behind a synced one that is on its way. There is a stage before it, or they would wait for it.
fn flight(at: u32) -> Vec<Step> {
    let put = |n: u32| vec![put("a", n + at, "f", 40)];
    let weaker = vec![(put(60), Buffered), (put(61), Memory), (put(62), Buffered)];
    vec![commit(put(63), Buffered), Step::Flight(put(64), weaker)]
}

fn key(n: u32) -> Vec<u8> {
    format!("key{n:03}").into_bytes()
}

pub(super) fn put(name: &str, n: u32, what: &str, len: usize) -> Change {
    let text = format!("{what}{n}.");
    let value: Vec<u8> = text.bytes().cycle().take(len).collect();
    Change::Put(name.to_owned(), key(n), value)
}

/// A write that expires some time after a disk's clock has begun, where it stands still.
pub(super) fn until(name: &str, n: u32, what: &str, len: usize) -> Change {
    match put(name, n, what, len) {
        Change::Put(name, key, value) => {
            Change::Until(name, key, model::until(START + 1 + u64::from(n), &value))
        }
        other => other,
    }
}

/// A write that has expired.
pub(super) fn gone(name: &str, n: u32, what: &str, len: usize) -> Change {
    match put(name, n, what, len) {
        Change::Put(name, key, value) => Change::Gone(name, key, value),
        other => other,
    }
}

/// A delete of all keys from one number on and, if there is one, before another.
pub(super) fn delete_range(name: &str, from: u32, to: Option<u32>) -> Change {
    Change::DeleteRange(name.to_owned(), key(from), to.map(key))
}

pub(super) fn delete(name: &str, n: u32) -> Change {
    Change::Delete(name.to_owned(), key(n))
}

/// What short sequences start from: a table in level 0 and one below it, versions of one key in
/// both, a tail in the log.
fn prelude() -> Vec<Step> {
    let mut steps: Vec<Step> = (0..8)
        .map(|n| commit(vec![put("a", n, "old", 120), put("b", n, "old", 80)], Buffered))
        .collect();
    steps.push(Step::Compact);
    steps.extend((0..4).map(|n| commit(vec![put("a", n * 2, "new", 100)], Buffered)));
    steps.push(Step::Flush);
    steps.push(commit(vec![put("a", 10, "tail", 50)], Synced));
    steps
}

impl Workload {
    /// All sequences of `len` macro-operations, by number from 0; `None` behind the last.
    pub fn short(len: u32, number: u64) -> Option<Workload> {
        let count = MACROS.len() as u64;
        if number >= count.pow(len) {
            return None;
        }
        let digits = (0..len).map(|place| (number / count.pow(place) % count) as usize);
        let names: Vec<&str> = digits.map(|digit| MACROS[digit].0).collect();
        format!("short:{}", names.join(".")).parse().ok()
    }

    /// The workload of a seed.
    pub fn random(seed: u64) -> Workload {
        let dice = &mut Dice::new(seed);
        let tree = random_tree(dice);
        let len = 10 + dice.below(30);
        let steps = random_steps(dice, len);
        Workload { name: format!("random:{seed}"), tree, prelude: Vec::new(), steps }
    }

    /// The scripted workloads.
    pub fn scripts() -> Vec<Workload> {
        scripts::all()
    }

    /// Whether all shorter sequences of the same kind are workloads, too.
    pub fn is_short(&self) -> bool {
        self.name.starts_with("short:") && !self.name.contains('[')
    }

    /// Only some of its steps, by their numbers.
    #[must_use]
    pub fn only(&self, steps: &[usize]) -> Workload {
        let base = self.name.split('[').next().unwrap_or_default();
        let list: Vec<String> = steps.iter().map(ToString::to_string).collect();
        Workload {
            name: format!("{base}[{}]", list.join(",")),
            tree: self.tree,
            prelude: self.prelude.clone(),
            steps: steps.iter().filter_map(|at| self.steps.get(*at).cloned()).collect(),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("no workload is called {text:?}; see tests/src/crash/workload.rs");
        let (name, list) = match text.split_once('[') {
            Some((name, list)) => (name, Some(list.strip_suffix(']').ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (kind, which) = name.split_once(':').ok_or_else(wrong)?;
        let whole = match kind {
            "script" => Workload::scripts().into_iter().find(|script| script.name == name),
            "random" => which.parse().ok().map(Workload::random),
            "short" => named_macros(which).map(|steps| Workload {
                name: name.to_owned(),
                tree: SMALL,
                prelude: prelude(),
                steps,
            }),
            _ => None,
        };
        let whole = whole.ok_or_else(wrong)?;
        let Some(list) = list else { return Ok(whole) };
        let numbers: Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
        Ok(whole.only(&numbers.map_err(|_| wrong())?))
    }
}

fn named_macros(names: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for (at, name) in (0..).zip(names.split('.')) {
        let (_, make) = MACROS.iter().find(|(known, _)| *known == name)?;
        steps.extend(make(at));
    }
    Some(steps)
}

/// Sizes by dice.
pub fn random_tree(dice: &mut Dice) -> Tree {
    Tree {
        memtable_size: dice.pick(&[2 << 10, 4 << 10, 30 << 10]),
        table_size: dice.pick(&[2 << 10, 4 << 10, 16 << 10]),
    }
}

/// Steps by dice: mostly commits of one mix of durabilities and one range of sizes.
pub fn random_steps(dice: &mut Dice, len: u64) -> Vec<Step> {
    let largest = dice.pick(&[200, 200, 8 << 10, 40 << 10]);
    let mixes: [&[Durability]; 5] = [
        &[Synced],
        &[Buffered],
        &[Memory, Buffered, Synced],
        &[Buffered, Buffered, Buffered, Buffered, Synced],
        &[Memory, Memory, Memory, Buffered, Synced],
    ];
    let mix = dice.pick(&mixes);
    (0..len).map(|_| random_step(dice, largest, mix)).collect()
}

fn random_step(dice: &mut Dice, largest: u64, mix: &[Durability]) -> Step {
    match dice.below(30) {
        0 => Step::Sync,
        1 | 2 => Step::Flush,
        3 => Step::Compact,
        4..=8 => Step::Background,
        9 => Step::Reopen,
        10 => Step::Snapshot,
        11 | 12 => random_load(dice, largest),
        _ => {
            let count = 1 + dice.below(3);
            let changes = (0..count).map(|_| random_change(dice, largest)).collect();
            Step::Commit(changes, dice.pick(mix))
        }
    }
}

/// Most are finished.
fn random_load(dice: &mut Dice, largest: u64) -> Step {
    let name = dice.pick(&["a", "b", "c"]).to_owned();
    let most = dice.pick(&[3, 12, 60]);
    let count = 1 + dice.below(most);
    let change = |_| random_change(dice, largest / 8).loaded_into(&name);
    let mut changes: Vec<Change> = (0..count).filter_map(change).collect();
    if changes.is_empty() {
        changes.push(put(&name, 3, "load", 40));
    }
    Step::Load(name, changes, dice.below(5) > 0)
}

fn random_change(dice: &mut Dice, largest: u64) -> Change {
    let name = |dice: &mut Dice| dice.pick(&["a", "b", "c"]).to_owned();
    let key = format!("k{:02}", dice.below(30)).into_bytes();
    match dice.below(26) {
        24 | 25 => {
            let other = format!("k{:02}", dice.below(30)).into_bytes();
            let (start, end) = (key.clone().min(other.clone()), key.max(other));
            let end = (dice.below(6) > 0 && end > start).then_some(end);
            Change::DeleteRange(name(dice), start, end)
        }
        0 => Change::Drop(name(dice)),
        1 => Change::Clear(name(dice)),
        2 => {
            let (first, second) = (name(dice), name(dice));
            if first == second { Change::Clear(first) } else { Change::Swap(first, second) }
        }
        3 | 4 => Change::Delete(name(dice), key),
        _ => {
            let limit = dice.pick(&[40, 40, 40, 40, largest / 8, largest / 8, largest]);
            let len = 1 + dice.below(limit.max(1)) as usize;
            // Two commits of one key differ, or a version too old could pass for the right one.
            let mut value = vec![dice.below(256) as u8; len];
            value.extend_from_slice(&dice.below(1 << 30).to_le_bytes()[..4]);
            match dice.below(12) {
                0 => Change::Gone(name(dice), key, value),
                1 | 2 => {
                    let time = START + 1 + dice.below(400);
                    Change::Until(name(dice), key, model::until(time, &value))
                }
                _ => Change::Put(name(dice), key, value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_made_again_from_its_name() {
        let mut workloads = Workload::scripts();
        let scripts = workloads.len();
        workloads.extend((0..MACROS.len() as u64).filter_map(|n| Workload::short(1, n)));
        workloads.extend([Workload::short(3, 1234).unwrap(), Workload::random(42)]);
        workloads.push(Workload::random(42).only(&[1, 4]));
        assert_eq!(workloads.len(), scripts + MACROS.len() + 3);
        for workload in workloads {
            let again: Workload = workload.to_string().parse().unwrap();
            assert_eq!(format!("{workload:?}"), format!("{again:?}"));
        }
        assert!(Workload::short(2, (MACROS.len() * MACROS.len()) as u64).is_none());
        for wrong in ["", "short:", "short:put.fly", "random:x", "script:none", "random:1[", "a:b"]
        {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }
}
