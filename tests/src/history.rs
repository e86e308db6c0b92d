//! Histories: commits and maintenance in order, run against a store on a simulated disk, with
//! the model's state after each commit.
//!
//! After a crash the store must equal the state after one commit `k`: at least the last one whose
//! durability promised to survive that kind of crash, at most the last one that was begun.

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Env, Keep, SimEnv};
use orlop::{Background, Batch, Durability, Error, Store};

use crate::model::{self, Model};

/// Where the store lies on the simulated disk.
pub const DIR: &str = "/store";

/// One step of a history.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch: changes in order, and its durability.
    Commit(Vec<Change>, Durability),
    /// `Store::sync`.
    Sync,
    /// `Store::flush`.
    Flush,
    /// `Store::compact`.
    Compact,
    /// One piece of background work.
    Background,
    /// Close and open again.
    Reopen,
}

/// One change inside a batch.
#[derive(Debug, Clone)]
pub enum Change {
    /// A write to a database, by name.
    Put(String, Vec<u8>, Vec<u8>),
    /// A delete in a database.
    Delete(String, Vec<u8>),
    /// The drop of a database, if it exists.
    Drop(String),
    /// The removal of everything in a database.
    Clear(String),
    /// The exchange of two databases' contents.
    Swap(String, String),
}

impl Change {
    fn names(&self) -> Vec<&str> {
        match self {
            Change::Put(name, ..)
            | Change::Delete(name, _)
            | Change::Drop(name)
            | Change::Clear(name) => vec![name],
            Change::Swap(first, second) => vec![first, second],
        }
    }

    /// What the change does to the model.
    pub fn apply(&self, model: &mut Model) {
        match self {
            Change::Put(name, key, value) => {
                model.entry(name.clone()).or_default().insert(key.clone(), value.clone());
            }
            Change::Delete(name, key) => {
                // Any write creates its database.
                model.entry(name.clone()).or_default().remove(key);
            }
            Change::Drop(name) => {
                model.remove(name);
            }
            Change::Clear(name) => {
                if let Some(contents) = model.get_mut(name) {
                    contents.clear();
                }
            }
            Change::Swap(first, second) => {
                let (a, b) = (model.remove(first), model.remove(second));
                model.extend(a.map(|contents| (second.clone(), contents)));
                model.extend(b.map(|contents| (first.clone(), contents)));
            }
        }
    }
}

/// The sizes of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    /// Bytes of a memtable.
    pub memtable_size: usize,
    /// Bytes of an sstable.
    pub table_size: u64,
}

/// So small that a few dozen commits flush, compact and rotate everything.
pub const SMALL: Tree = Tree { memtable_size: 2 << 10, table_size: 2 << 10 };

/// Opens the store, with background work in the caller's hands.
///
/// # Errors
/// As [`Store::open`].
pub fn open(env: &SimEnv, tree: Tree) -> orlop::Result<Store> {
    open_on(Arc::new(env.clone()), tree)
}

/// The same on any environment.
///
/// # Errors
/// As [`Store::open`].
pub fn open_on(env: Arc<dyn Env>, tree: Tree) -> orlop::Result<Store> {
    Store::builder()
        .env(env)
        .background(Background::Manual)
        .memtable_size(tree.memtable_size)
        .table_size(tree.table_size)
        .level_base(2 * tree.table_size)
        .block_size(512)
        .open(Path::new(DIR))
}

/// The same store, read-only.
///
/// # Errors
/// As [`Store::open_read_only`].
pub fn open_read_only(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder().env(Arc::new(env.clone())).open_read_only(Path::new(DIR))
}

/// What a history has promised when it ends, by itself or by a cut.
#[derive(Debug, Clone)]
pub struct Promise {
    /// The model after 0, 1, 2, … commits.
    pub states: Vec<Model>,
    /// Commits that a power cut must not take.
    pub power: usize,
    /// Commits that a kill must not take.
    pub kill: usize,
    /// Commits that were begun.
    pub begun: usize,
    /// The error that ended the history early.
    pub error: Option<Error>,
}

impl Promise {
    fn new(start: Model) -> Self {
        Self { states: vec![start], power: 0, kill: 0, begun: 0, error: None }
    }

    fn latest(&self) -> Model {
        self.states.last().cloned().unwrap_or_default()
    }

    fn acknowledge(&mut self, durability: Durability) {
        if durability >= Durability::Buffered {
            self.kill = self.begun;
        }
        if durability == Durability::Synced {
            self.power = self.begun;
        }
    }
}

