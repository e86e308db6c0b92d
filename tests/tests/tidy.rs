//! The rules of ARCHITECTURE.md that a program can check.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of a crate's sources, with its path from the repository's root.
fn sources(of: &str) -> Vec<(String, String)> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(of), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The lines of a file that are code of the engine itself: no comments, no unit tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("conformance.rs") || name.contains("/tests/")
}

/// The floor of a file of the engine; `None` for the ground.
fn floor(name: &str) -> Option<u32> {
    let inside = name.strip_prefix("engine/src/")?;
    Some(match inside.split('/').next()? {
        "env" => 2,
        "files" => 3,
        "state" => 4,
        "flow" => 5,
        "error.rs" | "options.rs" | "stats.rs" | "sync.rs" | "sync" | "lib.rs" => return None,
        "expiry.rs" | "prefetch.rs" | "seeded.rs" | "seeded" => return None,
        _ => 6,
    })
}

#[test]
fn imports_go_down_only() {
    let floors = [("env", 2), ("files", 3), ("state", 4), ("flow", 5)];
    let mut broken = Vec::new();
    for (name, text) in sources("engine/src") {
        let Some(own) = floor(&name) else { continue };
        for line in code(&text).filter(|line| line.trim_start().starts_with("use crate::")) {
            let rest = line.trim_start().trim_start_matches("use crate::");
            let first = rest.split("::").next().unwrap_or(rest).trim_end_matches(';');
            let target =
                floors.iter().find(|(module, _)| *module == first).map(|(_, floor)| *floor);
            let ground = ["error", "expiry", "options", "prefetch", "seeded", "stats", "sync"]
                .contains(&first);
            let target = target.unwrap_or(if ground || first.starts_with('{') { 0 } else { 6 });
            if target > own {
                broken.push(format!("{name} (floor {own}): {line}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_env_talks_to_the_operating_system_and_only_sync_to_threads() {
    let mut broken = Vec::new();
    for (name, text) in sources("engine/src") {
        if is_test(&name) || name.starts_with("engine/src/env/") {
            continue;
        }
        let mut banned = vec!["std::fs", "libc::", "io_uring", "memmap2", "SystemTime"];
        let of_sync =
            name.starts_with("engine/src/sync.rs") || name.starts_with("engine/src/sync/");
        // The crash kit runs beside the engine, in the tests of its users.
        if !of_sync && !name.starts_with("engine/src/sim/") {
            banned.extend(["std::sync", "std::thread", "crossbeam_epoch", "loom::", "shuttle::"]);
            banned.push("Instant");
        }
        for line in code(&text) {
            if let Some(word) = banned.iter().find(|word| line.contains(**word)) {
                broken.push(format!("{name}: {word}: {}", line.trim()));
            }
        }
    }
    for (name, text) in sources("formats/src") {
        for line in code(&text).filter(|_| !is_test(&name)) {
            for word in ["std::fs", "std::io", "std::time", "std::thread", "std::env", "unsafe {"] {
                if line.contains(word) {
                    broken.push(format!("{name}: {word}: {}", line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn unsafe_stays_in_its_named_modules() {
    let allowed = [
        "engine/src/env/direct.rs",
        // The handler of faults on mapped memory, and the list that it walks.
        "engine/src/env/faults",
        "engine/src/env/map.rs",
        "engine/src/env/pages.rs",
        "engine/src/env/uring",
        "engine/src/files/sstable/cache.rs",
        "engine/src/files/sstable/probe.rs",
        "engine/src/files/sstable/standing.rs",
        "engine/src/prefetch.rs",
        "engine/src/state/memtable",
        "engine/src/state/view.rs",
        // The ioctl that cuts the power of a file system of the tests' own.
        "tests/src/process/shutdown.rs",
        // A peer whose open is unsafe.
        "benches/src/engine/lmdb.rs",
        // A file that is mapped for writing.
        "benches/spikes/parts/map.rs",
        // Buffers that the kernel reads from while a write is in flight.
        "benches/spikes/parts/ring.rs",
    ];
    let all =
        ["engine/src", "tools/src", "tests/src", "benches/src", "benches/spikes", "formats/src"];
    for of in all {
        for (name, text) in sources(of) {
            let has = code(&text).any(|line| line.contains("unsafe {"));
            let named = allowed.iter().any(|part| name.contains(part));
            assert!(!has || named, "{name} has unsafe code");
        }
    }
}

#[test]
fn files_and_functions_stay_readable() {
    let mut broken = Vec::new();
    let all =
        ["engine/src", "formats/src", "tools/src", "tests/src", "benches/src", "benches/spikes"];
    for of in all {
        for (name, text) in sources(of) {
            let lines = code(&text).count();
            if lines > 500 && !is_test(&name) {
                broken.push(format!("{name}: {lines} lines of code"));
            }
            broken.extend(long_functions(&name, &text));
            for word in ["utils", "common", "helpers", "manager"] {
                if name.split(['/', '.']).any(|part| part == word) {
                    broken.push(format!("{name}: not a name for a room"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Functions of more than 70 lines, by their indentation.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut long = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "]
            .iter()
            .any(|start| trimmed.starts_with(start));
        if !is_function || trimmed.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let length = lines[at..].iter().position(|line| *line == close).unwrap_or(0);
        if length > 70 {
            long.push(format!("{name}:{}: a function of {length} lines", at + 1));
        }
    }
    long
}

#[test]
fn the_map_names_only_what_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for part in text.split('`').skip(1).step_by(2) {
        let is_path = part.contains('/') && part.ends_with(".rs") && !part.contains(['{', '*']);
        let found = ["", "engine/src/"].iter().any(|base| root().join(base).join(part).exists());
        assert!(!is_path || found, "ARCHITECTURE.md names {part}");
    }
}

#[test]
fn no_line_ends_in_blanks() {
    let documents = ["README.md", "ARCHITECTURE.md", "SPEC.md", "CHANGELOG.md"];
    let texts =
        documents.map(|name| (name.to_owned(), fs::read_to_string(root().join(name)).unwrap()));
    for (name, text) in sources("engine").into_iter().chain(texts) {
        for (at, line) in text.lines().enumerate() {
            assert!(line.trim_end() == line, "{name}:{}: trailing blanks", at + 1);
        }
    }
}
