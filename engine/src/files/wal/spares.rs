//! Segments that are ready before they are needed.
//!
//! A commit that is to be on the device costs one write and one flush there, if its sectors were written
//! before: the file system has nothing to note. So a segment for synced commits is filled with zeros
//! ahead of its time, by the background, and so is a small one; a large one for others has its space
//! and its name. Or one of this open that nobody needs any more gets another name and is used again.
//! Frames of its earlier life are under another file id.
//!
//! 1. the log wants a spare of a size, once a part of its segment is used
//! 2. the background makes one (`making`), in step with the use of that segment; or the next flush recycles one: a
//!    spare is durable under its number before it is offered, and its prologue says that it was not begun (SPEC "log")
//! 3. the log takes it when its segment is full. Numbers only ascend: a spare whose number was passed gets
//!    another one, or goes
//!
//! Whoever has the log removes nothing: what goes is left to the background (`chores`). A close removes those
//! that are left. After a crash they are litter.

mod making;
mod stages;

use std::collections::VecDeque;
use std::path::PathBuf;

use orlop_formats::ids::{FileId, FileNumber, StoreId};

pub(super) use self::making::Blank;
use self::stages::NextStage;
use super::ZEROED;
use super::chores::Chores;
use super::segment::ASKED;
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

/// Spares that are kept, at most.
const MOST: usize = 4;

/// When so many parts of a segment are used, the next one is filled.
const READY: u64 = 14;

/// A segment that was not begun.
pub(super) struct Spare {
    pub(super) number: FileNumber,
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) file: Box<dyn LogFile>,
    pub(super) capacity: u64,
    /// Its name is durable. False for one that was made for a commit that waits.
    pub(super) is_named: bool,
    /// Bytes before this, whole sectors, were written once: the file system has nothing to note there.
    pub(super) written: u64,
}

/// The spares of a store; see the module.
pub(crate) struct Spares {
    dir: Arc<Directory>,
    store: StoreId,
    numbers: Arc<AtomicU64>,
    chores: Arc<Chores>,
    state: Mutex<State>,
    /// A file that was lent is back.
    is_back: Condvar,
}

/// What the next segment should be.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Wanted {
    /// Bytes; 0: none is wanted.
    pub(super) capacity: u64,
    /// Every sector should have been written.
    pub(super) filled: bool,
}

impl Wanted {
    const NONE: Self = Self { capacity: 0, filled: false };

    fn is_met_by(self, spare: &Spare) -> bool {
        self.fits(spare.capacity) && (spare.written >= spare.capacity || !self.filled)
    }

    fn fits(self, capacity: u64) -> bool {
        self.capacity > 0 && capacity >= self.capacity
    }
}

#[derive(Default)]
struct State {
    wanted: Wanted,
    /// The segment in use has asked for it: it is to be made now.
    is_time: bool,
    /// Parts of that segment which are used (`segment::PARTS`).
    used: u64,
    /// The log takes none with a lower number.
    next: FileNumber,
    /// In the order of their numbers, from `next` on.
    ready: VecDeque<Spare>,
    /// The log has passed their numbers.
    passed: Vec<Spare>,
    /// What the background has not come to the end of.
    unfinished: Option<Blank>,
    /// The one that the log has taken last, until its prologue is on the device.
    taken: Option<FileNumber>,
    /// How many segments were begun.
    begun: u64,
    /// Segments of this open that have ended, and before where each was written once.
    ended: Vec<(FileNumber, u64)>,
    /// For the commits of the next segment.
    stage: NextStage,
    /// Files that others write, for the log to have them one day.
    lent: usize,
    /// The log has ended.
    closed: bool,
}

impl State {
    fn is_met(&self) -> bool {
        self.wanted.capacity == 0 || self.ready.iter().any(|spare| self.wanted.is_met_by(spare))
    }

    /// Whether there is something to be done for a spare now.
    fn has_work(&self) -> bool {
        let has_time = |blank: &Blank| {
            self.wanted.filled
                && self.wanted.fits(blank.capacity)
                && blank.written >= self.due(blank.capacity)
                && blank.written < blank.capacity
        };
        self.is_time && !self.is_met() && !self.unfinished.as_ref().is_some_and(has_time)
    }