/// Runs a history until its end or its first error.
pub fn run(env: &SimEnv, tree: Tree, start: Model, steps: &[Step]) -> Promise {
    let mut promise = Promise::new(start);
    if let Err(error) = run_steps(env, tree, steps, &mut promise) {
        promise.error = Some(error);
    }
    promise
}

fn run_steps(env: &SimEnv, tree: Tree, steps: &[Step], promise: &mut Promise) -> orlop::Result<()> {
    let mut store = open(env, tree)?;
    for step in steps {
        match step {
            Step::Commit(changes, durability) => {
                commit(&store, changes, *durability, promise)?;
            }
            Step::Sync => {
                store.sync()?;
                promise.acknowledge(Durability::Synced);
            }
            Step::Flush => {
                store.flush()?;
                promise.acknowledge(Durability::Synced);
            }
            Step::Compact => {
                store.compact()?;
                promise.acknowledge(Durability::Synced);
            }
            Step::Background => {
                store.step()?;
            }
            Step::Reopen => {
                store.close()?;
                promise.acknowledge(Durability::Synced);
                store = open(env, tree)?;
            }
        }
    }
    // The machine dies with the store open: the close inside this drop reaches nothing any more.
    env.cut_after(env.operations());
    drop(store);
    Ok(())
}

/// A batch of changes; those that the store would refuse are left out: of databases that do not
/// exist, or that this batch has dropped.
///
/// # Errors
/// As the functions of [`Batch`].
pub fn batch(store: &Store, changes: &[Change], model: &mut Model) -> orlop::Result<Batch> {
    let mut batch = store.batch();
    let mut dropped: Vec<&str> = Vec::new();
    for change in changes {
        if change.names().iter().any(|name| dropped.contains(name)) {
            continue;
        }
        match change {
            Change::Put(name, key, value) => batch.put(&store.database(name)?, key, value)?,
            Change::Delete(name, key) => batch.delete(&store.database(name)?, key)?,
            Change::Drop(name) if model.contains_key(name) => {
                batch.drop_database(name)?;
                dropped.push(name);
            }
            Change::Clear(name) => batch.clear(&store.database(name)?)?,
            Change::Swap(a, b) if model.contains_key(a) || model.contains_key(b) => {
                batch.swap_databases(a, b)?;
            }
            Change::Drop(_) | Change::Swap(..) => continue,
        }
        change.apply(model);
    }
    Ok(batch)
}

fn commit(
    store: &Store,
    changes: &[Change],
    durability: Durability,
    promise: &mut Promise,
) -> orlop::Result<()> {
    let mut next = promise.latest();
    let batch = batch(store, changes, &mut next)?;
    if batch.is_empty() {
        return Ok(());
    }
    promise.begun += 1;
    promise.states.push(next);
    batch.commit_with(durability)?;
    promise.acknowledge(durability);
    Ok(())
}

/// Opens what a crash has left and finds the commit that it equals, between `least` and the last
/// one that was begun.
///
/// # Errors
/// One line that says what is wrong.
pub fn recovered(
    env: &SimEnv,
    tree: Tree,
    promise: &Promise,
    least: usize,
) -> Result<(Store, usize), String> {
    let read_only = match open_read_only(env) {
        Ok(store) => Some(model::contents(&store).map_err(|error| error.to_string())?),
        Err(Error::StoreMissing { .. }) if least == 0 => None,
        Err(error) => return Err(format!("read-only open after the crash: {error}")),
    };
    let store = open(env, tree).map_err(|error| format!("open after the crash: {error}"))?;
    let found = model::contents(&store).map_err(|error| error.to_string())?;
    if read_only.is_some_and(|seen| seen != found) {
        return Err("the read-only open saw something else than recovery".to_owned());
    }
    // States can repeat: the latest that fits is the one to compare with.
    let Some(k) = promise.states.iter().rposition(|state| *state == found) else {
        let shape: Vec<_> = found.iter().map(|(name, entries)| (name, entries.len())).collect();
        return Err(format!("the store equals no prefix of the history; it holds {shape:?}"));
    };
    if k < least {
        return Err(format!("only {k} commits are there, {least} were promised"));
    }
    model::check(&store, &found).map_err(|difference| difference.0)?;
    Ok((store, k))
}

/// Ways in which a disk can come out of a power cut.
pub fn keeps(env: &SimEnv, seed: u64) -> Vec<Keep> {
    let pending = env.pending();
    let mut keeps = vec![Keep::Nothing, Keep::Everything];
    keeps.extend((0..2).map(|round| Keep::Random(seed * 31 + round)));
    keeps.extend((1..pending).step_by(1 + pending / 4).map(Keep::Prefix));
    keeps
}
