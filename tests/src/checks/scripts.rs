//! Histories that reach the corners of the protocols within a few dozen commits.

use orlop::Durability::{self, Buffered, Memory, Synced};
use orlop::Store;

use crate::history::{self, Change, SMALL, Step, Tree};
use crate::model::Model;

use super::dice::Dice;

/// A named history, and the tree it runs on.
pub(super) struct Script {
    pub(super) name: String,
    pub(super) tree: Tree,
    pub(super) steps: Vec<Step>,
}

/// A memtable so large that segments rotate under it.
const WIDE: Tree = Tree { memtable_size: 400 << 10, table_size: 32 << 10 };

pub(super) fn put(name: &str, key: u32, value: &str) -> Change {
    put_bytes(name, key, value.repeat(12).into_bytes())
}

fn put_bytes(name: &str, key: u32, value: Vec<u8>) -> Change {
    Change::Put(name.to_owned(), format!("key{key:03}").into_bytes(), value)
}

fn drop_of(name: &str) -> Change {
    Change::Drop(name.to_owned())
}

/// The scripts that are cut, failed and watched at every operation.
pub(super) fn all() -> Vec<Script> {
    let mut scripts: Vec<Script> = [Synced, Buffered, Memory].map(everything).into();
    scripts.extend([Synced, Buffered, Memory].map(drops));
    scripts.extend([flushes(), segments()]);
    scripts
}

/// Flushes, compacts, reopens, drops and swaps.
pub(super) fn everything(durability: Durability) -> Script {
    let mut steps = Vec::new();
    let commit = |changes: Vec<Change>| Step::Commit(changes, durability);
    for round in 0..4_u32 {
        for at in 0..6 {
            let key = (round * 7 + at * 5) % 20;
            let value = format!("{round}.{at}.");
            steps.push(commit(vec![put("a", key, &value), put("b", key + 1, &value)]));
        }
        let gone = format!("key{:03}", round * 5).into_bytes();
        steps.push(commit(vec![Change::Delete("a".to_owned(), gone), put("c", round, "c")]));
        match round {
            0 => steps.push(Step::Flush),
            1 => steps.extend([Step::Background, Step::Reopen]),
            2 => {
                steps.push(commit(vec![Change::Swap("a".to_owned(), "b".to_owned())]));
                steps.push(commit(vec![drop_of("c"), put("a", 9, "drop")]));
                steps.push(commit(vec![put("c", 9, "again")]));
                steps.extend([Step::Sync, Step::Compact, Step::Background]);
            }
            _ => steps.push(commit(vec![Change::Clear("b".to_owned()), put("b", 1, "new")])),
        }
    }
    Script { name: format!("everything-{durability:?}"), tree: SMALL, steps }
}

/// Databases that come and go, in tables and in the log, with work in the background in between.
pub(super) fn drops(durability: Durability) -> Script {
    let commit = |changes: Vec<Change>| Step::Commit(changes, durability);
    let mut steps = Vec::new();
    for key in 0..6 {
        steps.push(commit(vec![put("old", key, "old"), put("kept", key, "kept")]));
    }
    steps.extend([Step::Flush, Step::Sync]);
    steps.push(commit(vec![drop_of("old")]));
    steps.extend([Step::Background, Step::Background, Step::Background]);
    steps.push(commit(vec![put("ghost", 11, "boo"), put("ghost", 12, "boo")]));
    steps.push(commit(vec![drop_of("ghost")]));
    steps.push(Step::Commit(vec![put("kept", 9, "x")], Synced));
    steps.push(commit(vec![put("next", 3, "y")]));
    steps.push(commit(vec![Change::Clear("kept".to_owned())]));
    steps.push(Step::Reopen);
    steps.push(commit(vec![put("old", 7, "new")]));
    steps.push(commit(vec![Change::Clear("old".to_owned()), put("kept", 2, "z")]));
    steps.extend([Step::Background, Step::Background]);
    Script { name: format!("drops-{durability:?}"), tree: SMALL, steps }
}

/// Opens that end with everything in tables and nothing in the log.
pub(super) fn flushes() -> Script {
    let mut steps = Vec::new();
    for round in 0..3 {
        for at in 0..4 {
            steps
                .push(Step::Commit(vec![put("a", round * 3 + at, "f"), put("b", at, "g")], Synced));
        }
        steps.push(Step::Flush);
        if round < 2 {
            steps.push(Step::Reopen);
        }
    }
    Script { name: "flushes".to_owned(), tree: SMALL, steps }
}

