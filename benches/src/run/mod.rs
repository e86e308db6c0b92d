//! A run: every job of the plan in turn, each in a process of its own, until all are done or the
//! time is up.
//!
//! Rounds are kept as they come, whole jobs at a time; a run that was interrupted goes on where it
//! stopped. One job that fails does not stop the others, unless the disk is full.

mod child;
mod plan;
mod stores;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::catalog::Group;
use crate::engine;
use crate::failure::{Failure, Result};
use crate::measure::machine;
use crate::options::Options;
use crate::record::{self, EngineFacts, Outcome, ROUNDS_FILE, RUN_FILE, Round, Run};
pub(crate) use child::obey;
use plan::Step;
use stores::Stores;

/// What the command line says beside the [`Options`].
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) options: Options,
    /// Where the rounds go.
    pub(crate) out: PathBuf,
    /// Where the stores lie meanwhile.
    pub(crate) stores: PathBuf,
    /// Go on with the run that `out` holds.
    pub(crate) resume: bool,
    pub(crate) budget: Option<Duration>,
    /// Whether the one who asked could ask to go on.
    pub(crate) can_resume: bool,
    pub(crate) command: String,
}

/// Carries out a run.
///
/// # Errors
/// [`Failure::Usage`] for what cannot be asked for; [`Failure::DiskFull`]; [`Failure::Wrong`] and
/// [`Failure::Other`] at the end, if jobs failed.
pub(crate) fn run(request: &Request) -> Result<()> {
    let begin = Instant::now();
    let steps = plan::steps(&request.options)?;
    if steps.iter().all(|step| step.refused.is_some()) {
        return Err(Failure::usage(
            "nothing to measure: none of these workloads belongs into these tables with these \
             engines; `list` names them, and --tables compressed has a part of them only",
        ));
    }
    let (done, _lock) = prepare(request)?;
    let mut work = Work {
        request,
        stores: Stores::new(&request.stores),
        log: OpenOptions::new().create(true).append(true).open(request.out.join(ROUNDS_FILE))?,
        took: BTreeMap::new(),
        failures: Vec::new(),
    };
    let total = steps.len();
    for (at, step) in steps.iter().enumerate() {
        if step.is_done(&done) {
            continue;
        }
        if let Some(budget) = request.budget
            && begin.elapsed() + work.expected(step) > budget
        {
            eprintln!(
                "The budget of {:.1} minutes is used up after {at} of {total} steps{}.",
                budget.as_secs_f64() / 60.0,
                if request.can_resume { "; the same command with --resume goes on" } else { "" },
            );
            break;
        }
        if let Err(full) = work.take(step, at + 1, total) {
            // What is left of the stores is removed by the next run at the latest.
            return match work.stores.remove() {
                Ok(()) => Err(full),
                Err(left) => Err(full.during(format_args!("({left}, removing its stores)"))),
            };
        }
    }
    work.stores.remove()?;
    work.verdict()
}

/// Makes the directory, or checks that what lies there is the same run. The rounds that it holds, and
/// what keeps a second run out of it: nothing there is written before that is held.
fn prepare(request: &Request) -> Result<(HashSet<plan::Name>, File)> {
    let out = &request.out;
    let file = out.join(RUN_FILE);
    if !file.exists() {
        if request.resume {
            return Err(Failure::usage(format!(
                "{} holds no run to go on with; leave --resume out to begin one",
                out.display()
            )));
        }
        check_room(request)?;
        for dir in [out, &request.stores] {
            fs::create_dir_all(dir).map_err(|error| {
                Failure::from(error).during(format_args!("make the directory {}", dir.display()))
            })?;
        }
        let run = Run {
            options: request.options.clone(),
            machine: machine::describe(&request.stores),
            command: request.command.clone(),
            engines: facts(&request.options)?,
        };
        fs::write(file, serde_json::to_string_pretty(&run)? + "\n")?;
        return Ok((HashSet::new(), lock(out)?));
    }
    if !request.resume {
        return Err(Failure::usage(format!(
            "{} holds a run already; go on with it by --resume, or choose another --out",
            out.display()
        )));
    }
    let lock = lock(out)?;
    let (run, rounds) = record::read(out)?;
    check_same_place(request, &run)?;
    // More rounds are welcome; everything else would mix what must not be mixed.
    let rounds_wanted = request.options.rounds.max(run.options.rounds);
    let same = Options { rounds: rounds_wanted, ..run.options.clone() };
    if same != request.options {
        return Err(Failure::usage(format!(
            "the run in {} was begun with other options; go on with these:\n  {} --resume",
            out.display(),
            run.command
        )));
    }
    let run = Run { options: request.options.clone(), ..run };
    fs::write(file, serde_json::to_string_pretty(&run)? + "\n")?;
    rewrite_whole_lines(&out.join(ROUNDS_FILE), &rounds)?;
    Ok((rounds.iter().map(plan::Name::of).collect(), lock))
}

