//! Every moment of a run, and every way to die there.
//!
//! 1. the workload runs once; the disk keeps the moment after each of its operations
//! 2. each moment is crashed in every way worth trying; what is left is recovered and compared
//! 3. of some, the recovery is cut after each of its operations, in every way, and recovered
//! 4. after some recoveries more is written, the power goes again, and again all is compared:
//!    what a recovery had dropped must not come back

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;

use orlop::Durability::{Buffered, Memory, Synced};
use orlop::sim::{Crash, Death, Keep, Moment, SimEnv};

use super::Found;
use super::part::Part;
use super::workload::Workload;
use crate::history::{self, Change, Recording, Step};
use crate::model::Model;
use crate::oracle::{self, Wrong};
use crate::tally::Tally;

/// The seed of every disk: sequences that begin alike then have images in common, which count once.
const SEED: u64 = 7;

/// How far an enumeration goes.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// The recovery of every so many-th image is cut short.
    pub nested: u64,
    /// After every so many-th recovery more is written.
    pub sequel: u64,
}

impl Depth {
    /// How many times more often those recoveries are cut that find volatile roots.
    const VOLATILE: u64 = 25;

    fn cuts_recovery(self, number: u64) -> bool {
        self.nested > 0 && number.is_multiple_of(self.nested)
    }

    fn cuts_volatile(self, number: u64) -> bool {
        self.nested > 0 && number.is_multiple_of((self.nested / Self::VOLATILE).max(1))
    }
}

/// Fingerprints of all images so far.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashSet<u128>>);

impl Seen {
    fn insert(&self, fingerprint: u128) -> bool {
        self.0.lock().expect("an insert does not panic").insert(fingerprint)
    }
}

