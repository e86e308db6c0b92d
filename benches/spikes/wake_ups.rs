//! What does it cost to wake a thread, and how long should the leader of a group wait for more writers?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-wake-ups -- --rounds 3 --millis 400
//! ```
//!
//! First futexes alone: two threads that wake each other in turn, on one processor and on two, and a wake-up
//! that nobody waits for. Then a group that is told that it is done: by a condition variable for each, or by
//! one for all. Then writers that each commit again at once, in groups: who finds nobody
//! leading leads, writes 4 KiB past the page cache, sleeps for the device, and wakes its group and the
//! next leader. Before the write it lingers, until as many writers are there as the last group let go and
//! left waiting, or until a share of a sync has passed. Medians of rounds in random orders.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::thread::{CpuSet, futex, sched_getaffinity, sched_setaffinity};

use parts::figures::quantile;
use parts::pages::{PAGE, Pages};
use parts::segment::open;

mod parts {
    pub(crate) mod figures;
    pub(crate) mod pages;
    pub(crate) mod segment;
}

const TURNS: u32 = 20_000;
/// Records of the segment; behind the last the first is written again.
const RECORDS: u64 = 1024;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each case runs in a round.
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Where to make a directory for the segment.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Stays on one processor and raises `turn` whenever it is even, or odd.
fn take_turns(turn: &AtomicU32, odd: u32, processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)?;
    loop {
        let now = turn.load(Ordering::Acquire);
        if now >= TURNS {
            return Ok(());
        }
        if now % 2 == odd {
            turn.store(now + 1, Ordering::Release);
            futex::wake(turn, futex::Flags::PRIVATE, 1)?;
        } else {
            // Woken, or not in time to sleep: the loop looks again.
            let _ = futex::wait(turn, futex::Flags::PRIVATE, now, None);
        }
    }
}

/// Nanoseconds from a wake-up to the next.
fn turns(first: usize, second: usize) -> io::Result<f64> {
    let (turn, begin) = (AtomicU32::new(0), Instant::now());
    thread::scope(|scope| {
        let threads = [(0, first), (1, second)];
        let turn = &turn;
        let threads = threads.map(|(odd, on)| scope.spawn(move || take_turns(turn, odd, on)));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(TURNS))
}

fn futexes() -> Result<(), Box<dyn Error>> {
    let allowed = sched_getaffinity(None)?;
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&on| allowed.is_set(on)).collect();
    let (first, last) = (allowed[0], allowed[allowed.len() - 1]);
    let median = |on: usize| -> io::Result<f64> {
        let times: io::Result<Vec<f64>> = (0..5).map(|_| turns(first, on)).collect();
        Ok(quantile(&mut times?, 0.5))
    };
    let (nobody, begin) = (AtomicU32::new(0), Instant::now());
    for _ in 0..TURNS {
        futex::wake(&nobody, futex::Flags::PRIVATE, 1)?;
    }
    let vain = begin.elapsed().as_nanos() as f64 / f64::from(TURNS);
    println!("| futex | ns |\n|---|---|");
    println!("| wake and switch, one processor | {:.0} |", median(first)?);
    println!("| wake and switch, two processors | {:.0} |", median(last)?);
    println!("| wake with nobody waiting | {vain:.0} |\n");
    Ok(())
}

/// Those who sleep are this many.
const GROUP: usize = 16;

