//! Running many small jobs, each of which may panic, never end, or eat the memory.
//!
//! 1. workers take the next number from a common count and note in their slot what they are at
//! 2. a panic is caught, and counted; the worker goes on with a new desk
//! 3. a job that took longer than it may is tried once more, since the machine may have been slow:
//!    it hangs if it is slow again. A job that does not come back at all is counted as hanging, its
//!    thread is given up and another takes its place
//! 4. when the program's memory was seen too high, every job in flight is suspect, and is tried once
//!    more at the end, alone

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::tally::{Limits, Tally};

/// Jobs, numbered from 0.
pub trait Jobs: Send + Sync + 'static {
    /// What a worker works with.
    type Desk;

    /// How many there are.
    fn count(&self) -> u64;

    /// The command that does this job alone.
    fn command(&self, job: u64) -> String;

    /// A desk for a worker.
    fn desk(&self) -> Self::Desk;

    /// Does a job and counts what it sees.
    fn work(&self, job: u64, desk: &mut Self::Desk, tally: &mut Tally);
}

/// What a job may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A job that takes longer hangs.
    pub slow: Duration,
    /// A job that has not ended by then never will.
    pub stuck: Duration,
    /// Bytes that the whole program may have above what it began with.
    pub memory: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let (slow, stuck) = (Duration::from_secs(1), Duration::from_secs(20));
        Self { slow, stuck, memory: 64 << 20 }
    }
}

/// What a worker is at, and what it has counted: kept here, since it may never come back.
#[derive(Debug, Default)]
struct Slot {
    job: Option<(u64, Instant)>,
    given_up: bool,
    tally: Tally,
}

