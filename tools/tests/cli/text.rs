//! `load` and `dump`: exact inverses, and bad lines.

use crate::harness::{Place, command, run, run_with};
use std::io::Write;
use std::process::Stdio;

/// Entries with every byte, alone and in company.
fn wild_entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries: Vec<_> = (0..=255).map(|byte| (vec![byte], vec![byte, b'x', byte])).collect();
    let bytes: Vec<u8> = (0..=255).collect();
    entries.push((bytes.clone(), [bytes.as_slice(), "grün \u{1f6a2} \\".as_bytes()].concat()));
    entries.push((vec![], vec![]));
    entries.push(("schlüssel\t\n".into(), b"\xf0\x9f\x9b".to_vec()));
    entries.push((b"large".to_vec(), bytes.iter().cycle().take(3 << 20).copied().collect()));
    entries
}

fn fill(p: &Place, entries: &[(Vec<u8>, Vec<u8>)]) {
    let store = orlop::Store::open(&p.store).unwrap();
    let db = store.database("db").unwrap();
    for (key, value) in entries {
        db.put_with(key, value, orlop::Durability::Buffered).unwrap();
    }
    store.close().unwrap();
}

#[test]
fn exact_inverses() {
    let (p, q) = (Place::new(), Place::new());
    let mut entries = wild_entries();
    fill(&p, &entries);
    entries.sort();
    for format in ["tsv", "ndjson"] {
        let dump = run(&["dump", &p.store, "db", "--format", format]);
        let text = dump.fine();
        assert_eq!(text.lines().count(), entries.len());
        let file = q.file(format);
        std::fs::write(&file, text).unwrap();
        let loaded = run(&["load", &q.store, format, &file, "--format", format, "--batch", "7"]);
        assert!(loaded.fine().starts_with(&format!("{} entries", entries.len())));
        assert!(run(&["dump", &q.store, format, "--format", format]).out == dump.out);
    }
    let store = orlop::Store::open_read_only(&q.store).unwrap();
    for format in ["tsv", "ndjson"] {
        let db = store.database(format).unwrap();
        let found: Vec<_> =
            db.iter().map(|entry| entry.map(|(k, v)| (k, v.to_vec())).unwrap()).collect();
        assert!(found == entries, "{format}");
    }
    assert_eq!(run(&["verify", &q.store]).code, 0);
}

#[test]
fn later_duplicates_win_and_the_last_lf_is_optional() {
    let p = Place::new();
    let s = p.store.as_str();
    run_with(&["load", s, "db", "-"], b"a\t1\nb\t2\na\t3").fine();
    assert_eq!(run(&["dump", s, "db"]).fine(), "a\t3\nb\t2\n");
    run_with(
        &["load", s, "db", "-", "--format", "ndjson"],
        b"{\"value\":\"4\",\"key_b64\":\"YQ==\"}",
    )
    .fine();
    assert_eq!(run(&["dump", s, "db"]).fine(), "a\t4\nb\t2\n");
    assert!(run_with(&["load", s, "db", "-"], b"").fine().starts_with("0 entries"));
}

#[test]
fn a_bad_line_stops_the_load_behind_what_came_before() {
    for (format, good, bad, reason) in [
        ("tsv", "a\t1\n", "no tab", "no tab"),
        ("tsv", "a\t1\n", "k\tv\tw", "second tab"),
        ("tsv", "a\t1\n", "k\t\\q", "unknown escape \\q"),
        ("tsv", "a\t1\n", "k\tv\r", "CR"),
        ("tsv", "a\t1\n", "", "no tab"),
        ("ndjson", "{\"key\":\"a\",\"value\":\"1\"}\n", "{\"key\":\"b\"}", "no field value"),
        ("ndjson", "{\"key\":\"a\",\"value\":\"1\"}\n", "{\"key\":\"b\",\"value\":1}", "a string"),
        (
            "ndjson",
            "{\"key\":\"a\",\"value\":\"1\"}\n",
            "{\"k\":\"b\",\"value\":\"1\"}",
            "unknown field",
        ),
    ] {
        let p = Place::new();
        let s = p.store.as_str();
        let text = format!("{good}{good}{bad}\n{good}");
        let ran = run_with(&["load", s, "db", "-", "--format", format], text.as_bytes());
        ran.refused("stdin, line 3: ");
        ran.refused(reason);
        assert!(ran.err.contains("the 2 entries before it are stored"), "{}", ran.err);
        assert_eq!(run(&["dump", s, "db"]).fine(), "a\t1\n");
        assert_eq!(run(&["verify", s]).code, 0);
    }
    let p = Place::new();
    run_with(&["load", &p.store, "db", "-"], b"bad\n").refused("line 1");
}

