//! The inputs that fuzzing has kept, through the same functions, on any toolchain. With
//! `ORLOP_BLESS=1` the seeds are written anew.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use orlop_tests::fuzz::{TARGETS, run, seeds};

#[test]
fn every_input_of_the_corpus_keeps_the_promises() {
    for (target, _) in TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(seeds::corpus(target))
            .unwrap_or_else(|error| panic!("no corpus of {target}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        let mut taken = 0;
        for path in &inputs {
            let input = fs::read(path).unwrap();
            let held = panic::catch_unwind(AssertUnwindSafe(|| run(target, &input)));
            let held =
                held.unwrap_or_else(|_| panic!("cargo fuzz run {target} {}", path.display()));
            taken += usize::from(held);
        }
        assert!(taken > 0, "no input of {target} holds a value: {} inputs", inputs.len());
    }
}

#[test]
fn the_seeds_are_in_the_corpus() {
    let seeds = seeds::seeds().unwrap();
    for (target, name, input) in &seeds {
        let path = seeds::corpus(target).join(name);
        if std::env::var_os("ORLOP_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, input).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(kept == *input, "{} is another seed now: ORLOP_BLESS=1", path.display());
    }
    let seeded: BTreeSet<_> = seeds.iter().map(|(target, ..)| *target).collect();
    assert_eq!(seeded, TARGETS.iter().map(|(target, _)| *target).collect());
}

#[test]
fn every_target_is_in_the_fuzz_crate_and_the_corpus_stays_small() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut bytes = 0;
    for (target, _) in TARGETS {
        let code = fs::read_to_string(fuzz.join(format!("fuzz_targets/{target}.rs"))).unwrap();
        assert!(code.contains(&format!("run(\"{target}\", input)")), "{target}");
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        for entry in fs::read_dir(seeds::corpus(target)).unwrap() {
            bytes += entry.unwrap().metadata().unwrap().len();
        }
    }
    assert!(bytes < 300 << 10, "the corpus has {bytes} bytes");
}
