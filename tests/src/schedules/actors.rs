//! The threads of a run.

use std::sync::Arc;

use orlop::env::SimEnv;
use orlop::{Background, Batch, Database, Durability, Error, Store};
use shuttle::thread;

use super::afterlife::{
    MARK, MARKS, TWINS, check, count_key, counts, database, dress, entry_key, number_of, open,
    open_beside, read, survey, value,
};
use super::journal::{Broken, Check, Journal, broken};
use super::plan::{Commit, End, Extra, Look, Plan, Upkeep};
use crate::tally::Tally;

/// How often a commit that has failed is tried.
const TRIES: usize = 3;

/// How often a closer asks whether it is time.
const PATIENCE: usize = 200;

/// What a run has done.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) trace: Vec<String>,
    acknowledged: u64,
    observations: u64,
    flushes: u64,
    compactions: u64,
    stalls: u64,
    cut: bool,
    faults: u64,
    poisoned: bool,
    closed_beside: bool,
    nested: bool,
}

impl Facts {
    pub(super) fn count(&self, tally: &mut Tally) {
        tally.add("schedule_commits", self.acknowledged);
        tally.add("schedule_observations", self.observations);
        tally.add("schedule_flushes", self.flushes);
        tally.add("schedule_compactions", self.compactions);
        tally.add("schedule_stalls", self.stalls);
        tally.add("schedules_cut", u64::from(self.cut));
        tally.add("schedule_faults", self.faults);
        tally.add("schedules_poisoned", u64::from(self.poisoned));
        tally.add("schedules_closed_beside", u64::from(self.closed_beside));
        tally.add("schedules_nested", u64::from(self.nested));
    }
}

/// What every thread of a run has.
#[derive(Clone)]
struct Scene {
    env: SimEnv,
    plan: Arc<Plan>,
    journal: Arc<Journal>,
    store: Store,
}

/// The run of one seed; to be called as the first thread of a schedule.
pub(super) fn story(seed: u64) -> Result<Facts, Broken> {
    let plan = Arc::new(Plan::of(seed));
    let env = SimEnv::new(seed);
    let opened = open(&env, Background::Thread, plan.memtable_size);
    let store = opened.or_else(|error| broken("unopenable", error.to_string()))?;
    dress(&store).or_else(|error| broken("wrong_errors", error.to_string()))?;
    let opened_at = env.operations();
    for (after, kind) in &plan.faults {
        env.fail_at(opened_at + after, *kind);
    }
    if let Some(after) = plan.cut {
        env.cut_after(opened_at + after);
    }
    let journal = Arc::new(Journal::default());
    let scene =
        Scene { env: env.clone(), plan: Arc::clone(&plan), journal: Arc::clone(&journal), store };
    let mut facts = play(&scene)?;
    end(&env, scene)?;
    facts.cut = plan.cut.is_some() && env.is_cut();
    let least = match plan.end {
        End::Kill if !facts.cut => Durability::Buffered,
        _ => Durability::Synced,
    };
    let image = if least == Durability::Buffered { env.kill() } else { env.crash(plan.keep) };
    check(&image, &plan, &journal, least, plan.nested)?;
    facts.trace = env.trace();
    facts.faults = facts.trace.iter().filter(|line| line.ends_with(" failed")).count() as u64;
    facts.acknowledged = journal.acknowledged();
    facts.observations = journal.observations();
    facts.nested = plan.nested.is_some();
    Ok(facts)
}

/// All threads, until the last one has ended.
fn play(scene: &Scene) -> Check<Facts> {
    let mut threads = Vec::new();
    let plan = &scene.plan;
    for writer in 0..plan.writers.len() {
        let scene = scene.clone();
        threads.push(thread::spawn(move || write(&scene, writer)));
    }
    for reader in 0..plan.readers.len() {
        let scene = scene.clone();
        threads.push(thread::spawn(move || look(&scene, reader)));
    }
    let upkeep = scene.clone();
    threads.push(thread::spawn(move || maintain(&upkeep)));
    if let End::Beside(commits) = plan.end {
        let closer = scene.clone();
        threads.push(thread::spawn(move || close_beside(&closer, commits)));
    }
    for thread in threads {
        match thread.join() {
            Ok(outcome) => outcome?,
            Err(_) => return broken("panics", "a thread panicked"),
        }
    }
    poisoned_for_all(scene)?;
    let stats = scene.store.stats();
    Ok(Facts {
        flushes: stats.flushes,
        compactions: stats.compactions,
        stalls: stats.write_stalls,
        poisoned: stats.poisoned.is_some(),
        closed_beside: plan.closes_early(),
        ..Facts::default()
    })
}

