//! What is to go wrong, and what was done so far.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::image::Inode;

/// How an operation fails, or seems to succeed.
///
/// Linux marks the pages of a failed sync clean: no later sync makes them durable, however well
/// it succeeds. What a program then reads from the page cache differs between file systems, and
/// so does the moment at which the failure is told; see Rebello et al., "Can applications recover
/// from fsync failures?" (USENIX ATC 2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The disk is full: [`io::ErrorKind::StorageFull`]. Of a write the first half is done, of
    /// anything else nothing.
    StorageFull,
    /// The device reports an error: [`io::ErrorKind::Other`]. Of a write the first half is done. A
    /// failed sync leaves the new bytes, or names, in the page cache and out of the reach of later
    /// syncs (ext4, XFS).
    Io,
    /// As `Io`; but a failed sync turns the page cache back to what the device has (Btrfs).
    Reverted,
    /// A write succeeds and never reaches the device; the next sync of its file says so, once,
    /// unless the process dies before. Of any other operation: as `Io`.
    Late,
    /// It succeeds and the device lies: a write never arrives, a sync makes nothing durable, and
    /// nobody says so.
    Lost,
    /// A write succeeds and arrives a page further on than it should (before, if it can); nobody
    /// says so. Of any other operation: as `Lost`.
    Misdirected,
    /// The process has no descriptors left: the `EMFILE` error of what opens a file or directory.
    /// Nothing is done; other operations succeed.
    TooManyFiles,
}

/// How a reading call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadFault {
    /// With a device error, this time.
    Once,
    /// With a device error, and so does every later read of that file, mapped or not.
    ForEver,
    /// Since the process has no descriptors left, this time.
    TooManyFiles,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 7] = [
        FaultKind::StorageFull,
        FaultKind::Io,
        FaultKind::Reverted,
        FaultKind::Late,
        FaultKind::Lost,
        FaultKind::Misdirected,
        FaultKind::TooManyFiles,
    ];

    fn error(self) -> io::Error {
        match self {
            FaultKind::StorageFull => {
                io::Error::new(io::ErrorKind::StorageFull, "simulated full disk")
            }
            FaultKind::TooManyFiles => too_many_files(),
            _ => device_error(),
        }
    }
}

pub(super) fn device_error() -> io::Error {
    io::Error::other("simulated device error")
}

/// EMFILE: the standard library has no kind for it.
fn too_many_files() -> io::Error {
    io::Error::from_raw_os_error(24)
}

/// Whether an operation, by its line in the trace, opens a file or directory.
fn opens(what: &str) -> bool {
    ["create ", "lock ", "sync-dir "].iter().any(|verb| what.starts_with(verb))
}

/// How an operation that was allowed to begin goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// As it should.
    Well,
    /// The fault of this kind shows later, or never.
    With(FaultKind),
}

/// Why an operation did not begin.
pub(super) struct Refused {
    pub(super) error: io::Error,
    /// The planned fault, if it is not the power that is off.
    pub(super) fault: Option<FaultKind>,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        refused.error
    }
}

/// What an operation is, as far as faults care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// A write of bytes.
    Write {
        /// Beyond the end of the file: space that is there already needs no more.
        extends: bool,
    },
    /// A sync of a file or a directory.
    Sync,
    /// Needs space, but writes no bytes: a name, a length.
    Allocate,
    /// Anything else.
    Other,
}

/// What was done so far, and what is to go wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) operations: u64,
    pub(super) cut: Option<u64>,
    /// Was an operation refused because the power is cut?
    pub(super) refused: bool,
    pub(super) faults: BTreeMap<u64, FaultKind>,
    pub(super) full: bool,
    pub(super) trace: Vec<String>,
    pub(super) reads: u64,
    pub(super) read_faults: BTreeMap<u64, ReadFault>,
    pub(super) unreadable: BTreeSet<Inode>,
    /// Files whose next sync tells of a write that was lost.
    pub(super) late: BTreeSet<Inode>,
    pub(super) mark: u64,
}

impl Record {
    /// Whether the power is off.
    pub(super) fn is_off(&self) -> bool {
        self.cut.is_some_and(|n| self.operations >= n)
    }

    /// Counts and notes one operation, which may turn out not to happen.
    pub(super) fn begin(&mut self, verb: Verb, what: String) -> Result<Begun, Refused> {
        if self.is_off() {
            self.refused = true;
            let error = io::Error::other("simulated power cut");
            return Err(Refused { error, fault: None });
        }
        self.operations += 1;
        let full = self.full && matches!(verb, Verb::Write { extends: true } | Verb::Allocate);
        let planned = self.faults.remove(&self.operations);
        let planned = planned.filter(|kind| *kind != FaultKind::TooManyFiles || opens(&what));
        match (planned.or(full.then_some(FaultKind::StorageFull)), verb) {
            (None, _) => {
                self.trace.push(what);
                Ok(Begun::Well)
            }
            (Some(kind @ FaultKind::Late), Verb::Write { .. })
            | (
                Some(kind @ (FaultKind::Lost | FaultKind::Misdirected)),
                Verb::Write { .. } | Verb::Sync,
            ) => {
                self.trace.push(format!("{what} lost"));
                Ok(Begun::With(kind))
            }
            (Some(kind), _) => {
                self.trace.push(format!("{what} failed"));
                Err(Refused { error: kind.error(), fault: Some(kind) })
            }
        }
    }

    /// Counts one look at names, or at what is known of a file without reading it.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.reads += 1;
        match self.read_faults.remove(&self.reads) {
            Some(ReadFault::TooManyFiles) => Err(too_many_files()),
            Some(_) => Err(device_error()),
            None => Ok(()),
        }
    }

    /// Counts one reading call of a file.
    pub(super) fn read(&mut self, file: Inode) -> io::Result<()> {
        self.reads += 1;
        match self.read_faults.remove(&self.reads) {
            Some(ReadFault::ForEver) => drop(self.unreadable.insert(file)),
            Some(ReadFault::Once) => return Err(device_error()),
            Some(ReadFault::TooManyFiles) => return Err(too_many_files()),
            None => {}
        }
        if self.unreadable.contains(&file) { Err(device_error()) } else { Ok(()) }
    }

    /// The next sync of this file fails.
    pub(super) fn tell_later(&mut self, file: Inode) {
        self.late.insert(file);
    }

    /// Tells of a lost write, once.
    pub(super) fn tell(&mut self, file: Inode) -> io::Result<()> {
        if self.late.remove(&file) { Err(device_error()) } else { Ok(()) }
    }
}