/// Crashes a workload after every operation, or does a part of that, up to the first thing that is
/// wrong.
pub fn workload(
    workload: &Workload,
    depth: Depth,
    part: Part,
    seen: &Seen,
    tally: &mut Tally,
) -> Option<Found> {
    let run = Run::of(workload);
    if let Some(error) = &run.recording.error {
        let wrong = Wrong::Read(format!("without any crash: {error}"));
        return Some(Found { workload: workload.to_string(), crash: None, wrong, later: false });
    }
    tally.add("workloads", 1);
    let moments = run.moments();
    if part.number == 0 {
        tally.add("boundaries", moments.len() as u64);
    }
    let (mut examined, mut volatile) = (HashSet::new(), 0);
    let cases = moments
        .iter()
        .flat_map(|moment| Death::ways(moment, SEED).into_iter().map(move |death| (moment, death)));
    for (moment, death) in part.of_cases(cases) {
        let image = death.image(&moment.disk);
        let fingerprint = image.fingerprint();
        let promise = run.recording.history.promise_at(moment.mark);
        // A power cut that keeps everything shows what a kill shows; what follows is not alike.
        let kill = Some(death).filter(|death| death.is_kill());
        if !examined.insert((fingerprint, kill, death.least(promise), promise.begun)) {
            continue;
        }
        if seen.insert(fingerprint) {
            run.count(moment, tally);
        }
        let crash = Crash { operation: moment.operation, death, then: None };
        tally.add("recoveries", 1);
        let number = tally.count("recoveries");
        let on_sand = death == Death::Kill && is_root_volatile(&moment.disk);
        volatile += u64::from(on_sand);
        let nested = depth.cuts_recovery(number) || on_sand && depth.cuts_volatile(volatile);
        let sequel = depth.sequel > 0
            && (number.is_multiple_of(depth.sequel) || matches!(death, Death::Late(_)));
        let found = if nested {
            run.nested(&crash, moment, &image, depth.sequel, (seen, tally))
        } else {
            None
        };
        let found =
            found.or_else(|| run.check(&crash, moment, &image, sequel, (seen, &mut *tally)));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// One crash of a workload again.
///
/// # Errors
/// What is wrong, or that there is no such crash.
pub fn replay(workload: &Workload, crash: &Crash) -> Result<(), String> {
    let run = Run::of(workload);
    let at = |moments: &[Moment], operation: u64| {
        let found = moments.iter().find(|moment| moment.operation == operation).cloned();
        found.ok_or_else(|| format!("there is no operation {operation}"))
    };
    let moment = at(&run.moments, crash.operation)?;
    let image = crash.death.image(&moment.disk);
    let (seen, mut tally) = (Seen::default(), Tally::default());
    let counts = (&seen, &mut tally);
    let found = match &crash.then {
        None => run.check(crash, &moment, &image, true, counts),
        Some(then) => {
            let second = at(&recovery(&image, workload), then.operation)?;
            run.check(crash, &moment, &then.death.image(&second.disk), true, counts)
        }
    };
    found.map_or(Ok(()), |found| Err(found.to_string()))
}

/// A workload that was run, with its moments.
struct Run<'a> {
    workload: &'a Workload,
    recording: Recording,
    states: Vec<Model>,
    moments: Vec<Moment>,
}

/// What is written after a recovery, before the second crash; by turns one of these.
fn sequel(number: u64) -> Vec<Step> {
    let commit = |change, durability| Step::Commit(vec![change], durability);
    let put = |key: &str, durability| {
        let value = b"later".repeat(9);
        commit(Change::Put("z".to_owned(), key.as_bytes().to_vec(), value), durability)
    };
    match number % 3 {
        0 => vec![
            put("1", Memory),
            put("2", Buffered),
            put("3", Synced),
            put("4", Buffered),
            put("5", Memory),
        ],
        1 => vec![
            put("1", Buffered),
            Step::Flush,
            put("2", Memory),
            Step::Reopen,
            put("3", Buffered),
        ],
        _ => vec![
            commit(Change::Drop("a".to_owned()), Buffered),
            put("1", Synced),
            Step::Reopen,
            Step::Background,
            commit(Change::Clear("b".to_owned()), Memory),
        ],
    }
}

/// The moments of opening what a crash has left.
fn recovery(image: &SimEnv, workload: &Workload) -> Vec<Moment> {
    let image = image.kill();
    image.keep_moments();
    let opened = history::open(&image, workload.tree);
    let moments = image.moments();
    image.cut_after(image.operations());
    drop(opened);
    moments
}

/// Whether a manifest or superblock is not on the device yet: what a recovery builds on it, it builds
/// on sand.
pub fn is_root_volatile(disk: &SimEnv) -> bool {
    let is_root = |name: &str| name.ends_with(".manifest") || name.starts_with("SUPER");
    let pending = disk.pending_paths();
    pending.iter().filter_map(|path| path.file_name()?.to_str()).any(is_root)
}

/// Counts an image that a crash behind a recovery has left, of a disk as it was before it, if it is new.
fn count_later(disk: &SimEnv, image: &SimEnv, (seen, tally): (&Seen, &mut Tally)) {
    if seen.insert(image.fingerprint()) {
        tally.add("images", 1);
        tally.add("images_behind_recovery", 1);
        count_in_flight(disk, tally);
    }
}

/// Counts what the device has not been told to keep yet.
fn count_in_flight(disk: &SimEnv, tally: &mut Tally) {
    let edit = is_root_volatile(disk);
    let is_table = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "sst");
    let table = disk.pending_paths().iter().any(is_table);
    tally.add("images_with_edit_in_flight", u64::from(edit));
    tally.add("images_with_table_in_flight", u64::from(table));
    tally.add("images_in_flight", u64::from(edit || table));
}

impl<'a> Run<'a> {
    fn of(workload: &'a Workload) -> Self {
        let env = SimEnv::new(SEED);
        let Workload { tree, prelude, steps, .. } = workload;
        let recording = history::record(&env, *tree, Model::new(), prelude, steps);
        let states = recording.history.states();
        Run { workload, recording, states, moments: env.moments() }
    }

    /// The moments that are this workload's own: of a short sequence, those of its last step,
    /// since shorter sequences have had the others.
    fn moments(&self) -> &[Moment] {
        let starts = &self.recording.starts;
        let own = match starts.last() {
            Some(start) if self.workload.is_short() && self.workload.steps.len() > 1 => *start,
            _ => 0,
        };
        let first = self.moments.partition_point(|moment| moment.operation < own);
        self.moments.get(first..).unwrap_or_default()
    }

