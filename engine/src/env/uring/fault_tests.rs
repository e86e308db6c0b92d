//! What a log over a ring does when the kernel interrupts, refuses, falls short, comes late, or
//! talks nonsense: the right result or a clear error, never a false success, never a hang, never a
//! buffer given up while the kernel may use it.
//!
//! Whether a sync was made good by a plain system call shows on `/dev/null`: it takes every write,
//! and a plain sync of it fails with `EINVAL`.

use std::fs;
use std::path::PathBuf;

use super::ring::Ring;
use super::scripted::{Enter, Fate, Scripted};
use super::*;

type ScriptedLog = UringLog<Scripted>;

struct Bench {
    ring: Arc<Mutex<Ring<Scripted>>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let ring = Ring::over(Scripted::default()).unwrap();
        // In memory, where there is such a thing: thousands of syncs.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Bench { ring: Arc::new(Mutex::new(ring)), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self, name: &str) -> ScriptedLog {
        let file = PosixEnv::create_log_file(&self.path(name), 0).unwrap();
        UringLog::new(DirectFile::through_the_cache(file), Arc::clone(&self.ring))
    }

    fn null(&self) -> ScriptedLog {
        let file = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        UringLog::new(DirectFile::through_the_cache(file), Arc::clone(&self.ring))
    }

    fn script<R>(&self, change: impl FnOnce(&mut Scripted) -> R) -> R {
        change(&mut self.ring.lock().unwrap().kernel)
    }

    fn contents(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn under_way(&self) -> usize {
        self.ring.lock().unwrap().expected.len()
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 37 + seed * 11) as u8).collect()
}

/// One synced write of `bytes` at 0.
fn write(log: &mut ScriptedLog, bytes: &[u8]) -> io::Result<Vec<u8>> {
    log.submit(0, bytes.to_vec(), true)?;
    log.reap()
}

#[test]
fn interrupted_and_refused_enters_are_repeated() {
    for error in [libc::EINTR, libc::EAGAIN, libc::EBUSY] {
        for (times, late) in [(1, 0), (1, 1), (30, 0), (30, 1), (900, 0)] {
            let bench = Bench::new();
            bench.script(|script| {
                // At the submit, or at the wait behind it.
                script.enters.extend(vec![Enter::Takes(2); late]);
                script.enters.extend(vec![Enter::Fails(error); times]);
            });
            let mut log = bench.log("log");
            let bytes = pattern(300, times);
            assert_eq!(write(&mut log, &bytes).unwrap(), bytes, "{error} {times} {late}");
            assert_eq!(bench.contents("log"), bytes);
            assert_eq!(bench.script(|script| script.syncs.len()), 1);
            assert_eq!(bench.under_way(), 0);
        }
    }
}

#[test]
fn a_kernel_that_never_takes_or_never_answers_is_an_error_and_no_hang() {
    let nothing = [Enter::Fails(libc::EAGAIN), Enter::Fails(libc::EBUSY), Enter::Takes(0)];
    for (late, enter) in nothing.into_iter().map(|e| (0, e)).chain([(1, nothing[0])]) {
        let bench = Bench::new();
        bench.script(|script| {
            script.enters.extend(vec![Enter::Takes(2); late]);
            script.enters.extend(vec![enter; 5_000]);
        });
        let mut log = bench.log("log");
        let error = write(&mut log, &pattern(300, 1)).unwrap_err();
        assert!(error.to_string().contains("achieved nothing"), "{enter:?}: {error}");
        // The kernel may have it still: the flight is leaked, and nothing new starts.
        assert_eq!(Arc::strong_count(&log.file), 2, "{enter:?}");
        let again = log.submit(0, pattern(300, 1), true).unwrap_err();
        assert!(again.to_string().contains("the io_uring is broken"), "{again}");
        assert!(log.in_flight.is_none());
    }
}

#[test]
fn an_enter_that_fails_for_good_leaks_what_the_kernel_may_use() {
    for error in [libc::EPERM, libc::EBADF, libc::ENXIO, libc::EIO, libc::ENOMEM] {
        for late in [0, 1] {
            let bench = Bench::new();
            bench.script(|script| {
                script.enters.extend(vec![Enter::Takes(2); late]);
                script.enters.push_back(Enter::Fails(error));
            });
            let mut log = bench.log("log");
            let bytes = pattern(70_000, late);
            let told = write(&mut log, &bytes).unwrap_err().to_string();
            let system = io::Error::from_raw_os_error(error).to_string();
            assert!(told.contains(&system), "{told}");
            assert_eq!(Arc::strong_count(&log.file), 2);
            drop(log);
            // What was taken is done long after its log is gone: out of the same bytes.
            let churn: Vec<_> = (0..100).map(|seed| pattern(70_000, 100 + seed)).collect();
            bench.script(Scripted::complete_all);
            drop(churn);
            let expected = if late == 1 { bytes } else { Vec::new() };
            assert_eq!(bench.contents("log"), expected);
        }
    }
}

