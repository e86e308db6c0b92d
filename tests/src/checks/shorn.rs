//! The power is cut while a device writes, in a history or in a recovery: a sector that gets other
//! bytes may then hold anything.

use std::path::Path;

use orlop::env::{Env, Keep, SimEnv};
use orlop::sim::Moment;

use super::Budget;
use super::suites::abreast;
use super::trace::Op;
use crate::crash::part::Part;
use crate::crash::workload::Workload;
use crate::crash::{enumerate, faults};
use crate::history::{self, Promise};
use crate::model::Model;
use crate::oracle;

/// Recoveries of so many operations are shorn themselves, and those that find volatile roots.
const NESTED_EVERY: u64 = 7;

/// Bytes that a device writes as one.
const SECTOR: usize = 4096;

/// Bytes of the prologue of a segment, which SPEC.md takes for whole.
const LOG_PROLOGUE: usize = 128;

/// A workload that was run.
struct Run<'a> {
    workload: &'a Workload,
}

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    for (workload, part) in abreast(faults::workloads(budget.seed)) {
        if budget.is_over() {
            break;
        }
        shear_all(budget, &workload, part).map_err(|found| format!("{workload}: {found}"))?;
    }
    Ok(budget.cases())
}

/// Shears the writes of a part of a workload, and those of some recoveries.
fn shear_all(budget: &mut Budget, workload: &Workload, part: Part) -> Result<(), String> {
    let env = SimEnv::new(7);
    let recording =
        history::record(&env, workload.tree, Model::new(), &workload.prelude, &workload.steps);
    let run = Run { workload };
    let trace = env.trace();
    for moment in env.moments().iter().filter(|moment| part.has(moment.operation)) {
        if budget.is_over() {
            break;
        }
        let at = moment.operation;
        let promise = recording.promise_at(moment.mark);
        run.shear(budget, moment, &trace, &promise)
            .map_err(|found| format!("operation {at}: {found}"))?;
        if at.is_multiple_of(NESTED_EVERY) || enumerate::is_root_volatile(&moment.disk) {
            run.shear_recovery(budget, moment, &promise)
                .map_err(|found| format!("killed after operation {at}, {found}"))?;
        }
    }
    Ok(())
}

impl Run<'_> {
    fn shear_recovery(
        &self,
        budget: &mut Budget,
        moment: &Moment,
        promise: &Promise,
    ) -> Result<(), String> {
        let image = moment.disk.kill();
        image.keep_moments();
        let opened = history::open(&image, self.workload.tree);
        let (moments, trace) = (image.moments(), image.trace());
        image.cut_after(image.operations());
        drop(opened);
        for second in moments {
            self.shear(budget, &second, &trace, promise)
                .map_err(|found| format!("operation {} of recovery: {found}", second.operation))?;
        }
        Ok(())
    }

    /// Spoils the sectors of the write that a moment ended with, and recovers.
    fn shear(
        &self,
        budget: &mut Budget,
        moment: &Moment,
        trace: &[String],
        promise: &Promise,
    ) -> Result<(), String> {
        let at = usize::try_from(moment.operation).ok().and_then(|at| at.checked_sub(1));
        let line = at.and_then(|at| trace.get(at));
        let Some((name, offset, len)) = line.and_then(|line| write_of(line)) else {
            return Ok(());
        };
        let image = moment.disk.crash(Keep::Nothing);
        let path = Path::new(history::DIR).join(&name);
        let written = moment.disk.kill().read(&path);
        let (Ok(durable), Ok(written)) = (image.read(&path), written) else { return Ok(()) };
        let mut spoils = false;
        for start in (offset / SECTOR * SECTOR..offset + len).step_by(SECTOR) {
            // What lies behind the end is new: the file may have grown, and its bytes not arrived.
            let sector = start..(start + SECTOR).min(written.len());
            let before =
                durable.get(sector.start.min(durable.len())..sector.end.min(durable.len()));
            if before == written.get(sector.clone()) {
                continue;
            }
            spoils = true;
            let first = if name.ends_with(".log") { start.max(LOG_PROLOGUE) } else { start };
            let garbage = vec![0xa5; sector.end.saturating_sub(first)];
            let spoilt = image.open_write(&path).and_then(|mut file| {
                file.write_at(first as u64, &garbage)?;
                file.sync()
            });
            spoilt.map_err(|error| error.to_string())?;
        }
        budget.add(u64::from(spoils));
        oracle::recovered(&image, self.workload.tree, promise, promise.power)
            .map(drop)
            .map_err(|found| format!("{len} bytes at {offset} of {name} shorn: {found}"))
    }
}

/// The file and the bytes of a write.
fn write_of(line: &str) -> Option<(String, usize, usize)> {
    let (name, offset, len) = match Op::of(line) {
        Op::Submit(name, offset, len, _) | Op::Write(name, offset, len) => (name, offset, len),
        _ => return None,
    };
    Some((name, usize::try_from(offset).ok()?, usize::try_from(len).ok()?))
}
