//! `verify`: clean on what is whole, a finding for every damage, a note for what a crash leaves.

use crate::harness::{Place, Ran, copy, flip, run};
use std::fs;
use std::path::Path;

fn verify(p: &Place) -> Ran {
    run(&["verify", &p.store])
}

#[track_caller]
fn clean(p: &Place) -> String {
    let ran = verify(p);
    assert_eq!(ran.code, 0, "{}", ran.text());
    ran.fine().to_owned()
}

/// Exit code 1 and these words.
#[track_caller]
fn finds(p: &Place, words: &str) {
    let ran = verify(p);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{}", ran.text());
    assert!(ran.text().contains(words), "expected {words:?} in {}", ran.text());
    let json = run(&["verify", &p.store, "--json"]);
    assert_eq!(json.code, 1);
    let json = json.json();
    assert_eq!(json["clean"], false);
    let finding = &json["findings"][0];
    for field in ["path", "what", "expected", "got"] {
        assert!(finding[field].is_string(), "{field} in {finding}");
    }
    assert!(finding["offset"].is_u64());
}

/// Several sstables, a log, a catalog with some history.
fn full() -> Place {
    let p = Place::new();
    let store = orlop::Store::builder()
        .memtable_size(64 << 10)
        .table_size(64 << 10)
        .open(&p.store)
        .unwrap();
    for name in ["one", "two", "three"] {
        let db = store.database(name).unwrap();
        let mut batch = store.batch();
        for number in 0..2_000 {
            let value = format!("value {number} ").repeat(1 + number % 5);
            batch.put(&db, format!("key/{:06}", number * 7919 % 2_000), value).unwrap();
        }
        batch.commit().unwrap();
    }
    store.drop_database("two").unwrap();
    store.rename_database("three", "drei").unwrap();
    store.compact().unwrap();
    let one = store.database("one").unwrap();
    one.put("late", "x".repeat(10_000)).unwrap();
    one.delete_range("key/000100".."key/000120").unwrap();
    one.delete("key/000001").unwrap();
    store.flush().unwrap();
    one.put("latest", "y").unwrap();
    store.close().unwrap();
    p
}

fn fresh_copy(p: &Place) -> Place {
    let q = Place::new();
    copy(p.path(), q.path());
    q
}

/// Offsets of a file: every one near its ends, some in between.
fn offsets(path: &Path) -> Vec<usize> {
    let len = fs::metadata(path).unwrap().len() as usize;
    let mut all: Vec<usize> = (0..64).step_by(9).chain((64..len).step_by(len / 24 + 1)).collect();
    all.extend((len.saturating_sub(600)..len).step_by(23));
    all.retain(|at| *at < len);
    all
}

#[test]
fn whole_stores_are_clean() {
    let p = full();
    assert!(clean(&p).contains("clean"));
    let json = run(&["verify", &p.store, "--json"]).json();
    assert_eq!(
        (json["clean"].clone(), json["findings"].clone()),
        (true.into(), serde_json::json!([]))
    );
    let p = Place::new();
    orlop::Store::open(&p.store).unwrap().close().unwrap();
    clean(&p);
}

#[test]
fn every_flipped_byte_of_an_sstable_is_found() {
    let p = full();
    let q = fresh_copy(&p);
    let tables = q.files("sst");
    assert!(tables.len() > 2);
    for table in [&tables[0], &tables[tables.len() - 1]] {
        let name = table.file_name().unwrap().to_str().unwrap();
        for at in offsets(table) {
            flip(table, at);
            let ran = verify(&q);
            assert_eq!(ran.code, 1, "{name} byte {at}: {}", ran.text());
            assert!(ran.text().contains(name), "{}", ran.text());
            flip(table, at);
        }
    }
    clean(&q);
}

#[test]
fn flips_in_superblock_and_manifest() {
    let q = fresh_copy(&full());
    let superblock = q.path().join("SUPER");
    for at in [0, 20, 63, 64, 4000, 4096, 4096 + 48, 4096 + 3000, 8191, 8192, 8192 + 40, 12_287] {
        flip(&superblock, at);
        finds(&q, "SUPER");
        flip(&superblock, at);
    }
    let manifest = q.files("manifest")[0].clone();
    for at in [0, 9, 40, 4096, 4096 + 8, 4096 + 41, 4096 + 60, 8192 + 50] {
        flip(&manifest, at);
        finds(&q, "manifest");
        flip(&manifest, at);
    }
    clean(&q);
}

