//! Every crash of one run of a program.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::{History, Keep, Moment, Promise, SimEnv};

/// How a program ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Death {
    /// The process is killed: the page cache survives, and is as volatile as before.
    Kill,
    /// The power goes.
    Power(Keep),
}

/// One crash: after which operation, how, and whether the recovery from it was cut short too.
///
/// Its text, `17/kill` or `17/torn:3:head` or `17/kill,4/nothing`, can be read back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Crash {
    /// The last operation that happened; 0: none.
    pub operation: u64,
    /// How it ended.
    pub death: Death,
    /// A crash of the recovery from it.
    pub then: Option<Box<Crash>>,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Kill => f.write_str("kill"),
            Death::Power(keep) => write!(f, "{keep}"),
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.operation, self.death)?;
        self.then.iter().try_for_each(|then| write!(f, ",{then}"))
    }
}

impl FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a crash reads like 17/kill or 17/subset:5,3/nothing, not {text:?}");
        let (first, then) = match text.split_once(',') {
            Some((first, then)) => (first, Some(Box::new(then.parse()?))),
            None => (text, None),
        };
        let (operation, death) = first.split_once('/').ok_or_else(wrong)?;
        let operation = operation.parse().map_err(|_| wrong())?;
        let death = match death {
            "kill" => Death::Kill,
            keep => Death::Power(keep.parse()?),
        };
        Ok(Crash { operation, death, then })
    }
}

impl Death {
    /// The ways to die at a moment that are worth trying.
    pub fn ways(moment: &Moment, seed: u64) -> Vec<Death> {
        let seed = seed.wrapping_add(moment.operation);
        let mut ways: Vec<_> = moment.disk.ways(seed).into_iter().map(Death::Power).collect();
        ways.push(Death::Kill);
        ways
    }

    /// What the next process finds.
    pub fn image(self, disk: &SimEnv) -> SimEnv {
        match self {
            Death::Kill => disk.kill(),
            Death::Power(keep) => disk.crash(keep),
        }
    }

    /// The least number of commits that survive it.
    pub fn least(self, promise: Promise) -> usize {
        match self {
            Death::Kill => promise.kill,
            Death::Power(_) => promise.power,
        }
    }
}

/// What a crash has left, in front of a check.
#[derive(Debug)]
pub struct Survivor<'a, S> {
    disk: SimEnv,
    history: &'a History<S>,
    least: usize,
    most: usize,
}

impl<S: Clone + PartialEq> Survivor<'_, S> {
    /// The disk as the next process finds it.
    pub fn disk(&self) -> &SimEnv {
        &self.disk
    }

    /// Commits that must be there.
    pub fn least(&self) -> usize {
        self.least
    }

    /// Commits that can be there.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The number of commits that `found` is the state after.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn find(&self, found: &S) -> Result<usize, String> {
        self.history.find(found, self.least, self.most).map_err(|broken| broken.to_string())
    }
}

/// What a crash test has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Operations of the program.
    pub operations: u64,
    /// Different disks that were checked.
    pub images: u64,
    /// Those of them that a recovery left which was itself cut short.
    pub nested: u64,
}

/// A crash after which the check failed, or a program that failed without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The crash to [replay](CrashTest::replay); `None`: the program itself failed.
    pub crash: Option<Crash>,
    /// What was wrong.
    pub what: String,
    /// The last operations before the crash, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.crash {
            Some(crash) => write!(f, "crash {crash}: {}", self.what)?,
            None => write!(f, "the program failed without a crash: {}", self.what)?,
        }
        if self.trace.is_empty() { Ok(()) } else { write!(f, " (after {})", self.trace.join("; ")) }
    }
}

impl std::error::Error for Failure {}

/// Runs a program once, and crashes it everywhere.
#[derive(Debug, Clone)]
pub struct CrashTest {
    seed: u64,
    nested: u64,
}

impl Default for CrashTest {
    fn default() -> Self {
        Self { seed: 1, nested: 20 }
    }
}

/// How many operations a failure tells of.
const TOLD: usize = 4;

impl CrashTest {
    /// A test that cuts every twentieth recovery short, too.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides about ids and dice. Default: 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Cuts the recovery of every `n`-th image short, after each of its operations; 0: of none.
    /// Default: 20.
    #[must_use]
    pub fn nested(mut self, n: u64) -> Self {
        self.nested = n;
        self
    }

