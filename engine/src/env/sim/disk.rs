//! The simulated disk: a page cache, a medium, and the changes that are in one and not yet in
//! the other. [`super::SimEnv`] puts the verbs on top.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::faults::{Begun, FaultKind, Record, Refused, Verb};
use super::image::{Change, Image, Inode, PAGE};
use super::keep::{Fate, Keep, Sort};
use super::{Moment, SimEnv};

/// Any time will do, as long as it is always the same: a day in November 2023.
const START_MS: u64 = 1_700_000_000_000;

#[derive(Debug)]
pub(super) struct Disk {
    /// What the running program sees.
    pub(super) cache: Image,
    /// What every crash leaves.
    media: Image,
    /// The way from `media` to `cache`, in the order it was gone.
    units: Vec<Unit>,
    next_unit: u64,
    next_inode: Inode,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) random: Random,
    pub(super) now_ms: u64,
    pub(super) record: Record,
    /// The disk after each operation, if asked for.
    pub(super) moments: Option<Vec<Moment>>,
    /// Writes of a killed process, and after which operation of this one they land.
    late: (u64, Vec<Change>),
}

/// A change that a crash may keep or lose.
#[derive(Debug, Clone)]
struct Unit {
    id: u64,
    change: Change,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Submitted and not reaped: no sync covers it.
    InFlight,
    /// In the page cache: the next sync makes it durable.
    Waiting,
    /// A sync over it failed and the kernel marked its pages clean: no later sync makes it
    /// durable, however well it succeeds.
    Forgotten,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Disk {
        Disk::holding(Image::default(), Random::of(seed), START_MS, 0)
    }

    /// A disk just switched on.
    fn holding(image: Image, random: Random, now_ms: u64, next_inode: Inode) -> Disk {
        Disk {
            media: image.clone(),
            cache: image,
            units: Vec::new(),
            next_unit: 0,
            next_inode,
            locks: BTreeSet::new(),
            random,
            now_ms,
            record: Record::default(),
            moments: None,
            late: (0, Vec::new()),
        }
    }

    /// Counts one operation, and keeps the moment before it if asked to.
    pub(super) fn begin(&mut self, verb: Verb, what: String) -> Result<Begun, Refused> {
        if self.record.operations >= self.late.0 {
            for change in mem::take(&mut self.late.1) {
                self.change(change).expect("what was in a page cache before fits into one");
            }
        }
        if !self.record.is_off()
            && let Some(mut moments) = self.moments.take()
        {
            moments.push(self.moment());
            self.moments = Some(moments);
        }
        self.record.begin(verb, what)
    }

    /// As [`Disk::begin`], for an operation to which nothing can happen later.
    pub(super) fn begin_simple(&mut self, verb: Verb, what: String) -> io::Result<()> {
        Ok(self.begin(verb, what).map(drop)?)
    }

    /// This moment, on a disk of its own.
    pub(super) fn moment(&self) -> Moment {
        let Record { operations, mark, .. } = self.record;
        Moment { operation: operations, mark, disk: SimEnv::of(self.as_it_is()) }
    }

    /// A copy to whose program the power is off.
    fn as_it_is(&self) -> Disk {
        Disk {
            cache: self.cache.clone(),
            media: self.media.clone(),
            units: self.units.clone(),
            next_unit: self.next_unit,
            next_inode: self.next_inode,
            locks: self.locks.clone(),
            random: self.random.clone(),
            now_ms: self.now_ms,
            record: Record { cut: Some(0), ..Record::default() },
            moments: None,
            late: self.late.clone(),
        }
    }

    /// Changes the page cache; the medium follows when it is told to. Gives the id of the unit.
    pub(super) fn change(&mut self, change: Change) -> io::Result<u64> {
        self.cache.apply(&change)?;
        let id = self.next_unit;
        self.next_unit += 1;
        self.units.push(Unit { id, change, state: State::Waiting });
        Ok(id)
    }

    /// A change that no sync covers before [`Disk::landed`].
    pub(super) fn change_in_flight(&mut self, change: Change) -> io::Result<u64> {
        let id = self.change(change)?;
        self.set_state(id, State::InFlight);
        Ok(id)
    }

