//! Running `orlop`, and stores to run it on.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Exit code 0 and nothing to complain about; gives the output.
    #[track_caller]
    pub(crate) fn fine(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.text()
    }

    /// Exit code 2, and one or two lines on stderr that contain `words`.
    #[track_caller]
    pub(crate) fn refused(&self, words: &str) {
        assert_eq!(self.code, 2, "{self:?}");
        let lines = self.err.lines().count();
        assert!((1..=2).contains(&lines), "{lines} lines: {}", self.err);
        assert!(self.err.contains(words), "expected {words:?} in: {}", self.err);
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap()
    }
}

pub(crate) fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.args(args);
    command
}

pub(crate) fn run<S: AsRef<OsStr>>(args: &[S]) -> Ran {
    run_with(args, b"")
}

/// Runs with bytes on stdin.
pub(crate) fn run_with<S: AsRef<OsStr>>(args: &[S], stdin: &[u8]) -> Ran {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let feeder = std::thread::spawn(move || {
        // A command that does not read to the end closes the pipe.
        let _ = pipe.write_all(&stdin);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory that goes away, and a path in it for a store.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("s.orlop").to_str().unwrap().to_owned();
        Self { dir, store }
    }

    /// A store with these entries in `db`.
    pub(crate) fn with(entries: &[(&str, &str)]) -> Self {
        let place = Self::new();
        let store = orlop::Store::open(&place.store).unwrap();
        let db = store.database("db").unwrap();
        let mut batch = store.batch();
        for (key, value) in entries {
            batch.put(&db, key, value).unwrap();
        }
        batch.commit().unwrap();
        store.close().unwrap();
        place
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(&self.store)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The store's files with this extension, oldest first.
    pub(crate) fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.store).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        files.sort();
        files
    }

    /// Everything in the store's directory.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(&self.store).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> =
            entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        all.sort();
        all
    }
}

/// Copies a store's files: what a crash at this moment would leave, as far as the kernel knows.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Flips one bit of a file.
pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(path, bytes).unwrap();
}
