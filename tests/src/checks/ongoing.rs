//! A history that goes on whatever fails: what a program does that frees some space and tries
//! again, or that does not look at all.
//!
//! After every error the store must show what it showed before. A commit that failed on a store
//! that is not poisoned did not happen and never will have; on a poisoned one it may be there after
//! the next open, and until then nothing more is acknowledged.

use std::sync::Arc;

use orlop::env::Env;
use orlop::{Durability, Error, Store};

use crate::history::{self, Change, Promise, Step, Tree};
use crate::model::{self, Model};

/// Opens that may fail in a row: every fault happens once.
const TRIES: usize = 4;

/// See the module.
pub(super) struct Ongoing {
    env: Arc<dyn Env>,
    tree: Tree,
    /// Index of the state that the open store shows.
    live: usize,
    promise: Promise,
}

/// Runs a history to its end. `ends` is called before the store is dropped: the machine dies then.
pub(super) fn run(
    env: Arc<dyn Env>,
    tree: Tree,
    steps: &[Step],
    ends: impl FnOnce(),
) -> Result<Promise, String> {
    let promise = Promise { states: vec![Model::new()], power: 0, kill: 0, begun: 0, error: None };
    let mut ongoing = Ongoing { env, tree, live: 0, promise };
    let mut store = ongoing.open()?;
    let mut outcome = Ok(());
    for (at, step) in steps.iter().enumerate() {
        outcome = match step {
            Step::Reopen => ongoing.reopen(&store).map(|new| store = new),
            step => ongoing.step(&store, step),
        }
        .map_err(|found| format!("step {at}: {found}"));
        if outcome.is_err() {
            break;
        }
    }
    ends();
    outcome.map(|()| ongoing.promise)
}

impl Ongoing {
    fn open(&self) -> Result<Store, String> {
        let mut tries = (0..TRIES).map(|_| history::open_on(Arc::clone(&self.env), self.tree));
        let last = tries.find(|opened| match opened {
            Ok(_) | Err(Error::Corrupt { .. }) => true,
            Err(_) => false,
        });
        match last {
            Some(Ok(store)) => Ok(store),
            Some(Err(error)) => Err(format!("open: {error}")),
            None => Err(format!("an open failed {TRIES} times")),
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

    fn step(&mut self, store: &Store, step: &Step) -> Result<(), String> {
        let done = match step {
            Step::Commit(changes, durability) => return self.commit(store, changes, *durability),
            Step::Sync => store.sync(),
            Step::Flush => store.flush(),
            Step::Compact => store.compact(),
            Step::Background => return self.survived(store, store.step().map(drop)),
            // Neither is among what this check plays.
            Step::Reopen | Step::Snapshot => return Ok(()),
        };
        if done.is_ok() {
            self.acknowledge(Durability::Synced);
        }
        self.survived(store, done)
    }

    /// After an error the store shows what it showed before.
    fn survived(&self, store: &Store, done: orlop::Result<()>) -> Result<(), String> {
        let Err(error) = done else { return Ok(()) };
        if matches!(error, Error::Corrupt { .. }) {
            return Err(format!("a fault was taken for corruption: {error}"));
        }
        match model::contents(store) {
            Ok(found) if found == self.promise.states[self.live] => Ok(()),
            Ok(_) => Err(format!("the store shows something else after {error}")),
            Err(other) => Err(format!("reading fails after {error}: {other}")),
        }
    }

    fn commit(
        &mut self,
        store: &Store,
        changes: &[Change],
        durability: Durability,
    ) -> Result<(), String> {
        let poisoned = store.stats().poisoned.is_some();
        let mut next = self.promise.states[self.live].clone();
        let batch = history::batch(store, changes, &mut next).map_err(|error| error.to_string())?;
        if batch.is_empty() {
            return Ok(());
        }
        let done = batch.commit_with(durability);
        match (&done, poisoned) {
            (Ok(()), true) => return Err("a commit to a poisoned store counts".to_owned()),
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

    /// What an open serves after a close is there to stay.
    fn reopen(&mut self, store: &Store) -> Result<Store, String> {
        let poisoned = store.stats().poisoned.is_some();
        let closed = store.clone().close();
        if poisoned && closed.is_ok() {
            return Err("the close of a poisoned store reports nothing".to_owned());
        }
        if closed.is_ok() {
            self.acknowledge(Durability::Synced);
        }
        let store = self.open()?;
        let found = model::contents(&store).map_err(|error| format!("after a reopen: {error}"))?;
        let k = self.promise.states.iter().rposition(|state| *state == found);
        let k = k.ok_or("after a reopen the store equals no prefix of the history")?;
        if k < self.promise.kill {
            let kill = self.promise.kill;
            return Err(format!("after a reopen {k} commits are there, {kill} were promised"));
        }
        self.promise.states.truncate(k + 1);
        (self.live, self.promise.begun) = (k, k);
        self.acknowledge(Durability::Synced);
        Ok(store)
    }
}
