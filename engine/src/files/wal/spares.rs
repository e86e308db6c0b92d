//! Segments that are ready before they are needed.
//!
//! A commit that is to be on the device costs one write and one flush there, if its sectors were written
//! before: the file system has nothing to note. So a segment for synced commits is filled with zeros
//! ahead of its time, by the background, and so is a small one; a large one for others has its space and its name. Or one of this open that
//! nobody needs any more gets another name and is used again. Frames of its earlier life are under another
//! file id.
//!
//! 1. the log wants a spare of a size, once a part of its segment is used
//! 2. the background makes one, or the next flush recycles a segment into one: a spare is durable under
//!    its number before it is offered, and its prologue says that it was not begun (SPEC "log")
//! 3. the log takes it when its segment is full. Numbers only ascend, so that a spare whose number was
//!    passed is removed
//!
//! A close removes those that are left. After a crash they are litter.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileId, FileNumber, StoreId};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::SegmentHeader;

use super::ZEROED;
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Spares that are kept, at most.
const MOST: usize = 4;

/// Zeros are written in pieces of this many bytes, between which others reach the device.
const PIECE: usize = 256 << 10;

/// A segment that was not begun.
pub(super) struct Spare {
    pub(super) number: FileNumber,
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) file: Box<dyn LogFile>,
    pub(super) capacity: u64,
    /// Every sector of it was written.
    pub(super) is_filled: bool,
}

/// The spares of a store; see the module.
pub(crate) struct Spares {
    dir: Arc<Directory>,
    store: StoreId,
    numbers: Arc<AtomicU64>,
    /// Segments of earlier opens are below this number.
    first: FileNumber,
    state: Mutex<State>,
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
        spare.capacity >= self.capacity && (spare.is_filled || !self.filled)
    }
}

#[derive(Default)]
struct State {
    wanted: Wanted,
    ready: VecDeque<Spare>,
    /// The log has ended.
    closed: bool,
}

impl Spares {
    pub(crate) fn new(dir: Arc<Directory>, store: StoreId, numbers: Arc<AtomicU64>) -> Arc<Self> {
        let first = numbers.load(Ordering::Relaxed);
        Arc::new(Self { dir, store, numbers, first, state: Mutex::default() })
    }

    /// Says what spare will be needed. True if that is news to the background.
    pub(super) fn want(&self, wanted: Wanted) -> bool {
        let mut state = self.state.lock();
        let mut wanted = if state.closed { Wanted::NONE } else { wanted };
        // Who needs less does not undo what was begun for others.
        wanted.filled |=
            wanted.capacity > 0 && wanted.capacity == state.wanted.capacity && state.wanted.filled;
        let news = wanted.capacity > 0 && (state.wanted != wanted || state.ready.is_empty());
        state.wanted = wanted;
        news
    }

    /// No spare will be needed.
    pub(super) fn want_none(&self) {
        self.state.lock().wanted = Wanted::NONE;
    }

    /// The oldest spare with a number from `first` on, if it holds so many bytes. Others before it go.
    pub(super) fn take(&self, first: FileNumber, needed: u64) -> Option<Spare> {
        seeded!(SpareOutOfTurn => return self.take_any(needed));
        loop {
            let spare = self.state.lock().ready.pop_front()?;
            if spare.number >= first && spare.capacity >= needed {
                return Some(spare);
            }
            self.remove(&spare.path);
        }
    }

    /// Makes a spare if one is wanted and none is there; false when there is nothing to do. One that cannot
    /// be made is not wanted any more, until a segment asks again: the log can do without.
    pub(crate) fn prepare(&self) -> bool {
        let state = self.state.lock();
        let wanted = state.wanted;
        let too_many = state.ready.len() > if wanted.capacity > 0 { MOST } else { 0 };
        let enough = state.ready.iter().any(|spare| wanted.is_met_by(spare));
        drop(state);
        if too_many {
            let unwanted = self.state.lock().ready.pop_front();
            unwanted.inspect(|spare| self.remove(&spare.path));
            return true;
        }
        if wanted.capacity == 0 || enough {
            return false;
        }
        match self.make(wanted) {
            Ok(made) => {
                made.into_iter().for_each(|spare| self.offer(spare));
                true
            }
            Err(_) => {
                let mut state = self.state.lock();
                if state.wanted == wanted {
                    state.wanted = Wanted::NONE;
                }
                false
            }
        }
    }

