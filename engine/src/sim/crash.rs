//! Every crash of one run of a program.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::{History, Keep, Moment, Promise, SimEnv};

/// How a program ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Death {
    /// The process is killed: the page cache survives, and is as volatile as before.
    Kill,
    /// The process is killed, and the write that it had in flight lands only after so many
    /// operations of the next one.
    Late(u64),
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
            Death::Late(operations) => write!(f, "late:{operations}"),
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
        let death = match (death, death.strip_prefix("late:")) {
            ("kill", _) => Death::Kill,
            (_, Some(operations)) => Death::Late(operations.parse().map_err(|_| wrong())?),
            (keep, None) => Death::Power(keep.parse()?),
        };
        Ok(Crash { operation, death, then })
    }
}

/// When late writes land: in the recovery, and behind it.
const LATE: [u64; 4] = [1, 4, 12, 40];

impl Death {
    /// The ways to die at a moment that are worth trying.
    pub fn ways(moment: &Moment, seed: u64) -> Vec<Death> {
        let seed = seed.wrapping_add(moment.operation);
        let mut ways: Vec<_> = moment.disk.ways(seed).into_iter().map(Death::Power).collect();
        ways.push(Death::Kill);
        if moment.disk.in_flight() > 0 {
            ways.extend(LATE.map(Death::Late));
        }
        ways
    }

    /// Whether the page cache survives it.
    pub fn is_kill(self) -> bool {
        !matches!(self, Death::Power(_))
    }

    /// What the next process finds.
    pub fn image(self, disk: &SimEnv) -> SimEnv {
        match self {
            Death::Kill => disk.kill(),
            Death::Late(operations) => disk.kill_late(operations),
            Death::Power(keep) => disk.crash(keep),
        }
    }

    /// The least number of commits that survive it.
    pub fn least(self, promise: Promise) -> usize {
        match self {
            Death::Kill | Death::Late(_) => promise.kill,
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
    /// The moments until the check asked for its verdict; `None`: it has not.
    asked: RefCell<Option<Vec<Moment>>>,
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
        self.asked.borrow_mut().get_or_insert_with(|| self.disk.moments());
        self.history.find(found, self.least, self.most).map_err(|broken| broken.to_string())
    }
}

/// What a crash test has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Report {
    /// Operations of the program.
    pub operations: u64,
    /// Different disks that were checked: of different names or bytes.
    pub images: u64,
    /// Those of them that only a recovery left which was itself cut short.
    pub nested: u64,
    /// Checks: of a disk after a power cut and after a kill, and for each promise that it meets.
    pub checks: u64,
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

    /// Cuts the recovery behind every `n`-th check short, after each of its operations; 0: of none.
    /// Default: 20.
    #[must_use]
    pub fn nested(mut self, n: u64) -> Self {
        self.nested = n;
        self
    }

