//! Corruption: three reference stores are damaged in every way that SPEC.md lets one think of, and
//! what the engine then answers is held against what was written.
//!
//! 1. [`mod@reference`]: a closed store with every kind of file and block, one that was closed behind a
//!    flush, and one whose process was killed; [`inventory`] proves that no kind is missing
//! 2. [`plan`]: the mutants. Every bit of every byte; every length of every file, and more bytes
//!    behind it; sectors zeroed, swapped, misplaced, as they were earlier; whole files; numbers with
//!    hostile values under checksums that are right ([`sites`], [`fields`])
//! 3. [`probe`]: open, read everything, compact, read everything, close, open, read everything
//! 4. [`promise`]: what may be seen. Of a closed store everything or an error; of a killed one also
//!    the commits before a damaged tail that nothing vouches for
//! 5. [`place`]: `orlop verify` must find whatever a read found
//! 6. [`sweep`]: panics, endless jobs and hunger for memory are counted, and stop nothing
//!
//! Each mutant is counted under `mutants` (single bits also under `bits`) and under one outcome:
//!
//! | outcome | means |
//! |---|---|
//! | `detected_open` | an open was refused; what others showed was right |
//! | `detected_read` | every open worked; a read, compaction or close gave an error, the rest was right |
//! | `harmless` | everything was right: the bytes are free space, or stand there twice |
//! | `torn_tail` | killed store: exactly the commits before the damaged tail |
//! | `forged` | hostile numbers under right checksums: the store says something else |
//! | `silent` | a wrong answer, and no reason for it. Must be 0 |
//!
//! Of a single bit `harmless` is checked, too: `unchecked` counts flips in bytes that SPEC.md puts
//! under a checksum and that nobody noticed; must be 0.
//!
//! And beside these `panics`, `hangs`, `big_allocations`, `verify_missed` (a read found damage that
//! `verify` did not) and `broken_later` (all was right, and then the store did not open again),
//! which must all be 0.

pub mod anatomy;
pub mod fields;
pub mod image;
pub mod inventory;
pub mod mutant;
pub mod place;
pub mod plan;
pub mod probe;
pub mod promise;
pub mod reference;
pub mod seals;
pub mod sites;
pub mod sweep;

use self::anatomy::Anatomy;
use self::fields::Fields;
use self::inventory::Kinds;
use self::mutant::Mutant;
use self::place::Place;
use self::plan::{KINDS, Kind, Plan};
use self::probe::Seen;
use self::reference::Set;
use self::sweep::{Bounds, Jobs};
use crate::tally::{Limits, Tally};

/// Which mutants to try.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Only those of this set.
    pub set: Option<String>,
    /// Only those of this kind.
    pub kind: Option<Kind>,
    /// Of the kinds with many, every so many-th.
    pub every: u64,
    /// Of what is left, one of so many equal parts: number (from 0) and count.
    pub part: (u64, u64),
}

impl Default for Scope {
    fn default() -> Self {
        Self { set: None, kind: None, every: 1, part: (0, 1) }
    }
}

/// All mutants of all sets, as far as time allows: single bits first.
pub fn run(limits: &Limits) -> Tally {
    run_scope(limits, &Scope::default())
}

/// The mutants of a scope.
pub fn run_scope(limits: &Limits, scope: &Scope) -> Tally {
    let mut tally = Tally::default();
    match Lab::new(scope, limits.seed) {
        Ok(lab) => {
            lab.describe(&mut tally);
            let total = lab.count();
            tally.add("mutants_total", total);
            tally.add("bits_total", lab.count_of(Kind::Bits));
            let begun = sweep::sweep(lab, limits, Bounds::default(), &mut tally);
            if begun == 0 && total > 0 {
                tally.fail("harness_errors", "orlop-tests damage # no mutant could be begun");
            }
            let end = if begun == total { "all of them" } else { "time was up" };
            tally.note(format!("damage: {begun} of {total} mutants, {end}"));
        }
        Err(error) => tally.fail("unbuilt", format!("orlop-tests damage # {error}")),
    }
    tally
}

/// A set, taken apart, with its mutants.
pub struct Subject {
    /// The set.
    pub set: Set,
    /// Where things lie in it.
    pub anatomy: Anatomy,
    /// What it holds, counted.
    pub kinds: Kinds,
    /// Its numbers.
    pub fields: Fields,
    /// Its mutants.
    pub plan: Plan,
}

impl Subject {
    /// Takes a set apart. `required`: the kinds that it must hold.
    ///
    /// # Errors
    /// When it is not what SPEC.md says, or lacks a kind.
    pub fn new(set: Set, required: &[&str]) -> Result<Self, String> {
        let anatomy = anatomy::dissect(&set.files)?;
        let kinds = inventory::take(&set.files)?;
        let missing: Vec<_> = required.iter().filter(|kind| !kinds.contains_key(**kind)).collect();
        if !missing.is_empty() {
            return Err(format!("the {} set has no {missing:?}; it has {kinds:?}", set.name));
        }
        let fields = Fields::new(&set.files, &anatomy);
        let plan = Plan::new(&set, &anatomy, &fields);
        Ok(Self { set, anatomy, kinds, fields, plan })
    }

