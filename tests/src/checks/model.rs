//! Random histories equal the model, through every read path and through snapshots, with flushes,
//! compactions and reopens in between, while the clock goes on, and back at times.

use orlop::env::{Env, SimEnv};
use orlop::{Database, Snapshot, Store};

use super::{Budget, play};
use crate::crash::workload::{random_steps, random_tree};
use crate::dice::Dice;
use crate::history::{self, Step, Tree};
use crate::model::{self, Contents, Model};

/// Random histories.
const ROUNDS: u64 = 400;

/// A snapshot, and what it must show for as long as it lives.
struct Kept {
    snapshot: Snapshot,
    /// Bound while their databases existed.
    handles: Vec<Database>,
    model: Model,
}

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    for round in 0..ROUNDS {
        if budget.is_over() {
            break;
        }
        budget.add(1);
        let seed = budget.seed.wrapping_mul(1_000_003).wrapping_add(round);
        let dice = &mut Dice::new(seed);
        let tree = random_tree(dice);
        let steps = random_steps(dice, 80);
        follow(dice, &SimEnv::new(seed), tree, &steps)
            .map_err(|found| format!("history {round}: {found}"))?;
    }
    Ok(budget.cases())
}

fn follow(dice: &mut Dice, env: &SimEnv, tree: Tree, steps: &[Step]) -> Result<(), String> {
    let told = |error: orlop::Error| error.to_string();
    let mut store = history::open(env, tree).map_err(told)?;
    let mut model = Model::new();
    let mut kept: Vec<Kept> = Vec::new();
    let mut now = env.now_ms();
    for (at, step) in steps.iter().enumerate() {
        if dice.once_in(6) {
            now = turn_clock(dice, env, &store, now);
        }
        if matches!(step, Step::Reopen) {
            kept.clear();
        }
        let done = play::step(&mut store, || history::open(env, tree), &mut model, step);
        done.map_err(|error| format!("step {at}: {error}"))?;
        if dice.below(4) == 0 {
            kept.push(keep(&store, &model::at(&model, now)).map_err(told)?);
        }
        if dice.below(12) == 0 && !kept.is_empty() {
            kept.swap_remove(dice.below(kept.len() as u64) as usize);
        }
        if store.stats().snapshots != kept.len() as u64 {
            let held = store.stats().snapshots;
            return Err(format!("step {at}: {held} snapshots are held, {} exist", kept.len()));
        }
        if dice.below(8) == 0 {
            let there = model::at(&model, now);
            model::check(&store, &there).map_err(|found| format!("step {at}: {found}"))?;
        }
    }
    let there = model::at(&model, now);
    model::check(&store, &there).map_err(|found| format!("at the end: {found}"))?;
    kept.iter().try_for_each(Kept::check)
}

/// Turns the system's clock, and gives the time that it is then in the store, which was at `now`: that does not go back.
fn turn_clock(dice: &mut Dice, env: &SimEnv, store: &Store, now: u64) -> u64 {
    let turned = match dice.below(5) {
        0 => now.saturating_sub(1 + dice.below(60)),
        _ => env.now_ms() + dice.below(50),
    };
    env.set_now(turned);
    // It looks at the clock.
    drop(store.snapshot());
    now.max(turned)
}

fn keep(store: &Store, model: &Model) -> orlop::Result<Kept> {
    let handles: orlop::Result<Vec<Database>> =
        model.keys().map(|name| store.database(name)).collect();
    let handles = handles?;
    for handle in &handles {
        handle.exists()?;
    }
    Ok(Kept { snapshot: store.snapshot(), handles, model: model.clone() })
}

impl Kept {
    fn check(&self) -> Result<(), String> {
        let differs =
            |what: String| Err(format!("the snapshot at {}: {what}", self.snapshot.seqno()));
        let names: Vec<&String> = self.model.keys().collect();
        match self.snapshot.databases() {
            Ok(found) if found.iter().eq(names.iter().copied()) => {}
            found => return differs(format!("databases {found:?} instead of {names:?}")),
        }
        for (handle, (name, contents)) in self.handles.iter().zip(&self.model) {
            for (key, value) in contents {
                match self.snapshot.get(handle, key) {
                    Ok(Some(found)) if found == *value => {}
                    _ => return differs(format!("get of {} in {name}", key.escape_ascii())),
                }
            }
            for number in 0..30 {
                let key = format!("k{number:02}").into_bytes();
                let found = self.snapshot.get(handle, &key);
                let found = found.map(|value| value.is_some());
                if !matches!(found, Ok(there) if there == contents.contains_key(&key)) {
                    let key = key.escape_ascii();
                    return differs(format!("whether {key} is in {name}: {found:?}"));
                }
            }
            let entries: orlop::Result<Contents> = self
                .snapshot
                .iter(handle)
                .rev()
                .map(|entry| entry.map(|(key, value)| (key, value.to_vec())))
                .collect();
            match entries {
                Ok(found) if found == *contents => {}
                _ => return differs(format!("scan of {name}")),
            }
            let forward = self.snapshot.iter(handle).filter(|entry| entry.is_ok()).count();
            if forward != contents.len() {
                return differs(format!("forward scan of {name}: {forward} entries"));
            }
        }
        Ok(())
    }
}