    /// Runs `program` on an empty disk, then `check` on whatever each crash has left.
    ///
    /// `program` tells its history what it commits. `check` opens what is on the disk, finds the
    /// state in it and asks [`Survivor::find`]; it must do the same each time, since its own
    /// operations are cut short as well, and it may go on writing only after it has asked.
    ///
    /// # Errors
    /// The first failure.
    pub fn run<S, E>(
        &self,
        start: S,
        program: impl FnOnce(&SimEnv, &History<S>) -> Result<(), E>,
        check: impl Fn(&Survivor<'_, S>) -> Result<(), String>,
    ) -> Result<Report, Box<Failure>>
    where
        S: Clone + PartialEq,
        E: fmt::Display,
    {
        let (disk, history) = self.record(start, program)?;
        let moments = disk.moments();
        let mut report = Report { operations: disk.operations(), ..Report::default() };
        let mut seen = HashSet::new();
        for moment in &moments {
            for death in Death::ways(moment, self.seed) {
                let image = death.image(&moment.disk);
                if !seen.insert((image.fingerprint(), moment.mark)) {
                    continue;
                }
                report.images += 1;
                let crash = Crash { operation: moment.operation, death, then: None };
                let nested = self.nested > 0 && report.images.is_multiple_of(self.nested);
                if nested {
                    self.recoveries(&history, moment.mark, &crash, &image, &check, &mut report)?;
                }
                examine(&history, moment.mark, &crash, image, &check)
                    .map_err(|what| failed(&disk, crash, what))?;
            }
        }
        Ok(report)
    }

    /// One crash of a run again.
    ///
    /// # Errors
    /// As [`CrashTest::run`]; also when the program has no such operation.
    pub fn replay<S, E>(
        &self,
        crash: &Crash,
        start: S,
        program: impl FnOnce(&SimEnv, &History<S>) -> Result<(), E>,
        check: impl Fn(&Survivor<'_, S>) -> Result<(), String>,
    ) -> Result<(), Box<Failure>>
    where
        S: Clone + PartialEq,
        E: fmt::Display,
    {
        let (disk, history) = self.record(start, program)?;
        let fail = |what| failed(&disk, crash.clone(), what);
        let none = || fail(format!("the program has {} operations", disk.operations()));
        let moments = disk.moments();
        let moment = moments.iter().find(|moment| moment.operation == crash.operation);
        let moment = moment.ok_or_else(none)?;
        let mut image = crash.death.image(&moment.disk);
        if let Some(then) = &crash.then {
            let moments = recovery(&history, moment.mark, crash, image, &check);
            let second = moments.iter().find(|moment| moment.operation == then.operation);
            image = then.death.image(&second.ok_or_else(none)?.disk);
        }
        examine(&history, moment.mark, crash, image, &check).map_err(fail)
    }

    fn record<S, E>(
        &self,
        start: S,
        program: impl FnOnce(&SimEnv, &History<S>) -> Result<(), E>,
    ) -> Result<(SimEnv, History<S>), Box<Failure>>
    where
        S: Clone + PartialEq,
        E: fmt::Display,
    {
        let disk = SimEnv::new(self.seed);
        disk.keep_moments();
        let history = History::new(&disk, start);
        match program(&disk, &history) {
            Ok(()) => Ok((disk, history)),
            Err(error) => {
                Err(Box::new(Failure { crash: None, what: error.to_string(), trace: Vec::new() }))
            }
        }
    }

    fn recoveries<S: Clone + PartialEq>(
        &self,
        history: &History<S>,
        mark: u64,
        crash: &Crash,
        image: &SimEnv,
        check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
        report: &mut Report,
    ) -> Result<(), Box<Failure>> {
        let moments = recovery(history, mark, crash, image.kill(), check);
        let mut seen = HashSet::new();
        for moment in &moments {
            for death in Death::ways(moment, self.seed) {
                let again = death.image(&moment.disk);
                if !seen.insert(again.fingerprint()) {
                    continue;
                }
                report.images += 1;
                report.nested += 1;
                let then = Crash { operation: moment.operation, death, then: None };
                let crash = Crash { then: Some(Box::new(then)), ..crash.clone() };
                examine(history, mark, &crash, again, check)
                    .map_err(|what| failed(&moment.disk, crash, what))?;
            }
        }
        Ok(())
    }
}

/// The moments of a recovery: of what `check` does on an image.
fn recovery<S: Clone + PartialEq>(
    history: &History<S>,
    mark: u64,
    crash: &Crash,
    image: SimEnv,
    check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
) -> Vec<Moment> {
    image.keep_moments();
    // Its verdict is asked for separately.
    let _ = examine(history, mark, crash, image.clone(), check);
    image.moments()
}

fn examine<S: Clone + PartialEq>(
    history: &History<S>,
    mark: u64,
    crash: &Crash,
    disk: SimEnv,
    check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
) -> Result<(), String> {
    let promise = history.promise_at(mark);
    // What a kill leaves in the page cache, a power cut that follows can still take.
    let last = crash.then.as_ref().map_or(crash.death, |then| then.death);
    let least = match (crash.death, last) {
        (Death::Kill, Death::Kill) => promise.kill,
        _ => promise.power,
    };
    check(&Survivor { disk, history, least, most: promise.begun })
}

fn failed(disk: &SimEnv, crash: Crash, what: String) -> Box<Failure> {
    let operation = usize::try_from(crash.operation).unwrap_or(usize::MAX);
    let trace = disk.trace();
    let until = operation.min(trace.len());
    let trace = trace[until.saturating_sub(TOLD)..until].to_vec();
    Box::new(Failure { crash: Some(crash), what, trace })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Tear;

    #[test]
    fn the_text_of_a_crash_can_be_read_back() {
        let keeps = [
            Keep::Nothing,
            Keep::Everything,
            Keep::Random(7),
            Keep::Prefix(3),
            Keep::Subset(5),
            Keep::Without(2),
            Keep::Only(1),
            Keep::Torn(3, Tear::Head),
            Keep::Torn(3, Tear::Tail),
            Keep::Torn(3, Tear::Hole),
            Keep::Torn(3, Tear::Length),
            Keep::Bytes,
            Keep::Names,
        ];
        for keep in keeps {
            let then = Crash { operation: 2, death: Death::Kill, then: None };
            let crash =
                Crash { operation: 17, death: Death::Power(keep), then: Some(Box::new(then)) };
            assert_eq!(crash.to_string().parse::<Crash>(), Ok(crash));
        }
        for wrong in ["", "17", "x/kill", "17/nonsense", "17/torn:1", "17/kill,"] {
            assert!(wrong.parse::<Crash>().is_err(), "{wrong}");
        }
    }
}