    /// A change in flight arrived in the page cache.
    pub(super) fn landed(&mut self, id: u64) {
        if self.state(id) == Some(State::InFlight) {
            self.set_state(id, State::Waiting);
        }
    }

    /// A change whose way to the medium is blocked: nobody knows what of it will arrive.
    pub(super) fn failed(&mut self, id: u64) {
        self.set_state(id, State::Forgotten);
    }

    /// A change that never arrives. It stays in the page cache.
    pub(super) fn lose(&mut self, id: u64) {
        self.units.retain(|unit| unit.id != id);
    }

    /// A write that will arrive a page away. The page cache has it where it should be.
    pub(super) fn misdirect(&mut self, id: u64) {
        let unit = self.units.iter_mut().rev().find(|unit| unit.id == id);
        if let Some(Unit { change: Change::Write { offset, .. }, .. }) = unit {
            *offset = offset.checked_sub(PAGE).unwrap_or(*offset + PAGE);
        }
    }

    fn state(&self, id: u64) -> Option<State> {
        self.units.iter().rev().find(|unit| unit.id == id).map(|unit| unit.state)
    }

    fn set_state(&mut self, id: u64, state: State) {
        if let Some(unit) = self.units.iter_mut().rev().find(|unit| unit.id == id) {
            unit.state = state;
        }
    }

    pub(super) fn new_file(&mut self, path: PathBuf) -> io::Result<Inode> {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.change(Change::Enter { path, inode })?;
        Ok(inode)
    }

