//! Tells the program which commit it was built from, "+" behind it where files had been changed.

use std::process::Command;

fn said(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    for path in
        ["src", "Cargo.toml", "../engine", "../formats", "../Cargo.lock", "../.git/logs/HEAD"]
    {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = said(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let sources = ["status", "--porcelain", "--", ".", "../engine", "../formats", "../Cargo.lock"];
    let clean = said(&sources).is_some_and(|text| text.is_empty());
    let mark = if clean { "" } else { "+" };
    println!("cargo:rustc-env=ORLOP_BENCHES_COMMIT={commit}{mark}");
}
