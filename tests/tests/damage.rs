//! Corruption, the quick part: a sample of every kind of damage to the reference stores, and that
//! the harness sees what it is there to see.
//!
//! `cargo run --release -p orlop-tests -- damage` tries all of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use orlop_formats::ids::SYSTEM_DATABASE;
use orlop_formats::limits::MAX_FILE_NUMBER;
use orlop_tests::damage::anatomy::{Part, Sealed};
use orlop_tests::damage::mutant::Mutant;
use orlop_tests::damage::place::Place;
use orlop_tests::damage::plan::Kind;
use orlop_tests::damage::reference;
use orlop_tests::damage::sweep::{Bounds, Jobs, sweep};
use orlop_tests::damage::{self, Scope, Subject, Tried};
use orlop_tests::tally::{Limits, Tally};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Two sweeps at a time would take each other's memory for their own.
static SWEEPING: Mutex<()> = Mutex::new(());

#[test]
fn a_sample_of_every_damage_is_told_or_harmless() {
    let _alone = SWEEPING.lock();
    let scope = Scope { every: 211, ..Scope::default() };
    let tally = damage::run_scope(&Limits::of(Duration::from_secs(60), 7, 2), &scope);
    println!("{tally}");
    assert!(tally.failures().is_empty(), "{tally}");
    // A sample in which nothing is found, or nothing is harmless, was never damaged, or read.
    for outcome in ["detected_open", "detected_read", "harmless", "torn_tail", "verified"] {
        assert!(tally.count(outcome) > 20, "{outcome}\n{tally}");
    }
}

#[test]
fn the_closed_store_is_large_enough_and_all_hold_their_kinds() {
    let [closed, flushed, crashed] = Subject::all().unwrap();
    assert!(closed.set.bytes() >= 64 << 10, "{} bytes", closed.set.bytes());
    assert_eq!(closed.plan.count(Kind::Bits), closed.set.bytes() as u64 * 8);
    assert!(closed.plan.count(Kind::Bits) >= 524_288);
    assert_eq!(closed.plan.count(Kind::Cuts), closed.set.bytes() as u64);
    assert!(flushed.anatomy.segments.is_empty());
    for subject in [&closed, &flushed, &crashed] {
        assert!(subject.plan.count(Kind::Fields) > 3_000);
        assert!(subject.plan.count(Kind::Stale) > 10);
    }
}

fn subject(set: reference::Set) -> (Subject, Place) {
    let subject = Subject::new(set, &[]).unwrap();
    let place = Place::new(&[&subject.set]).unwrap();
    (subject, place)
}

fn tried(subject: &Subject, place: &Place, mutant: &str) -> Tried {
    let mutant: Mutant = mutant.parse().unwrap();
    subject.try_one(&mutant, place).unwrap()
}

/// What was written is made something else than what is read: the mutant that harms nothing is
/// then one that is read wrongly.
#[test]
fn a_wrong_answer_is_silent() {
    let harmless = "bit:LOCK:0:0";
    let (subject, place) = self::subject(reference::closed().unwrap());
    let tried = tried(&subject, &place, harmless);
    assert_eq!((tried.outcome, tried.found), ("harmless", false), "{tried:?}");

    type Lie = fn(&mut reference::Set);
    let lies: [Lie; 5] = [
        |set| *latest(set, "alpha").get_mut(&b"large"[..]).unwrap().last_mut().unwrap() ^= 1,
        |set| drop(latest(set, "alpha").insert(b"never written".to_vec(), Vec::new())),
        |set| drop(latest(set, "beta").pop_last()),
        |set| drop(set.states.last_mut().unwrap().remove("calm")),
        |set| drop(set.states.last_mut().unwrap().insert("gone".into(), Default::default())),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        let (mut subject, place) = self::subject(reference::closed().unwrap());
        lie(&mut subject.set);
        let tried = self::tried(&subject, &place, harmless);
        assert_eq!(tried.outcome, "silent", "lie {at}: {tried:?}");
        let mut tally = Tally::default();
        tried.count(&subject.command(&harmless.parse().unwrap()), &mut tally);
        assert_eq!((tally.count("silent"), tally.count("harmless")), (1, 0));
        let line = "orlop-tests damage --set closed --mutant bit:LOCK:0:0";
        assert!(tally.failures()[0].starts_with(line), "{tally}");
    }
}

fn latest<'a>(set: &'a mut reference::Set, name: &str) -> &'a mut orlop_tests::model::Contents {
    set.states.last_mut().unwrap().get_mut(name).unwrap()
}

/// The same loss is a torn tail of a killed store, and a silent one of a store that was closed; and
/// a prefix that is too short is silent in both.
#[test]
fn a_lost_tail_is_allowed_only_where_it_can_be_torn() {
    let (mut subject, place) = self::subject(reference::crashed().unwrap());
    let groups = &subject.anatomy.groups;
    let (last, file) = (groups.last().unwrap().clone(), groups.last().unwrap().file.clone());
    let vouched = groups.iter().rfind(|group| group.last() <= last.synced).unwrap().clone();
    let all = subject.set.commits();
    let hit = |at: usize| format!("bit:{file}:{at}:3");

    let tried = self::tried(&subject, &place, &hit(last.range.start + 50));
    assert_eq!((tried.outcome, tried.seen.commits), ("torn_tail", last.first as usize - 1));
    assert!(tried.seen.commits < all);
    let tried = self::tried(&subject, &place, &hit(vouched.range.start + 50));
    assert_eq!(tried.outcome, "detected_open", "{tried:?}");

    subject.set.closed = true;
    let tried = self::tried(&subject, &place, &hit(last.range.start + 50));
    assert_eq!(tried.outcome, "silent");
    subject.set.closed = false;
    // Somebody forgets one commit more than the damage explains.
    subject.set.states.remove(all - 5);
    let tried = self::tried(&subject, &place, &hit(last.range.start + 50));
    assert_eq!(tried.outcome, "silent", "{tried:?}");
}

