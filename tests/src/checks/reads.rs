//! Reading at bad moments: readers that look while something is written, and reads that fail.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orlop::Store;
use orlop::env::{Env, Keep, SimEnv};

use crate::checks::Budget;
use crate::checks::ongoing;
use crate::checks::scripts::{self, Script};
use crate::checks::watched::{Call, WatchedEnv};
use crate::history::{self, Step};
use crate::model::{self, Model};

/// What a reader must see while a step runs.
#[derive(Default)]
struct Inside {
    store: Option<Store>,
    expected: Model,
    looks: u64,
    found: Option<String>,
}

impl Inside {
    fn look(inside: &Mutex<Inside>) {
        let lock = || inside.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, expected) = {
            let inside = lock();
            (inside.store.clone(), inside.expected.clone())
        };
        let Some(store) = store else { return };
        let seen = model::contents(&store);
        let mut inside = lock();
        inside.looks += 1;
        match seen {
            Ok(seen) if seen == expected => {}
            Ok(_) => inside.found = Some("sees a commit that is not acknowledged".to_owned()),
            Err(error) => inside.found = Some(error.to_string()),
        }
    }
}

/// At every call to the operating system a reader looks: it sees all acknowledged commits, and
/// nothing of the one that is being written.
pub(super) fn inside(budget: &mut Budget) -> Result<u64, String> {
    for script in &scripts::all() {
        if budget.is_over() {
            break;
        }
        watched(budget, script).map_err(|found| format!("{}: {found}", script.name))?;
    }
    Ok(budget.cases())
}

fn watched(budget: &mut Budget, script: &Script) -> Result<(), String> {
    let inside = Arc::new(Mutex::new(Inside::default()));
    let lock = || inside.lock().unwrap_or_else(PoisonError::into_inner);
    let watch = {
        let inside = Arc::clone(&inside);
        Arc::new(move |call| {
            if call == Call::Change {
                Inside::look(&inside);
            }
            Ok(())
        })
    };
    let env: Arc<dyn Env> = Arc::new(WatchedEnv { env: SimEnv::new(5), watch });
    let open = || history::open_on(Arc::clone(&env), script.tree);
    let mut store = open().map_err(|error| error.to_string())?;
    for (at, step) in script.steps.iter().enumerate() {
        lock().store = Some(store.clone()).filter(|_| !matches!(step, Step::Reopen));
        let mut next = lock().expected.clone();
        let done = scripts::play(&mut store, open, &mut next, step);
        let mut now = lock();
        now.store = None;
        now.expected = next;
        let looks = std::mem::take(&mut now.looks);
        (0..looks).for_each(|_| budget.count());
        let found = now.found.take().or(done.err().map(|error| error.to_string()));
        if let Some(found) = found {
            return Err(format!("during step {at} a reader {found}"));
        }
    }
    Ok(())
}

/// Every read of a history and of its recovery fails once. An open whose read failed is refused and
/// has done no harm; a compaction whose read failed has changed nothing.
pub(super) fn failing(budget: &mut Budget) -> Result<u64, String> {
    for script in &scripts::all() {
        for at in 1.. {
            if budget.is_over() {
                return Ok(budget.cases());
            }
            budget.count();
            let reached = fail_once(script, at)
                .map_err(|found| format!("{}, read {at} fails: {found}", script.name))?;
            if !reached {
                break;
            }
        }
        recoveries(budget, script)?;
    }
    Ok(budget.cases())
}

/// Makes look number `at` fail.
fn failing_env(env: &SimEnv, at: u64) -> (Arc<WatchedEnv>, Arc<AtomicU64>) {
    let looks = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&looks);
    let watch = Arc::new(move |call| {
        if call == Call::Look && counter.fetch_add(1, Ordering::Relaxed) + 1 == at {
            return Err(io::Error::other("simulated read error"));
        }
        Ok(())
    });
    (Arc::new(WatchedEnv { env: env.clone(), watch }), looks)
}

fn fail_once(script: &Script, at: u64) -> Result<bool, String> {
    let env = SimEnv::new(4);
    let (watched, looks) = failing_env(&env, at);
    let promise = ongoing::run(watched, script.tree, &script.steps, || {
        env.cut_after(env.operations());
    })?;
    for (how, image, least) in [
        ("a restart", env.kill(), promise.kill),
        ("a power cut", env.crash(Keep::Nothing), promise.power),
    ] {
        history::recovered(&image, script.tree, &promise, least)
            .map_err(|found| format!("then {how}: {found}"))?;
    }
    Ok(looks.load(Ordering::Relaxed) >= at)
}

/// Distance between the cuts whose recovery is tried with failing reads.
const STRIDE: usize = 23;

fn recoveries(budget: &mut Budget, script: &Script) -> Result<(), String> {
    for cut in (5..400).step_by(STRIDE) {
        let env = SimEnv::new(7);
        env.cut_after(cut);
        let promise = history::run(&env, script.tree, Model::new(), &script.steps);
        if promise.error.is_none() {
            break;
        }
        for at in 1.. {
            if budget.is_over() {
                return Ok(());
            }
            budget.count();
            let image = env.kill();
            let line = |found: String| {
                let name = &script.name;
                format!("{name}, cut after operation {cut}, read {at} of the recovery: {found}")
            };
            let (watched, looks) = failing_env(&image, at);
            let opened = history::open_on(watched, script.tree);
            if let Ok(store) = &opened {
                let seen = model::contents(store).map_err(|error| line(error.to_string()))?;
                let k = promise.states.iter().rposition(|state| *state == seen);
                if k.is_none_or(|k| k < promise.kill) {
                    let kill = promise.kill;
                    return Err(line(format!("{k:?} commits are served, {kill} were promised")));
                }
            }
            drop(opened);
            history::recovered(&image, script.tree, &promise, promise.kill)
                .map_err(|wrong| line(wrong.to_string()))?;
            if looks.load(Ordering::Relaxed) < at {
                break;
            }
        }
    }
    Ok(())
}
