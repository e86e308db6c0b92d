//! Commits that nobody waits for: submitted, and asked for later.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use orlop::env::{FaultKind, SimEnv};
use orlop::{Background, Database, Durability, Error, Pending, Store};

const LONG: Duration = Duration::from_secs(20);
const ALL: [Durability; 3] = [Durability::Memory, Durability::Buffered, Durability::Synced];

fn submit(store: &Store, database: &Database, key: u64, durability: Durability) -> Pending {
    let mut batch = store.batch();
    batch.put(database, key.to_be_bytes(), key.to_string()).unwrap();
    batch.submit_with(durability)
}

fn on_disk() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Counts its calls, and wakes a thread.
struct Parked {
    calls: AtomicU64,
    thread: thread::Thread,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<F: Future>(future: F) -> (F::Output, u64) {
    let parked = Arc::new(Parked { calls: AtomicU64::new(0), thread: thread::current() });
    let waker = Waker::from(Arc::clone(&parked));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (output, parked.calls.load(Ordering::SeqCst));
        }
        thread::park_timeout(LONG);
    }
}

#[test]
fn a_submitted_commit_is_there_when_its_result_is() {
    let (_dir, store) = on_disk();
    let database = store.database("d").unwrap();
    for (key, durability) in (0..).zip(ALL) {
        submit(&store, &database, key, durability).wait().unwrap();
        assert_eq!(database.get(key.to_be_bytes()).unwrap().unwrap(), key.to_string().as_bytes());
    }
    let mut asked = submit(&store, &database, 9, Durability::Synced);
    let begun = Instant::now();
    while asked.try_wait().is_none() && begun.elapsed() < LONG {
        thread::yield_now();
    }
    asked.try_wait().unwrap().unwrap();
    assert!(database.contains(9_u64.to_be_bytes()).unwrap());
    assert!(store.stats().durable_seqno >= store.stats().visible_seqno);
}

#[test]
fn many_that_are_on_their_way_share_syncs_and_keep_their_order() {
    let (_dir, store) = on_disk();
    let database = store.database("d").unwrap();
    let before = store.stats().log_syncs;
    let pending: Vec<Pending> = (0..500_u64)
        .map(|n| {
            let mut batch = store.batch();
            batch.put(&database, "last", n.to_string()).unwrap();
            batch.put(&database, n.to_be_bytes(), "").unwrap();
            batch.submit_with(Durability::Synced)
        })
        .collect();
    for commit in pending {
        commit.wait().unwrap();
    }
    assert_eq!(database.get("last").unwrap().unwrap(), "499".as_bytes());
    assert_eq!(database.iter().count(), 501);
    let syncs = store.stats().log_syncs - before;
    assert!(syncs < 400, "{syncs} syncs of 500 commits");
}

#[test]
fn a_future_is_woken_once_and_only_when_it_is_done() {
    let (_dir, store) = on_disk();
    let database = store.database("new").unwrap();
    for key in 0..50 {
        let (result, calls) = block_on(submit(&store, &database, key, Durability::Synced));
        result.unwrap();
        assert!(calls <= 1, "{calls} wake-ups");
    }
    assert_eq!(database.iter().count(), 50);
}

#[test]
fn a_close_waits_for_commits_whose_handles_are_gone() {
    let (dir, store) = on_disk();
    let database = store.database("d").unwrap();
    for key in 0..300 {
        drop(submit(&store, &database, key, ALL[key as usize % 3]));
    }
    store.close().unwrap();
    assert!(matches!(database.put("k", "v"), Err(Error::Closed)));
    drop(database);
    let store = Store::open(dir.path().join("store")).unwrap();
    assert_eq!(store.database("d").unwrap().iter().count(), 300);
}

#[test]
fn what_comes_behind_a_close_is_refused() {
    for durability in ALL {
        let store = Store::in_memory().unwrap();
        let mut batch = store.batch();
        batch.put(&store.database("d").unwrap(), "k", "v").unwrap();
        store.close().unwrap();
        assert!(matches!(batch.submit_with(durability).wait(), Err(Error::Closed)));
    }
}