/// A store that says it is poisoned tells everybody.
fn poisoned_for_all(scene: &Scene) -> Check {
    if scene.store.stats().poisoned.is_none() {
        return Ok(());
    }
    for durability in [Durability::Memory, Durability::Synced] {
        let twin = database(&scene.store, TWINS[0])?;
        let put = twin.put_with(count_key(0), b"never", durability);
        if !matches!(put, Err(Error::Poisoned { .. } | Error::Closed)) {
            return broken("false_acks", format!("a poisoned store answers a put with {put:?}"));
        }
    }
    Ok(())
}

fn end(env: &SimEnv, scene: Scene) -> Check {
    let Scene { plan, journal, store, .. } = scene;
    match plan.end {
        End::Cut | End::Kill => env.cut_after(env.operations()),
        End::Close => close(&plan, &journal, store.clone())?,
        End::Beside(_) | End::Drop => {}
    }
    drop(store);
    Ok(())
}

fn close(plan: &Plan, journal: &Journal, store: Store) -> Check {
    let outcome = store.close();
    match outcome {
        // Nobody was acknowledged in between: commits end before the last sync begins.
        Ok(()) => journal.synced(journal.now()),
        Err(error) if plan.may_fail() => journal.ended(&error),
        Err(error) => return broken("wrong_errors", format!("a close: {error}")),
    }
    journal.ended(&Error::Closed);
    Ok(())
}

/// An error of a write or of upkeep that the plan accounts for.
fn expect(scene: &Scene, error: &Error) -> Check {
    scene.journal.ended(error);
    let expected = match error {
        Error::Closed => scene.plan.closes_early(),
        Error::Io { .. } | Error::DiskFull { .. } | Error::Poisoned { .. } => scene.plan.may_fail(),
        _ => false,
    };
    if expected { Ok(()) } else { broken("wrong_errors", format!("{error}")) }
}

/// Handles of the twins and of the marks, as a thread keeps them: bound at their first use.
fn handles(scene: &Scene) -> Check<[Database; 3]> {
    let handle = |name| database(&scene.store, name);
    Ok([handle(TWINS[0])?, handle(TWINS[1])?, handle(MARKS)?])
}

