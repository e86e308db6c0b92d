//! Every workload runs and gives right answers, at a size that takes seconds. Speed is no matter
//! here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn benches(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_orlop-benches")).args(arguments).output().unwrap()
}

/// Runs what must be refused; what it says.
fn refused(arguments: &[&str], code: i32) -> String {
    let output = benches(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// Runs what must work; what it says on stderr.
fn accepted(arguments: &[&str]) -> String {
    let output = benches(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

const TINY: [&str; 8] =
    ["--entries", "3000", "--seconds", "0.03", "--fill-seconds", "0.2", "--rounds", "1"];

fn run(out: &Path, more: &[&str]) -> String {
    let out = out.to_str().unwrap();
    accepted(&[&["run", "--out", out][..], &TINY, more].concat())
}

fn rounds(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("rounds.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Names of all workloads, as the program lists them.
fn workloads() -> BTreeSet<String> {
    let text = String::from_utf8(benches(&["list"]).stdout).unwrap();
    let (_, listed) = text.split_once("Workloads:\n").unwrap();
    listed.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Workloads whose answers are counted where they are given; those that only write are checked by
/// a scan that must find all they wrote.
const READING: [&str; 25] = [
    "fillseq",
    "fillbatch",
    "fillrandom",
    "bulkload",
    "read4k",
    "read64k",
    "read16spaces",
    "seek16spaces10",
    "readprefix",
    "seekprefix10",
    "opencrash",
    "readunsettled",
    "seekunsettled10",
    "settle",
    "readrandom",
    "readrandom2",
    "readinplace",
    "readmissing",
    "multireadrandom",
    "readseq",
    "readreverse",
    "seekrandom10",
    "ycsbc",
    "ycsbe",
    "readwhilewriting",
];

#[test]
fn every_workload_runs_and_answers_right() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run");
    run(&out, &[]);
    let rounds = rounds(&out);
    let of = |engine: &str, table: &str| -> BTreeSet<String> {
        let these = rounds.iter().filter(|round| {
            round["engine"] == engine && round["table"] == table && round["measured"].is_object()
        });
        these.map(|round| round["workload"].as_str().unwrap().to_owned()).collect()
    };
    // A filesystem in memory has no cold reads.
    let on_device = |names: BTreeSet<String>| -> BTreeSet<String> {
        names.into_iter().filter(|name| name != "readrandomcold").collect()
    };
    assert_eq!(on_device(of("orlop", "uncompressed")), on_device(workloads()));
    assert_eq!(on_device(of("null", "uncompressed")), on_device(workloads()));
    assert!(of("orlop", "compressed").contains("readseq"));
    assert_eq!(
        of("orlop", "shipped").into_iter().collect::<Vec<_>>(),
        ["fillrandom", "readrandom"]
    );
    for round in rounds.iter().filter(|round| round["measured"].is_object()) {
        let figures = &round["measured"];
        assert!(figures["operations"].as_u64().unwrap() > 0, "{round}");
        assert!(figures["seconds"].as_f64().unwrap() > 0.0, "{round}");
        let name = round["workload"].as_str().unwrap();
        if round["engine"] == "orlop" && round["table"] == "uncompressed" && READING.contains(&name)
        {
            assert!(figures["checked"].as_u64().unwrap() > 0, "{round}");
        }
    }
    assert!(!out.join("orlop-benches-stores").exists());
    let page = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(page.contains("readrandom") && page.contains("Not fit for publication"), "{page}");
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let _: Value = serde_json::from_str(&summary).unwrap();
}

#[test]
fn other_shapes_of_entries_work() {
    for shape in [
        &["--key-shape", "binary", "--key-size", "16", "--value-size", "12"][..],
        &["--key-shape", "prefixed", "--key-size", "64", "--value-size", "400"],
    ] {
        let dir = TempDir::new().unwrap();
        let workloads = ["--workloads", "filluniquerandom,readseq,seekrandom10,ycsbe,deleterandom"];
        let out = dir.path().join("run");
        run(&out, &[&workloads, shape, &["--tables", "uncompressed"]].concat());
        assert_eq!(rounds(&out).len(), 10);
    }
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run");
    let these = ["--workloads", "fillseq,readrandom,overwrite", "--tables", "uncompressed"];
    // Nothing begins once no time is left.
    let said = run(&out, &[&these[..], &["--budget-minutes", "0.0000001"]].concat());
    assert!(said.contains("--resume"), "{said}");
    assert!(rounds(&out).is_empty());
    run(&out, &[&these[..], &["--resume"]].concat());
    let first = rounds(&out);
    assert_eq!(first.len(), 6);
    // A kill cut the last line off: that job is measured again, the others are not.
    let text = fs::read_to_string(out.join("rounds.jsonl")).unwrap();
    fs::write(out.join("rounds.jsonl"), &text[..text.len() - 20]).unwrap();
    run(&out, &[&these[..], &["--resume"]].concat());
    let second = rounds(&out);
    assert_eq!(second.len(), 6);
    assert_eq!(second[..5], first[..5]);
    // Two at once would remove each other's stores and rounds.
    let held = fs::File::open(out.join("run.json")).unwrap();
    held.lock().unwrap();
    let path = out.to_str().unwrap();
    let said = refused(&[&["run", "--resume", "--out", path][..], &TINY, &these].concat(), 2);
    assert!(said.contains("another run"), "{said}");
    assert_eq!(rounds(&out), second);
    drop(held);
    // Other options would mix what must not be mixed.
    let out = out.to_str().unwrap();
    let said = refused(&["run", "--out", out, "--resume", "--entries", "5000"], 2);
    assert!(said.contains("other options") && said.contains("--entries 3000"), "{said}");
    let said = refused(&["run", "--out", out], 2);
    assert!(said.contains("--resume"), "{said}");
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run").to_str().unwrap().to_owned();
    let cases: [(&[&str], &str); 11] = [
        (&["--engines", "leveldb"], "there are orlop"),
        (&["--workloads", "readsometimes"], "readrandom"),
        (&["--tables", "zipped"], "uncompressed"),
        (&["--tables", "compressed", "--workloads", "fillseq"], "nothing to measure"),
        (&["--entries", "12"], "from 1000"),
        (&["--seconds", "0"], "from 0.01"),
        (&["--seconds", "60"], "10 at most"),
        (&["--key-size", "3"], "--key-size 3"),
        (&["--value-size", "0"], "--value-size 0"),
        (&["--rounds", "0"], "--rounds"),
        (&["--budget-minutes", "0"], "--budget-minutes"),
    ];
    for (arguments, hint) in cases {
        let said = refused(&[&["run", "--out", &out], arguments].concat(), 2);
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
    let said = refused(&["run", "--out", &out, "--resume"], 2);
    assert!(said.contains("holds no run"), "{said}");
    assert!(!Path::new(&out).exists(), "a refusal leaves nothing behind");
    let said = refused(&["report", &out], 2);
    assert!(said.contains("holds no run"), "{said}");
    // Every engine that the list calls missing says how to get it.
    let list = String::from_utf8(benches(&["list"]).stdout).unwrap();
    for line in list.lines().filter(|line| line.contains("not compiled in")) {
        let name = line.split_whitespace().next().unwrap();
        let said = refused(&["run", "--out", &out, "--engines", name], 2);
        assert!(said.contains(&format!("--features {name}")), "{said}");
    }
}

#[test]
fn a_full_disk_is_told_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run").to_str().unwrap().to_owned();
    // No disk holds the stores of a billion large entries.
    let huge = ["--entries", "1000000000", "--value-size", "1000000"];
    let said = refused(&[&["run", "--out", &out][..], &huge].concat(), 3);
    assert!(said.contains("MiB free") && said.contains("--stores"), "{said}");
}

#[test]
fn nothing_is_removed_that_a_run_did_not_make() {
    let dir = TempDir::new().unwrap();
    let (out, stores) = (dir.path().join("run"), dir.path().join("precious"));
    fs::create_dir(&stores).unwrap();
    fs::write(stores.join("mine"), "mine").unwrap();
    let these = ["--workloads", "fillseq", "--tables", "uncompressed", "--stores"];
    run(&out, &[&these[..], &[stores.to_str().unwrap()]].concat());
    assert_eq!(fs::read_to_string(stores.join("mine")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&stores).unwrap().count(), 1, "the run's own stores are gone");
    // A report into its own directory, by another name.
    let before = fs::read_to_string(out.join("rounds.jsonl")).unwrap();
    let other_name = dir.path().join("precious/../run");
    let names = [&out, &other_name].map(|path| path.to_str().unwrap());
    accepted(&["report", names[0], "--into", names[1]]);
    assert_eq!(fs::read_to_string(out.join("rounds.jsonl")).unwrap(), before);
    // A copy that can be published is a whole run.
    let published = dir.path().join("published");
    accepted(&["report", names[0], "--into", published.to_str().unwrap()]);
    assert_eq!(rounds(&published), rounds(&out));
    accepted(&["report", published.to_str().unwrap()]);
    // quick replaces what quick made, nothing else.
    let said = refused(&["quick", "--out", names[0]], 2);
    assert!(said.contains("quick did not make"), "{said}");
    assert_eq!(fs::read_to_string(out.join("rounds.jsonl")).unwrap(), before);
}

#[test]
fn a_run_of_another_build_is_not_gone_on_with() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("run");
    let these = ["--workloads", "fillseq", "--tables", "uncompressed"];
    run(&out, &these);
    let file = out.join("run.json");
    let mut facts: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    facts["machine"]["commit"] = "0123456789ab".into();
    fs::write(&file, facts.to_string()).unwrap();
    let arguments = ["run", "--resume", "--out", out.to_str().unwrap()];
    let said = refused(&[&arguments[..], &TINY, &these].concat(), 2);
    assert!(said.contains("0123456789ab") && said.contains("another --out"), "{said}");
}