    /// All sets.
    ///
    /// # Errors
    /// As [`Subject::new`], and when a script does not run as it was written for.
    pub fn all() -> Result<[Self; 3], String> {
        let [closed, flushed, crashed] = reference::all()?;
        Ok([
            Self::new(closed, inventory::REQUIRED)?,
            Self::new(flushed, inventory::REQUIRED_FLUSHED)?,
            Self::new(crashed, inventory::REQUIRED_CRASHED)?,
        ])
    }

    /// The command that tries one mutant.
    pub fn command(&self, mutant: &Mutant) -> String {
        let command = format!("orlop-tests damage --set {} --mutant {mutant}", self.set.name);
        match mutant {
            Mutant::Field(site, _) => format!("{command} # {}", self.fields.describe(*site)),
            _ => command,
        }
    }

    /// Tries one mutant; `None` if it changes no byte.
    pub fn try_one(&self, mutant: &Mutant, place: &Place) -> Option<Tried> {
        let changes = mutant.changes(&self.set, &self.fields);
        let is_change =
            |(name, bytes): &(String, Option<Vec<u8>>)| self.set.files.get(name) != bytes.as_ref();
        if !changes.iter().any(is_change) {
            return None;
        }
        let allowed = promise::allowed(&self.set, &self.anatomy, &changes);
        let seen = probe::probe(&self.set, &changes, &allowed);
        let forged = matches!(mutant, Mutant::Field(..));
        let outcome = match &seen {
            Seen { wrong: Some(_), .. } if forged => "forged",
            Seen { wrong: Some(_), .. } => "silent",
            seen if seen.commits < self.set.commits() => "torn_tail",
            Seen { refused: 1.., .. } => "detected_open",
            Seen { failed: 1.., .. } => "detected_read",
            _ => "harmless",
        };
        // What no read finds, verify need not find; what is torn, it may note.
        let found = seen.refused + seen.failed > 0;
        let asked = found || outcome != "harmless" || !matches!(mutant, Mutant::Bit(_, _, 1..));
        let verified = asked.then(|| place.verify(&self.set, &changes).map_err(|e| e.to_string()));
        let explained = match mutant {
            Mutant::Bit(file, at, _) if outcome == "harmless" => {
                promise::may_be_harmless(&self.set, &self.anatomy, file, *at)
            }
            _ => true,
        };
        Some(Tried { seen, outcome, found, explained, verified })
    }
}

/// What came of a mutant.
#[derive(Debug)]
pub struct Tried {
    /// What the engine showed.
    pub seen: Seen,
    /// The outcome; see the module.
    pub outcome: &'static str,
    /// Whether a read, or an open, found the damage.
    pub found: bool,
    /// Whether it is no wonder that it was not found, if it was not.
    pub explained: bool,
    /// What `verify` found, if it was asked.
    pub verified: Option<Result<Vec<String>, String>>,
}

impl Tried {
    /// Counts it; `command` reproduces it.
    pub fn count(&self, command: &str, tally: &mut Tally) {
        match (&self.seen.wrong, self.outcome) {
            (Some(wrong), "silent") => tally.fail("silent", format!("{command} # {wrong}")),
            _ => tally.add(self.outcome, 1),
        }
        if !self.explained {
            tally.fail("unchecked", format!("{command} # no checksum is held against this"));
        }
        if self.seen.broken {
            let error = self.seen.error.as_deref().unwrap_or_default();
            tally.fail("broken_later", format!("{command} # {error}"));
        }
        match &self.verified {
            None => {}
            Some(Ok(findings)) => {
                tally.add("verified", 1);
                let error = self.seen.error.as_ref().or(self.seen.wrong.as_ref());
                let line = || format!("{command} # {}", error.map_or("", String::as_str));
                match findings.is_empty() {
                    false => {}
                    true if self.outcome == "harmless" && !self.found => {}
                    true if self.found || self.outcome == "silent" => {
                        tally.fail("verify_missed", line());
                    }
                    true => tally.add("forged_unseen", 1),
                }
            }
            Some(Err(error)) => tally.fail("verify_failed", format!("{command} # {error}")),
        }
    }
}

/// A row of mutants of one kind of one set.
struct Stretch {
    subject: usize,
    kind: Kind,
    count: u64,
    every: u64,
    offset: u64,
}

/// The sets and the mutants of a scope, numbered through.
struct Lab {
    subjects: Vec<Subject>,
    stretches: Vec<Stretch>,
    part: (u64, u64),
}