#[test]
fn a_full_submission_queue_is_an_error() {
    let bench = Bench::new();
    bench.script(|script| script.full = true);
    let mut log = bench.log("log");
    let error = write(&mut log, &pattern(10, 1)).unwrap_err();
    assert!(error.to_string().contains("the submission queue is full"), "{error}");
    assert_eq!(bench.contents("log"), b"");
}

#[test]
fn a_link_that_the_kernel_took_in_two_parts_is_void() {
    // In the ring the sync succeeds, on its own; it counts for nothing and is done again.
    for takes in [vec![1], vec![1, 0, 0], vec![0, 1], vec![0, 0, 1, 0, 1]] {
        let enters = || takes.iter().map(|most| Enter::Takes(*most));
        let bench = Bench::new();
        bench.script(|script| script.enters.extend(enters()));
        let error = write(&mut bench.null(), &pattern(10, 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{takes:?}: the second sync");
        assert_eq!(bench.script(|script| script.syncs.len()), 1);

        let bench = Bench::new();
        bench.script(|script| script.enters.extend(enters()));
        let mut log = bench.log("log");
        assert_eq!(write(&mut log, &pattern(10, 1)).unwrap(), pattern(10, 1));
        assert_eq!(bench.contents("log"), pattern(10, 1));
    }
    // Taken at once, the sync in the ring is the only one.
    let bench = Bench::new();
    assert!(write(&mut bench.null(), &pattern(10, 1)).is_ok());
}

#[test]
fn short_writes_are_finished_and_then_synced() {
    let bytes = pattern(100, 3);
    for len in [0, 1, 50, 99] {
        let bench = Bench::new();
        bench.script(|script| script.fates.push_back(Fate::Short(len)));
        let mut log = bench.log("log");
        assert_eq!(write(&mut log, &bytes).unwrap(), bytes);
        assert_eq!(bench.contents("log"), bytes);
        // The ring gave its sync up; the plain one is the one that counts.
        assert_eq!(bench.script(|script| script.syncs.len()), 0);
        bench.script(|script| script.fates.push_back(Fate::Short(len)));
        let error = write(&mut bench.null(), &bytes).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{len}: the plain sync");
    }
    // Without a sync there is nothing to make good but the bytes.
    let bench = Bench::new();
    let bytes = pattern(SMALL + 1, 4);
    bench.script(|script| script.fates.push_back(Fate::Short(0)));
    let mut log = bench.log("log");
    log.submit(7, bytes.clone(), false).unwrap();
    assert_eq!(log.reap().unwrap(), bytes);
    assert_eq!(bench.contents("log")[7..], bytes);
}

#[test]
fn a_canceled_sync_is_made_good_and_a_failed_one_is_not_repeated() {
    for given_up in [libc::ECANCELED, libc::EINTR, libc::EAGAIN] {
        let bench = Bench::new();
        bench.script(|script| script.fates.extend([Fate::Done, Fate::Fails(given_up)]));
        let error = write(&mut bench.null(), &pattern(10, 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{given_up}: the plain sync");
    }
    for failed in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EBADF] {
        let bench = Bench::new();
        bench.script(|script| script.fates.extend([Fate::Done, Fate::Fails(failed)]));
        // A plain sync of this file would succeed, and prove nothing.
        let error = write(&mut bench.log("log"), &pattern(10, 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(failed));
        // The ring itself is well.
        assert!(write(&mut bench.log("next"), &pattern(10, 1)).is_ok());
    }
}

#[test]
fn a_failed_write_is_told_and_one_that_was_not_begun_is_done() {
    for failed in [libc::EIO, libc::ENOSPC, libc::EFBIG] {
        let bench = Bench::new();
        bench.script(|script| script.fates.push_back(Fate::Fails(failed)));
        let error = write(&mut bench.log("log"), &pattern(10, 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(failed));
        assert_eq!(bench.under_way(), 0, "its sync was waited for, too");
    }
    for given_up in [libc::ECANCELED, libc::EINTR, libc::EAGAIN] {
        let bench = Bench::new();
        bench.script(|script| script.fates.push_back(Fate::Fails(given_up)));
        let mut log = bench.log("log");
        assert_eq!(write(&mut log, &pattern(10, 1)).unwrap(), pattern(10, 1));
        assert_eq!(bench.contents("log"), pattern(10, 1));
    }
}

/// All orders of `len` things.
fn orders(len: usize) -> Vec<Vec<usize>> {
    if len == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(len - 1);
    let with = |first: usize| {
        shorter.iter().map(move |rest| [&[first], rest.as_slice()].concat()).collect::<Vec<_>>()
    };
    (0..len).flat_map(with).collect()
}

#[test]
fn completions_in_any_order_find_their_write() {
    // Positions among what is left: every order of six entries, where chains allow it.
    for (turn, order) in orders(6).into_iter().enumerate() {
        for one_by_one in [false, true] {
            let bench = Bench::new();
            bench.script(|script| {
                script.order = order.iter().copied().collect();
                script.one_by_one = one_by_one;
                // One of the three falls short.
                script.fates.extend(vec![Fate::Done; 2 * (turn % 3)]);
                script.fates.push_back(Fate::Short(5));
            });
            let names = ["0", "1", "2"];
            let mut logs = names.map(|name| bench.log(name));
            for (at, log) in logs.iter_mut().enumerate() {
                log.submit(0, pattern(40 + at, at), true).unwrap();
            }
            for step in 0..3 {
                let at = (turn + step) % 3;
                assert_eq!(logs[at].reap().unwrap(), pattern(40 + at, at), "{order:?}");
                assert_eq!(bench.contents(names[at]), pattern(40 + at, at), "{order:?}");
            }
            assert_eq!(bench.script(|script| script.syncs.len()), 2);
            assert_eq!(bench.under_way(), 0);
        }
    }
}

#[test]
fn a_wait_that_wakes_for_nothing_goes_on_waiting() {
    let bench = Bench::new();
    bench.script(|script| {
        script.enters.push_back(Enter::Takes(2));
        script.enters.extend(vec![Enter::Takes(0); 3_000]);
    });
    let mut log = bench.log("log");
    assert_eq!(write(&mut log, &pattern(10, 1)).unwrap(), pattern(10, 1));
}

#[test]
fn a_completion_that_nobody_expects_ends_the_ring_but_not_what_is_under_way() {
    // Out of nowhere; of an entry that was answered already; of one that is still to come.
    for (n, result) in [(900, 0), (0, 0), (1, -libc::EIO), (5, 10)] {
        let bench = Bench::new();
        let mut done = bench.log("done");
        write(&mut done, &pattern(10, 1)).unwrap(); // entries 1 and 2
        let mut log = bench.log("log");
        log.submit(0, pattern(10, 2), true).unwrap(); // entries 3 and 4
        bench.script(|script| script.invent(n, result));
        assert_eq!(log.reap().unwrap(), pattern(10, 2), "{n}");
        let error = log.submit(10, pattern(10, 3), true).unwrap_err();
        assert!(error.to_string().contains(&format!("completion {n} that nobody")), "{error}");
        assert_eq!(bench.contents("log"), pattern(10, 2));
        assert_eq!(Arc::strong_count(&log.file), 1, "nothing was leaked");
    }
}

#[test]
fn a_second_answer_to_one_entry_does_not_replace_the_first() {
    let bench = Bench::new();
    let mut log = bench.log("log");
    bench.script(|script| script.fates.extend([Fate::Done, Fate::Fails(libc::EIO)]));
    log.submit(0, pattern(10, 2), true).unwrap();
    bench.script(|script| {
        script.complete_all();
        script.invent(2, 0); // the sync that failed, now a success
    });
    assert_eq!(log.reap().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert!(bench.ring.lock().unwrap().usable().is_err());
}

#[test]
fn a_log_that_is_dropped_waits_or_leaks_but_frees_nothing_in_flight() {
    let bench = Bench::new();
    let mut log = bench.log("log");
    log.submit(0, pattern(80_000, 1), true).unwrap();
    drop(log);
    assert_eq!(bench.contents("log"), pattern(80_000, 1), "waited for");
    let mut log = bench.log("late");
    log.submit(0, pattern(80_000, 2), true).unwrap();
    bench.script(|script| script.waits_fail = Some(libc::EIO));
    drop(log);
    bench.script(Scripted::complete_all);
    assert_eq!(bench.contents("late"), pattern(80_000, 2), "out of the leaked buffer");
}

#[test]
fn a_ring_that_takes_no_entry_is_denied_at_once() {
    for error in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
        let mut kernel = Scripted::default();
        kernel.enters.push_back(Enter::Fails(error));
        let denied = Ring::over(kernel).unwrap_err();
        assert!(denied.to_string().contains(&io::Error::from_raw_os_error(error).to_string()));
        let mut kernel = Scripted::default();
        kernel.fates.push_back(Fate::Fails(error));
        let denied = Ring::over(kernel).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(error));
    }
    let memlock = denied(&io::Error::from_raw_os_error(libc::ENOMEM)).to_string();
    assert!(memlock.contains("ulimit -l"), "{memlock}");
    let seccomp = denied(&io::Error::from_raw_os_error(libc::EPERM)).to_string();
    assert!(seccomp.contains("io_uring_disabled"), "{seccomp}");
}

#[test]
fn a_kernel_without_an_opcode_is_refused_by_its_name() {
    use super::ring::needs;
    use io_uring::opcode::{Fsync, Write};

    assert!(needs(|_| true).is_ok());
    for (missing, name) in [(Write::CODE, "WRITE"), (Fsync::CODE, "FSYNC")] {
        let error = needs(|code| code != missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains(name), "{error}");
        // Such an error is what a store tells that goes without a ring.
        let env = crate::env::PosixEnv::instead_of_uring(&error);
        assert!(crate::env::Env::log_path(&env).fallback.unwrap().contains(name));
    }
}