/// Rounds of another build, machine or filesystem cannot be compared with those that are there.
fn check_same_place(request: &Request, run: &Run) -> Result<()> {
    fs::create_dir_all(&request.stores)?;
    let now = machine::describe(&request.stores);
    let then = &run.machine;
    let versions = |facts: &[EngineFacts]| -> Vec<String> {
        facts.iter().map(|engine| format!("{} {}", engine.name, engine.version)).collect()
    };
    let (engines_now, engines_then) = (facts(&request.options)?, &run.engines);
    let pairs = [
        ("commit", now.commit, then.commit.clone()),
        ("compiler", now.compiler, then.compiler.clone()),
        ("processor", now.processor, then.processor.clone()),
        ("kernel", now.kernel, then.kernel.clone()),
        ("filesystem", now.filesystem, then.filesystem.clone()),
        ("engines", versions(&engines_now).join(", "), versions(engines_then).join(", ")),
    ];
    match pairs.into_iter().find(|(_, now, then)| now != then) {
        None => Ok(()),
        Some((what, now, then)) => Err(Failure::usage(format!(
            "the run in {} was begun elsewhere: its {what} was {then:?} and is now {now:?}; begin \
             a new one with another --out",
            request.out.display()
        ))),
    }
}

/// Keeps a second run out of the directory while this one lasts.
fn lock(out: &Path) -> Result<File> {
    let file = File::open(out.join(RUN_FILE))?;
    file.try_lock().map_err(|_| {
        Failure::usage(format!(
            "another run is at work in {}; wait for its end or choose another --out",
            out.display()
        ))
    })?;
    Ok(file)
}

/// Drops a last line that was cut off, so that what is appended stands on a line of its own.
fn rewrite_whole_lines(path: &Path, rounds: &[Round]) -> Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, lines(rounds)?)?;
    Ok(fs::rename(part, path)?)
}

fn lines(rounds: &[Round]) -> Result<String> {
    let mut text = String::new();
    for round in rounds {
        text.push_str(&serde_json::to_string(round)?);
        text.push('\n');
    }
    Ok(text)
}

/// Bytes on disk for one of user data, at the worst moment of the worst engine.
const WORST_SPACE: u64 = 5;

fn check_room(request: &Request) -> Result<()> {
    let there = request.stores.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(there)?;
    let free = disk.f_bavail * disk.f_frsize;
    let engines = request.options.engines.len() as u64;
    let needed = request.options.user_bytes() * WORST_SPACE * engines + (1 << 30);
    if free < needed {
        return Err(Failure::DiskFull(format!(
            "{} has {} MiB free, and the stores of {engines} engines with {} entries may need {} \
             MiB; make room, choose another directory with --stores, or a smaller --scale",
            request.stores.display(),
            free >> 20,
            request.options.entries,
            needed >> 20,
        )));
    }
    Ok(())
}

fn facts(options: &Options) -> Result<Vec<EngineFacts>> {
    let kinds = options.engines.iter().map(|name| engine::find(name));
    kinds
        .map(|kind| {
            kind.map(|kind| EngineFacts {
                name: kind.name.to_owned(),
                version: kind.version(),
                settings: kind.settings.to_owned(),
                compression: kind.compression.map(str::to_owned),
                shipped_class: kind.shipped_class,
            })
        })
        .collect()
}

struct Work<'a> {
    request: &'a Request,
    stores: Stores,
    log: File,
    /// How long the longest job of each kind took.
    took: BTreeMap<(Group, String), Duration>,
    failures: Vec<Failure>,
}

impl Work<'_> {
    /// How long `step` will take, going by those before; not known the first time, and then the
    /// budget is overdrawn by at most one step.
    fn expected(&self, step: &Step) -> Duration {
        let key = (step.group, step.engine.clone());
        self.took.get(&key).copied().unwrap_or_default()
    }

    /// Does one step, and keeps what it measured.
    fn take(&mut self, step: &Step, at: usize, total: usize) -> Result<()> {
        let begin = Instant::now();
        let outcome = match &step.refused {
            Some(why) => Ok(step.refuse(why)),
            None => self.stores.work(step, &self.request.options),
        };
        let took = begin.elapsed();
        let longest = self.took.entry((step.group, step.engine.clone())).or_default();
        *longest = took.max(*longest);
        match outcome {
            Ok(rounds) => {
                self.log.write_all(lines(&rounds)?.as_bytes())?;
                if step.refused.is_none() {
                    let seconds = took.as_secs_f64();
                    eprintln!("[{at}/{total}] {step}: {} ({seconds:.1} s)", rates(&rounds));
                }
            }
            Err(full @ Failure::DiskFull(_)) => {
                return Err(
                    full.during(format_args!("make room, then go on with --resume; {step}"))
                );
            }
            Err(failure) => {
                let failure = failure.during(step);
                eprintln!("[{at}/{total}] {failure}");
                self.failures.push(failure);
            }
        }
        Ok(())
    }

    /// What to say at the end: the worst that happened.
    fn verdict(mut self) -> Result<()> {
        let count = self.failures.len();
        let worst = self.failures.iter().position(|failure| matches!(failure, Failure::Wrong(_)));
        match worst.or((count > 0).then_some(0)) {
            None => Ok(()),
            Some(at) => Err(self.failures.swap_remove(at).during(format_args!(
                "{count} steps failed (--resume tries them again), one of them"
            ))),
        }
    }
}

/// The rates of a job on one line.
fn rates(rounds: &[Round]) -> String {
    let texts = rounds.iter().map(|round| match &round.outcome {
        Outcome::Measured(figures) => format!("{} {:.0}/s", round.workload, figures.rate()),
        Outcome::Unsupported(_) => format!("{} n/a", round.workload),
    });
    texts.collect::<Vec<_>>().join(", ")
}