/// Wakes a group again and again. Microseconds: what it costs who wakes, and until all have run. `each`: with
/// a condition variable for each.
fn group(each: bool) -> [f64; 2] {
    let places: Vec<(Mutex<u64>, Condvar)> =
        (0..if each { GROUP } else { 1 }).map(|_| (Mutex::new(0), Condvar::new())).collect();
    let (ran, rounds) = (AtomicUsize::new(0), 500);
    let (mut told, mut all) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for sleeper in 0..GROUP {
            let (places, ran) = (&places, &ran);
            scope.spawn(move || {
                let (lock, woken) = &places[sleeper % places.len()];
                for round in 1..=rounds {
                    let mut now = lock.lock().unwrap_or_else(PoisonError::into_inner);
                    while *now < round {
                        now = woken.wait(now).unwrap_or_else(PoisonError::into_inner);
                    }
                    drop(now);
                    ran.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        for round in 1..=rounds {
            // All of them sleep.
            thread::sleep(Duration::from_micros(500));
            let begun = Instant::now();
            for (lock, woken) in &places {
                *lock.lock().unwrap_or_else(PoisonError::into_inner) = round;
                woken.notify_all();
            }
            told.push(begun.elapsed().as_secs_f64() * 1e6);
            while ran.load(Ordering::Acquire) < GROUP * round as usize {
                thread::yield_now();
            }
            all.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    });
    [quantile(&mut told, 0.5), quantile(&mut all, 0.5)]
}

fn groups(rounds: usize) {
    println!("| {GROUP} sleepers, µs | told | all have run |\n|---|---|---|");
    for (name, each) in [("a condition variable each", true), ("one for all", false)] {
        let found: Vec<[f64; 2]> = (0..rounds).map(|_| group(each)).collect();
        let median =
            |at: usize| quantile(&mut found.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        println!("| {name} | {:.0} | {:.0} |", median(0), median(1));
    }
    println!();
}

#[derive(Default)]
struct Queue {
    leading: bool,
    /// Groups taken by a leader and groups on the device.
    taken: u64,
    done: u64,
    /// Writers of the last group, and who waited when it was done.
    company: usize,
    sync: Duration,
}

/// Where the writers meet.
struct Log {
    queue: Mutex<Queue>,
    /// For groups with an even number and with an odd one: one flies, one lines up.
    places: [Condvar; 2],
    waiting: AtomicUsize,
    segment: File,
    page: Pages,
    /// The longest wait, in syncs; 0: none.
    cap: f64,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a write that began after the call is on the device.
    fn commit(&self) -> io::Result<()> {
        let mut queue = self.lock();
        let group = queue.taken;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        while queue.done <= group {
            if !queue.leading && queue.taken == group {
                return self.lead(queue, group);
            }
            let place = &self.places[group as usize % 2];
            queue = place.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn lead(&self, mut queue: MutexGuard<'_, Queue>, group: u64) -> io::Result<()> {
        queue.leading = true;
        let (company, deadline) = (queue.company, Instant::now() + queue.sync.mul_f64(self.cap));
        drop(queue);
        while self.waiting.load(Ordering::Relaxed) < company && Instant::now() < deadline {
            thread::yield_now();
        }
        let mut queue = self.lock();
        queue.taken += 1;
        let writers = self.waiting.swap(0, Ordering::Relaxed);
        drop(queue);
        let begin = Instant::now();
        let written = self.segment.write_all_at(&self.page, group % RECORDS * PAGE as u64);
        let written = written.and_then(|()| self.segment.sync_data());
        let sync = begin.elapsed();
        let mut queue = self.lock();
        (queue.leading, queue.done) = (false, group + 1);
        queue.company = writers + self.waiting.load(Ordering::Relaxed);
        queue.sync = if group == 0 { sync } else { (queue.sync * 7 + sync) / 8 };
        drop(queue);
        self.places[group as usize % 2].notify_all();
        self.places[(group + 1) as usize % 2].notify_one();
        written
    }
}

/// Commits a second, commits a sync, p50 and p99 in µs.
fn measure(writers: usize, cap: f64, args: &Args) -> Result<[f64; 4], Box<dyn Error>> {
    let dir = tempfile::tempdir_in(&args.dir)?;
    let segment = open(&dir.path().join("segment"), true)?;
    segment.write_all_at(&Pages::new(RECORDS as usize * PAGE), 0)?;
    segment.sync_all()?;
    let (queue, places, page) = (Mutex::default(), Default::default(), Pages::new(PAGE));
    let log = Log { queue, places, waiting: AtomicUsize::new(0), segment, page, cap };
    let end = Instant::now() + Duration::from_millis(args.millis);
    let write = || -> io::Result<Vec<f64>> {
        let mut took = Vec::new();
        let mut begin = Instant::now();
        while begin < end {
            log.commit()?;
            let now = Instant::now();
            took.push((now - begin).as_nanos() as f64 / 1e3);
            begin = now;
        }
        Ok(took)
    };
    let took = thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        let each = threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(Vec::new())));
        each.collect::<io::Result<Vec<_>>>()
    });
    let mut took = took?.concat();
    let (count, groups) = (took.len() as f64, log.lock().done as f64);
    let rate = count * 1e3 / args.millis as f64;
    Ok([rate, count / groups, quantile(&mut took, 0.5), quantile(&mut took, 0.99)])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    futexes()?;
    groups(args.rounds);
    let cases = [1, 4, 16].map(|n| [0.0, 0.08, 0.3, 1.0].map(|cap| (n, cap))).concat();
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..args.rounds {
        let mut order: Vec<usize> = (0..cases.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            rounds[at].push(measure(cases[at].0, cases[at].1, &args)?);
        }
    }
    println!("| writers | longest wait | commits/s | commits a sync | p50 µs | p99 µs |");
    println!("|---|---|---|---|---|---|");
    for ((writers, cap), rounds) in cases.iter().zip(&rounds) {
        let of =
            |at: usize| quantile(&mut rounds.iter().map(|row| row[at]).collect::<Vec<_>>(), 0.5);
        let (wait, rate) = (format!("{:.0}%", cap * 100.0), of(0));
        print!("| {writers} | {wait} of a sync | {rate:.0} | {:.1} |", of(1));
        println!(" {:.0} | {:.0} |", of(2), of(3));
    }
    Ok(())
}
