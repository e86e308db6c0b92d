//! A scheduler that throws dice.
//!
//! Shuttle's own schedulers learn from one run for the next; here a run depends on its seed alone.
//! Half of the seeds schedule at random: at each step the running thread goes on with a chance of
//! the seed's choice, otherwise any thread may. The other half use probabilistic concurrency
//! testing: threads have priorities, the highest one runs, and at a few random steps the running
//! thread gets the lowest one, so that a bug that needs so many changes in the right places is
//! found with a known probability.

use std::sync::{Arc, Mutex};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use super::{Seeds, locked};
use crate::dice::Dice;

/// The steps of one run so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    pub(super) count: u64,
    /// Of the threads that ran, in order.
    pub(super) hash: u64,
    pub(super) pct: bool,
}

/// How the next thread is chosen.
enum Mode {
    /// The running thread goes on with a chance of so many in 64.
    Random { stay: u64 },
    /// At these steps the running thread falls behind all others.
    Pct { changes: Vec<u64> },
}

impl Mode {
    fn of(dice: &mut Dice) -> Self {
        if dice.once_in(2) {
            return Mode::Random { stay: dice.pick(&[0, 32, 56, 62]) };
        }
        // How long a run is shows only afterwards: a bug may need changes early or late.
        let depth = dice.within(3, 5);
        let length = 1 << dice.within(7, 13);
        Mode::Pct { changes: (1..depth).map(|_| 1 + dice.below(length)).collect() }
    }
}

/// The scheduler: takes one seed after the other.
pub(super) struct Seeded {
    seeds: Arc<Seeds>,
    /// The seed of the run, and how far it has come.
    current: Arc<Mutex<Option<(u64, Steps)>>>,
    mode: Mode,
    dice: Dice,
    /// By thread; the highest runs.
    priorities: Vec<u64>,
    /// Below all priorities given so far.
    lowest: u64,
    /// Steps at which there was a choice.
    choices: u64,
}

impl Seeded {
    pub(super) fn new(seeds: Arc<Seeds>, current: Arc<Mutex<Option<(u64, Steps)>>>) -> Self {
        Self {
            seeds,
            current,
            mode: Mode::Random { stay: 0 },
            dice: Dice::new(0),
            priorities: Vec::new(),
            lowest: 0,
            choices: 0,
        }
    }

    fn choose(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        yields: bool,
    ) -> Option<TaskId> {
        let [first, others @ ..] = runnable else { return None };
        if others.is_empty() {
            return Some(first.id());
        }
        self.choices += 1;
        let goes_on = current.filter(|now| runnable.iter().any(|task| task.id() == *now));
        match &self.mode {
            Mode::Random { stay } => {
                let stays = self.dice.below(64) < *stay;
                goes_on.filter(|_| stays && !yields).or_else(|| {
                    let at = self.dice.below(runnable.len() as u64) as usize;
                    runnable.get(at).map(|task| task.id())
                })
            }
            Mode::Pct { changes } => {
                if let Some(now) = current
                    && (yields || changes.contains(&self.choices))
                {
                    self.lowest -= 1;
                    let lowest = self.lowest;
                    *self.priority(now) = lowest;
                }
                let ids = runnable.iter().map(|task| task.id());
                ids.max_by_key(|id| *self.priority(*id))
            }
        }
    }

    fn priority(&mut self, task: TaskId) -> &mut u64 {
        let at = usize::from(task);
        while self.priorities.len() <= at {
            self.priorities.push((1 << 32) + self.dice.below(1 << 32));
        }
        &mut self.priorities[at]
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        let seed = self.seeds.take()?;
        self.dice = Dice::new(seed ^ 0x5C4E_D01E);
        self.mode = Mode::of(&mut self.dice);
        self.priorities.clear();
        self.lowest = 1 << 32;
        self.choices = 0;
        let pct = matches!(self.mode, Mode::Pct { .. });
        *locked(&self.current) = Some((seed, Steps { pct, ..Steps::default() }));
        Some(Schedule::new(seed))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        yields: bool,
    ) -> Option<TaskId> {
        let chosen = self.choose(runnable, current, yields)?;
        if let Some((_, steps)) = &mut *locked(&self.current) {
            steps.count += 1;
            steps.hash = Dice::new(steps.hash ^ usize::from(chosen) as u64).roll();
        }
        Some(chosen)
    }

    fn next_u64(&mut self) -> u64 {
        self.dice.roll()
    }
}