    /// Counts a new image, and what was going on when it came about.
    fn count(&self, moment: &Moment, tally: &mut Tally) {
        tally.add("images", 1);
        let activity = self.recording.activity(moment.operation);
        tally.add(&format!("images_during_{activity:?}").to_lowercase(), 1);
        count_in_flight(&moment.disk, tally);
    }

    fn possible(&self, moment: &Moment) -> &[Model] {
        let most = self.recording.history.promise_at(moment.mark).begun;
        self.states.get(..=most).unwrap_or(&self.states)
    }

    fn found(&self, crash: &Crash, wrong: Wrong, later: bool) -> Option<Found> {
        let crash = Some(crash.clone());
        Some(Found { workload: self.workload.to_string(), crash, wrong, later })
    }

    /// Recovers an image and compares; then writes on and crashes again, if asked to.
    fn check(
        &self,
        crash: &Crash,
        moment: &Moment,
        image: &SimEnv,
        sequel: bool,
        (seen, tally): (&Seen, &mut Tally),
    ) -> Option<Found> {
        let promise = self.recording.history.promise_at(moment.mark);
        let last = crash.then.as_ref().map_or(crash.death, |then| then.death);
        let survives_kill = crash.death.is_kill() && last.is_kill();
        let least = if survives_kill { promise.kill } else { promise.power };
        let (tree, possible) = (self.workload.tree, self.possible(moment));
        let k = match oracle::examine(image, tree, possible, least) {
            Ok((store, k)) => {
                image.cut_after(image.operations());
                drop(store);
                k
            }
            Err(wrong) => return self.found(crash, wrong, false),
        };
        // What a restarted process has served, a power cut behind it must not take.
        if last.is_kill() {
            let again = image.crash(Keep::Nothing);
            count_later(image, &again, (seen, &mut *tally));
            if let Err(wrong) = oracle::examine(&again, tree, possible, k) {
                return self.found(crash, wrong, true);
            }
        }
        if !sequel {
            return None;
        }
        self.check_sequel(&image.kill(), &possible[k], crash.operation, (seen, tally))
            .and_then(|wrong| self.found(crash, wrong, true))
    }

    /// What the recovery has served must outlive a power cut, and so must what is written then;
    /// what the recovery has dropped must stay away.
    fn check_sequel(
        &self,
        image: &SimEnv,
        start: &Model,
        seed: u64,
        (seen, tally): (&Seen, &mut Tally),
    ) -> Option<Wrong> {
        let tree = self.workload.tree;
        let promise = history::run(image, tree, start.clone(), &sequel(seed));
        if let Some(error) = &promise.error {
            return Some(Wrong::Read(format!("writing on: {error}")));
        }
        let keeps = [Keep::Nothing, Keep::Random(seed)];
        let crashes = keeps.map(|keep| (image.crash(keep), promise.power));
        crashes.into_iter().chain([(image.kill(), promise.kill)]).find_map(|(again, least)| {
            count_later(image, &again, (seen, &mut *tally));
            oracle::examine(&again, tree, &promise.states, least).err()
        })
    }

    /// Cuts the recovery of an image after each of its operations.
    fn nested(
        &self,
        first: &Crash,
        moment: &Moment,
        image: &SimEnv,
        sequel: u64,
        (seen, tally): (&Seen, &mut Tally),
    ) -> Option<Found> {
        let mut examined = HashSet::new();
        for second in recovery(image, self.workload) {
            for death in Death::ways(&second, SEED) {
                let again = death.image(&second.disk);
                let fingerprint = again.fingerprint();
                if !examined.insert((fingerprint, Some(death).filter(|death| death.is_kill()))) {
                    continue;
                }
                if seen.insert(fingerprint) {
                    tally.add("nested", 1);
                    tally.add("images", 1);
                    tally.add("images_during_recovery", 1);
                    count_in_flight(&second.disk, tally);
                }
                tally.add("nested_recoveries", 1);
                let number = tally.count("nested_recoveries");
                let sequel = sequel > 0 && number.is_multiple_of(sequel);
                let then = Crash { operation: second.operation, death, then: None };
                let crash = Crash { then: Some(Box::new(then)), ..first.clone() };
                let found = self.check(&crash, moment, &again, sequel, (seen, &mut *tally));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }
}
