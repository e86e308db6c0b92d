//! Open files and locks of the simulated disk.

use std::io;
use std::path::PathBuf;

use super::super::{Lock, LogFile, WriteFile, nothing_in_flight, write_in_flight};
use super::SimEnv;
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
    /// Its name when it was opened, for the trace.
    pub(super) name: String,
    pub(super) inode: Inode,
}

impl SimFile {
    fn write(&self, offset: u64, bytes: Vec<u8>) -> Change {
        Change::Write { inode: self.inode, offset, bytes }
    }
}

impl WriteFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.env.disk();
        disk.record.begin(format!("write {} {offset}+{}", self.name, bytes.len()))?;
        disk.change(self.write(offset, bytes.to_vec())).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.env.disk();
        match disk.record.begin(format!("sync {}", self.name)) {
            Ok(()) => disk.sync_file(self.inode),
            Err(error) => {
                if !disk.record.refused {
                    disk.forget(self.inode);
                }
                Err(error)
            }
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.env.disk();
        disk.record.begin(format!("set-len {} {len}", self.name))?;
        disk.change(Change::SetLen { inode: self.inode, len }).map(drop)
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
}

impl LogFile for SimLog {
    fn submit(&mut self, offset: u64, bytes: Vec<u8>, sync: bool) -> io::Result<()> {
        if self.in_flight.is_some() {
            return Err(write_in_flight());
        }
        let mut disk = self.file.env.disk();
        let asked = if sync { " sync" } else { "" };
        disk.record.begin(format!("submit {} {offset}+{}{asked}", self.file.name, bytes.len()))?;
        let unit = disk.change_in_flight(self.file.write(offset, bytes.clone()))?;
        drop(disk);
        self.in_flight = Some(Flight { bytes, sync, unit });
        Ok(())
    }

    fn reap(&mut self) -> io::Result<Vec<u8>> {
        let Flight { bytes, sync, unit } = self.in_flight.take().ok_or_else(nothing_in_flight)?;
        let mut disk = self.file.env.disk();
        match disk.record.begin(format!("reap {}", self.file.name)) {
            Ok(()) => {
                disk.landed(unit);
                if sync {
                    disk.sync_file(self.file.inode)?;
                }
                Ok(bytes)
            }
            Err(error) => {
                if !disk.record.refused {
                    disk.failed(unit);
                    if sync {
                        disk.forget(self.file.inode);
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
