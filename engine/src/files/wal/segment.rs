//! A segment of this open.
//!
//! It is written in order, in pieces of whole frames and whole sectors: the last sector of a piece is
//! filled with zeros, and the next frame begins behind it, so that no sector is ever written twice. What
//! has not been handed to the file yet is *pending*; what has been handed over has *landed* once the
//! write was reaped: then it outlives the process. What outlives the process, there or on the stage, is
//! *sheltered*.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use orlop_formats::frame::{self, Fields, FrameKind};
use orlop_formats::ids::{FileId, FileNumber, Seqno};
use orlop_formats::limits::SECTOR;

use super::Group;
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::sync::Arc;

/// The largest buffer that is kept for the next piece, in bytes.
const SPARE: usize = 2 << 20;

/// See the module.
pub(super) struct Segment {
    pub(super) number: FileNumber,
    path: PathBuf,
    id: FileId,
    file: Box<dyn LogFile>,
    pub(super) capacity: u64,
    /// Where the last frame ends.
    pub(super) end: u64,
    /// The highest sequence number in it.
    pub(super) last_seqno: Seqno,
    /// The highest sequence number in it that its own syncs cover. What is durable elsewhere, in
    /// an sstable, does not count: recovery reads the segment to its end.
    pub(super) synced: Seqno,
    /// Bytes before this, whole sectors, were handed to the file.
    written: u64,
    /// Where the last frame ends that has landed, and with it all before.
    landed_end: u64,
    /// Bytes before this outlive the process, there or on the stage.
    sheltered: u64,
    /// What comes behind `written`.
    pending: Vec<u8>,
    /// Space for what comes behind that.
    spare: Vec<u8>,
    flight: Option<Flight>,
    /// A spare was asked for to follow it.
    has_asked: bool,
}

/// A write that was handed over.
struct Flight {
    /// Where its last frame ends.
    end: u64,
    /// The last sequence number that it makes durable.
    synced: Option<Seqno>,
}

/// A failure that leaves the segment's contents unknown. Also when the system says that the disk is
/// full: [`Error::DiskFull`] would promise that nothing has happened.
pub(super) fn in_doubt(path: &Path, source: io::Error) -> Error {
    seeded!(LogGoesOnWhenFull => return Error::io("write", path, source));
    Error::Io { op: "write", path: path.to_owned(), source: Arc::new(source) }
}

impl Segment {
    /// A segment whose first sector is on the device.
    pub(super) fn begun(
        (number, path, id): (FileNumber, PathBuf, FileId),
        file: Box<dyn LogFile>,
        capacity: u64,
    ) -> Self {
        Self {
            number,
            path,
            id,
            file,
            capacity,
            end: orlop_formats::log::PROLOGUE_LEN,
            last_seqno: 0,
            synced: 0,
            written: SECTOR,
            landed_end: orlop_formats::log::PROLOGUE_LEN,
            sheltered: SECTOR,
            pending: Vec::new(),
            spare: Vec::new(),
            flight: None,
            has_asked: false,
        }
    }

    /// Whether it is time to have a spare to follow: once, when a quarter is used.
    pub(super) fn asks_for_spare(&mut self) -> bool {
        let is_time = !self.has_asked && self.written * 4 > self.capacity;
        self.has_asked |= is_time;
        is_time
    }

    /// Whether a spare was asked for to follow it.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// Whether a frame with `len` bytes of batches has room.
    pub(super) fn has_room(&self, len: u64) -> bool {
        let offset = self.written + (self.pending.len() as u64).next_multiple_of(frame::ALIGN);
        let end = offset + frame::HEADER_LEN as u64 + len;
        end.next_multiple_of(SECTOR) <= self.capacity
    }

    /// Bytes that wait to be handed over.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Begins a frame behind what is pending.
    pub(super) fn begin(&mut self) -> Group {
        let mut bytes = mem::take(&mut self.pending);
        bytes.resize(bytes.len().next_multiple_of(frame::ALIGN as usize), 0);
        let start = frame::begin(&mut bytes);
        Group { bytes, start, count: 0, first: 0 }
    }

