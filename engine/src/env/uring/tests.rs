//! The ring against the real kernel. Every test is skipped, with a printed line, where io_uring
//! is denied.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;

struct Bench {
    env: UringEnv,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Bench> {
        match UringEnv::new() {
            Ok(env) => Some(Bench { env, dir: tempfile::tempdir().unwrap() }),
            Err(denied) => {
                println!("skipped: {denied}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> UringLog {
        let file = PosixEnv::create_log_file(&self.path(name), 0).unwrap();
        UringLog::new(DirectFile::through_the_cache(file), Arc::clone(&self.env.ring))
    }

    /// A log that writes to a file which is none of ours.
    fn log_to(&self, path: &str) -> UringLog {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        UringLog::new(DirectFile::through_the_cache(file), Arc::clone(&self.env.ring))
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + seed * 7) as u8).collect()
}

#[test]
fn many_writes_leave_no_trace_in_the_ring() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log("log");
    let mut expected = Vec::new();
    for i in 0..500 {
        let bytes = pattern(1 + i * 13 % 700, i);
        log.submit(expected.len() as u64, bytes.clone(), i % 3 == 0).unwrap();
        assert_eq!(log.reap().unwrap(), bytes);
        expected.extend(bytes);
    }
    log.sync().unwrap();
    assert_eq!(fs::read(bench.path("log")).unwrap(), expected);
    assert!(bench.env.ring.lock().unwrap().expected.is_empty());
}

#[test]
fn large_writes_go_through_the_ring_with_and_without_sync() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log("log");
    let bytes = pattern(9_000_001, 1);
    for sync in [false, true] {
        log.submit(4096, bytes.clone(), sync).unwrap();
        assert!(matches!(log.in_flight, Some(Flight { route: Route::Ring { .. }, .. })));
        assert_eq!(log.reap().unwrap(), bytes);
        assert_eq!(fs::read(bench.path("log")).unwrap()[4096..], bytes);
    }
}

/// A write of one piece made its file give up going past the page cache.
#[test]
fn whole_sectors_stay_direct() {
    let Some(bench) = Bench::new() else { return };
    let file = PosixEnv::create_log_file(&bench.path("direct"), 8 << 20).unwrap();
    let file = DirectFile::of(file);
    if !file.is_direct() {
        println!("skipped: nothing gets past the page cache here");
        return;
    }
    let mut log = UringLog::new(file, Arc::clone(&bench.env.ring));
    let mut expected = Vec::new();
    for (n, len) in
        [4096, 8192, 65536, 69632, 1 << 20, (2 << 20) + 4096, 4096].into_iter().enumerate()
    {
        for sync in [false, true] {
            let bytes = pattern(len, n);
            log.submit(expected.len() as u64, bytes.clone(), sync).unwrap();
            assert_eq!(log.reap().unwrap(), bytes);
            assert!(log.file.is_direct(), "{len} {sync}");
            expected.extend(bytes);
        }
    }
    assert!(fs::read(bench.path("direct")).unwrap()[..expected.len()] == expected);
}

#[test]
fn more_logs_than_entries_can_have_writes_in_flight() {
    let Some(bench) = Bench::new() else { return };
    let mut logs: Vec<_> = (0..40).map(|i| bench.log(&i.to_string())).collect();
    for (i, log) in logs.iter_mut().enumerate() {
        log.submit(0, pattern(5000, i), true).unwrap();
    }
    // Reaped last first: completions of others wait until they are asked for.
    for (i, log) in logs.iter_mut().enumerate().rev() {
        assert_eq!(log.reap().unwrap(), pattern(5000, i));
        assert_eq!(fs::read(bench.path(&i.to_string())).unwrap(), pattern(5000, i));
    }
}

#[test]
fn threads_share_the_ring() {
    let Some(bench) = Bench::new() else { return };
    std::thread::scope(|scope| {
        for t in 0..4 {
            let mut log = bench.log(&t.to_string());
            scope.spawn(move || {
                for i in 0..50 {
                    log.submit(i * 100, pattern(100, t), true).unwrap();
                    log.reap().unwrap();
                }
            });
        }
    });
    for t in 0..4 {
        let file = fs::read(bench.path(&t.to_string())).unwrap();
        assert_eq!(file, pattern(100, t).repeat(50));
    }
}

#[test]
fn a_write_outlives_the_thread_that_submitted_it() {
    let Some(bench) = Bench::new() else { return };
    for i in 0..50 {
        // The kernel cancels what a thread had queued when the thread ends.
        let mut log = bench.log(&i.to_string());
        let mut log = std::thread::spawn(move || {
            log.submit(0, pattern(200_000, i), true).unwrap();
            log
        })
        .join()
        .unwrap();
        assert_eq!(log.reap().unwrap().len(), 200_000);
        assert_eq!(fs::read(bench.path(&i.to_string())).unwrap(), pattern(200_000, i));
    }
}

#[test]
fn dropping_the_log_waits_for_the_write_in_flight() {
    let Some(bench) = Bench::new() else { return };
    for i in 0..50 {
        let mut log = bench.log(&i.to_string());
        log.submit(0, pattern(100_000, i), true).unwrap();
        drop(log);
        assert!(bench.env.ring.lock().unwrap().expected.is_empty());
        assert_eq!(fs::read(bench.path(&i.to_string())).unwrap(), pattern(100_000, i));
    }
}

