//! How a spare is made.
//!
//! 1. a file under a temporary name, so that no reader looks at it
//! 2. zeros, a piece at a time, if they are wanted: as long as nothing is more urgent
//! 3. a number, and a prologue that was not begun; the name that goes with it, for good
//!
//! A spare whose number was passed, and a segment that nobody needs any more, begin with 2: they get a
//! temporary name first. That of a spare is made durable, since its old name may count: its number and that
//! in its prologue must never differ.

use std::path::PathBuf;

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileId, FileNumber};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::SegmentHeader;

use super::{Spare, Spares, State, Wanted};
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::files::wal::ZEROED;
use crate::sync::Ordering;

/// Zeros are written in pieces of this many bytes, between which others reach the device.
const PIECE: usize = 64 << 10;

/// The same for a small segment, which a store may need as soon as it is open.
const PIECE_OF_SMALL: usize = 256 << 10;

/// A file that can become a spare.
pub(in crate::files::wal) struct Blank {
    /// Its temporary name.
    pub(in crate::files::wal) path: PathBuf,
    pub(in crate::files::wal) file: Box<dyn LogFile>,
    pub(in crate::files::wal) capacity: u64,
    /// As that of a spare.
    pub(in crate::files::wal) written: u64,
}

/// What a spare is made of.
enum Material {
    Nothing,
    Blank(Blank),
    Spare(Spare),
}

/// How far the filling of a blank has come.
enum Filled {
    Enough,
    /// Something else is more urgent, or there is time.
    InPart,
    /// Nobody wants it any more.
    ForNothing,
}

impl State {
    /// What the next spare is best made of.
    fn material(&mut self) -> Material {
        let wanted = self.wanted;
        if let Some(blank) = self.unfinished.take_if(|blank| wanted.fits(blank.capacity)) {
            return Material::Blank(blank);
        }
        let fits = |spare: &Spare| wanted.fits(spare.capacity);
        if let Some(at) = self.passed.iter().position(fits) {
            return Material::Spare(self.passed.remove(at));
        }
        let at = self.ready.iter().position(fits);
        let spare = at.and_then(|at| self.ready.remove(at));
        spare.map_or(Material::Nothing, Material::Spare)
    }
}

impl Spares {
    /// Does something for a spare if one is wanted and none is there, as long as `go_on` says so; false when
    /// there is nothing to do. One that cannot be made is not wanted any more, until a segment asks again:
    /// the log can do without.
    pub(crate) fn prepare(&self, go_on: &mut dyn FnMut() -> bool) -> bool {
        if self.prepare_stage() {
            return true;
        }
        let mut state = self.state.lock();
        self.let_go(state.surplus());
        if !state.has_work() {
            return false;
        }
        let (wanted, material) = (state.wanted, state.material());
        drop(state);
        let made = self.make(wanted, material, go_on);
        if made.is_err() {
            let mut state = self.state.lock();
            if state.wanted == wanted {
                state.wanted = Wanted::NONE;
            }
        }
        made.is_ok()
    }

    fn make(
        &self,
        wanted: Wanted,
        material: Material,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let mut blank = match material {
            Material::Nothing => self.create(wanted.capacity)?,
            Material::Blank(blank) => blank,
            Material::Spare(spare) => self.unname(spare)?,
        };
        match self.fill(&mut blank, go_on) {
            Ok(Filled::Enough) => self.name(blank),
            Ok(Filled::InPart) => {
                let before = self.state.lock().unfinished.replace(blank);
                self.let_go((Vec::new(), before));
                Ok(())
            }
            Ok(Filled::ForNothing) => {
                self.let_go((Vec::new(), Some(blank)));
                Ok(())
            }
            Err(error) => {
                self.let_go((Vec::new(), Some(blank)));
                Err(error)
            }
        }
    }

    /// A temporary name that nobody has.
    fn temporary(&self) -> PathBuf {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.dir.path.join(FileName::Log(number).temporary())
    }

    fn create(&self, capacity: u64) -> Result<Blank> {
        let path = self.temporary();
        let file = self.dir.env.create_log(&path, capacity);
        let file = file.map_err(|source| Error::io("create", &path, source))?;
        Ok(Blank { path, file, capacity, written: SECTOR })
    }

    /// Makes a blank that somebody writes right now, all of it.
    pub(in crate::files::wal) fn create_now(&self, capacity: u64) -> Result<Blank> {
        let created = self.create(capacity).or_else(|error| match error {
            Error::DiskFull { .. } => {
                // What is ready too early has no claim to the space.
                self.give_way();
                self.create(capacity)
            }
            _ => Err(error),
        })?;
        Ok(Blank { written: capacity, ..created })
    }

