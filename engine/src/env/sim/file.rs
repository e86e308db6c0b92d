//! Open files and locks of the simulated disk.

use std::io;
use std::path::PathBuf;

use super::super::{
    Lock, LogFile, StageFile, WriteFile, nothing_in_flight, outside_of_stage, write_in_flight,
};
use super::SimEnv;
use super::disk::Disk;
use super::faults::{Begun, FaultKind, Refused, Verb};
use super::image::{Change, Inode};

pub(super) struct SimLock {
    pub(super) env: SimEnv,
    pub(super) path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.env.disk().locks.remove(&self.path);
    }
}

pub(super) struct SimFile {
    pub(super) env: SimEnv,
    /// Its name when it was opened, for the trace if it has none any more.
    pub(super) name: String,
    pub(super) inode: Inode,
}

impl SimFile {
    fn name(&self, disk: &Disk) -> String {
        let mut names = disk.cache.names.iter();
        let own = names.find(|(_, inode)| **inode == self.inode);
        own.map_or_else(|| self.name.clone(), |(path, _)| super::name(path))
    }

    fn written(&self, offset: u64, bytes: &[u8]) -> Change {
        Change::Write { inode: self.inode, offset, bytes: bytes.into() }
    }

    fn verb(&self, disk: &Disk, offset: u64, bytes: &[u8]) -> Verb {
        let len = disk.cache.bytes(self.inode).len() as u64;
        Verb::Write { extends: offset.saturating_add(bytes.len() as u64) > len }
    }

    /// What a write that has been made comes to when its fault shows only later.
    fn spoil(&self, disk: &mut Disk, unit: u64, begun: Begun) {
        match begun {
            Begun::With(FaultKind::Late) => {
                disk.failed(unit);
                disk.record.tell_later(self.inode);
            }
            Begun::With(FaultKind::Misdirected) => disk.misdirect(unit),
            Begun::With(_) => disk.lose(unit),
            Begun::Well => {}
        }
    }

    /// The sync of an operation that began well.
    fn sync_now(&self, disk: &mut Disk) -> io::Result<()> {
        disk.record.tell(self.inode)?;
        disk.sync_file(self.inode)
    }
}

impl WriteFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.env.disk();
        let what = format!("write {} {offset}+{}", self.name(&disk), bytes.len());
        let verb = self.verb(&disk, offset, bytes);
        match disk.begin(verb, what) {
            Ok(begun) => {
                let unit = disk.change(self.written(offset, bytes))?;
                self.spoil(&mut disk, unit, begun);
                Ok(())
            }
            Err(Refused { error, fault }) => {
                // A write that fails has often done a part.
                let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
                if matches!(fault, Some(FaultKind::StorageFull | FaultKind::Io)) && !part.is_empty()
                {
                    disk.change(self.written(offset, part))?;
                }
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.env.disk();
        let what = format!("sync {}", self.name(&disk));
        match disk.begin(Verb::Sync, what) {
            Ok(Begun::Well) => self.sync_now(&mut disk),
            Ok(Begun::With(_)) => Ok(()),
            Err(Refused { error, fault }) => {
                if let Some(kind) = fault {
                    disk.sync_failed(self.inode, kind)?;
                }
                Err(error)
            }
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.env.disk();
        let what = format!("set-len {} {len}", self.name(&disk));
        disk.begin_simple(Verb::Allocate, what)?;
        disk.change(Change::SetLen { inode: self.inode, len }).map(drop)
    }
}

/// How many of the last writes into a stage a power cut may take each for itself. The system writes
/// older ones back by and by.
const STAGE_PENDING: usize = 4;

impl StageFile for SimFile {
    fn fallback(&self) -> Option<String> {
        None
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let len = self.env.disk().cache.bytes(self.inode).len() as u64;
        if offset.saturating_add(bytes.len() as u64) > len {
            return Err(outside_of_stage());
        }
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.write_at(offset, first)?;
        self.write_at(offset + first.len() as u64, second)?;
        self.env.disk().write_back(self.inode, STAGE_PENDING)
    }
}

pub(super) struct SimLog {
    file: SimFile,
    in_flight: Option<Flight>,
}

impl SimLog {
    pub(super) fn new(file: SimFile) -> SimLog {
        SimLog { file, in_flight: None }
    }
}

/// A write between submit and reap.
struct Flight {
    bytes: Vec<u8>,
    sync: bool,
    unit: u64,
    /// Somebody has asked whether it has landed: it takes its time, and the next time it has.
    asked: bool,
}

impl LogFile for SimLog {
    fn fallback(&self) -> Option<String> {
        None
    }

    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let mut disk = self.file.env.disk();
        let asked = if sync { " sync" } else { "" };
        let zeros = if bytes.iter().all(|byte| *byte == 0) { " zeros" } else { "" };
        let what =
            format!("submit {} {offset}+{}{zeros}{asked}", self.file.name(&disk), bytes.len());
        let verb = self.file.verb(&disk, offset, &bytes);
        let begun = disk.begin(verb, what)?;
        let unit = disk.change_in_flight(self.file.written(offset, &bytes))?;
        self.file.spoil(&mut disk, unit, begun);
        drop(disk);
        self.in_flight = Some(Flight { bytes, sync, unit, asked: false });
        Ok(())
    }

    fn submit_aside(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<bool> {
        self.submit(offset, bytes, true)?;
        self.in_flight.iter().for_each(|flight| self.file.env.disk().landed(flight.unit));
        Ok(true)
    }

    fn has_landed(&mut self) -> bool {
        self.in_flight.as_mut().is_none_or(|flight| std::mem::replace(&mut flight.asked, true))
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        let Flight { bytes, sync, unit, .. } =
            self.in_flight.take().ok_or_else(nothing_in_flight)?;
        let mut disk = self.file.env.disk();
        let verb = if sync { Verb::Sync } else { Verb::Other };
        let asked = if sync { " sync" } else { "" };
        let what = format!("reap {}{asked}", self.file.name(&disk));
        match disk.begin(verb, what) {
            Ok(begun) => {
                disk.landed(unit);
                if sync && begun == Begun::Well {
                    self.file.sync_now(&mut disk)?;
                }
                Ok(bytes)
            }
            Err(Refused { error, fault }) => {
                if let Some(kind) = fault {
                    disk.failed(unit);
                    if sync {
                        disk.sync_failed(self.file.inode, kind)?;
                    }
                }
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        self.file.set_len(len)
    }
}

impl Drop for SimLog {
    fn drop(&mut self) {
        if let Some(Flight { unit, .. }) = self.in_flight.take() {
            // The drop waits for it; nobody learns of it, so no sync is counted.
            self.file.env.disk().landed(unit);
        }
    }
}
