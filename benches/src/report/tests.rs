//! The report as a whole, from a directory to a directory.

use std::fs;
use std::path::Path;

use super::*;
use crate::record::{ROUNDS_FILE, RUN_FILE, Round, Run};

fn keep(dir: &Path, run: &Run, rounds: &[Round]) {
    fs::write(dir.join(RUN_FILE), serde_json::to_string(run).unwrap()).unwrap();
    let lines = rounds.iter().map(|round| serde_json::to_string(round).unwrap() + "\n");
    fs::write(dir.join(ROUNDS_FILE), lines.collect::<String>()).unwrap();
}

fn names(written: &Written) -> Vec<String> {
    let names = written.paths.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_whole_run_becomes_a_page_its_charts_and_its_json() {
    let (run, rounds) = synthetic::run(5);
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &run, &rounds);
    let into = dir.path().join("some/report");
    let written = write(dir.path(), &into).unwrap();
    let expected = ["README.md", "summary.json", "ratios.svg", "latency.svg", "timeline.svg"];
    assert_eq!(names(&written), expected);
    let page = fs::read_to_string(into.join("README.md")).unwrap();
    for chart in ["ratios.svg", "latency.svg", "timeline.svg"] {
        assert!(page.contains(&format!("]({chart})")), "{chart}");
    }
    assert!(!page.contains("Not fit for publication"));
    assert!(written.summary.contains("ahead in"), "{}", written.summary);
}

#[test]
fn an_interrupted_run_has_a_report_that_says_so() {
    let (mut run, mut rounds) = synthetic::run(5);
    rounds.truncate(rounds.len() / 2 + 7);
    run.machine.commit += "+";
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &run, &rounds);
    let cut = fs::read_to_string(dir.path().join(ROUNDS_FILE)).unwrap();
    fs::write(dir.path().join(ROUNDS_FILE), &cut[..cut.len() - 20]).unwrap();
    let written = write(dir.path(), dir.path()).unwrap();
    let words = "Not fit for publication, for 2 reasons, the first: ";
    let first = written.summary.split_once(words).map_or("", |(_, first)| first);
    assert!(first.ends_with('.') && !first.contains('\n'), "{}", written.summary);
    let page = fs::read_to_string(dir.path().join("README.md")).unwrap();
    assert!(page.contains("**Not fit for publication.**") && page.contains(" ‡"));
}

#[test]
fn charts_that_have_nothing_to_show_are_left_out_and_old_ones_go() {
    let (run, mut rounds) = synthetic::run(1);
    rounds.retain(|round| round.workload == "readrandom" && round.engine == "redb");
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), &run, &rounds);
    fs::write(dir.path().join("ratios.svg"), "of an earlier report").unwrap();
    let written = write(dir.path(), dir.path()).unwrap();
    assert_eq!(names(&written), ["README.md", "summary.json"]);
    assert!(!dir.path().join("ratios.svg").exists());
    let page = fs::read_to_string(dir.path().join("README.md")).unwrap();
    assert!(!page.contains("svg"), "{page}");
}

#[test]
fn a_directory_without_a_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(write(dir.path(), dir.path()), Err(Failure::Usage(_))));
}

/// `cargo test -p orlop-benches sample -- --ignored` leaves a page to look at in the directory for
/// temporary files.
#[test]
#[ignore = "leaves files behind"]
fn sample() {
    let (run, mut rounds) = synthetic::run(5);
    synthetic::make_loud(&mut rounds, "readseq", "orlop", 2);
    let dir = std::env::temp_dir().join("orlop-benches-sample");
    fs::create_dir_all(&dir).unwrap();
    keep(&dir, &run, &rounds);
    println!("{:#?}", write(&dir, &dir).unwrap());
}