/// Segments that rotate under one memtable, with syncs at different distances behind them.
pub(super) fn segments() -> Script {
    let mut steps = Vec::new();
    let large = |key: u32, durability| {
        Step::Commit(vec![put_bytes("a", key, vec![key as u8; 19 << 10])], durability)
    };
    let small = |key: u32, durability| Step::Commit(vec![put("b", key, "s")], durability);
    for key in 0..4 {
        steps.push(large(key, Buffered));
    }
    steps.push(small(1, Synced));
    for key in 4..9 {
        steps.push(large(key, if key % 2 == 0 { Memory } else { Buffered }));
    }
    steps.extend([small(2, Buffered), Step::Sync, small(3, Memory), large(2, Buffered)]);
    for key in 10..18 {
        steps.push(large(key % 6, Buffered));
    }
    steps.extend([small(4, Synced), Step::Reopen, small(5, Synced), large(1, Buffered)]);
    Script { name: "segments".to_owned(), tree: WIDE, steps }
}

/// What is written after a recovery, before the second crash.
pub(super) fn sequel() -> Vec<Step> {
    let commit = |key, durability| Step::Commit(vec![put("z", key, "later")], durability);
    vec![commit(1, Memory), commit(2, Buffered), commit(3, Synced), commit(4, Buffered)]
}

/// Does one step, on the store and on the model. `open` is asked when the step is a reopen.
pub(super) fn play(
    store: &mut Store,
    open: impl FnOnce() -> orlop::Result<Store>,
    model: &mut Model,
    step: &Step,
) -> orlop::Result<()> {
    match step {
        Step::Commit(changes, durability) => {
            history::batch(store, changes, model)?.commit_with(*durability)
        }
        Step::Sync => store.sync(),
        Step::Flush => store.flush(),
        Step::Compact => store.compact(),
        Step::Background => store.step().map(drop),
        Step::Snapshot => Ok(()), // what holds one keeps its own
        Step::Reopen => {
            store.clone().close()?;
            *store = open()?;
            Ok(())
        }
    }
}

/// A random history of `len` steps.
pub(super) fn random(dice: &mut Dice, len: u64) -> Script {
    let tree = Tree {
        memtable_size: dice.pick(&[2 << 10, 4 << 10, 30 << 10]),
        table_size: dice.pick(&[1 << 10, 4 << 10, 16 << 10]),
    };
    let mixes: [&[Durability]; 4] = [
        &[Synced],
        &[Memory, Buffered, Synced],
        &[Buffered, Buffered, Buffered, Synced],
        &[Memory, Memory, Memory, Buffered, Synced],
    ];
    let mix = dice.pick(&mixes);
    let steps = (0..len).map(|_| step(dice, mix)).collect();
    Script { name: "random".to_owned(), tree, steps }
}

fn step(dice: &mut Dice, mix: &[Durability]) -> Step {
    match dice.below(30) {
        0 => Step::Sync,
        1 => Step::Flush,
        2 => Step::Compact,
        3..=6 => Step::Background,
        7 => Step::Reopen,
        _ => {
            let count = 1 + dice.below(3);
            let changes = (0..count).map(|_| change(dice)).collect();
            Step::Commit(changes, dice.pick(mix))
        }
    }
}

fn change(dice: &mut Dice) -> Change {
    let name = |dice: &mut Dice| dice.pick(&["a", "b", "c"]).to_owned();
    // Few keys, so that they have many versions.
    let key = dice.below(20) as u32;
    match dice.below(24) {
        0 => Change::Drop(name(dice)),
        1 => Change::Clear(name(dice)),
        2 => {
            let (first, second) = (name(dice), name(dice));
            if first == second { Change::Clear(first) } else { Change::Swap(first, second) }
        }
        3..=5 => Change::Delete(name(dice), format!("key{key:03}").into_bytes()),
        _ => {
            let len = 1 + dice.pick(&[10, 40, 40, 200, 800]) as usize;
            put_bytes(&name(dice), key, vec![dice.below(256) as u8; len])
        }
    }
}
