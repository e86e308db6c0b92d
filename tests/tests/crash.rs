//! Stores are crashed at every moment of many workloads, in many ways each; whatever is left is
//! one prefix of the history that keeps every promise.
//!
//! More of it: `cargo run --release -p orlop-tests -- crash --seconds 600`. A failure names the
//! command that reproduces it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use orlop::Store;
use orlop::env::SimEnv;
use orlop::sim::strategies;
use orlop_tests::crash::enumerate::{self, Depth, Seen};
use orlop_tests::crash::part::Part;
use orlop_tests::crash::workload::{MACROS, Workload};
use orlop_tests::history::{self, Change, SMALL, Step};
use orlop_tests::model::Model;
use orlop_tests::oracle;
use orlop_tests::tally::Tally;
use proptest::prelude::*;

/// Threads that share workloads: always the same ones, so that the same is examined every time. Which of them counts an
/// image that both come to is left to chance.
const THREADS: usize = 2;

/// Crashes workloads everywhere; gives what was counted.
fn crash_all(workloads: impl IntoIterator<Item = Workload>, depth: Depth) -> Tally {
    let (seen, mut tally) = (Seen::default(), Tally::default());
    let workloads: Vec<Workload> = workloads.into_iter().collect();
    let crash = |first: usize| {
        let mut tally = Tally::default();
        for workload in workloads.iter().skip(first).step_by(THREADS) {
            let found = enumerate::workload(workload, depth, Part::WHOLE, &seen, &mut tally);
            if let Some(found) = found {
                panic!("{}: {found}", found.count());
            }
        }
        tally
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|at| {
                scope.spawn({
                    let crash = &crash;
                    move || crash(at)
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| {
            tally.merge(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
    });
    println!("{tally}");
    tally
}

#[test]
fn scripts_keep_every_promise_through_every_crash() {
    let tally = crash_all(Workload::scripts(), Depth { nested: 60, sequel: 4 });
    assert!(tally.count("boundaries") > 300, "the scripts are too short to mean anything");
    assert!(tally.count("nested") > 100, "recoveries must be cut too");
    assert!(tally.count("images_during_flush") > 0 && tally.count("images_during_compact") > 0);
}

#[test]
fn every_short_sequence_keeps_every_promise_through_every_crash() {
    let count = MACROS.len() as u64;
    let ones = (0..count).filter_map(|n| Workload::short(1, n));
    let twos = (0..count * count).filter_map(|n| Workload::short(2, n));
    let tally = crash_all(ones.chain(twos), Depth { nested: 1000, sequel: 20 });
    assert_eq!(tally.count("workloads"), count + count * count);
}

#[test]
fn random_workloads_keep_every_promise_through_every_crash() {
    let workloads = (1..13).map(Workload::random);
    crash_all(workloads, Depth { nested: 200, sequel: 10 });
}

#[test]
fn the_same_workload_does_the_same_operations() {
    let trace = || {
        let env = SimEnv::new(7);
        history::run(&env, SMALL, Model::new(), &Workload::random(5).steps);
        (env.trace(), env.fingerprint())
    };
    let first = trace();
    assert_eq!(first, trace());
    assert_eq!(first, beside_a_reader_that_sleeps(trace), "what others do makes no difference");
}

/// Runs something while a thread is nearly always inside a point read of another store.
fn beside_a_reader_that_sleeps<T>(run: impl FnOnce() -> T) -> T {
    let store = Store::builder().in_memory().unwrap();
    let others = store.database("others").unwrap();
    others.put("key", "value").unwrap();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                others.get_with("key", |_| thread::sleep(Duration::from_millis(20))).unwrap();
            }
        });
        let result = run();
        is_done.store(true, Ordering::Release);
        result
    })
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned);
    prop_oneof![
        12 => (name(), strategies::key(), strategies::value())
            .prop_map(|(name, key, value)| Change::Put(name, key, value)),
        2 => (name(), strategies::key()).prop_map(|(name, key)| Change::Delete(name, key)),
        2 => (name(), strategies::key(), strategies::key()).prop_map(|(name, a, b)| {
            let (start, end) = (a.clone().min(b.clone()), a.max(b));
            let end = (start < end).then_some(end);
            Change::DeleteRange(name, start, end)
        }),
        1 => name().prop_map(Change::Drop),
        1 => name().prop_map(Change::Clear),
        1 => Just(Change::Swap("a".to_owned(), "b".to_owned())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (prop::collection::vec(change(), 1..4), strategies::durability())
            .prop_map(|(changes, durability)| Step::Commit(changes, durability)),
        1 => Just(Step::Sync),
        1 => Just(Step::Flush),
        1 => Just(Step::Compact),
        2 => Just(Step::Background),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
    ))]

    /// Any history, crashed anywhere, any number of times; a failure shrinks.
    #[test]
    fn any_history_crashed_anywhere_is_a_prefix(
        rounds in prop::collection::vec(
            (prop::collection::vec(step(), 1..25), strategies::crash()), 1..4),
        seed in 0_u64..1000,
    ) {
        let mut disk = SimEnv::new(seed);
        let mut start = Model::new();
        for (steps, crash) in rounds {
            let recording = history::record(&disk, SMALL, start, &[], &steps);
            prop_assert!(recording.error.is_none(), "{:?}", recording.error);
            let moments = disk.moments();
            let (crash, moment, image) = crash.of(&moments).unwrap();
            let promise = recording.history.promise_at(moment.mark);
            let states = recording.history.states();
            let least = crash.death.least(promise);
            let outcome = oracle::examine(&image, SMALL, &states[..=promise.begun], least);
            let (store, k) = match outcome {
                Ok(found) => found,
                Err(wrong) => return Err(TestCaseError::fail(format!("{crash}: {wrong}"))),
            };
            image.cut_after(image.operations());
            drop(store);
            start = states[k].clone();
            disk = image.kill();
        }
    }
}
