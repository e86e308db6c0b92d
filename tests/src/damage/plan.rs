//! Which mutants there are of a set, in an order that stays: kind by kind, numbered from 0.

use std::collections::BTreeSet;

use super::anatomy::Anatomy;
use super::fields::Fields;
use super::mutant::{Mutant, SECTOR, Tail, sector_of};
use super::reference::Set;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Single bits.
    Bits,
    /// Truncated files.
    Cuts,
    /// Appended bytes.
    Appended,
    /// Zeroed sectors.
    Zeroed,
    /// Sectors as they were earlier.
    Stale,
    /// Swapped sectors.
    Swapped,
    /// Sectors over others.
    Misplaced,
    /// Whole frames and parts of tables over others of the same length.
    Moved,
    /// Whole files.
    Files,
    /// Hostile numbers under right checksums.
    Fields,
}

/// Every kind, with its name on the command line.
pub const KINDS: [(Kind, &str); 10] = [
    (Kind::Bits, "bits"),
    (Kind::Cuts, "cuts"),
    (Kind::Appended, "appended"),
    (Kind::Zeroed, "zeroed"),
    (Kind::Stale, "stale"),
    (Kind::Swapped, "swapped"),
    (Kind::Misplaced, "misplaced"),
    (Kind::Moved, "moved"),
    (Kind::Files, "files"),
    (Kind::Fields, "fields"),
];

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// Of long runs of zeros every so many-th byte is damaged: they are alike, and mostly the space that
/// a segment reserves. Of the closed set, which holds every kind, every byte is, zero or not.
const ZERO_STEP: usize = 61;

/// How many zeros are a long run.
const LONG: usize = 128;

/// Bytes at equal distances.
#[derive(Debug, Clone)]
struct Span {
    file: String,
    start: usize,
    count: usize,
    step: usize,
}

/// All mutants of a set.
pub struct Plan {
    spans: Vec<Span>,
    listed: Vec<(Kind, Vec<Mutant>)>,
}

impl Plan {
    /// Lists the mutants of a set.
    pub fn new(set: &Set, anatomy: &Anatomy, fields: &Fields) -> Self {
        let listed = vec![
            (Kind::Appended, appended(set)),
            (Kind::Zeroed, zeroed(set)),
            (Kind::Stale, stale(set)),
            (Kind::Swapped, pairs(set, true)),
            (Kind::Misplaced, pairs(set, false)),
            (Kind::Moved, moved(set, anatomy)),
            (Kind::Files, files(set)),
            (Kind::Fields, fields.mutants()),
        ];
        Self { spans: spans(set), listed }
    }

    /// How many mutants of a kind there are.
    pub fn count(&self, kind: Kind) -> u64 {
        let bytes: usize = self.spans.iter().map(|span| span.count).sum();
        match kind {
            Kind::Bits => bytes as u64 * 8,
            Kind::Cuts => bytes as u64,
            _ => self.list(kind).len() as u64,
        }
    }

    fn list(&self, kind: Kind) -> &[Mutant] {
        let found = self.listed.iter().find(|(listed, _)| *listed == kind);
        found.map(|(_, mutants)| mutants.as_slice()).unwrap_or_default()
    }

    /// One of the mutants of a kind; `None` behind the last.
    pub fn mutant(&self, kind: Kind, at: u64) -> Option<Mutant> {
        match kind {
            Kind::Bits => {
                let (file, byte) = self.byte(at / 8)?;
                Some(Mutant::Bit(file, byte, (at % 8) as u8))
            }
            Kind::Cuts => self.byte(at).map(|(file, byte)| Mutant::Cut(file, byte)),
            _ => self.list(kind).get(usize::try_from(at).ok()?).cloned(),
        }
    }

    fn byte(&self, at: u64) -> Option<(String, usize)> {
        let mut at = usize::try_from(at).ok()?;
        for span in &self.spans {
            if at < span.count {
                return Some((span.file.clone(), span.start + at * span.step));
            }
            at -= span.count;
        }
        None
    }
}

fn spans(set: &Set) -> Vec<Span> {
    let mut spans = Vec::new();
    for (file, bytes) in &set.files {
        let mut add = |start: usize, end: usize, step: usize| {
            let count = (end - start).div_ceil(step);
            spans.push(Span { file: file.clone(), start, count, step });
        };
        let (mut done, mut at) = (0, 0);
        while !set.every_byte && at < bytes.len() {
            let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
            if zeros >= LONG {
                // The first and the last zeros of a run stand beside something.
                let (start, end) = (at + LONG / 8, at + zeros - LONG / 8);
                add(done, start, 1);
                add(start, end, ZERO_STEP);
                done = end;
            }
            at += zeros.max(1);
        }
        add(done, bytes.len(), 1);
    }
    spans
}

