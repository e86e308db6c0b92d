//! Power cuts and failing operations on the simulated disk, and the trace of a program.

use std::io::ErrorKind;

use super::tests::{contents, durable, outcomes, path, read, write};
use super::*;

/// A program that uses every operation once or more.
fn program(env: &SimEnv) -> io::Result<()> {
    env.create_dir(path("store"))?;
    env.sync_dir(path("/"))?;
    let _lock = env.lock(path("store/LOCK")).map_err(|error| match error {
        LockError::Io(error) => error,
        LockError::Held { .. } => panic!("nobody else is here"),
    })?;
    let mut log = env.create_log(path("store/1.log"), 1024)?;
    env.sync_dir(path("store"))?;
    log.submit(0, vec![1; 600], true)?;
    log.reap()?;
    let mut table = write(env, "store/2.tmp", &[2; 700])?;
    table.set_len(650)?;
    table.sync()?;
    env.rename(path("store/2.tmp"), path("store/2.sst"))?;
    env.link(path("store/2.sst"), path("store/3.sst"))?;
    env.sync_dir(path("store"))?;
    env.remove(path("store/2.sst"))?;
    log.submit(600, vec![3; 10], false)?;
    log.reap()?;
    log.sync()?;
    log.set_len(610)
}

#[test]
fn the_power_can_be_cut_after_every_operation() {
    let whole = SimEnv::new(1);
    program(&whole).unwrap();
    assert!(!whole.is_cut());
    let trace = whole.trace();
    assert_eq!(trace.len() as u64, whole.operations());
    assert_eq!(whole.operations(), 19);
    for n in 0..whole.operations() {
        let env = SimEnv::new(1);
        env.cut_after(n);
        let error = program(&env).unwrap_err();
        assert_eq!(error.to_string(), "simulated power cut");
        assert!(env.is_cut());
        assert_eq!(env.operations(), n);
        assert_eq!(env.trace()[..], trace[..n as usize]);
        let before = contents(&env.crash(Keep::Everything));
        assert!(program(&env).is_err(), "the power does not come back");
        assert_eq!(contents(&env.crash(Keep::Everything)), before);
        // And the protocol of the program holds: what was reaped with a sync is there.
        let synced = env.trace().iter().any(|line| line == "reap 1.log");
        for keep in [Keep::Nothing, Keep::Everything, Keep::Prefix(1), Keep::Random(n)] {
            let log = read(&env.crash(keep), "store/1.log");
            assert!(!synced || log.is_some_and(|log| log.starts_with(&[1; 600])), "{n} {keep:?}");
        }
    }
}

#[test]
fn the_trace_tells_every_operation_and_is_always_the_same() {
    let (one, two) = (SimEnv::new(1), SimEnv::new(1));
    program(&one).unwrap();
    program(&two).unwrap();
    assert_eq!(one.trace(), two.trace());
    assert_eq!(one.random(), two.random());
    assert_ne!(one.random(), SimEnv::new(2).random());
    let expected = "create-dir store|sync-dir /|lock LOCK|create 1.log|sync-dir store|\
        submit 1.log 0+600 sync|reap 1.log sync|create 2.tmp|write 2.tmp 0+700|set-len 2.tmp 650|\
        sync 2.tmp|rename 2.tmp 2.sst|link 2.sst 3.sst|sync-dir store|remove 2.sst|\
        submit 1.log 600+10|reap 1.log|sync 1.log|set-len 1.log 610";
    assert_eq!(one.trace().join("|"), expected);
}

#[test]
fn every_operation_can_fail_once() {
    let whole = SimEnv::new(1);
    program(&whole).unwrap();
    for n in 1..=whole.operations() {
        let env = SimEnv::new(1);
        let (kind, expected) = match n % 2 {
            0 => (FaultKind::StorageFull, ErrorKind::StorageFull),
            _ => (FaultKind::Io, ErrorKind::Other),
        };
        env.fail_at(n, kind);
        assert_eq!(program(&env).unwrap_err().kind(), expected);
        assert_eq!(env.operations(), n);
        assert_eq!(
            env.trace()[n as usize - 1],
            format!("{} failed", whole.trace()[n as usize - 1])
        );
        env.sync_dir(path("/")).unwrap(); // once
    }
}

#[test]
fn a_failed_operation_does_nothing_and_a_failed_write_a_half() {
    let env = SimEnv::new(1);
    env.fail_at(1, FaultKind::StorageFull);
    assert!(env.create(path("f")).is_err());
    let mut file = env.create(path("f")).unwrap();
    env.fail_at(3, FaultKind::StorageFull);
    assert!(file.write_at(0, b"no").is_err());
    assert_eq!(read(&env, "f").unwrap(), b"n");
    env.fail_at(4, FaultKind::Io);
    assert!(env.sync_dir(path("/")).is_err());
    // The next sync says yes, and proves nothing of the names that were there.
    env.sync_dir(path("/")).unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "f"), None);
}

#[test]
fn after_a_failed_sync_a_second_one_proves_nothing() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"old");
    let mut file = env.open_write(path("f")).unwrap();
    file.write_at(0, b"new").unwrap();
    env.fail_at(env.operations() + 1, FaultKind::Io);
    assert!(file.sync().is_err());
    assert_eq!(read(&env, "f").unwrap(), b"new");
    assert_eq!(outcomes(&env, "f").len(), 2, "either may be on the device");
    file.sync().unwrap();
    assert_eq!(read(&env.crash(Keep::Everything), "f").unwrap(), b"old");
    // Nor does it after the process was killed; but writing again helps.
    let next = env.kill();
    let mut file = next.open_write(path("f")).unwrap();
    file.sync().unwrap();
    assert_eq!(read(&next.crash(Keep::Everything), "f").unwrap(), b"old");
    file.write_at(0, b"new").unwrap();
    file.sync().unwrap();
    assert_eq!(read(&next.crash(Keep::Nothing), "f").unwrap(), b"new");
}

#[test]
fn a_failed_reap_leaves_its_write_to_chance() {
    let env = SimEnv::new(1);
    let mut log = env.create_log(path("log"), 3).unwrap();
    log.sync().unwrap();
    env.sync_dir(path("/")).unwrap();
    log.submit(0, b"new".to_vec(), true).unwrap();
    env.fail_at(env.operations() + 1, FaultKind::Io);
    assert_eq!(log.reap().unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(log.reap().unwrap_err().kind(), ErrorKind::InvalidInput, "nothing in flight");
    assert_eq!(outcomes(&env, "log").len(), 2);
    log.sync().unwrap();
    assert_eq!(read(&env.crash(Keep::Everything), "log").unwrap(), [0; 3]);
}
