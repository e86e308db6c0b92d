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
    // What begins at 0 is the prologue of a segment.
    let is_prologue = |line: &String| line.starts_with("submit") && line.contains(" 0+");
    let is_reap = |line: &String| line.starts_with("reap") && line.ends_with(" sync");
    let is_named_sync = |line: &String| line.starts_with("sync ") && line.ends_with(".log");
    let is_group =
        |line: &String| line.starts_with("submit") && line.ends_with(" sync") && !is_prologue(line);
    // An edit says how far commits were on the device.
    let is_edit = |line: &String| line.starts_with("sync ") && line.ends_with(".manifest");
    let behind = |is_sync: &dyn Fn(&String) -> bool| {
        later.iter().position(is_sync).map_or(&[][..], |at| &later[at + 1..])
    };
    if behind(&|line| is_reap(line) || is_named_sync(line)).iter().any(is_edit) {
        return true;
    }
    // A prologue's sync is none of what came before. What is synced by name trails behind its segment: the group that
    // follows was on a stage before that, and knows nothing of it.
    let mut of_prologue = false;
    let mut to_come = None;
    for line in later {
        if is_group(line) && to_come.is_some_and(|groups: u32| groups <= 1) {
            return true;
        }
        if is_group(line) {
            to_come = to_come.map(|groups| groups - 1);
        } else if is_named_sync(line) {
            to_come = to_come.or(Some(2));
        } else if is_reap(line) && !of_prologue {
            to_come = Some(1);
        }
        if line.starts_with("submit") {
            of_prologue = is_prologue(line);
        }
    }
    false
}

fn record(workload: &Workload, env: &SimEnv) -> history::Recording {
    history::record(env, workload.tree, Model::new(), &workload.prelude, &workload.steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_from_before_a_sync_vouches_for_nothing() {
        let later = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            is_vouched_for(&lines)
        };
        let (sync, reap) = ("sync 000002.log", "reap 000002.log sync");
        let group = "submit 000004.log 4096+4096 sync";
        let prologue = ["submit 000004.log 0+65536 sync", "reap 000004.log sync"];
        let edit = "sync 000001.manifest";
        assert!(!later(&[group, group]));
        assert!(!later(&[prologue[0], prologue[1], group]), "it is of a prologue");
        assert!(later(&[reap, group]) && !later(&[reap, prologue[0], prologue[1]]));
        assert!(!later(&[sync, prologue[0], prologue[1], group]) && later(&[sync, group, group]));
        assert!(later(&[sync, group, reap, group]));
        assert!(later(&[sync, edit]) && later(&[prologue[0], prologue[1], edit]));
        assert!(!later(&[edit, reap]));
    }

    #[test]
    fn a_piece_that_trails_is_not_lost_in_silence() {
        let mut tally = Tally::default();
        let scripts = Workload::scripts();
        for workload in scripts.iter().filter(|workload| workload.name.starts_with("script:trails"))
        {
            sweep(workload, Part::WHOLE, &mut tally);
        }
        assert!(tally.count("lies") > 10);
        assert_eq!(tally.count("silent"), 0, "{tally:?}");
    }
}
