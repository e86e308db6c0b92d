//! Each command doing what it is for.

use crate::harness::{Place, run, run_with};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

#[test]
fn put_get_delete() {
    let p = Place::new();
    let s = &p.store;
    assert_eq!(run(&["put", s, "db", "key", "value"]).fine(), "");
    assert_eq!(run(&["get", s, "db", "key"]).fine(), "value", "no newline is added");
    assert_eq!(run(&["put", s, "db", "key", "other"]).fine(), "");
    assert_eq!(run(&["get", s, "db", "key"]).fine(), "other");
    assert_eq!(run(&["delete", s, "db", "key"]).fine(), "");
    let gone = run(&["get", s, "db", "key"]);
    assert_eq!((gone.code, gone.text(), gone.err.as_str()), (1, "", ""));
    assert_eq!(run(&["delete", s, "db", "key"]).fine(), "", "no error if it is not there");
    for durability in ["memory", "buffered", "synced"] {
        run(&["put", s, "db", durability, "v", "--durability", durability]).fine();
        run(&["delete", s, "db", durability, "--durability", durability]).fine();
    }
}

#[test]
fn values_come_from_three_places() {
    let p = Place::new();
    let s = &p.store;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    run_with(&["put", s, "db", "stdin", "-"], &bytes).fine();
    let file = p.file("value");
    std::fs::write(&file, &bytes).unwrap();
    run(&["put", s, "db", "file", "--value-file", &file]).fine();
    assert_eq!(run(&["get", s, "db", "stdin"]).out, bytes);
    assert_eq!(run(&["get", s, "db", "file"]).out, bytes);
    run_with(&["put", s, "db", "empty", "-"], b"").fine();
    assert_eq!(run(&["get", s, "db", "empty"]).fine(), "");
    run(&["put", s, "db", "k", "v", "--value-file", &file]).refused("cannot be used with");
    run(&["put", s, "db", "k"]).refused("Usage: orlop put");
}

#[test]
fn any_bytes_are_a_key() {
    let p = Place::new();
    let s = p.store.as_str();
    run(&["put", s, "db", "", ""]).fine();
    assert_eq!(run(&["get", s, "db", ""]).fine(), "");
    run(&["put", s, "db", "--", "--limit", "-1"]).fine();
    assert_eq!(run(&["get", s, "db", "--", "--limit"]).fine(), "-1");
    let raw = std::ffi::OsStr::from_bytes(b"\xff\x01");
    run(&["put".as_ref(), s.as_ref(), "db".as_ref(), raw, "raw".as_ref()]).fine();
    assert_eq!(run(&["get", s, "db", "--hex", "ff01"]).fine(), "raw");
    assert_eq!(run(&["get", s, "db", "--base64", "/wE="]).fine(), "raw");
    run(&["put", s, "db", "--hex", "00", "nul"]).fine();
    assert_eq!(run(&["get", s, "db", "AA==", "--base64"]).fine(), "nul");
    run(&["delete", s, "db", "--hex", "FF01"]).fine();
    assert_eq!(run(&["scan", s, "db", "--keys-only"]).fine(), "\n\\x00\n--limit\n");
}

#[test]
fn the_largest_sizes() {
    let p = Place::new();
    let s = p.store.as_str();
    let key = "k".repeat(65_535);
    run(&["put", s, "db", &key, "long key"]).fine();
    assert_eq!(run(&["get", s, "db", &key]).fine(), "long key");
    let file = p.file("value");
    let sparse = std::fs::File::create(&file).unwrap();
    sparse.set_len(64 << 20).unwrap();
    run(&["put", s, "db", "v", "--value-file", &file]).fine();
    assert_eq!(run(&["get", s, "db", "v"]).out, vec![0; 64 << 20]);
}

