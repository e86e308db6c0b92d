//! How to repeat the run, and the machine on which it ran.

use std::path::Path;

use super::figures;
use super::markdown::{self, Grid};
use super::rows::Results;
use crate::record::{ROUNDS_FILE, RUN_FILE};

/// What the description of a compiler holds when the build was not for just any processor.
const BEYOND_BASELINE: [&str; 2] = ["AVX2", "target-cpu"];

/// Two sections. `into` is where the page goes, perhaps beside the raw data.
pub(super) fn section(results: &Results<'_>, into: &Path) -> String {
    commands(results, into) + &machine(results)
}

fn commands(results: &Results<'_>, into: &Path) -> String {
    let raw = if [RUN_FILE, ROUNDS_FILE].iter().all(|file| into.join(file).exists()) {
        format!("[{RUN_FILE}]({RUN_FILE}) and [{ROUNDS_FILE}]({ROUNDS_FILE})")
    } else {
        format!("`{RUN_FILE}` and `{ROUNDS_FILE}` in the directory of the run")
    };
    format!(
        "## How to run it yourself\n\n\
         In under two minutes, a little of everything:\n\n\
         ```sh\ncargo run --release -p orlop-benches -- quick\n```\n\n\
         All peers are there with `--features peers` (RocksDB is C++: its first build takes half an \
         hour on two cores and needs libclang). {}:\n\n\
         ```sh\n{}\n```\n\n\
         Every raw round is kept, in {raw}; `cargo run --release -p orlop-benches -- report DIR` \
         makes this page from them. All figures of this page, and more, are in \
         [summary.json](summary.json).\n\n",
        introduction(results),
        command(results)
    )
}

/// What stands before the command: how to build what it ran. The command itself does not say it.
fn introduction(results: &Results<'_>) -> &'static str {
    let (command, compiler) = (&results.run.command, &results.run.machine.compiler);
    let beyond_baseline = BEYOND_BASELINE.iter().any(|words| compiler.contains(words));
    if beyond_baseline && !command.contains("RUSTFLAGS") {
        "To repeat this run, whose instructions go beyond the baseline, it is built with \
         `RUSTFLAGS=\"-C target-cpu=native\"`, then run as"
    } else {
        "This run was"
    }
}

/// The command of the run, as it was given.
fn command(results: &Results<'_>) -> String {
    results.run.command.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn machine(results: &Results<'_>) -> String {
    let machine = &results.run.machine;
    let mut grid = Grid::new(2, ["", ""]);
    let cores = format!("{}, {} cores", machine.processor, machine.cores);
    let memory = figures::bytes(machine.memory_bytes as f64);
    let rows = [
        ("processor", cores.as_str()),
        ("memory", memory.as_str()),
        ("kernel", &machine.kernel),
        ("filesystem", &machine.filesystem),
        ("device", &machine.device),
        ("compiler", &machine.compiler),
        ("commit", &machine.commit),
        ("date", &machine.date),
    ];
    for (name, value) in rows {
        let value = if value.trim().is_empty() { "unknown" } else { value };
        grid.row([name.to_owned(), markdown::plain(value)]);
    }
    let versions = results.engines.iter().filter_map(|engine| results.facts(engine));
    let versions = versions.map(|facts| format!("{} {}", facts.name, facts.version));
    grid.row(["versions".to_owned(), versions.collect::<Vec<_>>().join(", ")]);
    grid.row(["disturbance".to_owned(), disturbance(results)]);
    format!("## Machine and versions\n\n{}", grid.text())
}

/// What others did on the machine, over all rounds.
fn disturbance(results: &Results<'_>) -> String {
    let cells = || results.rows.iter().flat_map(|row| &row.cells);
    let rounds: usize = cells().map(|cell| cell.rounds.len()).sum();
    let loud: usize = cells().map(|cell| cell.loud_rounds()).sum();
    format!("{} of {} marked", loud, markdown::counted(rounds, "round", "rounds"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn the_commands_can_be_copied() {
        let (mut run, rounds) = synthetic::run(1);
        let text = section(&Results::new(&run, &rounds), Path::new("/nowhere"));
        assert!(text.contains("built with `RUSTFLAGS=\"-C target-cpu=native\"`, then run as:\n"));
        assert!(text.contains("\ncargo run --release -p orlop-benches --features"), "{text}");
        assert!(text.contains("\ncargo run --release -p orlop-benches -- quick\n"));
        assert!(text.contains("| memory | 16.0 GiB |") && text.contains("orlop 1.2.3, rocksdb"));
        assert!(text.contains("`rounds.jsonl` in the directory of the run"));
        for compiler in ["rustc 1.95.0, release, built for x86_64 with baseline instructions", ""] {
            run.machine.compiler = compiler.to_owned();
            let text = section(&Results::new(&run, &rounds), Path::new("/nowhere"));
            assert!(text.contains("This run was:\n") && !text.contains("RUSTFLAGS"), "{text}");
        }
    }

    #[test]
    fn raw_data_beside_the_page_is_linked() {
        let (run, rounds) = synthetic::run(1);
        let dir = tempfile::tempdir().unwrap();
        for file in [RUN_FILE, ROUNDS_FILE] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let text = section(&Results::new(&run, &rounds), dir.path());
        assert!(text.contains("[rounds.jsonl](rounds.jsonl)"), "{text}");
    }
}
