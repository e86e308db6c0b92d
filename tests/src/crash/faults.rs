//! Operations that fail.
//!
//! Every operation of a workload fails once, in every way there is; the program goes on as far as
//! it can. Then, each on a disk of its own:
//!
//! 1. the process dies: what was acknowledged is there
//! 2. and the power goes behind that restart: what the restart has served is still there
//! 3. the power goes at once: what was acknowledged as durable is there
//!
//! A device that lies ([`FaultKind::Lost`]) can take what was acknowledged, but not in silence
//! unless nothing was written behind it: that is for the checks of damage.

use orlop::sim::{FaultKind, Keep, SimEnv};

use super::workload::Workload;
use crate::history::{self, Promise, Step, Wrong};
use crate::model::Model;
use crate::tally::{Limits, Tally};

/// The ways in which an operation can fail without a lie.
const KINDS: [FaultKind; 5] = [
    FaultKind::StorageFull,
    FaultKind::Io,
    FaultKind::Reverted,
    FaultKind::Late,
    FaultKind::TooManyFiles,
];

/// The steps that every fault meets: all kinds of work, all durabilities, in few operations.
fn workload() -> Workload {
    let named = "short:buffer.put.flush.memory.pair.step.delete.large.buffer.sync.compact.clear.\
                 drop.step.reopen.put.swap.flush.buffer.put";
    named.parse().expect("these macro-operations exist")
}

/// Fails every operation of the fixed workload in every way, then those of random ones until time
/// is up.
pub fn run(limits: &Limits) -> Tally {
    let mut tally = Tally::default();
    for zero in ["false_acks", "lost", "half", "unopenable", "wrong"] {
        tally.add(zero, 0);
    }
    sweep(&workload(), &mut tally);
    let mut seed = limits.seed;
    while !limits.is_over() {
        sweep(&Workload::random(seed), &mut tally);
        seed += 1;
    }
    tally
}

/// Fails every operation of a workload in every way.
pub fn sweep(workload: &Workload, tally: &mut Tally) {
    let whole = SimEnv::new(3);
    history::persist(&whole, workload.tree, &steps(workload));
    let trace = whole.trace();
    for (at, line) in (1..).zip(&trace) {
        for kind in KINDS {
            if let Err(line) = case(workload, at, kind, line, tally) {
                tally.fail(line.0, line.1);
            }
        }
    }
}

/// The prelude of a workload can fail too.
fn steps(workload: &Workload) -> Vec<Step> {
    workload.prelude.iter().chain(&workload.steps).cloned().collect()
}

/// One fault again.
///
/// # Errors
/// What is wrong.
pub fn replay(workload: &Workload, at: u64, kind: FaultKind) -> Result<(), String> {
    case(workload, at, kind, "", &mut Tally::default()).map_err(|(_, line)| line)
}

type Failed = (&'static str, String);

fn case(
    workload: &Workload,
    at: u64,
    kind: FaultKind,
    operation: &str,
    tally: &mut Tally,
) -> Result<(), Failed> {
    let env = SimEnv::new(3);
    env.fail_at(at, kind);
    let recording = history::persist(&env, workload.tree, &steps(workload));
    let name = workload.to_string();
    let fail = |count, what: String| {
        (count, format!("orlop-tests fault --workload '{name}' --at {at} --kind {kind:?} # {what}"))
    };
    let is_sync = operation.starts_with("sync") || operation.starts_with("reap");
    tally.add("faults", 1);
    if recording.false_acks > 0 {
        let what = format!("{} acknowledgements by a poisoned store", recording.false_acks);
        return Err(fail("false_acks", what));
    }
    let mut promise = recording.into_promise();
    if kind == FaultKind::Reverted {
        // The page cache itself has dropped what only it had: nobody could keep that promise.
        promise.kill = promise.power;
    }
    for (how, outcome) in [
        ("then a restart", after_restart(workload, &env, &promise, at)),
        ("then a power cut", after_power_cut(workload, &env, &promise, at)),
    ] {
        tally.add("fsync_variants", u64::from(is_sync));
        outcome.map_err(|wrong| {
            let count = match (&wrong, is_sync) {
                (Wrong::Lost(_), true) => "false_acks",
                (Wrong::Lost(_), false) => "lost",
                (Wrong::NoPrefix(_), _) => "half",
                (Wrong::Unopenable(_), _) => "unopenable",
                (Wrong::Read(_), _) => "wrong",
            };
            fail(count, format!("{how}: {wrong}"))
        })?;
    }
    Ok(())
}

fn after_restart(
    workload: &Workload,
    env: &SimEnv,
    promise: &Promise,
    seed: u64,
) -> Result<(), Wrong> {
    let restarted = env.kill();
    let (store, k) = history::recovered(&restarted, workload.tree, promise, promise.kill)?;
    for keep in [Keep::Nothing, Keep::Random(seed)] {
        history::recovered(&restarted.crash(keep), workload.tree, promise, k)?;
    }
    drop(store);
    let served: &Model = &promise.states[k];
    let closed = Promise { states: vec![served.clone()], power: 0, kill: 0, begun: 0, error: None };
    history::recovered(&restarted.crash(Keep::Nothing), workload.tree, &closed, 0).map(drop)
}

fn after_power_cut(
    workload: &Workload,
    env: &SimEnv,
    promise: &Promise,
    seed: u64,
) -> Result<(), Wrong> {
    let keeps = [Keep::Nothing, Keep::Everything, Keep::Bytes, Keep::Names];
    for keep in keeps.into_iter().chain((0..3).map(|n| Keep::Random(seed * 3 + n))) {
        history::recovered(&env.crash(keep), workload.tree, promise, promise.power)?;
    }
    Ok(())
}
