//! Histories: commits and maintenance in order, run against a store on a simulated disk, with
//! the model's state after each commit.
//!
//! After a crash the store must equal the state after one commit `k`: at least the last one whose
//! durability promised to survive that kind of crash, at most the last one that was begun.

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Env, SimEnv};
use orlop::sim::History;
use orlop::{Background, DatabaseOptions, Durability, Error, Progress, Snapshot, Store};

pub use crate::changes::{Change, batch, load};
use crate::held::Gate;
use crate::model::{self, Contents, Model};

/// The time of every simulated disk, unless it is told another: in milliseconds since 1970.
pub const START: u64 = 1_700_000_000_000;

/// Where the store lies on the simulated disk.
pub const DIR: &str = "/store";

/// One step of a history.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch: changes in order, and its durability.
    Commit(Vec<Change>, Durability),
    /// A synced batch, and others that are committed while it is on its way to the device.
    Flight(Vec<Change>, Vec<(Vec<Change>, Durability)>),
    /// A large batch to databases that exist, and others that are committed while it is written: they come
    /// first.
    Beside(Vec<Change>, Durability, Vec<(Vec<Change>, Durability)>),
    /// A bulk load of changes into a database, which are writes and deletes of keys. One that is not finished is left where a
    /// checkpoint has brought it.
    Load(String, Vec<Change>, bool),
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
    /// A snapshot is taken; if one is held, it is compared with what it must still show, and let
    /// go instead. Closing lets go as well.
    Snapshot,
}

/// The same steps for somebody who does one thing after the other.
pub fn one_by_one(steps: &[Step]) -> Vec<Step> {
    let apart = |step: &Step| match step {
        Step::Flight(synced, others) => {
            let first = Step::Commit(synced.clone(), Durability::Synced);
            let others = others.iter().cloned().map(|(changes, of)| Step::Commit(changes, of));
            std::iter::once(first).chain(others).collect()
        }
        Step::Beside(large, durability, others) => {
            let others = others.iter().cloned().map(|(changes, of)| Step::Commit(changes, of));
            others.chain([Step::Commit(large.clone(), *durability)]).collect()
        }
        step => vec![step.clone()],
    };
    steps.iter().flat_map(apart).collect()
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
        .stage_size(8 << 10)
        .segment_size(64 << 10)
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

/// What a store was doing between two operations of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// Opening.
    Open,
    /// A commit that only wrote the log.
    Commit,
    /// A commit that made room first, by a flush or more.
    CommitWithFlush,
    /// A sync.
    Sync,
    /// A flush.
    Flush,
    /// A compaction, or the flush before it.
    Compact,
    /// Removing what nobody names.
    Collect,
    /// A bulk load.
    Load,
    /// Closing.
    Close,
}

/// A history that was run, with what each stretch of operations belonged to.
#[derive(Debug)]
pub struct Recording {
    /// What was done and promised.
    pub history: History<Model>,
    /// Activities with the number of their last operation, ascending.
    pub activities: Vec<(u64, Activity)>,
    /// The number of the last operation before each step.
    pub starts: Vec<u64>,
    /// The error that ended the history early.
    pub error: Option<Error>,
}

impl Recording {
    /// What was going on after operation `n` and before the next.
    pub fn activity(&self, n: u64) -> Activity {
        let at = self.activities.partition_point(|(last, _)| *last <= n);
        self.activities.get(at).map_or(Activity::Close, |(_, activity)| *activity)
    }

    /// What had been promised at a moment, by its mark.
    pub fn promise_at(&self, mark: u64) -> Promise {
        let promise = self.history.promise_at(mark);
        let mut states = self.history.states();
        states.truncate(promise.begun + 1);
        let orlop::sim::Promise { power, kill, begun } = promise;
        Promise { states, power, kill, begun, error: None }
    }

    /// What has been promised at the end.
    pub fn into_promise(self) -> Promise {
        let promise = self.history.promise();
        Promise {
            states: self.history.states(),
            power: promise.power,
            kill: promise.kill,
            begun: promise.begun,
            error: self.error,
        }
    }
}

