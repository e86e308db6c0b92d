//! Reading calls that fail: of directories, of lengths, of whole files, of mappings, of blocks of
//! mapped files.
//!
//! Every reading call fails, one after the other: of a history, of what kills leave on the way, of
//! an open, of reading everything, of a compaction. Each outcome is an error or the right answer;
//! and when the device reads again, everything is there: no read error is taken for the end of a
//! file.

use orlop::Error;
use orlop::sim::{Keep, ReadFault, SimEnv};

use super::part::{Part, Turns};
use super::workload::Workload;
use super::{faults, goes_on};
use crate::history::{self, Promise};
use crate::model::{self, Difference, Model};
use crate::oracle;
use crate::tally::Tally;

/// What is done while a reading call fails.
#[derive(Debug, Clone, Copy)]
enum Job {
    /// Opening read-only, and reading everything.
    Look,
    /// Opening, and reading everything.
    Read,
    /// Opening, compacting, and reading everything.
    Compact,
}

/// Operations between the kills on the way.
const STRIDE: usize = 23;

/// What a kill has left, and what it holds.
struct Left<'a> {
    workload: &'a Workload,
    disk: SimEnv,
    expected: Model,
    promise: Promise,
}

/// Fails every reading call of a workload and of what kills leave of it, or a part of them, up to the
/// first thing that is wrong.
pub fn sweep(workload: &Workload, part: Part, tally: &mut Tally) {
    tally.add("silent", 0);
    let outcome = during(workload, part, tally).and_then(|()| afterwards(workload, part, tally));
    if let Err(line) = outcome {
        tally.fail("silent", format!("orlop-tests reads --workload '{workload}' # {line}"));
    }
}

/// Fails every reading call of the history itself.
fn during(workload: &Workload, part: Part, tally: &mut Tally) -> Result<(), String> {
    let whole = SimEnv::new(4);
    goes_on::run(&whole, workload, false).map_err(|wrong| format!("without any fault: {wrong}"))?;
    for n in (1..=whole.reads()).filter(|n| part.has(*n)) {
        tally.add("read_faults", 1);
        let env = SimEnv::new(4);
        env.fail_read_at(n, ReadFault::Once);
        goes_on::run(&env, workload, false)
            .and_then(|promise| {
                faults::after_restart(workload, &env, &promise, n)?;
                faults::after_power_cut(workload, &env, &promise, n)
            })
            .map_err(|wrong| format!("reading call {n} of the history fails: {wrong}"))?;
    }
    Ok(())
}

/// Kills a history on the way and at its end, and fails every reading call of what comes then.
fn afterwards(workload: &Workload, part: Part, tally: &mut Tally) -> Result<(), String> {
    let env = SimEnv::new(5);
    let recording =
        history::record(&env, workload.tree, Model::new(), &workload.prelude, &workload.steps);
    let moments = env.moments();
    let mut turns = part.turns();
    for (from_end, moment) in moments.iter().rev().step_by(STRIDE).enumerate() {
        let (operation, disk) = (moment.operation, moment.disk.kill());
        let promise = recording.promise_at(moment.mark);
        let expected = history::open_read_only(&disk.kill()).and_then(|s| model::contents(&s));
        let expected = match expected {
            Ok(expected) => expected,
            Err(Error::StoreMissing { .. }) if promise.kill == 0 => continue,
            Err(error) => return Err(format!("killed after operation {operation}: {error}")),
        };
        if !promise.states.iter().skip(promise.kill).any(|state| *state == expected) {
            return Err(format!("killed after operation {operation}: no state that was promised"));
        }
        let left = Left { workload, disk, expected, promise };
        let jobs = [Job::Read, Job::Look, Job::Compact];
        jobs.iter().take(if from_end == 0 { 3 } else { 1 }).try_for_each(|job| {
            left.every_call(*job, &mut turns, tally)
                .map_err(|line| format!("killed after operation {operation}: {job:?}: {line}"))
        })?;
    }
    Ok(())
}

/// How a job ended that did not end well.
enum Outcome {
    /// It was told.
    Error(String),
    /// It was not.
    Wrong(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Error(what) | Outcome::Wrong(what) => f.write_str(what),
        }
    }
}

impl Left<'_> {
    /// Fails every reading call of a job.
    fn every_call(&self, job: Job, turns: &mut Turns, tally: &mut Tally) -> Result<(), String> {
        let whole = self.disk.kill();
        self.run(job, &whole).map_err(|outcome| format!("without any fault: {outcome}"))?;
        for n in 1..=whole.reads() {
            for fault in [ReadFault::Once, ReadFault::ForEver, ReadFault::TooManyFiles] {
                if !turns.mine() {
                    continue;
                }
                tally.add("read_faults", 1);
                self.case(job, n, fault)
                    .map_err(|what| format!("reading call {n} fails {fault:?}: {what}"))?;
            }
        }
        Ok(())
    }

    fn case(&self, job: Job, n: u64, fault: ReadFault) -> Result<(), String> {
        let disk = self.disk.kill();
        disk.fail_read_at(n, fault);
        match self.run(job, &disk) {
            Ok(()) | Err(Outcome::Error(_)) => {}
            Err(Outcome::Wrong(what)) => return Err(what),
        }
        // The device has been repaired; nothing was lost by the failure, also not by a power cut.
        let (tree, promise) = (self.workload.tree, &self.promise);
        oracle::recovered(&disk.crash(Keep::Nothing), tree, promise, promise.power)
            .map_err(|wrong| format!("then a power cut: {wrong}"))?;
        self.run(Job::Read, &disk.kill()).map_err(|outcome| format!("afterwards: {outcome}"))
    }

    fn run(&self, job: Job, disk: &SimEnv) -> Result<(), Outcome> {
        let told = |error: Error| Outcome::Error(error.to_string());
        let store = match job {
            Job::Look => history::open_read_only(disk).map_err(told)?,
            Job::Read | Job::Compact => history::open(disk, self.workload.tree).map_err(told)?,
        };
        let compacted = if matches!(job, Job::Compact) { store.compact() } else { Ok(()) };
        let found = model::contents(&store).map_err(told)?;
        if found != self.expected {
            return Err(Outcome::Wrong("a scan gave something else, and no error".to_owned()));
        }
        compacted.map_err(told)?;
        match model::check(&store, &self.expected) {
            Ok(()) => Ok(()),
            Err(Difference::Failed(error)) => Err(Outcome::Error(error)),
            Err(Difference::Found(what)) => Err(Outcome::Wrong(what)),
        }
    }
}
