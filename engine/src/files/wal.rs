//! The log: groups of batches in numbered segments (SPEC "log").
//!
//! The [`Log`] belongs to whoever leads the current commit group; it takes no lock of its own.
//! A segment of an earlier open is never appended to or used again: every open starts its own.
//!
//! Appending a group:
//! 1. make room: a new segment is created, its prologue synced, its directory entry synced
//! 2. seal the frame: header and checksum
//! 3. submit the write, and the sync when one is asked for
//! 4. reap it (the caller fills the memtable between 3 and 4)

use std::io;
use std::path::{Path, PathBuf};

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::frame::{self, Fields, FrameKind};
use orlop_formats::ids::{FileId, FileNumber, Seqno, StoreId};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::{self, SegmentHeader};
use orlop_formats::manifest::SegmentEnd;

use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::options::{SEGMENT_MAX, SEGMENT_MIN};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A segment of this open.
struct Segment {
    number: FileNumber,
    path: PathBuf,
    id: FileId,
    file: Box<dyn LogFile>,
    capacity: u64,
    /// Where the last frame ended.
    end: u64,
    /// Where the next frame starts.
    next: u64,
    /// The highest sequence number in it.
    last_seqno: Seqno,
    /// The highest sequence number in it that its own syncs cover. What is durable elsewhere, in
    /// an sstable, does not count: recovery reads the segment to its end.
    synced: Seqno,
}

impl Segment {
    fn sync(&mut self) -> Result<()> {
        if self.last_seqno > self.synced {
            let synced = self.file.sync();
            seeded!(LogSyncErrorIgnored: synced = synced.or(Ok(())));
            synced.map_err(|source| Error::io("sync", &self.path, source))?;
            self.synced = self.last_seqno;
        }
        Ok(())
    }
}

