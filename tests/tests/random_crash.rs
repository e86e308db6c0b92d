//! Random histories, with values that rotate segments under live memtables, cut or failed at
//! random operations, recovered, continued and cut again.
//!
//! `ORLOP_HISTORIES=2000 cargo test --release -p orlop-tests --test random_crash` runs more; a
//! failure names its seed, and `ORLOP_SEED=N ORLOP_HISTORIES=1` runs it alone.

use orlop::Durability;
use orlop::env::{FaultKind, Keep, SimEnv};
use orlop_tests::history::{self, Change, Step, Tree};
use orlop_tests::model::Model;

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

fn tree(dice: &mut Dice) -> Tree {
    Tree {
        memtable_size: dice.pick(&[4 << 10, 30 << 10, 60 << 10, 120 << 10]),
        table_size: dice.pick(&[4 << 10, 16 << 10]),
    }
}

fn steps(dice: &mut Dice, len: u64) -> Vec<Step> {
    use Durability::{Buffered, Memory, Synced};
    let largest = dice.pick(&[200, 8 << 10, 40 << 10, 150 << 10]);
    let mixes: [&[Durability]; 4] = [
        &[Buffered],
        &[Memory, Buffered, Synced],
        &[Buffered, Buffered, Buffered, Buffered, Synced],
        &[Memory, Memory, Memory, Buffered, Synced],
    ];
    let mix = dice.pick(&mixes);
    (0..len).map(|_| step(dice, largest, mix)).collect()
}

fn step(dice: &mut Dice, largest: u64, mix: &[Durability]) -> Step {
    match dice.below(30) {
        0 => Step::Sync,
        1 => Step::Flush,
        2 => Step::Compact,
        3..=6 => Step::Background,
        7 => Step::Reopen,
        _ => {
            let count = 1 + dice.below(3);
            let changes = (0..count).map(|_| change(dice, largest)).collect();
            Step::Commit(changes, dice.pick(mix))
        }
    }
}

fn change(dice: &mut Dice, largest: u64) -> Change {
    let name = |dice: &mut Dice| dice.pick(&["a", "b", "c"]).to_owned();
    let key = format!("k{:02}", dice.below(30)).into_bytes();
    match dice.below(24) {
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
            Change::Put(name(dice), key, vec![dice.below(256) as u8; len])
        }
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("ORLOP_SEED").unwrap_or(1);
    first..first + number("ORLOP_HISTORIES").unwrap_or(default)
}

/// What came out of a crash keeps its promise, goes on, and keeps it through a second crash.
fn check_image(
    dice: &mut Dice,
    image: &SimEnv,
    tree: Tree,
    promise: &history::Promise,
    least: usize,
    context: &str,
) {
    let (store, k) = history::recovered(image, tree, promise, least)
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    drop(store);
    let sequel = history::run(image, tree, promise.states[k].clone(), &steps(dice, 12));
    assert!(sequel.error.is_none(), "{context}: then writing: {:?}", sequel.error);
    let keep = Keep::Random(dice.below(1 << 20));
    for (keep, least) in [(Keep::Nothing, sequel.power), (keep, sequel.power)] {
        if let Err(error) = history::recovered(&image.crash(keep), tree, &sequel, least) {
            panic!("{context}: then after a second crash, {keep:?}: {error}");
        }
    }
}

#[test]
fn random_cuts() {
    for seed in seeds(25) {
        let dice = &mut Dice::new(seed);
        let tree = tree(dice);
        let len = 20 + dice.below(60);
        let script = steps(dice, len);
        let whole = SimEnv::new(seed);
        let uncut = history::run(&whole, tree, Model::new(), &script);
        assert!(uncut.error.is_none(), "seed {seed}, uncut: {:?}", uncut.error);
        for _ in 0..8 {
            let cut = dice.below(whole.operations() + 1);
            let env = SimEnv::new(seed);
            env.cut_after(cut);
            let promise = history::run(&env, tree, Model::new(), &script);
            for keep in history::keeps(&env, cut) {
                let context = format!("seed {seed}, cut after operation {cut}, {keep:?}");
                check_image(dice, &env.crash(keep), tree, &promise, promise.power, &context);
            }
            let context = format!("seed {seed}, cut after operation {cut}, kill");
            nested(dice, &env.kill(), tree, &promise, &context);
            check_image(dice, &env.kill(), tree, &promise, promise.kill, &context);
        }
    }
}

/// Cuts the recovery of a killed process at a random operation.
fn nested(dice: &mut Dice, image: &SimEnv, tree: Tree, promise: &history::Promise, context: &str) {
    image.cut_after(1 + dice.below(30));
    drop(history::open(image, tree));
    for keep in [Keep::Nothing, Keep::Random(dice.below(1 << 20)), Keep::Everything] {
        if let Err(error) = history::recovered(&image.crash(keep), tree, promise, promise.power) {
            panic!("{context}, recovery cut, {keep:?}: {error}");
        }
    }
}

#[test]
fn random_faults() {
    for seed in seeds(25) {
        let dice = &mut Dice::new(seed);
        let tree = tree(dice);
        let len = 20 + dice.below(60);
        let script = steps(dice, len);
        let whole = SimEnv::new(seed);
        history::run(&whole, tree, Model::new(), &script);
        for _ in 0..15 {
            let at = 1 + dice.below(whole.operations());
            let kind = dice.pick(&[FaultKind::Io, FaultKind::StorageFull]);
            let env = SimEnv::new(seed);
            env.fail_at(at, kind);
            if dice.below(3) == 0 {
                env.fail_at(
                    at + 1 + dice.below(6),
                    dice.pick(&[FaultKind::Io, FaultKind::StorageFull]),
                );
            }
            let promise = history::run(&env, tree, Model::new(), &script);
            let context = format!("seed {seed}, {kind:?} at operation {at}");
            let restarted = env.kill();
            let (store, k) = history::recovered(&restarted, tree, &promise, promise.kill)
                .unwrap_or_else(|error| panic!("{context}, then a restart: {error}"));
            for keep in [Keep::Nothing, Keep::Random(at)] {
                if let Err(error) = history::recovered(&restarted.crash(keep), tree, &promise, k) {
                    panic!("{context}, a restart, a power cut, {keep:?}: {error}");
                }
            }
            drop(store);
            for keep in history::keeps(&env, at) {
                if let Err(error) =
                    history::recovered(&env.crash(keep), tree, &promise, promise.power)
                {
                    panic!("{context}, then a power cut, {keep:?}: {error}");
                }
            }
        }
    }
}