fn write(scene: &Scene, writer: usize) -> Check {
    let handles = handles(scene)?;
    for (at, commit) in scene.plan.writers[writer].iter().enumerate() {
        if !commit_one(scene, &handles, writer, at as u64 + 1, *commit)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Commits until it is acknowledged; false when that will not come.
fn commit_one(
    scene: &Scene,
    handles: &[Database; 3],
    writer: usize,
    number: u64,
    commit: Commit,
) -> Check<bool> {
    for _ in 0..TRIES {
        let built = batch(&scene.store, handles, writer, number, commit.extra);
        let batch = built.or_else(|error| broken("wrong_errors", error.to_string()))?;
        let attempt = scene.journal.begin(writer, number, commit.durability);
        let outcome = match number % 2 {
            0 => batch.submit_with(commit.durability).wait(),
            _ => batch.commit_with(commit.durability),
        };
        match outcome {
            Ok(()) => {
                scene.journal.acknowledge(attempt)?;
                return Ok(true);
            }
            Err(error) => expect(scene, &error)?,
        }
    }
    Ok(false)
}

fn batch(
    store: &Store,
    [one, other, marks]: &[Database; 3],
    writer: usize,
    number: u64,
    extra: Extra,
) -> orlop::Result<Batch> {
    let value = value(writer, number);
    let mut batch = store.batch();
    match extra {
        Extra::Swap => batch.swap_databases(TWINS[0], TWINS[1])?,
        Extra::Mark => {
            batch.clear(marks)?;
            batch.put(marks, MARK, &value)?;
        }
        Extra::Nothing => {}
    }
    for twin in [one, other] {
        batch.put(twin, count_key(writer), &value)?;
        batch.put(twin, entry_key(writer, number), &value)?;
    }
    Ok(batch)
}

fn look(scene: &Scene, reader: usize) -> Check {
    let may_close = scene.plan.closes_early();
    let handles = handles(scene)?;
    for look in &scene.plan.readers[reader] {
        match look {
            Look::Snapshot => look_at_snapshot(scene, may_close)?,
            Look::Gets => look_up(scene, &handles, may_close)?,
            Look::Cursors => look_along(scene, &handles, may_close)?,
            Look::Beside => look_beside(scene)?,
        }
    }
    Ok(())
}

/// Ranges without a snapshot: each sees one moment.
fn look_along(scene: &Scene, handles: &[Database; 3], may_close: bool) -> Check {
    let [one, other, marks] = handles;
    for (place, twin) in [one, other].into_iter().enumerate() {
        let begun = scene.journal.now();
        let entries: orlop::Result<Vec<_>> = twin.iter().collect();
        let Some(entries) = read(entries, may_close)? else { return Ok(()) };
        scene.journal.saw(counts(&scene.plan, place, &entries)?, begun)?;
    }
    let begun = scene.journal.now();
    let marks: orlop::Result<Vec<_>> = marks.range(MARK..).rev().collect();
    let Some(marks) = read(marks, may_close)? else { return Ok(()) };
    let before = scene.journal.acknowledged_before(begun).into_iter();
    let expected = before.map(|(writer, number)| scene.plan.last_mark(writer, number));
    let least = usize::from(expected.flatten().next().is_some());
    if !(least..=1).contains(&marks.len()) {
        let marks = marks.len();
        return broken("half", format!("{marks} marks in a range"));
    }
    Ok(())
}

/// A snapshot stands still, and sees as many commits as its number says.
fn look_at_snapshot(scene: &Scene, may_close: bool) -> Check {
    let begun = scene.journal.now();
    let snapshot = scene.store.snapshot();
    let Some(first) = survey(&scene.plan, &scene.store, &snapshot, may_close)? else {
        return Ok(());
    };
    scene.journal.saw(first.clone(), begun)?;
    // The first number is that of the badges.
    if first.iter().sum::<u64>() + 1 != snapshot.seqno() {
        return broken("half", format!("a snapshot at {} sees {first:?}", snapshot.seqno()));
    }
    let Some(second) = survey(&scene.plan, &scene.store, &snapshot, may_close)? else {
        return Ok(());
    };
    if first != second {
        return broken("unstable", format!("a snapshot saw {first:?}, then {second:?}"));
    }
    Ok(())
}

/// A store that is opened for reading beside the live one sees what the kernel has been given.
fn look_beside(scene: &Scene) -> Check {
    let begun = scene.journal.now();
    let beside = match open_beside(&scene.env) {
        Ok(beside) => beside,
        // A schedule can take a file away in every one of its tries.
        Err(Error::Io { .. }) => return Ok(()),
        Err(error) => return broken("unopenable", format!("read-only: {error}")),
    };
    let found = survey(&scene.plan, &beside, &beside.snapshot(), false)?.unwrap_or_default();
    scene.journal.left(&found, Durability::Buffered, begun)
}

/// Point reads: each later one sees at least as much, also in the other twin.
fn look_up(scene: &Scene, handles: &[Database; 3], may_close: bool) -> Check {
    let [one, other, _] = handles;
    for writer in 0..scene.plan.writers.len() {
        let mut before = 0;
        for twin in [one, other, one] {
            let begun = scene.journal.now();
            let found =
                twin.get_with(count_key(writer), |value| number_of(writer, value).unwrap_or(0));
            let Some(found) = read(found, may_close)? else { return Ok(()) };
            let found = found.unwrap_or(0);
            if found < before {
                return broken("unstable", format!("writer {writer}: {found} after {before}"));
            }
            scene.journal.saw_count(writer, found, begun)?;
            before = found;
            let entry = twin.contains(entry_key(writer, found));
            let Some(entry) = read(entry, may_close)? else { return Ok(()) };
            if found > 0 && !entry {
                return broken("half", format!("writer {writer}: count {found} without its entry"));
            }
        }
    }
    Ok(())
}

fn maintain(scene: &Scene) -> Check {
    for upkeep in &scene.plan.upkeep {
        let begun = scene.journal.now();
        let outcome = match upkeep {
            Upkeep::Flush => scene.store.flush(),
            Upkeep::Compact => scene.store.compact(),
            Upkeep::Settle => scene.store.settle(),
            Upkeep::Sync => scene.store.sync(),
            Upkeep::Stats => {
                let least = scene.journal.acknowledged();
                let stats = scene.store.stats();
                if stats.visible_seqno < least {
                    return broken("lost", format!("{least} were acknowledged: {stats:?}"));
                }
                continue;
            }
        };
        match outcome {
            Ok(()) => scene.journal.synced(begun),
            Err(error) => expect(scene, &error)?,
        }
    }
    Ok(())
}

fn close_beside(scene: &Scene, commits: u64) -> Check {
    for _ in 0..PATIENCE {
        if scene.journal.acknowledged() >= commits {
            break;
        }
        thread::yield_now();
    }
    close(&scene.plan, &scene.journal, scene.store.clone())
}