    /// Runs `program` on an empty disk, then `check` on whatever each crash has left.
    ///
    /// `program` tells its history what it commits. `check` opens what is on the disk, finds the
    /// state in it and asks [`Survivor::find`]; until then it must not write what changes that
    /// state, since its own operations are cut short as well. Both open their stores with
    /// [`Background::Manual`](crate::Background::Manual) and use one thread: a run must be the same
    /// each time, or no crash can be repeated.
    ///
    /// # Errors
    /// The first failure; also a program that never acknowledges anything, and a check that never
    /// asks: both would pass whatever happens.
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
        let (mut checked, mut images) = (HashSet::new(), HashSet::new());
        for moment in &moments {
            for death in Death::ways(moment, self.seed) {
                let image = death.image(&moment.disk);
                let fingerprint = image.fingerprint();
                // A power cut that keeps everything shows what a kill shows, and promises less.
                let kill = Some(death).filter(|death| death.is_kill());
                if !checked.insert((fingerprint, kill, moment.mark)) {
                    continue;
                }
                report.checks += 1;
                report.images += u64::from(images.insert(fingerprint));
                let crash = Crash { operation: moment.operation, death, then: None };
                let nested = self.nested > 0 && report.checks.is_multiple_of(self.nested);
                let again = nested.then(|| image.kill());
                examine(&history, moment.mark, &crash, image, &check)
                    .map_err(|what| failed(&disk.trace(), crash.clone(), what))?;
                if let Some(again) = again {
                    let counts = (&mut report, &mut images);
                    self.recoveries(&history, moment.mark, &crash, again, &check, counts)?;
                }
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
        let fail = |what| failed(&disk.trace(), crash.clone(), what);
        let none = || fail(format!("the program has {} operations", disk.operations()));
        let moments = disk.moments();
        let moment = moments.iter().find(|moment| moment.operation == crash.operation);
        let moment = moment.ok_or_else(none)?;
        let mut image = crash.death.image(&moment.disk);
        if let Some(then) = &crash.then {
            let first = Crash { then: None, ..crash.clone() };
            let moments = recovery(&history, moment.mark, &first, &image, &check);
            let second = moments.iter().find(|moment| moment.operation == then.operation);
            image = then.death.image(&second.ok_or_else(none)?.disk);
        }
        examine(&history, moment.mark, crash, image, &check).map(drop).map_err(fail)
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
        let failure = |what| Box::new(Failure { crash: None, what, trace: Vec::new() });
        program(&disk, &history).map_err(|error| failure(error.to_string()))?;
        if history.is_all_talk() {
            let what = "it began commits and acknowledged none: no crash can break a promise";
            return Err(failure(what.to_owned()));
        }
        Ok((disk, history))
    }

    fn recoveries<S: Clone + PartialEq>(
        &self,
        history: &History<S>,
        mark: u64,
        first: &Crash,
        image: SimEnv,
        check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
        (report, images): (&mut Report, &mut HashSet<u128>),
    ) -> Result<(), Box<Failure>> {
        let moments = recovery(history, mark, first, &image, check);
        let mut checked = HashSet::new();
        for moment in &moments {
            for death in Death::ways(moment, self.seed) {
                let again = death.image(&moment.disk);
                let fingerprint = again.fingerprint();
                if !checked.insert((fingerprint, Some(death).filter(|death| death.is_kill()))) {
                    continue;
                }
                report.checks += 1;
                let new = u64::from(images.insert(fingerprint));
                (report.images, report.nested) = (report.images + new, report.nested + new);
                let then = Crash { operation: moment.operation, death, then: None };
                let crash = Crash { then: Some(Box::new(then)), ..first.clone() };
                examine(history, mark, &crash, again, check)
                    .map_err(|what| failed(&image.trace(), crash, what))?;
            }
        }
        Ok(())
    }
}

/// The moments of a recovery: of what `check` does on an image until it asks for its verdict.
fn recovery<S: Clone + PartialEq>(
    history: &History<S>,
    mark: u64,
    crash: &Crash,
    image: &SimEnv,
    check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
) -> Vec<Moment> {
    image.keep_moments();
    let survivor = survivor(history, mark, crash, image.clone());
    // Its verdict is asked for separately.
    let _ = check(&survivor);
    survivor.asked.into_inner().unwrap_or_else(|| image.moments())
}

fn survivor<'a, S>(
    history: &'a History<S>,
    mark: u64,
    crash: &Crash,
    disk: SimEnv,
) -> Survivor<'a, S>
where
    S: Clone + PartialEq,
{
    let promise = history.promise_at(mark);
    // What a kill leaves in the page cache, a power cut that follows can still take.
    let last = crash.then.as_ref().map_or(crash.death, |then| then.death);
    let kills = crash.death.is_kill() && last.is_kill();
    let least = if kills { promise.kill } else { promise.power };
    Survivor { disk, history, least, most: promise.begun, asked: RefCell::default() }
}

