//! Machines that do not give everything: what is missing is said, and the rest goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use orlop::env::PosixEnv;
use orlop::{Durability, Store};

/// Where the child finds its store.
const STORE: &str = "ORLOP_TEST_STORE";

/// A user without rights, on every system.
const NOBODY: u32 = 65_534;

fn use_it(store: &Store) {
    let database = store.database("d").unwrap();
    for n in 0..2_000_u32 {
        let durability = if n % 100 == 0 { Durability::Synced } else { Durability::Buffered };
        database.put_with(n.to_be_bytes(), vec![n as u8; 500], durability).unwrap();
    }
    assert_eq!(database.iter().count(), 2_000);
}

/// The test as the other process sees it: an ordinary user that may lock no memory.
#[test]
fn as_the_child() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(PathBuf::from(path)).unwrap();
    use_it(&store);
    // So much that two segments of the full size are in use, each with its stage.
    let database = store.database("large").unwrap();
    for n in 0..48_u32 {
        database.put_with(n.to_be_bytes(), vec![n as u8; 1 << 20], Durability::Buffered).unwrap();
    }
    let stats = store.stats();
    println!("log: {} {:?}", stats.log_path, stats.log_path_fallback);
    println!("segments: {:?}", stats.segment_fallback);
    println!("stage: {:?}", stats.stage_fallback);
    store.close().unwrap();
}

/// Runs the test of the child by a program that takes something away from it, and gives what it says; `None`
/// where there is no such program. What the child has written is there for others.
fn told_under(program: &str, arguments: &[&str], user: Option<u32>) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    // The test may stand where nobody else may look.
    let child = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &child).unwrap();
    fs::set_permissions(&child, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(&child).args(["--exact", "as_the_child", "--nocapture"]);
    command.env(STORE, dir.path().join("store")).current_dir(dir.path());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {program}: {error}");
            return None;
        }
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("PTRACE") || errors.contains("invalid system call") {
        println!("skipped: {program}: {}", errors.lines().next().unwrap_or_default());
        return None;
    }
    assert!(output.status.success(), "{told}\n{errors}");
    let store = Store::open_read_only(dir.path().join("store")).unwrap();
    assert_eq!(store.database("d").unwrap().iter().count(), 2_000);
    Some(told)
}

/// The rest of a line of what was told.
fn line<'a>(told: &'a str, of: &str) -> &'a str {
    told.lines().find_map(|line| line.strip_prefix(of)).unwrap()
}

#[test]
fn a_user_that_may_lock_no_memory_is_told_and_goes_on() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let told = told_under("prlimit", &["--memlock=0:0"], is_root.then_some(NOBODY));
    let Some(told) = told else { return };
    assert_ne!(line(&told, "stage: "), "None", "{told}");
}

/// Two stages of the default size, locked, were 8 KiB more than such a user may lock.
#[test]
fn a_user_with_the_limit_of_most_systems_has_all_that_is_locked() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let limit = ["--memlock=8388608:8388608"];
    let Some(told) = told_under("prlimit", &limit, is_root.then_some(NOBODY)) else { return };
    assert_eq!(line(&told, "stage: "), "None", "{told}");
}

#[test]
fn where_io_uring_is_denied_a_store_says_so_and_goes_on() {
    for error in ["EPERM", "ENOSYS", "ENOMEM"] {
        let denied = format!("inject=io_uring_setup:error={error}");
        let quiet = ["-f", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e", &denied];
        let Some(told) = told_under("strace", &quiet, None) else { return };
        let log = line(&told, "log: ");
        assert!(log.starts_with("posix Some(\"") && log.contains("io_uring"), "{error}: {log}");
    }
}

#[test]
fn plain_system_calls_are_enough_and_nothing_is_said_where_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(PosixEnv::new());
    let store = Store::builder().env(env).open(dir.path().join("store")).unwrap();
    use_it(&store);
    let stats = store.stats();
    assert_eq!((stats.log_path.as_str(), stats.log_path_fallback), ("posix", None));
    store.close().unwrap();
    let store = Store::in_memory().unwrap();
    use_it(&store);
    let stats = store.stats();
    assert_eq!((stats.segment_fallback, stats.stage_fallback), (None, None));
}
