//! One script of verbs, run over every environment, demanding the same answers: what the engine
//! does on one is what it does on all, and the simulator is no kinder than a real disk.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::*;

#[test]
fn posix_conforms() {
    on_disk(&PosixEnv::new());
}

#[test]
#[cfg(target_os = "linux")]
fn uring_conforms() {
    match UringEnv::new() {
        Ok(env) => on_disk(&env),
        Err(denied) => println!("skipped: {denied}"),
    }
}

#[test]
fn memory_conforms() {
    let base = Path::new("/base");
    let env = MemoryEnv::new();
    env.create_dir(base).unwrap();
    run(&env, base);
}

#[test]
fn sim_conforms() {
    let base = Path::new("/base");
    let env = SimEnv::new(7);
    env.create_dir(base).unwrap();
    run(&env, base);
}

#[test]
fn the_default_says_what_serves_the_log() {
    let path = default_env().log_path();
    match path.name {
        "io_uring" => assert_eq!(path.fallback, None),
        "posix" => assert_eq!(path.fallback.is_some(), cfg!(target_os = "linux")),
        name => panic!("unknown log path {name}"),
    }
}

#[test]
fn a_pid_is_read_from_a_lock_file() {
    assert_eq!(parse_pid(b"pid 17\n"), Some(17));
    assert_eq!(parse_pid(b"pid 17"), Some(17));
    for text in [&b""[..], b"17\n", b"pid \n", b"pid -1\n", b"pid 99999999999\n", b"pid \xff\n"] {
        assert_eq!(parse_pid(text), None, "{text:?}");
    }
}

fn on_disk(env: &dyn Env) {
    let dir = tempfile::tempdir().unwrap();
    run(env, dir.path());
}

fn run(env: &dyn Env, base: &Path) {
    directories(env, base);
    files(env, base);
    streams(env, base);
    names(env, base);
    maps(env, base);
    logs(env, base);
    direct_logs(env, base);
    stages(env, base);
    log_misuse(env, base);
    locks(env, base);
    assert_ne!(env.random(), env.random());
}