    /// Makes a spare; `None` if nobody wants it any more before it is ready. Then, and after an error,
    /// nothing is left of it.
    fn make(&self, wanted: Wanted) -> Result<Option<Spare>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path_of(FileName::Log(number));
        let file = self.dir.env.create_log(&path, wanted.capacity);
        let file = file.map_err(|source| Error::io("create", &path, source))?;
        let made = self.fill(number, &path, file, wanted);
        if !matches!(made, Ok(Some(_))) {
            self.remove(&path);
        }
        made
    }

    fn fill(
        &self,
        number: FileNumber,
        path: &Path,
        mut file: Box<dyn LogFile>,
        Wanted { capacity, filled }: Wanted,
    ) -> Result<Option<Spare>> {
        let id = self.begin(number, path, &mut file)?;
        self.dir.sync()?;
        let path = path.to_owned();
        if !filled && capacity > ZEROED {
            return Ok(Some(Spare { number, path, id, file, capacity, is_filled: false }));
        }
        let fail = |source| Error::io("write", &path, source);
        let mut zeros = vec![0; PIECE];
        let mut at = SECTOR;
        while at < capacity {
            let wanted = self.state.lock().wanted;
            if wanted.capacity == 0 || !wanted.filled && capacity > ZEROED {
                return Ok(None);
            }
            zeros.resize((capacity - at).min(PIECE as u64) as usize, 0);
            file.submit(at, zeros, false).map_err(fail)?;
            zeros = file.reap().map_err(fail)?;
            at += zeros.len() as u64;
        }
        file.sync().map_err(|source| Error::io("sync", &path, source))?;
        Ok(Some(Spare { number, path, id, file, capacity, is_filled: true }))
    }

    /// Makes a spare of a segment that nobody needs any more; false if none is wanted like it. Then, and
    /// after an error, it has still to be removed.
    pub(crate) fn recycle(&self, number: FileNumber, len: u64) -> bool {
        let state = self.state.lock();
        let fits = number >= self.first && len == state.wanted.capacity;
        let fits = fits && state.ready.len() < MOST;
        drop(state);
        fits && self.rename(number, len).is_ok()
    }

    fn rename(&self, number: FileNumber, capacity: u64) -> Result<()> {
        let path = self.dir.path_of(FileName::Log(number));
        let fail = |source| Error::io("open", &path, source);
        let mut file = self.dir.env.open_log(&path).map_err(fail)?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.path_of(FileName::Log(number));
        let id = self.begin(number, &path, &mut file)?;
        let renamed = self.dir.env.rename(&path, &new);
        renamed.map_err(|source| Error::io("rename", &path, source))?;
        self.dir.sync().inspect_err(|_| self.remove(&new))?;
        // It was written to its end, in most cases; what was not is noted by the file system when it is used.
        self.offer(Spare { number, path: new, id, file, capacity, is_filled: true });
        Ok(())
    }

    /// Puts a prologue that was not begun into a file, for good.
    fn begin(
        &self,
        number: FileNumber,
        path: &Path,
        file: &mut Box<dyn LogFile>,
    ) -> Result<FileId> {
        let fail = |source| Error::io("write", path, source);
        let id = FileId(self.dir.env.random());
        let header = FileHeader { kind: FileKind::Log, store: self.store, number, id };
        let mut prologue = header.encode().to_vec();
        prologue.extend_from_slice(&SegmentHeader::NOT_BEGUN.encode(&id));
        prologue.resize(SECTOR as usize, 0);
        file.submit(0, prologue, true).map_err(fail)?;
        file.reap().map_err(fail)?;
        Ok(id)
    }

    fn offer(&self, spare: Spare) {
        let mut state = self.state.lock();
        if state.wanted.capacity == 0 {
            drop(state);
            return self.remove(&spare.path);
        }
        state.ready.push_back(spare);
    }

    fn remove(&self, path: &Path) {
        // What stays is litter, which the next open removes.
        let _ = self.dir.env.remove(path);
    }

    /// The numbers of those that are ready.
    pub(crate) fn numbers(&self) -> Vec<FileNumber> {
        self.state.lock().ready.iter().map(|spare| spare.number).collect()
    }

    /// Removes all of them, until one is wanted again.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.wanted = Wanted::NONE;
        let left = std::mem::take(&mut state.ready);
        drop(state);
        left.iter().for_each(|spare| self.remove(&spare.path));
    }

    /// Removes all of them; none is made any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.clear();
    }
}

#[cfg(feature = "seeded-bugs")]
impl Spares {
    /// A spare that holds so many bytes, whatever its number.
    fn take_any(&self, needed: u64) -> Option<Spare> {
        let mut state = self.state.lock();
        let at = state.ready.iter().position(|spare| spare.capacity >= needed)?;
        state.ready.remove(at)
    }
}