    /// Before where a large blank of this capacity is to be filled by now: it gets as much of the device as it takes to
    /// be ready in time, for the commits that it is made for want the device, too.
    fn due(&self, capacity: u64) -> u64 {
        let parts = (self.used + 1).saturating_sub(ASKED).min(READY - ASKED);
        if capacity <= ZEROED { capacity } else { capacity * parts / (READY - ASKED) }
    }

    /// Puts a spare among those that are ready, if its number was not passed meanwhile.
    fn offer(&mut self, spare: Spare) {
        if spare.number < self.next {
            return self.passed.push(spare);
        }
        let at = self.ready.partition_point(|other| other.number < spare.number);
        self.ready.insert(at, spare);
    }

    /// The log takes no number below this one any more.
    fn pass(&mut self, next: FileNumber) {
        self.next = self.next.max(next);
        while let Some(spare) = self.ready.pop_front_if(|spare| spare.number < self.next) {
            self.passed.push(spare);
        }
    }

    /// Takes out what there are too many of, or nobody wants.
    fn surplus(&mut self) -> (Vec<Spare>, Option<Blank>) {
        let most = if self.wanted.capacity > 0 { MOST } else { 0 };
        let mut spares: Vec<Spare> =
            self.ready.drain(..self.ready.len().saturating_sub(most)).collect();
        if !self.is_met() {
            return (spares, None);
        }
        spares.append(&mut self.passed);
        (spares, self.unfinished.take())
    }
}

impl Spares {
    pub(crate) fn new(
        dir: Arc<Directory>,
        store: StoreId,
        (numbers, chores): (Arc<AtomicU64>, Arc<Chores>),
    ) -> Arc<Self> {
        let (state, is_back) = (Mutex::default(), Condvar::default());
        Arc::new(Self { dir, store, numbers, chores, state, is_back })
    }

    /// Says what spare will be needed. True if that is news to the background.
    pub(super) fn want(&self, wanted: Wanted) -> bool {
        let mut state = self.state.lock();
        let mut wanted = if state.closed { Wanted::NONE } else { wanted };
        // Who needs less does not undo what was begun for others.
        wanted.filled |=
            wanted.capacity > 0 && wanted.capacity == state.wanted.capacity && state.wanted.filled;
        (state.wanted, state.is_time) = (wanted, true);
        state.has_work()
    }

    /// So many parts of the segment in use are used. True if that is news to the background.
    pub(super) fn goes_on(&self, used: u64) -> bool {
        let mut state = self.state.lock();
        state.used = used;
        state.has_work()
    }

    /// No spare will be needed.
    pub(super) fn want_none(&self) {
        self.state.lock().wanted = Wanted::NONE;
    }

    /// The oldest spare that the log has not passed, if it holds so many bytes. Others before it go. It
    /// counts as a spare until it [vouches](Spares::vouches).
    pub(super) fn take(&self, needed: u64) -> Option<Spare> {
        let mut state = self.state.lock();
        seeded!(SpareOutOfTurn => return state.take_any(needed));
        while let Some(spare) = state.ready.pop_front() {
            if spare.capacity >= needed {
                state.taken = Some(spare.number);
                return Some(spare);
            }
            self.discard(spare);
        }
        None
    }

    /// The number of a segment that is made here and now. It counts as a spare as above.
    pub(super) fn next_number(&self) -> FileNumber {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.state.lock().taken = Some(number);
        number
    }

    /// The log has begun a segment. It counts as a spare on, until its prologue is on the device.
    pub(super) fn begun(&self, number: FileNumber) {
        let mut state = self.state.lock();
        state.pass(number + 1);
        state.begun += 1;
        (state.is_time, state.used) = (false, 0);
    }

    /// The prologue of a segment is on the device, and says which came before.
    pub(super) fn vouches(&self, number: FileNumber) {
        let mut state = self.state.lock();
        state.taken = state.taken.filter(|taken| *taken != number);
    }

    /// Segments below this number are gone.
    pub(crate) fn forget(&self, log_number: FileNumber) {
        self.state.lock().ended.retain(|(number, _)| *number >= log_number);
    }

    /// The lowest number that the next segment can have.
    pub(super) fn pass_all(&self) -> FileNumber {
        let next = self.numbers.load(Ordering::Relaxed);
        self.state.lock().pass(next);
        next
    }

