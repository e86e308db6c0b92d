//! What all workloads share: opening stores, running threads against the clock, checking answers,
//! keeping rounds.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::Job;
use super::entries::Keys;
use crate::engine::{Direction, Engine, Found, Kind, Reads, Session, Settings};
use crate::failure::{Failure, Result};
use crate::measure::clock::{EVERY, Tally, Together, closed_loop, open_loop};
use crate::measure::meters::Meters;
use crate::options::Options;
use crate::record::{Measurement, Noise, Outcome, Resources, Round};
use crate::shape::{Values, mix};

/// The work of one process.
pub(super) struct Bench<'a> {
    pub(super) kind: &'static Kind,
    pub(super) job: &'a Job,
    pub(super) options: &'a Options,
    pub(super) values: Values,
    /// The counters at the begin of the process.
    pub(super) born: Meters,
    started: u64,
    rounds: Vec<Round>,
}

/// What one thread did: how long it took, and what it found.
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) found: Found,
}

/// What the threads of one workload did, and what that cost.
pub(super) struct Measured {
    pub(super) threads: Vec<Done>,
    pub(super) resources: Resources,
    pub(super) noise: Noise,
}

impl Measured {
    /// Operations that thread `at` did.
    pub(super) fn operations(&self, at: usize) -> usize {
        self.threads[at].tally.operations
    }

    /// What all threads found.
    pub(super) fn found(&self) -> Found {
        let mut found = Found::default();
        self.threads.iter().for_each(|done| found.merge(done.found));
        found
    }
}

/// What a round says beside its times.
#[derive(Default)]
pub(super) struct Facts {
    /// Operations of the table in one of the clock's; 0 stands for 1.
    pub(super) weight: u64,
    pub(super) checked: u64,
    pub(super) user_bytes: u64,
    pub(super) extra: BTreeMap<String, f64>,
    pub(super) remark: Option<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(kind: &'static Kind, job: &'a Job, options: &'a Options) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            kind,
            job,
            options,
            values: Values::new(options.shape.value_size),
            born: Meters::now(),
            started: since.map_or(0, |time| time.as_secs()),
            rounds: Vec::new(),
        }
    }

    pub(super) fn into_rounds(self) -> Vec<Round> {
        self.rounds
    }

    /// Whether a workload was asked for.
    pub(super) fn wants(&self, workload: &str) -> bool {
        self.job.workloads.iter().any(|name| name == workload)
    }

    /// Random numbers that are the same for every engine, and others for every workload and round.
    pub(super) fn random(&self, what: &str) -> Rng {
        let name = what.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        Rng::with_seed(mix(self.options.seed ^ name ^ u64::from(self.job.round)))
    }

    /// How the job's store is opened.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            dir: self.job.dir.clone(),
            class: self.job.class,
            table: self.job.table,
            cache: self.options.cache,
            shape: self.options.shape,
            spaces: 1,
            sessions: 4,
            cold: false,
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Engine>> {
        self.kind.open(&self.settings())
    }

    /// Runs `work` on as many threads, each with a session of its own; the clock covers all of it
    /// from the moment at which every thread is ready.
    pub(super) fn measure(
        &self,
        engine: &dyn Engine,
        reads: Reads,
        threads: usize,
        work: impl Fn(usize, &mut dyn Session) -> Result<Done> + Sync,
    ) -> Result<Measured> {
        let ready = Barrier::new(threads + 1);
        let (before, done) = thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|thread| {
                    let (ready, work) = (&ready, &work);
                    scope.spawn(move || {
                        let session = engine.session(reads);
                        // Everybody arrives, also the one that failed.
                        ready.wait();
                        work(thread, &mut *session?)
                    })
                })
                .collect();
            let before = Meters::now();
            ready.wait();
            let done: Vec<_> = handles.into_iter().map(thread::ScopedJoinHandle::join).collect();
            (before, done)
        });
        let (resources, noise) = before.used(&self.job.dir);
        let threads = done
            .into_iter()
            .map(|done| done.unwrap_or_else(|_| Err(Failure::other("a thread panicked"))))
            .collect::<Result<_>>()?;
        Ok(Measured { threads, resources, noise })
    }

    /// Runs `work` once against the clock, as one operation.
    pub(super) fn measure_once<T>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Measured)> {
        let before = Meters::now();
        let (mut work, mut result) = (Some(work), None);
        let tally = closed_loop(1, Duration::MAX, 1, |_| {
            if let Some(work) = work.take() {
                result = Some(work()?);
            }
            Ok(())
        })?;
        let (resources, noise) = before.used(&self.job.dir);
        let result = result.ok_or_else(|| Failure::other("a measurement of nothing"))?;
        let threads = vec![Done { tally, found: Found::default() }];
        Ok((result, Measured { threads, resources, noise }))
    }

    /// Compares an answer with what it has to be; the number of entries compared.
    pub(super) fn check(&self, what: &str, found: Found, expected: Found) -> Result<u64> {
        if !self.kind.answers {
            return Ok(0);
        }
        if found == expected {
            return Ok(found.entries);
        }
        Err(Failure::wrong(format!(
            "{} on {} ({}, {}): expected {} entries with the sum {:016x}, got {} with {:016x}; \
             its rates are worth nothing until that is mended",
            what,
            self.kind.name,
            self.job.table,
            self.job.class,
            expected.entries,
            expected.sum,
            found.entries,
            found.sum,
        )))
    }

    /// Scans all of key space 0 and compares it.
    pub(super) fn check_all(
        &self,
        engine: &dyn Engine,
        what: &str,
        expected: Found,
    ) -> Result<u64> {
        let mut session = engine.session(Reads::Fixed)?;
        let found = session.scan(None, Direction::Forward, u64::MAX)?;
        self.check(what, found, expected)
    }

    /// Keeps a round of `workload`, if it was asked for. What an engine does not have is kept as
    /// such; other failures go up.
    pub(super) fn keep(
        &mut self,
        workload: &str,
        measured: Result<(Measured, Facts)>,
    ) -> Result<()> {
        if !self.wants(workload) {
            return measured.map(|_| ());
        }
        let outcome = match measured {
            Ok((measured, facts)) => Outcome::Measured(Box::new(figures(measured, facts)?)),
            Err(Failure::Unsupported(why)) => Outcome::Unsupported(why),
            Err(failure) => return Err(failure.during(workload)),
        };
        self.rounds.push(Round {
            round: self.job.round,
            engine: self.job.engine.clone(),
            workload: workload.to_owned(),
            table: self.job.table,
            class: self.job.class,
            started: self.started,
            outcome,
        });
        Ok(())
    }
}

