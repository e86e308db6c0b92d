//! Dice, and a scheduler that throws them.
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

/// SplitMix64: the same numbers for the same seed, everywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(super) fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// True once in `n`.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

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
            steps.hash = Dice::new(steps.hash ^ usize::from(chosen) as u64).next();
        }
        Some(chosen)
    }

    fn next_u64(&mut self) -> u64 {
        self.dice.next()
    }
}
