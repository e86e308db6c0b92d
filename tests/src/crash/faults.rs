//! Operations that fail.
//!
//! Every operation of a workload fails once, in every way there is; the program [goes on](goes_on)
//! as far as it can. Then, each on a disk of its own:
//!
//! 1. the process dies: what was acknowledged is there
//! 2. and the power goes behind that restart: what the restart has served is still there
//! 3. the power goes at once: what was acknowledged as durable is there
//!
//! A device that lies ([`FaultKind::Lost`]) can take what was acknowledged, but not in silence
//! unless nothing was written behind it: that is for [`lies`](super::lies).

use orlop::sim::{FaultKind, Keep, SimEnv};

use super::goes_on;
use super::part::Part;
use super::workload::Workload;
use crate::history::Promise;
use crate::model::Model;
use crate::oracle::{self, Wrong};
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
fn fixed() -> Workload {
    let named = "short:buffer.put.flush.memory.pair.step.delete.large.buffer.sync.compact.clear.\
                 drop.step.reopen.put.swap.flush.buffer.put";
    named.parse().expect("these macro-operations exist")
}

/// What is to be failed: the fixed workload, the scripts, then random ones without end.
pub fn workloads(seed: u64) -> impl Iterator<Item = Workload> {
    let first = std::iter::once(fixed()).chain(Workload::scripts());
    first.chain((seed..).map(Workload::random))
}

/// Fails every operation of the fixed workload in every way, then those of the others until time
/// is up.
pub fn run(limits: &Limits) -> Tally {
    let mut tally = Tally::default();
    for zero in ["false_acks", "lost", "half", "unopenable", "wrong"] {
        tally.add(zero, 0);
    }
    for (number, workload) in workloads(limits.seed).enumerate() {
        if number > 0 && limits.is_over() {
            break;
        }
        sweep(&workload, Part::WHOLE, &mut tally);
    }
    tally
}

/// Fails every operation of a workload in every way, or a part of these, up to the first thing that is
/// wrong.
pub fn sweep(workload: &Workload, part: Part, tally: &mut Tally) {
    let whole = SimEnv::new(3);
    if let Err(wrong) = goes_on::run(&whole, workload, false) {
        return tally.fail("wrong", format!("{workload} without any fault: {wrong}"));
    }
    let trace = whole.trace();
    for (at, line) in (1..).zip(&trace).filter(|(at, _)| part.has(*at)) {
        for kind in KINDS {
            if let Err((count, line)) = case(workload, at, kind, line, tally) {
                return tally.fail(count, line);
            }
        }
    }
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
    // A late error of a write is told by the sync behind it.
    let is_sync = operation.starts_with("sync")
        || operation.starts_with("reap") && operation.ends_with("sync");
    let is_write = operation.starts_with("write") || operation.starts_with("submit");
    let fails_sync = match kind {
        FaultKind::Io | FaultKind::Reverted => is_sync,
        FaultKind::Late => is_write,
        _ => false,
    };
    let fail = |how: &str, wrong: Wrong| {
        let count = match wrong {
            Wrong::Lost(_) if fails_sync => "false_acks",
            ref wrong => wrong.count(),
        };
        let again = format!("orlop-tests fault --workload '{workload}' --at {at} --kind {kind:?}");
        (count, format!("{again} # {how}: {wrong}"))
    };
    tally.add("faults", 1);
    tally.add("fsync_variants", u64::from(fails_sync));
    let promise = goes_on::run(&env, workload, kind == FaultKind::Reverted)
        .map_err(|wrong| fail("while it goes on", wrong))?;
    for (how, outcome) in [
        ("then a restart", after_restart(workload, &env, &promise, at)),
        ("then a power cut", after_power_cut(workload, &env, &promise, at)),
    ] {
        outcome.map_err(|wrong| fail(how, wrong))?;
    }
    Ok(())
}

/// What a restart finds, serves and has put onto the device; `seed`: how the power goes then.
pub(super) fn after_restart(
    workload: &Workload,
    env: &SimEnv,
    promise: &Promise,
    seed: u64,
) -> Result<(), Wrong> {
    let restarted = env.kill();
    let (store, k) = oracle::recovered(&restarted, workload.tree, promise, promise.kill)?;
    for keep in [Keep::Nothing, Keep::Random(seed)] {
        oracle::recovered(&restarted.crash(keep), workload.tree, promise, k)?;
    }
    drop(store);
    let served: &Model = &promise.states[k];
    let closed = Promise { states: vec![served.clone()], power: 0, kill: 0, begun: 0, error: None };
    oracle::recovered(&restarted.crash(Keep::Nothing), workload.tree, &closed, 0).map(drop)
}

/// What a power cut leaves, in some of the ways that there are.
pub(super) fn after_power_cut(
    workload: &Workload,
    env: &SimEnv,
    promise: &Promise,
    seed: u64,
) -> Result<(), Wrong> {
    let keeps = [Keep::Nothing, Keep::Everything, Keep::Bytes, Keep::Names];
    for keep in keeps.into_iter().chain((0..3).map(|n| Keep::Random(seed * 3 + n))) {
        oracle::recovered(&env.crash(keep), workload.tree, promise, promise.power)?;
    }
    Ok(())
}
