//! `tour`, twice on one store.

use crate::harness::{Place, command, run};
use std::fs;

#[test]
fn twice_on_one_store() {
    let p = Place::new();
    let here = p.dir.path();
    fs::create_dir_all(here.join("sub")).unwrap();
    fs::create_dir_all(here.join("target")).unwrap();
    fs::write(here.join("a file.txt"), "hello").unwrap();
    fs::write(here.join("sub/b.bin"), [0, 255]).unwrap();
    fs::write(here.join("target/skipped"), "no").unwrap();
    for generation in 1..=2 {
        let output = command(&["tour", &p.store]).current_dir(here).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{text}");
        for words in [
            format!("generation  {generation}"),
            "2 files, 7 B".to_owned(),
            "300,000 readings".to_owned(),
            "p99".to_owned(),
            "are there, no batch by half".to_owned(),
            "L1".to_owned(),
            format!("tour {}", p.store),
        ] {
            assert!(text.contains(&words), "{words} in {text}");
        }
    }
    let files = run(&["scan", &p.store, "files", "--keys-only"]);
    assert_eq!(
        files.fine(),
        "000001/a file.txt\n000001/sub/b.bin\n000002/a file.txt\n000002/sub/b.bin\n"
    );
    assert_eq!(run(&["get", &p.store, "files", "000002/a file.txt"]).fine(), "hello");
    assert_eq!(run(&["databases", &p.store]).fine(), "crash\nfiles\nreadings\n");
    let verified = run(&["verify", &p.store]);
    assert_eq!(verified.code, 0, "{}", verified.text());
}
