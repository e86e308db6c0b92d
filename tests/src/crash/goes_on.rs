//! A history that goes on whatever fails: what a program does that looks at no error, or that frees
//! some space and tries again.
//!
//! After every error the store must show what it showed before. A commit that failed on a store
//! that is not poisoned did not happen and never will have; on a poisoned one it may be there after
//! the next open, and until then nothing more is acknowledged.

use orlop::sim::SimEnv;
use orlop::{DatabaseOptions, Durability, Error, Snapshot, Store};

use super::workload::Workload;
use crate::history::{self, Change, Promise, Step};
use crate::model::{self, Model};
use crate::oracle::Wrong;

/// Opens that may fail in a row: every fault happens once.
const TRIES: usize = 4;

/// See the module.
struct GoesOn<'a> {
    env: &'a SimEnv,
    workload: &'a Workload,
    /// A failed sync drops from the page cache what only it had.
    forgets: bool,
    /// Index of the state that the open store shows.
    live: usize,
    promise: Promise,
    held: Option<(Snapshot, Model)>,
}

/// Runs a workload to its end, where the machine dies with the store open. `forgets`: a failed
/// sync drops from the page cache what only it had, so that a kill then takes what a power cut may.
///
/// # Errors
/// What is wrong, although something failed.
pub fn run(env: &SimEnv, workload: &Workload, forgets: bool) -> Result<Promise, Wrong> {
    let promise = Promise { states: vec![Model::new()], power: 0, kill: 0, begun: 0, error: None };
    let mut run = GoesOn { env, workload, forgets, live: 0, promise, held: None };
    let mut store = run.open()?;
    let mut outcome = Ok(());
    for step in workload.prelude.iter().chain(&history::one_by_one(&workload.steps)) {
        outcome = match step {
            Step::Reopen => run.reopen(&store).map(|new| store = new),
            step => run.step(&store, step),
        };
        if outcome.is_err() {
            break;
        }
    }
    env.cut_after(env.operations());
    outcome?;
    let mut promise = run.promise;
    if forgets {
        promise.kill = promise.power;
    }
    Ok(promise)
}

fn read<T>(what: String) -> Result<T, Wrong> {
    Err(Wrong::Read(what))
}

/// Reads everything. An error has been told, so that one may ask again; not a third time.
fn look(store: &Store) -> orlop::Result<Model> {
    model::contents(store).or_else(|_| model::contents(store))
}