#[test]
fn the_ring_outlives_its_environment_while_a_log_uses_it() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log("log");
    log.submit(0, pattern(100, 0), true).unwrap();
    let Bench { env, dir: _dir } = bench;
    drop(env);
    log.reap().unwrap();
}

#[test]
fn a_full_device_is_an_error_and_the_write_error_wins() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log_to("/dev/full");
    for sync in [true, false] {
        log.submit(0, pattern(100_000, 0), sync).unwrap();
        assert_eq!(log.reap().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    // A plain small write tells it at reap too.
    log.submit(0, pattern(10, 0), false).unwrap();
    assert_eq!(log.reap().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_failed_sync_is_an_error() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log_to("/dev/null"); // takes every write and cannot be synced
    log.submit(0, pattern(10, 0), true).unwrap();
    assert_eq!(log.reap().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    log.submit(0, pattern(100_000, 0), false).unwrap();
    assert_eq!(log.reap().unwrap().len(), 100_000);
}

/// Settles a write of `0123456789` at 4 of which the kernel did what it says, for a fact.
fn settled(written: i32, synced: Option<(i32, bool)>) -> (io::Result<Vec<u8>>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = PosixEnv::create_log_file(&path, 0).unwrap();
    let bytes = b"0123456789".to_vec();
    file.write_all_at(&bytes[..written.max(0) as usize], 4).unwrap();
    let route = Route::Done(Ok(()));
    let file = Arc::new(DirectFile::through_the_cache(file));
    let (sync, pages) = (synced.is_some(), Pages::default());
    let flight = Flight { bytes, from: 0, offset: 4, sync, pages, file, route };
    (settle(flight, written, synced).map(|(bytes, _)| bytes), fs::read(&path).unwrap())
}

#[test]
fn what_the_kernel_left_undone_is_finished() {
    let canceled = -libc::ECANCELED;
    for (written, synced) in [
        (3, Some((canceled, true))),
        (3, None),
        (0, Some((canceled, true))),
        (canceled, Some((canceled, true))),
        (-libc::EINTR, None),
        (-libc::EAGAIN, Some((0, false))),
        (10, Some((canceled, true))),
        (10, Some((0, false))),
    ] {
        let (result, file) = settled(written, synced);
        assert_eq!(result.unwrap(), b"0123456789");
        assert_eq!(file, b"\0\0\0\x000123456789");
    }
}

#[test]
fn an_error_of_the_kernel_is_told() {
    for (written, synced, code) in [
        (-libc::EIO, Some((-libc::ECANCELED, true)), libc::EIO),
        (-libc::ENOSPC, None, libc::ENOSPC),
        (10, Some((-libc::EIO, true)), libc::EIO),
        (10, Some((-libc::EIO, false)), libc::EIO), // failed by itself: not tried again
    ] {
        let (result, _) = settled(written, synced);
        assert_eq!(result.unwrap_err().raw_os_error(), Some(code));
    }
}

#[test]
fn an_unknown_completion_stops_the_ring_but_loses_no_write() {
    let Some(bench) = Bench::new() else { return };
    let (mut log, mut other) = (bench.log("log"), bench.log("other"));
    log.submit(0, pattern(10, 0), true).unwrap();
    let stray = {
        let mut ring = bench.env.ring.lock().unwrap();
        // SAFETY: a no-op refers to no memory.
        let (stray, _) = unsafe { ring.start([Op::Nop]) }.unwrap();
        ring.expected.remove(&stray);
        while ring.broken.is_none() {
            ring.drain();
        }
        stray
    };
    assert_eq!(log.reap().unwrap(), pattern(10, 0));
    let error = log.submit(10, pattern(10, 0), true).unwrap_err();
    let why = format!("completion {stray} that nobody expects");
    assert!(error.to_string().contains(&why), "{error}");
    // Nothing was leaked for it, and small writes without the ring go on.
    assert_eq!(Arc::strong_count(&log.file), 1);
    other.submit(0, pattern(10, 0), false).unwrap();
    other.reap().unwrap();
}

#[test]
fn a_ring_that_cannot_be_entered_is_an_error_and_leaks_the_buffer() {
    let Some(bench) = Bench::new() else { return };
    let mut log = bench.log("log");
    log.submit(0, pattern(10, 0), true).unwrap();
    log.reap().unwrap();
    bench.env.ring.lock().unwrap().expected.insert(1_000_000, None);
    // A flight whose completion was never going to come and whose entry is forgotten.
    let file = Arc::clone(&log.file);
    let route = Route::Ring { first: 77, linked: true };
    log.in_flight = Some(Flight {
        bytes: vec![1],
        from: 0,
        offset: 0,
        sync: false,
        pages: Pages::default(),
        file,
        route,
    });
    let error = log.reap().unwrap_err();
    assert!(error.to_string().contains("entry 77 is not under way"), "{error}");
    assert_eq!(Arc::strong_count(&log.file), 2, "the flight must be leaked");
}