fn figures(measured: Measured, facts: Facts) -> Result<Measurement> {
    let threads = measured.threads.len() as u32;
    let tallies: Vec<_> = measured.threads.into_iter().map(|done| done.tally).collect();
    let together = Together::of(&tallies)?;
    let weight = facts.weight.max(1);
    Ok(Measurement {
        operations: together.operations * weight,
        seconds: together.seconds,
        threads,
        checked: facts.checked,
        user_bytes: facts.user_bytes,
        latency: Some(together.latency),
        timeline: together.timeline.into_iter().map(|done| done * weight).collect(),
        resources: measured.resources,
        noise: measured.noise,
        extra: facts.extra,
        remark: facts.remark,
    })
}

/// Puts the entries of `keys`, which are all different, one by one.
pub(super) fn puts(
    session: &mut dyn Session,
    keys: &Keys,
    values: &Values,
    limit: Duration,
) -> Result<Done> {
    let tally = closed_loop(keys.len(), limit, EVERY, |at| {
        session.put(keys.key(at), values.of(keys.number(at)))
    })?;
    Ok(Done { tally, found: Found::default() })
}

/// Puts the entries of `keys` one by one, each in a version of its own from `first` on: keys may
/// come more than once. One in `every` is timed.
pub(super) fn put_versions(
    session: &mut dyn Session,
    keys: &Keys,
    values: &Values,
    first: u32,
    every: usize,
    limit: Duration,
) -> Result<Done> {
    let mut value = Vec::new();
    let tally = closed_loop(keys.len(), limit, every, |at| {
        let version = first.wrapping_add(at as u32);
        session.put(keys.key(at), values.version(keys.number(at), version, &mut value))
    })?;
    Ok(Done { tally, found: Found::default() })
}

/// Puts the entries of `keys` when they are due, `rate` a second, in versions from `first` on.
pub(super) fn put_paced(
    session: &mut dyn Session,
    keys: &Keys,
    values: &Values,
    first: u32,
    rate: f64,
    limit: Duration,
) -> Result<Done> {
    let mut value = Vec::new();
    let tally = open_loop(keys.len(), limit, rate, |at| {
        let version = first.wrapping_add(at as u32);
        session.put(keys.key(at), values.version(keys.number(at), version, &mut value))
    })?;
    Ok(Done { tally, found: Found::default() })
}

/// Gets the keys one by one. One in `every` is timed.
pub(super) fn gets(
    session: &mut dyn Session,
    keys: &Keys,
    every: usize,
    limit: Duration,
) -> Result<Done> {
    let mut found = Found::default();
    let tally = closed_loop(keys.len(), limit, every, |at| {
        if let Some(sum) = session.get(keys.key(at))? {
            found.merge(Found { entries: 1, sum });
        }
        Ok(())
    })?;
    Ok(Done { tally, found })
}

/// Puts entries without a clock, in batches.
pub(super) fn load(engine: &dyn Engine, keys: &Keys, from: usize, values: &Values) -> Result<()> {
    let mut session = engine.session(Reads::Current)?;
    let mut at = from;
    while at < keys.len() {
        let to = (at + BATCH).min(keys.len());
        let batch: Vec<_> = (at..to).map(|at| (keys.key(at), values.of(keys.number(at)))).collect();
        session.put_batch(&batch)?;
        at = to;
    }
    Ok(())
}

/// Entries of a batch, as in `db_bench`.
pub(super) const BATCH: usize = 1000;
