//! What a program has done and promised, and whether what is left of it may be left.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SimEnv;
use crate::options::Durability;

/// The states that a program went through, one after each commit, and what it was promised of
/// them. Shared by its threads, if it has several; then whoever commits holds a lock from
/// [`begin`](History::begin) to [`acknowledge`](History::acknowledge), or states are not a line.
///
/// After a crash the state must be the one after some commit `k`: at least the last one whose
/// durability promised to survive that crash, at most the last one that was begun.
#[derive(Debug)]
pub struct History<S> {
    disk: SimEnv,
    told: Mutex<Told<S>>,
}

#[derive(Debug)]
struct Told<S> {
    states: Vec<S>,
    /// The promise after each thing that was told, the first one before all.
    promises: Vec<Promise>,
}

/// How many commits must be there after a crash, and how many can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promise {
    /// Commits that a power cut must not take.
    pub power: usize,
    /// Commits that the death of the process must not take.
    pub kill: usize,
    /// Commits that were begun.
    pub begun: usize,
}

/// Why what was found after a crash must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Acknowledged commits are gone.
    Lost {
        /// Commits that are there.
        found: usize,
        /// Commits that had to be.
        promised: usize,
    },
    /// The state is none of the program's: half a commit, a hole, or something that was gone.
    NoPrefix {
        /// Commits that had to be there.
        promised: usize,
        /// Commits that were begun.
        begun: usize,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Lost { found, promised } => {
                write!(f, "lost: only {found} commits are there, {promised} were promised")
            }
            Broken::NoPrefix { promised, begun } => write!(
                f,
                "no prefix: the state equals none of those after {promised} to {begun} commits, \
                 nor an earlier one"
            ),
        }
    }
}

impl std::error::Error for Broken {}

impl<S: Clone + PartialEq> History<S> {
    /// A history that begins with a state which is already durable.
    pub fn new(disk: &SimEnv, start: S) -> Self {
        let told = Told { states: vec![start], promises: vec![Promise::default()] };
        disk.set_mark(0);
        Self { disk: disk.clone(), told: Mutex::new(told) }
    }

    /// A panic in the middle of a push leaves what was there before it.
    fn told(&self) -> MutexGuard<'_, Told<S>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: &mut Told<S>, promise: Promise) {
        self.disk.set_mark(told.promises.len() as u64);
        told.promises.push(promise);
    }

    /// The state after all commits begun so far.
    pub fn latest(&self) -> S {
        let told = self.told();
        told.states.last().cloned().expect("there is a state from the start, and none is removed")
    }

    /// Says that a commit begins which leads to `next`.
    pub fn begin(&self, next: S) {
        let told = &mut *self.told();
        told.states.push(next);
        let promise = Promise { begun: told.states.len() - 1, ..last(told) };
        self.tell(told, promise);
    }

    /// Says that everything begun so far has been promised: what a commit with this durability
    /// does when it returns, and a [`Store::sync`](crate::Store::sync), which is
    /// [`Durability::Synced`].
    pub fn acknowledge(&self, durability: Durability) {
        self.acknowledge_first(usize::MAX, durability);
    }

    /// Says that the first commits, so many, have been promised: where later ones were begun meanwhile.
    pub fn acknowledge_first(&self, commits: usize, durability: Durability) {
        let told = &mut *self.told();
        let mut promise = last(told);
        let commits = commits.min(promise.begun);
        if durability >= Durability::Buffered {
            promise.kill = promise.kill.max(commits);
        }
        if durability == Durability::Synced {
            promise.power = promise.power.max(commits);
        }
        self.tell(told, promise);
    }

    /// Makes a commit that leads to `next`, and acknowledges it when it succeeds.
    ///
    /// # Errors
    /// That of the commit, which may then be there after a crash or not.
    pub fn commit<T, E>(
        &self,
        next: S,
        durability: Durability,
        commit: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin(next);
        let done = commit()?;
        self.acknowledge(durability);
        Ok(done)
    }

    /// Whether commits were begun, and none was ever acknowledged.
    pub(super) fn is_all_talk(&self) -> bool {
        let told = self.told();
        let begun = told.states.len() - 1;
        begun > 0 && told.promises.len() == 1 + begun
    }

    /// What is promised now.
    pub fn promise(&self) -> Promise {
        last(&self.told())
    }

    /// What was promised at a [`Moment`](super::Moment), by its mark.
    pub fn promise_at(&self, mark: u64) -> Promise {
        let told = self.told();
        let at = usize::try_from(mark).ok().and_then(|at| told.promises.get(at).copied());
        at.unwrap_or_else(|| last(&told))
    }

    /// The state after `commits` commits.
    pub fn state(&self, commits: usize) -> Option<S> {
        self.told().states.get(commits).cloned()
    }

    /// All states, the one from the start first.
    pub fn states(&self) -> Vec<S> {
        self.told().states.clone()
    }

    /// The number of commits that `found` equals, which is `least` to `most`. States can repeat;
    /// the latest counts.
    ///
    /// # Errors
    /// [`Broken`]: it is less, or none.
    pub fn find(&self, found: &S, least: usize, most: usize) -> Result<usize, Broken> {
        let told = self.told();
        let possible = told.states.get(..=most).unwrap_or(&told.states);
        match possible.iter().rposition(|state| state == found) {
            Some(commits) if commits >= least => Ok(commits),
            Some(commits) => Err(Broken::Lost { found: commits, promised: least }),
            None => Err(Broken::NoPrefix { promised: least, begun: most }),
        }
    }
}

fn last<S>(told: &Told<S>) -> Promise {
    told.promises.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_decides_what_which_crash_may_take() {
        let history = History::new(&SimEnv::new(1), 0);
        history.begin(1);
        history.acknowledge(Durability::Synced);
        history.begin(2);
        history.acknowledge(Durability::Buffered);
        history.begin(3);
        history.acknowledge(Durability::Memory);
        assert_eq!(history.promise(), Promise { power: 1, kill: 2, begun: 3 });
        assert_eq!(history.promise_at(0), Promise::default());
        assert_eq!(history.promise_at(1), Promise { begun: 1, ..Promise::default() });
        assert_eq!(history.find(&1, 1, 3), Ok(1));
        assert_eq!(history.find(&0, 1, 3), Err(Broken::Lost { found: 0, promised: 1 }));
        assert_eq!(history.find(&3, 1, 2), Err(Broken::NoPrefix { promised: 1, begun: 2 }));
        assert_eq!(history.find(&9, 0, 3), Err(Broken::NoPrefix { promised: 0, begun: 3 }));
    }

    #[test]
    fn the_latest_of_equal_states_counts() {
        let history = History::new(&SimEnv::new(1), 'a');
        history.begin('b');
        history.begin('a');
        assert_eq!(history.find(&'a', 2, 2), Ok(2));
        assert_eq!(
            (history.latest(), history.state(1), history.states().len()),
            ('a', Some('b'), 3)
        );
    }
}