#[test]
fn flips_in_a_log_that_was_closed() {
    let q = fresh_copy(&full());
    let log = q.files("log")[0].clone();
    let len = fs::metadata(&log).unwrap().len() as usize;
    for at in (0..128).step_by(11).chain(128..len) {
        flip(&log, at);
        let ran = verify(&q);
        assert_eq!(ran.code, 1, "byte {at}: {}", ran.text());
        flip(&log, at);
    }
    clean(&q);
}

#[test]
fn truncated_and_missing_files() {
    let p = full();
    for extension in ["sst", "manifest", "log"] {
        let q = fresh_copy(&p);
        let file = q.files(extension)[0].clone();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&file).unwrap();
        for len in [bytes.len() - 1, bytes.len() / 2, 64, 3, 0] {
            fs::write(&file, &bytes[..len]).unwrap();
            let ran = verify(&q);
            assert_eq!(ran.code, 1, "{name} cut to {len}: {}", ran.text());
            assert!(ran.text().contains(&name), "{}", ran.text());
        }
        fs::remove_file(&file).unwrap();
        finds(&q, "no such file");
    }
    let q = fresh_copy(&p);
    fs::remove_file(q.path().join("SUPER")).unwrap();
    finds(&q, "SUPER");
    fs::write(q.path().join("SUPER"), "").unwrap();
    finds(&q, "SUPER");
}

#[test]
fn swapped_files_are_found() {
    let q = fresh_copy(&full());
    let tables = q.files("sst");
    let (a, b) = (fs::read(&tables[0]).unwrap(), fs::read(&tables[1]).unwrap());
    fs::write(&tables[0], b).unwrap();
    fs::write(&tables[1], a).unwrap();
    finds(&q, "expected  file 1");
    let other = full();
    let q = fresh_copy(&other);
    fs::copy(full().path().join("SUPER"), q.path().join("SUPER")).unwrap();
    finds(&q, "store");
}

/// A store as a crash leaves it: synced commits, then buffered ones.
fn crashed() -> Place {
    let (live, p) = (Place::new(), Place::new());
    let store = orlop::Store::open(&live.store).unwrap();
    let db = store.database("db").unwrap();
    for number in 0..4 {
        db.put(format!("synced {number}"), "v".repeat(500)).unwrap();
    }
    for number in 0..4 {
        db.put_with(format!("buffered {number}"), "v".repeat(500), orlop::Durability::Buffered)
            .unwrap();
    }
    copy(live.path(), p.path());
    p
}

#[test]
fn a_torn_tail_is_a_note() {
    let p = crashed();
    assert!(!clean(&p).contains("torn"));
    assert!(clean(&p).contains(".stage"), "where the buffered ones are");
    let stage = p.files("stage")[0].clone();
    let bytes = fs::read(&stage).unwrap();
    let last = bytes.windows(10).rposition(|window| window == b"buffered 3").unwrap();
    flip(&stage, last);
    assert!(clean(&p).contains("torn tail"));
    assert_eq!(run(&["scan", &p.store, "db", "--keys-only"]).fine().lines().count(), 7);
    run(&["put", &p.store, "db", "k", "v"]).fine();
    assert!(!clean(&p).contains("torn tail"), "the next open has cut it");
    assert!(p.files("stage").is_empty());
}

#[test]
fn a_lost_synced_commit_is_a_finding() {
    let p = crashed();
    let log = p.files("log")[0].clone();
    let bytes = fs::read(&log).unwrap();
    let at = bytes.windows(8).position(|window| window == b"synced 1").unwrap();
    flip(&log, at);
    finds(&p, "was synced");
    run(&["scan", &p.store, "db"]).refused("corrupt file");
}

#[test]
fn litter_and_foreign_files_are_notes() {
    let p = full();
    for name in
        ["000900.sst", "000901.manifest", "000000.log", "SUPER.tmp", "notes.txt", "000007.blob"]
    {
        fs::write(p.path().join(name), "whatever").unwrap();
    }
    fs::create_dir(p.path().join("sub")).unwrap();
    let text = clean(&p);
    for name in [
        "000900.sst",
        "000901.manifest",
        "000000.log",
        "SUPER.tmp",
        "notes.txt",
        "000007.blob",
        "sub",
    ] {
        assert!(text.contains(&format!("{name}: ")), "{name} in {text}");
    }
}

#[test]
fn what_is_no_store_cannot_be_verified() {
    let p = Place::new();
    verify(&p).refused("no store at");
    fs::create_dir(p.path()).unwrap();
    verify(&p).refused("no store at");
    fs::write(p.path().join("notes.txt"), "").unwrap();
    verify(&p).refused("is not a store");
}
