//! Reading calls that fail: of whole files, of mappings, of blocks of mapped files.
//!
//! Every reading call of an open, of reading everything, and of a compaction fails, once or for
//! ever. Each outcome is an error or the right answer; and when the device reads again, everything
//! is there: no read error is taken for the end of a file.

use orlop::sim::{ReadFault, SimEnv};

use super::workload::Workload;
use crate::history;
use crate::model::{self, Model};
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

/// Fails every reading call after a workload, on what a kill leaves of it.
pub fn sweep(workload: &Workload, tally: &mut Tally) {
    tally.add("silent", 0);
    let env = SimEnv::new(5);
    let recording =
        history::record(&env, workload.tree, Model::new(), &workload.prelude, &workload.steps);
    let expected = match history::open_read_only(&env.kill()).and_then(|s| model::contents(&s)) {
        Ok(expected) if recording.history.states().contains(&expected) => expected,
        other => {
            tally.fail("wrong", format!("{workload}: without any fault: {:?}", other.err()));
            return;
        }
    };
    for job in [Job::Look, Job::Read, Job::Compact] {
        let whole = env.kill();
        if let Err(error) = read_all(job, &whole, workload, &expected) {
            tally.fail("wrong", format!("{workload}: {job:?} without any fault: {error}"));
            continue;
        }
        for n in 1..=whole.reads() {
            for fault in [ReadFault::Once, ReadFault::ForEver] {
                tally.add("read_faults", 1);
                if let Err(what) = case(job, n, fault, &env, workload, &expected) {
                    let how = format!("{job:?} of {workload}, reading call {n} fails {fault:?}");
                    tally.fail("silent", format!("{how}: {what}"));
                }
            }
        }
    }
}

fn case(
    job: Job,
    n: u64,
    fault: ReadFault,
    env: &SimEnv,
    workload: &Workload,
    expected: &Model,
) -> Result<(), String> {
    let disk = env.kill();
    disk.fail_read_at(n, fault);
    match read_all(job, &disk, workload, expected) {
        Ok(()) | Err(Outcome::Error) => {}
        Err(Outcome::Wrong(what)) => return Err(what),
    }
    // The device has been repaired; nothing was lost by the failure, also not by a power cut.
    let after = disk.kill();
    match read_all(Job::Read, &after, workload, expected) {
        Ok(()) => Ok(()),
        Err(outcome) => Err(format!("afterwards: {outcome}")),
    }
}

/// How a job ended that did not end well.
enum Outcome {
    /// It was told.
    Error,
    /// It was not.
    Wrong(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Error => f.write_str("an error"),
            Outcome::Wrong(what) => f.write_str(what),
        }
    }
}

fn read_all(job: Job, disk: &SimEnv, workload: &Workload, expected: &Model) -> Result<(), Outcome> {
    let told = |_| Outcome::Error;
    let store = match job {
        Job::Look => history::open_read_only(disk).map_err(told)?,
        Job::Read | Job::Compact => history::open(disk, workload.tree).map_err(told)?,
    };
    let compacted = if matches!(job, Job::Compact) { store.compact() } else { Ok(()) };
    let found = model::contents(&store).map_err(told)?;
    if found != *expected {
        return Err(Outcome::Wrong("a scan gave something else, and no error".to_owned()));
    }
    compacted.map_err(told)?;
    match model::check(&store, expected) {
        Ok(()) => Ok(()),
        Err(difference) if difference.0.starts_with("a read failed") => Err(Outcome::Error),
        Err(difference) => Err(Outcome::Wrong(difference.0)),
    }
}