#[test]
fn ranges_of_keys_are_deleted() {
    let pairs = ["a", "b", "b1", "b2", "c", "d", "e"].map(|key| (key, "v"));
    let p = Place::with(&pairs);
    let s = p.store.as_str();
    let left = || {
        let out = run(&["scan", s, "db", "--keys-only"]).fine().to_owned();
        out.split_whitespace().map(str::to_owned).collect::<String>()
    };
    run(&["delete", s, "db", "--prefix", "b"]).fine();
    assert_eq!(left(), "acde");
    run(&["delete", s, "db", "--hex", "--from", "63", "--to", "64"]).fine();
    assert_eq!(left(), "ade");
    let stats = run(&["stats", s, "--json"]).json();
    assert_eq!(stats["memtable_range_deletes"], 2);
    assert!(run(&["stats", s]).fine().contains("range deletes     2"));
    // Nothing lies between these.
    run(&["delete", s, "db", "--from", "z", "--to", "a"]).fine();
    run(&["delete", s, "db", "--to", "b", "--durability", "synced"]).fine();
    run(&["delete", s, "db", "--from", "e"]).fine();
    assert_eq!(left(), "d");
    run(&["compact", s]).fine();
    assert_eq!(left(), "d");
    let stats = run(&["stats", s, "--json"]).json();
    assert_eq!((&stats["range_deletes"], &stats["memtable_range_deletes"]), (&0.into(), &0.into()));
    run(&["delete", s, "db"]).refused("KEY");
    run(&["delete", s, "db", "d", "--prefix", "d"]).refused("cannot be used with");
    run(&["delete", s, "none", "--prefix", "d"]).refused("no database \"none\"");
    run(&["delete", s, "db", "--hex", "--to", "xy"]).refused("--to is not hexadecimal");
    assert_eq!(left(), "d");
}

#[test]
fn databases_and_drop() {
    let p = Place::new();
    let s = p.store.as_str();
    for name in ["zoo", "7", "a b\n"] {
        run(&["put", s, name, "k", name]).fine();
    }
    assert_eq!(run(&["databases", s]).fine(), "7\na b\\n\nzoo\n");
    assert_eq!(run(&["databases", s, "--json"]).json(), serde_json::json!(["7", "a b\n", "zoo"]));
    assert_eq!(run(&["drop", s, "7"]).fine(), "");
    assert_eq!(run(&["databases", s]).fine(), "a b\\n\nzoo\n");
    run(&["get", s, "7", "k"]).refused("no database \"7\"");
    run(&["drop", s, "7"]).refused("no database \"7\"");
    run(&["put", s, "7", "other", "v"]).fine();
    assert_eq!(run(&["scan", s, "7"]).fine(), "other\tv\n", "a new one, not the old one");
}

#[test]
fn stats_and_compact() {
    let p = Place::with(&[("a", "1"), ("b", "2")]);
    let s = p.store.as_str();
    let text = run(&["stats", s]).fine().to_owned();
    for words in ["databases         1", "superblock      1", "log path", "no sstables yet"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(run(&["compact", s]).fine().contains("after   1 sstable in 1 run"));
    let stats = run(&["stats", s, "--json"]).json();
    assert_eq!(stats["databases"], 1);
    assert_eq!(stats["levels"][0]["runs"][0]["entries"], 3, "two, and the catalog's");
    assert_eq!(stats["files"]["sstable"]["count"], 1);
    assert_eq!(stats["log_path"], "none");
    assert!(["io_uring", "posix"].contains(&stats["log_path_for_writing"].as_str().unwrap()));
    assert!(run(&["stats", s]).fine().contains("L1"));
    assert_eq!(run(&["scan", s, "db"]).fine(), "a\t1\nb\t2\n");
}

#[test]
fn help_and_version() {
    let help = run(&["--help"]);
    assert!(help.fine().contains("Exit codes"));
    assert!(!help.text().contains("tour-child"), "it is not for people");
    assert!(run(&["--version"]).fine().starts_with("orlop 0."));
    assert!(run(&["scan", "--help"]).fine().contains("--prefix"));
    for args in [
        &[][..],
        &["nope"],
        &["get"],
        &["scan", "s", "d", "--nope"],
        &["scan", "s", "d", "--limit", "-1"],
    ] {
        run(args).refused("");
    }
    run::<&str>(&[]).refused("orlop tour");
    run(&["get", "s", "d", "-k"]).refused("use '-- -k'");
    run(&["get", "s", "d", "k", "--hex", "--base64"]).refused("cannot be used with");
    run(&["load", "s", "d", "-", "--batch", "0"]).refused("0 is not in 1..");
    run(&["scan", "s", "d", "--format", "xml"]).refused("[possible values: tsv, ndjson, hex]");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let p = Place::new();
    let s = p.store.as_str();
    let store = orlop::Store::open(s).unwrap();
    let db = store.database("db").unwrap();
    let mut batch = store.batch();
    for number in 0..50_000 {
        batch.put(&db, format!("{number:09}"), "some value or other").unwrap();
    }
    batch.commit().unwrap();
    store.close().unwrap();
    for args in [
        &["scan", s, "db"][..],
        &["scan", s, "db", "--reverse"],
        &["dump", s, "db"],
        &["dump", s, "db", "--format", "ndjson"],
        &["stats", s],
        &["verify", s],
        &["databases", s],
        &["--help"],
    ] {
        let mut child = crate::harness::command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}
