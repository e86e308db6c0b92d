//! Whether a run may be published, and if not, why.

use super::markdown::{self, counted};
use super::rows::{Cell, NULL, Results, Row};
use super::sheets;
use super::words;

/// Rounds that a published run has at least.
pub(super) const ROUNDS: u32 = 5;

/// Missing rounds that are listed in full view; more of them are there to be opened.
const SHOWN: usize = 8;

/// What keeps a run from being published. Empty lists: nothing does.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    pub(super) reasons: Vec<String>,
    pub(super) lacks: Vec<Lack>,
}

/// An engine that has too few rounds in a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) row: String,
    pub(super) engine: String,
    pub(super) rounds: usize,
}

impl Fitness {
    pub(super) fn new(results: &Results<'_>) -> Self {
        let lacks: Vec<_> = results.rows.iter().flat_map(|row| lacks(results, row)).collect();
        Self { reasons: reasons(results, lacks.len()), lacks }
    }

    pub(super) fn is_fit(&self) -> bool {
        self.reasons.is_empty()
    }

    /// A block that nobody overlooks; nothing for a run that is fit.
    pub(super) fn text(&self, asked: u32) -> String {
        if self.is_fit() {
            return String::new();
        }
        let mut text = "> [!WARNING]\n> **Not fit for publication.**\n>\n".to_owned();
        self.reasons.iter().for_each(|reason| text += &format!("> - {reason}\n"));
        text += "\n";
        let list: String = self.lacks.iter().map(|lack| lack.line(asked)).collect();
        match self.lacks.len() {
            0 => text,
            1..=SHOWN => text + "Rounds that are missing:\n\n" + &list + "\n",
            many => text + &markdown::details(&format!("The {many} lacks"), &(list + "\n")),
        }
    }
}

impl Lack {
    fn line(&self, asked: u32) -> String {
        format!("- {}: {} has {} of {asked} rounds\n", self.row, self.engine, self.rounds)
    }
}

fn reasons(results: &Results<'_>, lacks: usize) -> Vec<String> {
    let run = results.run;
    let rounds = run.options.rounds;
    let mut reasons = Vec::new();
    if results.rows.is_empty() {
        reasons.push("Nothing has been measured yet.".to_owned());
    }
    if rounds < ROUNDS {
        let rounds = counted(rounds as usize, "round was", "rounds were");
        reasons.push(format!("{rounds} asked for; it takes {ROUNDS}."));
    }
    if lacks > 0 {
        let places = counted(lacks, "place lacks", "places lack");
        reasons.push(format!("{places} rounds (‡ in the tables; \"-\" where there are none)."));
    }
    if !results.rows.is_empty() && !results.has_subject() {
        reasons.push("Orlop was not measured, so there are no ratios.".to_owned());
    }
    for engine in absent(&run.options.engines, &results.engines) {
        reasons.push(format!("{engine} was asked for and has not run at all."));
    }
    let measured: Vec<_> = results.rows.iter().map(|row| row.name).collect();
    let workloads = absent(&run.options.workloads, &measured);
    if !workloads.is_empty() {
        reasons.push(format!("Asked for and not begun: {}.", workloads.join(", ")));
    }
    let disturbed = results.rows.iter().filter(|row| row.cells.iter().any(is_loud)).count();
    if disturbed > 0 {
        let rows = counted(disturbed, "row", "rows");
        reasons.push(format!(
            "In {rows} loud rounds (†) had to count, for at least half of an engine's were loud."
        ));
    }
    match run.machine.commit.as_str() {
        "" | "unknown" => reasons.push("The commit of the source is not known.".to_owned()),
        commit if commit.ends_with('+') => {
            reasons.push("The source held changes that no commit has.".to_owned());
        }
        _ => {}
    }
    if !run.machine.compiler.is_empty() && !run.machine.compiler.contains("release") {
        reasons.push("It was not built with --release.".to_owned());
    }
    reasons
}

/// Whether so many rounds are loud that [all count](super::stats::kept), however many there are.
fn is_loud(cell: &Cell<'_>) -> bool {
    let loud = cell.loud_rounds();
    loud > 0 && 2 * loud >= cell.rounds.len()
}

/// What was asked for and is not there.
fn absent<'a>(asked: &'a [String], there: &[&str]) -> Vec<&'a str> {
    asked.iter().map(String::as_str).filter(|name| !there.contains(name)).collect()
}

