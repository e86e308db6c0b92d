//! Devices that lie: a write that never arrives, or arrives elsewhere, and a sync that does
//! nothing, while every call says yes.
//!
//! No engine can tell a lie about the last thing it wrote from a power cut before it, nor a device
//! that has gone back as a whole from one that was never written. But a state that never was must
//! not be served; and where something was written behind the lie that says that what came before was
//! synced, a group or an edit, acknowledged commits may not be gone without an error.

use orlop::sim::{FaultKind, Keep, SimEnv};

use super::part::Part;
use super::workload::Workload;
use crate::history;
use crate::model::Model;
use crate::oracle::{self, Wrong};
use crate::tally::Tally;

/// Tells every lie about a workload, each once, or a part of them, up to the first that nobody notices.
pub fn sweep(workload: &Workload, part: Part, tally: &mut Tally) {
    for count in ["lies", "lies_detected", "lies_harmless", "lies_rolled_back", "silent"] {
        tally.add(count, 0);
    }
    let whole = SimEnv::new(9);
    let recording = record(workload, &whole);
    // What lies before the history would take it back to what is none of its states.
    let start = recording.starts.get(workload.prelude.len());
    let start = start.filter(|_| !workload.prelude.is_empty());
    let trace = whole.trace();
    for (at, line) in (1..).zip(&trace) {
        let verb = line.split(' ').next().unwrap_or_default();
        let tells = ["write", "submit", "sync", "sync-dir", "reap"].contains(&verb);
        if !part.has(at) || !tells || start.is_some_and(|start| at <= *start) {
            continue;
        }
        for kind in [FaultKind::Lost, FaultKind::Misdirected] {
            tally.add("lies", 1);
            let of_log = line.split(' ').nth(1).is_some_and(|name| name.ends_with(".log"));
            match case(workload, at, kind, of_log) {
                Ok(outcome) => tally.add(outcome, 1),
                Err(what) => {
                    let again = format!("orlop-tests lies --workload '{workload}'");
                    return tally.fail("silent", format!("{again} # {kind:?} at {at}: {what}"));
                }
            }
        }
    }
}

/// One lie. Gives the worst outcome of the power cuts behind it. `of_log`: about bytes of the log, not
/// about names: a file whose name has gone takes everything along that would tell.
fn case(
    workload: &Workload,
    at: u64,
    kind: FaultKind,
    of_log: bool,
) -> Result<&'static str, String> {
    let env = SimEnv::new(9);
    env.fail_at(at, kind);
    let promise = record(workload, &env).into_promise();
    let behind = usize::try_from(at).unwrap_or(usize::MAX);
    let goes_on = of_log && is_vouched_for(env.trace().get(behind..).unwrap_or_default());
    let mut outcome = "lies_harmless";
    for keep in [Keep::Nothing, Keep::Everything] {
        match oracle::recovered(&env.crash(keep), workload.tree, &promise, 0) {
            Ok((_, k)) if k >= promise.power => {}
            Ok((_, k)) if goes_on => {
                let power = promise.power;
                let what = format!("{k} commits are there, {power} were promised, and no error");
                return Err(format!("{keep}: {what}"));
            }
            Ok(_) => outcome = "lies_rolled_back",
            Err(Wrong::Unopenable(_) | Wrong::Told(_)) => outcome = "lies_detected",
            Err(wrong) => return Err(format!("{keep}: {wrong}")),
        }
    }
    Ok(outcome)
}

/// Whether something on the device says that what was written before these operations was synced: once
/// it has been, a synced group or an edit follows.
fn is_vouched_for(later: &[String]) -> bool {
    let is_sync = |line: &String| {
        line.starts_with("reap") && line.ends_with(" sync")
            || line.starts_with("sync ") && line.ends_with(".log")
    };
    // What begins at 0 is the prologue of a segment.
    let is_group = |line: &String| {
        line.starts_with("submit") && line.ends_with(" sync") && !line.contains(" 0+")
    };
    // An edit says how far commits were on the device.
    let is_edit = |line: &String| line.starts_with("sync ") && line.ends_with(".manifest");
    let mut behind_sync = later.iter().skip_while(|line| !is_sync(line)).skip(1);
    behind_sync.any(|line| is_group(line) || is_edit(line))
}

fn record(workload: &Workload, env: &SimEnv) -> history::Recording {
    history::record(env, workload.tree, Model::new(), &workload.prelude, &workload.steps)
}