#[track_caller]
fn refused<T>(result: io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, got success"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

fn directories(env: &dyn Env, base: &Path) {
    let dir = base.join("dirs");
    refused(env.list(&dir), ErrorKind::NotFound);
    refused(env.sync_dir(&dir), ErrorKind::NotFound);
    refused(env.create(&dir.join("f")), ErrorKind::NotFound);
    refused(env.create_dir(&dir.join("inner")), ErrorKind::NotFound);

    env.create_dir(&dir).unwrap();
    refused(env.create_dir(&dir), ErrorKind::AlreadyExists);
    refused(env.remove_dir(&dir.join("missing")), ErrorKind::NotFound);
    assert_eq!(env.list(&dir).unwrap(), []);

    env.create_dir(&dir.join("inner")).unwrap();
    refused(env.remove_dir(&dir), ErrorKind::DirectoryNotEmpty);
    env.remove_dir(&dir.join("inner")).unwrap();
    refused(env.list(&dir.join("inner")), ErrorKind::NotFound);
    env.create_dir(&dir.join("inner")).unwrap();
    env.create(&dir.join("b")).unwrap().write_at(0, b"12345").unwrap();
    env.create(&dir.join("a")).unwrap();
    env.create(&dir.join("inner/c")).unwrap();
    // Sorted, directories too, and nothing of what is inside of one.
    let entries =
        [("a", 0), ("b", 5), ("inner", 0)].map(|(name, len)| DirEntry { name: name.into(), len });
    assert_eq!(env.list(&dir).unwrap(), entries);
    env.sync_dir(&dir).unwrap();
}

fn files(env: &dyn Env, base: &Path) {
    let path = base.join("file");
    refused(env.read(&path), ErrorKind::NotFound);
    refused(env.len(&path), ErrorKind::NotFound);
    refused(env.open_write(&path), ErrorKind::NotFound);
    refused(env.disk_usage(&path), ErrorKind::NotFound);

    let mut file = env.create(&path).unwrap();
    refused(env.create(&path), ErrorKind::AlreadyExists);
    refused(env.create_log(&path, 0), ErrorKind::AlreadyExists);
    refused(env.create_dir(&path), ErrorKind::AlreadyExists);
    file.write_at(3, b"def").unwrap();
    assert_eq!(env.read(&path).unwrap(), b"\0\0\0def");
    file.write_at(0, b"abc").unwrap();
    file.write_at(9, b"").unwrap();
    file.sync().unwrap();
    assert_eq!(env.read(&path).unwrap(), b"abcdef");
    assert_eq!(env.len(&path).unwrap(), 6);
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    drop(file);
    assert_eq!(env.read(&path).unwrap(), b"ab\0\0");

    let mut again = env.open_write(&path).unwrap();
    again.write_at(1, b"B").unwrap();
    again.sync().unwrap();
    assert_eq!(env.read(&path).unwrap(), b"aB\0\0");
    assert!(env.disk_usage(&path).unwrap() > 0);
}

/// A hint: what is written, read and promised is as without it.
fn streams(env: &dyn Env, base: &Path) {
    let path = base.join("streamed");
    let mut file = env.create(&path).unwrap();
    file.stream();
    // As much as would go past the page cache, and what is in no whole sectors.
    let bytes: Vec<u8> = (0..(1 << 20) + 77_u32).map(|n| (n % 251) as u8).collect();
    let (first, rest) = bytes.split_at(1 << 20);
    file.write_at(0, first).unwrap();
    file.write_at(1 << 20, rest).unwrap();
    file.write_at(5, b"again").unwrap();
    file.sync().unwrap();
    let mut expected = bytes.clone();
    expected[5..10].copy_from_slice(b"again");
    assert!(env.read(&path).unwrap() == expected);
    assert!(env.map(&path).unwrap().bytes() == expected);
    env.remove(&path).unwrap();
}

fn names(env: &dyn Env, base: &Path) {
    let [a, b, c] = ["name-a", "name-b", "name-c"].map(|name| base.join(name));
    refused(env.rename(&a, &b), ErrorKind::NotFound);
    refused(env.link(&a, &b), ErrorKind::NotFound);
    refused(env.remove(&a), ErrorKind::NotFound);

    let mut file = env.create(&a).unwrap();
    file.write_at(0, b"one").unwrap();
    env.create(&b).unwrap().write_at(0, b"two").unwrap();
    refused(env.rename(&a, &base.join("nowhere/a")), ErrorKind::NotFound);
    refused(env.link(&a, &base.join("nowhere/a")), ErrorKind::NotFound);
    refused(env.link(&a, &b), ErrorKind::AlreadyExists);

    env.link(&a, &c).unwrap();
    file.write_at(3, b"!").unwrap(); // one file, two names
    assert_eq!(env.read(&c).unwrap(), b"one!");
    env.rename(&a, &c).unwrap(); // the same file already: both names stay
    assert_eq!(env.read(&a).unwrap(), b"one!");
    env.rename(&a, &b).unwrap(); // replaces
    refused(env.read(&a), ErrorKind::NotFound);
    assert_eq!(env.read(&b).unwrap(), b"one!");
    env.remove(&b).unwrap();
    assert_eq!(env.read(&c).unwrap(), b"one!");
    env.remove(&c).unwrap();
    refused(env.read(&c), ErrorKind::NotFound);
    file.write_at(0, b"gone").unwrap(); // a handle outlives the names
    file.sync().unwrap();

    let sub = base.join("name-dir");
    env.create_dir(&sub).unwrap();
    env.create(&a).unwrap().write_at(0, b"moved").unwrap();
    env.rename(&a, &sub.join("a")).unwrap();
    assert_eq!(env.read(&sub.join("a")).unwrap(), b"moved");
}

fn maps(env: &dyn Env, base: &Path) {
    let path = base.join("mapped");
    refused(env.map(&path), ErrorKind::NotFound);
    let mut file = env.create(&path).unwrap();
    assert_eq!(env.map(&path).unwrap().bytes(), b"");
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    file.write_at(0, &bytes).unwrap();
    file.sync().unwrap();
    let mapping = env.map(&path).unwrap();
    env.remove(&path).unwrap();
    drop(file);
    assert_eq!(mapping.bytes(), bytes);
}

fn logs(env: &dyn Env, base: &Path) {
    let path = base.join("log");
    refused(env.create_log(&base.join("nowhere/log"), 0), ErrorKind::NotFound);
    let mut log = env.create_log(&path, 8192).unwrap();
    assert_eq!(env.read(&path).unwrap(), vec![0; 8192]);

    let mut expected = vec![0; 8192];
    for (offset, len, sync) in [
        (0, 100, false),
        (128, 4096, true),
        (64, 1, false),
        (8000, 500, true),
        (9000, 300_000, false),
    ] {
        let bytes = vec![len as u8 | 1; len];
        if expected.len() < offset + len {
            expected.resize(offset + len, 0);
        }
        expected[offset..offset + len].copy_from_slice(&bytes);
        log.submit(offset as u64, bytes.clone(), sync).unwrap();
        assert_eq!(log.reap().unwrap(), bytes);
        assert_eq!(env.read(&path).unwrap(), expected);
    }
    refused(env.read_start(&base.join("nothing"), 1), ErrorKind::NotFound);
    for len in [0, 1, 4136, expected.len(), expected.len() + 1, usize::MAX] {
        let start = &expected[..len.min(expected.len())];
        assert_eq!(env.read_start(&path, len as u64).unwrap(), start);
    }
    log.sync().unwrap();
    refused(env.read_device(&base.join("nothing"), 0, 1), ErrorKind::NotFound);
    for offset in [0, 1, 4095, 4096, 8192, expected.len() - 1, expected.len(), 1 << 40] {
        for len in [0, 1, 4096, 5000, expected.len(), usize::MAX] {
            let start = offset.min(expected.len());
            let part = &expected[start..start.saturating_add(len).min(expected.len())];
            let read = env.read_device(&path, offset as u64, len as u64).unwrap();
            assert!(read == part, "{len} bytes at {offset}");
        }
    }
    log.set_len(130).unwrap();
    expected.truncate(130);
    assert_eq!(env.read(&path).unwrap(), expected);

    // Dropped with a write in flight: the write is done.
    log.submit(130, b"last".to_vec(), true).unwrap();
    drop(log);
    expected.extend(b"last");
    assert_eq!(env.read(&path).unwrap(), expected);
    env.remove(&path).unwrap();
}

fn stages(env: &dyn Env, base: &Path) {
    let path = base.join("stage");
    refused(env.create_stage(&base.join("nowhere/stage"), b"head", 8192), ErrorKind::NotFound);
    let mut stage = env.create_stage(&path, b"head", 8192).unwrap();
    refused(env.create_stage(&path, b"head", 8192), ErrorKind::AlreadyExists);
    let mut expected = b"head".to_vec();
    expected.resize(8192, 0);
    assert_eq!(env.read(&path).unwrap(), expected);
    for (offset, len) in [(0, 1), (4, 100), (4000, 200), (8191, 1), (8192, 0), (100, 8092)] {
        let bytes = vec![len as u8 | 1; len];
        stage.write(offset as u64, &bytes).unwrap();
        expected[offset..offset + len].copy_from_slice(&bytes);
        // Whoever else looks at the file sees it at once.
        assert_eq!(env.read(&path).unwrap(), expected);
    }
    for (offset, len) in [(8192, 1), (8000, 193), (u64::MAX, 1), (u64::MAX, 8192)] {
        refused(stage.write(offset, &vec![0; len]), ErrorKind::InvalidInput);
    }
    assert_eq!(env.read(&path).unwrap(), expected);
    env.remove(&path).unwrap();
    stage.write(0, b"gone").unwrap();
}

/// Writes in whole sectors, at whole sectors; then others, which go another way.
fn direct_logs(env: &dyn Env, base: &Path) {
    let path = base.join("direct");
    let mut log = env.create_log(&path, 5 << 20).unwrap();
    let mut expected = vec![0; 5 << 20];
    let sector = super::LOG_SECTOR as usize;
    for (first, count, sync) in [(0, 1, true), (1, 64, false), (65, 600, true), (9, 1, false)] {
        let bytes: Vec<u8> = (0..count * sector).map(|at| (at / 7 + first) as u8).collect();
        expected[first * sector..][..bytes.len()].copy_from_slice(&bytes);
        log.submit((first * sector) as u64, bytes.clone(), sync).unwrap();
        assert_eq!(log.reap().unwrap(), bytes);
        assert!(env.read(&path).unwrap() == expected);
    }
    // What begins inside of its buffer, at a page boundary or elsewhere.
    for (count, sync) in [(1, true), (70, false), (70, true), (1100, false)] {
        for from in [0, 1, sector - 16, sector, 2 * sector + 16] {
            let bytes: Vec<u8> =
                (0..from + count * sector).map(|at| (at / 5 + from) as u8).collect();
            expected[2 * sector..][..count * sector].copy_from_slice(&bytes[from..]);
            log.submit_from(2 * sector as u64, bytes, from, sync).unwrap();
            log.reap().unwrap();
            assert!(env.read(&path).unwrap() == expected, "{count} from {from}");
        }
    }
    // A sync that is left to others.
    for (at, count) in [(0, 1), (1, 40), (0, 2), (0, 1)] {
        expected[at * sector..][..count * sector].fill(count as u8);
        let bytes = vec![count as u8; count * sector];
        if log.submit_aside((at * sector) as u64, bytes.clone()).unwrap() {
            assert!(env.read(&path).unwrap() == expected);
        }
        refused(log.submit(0, vec![1; sector], true), ErrorKind::InvalidInput);
        refused(log.submit_aside(0, vec![1; sector]), ErrorKind::InvalidInput);
        assert_eq!(log.reap().unwrap(), bytes);
        assert!(env.read(&path).unwrap() == expected);
        // What goes past the page cache meets nothing there.
        expected[..3 * sector].fill(5);
        log.submit(0, vec![5; 3 * sector], at > 0).unwrap();
        log.reap().unwrap();
        assert!(env.read(&path).unwrap() == expected);
    }
    drop(log);
    let mut log = env.open_log(&path).unwrap();
    for (offset, len) in [(0, sector), (70, 90), (2 * sector, sector), (sector, 3 * sector)] {
        expected[offset..offset + len].fill(9);
        log.submit(offset as u64, vec![9; len], true).unwrap();
        log.reap().unwrap();
        assert!(env.read(&path).unwrap() == expected);
    }
    log.sync().unwrap();
    refused(env.open_log(&base.join("nothing")), ErrorKind::NotFound);
    env.remove(&path).unwrap();
}

fn log_misuse(env: &dyn Env, base: &Path) {
    let path = base.join("misused");
    let mut log = env.create_log(&path, 0).unwrap();
    refused(log.reap(), ErrorKind::InvalidInput);
    log.submit(0, b"first".to_vec(), false).unwrap();
    refused(log.submit(0, b"second".to_vec(), false), ErrorKind::InvalidInput);
    refused(log.set_len(0), ErrorKind::InvalidInput);
    log.sync().unwrap();
    assert_eq!(log.reap().unwrap(), b"first");
    refused(log.reap(), ErrorKind::InvalidInput);
    log.submit(5, Vec::new(), true).unwrap();
    assert_eq!(log.reap().unwrap(), b"");
    assert_eq!(env.read(&path).unwrap(), b"first");
}

fn locks(env: &dyn Env, base: &Path) {
    let path = base.join("LOCK");
    let missing = env.lock(&base.join("nowhere/LOCK"));
    assert!(matches!(missing, Err(LockError::Io(e)) if e.kind() == ErrorKind::NotFound));

    let lock = env.lock(&path).unwrap();
    let pid = parse_pid(&env.read(&path).unwrap());
    assert!(pid.is_some());
    match env.lock(&path) {
        Err(LockError::Held { pid: holder }) => assert_eq!(holder, pid),
        Err(LockError::Io(error)) => panic!("{error}"),
        Ok(_) => panic!("locked twice"),
    }
    let other = env.lock(&base.join("LOCK2")).unwrap();
    drop(lock);
    env.lock(&path).unwrap();
    drop(other);
}