    /// The names of one directory become durable.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.make_durable(|change| change.is_of_dir(dir))
    }

    /// The bytes and the length of one file become durable, as far as they are not in flight.
    pub(super) fn sync_file(&mut self, file: Inode) -> io::Result<()> {
        self.make_durable(|change| change.is_of_file(file))
    }

    fn make_durable(&mut self, covered: impl Fn(&Change) -> bool) -> io::Result<()> {
        let (covered, left): (Vec<_>, Vec<_>) = mem::take(&mut self.units)
            .into_iter()
            .partition(|unit| unit.state != State::InFlight && covered(&unit.change));
        self.units = left;
        for unit in covered {
            // What was forgotten is lost now for good: keeping it in a crash could put it over
            // younger bytes that are durable.
            if unit.state == State::Waiting {
                self.media.apply(&unit.change)?;
            }
        }
        Ok(())
    }

    /// All but the last few changes of a file are decided on, without a sync: each has reached the medium,
    /// or never will, and then what it was written over stands there still.
    pub(super) fn write_back(&mut self, file: Inode, pending: usize) -> io::Result<()> {
        let is_of = |unit: &Unit| unit.state == State::Waiting && unit.change.is_of_file(file);
        let mut older =
            self.units.iter().filter(|unit| is_of(unit)).count().saturating_sub(pending);
        let mut left = Vec::with_capacity(self.units.len());
        for unit in mem::take(&mut self.units) {
            if older > 0 && is_of(&unit) {
                older -= 1;
                if self.random.coin() {
                    self.media.apply(&unit.change)?;
                }
            } else {
                left.push(unit);
            }
        }
        self.units = left;
        Ok(())
    }

    /// A sync of a directory failed: no later one makes the names in it durable that there are now.
    pub(super) fn sync_dir_failed(&mut self, dir: &Path) {
        for unit in &mut self.units {
            if unit.state == State::Waiting && unit.change.is_of_dir(dir) {
                unit.state = State::Forgotten;
            }
        }
    }

    /// A sync of the file failed.
    pub(super) fn sync_failed(&mut self, file: Inode, kind: FaultKind) -> io::Result<()> {
        if kind == FaultKind::Reverted {
            return self.revert(file);
        }
        self.forget(file);
        Ok(())
    }

    fn forget(&mut self, file: Inode) {
        for unit in &mut self.units {
            if unit.state == State::Waiting && unit.change.is_of_file(file) {
                unit.state = State::Forgotten;
            }
        }
    }

    /// The page cache of a file falls back to what the device has, except for writes in flight.
    fn revert(&mut self, file: Inode) -> io::Result<()> {
        self.units.retain(|unit| unit.state == State::InFlight || !unit.change.is_of_file(file));
        self.cache.replace(file, self.media.bytes(file));
        for unit in self.units.iter().filter(|unit| unit.change.is_of_file(file)) {
            self.cache.apply(&unit.change)?;
        }
        Ok(())
    }

    pub(super) fn pending(&self) -> usize {
        self.units.len()
    }

    /// The paths of all files whose bytes, length or name a crash may take.
    pub(super) fn pending_paths(&self) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::new();
        for unit in &self.units {
            match &unit.change {
                Change::Write { inode, .. } | Change::SetLen { inode, .. } => {
                    let named = self.cache.names.iter().filter(|(_, file)| *file == inode);
                    paths.extend(named.map(|(path, _)| path.clone()));
                }
                Change::MakeDir { dir: path }
                | Change::Enter { path, .. }
                | Change::Rename { to: path, .. } => drop(paths.insert(path.clone())),
                Change::Leave { .. } | Change::RemoveDir { .. } => {}
            }
        }
        paths
    }

    pub(super) fn ways(&self, seed: u64) -> Vec<Keep> {
        let units: Vec<Sort> = self.units.iter().map(|unit| Sort::of(&unit.change)).collect();
        Keep::ways(&units, seed)
    }

    /// The disk after a power cut.
    pub(super) fn crash(&self, keep: Keep) -> Disk {
        let mut image = self.media.clone();
        let mut dice = Random::of(if let Keep::Random(seed) = keep { seed } else { 0 });
        for (n, Unit { change, .. }) in self.units.iter().enumerate() {
            let applied = match keep.fate(n, change, &mut dice) {
                Fate::Lost => Ok(()),
                Fate::Kept => image.apply(change),
                Fate::Grown => image.grow(change),
                Fate::Parts(parts) => parts.iter().try_for_each(|part| image.apply(part)),
            };
            applied.expect("what fits into the page cache fits on the medium");
        }
        image.forget_unreachable();
        Disk::holding(image, self.random.clone(), self.now_ms, self.next_inode)
    }

    /// The disk after the process was killed: all is there, and as volatile as before.
    pub(super) fn kill(&self) -> Disk {
        let mut disk = self.as_it_is();
        disk.record = Record::default();
        disk.locks = BTreeSet::new();
        for unit in disk.units.iter_mut().filter(|unit| unit.state == State::InFlight) {
            unit.state = State::Waiting; // what the kernel has, it goes on to write
        }
        disk
    }

    pub(super) fn in_flight(&self) -> usize {
        self.units.iter().filter(|unit| unit.state == State::InFlight).count()
    }

    /// As [`Disk::kill`]; but what is in flight lands after so many operations.
    pub(super) fn kill_late(&self, operations: u64) -> Disk {
        let mut disk = self.kill();
        let states = self.units.iter().map(|unit| unit.state);
        let (late, units): (Vec<_>, Vec<_>) = mem::take(&mut disk.units)
            .into_iter()
            .zip(states)
            .partition(|(_, state)| *state == State::InFlight);
        disk.cache = disk.media.clone();
        for (unit, _) in &units {
            disk.cache
                .apply(&unit.change)
                .expect("what fits into the page cache fits into another");
        }
        disk.units = units.into_iter().map(|(unit, _)| unit).collect();
        // Files without a write in flight are as they were: what will never reach the medium is no unit.
        let files: BTreeSet<Inode> = disk.cache.names.values().copied().collect();
        let is_late = |file| late.iter().any(|(unit, _)| unit.change.is_of_file(file));
        for file in files.into_iter().filter(|file| !is_late(*file)) {
            disk.cache.replace(file, self.cache.bytes(file));
        }
        disk.late = (operations, late.into_iter().map(|(unit, _)| unit.change).collect());
        disk
    }
}

/// SplitMix64: enough for dice, and the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn of(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