fn examine<S: Clone + PartialEq>(
    history: &History<S>,
    mark: u64,
    crash: &Crash,
    disk: SimEnv,
    check: &impl Fn(&Survivor<'_, S>) -> Result<(), String>,
) -> Result<(), String> {
    let survivor = survivor(history, mark, crash, disk);
    check(&survivor)?;
    match survivor.asked.into_inner() {
        Some(_) => Ok(()),
        None => Err("the check passed without having asked `Survivor::find`".to_owned()),
    }
}

/// `trace`: of the disk on which the last operation of the crash was done.
fn failed(trace: &[String], crash: Crash, what: String) -> Box<Failure> {
    let last = crash.then.as_ref().map_or(crash.operation, |then| then.operation);
    let until = usize::try_from(last).unwrap_or(usize::MAX).min(trace.len());
    let trace = trace[until.saturating_sub(TOLD)..until].to_vec();
    Box::new(Failure { crash: Some(crash), what, trace })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::env::Env;
    use crate::options::Durability;
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
        assert_eq!(Death::Late(4).to_string(), "late:4");
        assert_eq!("3/late:4".parse::<Crash>().unwrap().death, Death::Late(4));
        for keep in keeps {
            let then = Crash { operation: 2, death: Death::Kill, then: None };
            let crash =
                Crash { operation: 17, death: Death::Power(keep), then: Some(Box::new(then)) };
            assert_eq!(crash.to_string().parse::<Crash>(), Ok(crash));
        }
        for wrong in ["", "17", "x/kill", "17/nonsense", "17/torn:1", "17/kill,", "17/late:x"] {
            assert!(wrong.parse::<Crash>().is_err(), "{wrong}");
        }
    }

    /// A counter in a file of its own, which is written and perhaps synced at each step.
    fn count(disk: &SimEnv, history: &History<u8>, sync: bool) -> std::io::Result<()> {
        let mut file = disk.create(Path::new("/n"))?;
        file.sync()?;
        disk.sync_dir(Path::new("/"))?;
        for n in 1..4 {
            let durability = if sync { Durability::Synced } else { Durability::Buffered };
            history.commit(n, durability, || {
                file.write_at(0, &[n])?;
                if sync { file.sync() } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    fn read(survivor: &Survivor<'_, u8>) -> Result<(), String> {
        let found = survivor.disk().read(Path::new("/n")).unwrap_or_default();
        survivor.find(&found.first().copied().unwrap_or(0)).map(drop)
    }

    #[test]
    fn a_promise_that_only_a_kill_breaks_is_found() {
        let test = CrashTest::new();
        let report = test.run(0, |disk, history| count(disk, history, false), read).unwrap();
        assert!(report.images < report.checks, "{report:?}");
        // It says before the write what it may say behind it.
        let lying = |disk: &SimEnv, history: &History<u8>| -> std::io::Result<()> {
            let mut file = disk.create(Path::new("/n"))?;
            history.commit(1, Durability::Buffered, || Ok::<_, std::io::Error>(()))?;
            file.write_at(0, &[1])
        };
        let failure = test.run(0, lying, read).unwrap_err();
        assert_eq!(failure.crash.as_ref().map(|crash| crash.death), Some(Death::Kill));
        assert!(failure.what.starts_with("lost"), "{failure}");
        let again = test.replay(failure.crash.as_ref().unwrap(), 0, lying, read).unwrap_err();
        assert_eq!(again.what, failure.what);
    }

    #[test]
    fn what_could_never_fail_is_a_failure() {
        let test = CrashTest::new();
        let program = |disk: &SimEnv, history: &History<u8>| count(disk, history, true);
        let silent = test.run(0, program, |_| Ok(())).unwrap_err();
        assert!(silent.what.contains("find"), "{silent}");
        let promiseless = |_: &SimEnv, history: &History<u8>| -> std::io::Result<()> {
            history.begin(1);
            Ok(())
        };
        let failure = test.run(0, promiseless, read).unwrap_err();
        assert!(failure.what.contains("acknowledged none"), "{failure}");
    }
}