/// Runs a history until its end or its first error.
pub fn run(env: &SimEnv, tree: Tree, start: Model, steps: &[Step]) -> Promise {
    let mut runner = Runner::new(env, tree, start);
    let outcome = runner.open().and_then(|()| runner.steps(steps));
    runner.end(outcome).into_promise()
}

/// As [`run`], after a prelude that the power survives: the history starts behind it, and so do
/// the moments that the disk keeps. Without a prelude they start before the store is there.
pub fn record(
    env: &SimEnv,
    tree: Tree,
    start: Model,
    prelude: &[Step],
    steps: &[Step],
) -> Recording {
    let mut runner = Runner::new(env, tree, start);
    if prelude.is_empty() {
        env.keep_moments();
    }
    let mut outcome = runner.open();
    if !prelude.is_empty() {
        outcome =
            outcome.and_then(|()| runner.steps(prelude)).and_then(|()| runner.store()?.sync());
        let state = runner.history.latest();
        runner.history = History::new(env, state);
        runner.activities.clear();
        env.keep_moments();
    }
    outcome = outcome.and_then(|()| runner.steps(steps));
    runner.end(outcome)
}

/// A store under a history.
struct Runner<'a> {
    env: &'a SimEnv,
    tree: Tree,
    gate: Gate,
    history: History<Model>,
    activities: Vec<(u64, Activity)>,
    starts: Vec<u64>,
    store: Option<Store>,
    held: Option<(Snapshot, Model)>,
}

impl<'a> Runner<'a> {
    fn new(env: &'a SimEnv, tree: Tree, start: Model) -> Self {
        let history = History::new(env, start);
        Self {
            env,
            tree,
            gate: Gate::default(),
            history,
            activities: Vec::new(),
            starts: Vec::new(),
            store: None,
            held: None,
        }
    }

    /// The machine dies with the store open: the close inside a drop reaches nothing any more.
    fn end(self, outcome: orlop::Result<()>) -> Recording {
        self.env.cut_after(self.env.operations());
        let Runner { history, activities, starts, .. } = self;
        Recording { history, activities, starts, error: outcome.err() }
    }

    fn open(&mut self) -> orlop::Result<()> {
        let opened = open_on(self.gate.before(self.env), self.tree);
        self.did(Activity::Open);
        self.store = Some(opened?);
        Ok(())
    }

    fn did(&mut self, activity: Activity) {
        self.activities.push((self.env.operations(), activity));
    }

    fn store(&self) -> orlop::Result<&Store> {
        self.store.as_ref().ok_or(Error::Closed)
    }

    fn steps(&mut self, steps: &[Step]) -> orlop::Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn step(&mut self, step: &Step) -> orlop::Result<()> {
        self.starts.push(self.env.operations());
        match step {
            Step::Commit(changes, durability) => self.commit(changes, *durability),
            Step::Flight(synced, others) => self.flight(synced, others),
            Step::Beside(large, of, others) => self.beside((large, *of), others),
            Step::Load(name, changes, is_finished) => self.load(name, changes, *is_finished),
            Step::Sync => self.synced(Activity::Sync, Store::sync),
            Step::Flush => self.synced(Activity::Flush, Store::flush),
            Step::Compact => self.synced(Activity::Compact, Store::compact),
            Step::Background => {
                let progress = self.store()?.step();
                self.did(match progress {
                    Ok(Progress::Flushed) => Activity::Flush,
                    Ok(Progress::Compacted) => Activity::Compact,
                    _ => Activity::Collect,
                });
                progress.map(drop)
            }
            Step::Reopen => {
                self.held = None;
                let closed = self.store.take().map_or(Ok(()), Store::close);
                self.did(Activity::Close);
                closed?;
                self.history.acknowledge(Durability::Synced);
                self.open()
            }
            Step::Snapshot => self.snapshot(),
        }
    }