#[test]
fn sorted_lines_are_one_commit() {
    let p = Place::new();
    let s = p.store.as_str();
    let sorted: String = (100..400).map(|n| format!("k{n}\tv{n}\n")).collect();
    run_with(&["load", s, "db", "-", "--sorted"], sorted.as_bytes()).fine();
    assert_eq!(run(&["dump", s, "db"]).fine(), sorted);
    assert_eq!(run(&["verify", s]).code, 0);
    let stats: serde_json::Value =
        serde_json::from_str(run(&["stats", s, "--json"]).fine()).unwrap();
    assert_eq!((&stats["loading_tables"], &stats["memtable_entries"]), (&0.into(), &1.into()));
    assert_eq!(stats["levels"].as_array().unwrap().len(), 1);

    // Over what is there; what is out of order is a bad line, and then nothing of the file is stored.
    let ran = run_with(&["load", s, "db", "-", "--sorted"], b"k100\tnew\nk2\tv\nk101\tw\n");
    ran.refused("stdin, line 3: ");
    ran.refused("greater than \"k2\"");
    ran.refused("no entry of it is stored");
    assert_eq!(run(&["dump", s, "db"]).fine(), sorted);
    let ran =
        run_with(&["load", s, "db", "-", "--sorted", "--skip-bad"], b"k100\tnew\nk2\tv\nk101\tw\n");
    assert!(ran.err.contains("1 bad line skipped"), "{}", ran.err);
    assert_eq!(run(&["get", s, "db", "k100"]).fine(), "new");
    assert_eq!(run(&["get", s, "db", "k101"]).fine(), "v101");
    run(&["load", s, "db", "-", "--sorted", "--batch", "4"]).refused("--sorted");
    assert!(run_with(&["load", s, "empty", "-", "--sorted"], b"").fine().starts_with("0 entries"));
    assert_eq!(run(&["dump", s, "empty"]).fine(), "");

    // What a program has left is not given up by the way.
    let store = orlop::Store::open(s).unwrap();
    let mut load = store.database("db").unwrap().bulk_load().unwrap();
    load.put("half", "done").unwrap();
    load.checkpoint().unwrap();
    drop(load);
    store.close().unwrap();
    let ran = run_with(&["load", s, "db", "-", "--sorted"], b"k\tv\n");
    ran.refused("a bulk load into db was not finished: it is at \"half\"");
    assert!(run(&["stats", s]).fine().contains("unfinished loads  1 table"));
    run_with(&["load", s, "db", "-", "--sorted", "--discard"], b"k\tv\n").fine();
    assert!(run(&["stats", s]).fine().contains("unfinished loads  0 tables"));
    assert_eq!(run(&["verify", s]).code, 0);
}

#[test]
fn over_limit_keys_are_bad_lines() {
    let p = Place::new();
    let text = format!("{}\tv\nk\tv\n", "k".repeat(65_536));
    run_with(&["load", &p.store, "db", "-"], text.as_bytes())
        .refused("line 1: a key of 65536 bytes");
    let ran = run_with(&["load", &p.store, "db", "-", "--skip-bad"], text.as_bytes());
    assert_eq!(ran.code, 0);
    assert_eq!(run(&["dump", &p.store, "db"]).fine(), "k\tv\n");
}

#[test]
fn skip_bad_goes_on_and_prints_the_first_ten() {
    let p = Place::new();
    let s = p.store.as_str();
    let mut text = String::new();
    for number in 1..=30 {
        text +=
            &if number % 2 == 0 { format!("bad {number}\n") } else { format!("k{number}\tv\n") };
    }
    let ran = run_with(&["load", s, "db", "-", "--skip-bad", "--batch", "4"], text.as_bytes());
    assert_eq!(ran.code, 0);
    assert!(ran.text().starts_with("15 entries"), "{ran:?}");
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines[0], "15 bad lines skipped");
    assert_eq!(lines[1], "  line 2: no tab between a key and a value");
    assert!(lines[10].starts_with("  line 20:"));
    assert_eq!((lines[11], lines.len()), ("  and 5 more", 12));
    assert_eq!(run(&["dump", s, "db"]).fine().lines().count(), 15);
    let none = run_with(&["load", s, "db", "-", "--skip-bad"], b"k\tv\n");
    assert_eq!((none.code, none.err.as_str()), (0, "0 bad lines skipped\n"));
}

#[test]
fn a_killed_load_resumes_by_running_it_again() {
    let p = Place::new();
    let s = p.store.as_str();
    let mut text = String::new();
    for number in 0..60_000 {
        text += &format!("{:08}\tvalue {number}\n", (number * 7919) % 60_000);
    }
    for part in [10, 25, 40] {
        let mut child = command(&["load", s, "db", "-", "--batch", "100"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It waits for more when it is killed.
        stdin.write_all(&text.as_bytes()[..text.len() / 60 * part]).unwrap();
        stdin.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        child.kill().unwrap();
        child.wait().unwrap();
        let verified = run(&["verify", s]);
        assert_eq!(verified.code, 0, "{}", verified.text());
    }
    assert!(!run(&["dump", s, "db"]).fine().is_empty(), "buffered batches survive a kill");
    for durability in ["memory", "synced"] {
        run_with(&["load", s, "db", "-", "--durability", durability], text.as_bytes()).fine();
    }
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert!(run(&["dump", s, "db"]).fine().lines().eq(lines));
    assert_eq!(run(&["verify", s]).code, 0);
}

#[test]
fn expiries_are_dumped_and_loaded() {
    let (p, q) = (Place::new(), Place::new());
    let later = "4102444800000";
    run(&["put", &p.store, "db", "late", "v", "--expires-at", later]).fine();
    run(&["put", &p.store, "db", "soon", "v", "--expires-in", "3600000"]).fine();
    run(&["put", &p.store, "db", "gone", "v", "--expires-in", "0"]).fine();
    run(&["put", &p.store, "db", "stays", "v"]).fine();
    run(&["put", &p.store, "db", "k", "v", "--expires-at", "0"]).refused("0");
    assert_eq!(run(&["get", &p.store, "db", "gone"]).code, 1);
    for format in ["tsv", "ndjson"] {
        let dump = run(&["dump", &p.store, "db", "--format", format]);
        let text = dump.fine();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().next().unwrap().contains(later), "{text}");
        run_with(&["load", &q.store, format, "-", "--format", format], text.as_bytes()).fine();
        assert!(run(&["dump", &q.store, format, "--format", format]).out == dump.out);
        assert!(run(&["scan", &q.store, format, "--reverse"]).fine().contains(later));
    }
    run(&["compact", &p.store]).fine();
    assert_eq!(run(&["verify", &p.store]).code, 0);
    assert!(run(&["scan", &p.store, "db", "--format", "hex"]).fine().contains(later));
}