    /// Takes the number of a spare away.
    fn unname(&self, spare: Spare) -> Result<Blank> {
        let path = self.temporary();
        if let Err(source) = self.dir.env.rename(&spare.path, &path) {
            let error = Error::io("rename", &spare.path, source);
            self.discard(spare);
            return Err(error);
        }
        let Spare { file, capacity, written, .. } = spare;
        let blank = Blank { path, file, capacity, written };
        match self.dir.sync() {
            Ok(()) => Ok(blank),
            Err(error) => {
                self.let_go((Vec::new(), Some(blank)));
                Err(error)
            }
        }
    }

    /// A segment that nobody needs any more, as a blank. After an error it is still a segment.
    pub(super) fn blank_of(
        &self,
        number: FileNumber,
        capacity: u64,
        written: u64,
    ) -> Result<Blank> {
        let (old, path) = (self.dir.path_of(FileName::Log(number)), self.temporary());
        let file = self.dir.env.open_log(&old);
        let file = file.map_err(|source| Error::io("open", &old, source))?;
        let renamed = self.dir.env.rename(&old, &path);
        renamed.map_err(|source| Error::io("rename", &old, source))?;
        Ok(Blank { path, file, capacity, written })
    }

    /// Makes a spare of it, or keeps it for that if there is more to be done. It is gone from where it was.
    pub(super) fn reuse(&self, blank: Blank, wanted: Wanted) -> bool {
        if wanted.filled && blank.written < blank.capacity {
            let before = self.state.lock().unfinished.replace(blank);
            self.let_go((Vec::new(), before));
        } else {
            // What fails has cost a spare.
            let _ = self.name(blank);
        }
        true
    }

    /// Writes zeros where nothing was written yet, if that is asked for.
    fn fill(&self, blank: &mut Blank, go_on: &mut dyn FnMut() -> bool) -> Result<Filled> {
        let piece = if blank.capacity <= ZEROED { PIECE_OF_SMALL } else { PIECE };
        let mut zeros = vec![0; piece];
        loop {
            let (wanted, due) = {
                let state = self.state.lock();
                (state.wanted, state.due(blank.capacity))
            };
            if !wanted.fits(blank.capacity) {
                return Ok(Filled::ForNothing);
            }
            let left = blank.capacity.saturating_sub(blank.written);
            if left == 0 || !wanted.filled && blank.capacity > ZEROED {
                return Ok(Filled::Enough);
            }
            if blank.written >= due || !go_on() {
                return Ok(Filled::InPart);
            }
            zeros.resize(left.min(piece as u64) as usize, 0);
            let fail = |source| Error::io("write", &blank.path, source);
            blank.file.submit(blank.written, zeros, false).map_err(fail)?;
            zeros = blank.file.reap().map_err(fail)?;
            blank.written += zeros.len() as u64;
        }
    }

    /// Gives a blank its number, its prologue and its name, and offers it. After an error nothing is left of
    /// it.
    fn name(&self, blank: Blank) -> Result<()> {
        let Blank { path, mut file, capacity, written } = blank;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let named = self.dir.path_of(FileName::Log(number));
        let begun = self.begin(number, &path, &mut *file).and_then(|id| {
            let renamed = self.dir.env.rename(&path, &named);
            renamed.map(|()| id).map_err(|source| Error::io("rename", &path, source))
        });
        let id = match begun {
            Ok(id) => id,
            Err(error) => {
                self.chores.discard(None, path, file);
                return Err(error);
            }
        };
        file.end_writing();
        let spare = Spare { number, path: named, id, file, capacity, is_named: true, written };
        let synced = seeded!(SpareNameUnsynced => Ok(()), else self.dir.sync());
        if let Err(error) = synced {
            self.discard(spare);
            return Err(error);
        }
        let mut state = self.state.lock();
        if state.wanted.capacity == 0 {
            self.discard(spare)
        } else {
            state.offer(spare)
        }
        Ok(())
    }

    /// Puts a prologue that was not begun into a file, for good, and with it all that was written before.
    fn begin(
        &self,
        number: FileNumber,
        path: &std::path::Path,
        file: &mut dyn LogFile,
    ) -> Result<FileId> {
        let fail = |source| Error::io("write", path, source);
        let id = FileId(self.dir.env.random());
        seeded!(RecycledIdKept: id = self.id_before(path).unwrap_or(id));
        let header = FileHeader { kind: FileKind::Log, store: self.store, number, id };
        let mut prologue = header.encode().to_vec();
        prologue.extend_from_slice(&SegmentHeader::NOT_BEGUN.encode(&id));
        prologue.resize(SECTOR as usize, 0);
        let sync = seeded!(RecycledPrologueUnsynced => false, else true);
        file.submit(0, prologue, sync).map_err(fail)?;
        file.reap().map_err(fail)?;
        Ok(id)
    }
}

#[cfg(feature = "seeded-bugs")]
impl Spares {
    /// The id that a file has, if it is one.
    fn id_before(&self, path: &std::path::Path) -> Option<FileId> {
        let bytes = self.dir.env.read(path).ok()?;
        FileHeader::decode(&bytes).ok().map(|header| header.id)
    }
}