fn appended(set: &Set) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for file in set.files.keys() {
        for len in [1, 7, 8, 40, 64, 128, 511, 512, 4096, 12_288, 70_000] {
            for tail in [Tail::Zeros, Tail::Garbage] {
                mutants.push(Mutant::Append(file.clone(), tail, len));
            }
        }
    }
    mutants
}

/// Sectors of both grains: what a disk writes as one, and what the format takes for that.
const GRAINS: [usize; 2] = [SECTOR, 4096];

fn zeroed(set: &Set) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (file, bytes) in &set.files {
        for size in GRAINS {
            let dirty = |sector: &usize| sector_of(bytes, size, *sector).iter().any(|b| *b != 0);
            let sectors = (0..bytes.len().div_ceil(size)).filter(dirty);
            mutants.extend(sectors.map(|sector| Mutant::Zero(file.clone(), size, sector)));
        }
    }
    mutants
}

/// Every sector with everything that it ever held before, zeros where there was nothing.
fn stale(set: &Set) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (file, bytes) in &set.files {
        let older = set.older.get(file).map(Vec::as_slice).unwrap_or_default();
        for size in GRAINS {
            for sector in 0..bytes.len().div_ceil(size) {
                let now = sector_of(bytes, size, sector);
                let mut seen = BTreeSet::from([now.to_vec()]);
                for (version, older) in older.iter().enumerate() {
                    let mut then = sector_of(older, size, sector).to_vec();
                    then.resize(now.len(), 0);
                    if seen.insert(then) {
                        mutants.push(Mutant::Old(file.clone(), size, sector, version));
                    }
                }
            }
        }
    }
    mutants
}

/// Sectors to move about: all but those of zeros, of which one a file is enough.
fn movable(set: &Set) -> Vec<(String, usize)> {
    let mut sectors = Vec::new();
    for (file, bytes) in &set.files {
        let mut zeros = false;
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let dirty = sector_of(bytes, SECTOR, sector).iter().any(|byte| *byte != 0);
            if dirty || !zeros {
                sectors.push((file.clone(), sector));
            }
            zeros |= !dirty;
        }
    }
    sectors
}

fn pairs(set: &Set, swap: bool) -> Vec<Mutant> {
    let sectors = movable(set);
    let content = |(file, sector): &(String, usize)| sector_of(&set.files[file], SECTOR, *sector);
    let mut mutants = Vec::new();
    for (at, left) in sectors.iter().enumerate() {
        for (other, right) in sectors.iter().enumerate() {
            if at == other || content(left) == content(right) {
                continue;
            }
            if !swap {
                mutants.push(Mutant::Over(left.clone(), right.clone()));
            } else if at < other {
                mutants.push(Mutant::Swap(left.clone(), right.clone()));
            }
        }
    }
    mutants
}

/// Frames and sealed parts are whole where they come from: only that they are bound to their place
/// tells.
fn moved(set: &Set, anatomy: &Anatomy) -> Vec<Mutant> {
    let pieces = anatomy.pieces();
    let mut mutants = Vec::new();
    for (to, into) in &pieces {
        for (from, range) in &pieces {
            let same = set.files[*to][into.clone()] == set.files[*from][range.clone()];
            if !same && into.len() == range.len() {
                let source = Some(((*from).clone(), range.start));
                mutants.push(Mutant::Move((*to).clone(), into.start, into.len(), source));
            }
        }
        mutants.push(Mutant::Move((*to).clone(), into.start, into.len(), None));
    }
    mutants
}

fn files(set: &Set) -> Vec<Mutant> {
    let names: Vec<&String> = set.files.keys().collect();
    let mut mutants = Vec::new();
    for (at, name) in names.iter().enumerate() {
        mutants.push(Mutant::Missing((*name).clone()));
        if set.twin.contains_key(*name) {
            mutants.push(Mutant::Twin((*name).clone()));
        }
        let versions = set.older.get(*name).map_or(0, Vec::len);
        mutants.extend((0..versions).map(|version| Mutant::Older((*name).clone(), version)));
        for other in &names[at + 1..] {
            mutants.push(Mutant::Exchange((*name).clone(), (*other).clone()));
        }
        let free = ["000000", "000001", "000002", "000077", "999999", "1000000"];
        let free = free.iter().flat_map(|number| {
            ["log", "sst", "manifest", "blob", "log.tmp"].map(|kind| format!("{number}.{kind}"))
        });
        let others = ["SUPER.tmp", "SUPER.old", "LOCK.tmp"].map(str::to_owned);
        let free = free.chain(others).filter(|free| !set.files.contains_key(free));
        mutants.extend(free.map(|free| Mutant::Twice((*name).clone(), free)));
    }
    mutants
}