/// A failure that leaves the segment's contents unknown. Also when the system says that the disk is
/// full: [`Error::DiskFull`] would promise that nothing has happened.
fn in_doubt(path: &Path, source: io::Error) -> Error {
    seeded!(LogGoesOnWhenFull => return Error::io("write", path, source));
    Error::Io { op: "write", path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(feature = "seeded-bugs")]
impl Segment {
    fn sync_again(&mut self) -> std::io::Result<Vec<u8>> {
        self.file.sync().map(|()| Vec::new())
    }
}

/// A group of batches on its way into the log.
#[derive(Default)]
pub(crate) struct Group {
    /// Space for the frame's header (see [`Log::begin`]) and behind it the batches.
    pub(crate) frame: Vec<u8>,
    /// Number of batches.
    pub(crate) count: u32,
    /// Sequence number of the first one.
    pub(crate) first: Seqno,
    /// Whether the group must reach the device.
    pub(crate) sync: bool,
}

/// `Memory` commits wait in the process until this many bytes of them have come together.
const STAGED_BYTES: usize = 256 << 10;

/// The tail of the log; see the module.
pub(crate) struct Log {
    dir: Arc<Directory>,
    store: StoreId,
    numbers: Arc<AtomicU64>,
    current: Option<Segment>,
    /// Earlier segments of this open whose bytes may not be on the device yet.
    unsynced: Vec<Segment>,
    /// Segments of this open that are complete and synced.
    ended: Vec<SegmentEnd>,
    /// Segments of earlier opens that are not flushed yet.
    replayed: usize,
    next_size: u64,
    predecessor: FileNumber,
    predecessor_end: u64,
    /// The highest sequence number known to be on the device.
    synced: Seqno,
    /// The group in flight: its last sequence number, its end, whether it syncs.
    in_flight: Option<InFlight>,
    /// Batches of `Memory` commits that wait for a stronger one, or just a spare buffer.
    staged: Group,
    /// A step failed behind which the files' contents are unknown: nothing more may be written.
    broken: bool,
}

struct InFlight {
    last_seqno: Seqno,
    end: u64,
    sync: bool,
}

/// Where a new log goes on from.
pub(crate) struct Origin {
    /// The segment before the first new one; 0: none.
    pub(crate) predecessor: FileNumber,
    /// Where that one ended.
    pub(crate) predecessor_end: u64,
    /// The highest sequence number known to be on the device.
    pub(crate) synced: Seqno,
    /// Segments of earlier opens whose batches are in a memtable.
    pub(crate) replayed: usize,
}

impl Log {
    pub(crate) fn new(
        dir: Arc<Directory>,
        store: StoreId,
        numbers: Arc<AtomicU64>,
        origin: Origin,
    ) -> Self {
        Self {
            dir,
            store,
            numbers,
            current: None,
            unsynced: Vec::new(),
            ended: Vec::new(),
            replayed: origin.replayed,
            next_size: SEGMENT_MIN,
            predecessor: origin.predecessor,
            predecessor_end: origin.predecessor_end,
            synced: origin.synced,
            in_flight: None,
            staged: Group::default(),
            broken: false,
        }
    }

    /// The next group: empty, or beginning with the staged batches.
    pub(crate) fn begin(&mut self) -> Group {
        let mut group = std::mem::take(&mut self.staged);
        if group.count == 0 {
            group.frame.clear();
            frame::begin(&mut group.frame);
        }
        group
    }

    /// Keeps a group's batches back: they go out ahead of the next stronger group.
    pub(crate) fn stage(&mut self, group: Group) {
        self.staged = group;
    }

    /// Whether batches wait to be written.
    pub(crate) fn has_staged(&self) -> bool {
        self.staged.count > 0
    }

    /// Whether `more` bytes are too many to keep back.
    pub(crate) fn staged_is_large(&self, more: usize) -> bool {
        self.staged_bytes() + more > STAGED_BYTES
    }

    fn staged_bytes(&self) -> usize {
        if self.has_staged() { self.staged.frame.len() } else { frame::HEADER_LEN }
    }

    /// Lets go of segments whose every batch is in an sstable: nobody reads them any more.
    pub(crate) fn forget_flushed(&mut self, log_number: FileNumber, durable: Seqno) {
        self.unsynced.retain(|segment| segment.number >= log_number);
        self.ended.retain(|segment| segment.number >= log_number);
        self.synced = self.synced.max(durable);
    }

    /// Whether a failure has left the files' contents unknown: the store is then poisoned.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn breaking<T>(&mut self, result: Result<T>) -> Result<T> {
        seeded!(LogGoesOnWhenFull => if let Err(Error::DiskFull { .. }) = result { return result });
        self.broken |= result.is_err();
        result
    }

    /// The highest sequence number known to be on the device.
    pub(crate) fn synced(&self) -> Seqno {
        self.synced
    }

    /// Makes room for `len` bytes of batches, of which the first gets sequence number `first`,
    /// and for the staged ones (step 1). A full disk fails it without having changed anything.
    pub(crate) fn reserve(&mut self, len: usize, first: Seqno) -> Result<()> {
        let len = (len + self.staged_bytes()) as u64;
        if let Some(segment) = &self.current
            && segment.next + len <= segment.capacity
        {
            return Ok(());
        }
        let first = if self.has_staged() { self.staged.first } else { first };
        self.rotate(len, first)
    }

    /// The oldest segment that a batch committed from now on can be in.
    pub(crate) fn floor(&self) -> FileNumber {
        match &self.current {
            Some(segment) => segment.number,
            None => self.numbers.load(Ordering::Relaxed),
        }
    }

    /// How many segments a replay of this log would read.
    pub(crate) fn live_segments(&self) -> usize {
        self.replayed + self.ended.len() + self.unsynced.len() + usize::from(self.current.is_some())
    }

    /// Space reserved on disk for the current segment, in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| segment.capacity)
    }

    /// Starts the write of a group (steps 2 and 3). [`Log::reserve`] made its room.
    pub(crate) fn submit(&mut self, group: Group) -> Result<()> {
        let submitted = self.submit_frame(group);
        self.breaking(submitted)
    }

    fn submit_frame(&mut self, group: Group) -> Result<()> {
        if group.sync {
            self.sync_earlier()?;
        }
        // What a flush has made durable can be staged here still: a frame vouches for earlier ones
        // only.
        let before = group.first.saturating_sub(1);
        let synced = seeded!(SyncedOverstated => before, else self.synced.min(before));
        let Some(segment) = &mut self.current else {
            return Err(Error::Closed);
        };
        let Group { mut frame, count, first, sync } = group;
        let fields = Fields {
            kind: FrameKind::Group,
            count,
            first,
            synced,
            offset: segment.next,
            previous_end: segment.end,
        };
        frame::finish(&mut frame, 0, &segment.id, &fields);
        let end = segment.next + frame.len() as u64;
        segment
            .file
            .submit(segment.next, frame, sync)
            .map_err(|source| in_doubt(&segment.path, source))?;
        let last_seqno = first + u64::from(count) - 1;
        self.in_flight = Some(InFlight { last_seqno, end, sync });
        Ok(())
    }

    /// Waits for the group in flight (step 4).
    pub(crate) fn reap(&mut self) -> Result<()> {
        let reaped = self.reap_frame();
        self.breaking(reaped)
    }

    fn reap_frame(&mut self) -> Result<()> {
        let (Some(segment), Some(flight)) = (&mut self.current, self.in_flight.take()) else {
            return Ok(());
        };
        let reaped = segment.file.reap();
        seeded!(LogSyncErrorIgnored: reaped = reaped.or(Ok(Vec::new())));
        seeded!(FailedSyncRetried: reaped = reaped.or_else(|_| segment.sync_again()));
        let frame = reaped.map_err(|source| in_doubt(&segment.path, source))?;
        self.staged = Group { frame, ..Group::default() };
        segment.end = flight.end;
        segment.last_seqno = flight.last_seqno;
        segment.next = segment.end.next_multiple_of(frame::ALIGN);
        if flight.sync {
            segment.synced = flight.last_seqno;
            self.synced = self.synced.max(flight.last_seqno);
            // A sector that holds acknowledged bytes is never written again.
            seeded!(SectorRewritten => return Ok(()));
            segment.next = segment.end.next_multiple_of(SECTOR);
        }
        Ok(())
    }

    /// Puts everything onto the device, staged batches included.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.has_staged() {
            self.reserve(0, self.staged.first)?;
            let group = Group { sync: true, ..self.begin() };
            self.submit(group)?;
            return self.reap();
        }
        let synced = self.sync_segments();
        self.breaking(synced)
    }

    fn sync_segments(&mut self) -> Result<()> {
        seeded!(SyncSkipped => return Ok(()));
        self.sync_earlier()?;
        if let Some(segment) = &mut self.current {
            segment.sync()?;
            self.synced = self.synced.max(segment.synced);
            seeded!(SectorRewritten => return Ok(()));
            segment.next = segment.end.next_multiple_of(SECTOR);
        }
        Ok(())
    }

    /// Ends the current segment: the next group starts a new, small one.
    pub(crate) fn retire(&mut self) {
        self.end_current();
        self.next_size = SEGMENT_MIN;
    }

    /// Syncs everything, gives unused space back, and says where each segment of this open ended.
    pub(crate) fn finish(&mut self) -> Result<Vec<SegmentEnd>> {
        self.sync()?;
        let trimmed = self.trim();
        self.breaking(trimmed)?;
        self.end_current();
        let synced = self.sync_earlier();
        self.breaking(synced)?;
        Ok(std::mem::take(&mut self.ended))
    }

    /// Gives the unused space of the current segment back.
    fn trim(&mut self) -> Result<()> {
        let Some(segment) = &mut self.current else { return Ok(()) };
        let end = segment.end;
        segment.file.set_len(end).map_err(|e| Error::io("truncate", &segment.path, e))?;
        segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))
    }

    /// Segments of earlier numbers go to the device before anything that follows them.
    fn sync_earlier(&mut self) -> Result<()> {
        seeded!(RotatedSegmentUnsynced => return Ok(()));
        while let Some(segment) = self.unsynced.first_mut() {
            segment.sync()?;
            let segment = self.unsynced.remove(0);
            self.synced = self.synced.max(segment.synced);
            self.ended.push(SegmentEnd {
                number: segment.number,
                end: segment.end,
                last_seqno: segment.last_seqno,
            });
        }
        Ok(())
    }

    fn end_current(&mut self) {
        if let Some(segment) = self.current.take() {
            self.predecessor = segment.number;
            self.predecessor_end = segment.end;
            self.unsynced.push(segment);
        }
    }

    /// Creates the next segment. Its prologue and its name are on the device before the first
    /// group is written, so that a damaged prologue is never mistaken for one that was torn.
    fn rotate(&mut self, len: u64, first: Seqno) -> Result<()> {
        let needed = log::PROLOGUE_LEN + len;
        let mut size = self.next_size;
        while needed > size / 4 && size < SEGMENT_MAX {
            size *= 2;
        }
        // A frame over a quarter of the largest segment gets a segment of its own size.
        let own_size = needed.next_multiple_of(SECTOR);
        let capacity = if needed > size / 4 { own_size } else { size };
        let (predecessor, predecessor_end) = match &self.current {
            Some(segment) => (segment.number, segment.end),
            None => (self.predecessor, self.predecessor_end),
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path_of(FileName::Log(number));
        let id = FileId(self.dir.env.random());
        let header = FileHeader { kind: FileKind::Log, store: self.store, number, id };
        let mut prologue = header.encode().to_vec();
        let segment_header = SegmentHeader { predecessor, predecessor_end, first_seqno: first };
        prologue.extend_from_slice(&segment_header.encode(&id));

        // Until here nothing has changed. A file that could not be created is not there. Where there
        // is no room for a segment there may be some for the batch.
        let created = self.dir.env.create_log(&path, capacity).map(|file| (file, capacity));
        let created = created.or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull if own_size < capacity => {
                self.dir.env.create_log(&path, own_size).map(|file| (file, own_size))
            }
            _ => Err(error),
        });
        let (file, capacity) = created.map_err(|source| Error::io("create", &path, source))?;
        let begun = self.begin_segment(&path, file, prologue);
        let file = self.breaking(begun)?;
        self.end_current();
        self.current = Some(Segment {
            number,
            path,
            id,
            file,
            capacity,
            end: log::PROLOGUE_LEN,
            next: log::PROLOGUE_LEN,
            last_seqno: 0,
            synced: 0,
        });
        self.next_size = (size * 2).min(SEGMENT_MAX);
        Ok(())
    }

    /// A failure in here may leave a segment that counts: its successor would not know it.
    fn begin_segment(
        &self,
        path: &Path,
        mut file: Box<dyn LogFile>,
        prologue: Vec<u8>,
    ) -> Result<Box<dyn LogFile>> {
        let fail = |source| in_doubt(path, source);
        file.submit(0, prologue, true).map_err(fail)?;
        file.reap().map_err(fail)?;
        seeded!(SegmentDirectoryUnsynced => return Ok(file));
        self.dir.sync()?;
        Ok(file)
    }
}