/// The engines that have too few rounds in a row.
fn lacks(results: &Results<'_>, row: &Row<'_>) -> Vec<Lack> {
    let asked = results.run.options.rounds as usize;
    let cells = results.engines.iter().zip(&row.cells).enumerate();
    let lacking = cells.filter(|(at, (_, cell))| match cell.rounds.len() {
        0 => cell.unsupported.is_none() && is_expected(results, row, *at),
        rounds => rounds < asked,
    });
    lacking
        .map(|(_, (engine, cell))| Lack {
            row: words::full_name(row),
            engine: (*engine).to_owned(),
            rounds: cell.rounds.len(),
        })
        .collect()
}

/// Whether an engine without a single round in a row should have some.
///
/// Not where it was measured in another class. If it could not be measured there, then it should
/// where its class is this one, as other rows show. And nobody waits for the harness itself.
fn is_expected(results: &Results<'_>, row: &Row<'_>, at: usize) -> bool {
    let others = || results.of(row.table).filter(|other| other.name == row.name);
    let measured = |row: &Row<'_>| sheets::cell(row, at).is_some();
    let refused = |row: &Row<'_>| row.cells.get(at).is_some_and(|cell| cell.unsupported.is_some());
    let has_class =
        || results.of(row.table).any(|other| other.class == row.class && measured(other));
    results.engines.get(at) != Some(&NULL)
        && !others().any(measured)
        && (!others().any(refused) || has_class())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::rows::SUBJECT;
    use crate::report::synthetic;

    #[test]
    fn a_whole_run_of_five_rounds_is_fit() {
        let (run, rounds) = synthetic::run(5);
        let fitness = Fitness::new(&Results::new(&run, &rounds));
        assert!(fitness.is_fit(), "{fitness:?}");
        assert_eq!(fitness.text(5), "");
    }

    #[test]
    fn what_is_missing_is_told() {
        let (mut run, mut rounds) = synthetic::run(5);
        rounds.retain(|round| round.round < 5 || round.workload != "readseq");
        run.machine.commit += "+";
        run.options.workloads.push("readtea".to_owned());
        run.options.engines.push("surrealkv".to_owned());
        let fitness = Fitness::new(&Results::new(&run, &rounds));
        let text = fitness.text(5);
        assert!(text.contains("Not fit for publication"));
        assert!(text.contains("readseq (tuned, uncompressed): redb has 4 of 5 rounds"), "{text}");
        assert!(text.contains("begun: readtea") && text.contains("surrealkv was asked for"));
        assert!(text.contains("changes that no commit has"));
    }

    #[test]
    fn an_engine_lacks_nothing_in_the_rows_of_other_classes() {
        let (run, mut rounds) = synthetic::run(5);
        let fill = |round: &crate::record::Round| round.workload == "fillrandom";
        rounds.retain(|round| !(fill(round) && round.engine == "redb"));
        let fitness = Fitness::new(&Results::new(&run, &rounds));
        assert!(fitness.lacks.iter().all(|lack| lack.engine == "redb"), "{:?}", fitness.lacks);
        assert!(fitness.lacks.iter().all(|lack| lack.rounds == 0));
        assert!(!fitness.lacks.is_empty());
    }

    #[test]
    fn loud_rounds_that_count_are_told() {
        let (run, mut rounds) = synthetic::run(5);
        for round in 1..=2 {
            synthetic::make_loud(&mut rounds, "readseq", "redb", round);
        }
        assert!(Fitness::new(&Results::new(&run, &rounds)).is_fit(), "most are quiet");
        synthetic::make_loud(&mut rounds, "readseq", "redb", 3);
        let fitness = Fitness::new(&Results::new(&run, &rounds));
        assert_eq!(fitness.reasons.len(), 1, "{fitness:?}");
        assert!(fitness.text(5).contains("In 1 row loud rounds (†) had to count"), "{fitness:?}");
        // Three quiet rounds of six are no majority, so all of these count, too.
        let (run, mut rounds) = synthetic::run(6);
        for round in 1..=3 {
            synthetic::make_loud(&mut rounds, "readseq", "redb", round);
        }
        assert!(!Fitness::new(&Results::new(&run, &rounds)).is_fit());
    }

    #[test]
    fn few_rounds_no_rounds_and_no_subject() {
        let (run, rounds) = synthetic::run(1);
        let text = Fitness::new(&Results::new(&run, &rounds)).text(1);
        assert!(text.contains("1 round was asked for; it takes 5"));
        let text = Fitness::new(&Results::new(&run, &[])).text(1);
        assert!(text.contains("Nothing has been measured yet"));
        let (run, mut rounds) = synthetic::run(5);
        rounds.retain(|round| round.engine != SUBJECT);
        let text = Fitness::new(&Results::new(&run, &rounds)).text(5);
        assert!(text.contains("there are no ratios"));
    }
}
