//! Every operation of a history fails once, with a device error and with a full disk, and the
//! history goes on. What was acknowledged, before and after, survives a restart and a power cut.

use std::sync::Arc;

use orlop::env::{FaultKind, Keep, SimEnv};

use crate::checks::Budget;
use crate::checks::ongoing;
use crate::checks::scripts::{self, Script};
use crate::history;

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    for script in &scripts::all() {
        for kind in [FaultKind::Io, FaultKind::StorageFull] {
            for at in 1.. {
                if budget.is_over() {
                    return Ok(budget.cases());
                }
                budget.count();
                let reached = fail_once(script, kind, at).map_err(|found| {
                    format!("{}, {kind:?} at operation {at}: {found}", script.name)
                })?;
                if !reached {
                    break;
                }
            }
        }
    }
    Ok(budget.cases())
}

/// Fails one operation. False when the history has fewer.
fn fail_once(script: &Script, kind: FaultKind, at: u64) -> Result<bool, String> {
    let env = SimEnv::new(3);
    env.fail_at(at, kind);
    let ends = || env.cut_after(env.operations());
    let promise = ongoing::run(Arc::new(env.clone()), script.tree, &script.steps, ends)?;
    let restarted = env.kill();
    let (store, k) = history::recovered(&restarted, script.tree, &promise, promise.kill)
        .map_err(|found| format!("then a restart: {found}"))?;
    for keep in [Keep::Nothing, Keep::Random(at)] {
        history::recovered(&restarted.crash(keep), script.tree, &promise, k)
            .map_err(|found| format!("then a restart, then a power cut, {keep:?}: {found}"))?;
    }
    drop(store);
    for keep in history::keeps(&env, at) {
        history::recovered(&env.crash(keep), script.tree, &promise, promise.power)
            .map_err(|found| format!("then a power cut, {keep:?}: {found}"))?;
    }
    Ok(env.operations() >= at)
}
