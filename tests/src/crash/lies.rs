//! Devices that lie: a write that never arrives, or arrives elsewhere, and a sync that does
//! nothing, while every call says yes.
//!
//! No engine can tell a lie about the last thing it wrote from a power cut before it, nor a device
//! that has gone back as a whole from one that was never written. But a state that never was must
//! not be served: after each lie and a power cut, what is left is an error, or a state of the
//! history.

use orlop::sim::{FaultKind, Keep, SimEnv};

use super::workload::Workload;
use crate::history::{self, Wrong};
use crate::model::Model;
use crate::tally::Tally;

/// Tells every lie about a workload, each once.
pub fn sweep(workload: &Workload, tally: &mut Tally) {
    for count in ["lies", "lies_detected", "lies_harmless", "lies_rolled_back", "silent"] {
        tally.add(count, 0);
    }
    let whole = SimEnv::new(9);
    record(workload, &whole);
    for (at, line) in (1..).zip(whole.trace()) {
        let verb = line.split(' ').next().unwrap_or_default();
        if !["write", "submit", "sync", "sync-dir", "reap"].contains(&verb) {
            continue;
        }
        for kind in [FaultKind::Lost, FaultKind::Misdirected] {
            let env = SimEnv::new(9);
            env.fail_at(at, kind);
            let promise = record(workload, &env).into_promise();
            for keep in [Keep::Nothing, Keep::Everything] {
                tally.add("lies", 1);
                let found = history::recovered(&env.crash(keep), workload.tree, &promise, 0);
                let outcome = match found {
                    Ok((_, k)) if k >= promise.power => "lies_harmless",
                    Ok(_) => "lies_rolled_back",
                    Err(Wrong::Unopenable(_)) => "lies_detected",
                    Err(Wrong::Read(what)) if is_told(&what) => "lies_detected",
                    Err(wrong) => {
                        let how =
                            format!("{workload}: {kind:?} at operation {at}, power cut {keep}");
                        tally.fail("silent", format!("{how}: {wrong}"));
                        continue;
                    }
                };
                tally.add(outcome, 1);
            }
        }
    }
}

/// Whether a failed reading is an error that was told, and no wrong answer.
fn is_told(what: &str) -> bool {
    what.contains("corrupt") || what.contains("a read failed")
}

fn record(workload: &Workload, env: &SimEnv) -> history::Recording {
    history::record(env, workload.tree, Model::new(), &workload.prelude, &workload.steps)
}
