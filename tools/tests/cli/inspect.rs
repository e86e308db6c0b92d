//! `inspect`: one file of each kind, whole and damaged.

use crate::harness::{Place, Ran, flip, run};
use std::path::Path;

fn inspect(path: &Path, args: &[&str]) -> Ran {
    run(&[&["inspect", path.to_str().unwrap()], args].concat())
}

/// A store with a file of every kind.
fn full() -> Place {
    let p = Place::with(&[("a", "1"), ("k\n", "\u{e4}")]);
    let store = orlop::Store::open(&p.store).unwrap();
    store.compact().unwrap();
    let db = store.database("db").unwrap();
    db.delete_range("b".."c").unwrap();
    store.flush().unwrap();
    db.delete("a").unwrap();
    db.delete_range("m".."n\n").unwrap();
    store.close().unwrap();
    p
}

#[test]
fn every_kind_of_file() {
    let p = full();
    let manifests = p.files("manifest");
    for (path, words) in [
        (p.path().join("SUPER"), &["superblock", "in force", "generation"][..]),
        (p.path().join("LOCK"), &["lock", "pid "]),
        (
            manifests[0].clone(),
            &[
                "manifest",
                "snapshot",
                "segment end",
                "added",
                "range delete",
                "start \"b\"",
                "end \"c\"",
            ],
        ),
        (
            p.files("log")[0].clone(),
            &["segment header", "kind Delete", "key \"a\"", "kind RangeDelete", "end \"n\\n\""],
        ),
        (
            p.files("sst")[0].clone(),
            &[
                "data block",
                "index block",
                "filter",
                "partition",
                "properties",
                "footer",
                "cleared seqno",
                "database 16",
            ],
        ),
    ] {
        let ran = inspect(&path, &[]);
        for words in words {
            assert!(ran.fine().contains(words), "{words} in {}", ran.text());
        }
        for line in inspect(&path, &["--json"]).fine().lines() {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(record["what"].is_string() && record["offset"].is_u64(), "{line}");
        }
    }
    let ran = inspect(&p.files("sst")[0], &["--entries"]);
    assert!(ran.fine().contains("key \"k\\n\", value \"\u{e4}\""), "{}", ran.text());
}

#[test]
fn damage_is_told_behind_what_can_be_read() {
    let p = full();
    let table = p.files("sst")[0].clone();
    let len = std::fs::metadata(&table).unwrap().len() as usize;
    flip(&table, 64);
    let ran = inspect(&table, &[]);
    ran.refused("is damaged: data block at offset 64");
    assert!(ran.text().contains("footer") && ran.text().contains("damage"), "{}", ran.text());
    flip(&table, len - 1);
    let ran = inspect(&table, &["--json"]);
    ran.refused("sstable footer");
    assert!(ran.text().contains("\"what\":\"file header\"") && ran.text().contains("damage"));

    let superblock = p.path().join("SUPER");
    flip(&superblock, 4096 + 40);
    let ran = inspect(&superblock, &[]);
    ran.refused("superblock slot");
    assert!(ran.text().contains("in force"), "{}", ran.text());
    flip(&superblock, 3);
    inspect(&superblock, &[]).refused("is not a file of Orlop");

    let log = p.files("log")[0].clone();
    flip(&log, 70);
    inspect(&log, &[]).refused("segment header");
}

#[test]
fn what_it_does_not_read() {
    let p = full();
    run(&["inspect", &p.store]).refused("is a directory");
    let other = p.file("notes.txt");
    std::fs::write(&other, "hello").unwrap();
    run(&["inspect", &other]).refused("is not a file of Orlop");
    std::fs::write(&other, "").unwrap();
    run(&["inspect", &other]).refused("");
    let mut newer = std::fs::read(p.path().join("SUPER")).unwrap();
    newer[8] = 99;
    std::fs::write(&other, newer).unwrap();
    run(&["inspect", &other]).refused("newer version");
}