    /// Ends the frame of a group, which knows that everything up to `synced` is on the device; or takes
    /// it back if the group has nothing in it.
    pub(super) fn finish(&mut self, group: Group, synced: Seqno) {
        let Group { mut bytes, start, count, first } = group;
        if count == 0 {
            bytes.truncate(start);
            self.pending = bytes;
            return;
        }
        let fields = Fields {
            kind: FrameKind::Group,
            count,
            first,
            synced,
            offset: self.written + start as u64,
            previous_end: self.end,
        };
        frame::finish(&mut bytes, start, &self.id, &fields);
        self.pending = bytes;
        self.end = self.written + self.pending.len() as u64;
        self.last_seqno = first + u64::from(count) - 1;
    }

    /// Bytes that do not outlive the process yet: where they begin, and they.
    pub(super) fn exposed(&self) -> (u64, &[u8]) {
        let from = self.sheltered.max(self.written);
        (from, self.pending.get((from - self.written) as usize..).unwrap_or_default())
    }

    /// Everything so far outlives the process.
    pub(super) fn all_is_sheltered(&mut self) {
        self.sheltered = self.written + self.pending.len() as u64;
    }

    /// Whether no more than `len` bytes stand behind the last frame that has landed: where a reader finds
    /// the end of the segment, should the process be killed now.
    pub(super) fn fits_behind_landed(&self, len: u64) -> bool {
        self.written + self.pending.len() as u64 - self.landed_end <= len
    }

    /// Hands over all that is pending, the last sector filled with zeros; with `sync`, to the device.
    pub(super) fn submit_all(&mut self, sync: bool) -> Result<()> {
        self.reap()?;
        let mut bytes = mem::replace(&mut self.pending, mem::take(&mut self.spare));
        self.pending.clear();
        let synced = sync.then_some(self.last_seqno);
        seeded!(SectorRewritten => return self.submit_and_keep(bytes, synced));
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
        self.submit(bytes, synced)
    }

    fn submit(&mut self, bytes: Vec<u8>, synced: Option<Seqno>) -> Result<()> {
        let len = bytes.len() as u64;
        let submitted = self.file.submit(self.written, bytes, synced.is_some());
        submitted.map_err(|source| in_doubt(&self.path, source))?;
        self.written += len;
        self.flight = Some(Flight { end: self.end, synced });
        Ok(())
    }

    /// Waits for what was handed over.
    pub(super) fn reap(&mut self) -> Result<()> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let reaped = self.file.reap();
        seeded!(LogSyncErrorIgnored: reaped = reaped.or(Ok(Vec::new())));
        seeded!(FailedSyncRetried: reaped = reaped.or_else(|_| self.sync_again()));
        let buffer = reaped.map_err(|source| in_doubt(&self.path, source))?;
        if buffer.capacity() <= SPARE {
            self.spare = buffer;
        }
        self.landed_end = flight.end;
        self.sheltered = self.sheltered.max(flight.end);
        self.synced = flight.synced.unwrap_or(self.synced);
        Ok(())
    }

    /// Makes everything in it durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            self.reap()?;
            return self.sync_written();
        }
        self.submit_all(true)?;
        self.reap()
    }

    /// Makes everything durable that has landed.
    pub(super) fn sync_written(&mut self) -> Result<()> {
        if self.last_seqno > self.synced {
            let synced = self.file.sync();
            seeded!(LogSyncErrorIgnored: synced = synced.or(Ok(())));
            synced.map_err(|source| Error::io("sync", &self.path, source))?;
            self.synced = self.last_seqno;
        }
        Ok(())
    }

    /// Gives the space behind the last frame back.
    pub(super) fn trim(&mut self) -> Result<()> {
        self.file.set_len(self.end).map_err(|e| Error::io("truncate", &self.path, e))?;
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}

#[cfg(feature = "seeded-bugs")]
impl Segment {
    fn sync_again(&mut self) -> io::Result<Vec<u8>> {
        self.file.sync().map(|()| Vec::new())
    }

    /// Submits all, and keeps the last sector to write it again.
    fn submit_and_keep(&mut self, mut bytes: Vec<u8>, synced: Option<Seqno>) -> Result<()> {
        let whole = bytes.len() / SECTOR as usize * SECTOR as usize;
        let last = bytes[whole..].to_vec();
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
        self.submit(bytes, synced)?;
        if !last.is_empty() {
            self.written -= SECTOR;
            self.pending = last;
        }
        Ok(())
    }
}