    /// Work behind which everything committed is on the device.
    fn synced(
        &mut self,
        activity: Activity,
        work: impl FnOnce(&Store) -> orlop::Result<()>,
    ) -> orlop::Result<()> {
        let done = work(self.store()?);
        self.did(activity);
        done?;
        self.history.acknowledge(Durability::Synced);
        Ok(())
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> orlop::Result<()> {
        let mut next = self.history.latest();
        let batch = batch(self.store()?, changes, &mut next)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.history.begin(next);
        let flushes = self.store()?.stats().flushes;
        let committed = batch.commit_with(durability);
        let flushed = self.store()?.stats().flushes > flushes;
        self.did(if flushed { Activity::CommitWithFlush } else { Activity::Commit });
        committed?;
        self.history.acknowledge(durability);
        Ok(())
    }

    fn flight(
        &mut self,
        synced: &[Change],
        others: &[(Vec<Change>, Durability)],
    ) -> orlop::Result<()> {
        let (store, history) = (self.store()?, &self.history);
        let mut next = history.latest();
        let batch = batch(store, synced, &mut next)?;
        if batch.is_empty() {
            return Ok(());
        }
        history.begin(next);
        let begun = history.promise().begun;
        let behind =
            || others.iter().try_for_each(|(changes, of)| after(store, history, changes, *of));
        let flight = || {
            batch.commit_with(Durability::Synced)?;
            history.acknowledge_first(begun, Durability::Synced);
            Ok(())
        };
        let (landed, others) = self.gate.meanwhile(flight, behind);
        self.did(Activity::Commit);
        landed.and(others.unwrap_or(Ok(())))
    }

    fn beside(
        &mut self,
        (large, durability): (&[Change], Durability),
        others: &[(Vec<Change>, Durability)],
    ) -> orlop::Result<()> {
        let known = self.history.latest();
        let names = large.iter().flat_map(Change::names);
        if names.into_iter().any(|name| !known.contains_key(name)) {
            // It would not be written apart.
            others.iter().try_for_each(|(changes, of)| self.commit(changes, *of))?;
            return self.commit(large, durability);
        }
        let (store, history, env) = (self.store()?, &self.history, self.env);
        let batch = batch(store, large, &mut known.clone())?;
        let before = || {
            let done =
                others.iter().try_for_each(|(changes, of)| after(store, history, changes, *of));
            let mut next = history.latest();
            large.iter().for_each(|change| change.apply(&mut next));
            history.begin(next);
            if done.is_err() {
                // The history ends here, and what it says is that the batch came behind all of them.
                env.cut_after(env.operations());
            }
            done
        };
        let (committed, others) = self.gate.meanwhile(|| batch.commit_with(durability), before);
        self.did(Activity::Commit);
        others.unwrap_or(Ok(())).and(committed)?;
        self.history.acknowledge(durability);
        Ok(())
    }

    fn load(&mut self, name: &str, changes: &[Change], is_finished: bool) -> orlop::Result<()> {
        let mut next = self.history.latest();
        if !next.contains_key(name) {
            next.insert(name.to_owned(), Contents::new());
            self.history.begin(next.clone());
            let created = self.store()?.create_database(name, DatabaseOptions::default());
            self.did(Activity::Commit);
            created?;
            self.history.acknowledge(Durability::Synced);
        }
        if is_finished {
            changes.iter().for_each(|change| change.apply(&mut next));
            self.history.begin(next);
        }
        let loaded = load(self.store()?, name, changes, is_finished);
        self.did(Activity::Load);
        loaded?;
        if is_finished {
            self.history.acknowledge(Durability::Synced);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> orlop::Result<()> {
        match self.held.take() {
            None => self.held = Some((self.store()?.snapshot(), self.history.latest())),
            Some((snapshot, expected)) => {
                let found = model::contents_of(self.store()?, &snapshot)?;
                // A wrong snapshot is damage, as far as the one who runs this is concerned.
                if found != expected {
                    return Err(Error::InvalidArgument {
                        what: "a snapshot",
                        expected: "what it showed when it was taken".to_owned(),
                        found: "something else".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// A commit behind all that were begun.
fn after(
    store: &Store,
    history: &History<Model>,
    changes: &[Change],
    durability: Durability,
) -> orlop::Result<()> {
    let mut next = history.latest();
    let batch = batch(store, changes, &mut next)?;
    if batch.is_empty() {
        return Ok(());
    }
    history.commit(next, durability, || batch.commit_with(durability))
}