struct Sweep<J> {
    jobs: J,
    limits: Limits,
    bounds: Bounds,
    next: AtomicU64,
    begun: AtomicU64,
    slots: Mutex<Vec<Slot>>,
    suspects: Mutex<Vec<u64>>,
    /// Jobs that did not come back.
    hung: Mutex<Vec<u64>>,
    /// Bytes that the program had before the first job.
    base: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// What the panic on this thread said, while one is expected.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Workers' panics are counted and told with their job: the usual words would only be noise.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name().is_some_and(|name| name.starts_with(WORKER)) {
                SAID.with_borrow_mut(|said| *said = Some(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
}

const WORKER: &str = "sweep-";

/// Does all jobs, or as many as there is time for; see the module. Adds `panics` and `hangs`, and
/// `big_allocations` if the program measures its memory. Gives the number of jobs that were begun.
pub fn sweep<J: Jobs>(jobs: J, limits: &Limits, bounds: Bounds, tally: &mut Tally) -> u64 {
    listen_to_panics();
    for name in ["panics", "hangs"] {
        tally.add(name, 0);
    }
    let base = PeakAlloc.current_usage();
    PeakAlloc.reset_peak_usage();
    if base > 0 {
        tally.add("big_allocations", 0);
    } else {
        tally.note("memory is not measured: the program does not install peak_alloc");
    }
    let sweep = Arc::new(Sweep {
        jobs,
        limits: *limits,
        bounds,
        next: AtomicU64::new(0),
        begun: AtomicU64::new(0),
        slots: Mutex::default(),
        suspects: Mutex::default(),
        hung: Mutex::default(),
        base,
    });
    supervise(&sweep, tally);
    for slot in locked(&sweep.slots).iter_mut() {
        tally.merge(std::mem::take(&mut slot.tally));
    }
    // Alone: what is high now is high because of this job.
    let suspects = std::mem::take(&mut *locked(&sweep.suspects));
    let hung = std::mem::take(&mut *locked(&sweep.hung));
    for job in suspects.into_iter().filter(|job| !hung.contains(job)) {
        let command = sweep.jobs.command(job);
        match alone(&sweep, job) {
            Some(high) if high > bounds.memory => {
                tally.fail("big_allocations", format!("{command} # {high} bytes of memory"));
            }
            Some(_) => {}
            None => tally.fail("hangs", format!("{command} # does not end when it is alone")),
        }
    }
    sweep.begun.load(Ordering::Relaxed)
}

/// How much memory a job takes while nothing else runs; `None` if it does not end.
fn alone<J: Jobs>(sweep: &Arc<Sweep<J>>, job: u64) -> Option<usize> {
    let (done, ended) = mpsc::channel();
    let own = Arc::clone(sweep);
    let worker = thread::Builder::new().name(format!("{WORKER}alone"));
    let started = worker.spawn(move || {
        PeakAlloc.reset_peak_usage();
        let before = PeakAlloc.current_usage();
        let mut desk = own.jobs.desk();
        let work = || own.jobs.work(job, &mut desk, &mut Tally::default());
        drop(panic::catch_unwind(AssertUnwindSafe(work)));
        // Whoever does not wait any more does not want to know.
        let _ = done.send(PeakAlloc.peak_usage().saturating_sub(before));
    });
    started.ok()?;
    ended.recv_timeout(sweep.bounds.stuck).ok()
}

/// Starts the workers and waits for them.
fn supervise<J: Jobs>(sweep: &Arc<Sweep<J>>, tally: &mut Tally) {
    let (done, ended) = mpsc::channel();
    let mut running = 0;
    for _ in 0..sweep.limits.threads.max(1) {
        running += usize::from(start(sweep, &done));
    }
    while running > 0 {
        match ended.recv_timeout(Duration::from_millis(200)) {
            Ok(()) => running -= 1,
            Err(RecvTimeoutError::Timeout) => {
                for job in give_up(sweep) {
                    let line = format!("{} # does not end", sweep.jobs.command(job));
                    tally.fail("hangs", line);
                    locked(&sweep.hung).push(job);
                    running -= 1;
                    running += usize::from(start(sweep, &done));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

/// The jobs that do not come back; their workers are not waited for any more.
fn give_up<J: Jobs>(sweep: &Sweep<J>) -> Vec<u64> {
    let mut stuck = Vec::new();
    for slot in locked(&sweep.slots).iter_mut().filter(|slot| !slot.given_up) {
        if let Some((job, _)) = slot.job.filter(|(_, since)| since.elapsed() > sweep.bounds.stuck) {
            slot.given_up = true;
            stuck.push(job);
        }
    }
    stuck
}

fn start<J: Jobs>(sweep: &Arc<Sweep<J>>, done: &Sender<()>) -> bool {
    let (sweep, done) = (Arc::clone(sweep), done.clone());
    let mut slots = locked(&sweep.slots);
    let slot = slots.len();
    slots.push(Slot::default());
    drop(slots);
    let worker = thread::Builder::new().name(format!("{WORKER}{slot}"));
    let worker = worker.spawn(move || {
        run(&sweep, slot);
        if !locked(&sweep.slots)[slot].given_up {
            // Whoever does not wait any more does not want to know.
            let _ = done.send(());
        }
    });
    worker.is_ok()
}

/// Takes jobs until there are no more, time is up, or this worker was given up.
fn run<J: Jobs>(sweep: &Sweep<J>, slot: usize) {
    let mut desk = sweep.jobs.desk();
    loop {
        if sweep.limits.is_over() || locked(&sweep.slots)[slot].given_up {
            return;
        }
        let job = sweep.next.fetch_add(1, Ordering::Relaxed);
        if job >= sweep.jobs.count() {
            return;
        }
        sweep.begun.fetch_add(1, Ordering::Relaxed);
        let mut counted = Tally::default();
        let took = one(sweep, (slot, job), &mut desk, &mut counted);
        let again = || one(sweep, (slot, job), &mut sweep.jobs.desk(), &mut Tally::default());
        if took > sweep.bounds.slow && again() > sweep.bounds.slow {
            counted.fail("hangs", format!("{} # took {took:?}", sweep.jobs.command(job)));
        }
        if PeakAlloc.peak_usage() > sweep.base + sweep.bounds.memory {
            let flying: Vec<u64> = locked(&sweep.slots)
                .iter()
                .filter_map(|slot| slot.job.map(|(job, _)| job))
                .collect();
            PeakAlloc.reset_peak_usage();
            let mut suspects = locked(&sweep.suspects);
            suspects.extend(flying);
            suspects.push(job);
            suspects.sort_unstable();
            suspects.dedup();
        }
        locked(&sweep.slots)[slot].tally.merge(counted);
    }
}

/// One job, once.
fn one<J: Jobs>(
    sweep: &Sweep<J>,
    (slot, job): (usize, u64),
    desk: &mut J::Desk,
    tally: &mut Tally,
) -> Duration {
    let begun = Instant::now();
    locked(&sweep.slots)[slot].job = Some((job, begun));
    let worked = panic::catch_unwind(AssertUnwindSafe(|| sweep.jobs.work(job, desk, tally)));
    let took = begun.elapsed();
    if let Err(payload) = worked {
        let said = SAID.take().unwrap_or_else(|| word(payload.as_ref()).to_owned());
        tally.fail("panics", format!("{} # {said}", sweep.jobs.command(job)));
        *desk = sweep.jobs.desk();
    }
    locked(&sweep.slots)[slot].job = None;
    took
}

fn word(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().unwrap_or("a panic without words")
}