    /// A segment has ended, of which all before `written` was written once.
    pub(super) fn ended(&self, number: FileNumber, written: u64) {
        self.state.lock().ended.push((number, written));
    }

    /// Makes a spare of a segment that nobody needs any more, or the beginning of one; false if none is
    /// wanted like it. Then it has still to be removed.
    pub(crate) fn recycle(&self, number: FileNumber, len: u64) -> bool {
        let mut state = self.state.lock();
        let at = state.ended.iter().position(|(ended, _)| *ended == number);
        let written = at.map(|at| state.ended.swap_remove(at).1);
        // Those of earlier opens are not among them.
        let Some(written) = written else { return false };
        let room = match state.wanted.filled && written < len {
            true => !state.is_met() && state.unfinished.is_none(),
            false => state.ready.len() < MOST,
        };
        let fits = len == state.wanted.capacity && room;
        let wanted = state.wanted;
        drop(state);
        fits && self.blank_of(number, len, written).is_ok_and(|blank| self.reuse(blank, wanted))
    }

    /// The numbers of those that have one.
    pub(crate) fn numbers(&self) -> Vec<FileNumber> {
        let mut numbers = self.chores.numbers();
        let state = self.state.lock();
        numbers.extend(state.ready.iter().chain(&state.passed).map(|spare| spare.number));
        numbers.extend(state.taken);
        numbers
    }

    /// Lets go of all of them, until one is wanted again.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.wanted = Wanted::NONE;
        state.stage.clear().into_iter().for_each(|stage| self.chores.remove_later(stage));
        self.let_go(state.surplus());
    }

    /// Lets go of all of them; none is made any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.clear();
    }

    /// Notes that somebody writes a file for the log to have one day: a close waits for its
    /// [return](Spares::take_back).
    ///
    /// # Errors
    /// [`Error::Closed`]
    pub(super) fn lend(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.lent += 1;
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        !self.state.lock().closed
    }

    /// What was lent is in the log, or left to the background.
    pub(super) fn take_back(&self, blank: Option<Blank>) {
        self.let_go((Vec::new(), blank));
        self.state.lock().lent -= 1;
        self.is_back.notify_all();
    }

    /// Behind a close: waits until nobody writes a file any more.
    pub(crate) fn wait_for_lent(&self) {
        let mut state = self.state.lock();
        while state.lent > 0 {
            state = self.is_back.wait(state);
        }
    }

    /// How many segments were begun, if there is more than one spare.
    pub(crate) fn begun_beside_many(&self) -> Option<u64> {
        let state = self.state.lock();
        (state.ready.len() > 1).then_some(state.begun)
    }

    /// Lets go of all but one; false if there are no more.
    pub(crate) fn trim(&self) -> bool {
        let mut state = self.state.lock();
        let wanted = state.wanted;
        let kept = state.ready.iter().position(|spare| wanted.is_met_by(spare)).unwrap_or(0);
        let before = state.ready.len();
        let kept = state.ready.remove(kept);
        state.ready.drain(..).for_each(|spare| self.discard(spare));
        state.ready.extend(kept);
        before > 1
    }

    fn let_go(&self, (spares, unfinished): (Vec<Spare>, Option<Blank>)) {
        spares.into_iter().for_each(|spare| self.discard(spare));
        unfinished.into_iter().for_each(|blank| self.chores.discard(None, blank.path, blank.file));
    }

    /// Somebody needs the space now: lets go of all of them, and of all else that waits for its end.
    pub(crate) fn give_way(&self) {
        self.clear();
        self.chores.empty_bin();
    }

    /// Leaves the end of a spare to the background.
    pub(super) fn discard(&self, spare: Spare) {
        self.chores.discard(Some(spare.number), spare.path, spare.file);
    }
}

#[cfg(feature = "seeded-bugs")]
impl State {
    /// A spare that holds so many bytes, whatever its number.
    fn take_any(&mut self, needed: u64) -> Option<Spare> {
        if let Some(at) = self.passed.iter().position(|spare| spare.capacity >= needed) {
            return Some(self.passed.remove(at));
        }
        let at = self.ready.iter().position(|spare| spare.capacity >= needed)?;
        self.ready.remove(at)
    }
}
