//! How it was measured, and what the workloads are.

use super::markdown::{Grid, thousands_of};
use super::rows::Results;
use super::stats::{LEAST, QUIET_ROUNDS};
use super::{figures, words};
use crate::catalog::WORKLOADS;
use crate::engine::Class;
use crate::measure::clock::EVERY;

/// The section.
pub(super) fn section(results: &Results<'_>) -> String {
    let checked: u64 = results
        .rows
        .iter()
        .flat_map(|row| &row.cells)
        .flat_map(|cell| cell.rounds.values())
        .map(|round| round.checked)
        .fold(0, u64::saturating_add);
    [
        "## Method\n\n".to_owned(),
        measuring(checked),
        fairness(results),
        durability(),
        statistics(),
        workloads(results),
    ]
    .concat()
}

fn measuring(checked: u64) -> String {
    format!(
        "**Measuring.**\n\n\
         - Each engine works through each group of workloads in a fresh process, on its own store; \
           what ran before has been written out by then.\n\
         - All engines run a group before the next group begins, in an order that is drawn anew for \
           each group of each round. So what a ratio compares ran shortly after each other.\n\
         - Keys are drawn and written down before the clock starts. All engines get the same ones.\n\
         - 8 bytes of every cache line of every value that is read are looked at, so that a value \
           which is lent costs what its memory costs. The sum of what was read is compared with what \
           it had to be, and after writes all of the store is: {} answers in this report, all right. \
           A round with a wrong one is not kept, and the run fails.\n\
         - Hot reads start with the files in the page cache and every entry read once; cold ones \
           start with the files dropped from it.\n\
         - In closed loops one call in {EVERY} is timed. In open loops every operation is, counted \
           from the moment at which it was due.\n\
         - Settling, the work that an engine puts off while it is filled, is timed on its own. Reads \
           before it have rows of their own; the background goes on meanwhile. They start as warm as \
           all hot reads, which gives it about a second more.\n\
         - `null` stands behind the same seam as every engine. Its rate is subtracted from none.\n\n",
        thousands_of(checked)
    )
}

fn fairness(results: &Results<'_>) -> String {
    let options = &results.run.options;
    format!(
        "**Equal terms.** Every engine that has a cache gets {} for it; write buffers come on top. \
         The ones that read through the page cache have the same memory to do it in. All of them \
         use the system's allocator. One binary holds all engines, built by the same compiler for \
         the same processor. Sizes of this run: {} entries of {}-byte keys ({}) and {}-byte values \
         of which half compresses away, {} for workloads without an end of their own, at most {} for \
         those that write a given number of entries, seed {}. As shipped, stores are smaller, for \
         some engines sync every put.\n\n",
        figures::bytes(options.cache as f64),
        thousands_of(options.entries),
        options.shape.key_size,
        format!("{:?}", options.shape.key_shape).to_lowercase(),
        options.shape.value_size,
        figures::time(options.seconds),
        figures::time(options.fill_seconds),
        options.seed,
    )
}

fn durability() -> String {
    let classes = [Class::Memory, Class::Buffered, Class::Synced];
    let lines = classes.map(|class| format!("- `{class}`: {}.\n", words::promise(class))).concat();
    format!(
        "**Durability.** Rows of different classes are never compared. What only reads has no \
         class.\n\n{lines}\n"
    )
}

/// What `stats` does, for those who want to check it.
fn statistics() -> String {
    format!(
        "**Statistics.** The figure of an engine is the median over its rounds. The rounds of one \
         number are a pair: each pair gives one ratio, and the ratio is the median of these.\n\n\
         The interval answers: if all of this is run once more, where will the new median lie? On \
         the logarithms of the n pairs, whose standard deviation is s, it is median ± t · s · √(π/n) \
         with the 0.975 quantile t of Student's distribution for n-1 degrees of freedom. That is a \
         95% prediction interval for the median of n further pairs: the variance of a median of n \
         normal draws approaches π/2n of theirs from below (Cramér, *Mathematical Methods of \
         Statistics*, 1946), two independent medians differ by twice that, and t pays for s being an \
         estimate (Hahn and Meeker, *Statistical Intervals*, 1991). Simulated runs with odd rounds \
         and with two clusters of rounds are part of the tests. As a confidence interval for the \
         true ratio it is \
         wider than it need be. It is widened to take in every pair, and to at least {:.0}% on each \
         side, for what stands still through a whole run cannot be seen inside it. A percentile \
         bootstrap of the median (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993) \
         would be narrower and wrong: from 5 rounds it holds the next run's median 83 times in 100, \
         as the tests of this report's code simulate; it stands in `summary.json`. Many comparisons are made here: of those whose \
         true ratio is 1, some few will be marked ▲ or ▼ by chance.\n\n\
         A round is marked (†) if the host took more than 2% of the processors' time away or other \
         programs used more than 5% of it. Marked rounds are left out of medians and intervals where \
         at least {QUIET_ROUNDS} unmarked ones remain and they are the majority; otherwise all \
         count. They stay in the raw data either way.\n\n",
        100.0 * LEAST
    )
}

fn workloads(results: &Results<'_>) -> String {
    let was_measured = |name: &str| results.rows.iter().any(|row| row.name == name);
    let mut grid = Grid::new(2, ["workload", "one operation"]);
    for workload in WORKLOADS.iter().filter(|workload| was_measured(workload.name)) {
        grid.row([workload.name, workload.meaning]);
    }
    if grid.is_empty() {
        return String::new();
    }
    format!(
        "### Workloads\n\nNames that `db_bench` of RocksDB has mean what they mean there.\n\n{}",
        grid.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn it_names_sizes_classes_and_the_workloads_that_ran() {
        let (run, mut rounds) = synthetic::run(1);
        rounds.retain(|round| round.workload != "readseq");
        let text = section(&Results::new(&run, &rounds));
        assert!(text.contains("100,000 entries of 16-byte keys (decimal)"), "{text}");
        assert!(text.contains("- `synced`: an acknowledged write is on the device"));
        assert!(text.contains("| fillseq | one put each, keys ascending"));
        assert!(!text.contains("| readseq |"));
        assert!(text.contains("1.00 GiB") && text.contains("at least 2% on each"), "{text}");
    }
}
