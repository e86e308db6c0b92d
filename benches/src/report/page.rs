//! The page: its head, and the order of everything else.

use std::path::Path;

use super::charts::Chart;
use super::fitness::Fitness;
use super::markdown::thousands_of;
use super::rows::Results;
use super::stats::PAIRS_FOR_INTERVAL;
use super::{
    behind, engines, extras, latency, method, rates, resources, setting, stalls, verdicts, words,
};

/// Everything, as Markdown. `drawn` are the charts that were written, into `into` like the page.
pub(super) fn text(
    results: &Results<'_>,
    fitness: &Fitness,
    drawn: &[&Chart],
    into: &Path,
) -> String {
    let chart = |file: &str| {
        let chart = drawn.iter().find(|chart| chart.file == file);
        chart.map_or(String::new(), |chart| format!("![{}]({})\n\n", chart.title, chart.file))
    };
    let tables = words::TABLES.map(|table| rates::section(results, table)).concat();
    [
        title(results),
        fitness.text(results.run.options.rounds),
        chart("ratios.svg"),
        how_to_read(results),
        tables,
        rates::unknown(results),
        behind::section(results),
        latency::section(results, &chart("latency.svg")),
        stalls::section(results, &chart("timeline.svg")),
        resources::section(results),
        extras::section(results),
        engines::section(results),
        method::section(results),
        setting::section(results, into),
    ]
    .concat()
    .trim_end()
    .to_owned()
        + "\n"
}

fn title(results: &Results<'_>) -> String {
    let run = results.run;
    let shape = run.options.shape;
    format!(
        "# Orlop and its peers: throughput\n\n{} entries of {} B keys and {} B values, on {} cores, \
         {} ({}).\n\n",
        thousands_of(run.options.entries),
        shape.key_size,
        shape.value_size,
        run.machine.cores,
        run.machine.date,
        run.machine.commit,
    )
}

/// Three sentences, and a legend.
fn how_to_read(results: &Results<'_>) -> String {
    let verdict = match verdicts::sentence(results) {
        Some(sentence) => format!("Orlop's medians in this run: {sentence}."),
        None => {
            "This run compares Orlop with nothing, so there are rates but no ratios.".to_owned()
        }
    };
    format!(
        "**How to read it.** A ratio says how many times as fast as a peer Orlop is: above 1 Orlop \
         is ahead, below 1 the peer is, for times and latencies as for rates. Every row compares \
         engines that promise the same durability, with equal budgets, on equal data whose answers \
         were checked. {verdict}\n\n\
         In the tables: `rate` then `ratio (interval)`, where the interval is where 95 of 100 \
         repetitions of this run should have their median ([how](#method)); ▲ all of it lies above \
         1, ▼ all of it lies below 1, ≈ neither; \\* fewer than {PAIRS_FOR_INTERVAL} rounds, so the \
         range instead; ‡ fewer rounds than asked for; †n so many of the row's rounds were \
         disturbed by others on the machine; n/a the engine cannot, and the footnote says why; carried \
         n% in the place of a ratio: the engine, or Orlop where it says so, did less than 99% of a \
         fixed load, so nothing is compared; n% of a workload: the part that it is of the same \
         engine's rate in a store that has settled; - not run. `null` does nothing: its rate is what the harness alone can do. What the workloads \
         are, is [below](#workloads); where Orlop loses, is [here](#where-orlop-is-behind).\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn page(run: &crate::record::Run, rounds: &[crate::record::Round]) -> String {
        let results = Results::new(run, rounds);
        text(&results, &Fitness::new(&results), &[], Path::new("/nowhere"))
    }

    #[test]
    fn it_has_its_sections_in_order() {
        let (run, rounds) = synthetic::run(5);
        let page = page(&run, &rounds);
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            headings,
            [
                "## Tuned, uncompressed",
                "## Tuned, compressed",
                "## As shipped",
                "## Where Orlop is behind",
                "## Latency",
                "## Stalls",
                "## Processor, device, memory, space",
                "## Further figures",
                "## Engines",
                "## Method",
                "## How to run it yourself",
                "## Machine and versions",
            ]
        );
        assert!(!page.contains("svg"), "charts that were not drawn are not referred to");
        assert!(!page.contains("NaN") && !page.contains("inf "), "{page}");
    }

    #[test]
    fn it_claims_only_what_it_counts() {
        let (run, mut rounds) = synthetic::run(5);
        rounds.retain(|round| round.table == crate::engine::Table::Uncompressed);
        rounds.retain(|round| ["orlop", "redb"].contains(&round.engine.as_str()));
        rounds.retain(|round| ["readseq", "readrandom"].contains(&round.workload.as_str()));
        synthetic::set_rates(&mut rounds, "readseq", &[("orlop", 300.0), ("redb", 100.0)]);
        synthetic::set_rates(&mut rounds, "readrandom", &[("orlop", 50.0), ("redb", 100.0)]);
        let page = page(&run, &rounds);
        let sentence = "ahead in 1 of 2 comparisons (1 clearly), behind in 1 (1 clearly)";
        assert!(page.contains(sentence), "{page}");
    }

    #[test]
    fn a_run_without_rounds_or_without_orlop_has_a_page_that_says_so() {
        let (run, mut rounds) = synthetic::run(5);
        assert!(page(&run, &[]).contains("Nothing has been measured yet"));
        rounds.retain(|round| round.engine != "orlop");
        assert!(page(&run, &rounds).contains("there are rates but no ratios"));
    }
}