impl GoesOn<'_> {
    fn open(&self) -> Result<Store, Wrong> {
        let mut tries = (0..TRIES).map(|_| history::open(self.env, self.workload.tree));
        let last = tries.find(|opened| matches!(opened, Ok(_) | Err(Error::Corrupt { .. })));
        match last {
            Some(Ok(store)) => Ok(store),
            Some(Err(error)) => Err(Wrong::Unopenable(error.to_string())),
            None => Err(Wrong::Unopenable(format!("an open failed {TRIES} times"))),
        }
    }

    fn acknowledge(&mut self, durability: Durability) {
        if durability >= Durability::Buffered {
            self.promise.kill = self.live;
        }
        if durability == Durability::Synced {
            self.promise.power = self.live;
        }
    }

    fn step(&mut self, store: &Store, step: &Step) -> Result<(), Wrong> {
        let poisoned = store.stats().poisoned.is_some();
        let done = match step {
            Step::Commit(changes, durability) => return self.commit(store, changes, *durability),
            Step::Load(name, changes, is_finished) => {
                return self.load(store, name, changes, *is_finished);
            }
            Step::Snapshot => return self.snapshot(store),
            Step::Background => return self.survived(store, store.step().map(drop)),
            Step::Sync => store.sync(),
            Step::Flush => store.flush(),
            Step::Compact => store.compact(),
            // Its caller has done that, or taken it apart.
            Step::Reopen | Step::Flight(..) | Step::Beside(..) => Ok(()),
        };
        if done.is_ok() {
            if poisoned {
                return Err(Wrong::FalseAck(format!("{step:?} of a poisoned store counts")));
            }
            self.acknowledge(Durability::Synced);
        }
        self.survived(store, done)
    }

    /// After an error the store shows what it showed before.
    fn survived(&self, store: &Store, done: orlop::Result<()>) -> Result<(), Wrong> {
        let Err(error) = done else { return Ok(()) };
        if matches!(error, Error::Corrupt { .. }) {
            return read(format!("a fault was taken for corruption: {error}"));
        }
        match look(store) {
            Ok(found) if found == self.promise.states[self.live] => Ok(()),
            Ok(_) => read(format!("the store shows something else after {error}")),
            Err(other) => read(format!("reading fails after {error}: {other}")),
        }
    }

    fn commit(
        &mut self,
        store: &Store,
        changes: &[Change],
        durability: Durability,
    ) -> Result<(), Wrong> {
        let poisoned = store.stats().poisoned.is_some();
        let mut next = self.promise.states[self.live].clone();
        let batch = match history::batch(store, changes, &mut next) {
            Ok(batch) if batch.is_empty() => return Ok(()),
            Ok(batch) => batch,
            Err(error) => return self.survived(store, Err(error)),
        };
        let done = batch.commit_with(durability);
        self.committed(store, next, durability, (done, poisoned))
    }

    fn load(
        &mut self,
        store: &Store,
        name: &str,
        changes: &[Change],
        is_finished: bool,
    ) -> Result<(), Wrong> {
        let is_poisoned = || store.stats().poisoned.is_some();
        let mut next = self.promise.states[self.live].clone();
        if !next.contains_key(name) {
            next.insert(name.to_owned(), model::Contents::new());
            let poisoned = is_poisoned();
            let created = store.create_database(name, DatabaseOptions::default()).map(drop);
            let failed = created.is_err();
            self.committed(store, next.clone(), Durability::Synced, (created, poisoned))?;
            if failed {
                return Ok(());
            }
        }
        let poisoned = is_poisoned();
        let loaded = history::load(store, name, changes, is_finished);
        if !is_finished {
            return self.survived(store, loaded);
        }
        changes.iter().for_each(|change| change.apply(&mut next));
        self.committed(store, next, Durability::Synced, (loaded, poisoned))
    }

    /// What is left of a commit to a store that was poisoned or was not.
    fn committed(
        &mut self,
        store: &Store,
        next: Model,
        durability: Durability,
        (done, poisoned): (orlop::Result<()>, bool),
    ) -> Result<(), Wrong> {
        match (&done, poisoned) {
            (Ok(()), true) => {
                return Err(Wrong::FalseAck("a commit to a poisoned store counts".to_owned()));
            }
            (Err(_), true) => return self.survived(store, done),
            (_, false) => {}
        }
        self.promise.states.truncate(self.live + 1);
        if done.is_ok() {
            self.promise.states.push(next);
            self.live += 1;
            self.acknowledge(durability);
        } else if store.stats().poisoned.is_some() {
            // It may have been written.
            self.promise.states.push(next);
        }
        self.promise.begun = self.promise.states.len() - 1;
        self.survived(store, done)
    }

    fn snapshot(&mut self, store: &Store) -> Result<(), Wrong> {
        let Some((snapshot, expected)) = self.held.take() else {
            self.held = Some((store.snapshot(), self.promise.states[self.live].clone()));
            return Ok(());
        };
        let again = || model::contents_of(store, &snapshot);
        match again().or_else(|_| again()) {
            Ok(found) if found == expected => Ok(()),
            Ok(_) => read("a snapshot has changed".to_owned()),
            Err(error) => read(format!("reading a snapshot fails: {error}")),
        }
    }

    /// What an open serves after a close is there to stay.
    fn reopen(&mut self, store: &Store) -> Result<Store, Wrong> {
        self.held = None;
        let poisoned = store.stats().poisoned.is_some();
        let closed = store.clone().close();
        if poisoned && closed.is_ok() {
            return Err(Wrong::FalseAck(
                "the close of a poisoned store reports nothing".to_owned(),
            ));
        }
        if closed.is_ok() {
            self.acknowledge(Durability::Synced);
        }
        let store = self.open()?;
        let found = look(&store).or_else(|error| read(format!("after a reopen: {error}")))?;
        let least = if self.forgets { self.promise.power } else { self.promise.kill };
        match self.promise.states.iter().rposition(|state| *state == found) {
            None => Err(Wrong::NoPrefix("after a reopen".to_owned())),
            Some(k) if k < least => {
                let what = format!("after a reopen {k} commits are there, {least} were promised");
                Err(Wrong::Lost(what))
            }
            Some(k) => {
                self.promise.states.truncate(k + 1);
                (self.live, self.promise.begun) = (k, k);
                self.acknowledge(Durability::Synced);
                Ok(store)
            }
        }
    }
}
