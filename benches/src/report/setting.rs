//! How to repeat the run, and the machine on which it ran.

use std::path::Path;

use super::figures;
use super::markdown::{self, Grid};
use super::rows::Results;
use crate::record::{ROUNDS_FILE, RUN_FILE};

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
         hour on two cores and needs libclang). This run was:\n\n\
         ```sh\n{}\n```\n\n\
         Every raw round is kept, in {raw}; `cargo run --release -p orlop-benches -- report DIR` \
         makes this page from them. All figures of this page, and more, are in \
         [summary.json](summary.json).\n\n",
        command(results)
    )
}

/// The command of the run. How the compiler was told about the processor is no part of it.
fn command(results: &Results<'_>) -> String {
    let (command, compiler) = (&results.run.command, &results.run.machine.compiler);
    let words: Vec<_> = command.split_whitespace().collect();
    let command = words.join(" ");
    if command.contains("RUSTFLAGS") || compiler.contains("baseline") {
        return command;
    }
    format!("RUSTFLAGS=\"-C target-cpu=native\" {command}")
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
        assert!(text.contains(
            "\nRUSTFLAGS=\"-C target-cpu=native\" cargo run --release -p orlop-benches --features"
        ));
        assert!(text.contains("\ncargo run --release -p orlop-benches -- quick\n"));
        assert!(text.contains("| memory | 16.0 GiB |") && text.contains("orlop 1.2.3, rocksdb"));
        assert!(text.contains("`rounds.jsonl` in the directory of the run"));
        run.machine.compiler = "rustc 1.95.0, release, baseline".to_owned();
        let text = section(&Results::new(&run, &rounds), Path::new("/nowhere"));
        assert!(!text.contains("RUSTFLAGS"));
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
