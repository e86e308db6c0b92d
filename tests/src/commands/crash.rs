//! Crashes and failing operations on the simulated disk.

use clap::Args;
use orlop::sim::{Crash, FaultKind};
use orlop_tests::crash::enumerate::{self, Depth, Seen};
use orlop_tests::crash::part::Part;
use orlop_tests::crash::workload::Workload;
use orlop_tests::crash::{self, faults};
use orlop_tests::soak;
use orlop_tests::tally::Tally;

use super::{Outcome, Run, verdict};

/// Crashes of workloads; with --workload, all of one; with --crash, one
#[derive(Debug, Args)]
pub(crate) struct Crashes {
    /// Such as script:synced, short:put.flush.step, random:42
    #[arg(long)]
    workload: Option<Workload>,
    /// Such as 17/kill or 17/subset:5,3/nothing
    #[arg(long, requires = "workload")]
    crash: Option<Crash>,
    #[command(flatten)]
    run: Run,
}

impl Crashes {
    /// Runs it.
    ///
    /// # Errors
    /// Arguments that make no sense.
    pub(crate) fn run(self) -> Outcome {
        match (self.workload, self.crash) {
            (Some(workload), Some(crash)) => Ok(verdict(enumerate::replay(&workload, &crash))),
            (Some(workload), None) => Ok(one(&workload)),
            (None, _) => Ok(crash::run(&self.run.limits()?, soak::DEPTH)),
        }
    }
}

fn one(workload: &Workload) -> Tally {
    let mut tally = Tally::default();
    let all = Depth { nested: 1, sequel: 1 };
    if let Some(found) =
        enumerate::workload(workload, all, Part::WHOLE, &Seen::default(), &mut tally)
    {
        tally.fail(found.count(), found.to_string());
    }
    tally
}

/// One failing operation of a workload again
#[derive(Debug, Args)]
pub(crate) struct Fault {
    /// As for `crash`
    #[arg(long)]
    workload: Workload,
    /// The number of the operation
    #[arg(long)]
    at: u64,
    /// Io, Reverted, Late, StorageFull or TooManyFiles
    #[arg(long, value_parser = fault_kind)]
    kind: FaultKind,
}

impl Fault {
    /// Runs it.
    ///
    /// # Errors
    /// None; what fails is in the tally.
    pub(crate) fn run(self) -> Outcome {
        Ok(verdict(faults::replay(&self.workload, self.at, self.kind)))
    }
}

/// All of one workload
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// As for `crash`
    #[arg(long)]
    workload: Workload,
}

impl Sweep {
    /// Runs one.
    ///
    /// # Errors
    /// None; what fails is in the tally.
    pub(crate) fn run(self, sweep: fn(&Workload, Part, &mut Tally)) -> Outcome {
        let mut tally = Tally::default();
        sweep(&self.workload, Part::WHOLE, &mut tally);
        Ok(tally)
    }
}

fn fault_kind(text: &str) -> Result<FaultKind, String> {
    let found = FaultKind::ALL.into_iter().find(|kind| format!("{kind:?}") == text);
    found.ok_or_else(|| format!("one of {:?}, not {text:?}", FaultKind::ALL))
}
