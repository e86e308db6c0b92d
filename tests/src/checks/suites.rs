//! The suites of the soak as checks: the same cases, as many as a budget allows, up to the first
//! that is wrong.

use super::Budget;
use crate::crash::enumerate::{self, Depth, Seen};
use crate::crash::part::Part;
use crate::crash::workload::Workload;
use crate::crash::{self, faults, lies, reads};
use crate::damage::mutant::Mutant;
use crate::damage::place::Place;
use crate::damage::plan::{KINDS, Kind};
use crate::damage::{Subject, reference};
use crate::dice::Dice;
use crate::tally::Tally;

/// Few images come so late that their recoveries must be cut more rarely.
const DEPTH: Depth = Depth { nested: 25, sequel: 4 };

/// Workloads that take turns, a part of each by part: single macro-operations and all scripts are among them.
const ABREAST: usize = 39;

/// Parts of each of these: a prime, so that each part has cases of every kind.
const PARTS: u64 = 61;

/// The step from one part to the next: prime, too.
const SCATTER: u64 = 23;

/// Parts of a short sequence, and of a script of few steps, which have few cases of their own.
const PARTS_OF_SHORT: u64 = 8;

/// Steps of such a script, at most.
const FEW_STEPS: usize = 6;

/// Workloads by parts: the first ones abreast, then those behind them one by one.
pub(super) fn abreast(
    workloads: impl Iterator<Item = Workload>,
) -> impl Iterator<Item = (Workload, Part)> {
    let mut workloads = workloads;
    let first: Vec<Workload> = workloads.by_ref().take(ABREAST).collect();
    let part = |turn, of: &Workload| {
        let has_few = of.is_short() || of.steps.len() <= FEW_STEPS;
        let parts = if has_few { PARTS_OF_SHORT } else { PARTS };
        // Neighbours are cases of one kind.
        (turn < parts).then_some(Part { of: parts, number: turn * SCATTER % parts })
    };
    let turns = (0..PARTS).flat_map(move |turn| {
        let mine = first.clone().into_iter();
        mine.filter_map(move |workload| part(turn, &workload).map(|part| (workload, part)))
    });
    turns.chain(workloads.map(|workload| (workload, Part::WHOLE)))
}

/// Crashes: of scripts, of single macro-operations, and of what comes behind them.
pub(super) fn crashes(budget: &mut Budget) -> Result<u64, String> {
    let (seen, mut tally, seed) = (Seen::default(), Tally::default(), budget.seed);
    let numbered = (0..).map(|number| crash::numbered(number, seed));
    for (workload, part) in abreast(numbered) {
        if budget.is_over() {
            break;
        }
        let before = tally.count("recoveries") + tally.count("nested_recoveries");
        let found = enumerate::workload(&workload, DEPTH, part, &seen, &mut tally);
        budget.add(tally.count("recoveries") + tally.count("nested_recoveries") - before);
        if let Some(found) = found {
            return Err(found.to_string());
        }
    }
    Ok(budget.cases())
}

type Sweep = fn(&Workload, Part, &mut Tally);

/// One sweep of each workload, counted by its own count.
fn swept(budget: &mut Budget, sweep: Sweep, count: &str) -> Result<u64, String> {
    for (workload, part) in abreast(faults::workloads(budget.seed)) {
        if budget.is_over() {
            break;
        }
        let mut tally = Tally::default();
        sweep(&workload, part, &mut tally);
        budget.add(tally.count(count));
        if let Some(line) = tally.failures().first() {
            return Err(line.clone());
        }
    }
    Ok(budget.cases())
}

/// Operations that fail.
pub(super) fn faults(budget: &mut Budget) -> Result<u64, String> {
    swept(budget, faults::sweep, "faults")
}

/// Reading calls that fail.
pub(super) fn reads(budget: &mut Budget) -> Result<u64, String> {
    swept(budget, reads::sweep, "read_faults")
}

/// Devices that lie.
pub(super) fn lies(budget: &mut Budget) -> Result<u64, String> {
    swept(budget, lies::sweep, "lies")
}

/// Mutants of the reference stores by dice: of each kind by turns, and bits where frames, blocks and
/// their headers begin.
pub(super) fn damage(budget: &mut Budget) -> Result<u64, String> {
    // Whether the scripts run as they were written for is for the tests of the suite.
    let Ok(sets) = reference::all() else { return Ok(budget.cases()) };
    let mut subjects = Vec::new();
    for set in sets {
        budget.add(1);
        subjects.push(Subject::new(set, &[])?);
    }
    let sets: Vec<_> = subjects.iter().map(|subject| &subject.set).collect();
    let place = Place::new(&sets).map_err(|error| error.to_string())?;
    let dice = &mut Dice::new(budget.seed);
    let mut tally = Tally::default();
    loop {
        for (kind, _) in KINDS {
            for subject in &subjects {
                for mutant in [by_kind(subject, kind, dice), by_place(subject, dice)] {
                    if budget.is_over() {
                        return Ok(budget.cases());
                    }
                    budget.add(1);
                    let Some(mutant) = mutant else { continue };
                    if let Some(tried) = subject.try_one(&mutant, &place) {
                        tried.count(&subject.command(&mutant), &mut tally);
                    }
                    if let Some(line) = tally.failures().first() {
                        return Err(line.clone());
                    }
                }
            }
        }
    }
}

fn by_kind(subject: &Subject, kind: Kind, dice: &mut Dice) -> Option<Mutant> {
    subject.plan.mutant(kind, dice.below(subject.plan.count(kind)))
}

/// Bytes at the beginning of a frame or block that say most about it.
const HEAD: u64 = 48;

fn by_place(subject: &Subject, dice: &mut Dice) -> Option<Mutant> {
    let pieces = subject.anatomy.pieces();
    let (file, range) = pieces.get(dice.below(pieces.len() as u64) as usize)?;
    let at = range.start + dice.below(HEAD.min(range.len() as u64)) as usize;
    Some(Mutant::Bit((*file).clone(), at, dice.below(8) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::workload::MACROS;

    #[test]
    fn macro_operations_and_scripts_come_first() {
        assert_eq!(ABREAST, MACROS.len() + Workload::scripts().len());
    }
}