#[test]
fn what_verify_does_not_find_is_counted() {
    let (subject, place) = self::subject(reference::closed().unwrap());
    let users = |part: &&Sealed| part.part == Part::Data && part.database != Some(SYSTEM_DATABASE);
    let block = subject.anatomy.parts.iter().find(users).unwrap();
    let mutant = format!("bit:{}:{}:1", block.file, block.range.start + 40);
    let mut tried = tried(&subject, &place, &mutant);
    assert_eq!((tried.outcome, tried.found), ("detected_read", true));
    assert!(!tried.verified.as_ref().unwrap().as_ref().unwrap().is_empty());
    let count = |tried: &Tried| {
        let mut tally = Tally::default();
        tried.count("command", &mut tally);
        tally.count("verify_missed")
    };
    assert_eq!(count(&tried), 0);
    tried.verified = Some(Ok(Vec::new()));
    assert_eq!(count(&tried), 1);
    // And the place is as it was: nothing is found in it, or in the other sets, without damage.
    assert_eq!(place.verify(&subject.set, &Vec::new()).unwrap(), Vec::<String>::new());
    for set in [reference::flushed(), reference::crashed()] {
        let (subject, place) = self::subject(set.unwrap());
        assert_eq!(place.verify(&subject.set, &Vec::new()).unwrap(), Vec::<String>::new());
    }
}

/// A byte that no checksum covers may not matter; of any other a flip that nobody notices is counted.
#[test]
fn a_flip_that_nobody_notices_needs_a_reason() {
    let (mut subject, place) = self::subject(reference::closed().unwrap());
    let tried = tried(&subject, &place, "bit:LOCK:0:0");
    assert!(tried.explained);
    // As if the lock file were a frame of the log, which nobody checks.
    let mut frame = subject.anatomy.groups[0].clone();
    (frame.file, frame.range) = ("LOCK".to_owned(), 0..6);
    subject.anatomy.groups.push(frame);
    let tried = self::tried(&subject, &place, "bit:LOCK:0:0");
    let mut tally = Tally::default();
    tried.count("command", &mut tally);
    assert_eq!((tried.outcome, tally.count("unchecked")), ("harmless", 1));
}

/// Numbers that were let through once: a table whose partition belonged to another database than the
/// manifest says, whose entries a compaction then put into the catalog; the last file number, which
/// an open for writing used up for a manifest that nobody could read.
#[test]
fn hostile_numbers_leave_the_store_as_it_was() {
    let cases = [
        (
            reference::flushed as fn() -> Result<reference::Set, String>,
            "partition: database id",
            0_u64,
        ),
        (reference::crashed, "edit: value of tag 2", MAX_FILE_NUMBER),
    ];
    for (set, name, value) in cases {
        let (subject, place) = self::subject(set().unwrap());
        let sites = subject.fields.sites().iter().enumerate();
        let sites: Vec<usize> = sites.filter(|(_, s)| s.name == name).map(|(at, _)| at).collect();
        let last = *sites.last().unwrap();
        let tried = tried(&subject, &place, &format!("field:{last}:{value}"));
        assert!(!tried.seen.broken && tried.seen.refused > 0, "{name}: {tried:?}");
        assert!(!tried.verified.unwrap().unwrap().is_empty(), "{name}");
    }
}

/// Jobs that misbehave, and some that do not.
struct Unruly;

impl Jobs for Unruly {
    type Desk = ();

    fn count(&self) -> u64 {
        40
    }

    fn command(&self, job: u64) -> String {
        format!("job {job}")
    }

    fn desk(&self) {}

    fn work(&self, job: u64, (): &mut (), tally: &mut Tally) {
        match job {
            3 => panic!("job three"),
            5 => std::thread::sleep(Duration::from_millis(300)),
            7 => loop {
                std::thread::sleep(Duration::from_millis(20));
            },
            9 => drop(std::hint::black_box(vec![1_u8; 80 << 20])),
            _ => tally.add("done", 1),
        }
    }
}

#[test]
fn panics_hangs_and_hunger_are_counted_and_stop_nothing() {
    let _alone = SWEEPING.lock();
    let start = Instant::now();
    let mut tally = Tally::default();
    let (slow, stuck) = (Duration::from_millis(150), Duration::from_millis(900));
    let bounds = Bounds { slow, stuck, memory: 64 << 20 };
    let begun = sweep(Unruly, &Limits::of(Duration::from_secs(30), 1, 2), bounds, &mut tally);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(begun, 40);
    let counts = ["done", "panics", "hangs", "big_allocations"].map(|name| tally.count(name));
    assert_eq!(counts, [36, 1, 2, 1], "{tally}");
    for job in ["job 3 # ", "job 5 # ", "job 7 # ", "job 9 # "] {
        assert!(tally.failures().iter().any(|line| line.starts_with(job)), "{job}: {tally}");
    }
}
