//! What cannot be done is said in one or two lines, with exit code 2, and changes nothing.

use crate::harness::{Place, copy, run, run_with};

/// Every command that reads, on a store.
fn reading(s: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["get", s, "db", "k"],
        vec!["databases", s],
        vec!["scan", s, "db"],
        vec!["dump", s, "db"],
        vec!["stats", s],
        vec!["verify", s],
    ]
}

/// Every command that writes to a store that must be there.
fn writing(s: &str) -> Vec<Vec<&str>> {
    vec![vec!["delete", s, "db", "k"], vec!["drop", s, "db"], vec!["compact", s]]
}

#[test]
fn an_absent_store() {
    let p = Place::new();
    for args in reading(&p.store).into_iter().chain(writing(&p.store)) {
        run(&args).refused("no store at");
        assert!(!p.path().exists(), "{args:?} created it");
    }
    let deep = p.file("no/s.orlop");
    run(&["put", &deep, "db", "k", "v"]).refused("make the directories above it first");
    run_with(&["load", &deep, "db", "-"], b"k\tv\n").refused("cannot create directory");
    assert!(!std::path::Path::new(&p.file("no")).exists(), "the last component only");
    run(&["inspect", &p.file("no")]).refused("there is no file");
}

#[test]
fn an_absent_database() {
    let p = Place::with(&[("k", "v")]);
    let s = p.store.as_str();
    let before = p.contents();
    for command in ["scan", "dump"] {
        run(&[command, s, "nope"]).refused("no database \"nope\"");
    }
    run(&["get", s, "nope", "k"]).refused("orlop databases");
    assert_eq!(p.contents(), before);
    run(&["delete", s, "nope", "k"]).refused("no database \"nope\"");
    run(&["drop", s, "nope"]).refused("no database \"nope\"");
    assert_eq!(run(&["databases", s]).fine(), "db\n");
}

#[test]
fn what_is_no_store() {
    let p = Place::new();
    let other = p.file("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(p.file("other/notes.txt"), "mine").unwrap();
    let file = p.file("file");
    std::fs::write(&file, "mine").unwrap();
    for s in [other.as_str(), file.as_str()] {
        for args in reading(s).into_iter().chain(writing(s)) {
            run(&args).refused("is not a store");
        }
        run(&["put", s, "db", "k", "v"]).refused("is not a store");
        run(&["tour", s]).refused("is not a store");
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "nothing was added");
}

#[test]
fn what_is_over_a_limit() {
    let p = Place::new();
    let s = p.store.as_str();
    let key = "k".repeat(65_536);
    run(&["put", s, "db", &key, "v"]).refused("key of 65536 bytes is over the limit");
    let file = p.file("value");
    std::fs::File::create(&file).unwrap().set_len((64 << 20) + 1).unwrap();
    run(&["put", s, "db", "k", "--value-file", &file]).refused("value of 67108865 bytes");
    run(&["put", s, "", "k", "v"]).refused("invalid database name");
    run(&["put", s, &"n".repeat(256), "k", "v"]).refused("longer than 255 bytes");
    run_with(&["load", s, "", "-"], b"k\tv\n").refused("invalid database name");
    run(&["load", s, "db", &p.file("absent")]).refused("there is no file");
    run(&["load", s, "db", p.dir.path().to_str().unwrap()]).refused("is a directory");
    run(&["put", s, "db", "k", "--value-file", &p.file("absent")]).refused("there is no file");
    run(&["put", s, "db", "--hex", "0g", "v"]).refused("position 1 holds g");
    run(&["put", s, "db", "--base64", "@", "v"]).refused("KEY is not base64");
    assert!(!p.path().exists(), "no store was created for what is refused");
    let p = Place::with(&[("k", "v")]);
    let s = p.store.as_str();
    run(&["get", s, "db", &key]).refused("over the limit");
    run(&["delete", s, "db", &key]).refused("over the limit");
    run(&["get", s, "db", "--hex", "0"]).refused("not a whole number of bytes");
}

#[test]
fn a_second_writer() {
    let p = Place::with(&[("k", "v")]);
    let s = p.store.as_str();
    let held = orlop::Store::open(s).unwrap();
    let words = format!("locked by pid {}", std::process::id());
    run(&["put", s, "db", "k", "w"]).refused(&words);
    run_with(&["load", s, "db", "-"], b"k\tw\n").refused(&words);
    for args in writing(s) {
        run(&args).refused(&words);
    }
    held.database("db").unwrap().put("k2", "v2").unwrap();
    for args in reading(s) {
        run(&args).fine();
    }
    assert_eq!(run(&["scan", s, "db"]).fine(), "k\tv\nk2\tv2\n", "beside the writer");
    held.close().unwrap();
    run(&["put", s, "db", "k", "w"]).fine();
}

#[test]
fn reading_changes_nothing() {
    let p = Place::with(&[("k", "v")]);
    let held = orlop::Store::open(&p.store).unwrap();
    held.database("db").unwrap().put("later", "v").unwrap();
    let crashed = Place::new();
    copy(p.path(), crashed.path());
    drop(held);
    for p in [&p, &crashed] {
        let before = p.contents();
        for args in reading(&p.store) {
            run(&args).fine();
        }
        for (file, _) in &before {
            run(&["inspect", file.to_str().unwrap()]).fine();
        }
        assert_eq!(p.contents(), before);
    }
}
