//! `scan`: bounds, directions, forms.

use crate::harness::{Place, run};

fn scan(p: &Place, args: &[&str]) -> String {
    let args = [&["scan", &p.store, "db", "--keys-only"], args].concat();
    run(&args).fine().replace('\n', " ").trim_end().to_owned()
}

#[test]
fn bounds_intersect() {
    let p = Place::with(&[("a", ""), ("b", ""), ("ba", ""), ("bb", ""), ("c", "")]);
    assert_eq!(scan(&p, &[]), "a b ba bb c");
    assert_eq!(scan(&p, &["--prefix", "b"]), "b ba bb");
    assert_eq!(scan(&p, &["--from", "b"]), "b ba bb c", "included");
    assert_eq!(scan(&p, &["--to", "bb"]), "a b ba", "excluded");
    assert_eq!(scan(&p, &["--from", "b", "--to", "c"]), "b ba bb");
    assert_eq!(scan(&p, &["--prefix", "b", "--from", "a", "--to", "bb"]), "b ba");
    assert_eq!(scan(&p, &["--prefix", "b", "--from", "ba", "--to", "z"]), "ba bb");
    assert_eq!(scan(&p, &["--prefix", "b", "--from", "c"]), "", "empty, and no error");
    assert_eq!(scan(&p, &["--from", "c", "--to", "b"]), "");
    assert_eq!(scan(&p, &["--prefix", ""]), "a b ba bb c");
}

#[test]
fn reverse_and_limit() {
    let p = Place::with(&[("a", ""), ("b", ""), ("ba", ""), ("bb", ""), ("c", "")]);
    assert_eq!(scan(&p, &["--reverse"]), "c bb ba b a");
    assert_eq!(scan(&p, &["--reverse", "--prefix", "b"]), "bb ba b");
    assert_eq!(scan(&p, &["--reverse", "--from", "b", "--to", "bb"]), "ba b");
    assert_eq!(scan(&p, &["--reverse", "--limit", "2"]), "c bb");
    assert_eq!(scan(&p, &["--limit", "2"]), "a b");
    assert_eq!(scan(&p, &["--limit", "0"]), "");
}

#[test]
fn forms_and_notations() {
    let p = Place::with(&[("a\t", "ä\u{7f}"), ("\u{1}", "x")]);
    let s = p.store.as_str();
    assert_eq!(run(&["scan", s, "db"]).fine(), "\\x01\tx\na\\t\tä\\x7f\n");
    assert_eq!(run(&["scan", s, "db", "--format", "hex"]).fine(), "01\t78\n6109\tc3a47f\n");
    assert_eq!(run(&["scan", s, "db", "--format", "hex", "--keys-only"]).fine(), "01\n6109\n");
    let json = "{\"key\":\"\\u0001\",\"value\":\"x\"}\n{\"key\":\"a\\t\",\"value\":\"ä\u{7f}\"}\n";
    assert_eq!(run(&["scan", s, "db", "--format", "ndjson"]).fine(), json);
    assert_eq!(scan(&p, &["--hex", "--from", "6100"]), "a\\t");
    assert_eq!(scan(&p, &["--base64", "--prefix", "AQ=="]), "\\x01");
    run(&["scan", s, "db", "--hex", "--to", "6"]).refused("--to is not hexadecimal");
    run(&["scan", s, "db", "--base64", "--prefix", "?"]).refused("--prefix is not base64");
    let long = "k".repeat(65_536);
    for bound in ["--prefix", "--from", "--to"] {
        run(&["scan", s, "db", bound, &long]).refused("65536 bytes is over the limit");
    }
}