/// The last handle of the store goes inside of a waker, on the thread that led.
#[test]
fn a_store_may_be_closed_by_a_waker() {
    struct Last(std::sync::Mutex<Option<(Store, Database)>>, mpsc::Sender<()>);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
            self.1.send(()).unwrap();
        }
    }
    let (dir, store) = on_disk();
    let path = dir.path().join("store");
    let database = store.database("d").unwrap();
    // Commits that keep the thread busy while the waker is set.
    let others: Vec<Pending> =
        (100..200).map(|key| submit(&store, &database, key, Durability::Synced)).collect();
    let mut pending = Box::pin(submit(&store, &database, 1, Durability::Synced));
    let (sender, done) = mpsc::channel();
    let last = Arc::new(Last(std::sync::Mutex::new(Some((store, database))), sender));
    let waker = Waker::from(Arc::clone(&last));
    let is_ready = pending.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    drop((others, pending));
    if is_ready {
        drop(last.0.lock().unwrap().take());
    } else {
        done.recv_timeout(LONG).unwrap();
    }
    // The lock goes with the close, which may be on its way still.
    let begun = Instant::now();
    let store = loop {
        match Store::open(&path) {
            Ok(store) => break store,
            Err(Error::Locked { .. }) if begun.elapsed() < LONG => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(store.database("d").unwrap().iter().count(), 101);
}

#[test]
fn every_handle_hears_of_a_failure() {
    let env = SimEnv::new(5);
    let store = Store::builder().env(Arc::new(env.clone())).open(Path::new("/store")).unwrap();
    let database = store.database("d").unwrap();
    database.put("first", "v").unwrap();
    let now = env.operations();
    (now + 2..now + 7).for_each(|operation| env.fail_at(operation, FaultKind::Io));
    let pending: Vec<Pending> =
        (0..64).map(|key| submit(&store, &database, key, Durability::Synced)).collect();
    let results: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    assert!(results.iter().any(Result::is_err), "a failed sync went unheard");
    let first = results.iter().position(Result::is_err).unwrap();
    assert!(results[first..].iter().all(Result::is_err), "behind a failure nothing goes on");
    for (key, result) in (0_u64..).zip(&results) {
        assert_eq!(database.contains(key.to_be_bytes()).unwrap(), result.is_ok(), "commit {key}");
    }
}

#[test]
fn without_threads_a_commit_is_done_at_once_and_survives_what_it_promises() {
    for durability in ALL {
        let env = SimEnv::new(7);
        let store = Store::builder()
            .env(Arc::new(env.clone()))
            .background(Background::Manual)
            .open(Path::new("/store"))
            .unwrap();
        let database = store.database("d").unwrap();
        let mut pending = submit(&store, &database, 1, durability);
        pending.try_wait().unwrap().unwrap();
        let image = match durability {
            Durability::Synced => env.crash(orlop::env::Keep::Nothing),
            _ => env.kill(),
        };
        let after = Store::builder()
            .env(Arc::new(image))
            .background(Background::Manual)
            .open(Path::new("/store"))
            .unwrap();
        let found = after.database("d").unwrap().contains(1_u64.to_be_bytes()).unwrap();
        assert_eq!(found, durability != Durability::Memory, "{durability:?}");
    }
}

/// Large ones, small ones, and of every durability.
#[test]
fn what_one_thread_submits_keeps_its_order() {
    let (_dir, store) = on_disk();
    let database = store.database("d").unwrap();
    for round in 0..20_u64 {
        let pending: Vec<Pending> = (0..30_u64)
            .map(|n| {
                let mut batch = store.batch();
                let len = if n % 3 == 0 { 700 << 10 } else { 10 };
                batch.put(&database, "filling", vec![0; len]).unwrap();
                batch.put(&database, "last", (round * 30 + n).to_be_bytes()).unwrap();
                batch.submit_with(ALL[(n * n + round) as usize % 3])
            })
            .collect();
        pending.into_iter().for_each(|commit| commit.wait().unwrap());
        let last = database.get("last").unwrap().unwrap();
        assert_eq!(*last, (round * 30 + 29).to_be_bytes(), "round {round}");
    }
}

/// Whoever has the result may open the store again when its own handles are gone.
#[test]
fn a_result_leaves_nobody_behind_who_keeps_the_store_open() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..200_u64 {
        let store = Store::open(dir.path().join("store")).unwrap();
        let database = store.database("d").unwrap();
        submit(&store, &database, n, Durability::Synced).wait().unwrap();
        assert_eq!(database.iter().count() as u64, n + 1);
    }
}

/// The same where the handles are gone before: the store is closed then, since nobody else could say when it is.
#[test]
fn the_result_of_a_store_without_handles_comes_behind_its_close() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..100_u64 {
        let store = Store::open(dir.path().join("store")).unwrap();
        let database = store.database("d").unwrap();
        let pending: Vec<Pending> =
            (0..3).map(|of| submit(&store, &database, 3 * n + of, Durability::Synced)).collect();
        drop((store, database));
        pending.into_iter().for_each(|commit| commit.wait().unwrap());
    }
    let store = Store::open(dir.path().join("store")).unwrap();
    assert_eq!(store.database("d").unwrap().iter().count(), 300);
}

/// Who submits inside of a waker is on the thread that others wait for. What was not to be synced was done there at
/// once, behind whatever had come meanwhile, which only this thread could have done.
#[test]
fn what_a_waker_submits_stands_in_line() {
    struct Goes(Store, Database, mpsc::Sender<(bool, Pending)>);
    impl Wake for Goes {
        fn wake(self: Arc<Self>) {
            let mut pending = submit(&self.0, &self.1, 5_000, Durability::Buffered);
            let _ = self.2.send((pending.try_wait().is_some(), pending));
        }
    }
    let (_dir, store) = on_disk();
    let database = store.database("d").unwrap();
    let (sender, submitted) = mpsc::channel();
    let goes = Waker::from(Arc::new(Goes(store.clone(), database.clone(), sender)));
    let mut woken = 0;
    for key in 0..200 {
        let mut pending = Box::pin(submit(&store, &database, key, Durability::Synced));
        if pending.as_mut().poll(&mut Context::from_waker(&goes)).is_ready() {
            continue;
        }
        let (was_done, behind) = submitted.recv_timeout(LONG).unwrap();
        assert!(!was_done, "it was done by the thread that others wait for");
        behind.wait().unwrap();
        woken += 1;
    }
    assert!(woken > 0);
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a waker of others");
        }
    }
    let (_dir, store) = on_disk();
    let database = store.database("d").unwrap();
    let bad = Waker::from(Arc::new(Bad));
    for key in 0..50 {
        let mut pending = Box::pin(submit(&store, &database, key, Durability::Synced));
        let _ = pending.as_mut().poll(&mut Context::from_waker(&bad));
        let next = submit(&store, &database, 1_000 + key, Durability::Synced);
        next.wait().unwrap();
        assert!(matches!(block_on(pending).0, Ok(())));
    }
    assert_eq!(database.iter().count(), 100);
    store.close().unwrap();
}