impl Lab {
    fn new(scope: &Scope, seed: u64) -> Result<Self, String> {
        let subjects = Subject::all()?.into_iter();
        let named =
            |subject: &Subject| scope.set.as_ref().is_none_or(|set| subject.set.name == set);
        let subjects: Vec<Subject> = subjects.filter(named).collect();
        let mut stretches = Vec::new();
        for (kind, _) in
            KINDS.iter().filter(|(kind, _)| scope.kind.is_none_or(|only| only == *kind))
        {
            for (at, subject) in subjects.iter().enumerate() {
                let all = subject.plan.count(*kind);
                let every = if all > FEW { scope.every.max(1) } else { 1 };
                let offset = seed % every;
                let count = all.saturating_sub(offset).div_ceil(every);
                stretches.push(Stretch { subject: at, kind: *kind, count, every, offset });
            }
        }
        Ok(Self { subjects, stretches, part: (scope.part.0, scope.part.1.max(1)) })
    }

    fn describe(&self, tally: &mut Tally) {
        for Subject { set, kinds, plan, fields, .. } in &self.subjects {
            let files = set.files.iter().map(|(name, bytes)| format!("{name} {}", bytes.len()));
            let files = files.collect::<Vec<_>>().join(", ");
            tally.note(format!("set {}: {} bytes: {files}", set.name, set.bytes()));
            let kinds = kinds.iter().map(|(kind, count)| format!("{kind} {count}"));
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            tally.note(format!("set {} holds: {kinds}", set.name));
            let mutants = KINDS.map(|(kind, name)| format!("{name} {}", plan.count(kind)));
            tally.note(format!("set {} mutants: {}", set.name, mutants.join(", ")));
            let sites = sites::names(fields.sites());
            tally.note(format!(
                "set {}: {} numbers of {} names",
                set.name,
                fields.sites().len(),
                sites.len()
            ));
        }
        for name in OUTCOMES {
            tally.add(name, 0);
        }
    }

    /// How many mutants of a kind there are.
    fn count_of(&self, kind: Kind) -> u64 {
        self.stretches.iter().filter(|row| row.kind == kind).map(|row| row.count).sum()
    }

    fn find(&self, job: u64) -> Option<(&Subject, Kind, Mutant)> {
        let (part, parts) = self.part;
        let mut at = job * parts + part;
        for stretch in &self.stretches {
            if at < stretch.count {
                let subject = &self.subjects[stretch.subject];
                let number = stretch.offset + at * stretch.every;
                return Some((subject, stretch.kind, subject.plan.mutant(stretch.kind, number)?));
            }
            at -= stretch.count;
        }
        None
    }
}

/// Kinds with no more mutants than this are tried whole.
const FEW: u64 = 600;

/// Lines that are printed even when they count nothing.
const OUTCOMES: [&str; 13] = [
    "mutants",
    "bits",
    "detected_open",
    "detected_read",
    "harmless",
    "torn_tail",
    "unchecked",
    "forged",
    "forged_unseen",
    "silent",
    "verified",
    "verify_missed",
    "broken_later",
];

impl Jobs for Lab {
    type Desk = std::io::Result<Place>;

    fn count(&self) -> u64 {
        let all: u64 = self.stretches.iter().map(|stretch| stretch.count).sum();
        all.saturating_sub(self.part.0).div_ceil(self.part.1)
    }

    fn command(&self, job: u64) -> String {
        match self.find(job) {
            Some((subject, _, mutant)) => subject.command(&mutant),
            None => format!("orlop-tests damage # no job {job}"),
        }
    }

    fn desk(&self) -> Self::Desk {
        Place::new(&self.subjects.iter().map(|subject| &subject.set).collect::<Vec<_>>())
    }

    fn work(&self, job: u64, desk: &mut Self::Desk, tally: &mut Tally) {
        let Some((subject, kind, mutant)) = self.find(job) else { return };
        let place = match desk {
            Ok(place) => place,
            Err(error) => {
                return tally.fail("verify_failed", format!("orlop-tests damage # {error}"));
            }
        };
        let Some(tried) = subject.try_one(&mutant, place) else {
            return tally.add("unchanged", 1);
        };
        tally.add("mutants", 1);
        if kind == Kind::Bits {
            tally.add("bits", 1);
        }
        tried.count(&subject.command(&mutant), tally);
    }
}

/// Tries one mutant of a set by name, and tells everything about it.
///
/// # Errors
/// When there is no such set or mutant.
pub fn tell(set: &str, mutant: &str) -> Result<Tally, String> {
    let mutant: Mutant = mutant.parse()?;
    let subjects = Subject::all()?;
    let subject = subjects.iter().find(|subject| subject.set.name == set);
    let subject = subject.ok_or_else(|| format!("no set {set:?}: closed, flushed or crashed"))?;
    let place = Place::new(&[&subject.set]).map_err(|error| error.to_string())?;
    let mut tally = Tally::default();
    match subject.try_one(&mutant, &place) {
        None => tally.note("this changes no byte"),
        Some(tried) => {
            tried.count(&subject.command(&mutant), &mut tally);
            let Seen { refused, failed, commits, .. } = tried.seen;
            let all = subject.set.commits();
            tally.note(format!(
                "opens refused {refused}, reads failed {failed}, commits seen {commits} of {all}"
            ));
            tally.note(format!("first error: {:?}", tried.seen.error));
            tally.note(format!("wrong: {:?}", tried.seen.wrong));
            tally.note(format!("verify: {:?}", tried.verified));
        }
    }
    Ok(tally)
}
