//! The log: groups of batches in numbered segments (SPEC "log").
//!
//! The [`Log`] belongs to whoever leads the current commit group; it takes no lock of its own.
//! A segment of an earlier open is never appended to or used again: every open starts its own.
//!
//! Appending a group:
//! 1. make room: a new segment is created, its prologue and its directory entry are synced; or the sync of the
//!    prologue of one that has its name is begun, and the first write behind it waits for that
//! 2. the group's frame is built behind what is pending in the segment
//! 3. it is brought as far as its durability asks. `Memory`: no further. `Buffered`: onto the stage, which
//!    outlives the process. `Synced`: everything pending is handed to the device, with a sync
//! 4. wait for the landing of what must be waited for. The caller fills the memtable between 3 and 4, and
//!    need not have the log in 4
//!
//! When much is pending, whole sectors of it are handed to the device on the way, and nobody waits. Where
//! there is no stage, a `Buffered` group is handed over and waited for, too.

mod bulk;
mod chores;
mod ended;
mod outlet;
mod pending;
mod rotate;
mod segment;
mod spares;
mod stage;
mod trailing;
mod ways;

use orlop_formats::ids::{FileNumber, Seqno, StoreId};
use orlop_formats::limits::SECTOR;
use orlop_formats::manifest::SegmentEnd;

pub(crate) use self::bulk::{Bulk, BulkWriter};
pub(crate) use self::chores::Chores;
pub(crate) use self::outlet::Landing;
pub(crate) use self::spares::Spares;
pub(crate) use self::ways::Ways;

use self::ended::Ended;
use self::segment::Segment;
use self::spares::Wanted;
use self::stage::Stage;
use self::trailing::Trailing;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::options::{Durability, Options, SEGMENT_MIN};
use crate::sync::{Arc, AtomicU64};

/// A group of batches on its way into the log.
#[derive(Default)]
pub(crate) struct Group {
    /// What is pending, then space for the frame's header, and behind it the batches.
    pub(crate) bytes: Vec<u8>,
    /// Where the frame begins.
    start: usize,
    /// Number of batches.
    pub(crate) count: u32,
    /// Sequence number of the first one.
    pub(crate) first: Seqno,
}

/// When a part of the stage is pending it is handed to the device, also if nobody asks for it. While that
/// is on its way the next ones gather, as many as have room: a device takes its time now and then.
const PIECES: u64 = 8;

/// A segment up to this size is filled with zeros at its beginning: then no commit in it makes the file
/// system change what it knows of the file.
const ZEROED: u64 = 1 << 20;

/// A segment is so many times as large as the one before, until it has its full size.
const GROWTH: u64 = 4;

/// One that is filled with zeros is larger by this part of the one before: they are written beside the commits that
/// need it, and whatever it is larger by is written for a later day.
const GROWTH_FILLED: u64 = 4;

/// The first segment of an open has at most this part of the bytes that tables have, if not less than the least.
const FIRST_SEGMENT_PART: u64 = 64;

/// And it is not larger than this.
const FIRST_SEGMENT_MAX: u64 = ZEROED;

/// A segment that follows a retired one has this part of its size.
const RETIRED: u64 = 4;

/// The tail of the log; see the module.
pub(crate) struct Log {
    dir: Arc<Directory>,
    store: StoreId,
    numbers: Arc<AtomicU64>,
    current: Option<Segment>,
    /// Its prologue is known to be on the device, and the background knows.
    is_announced: bool,
    /// Space that the segment before has left, for the next one.
    buffer: Vec<u8>,
    /// Where commits are safe that are not in the current segment yet.
    stage: Option<Stage>,
    /// One that nothing is on that counts.
    idle_stage: Option<Stage>,
    /// The segment before the current one, if it has not landed yet.
    trailing: Option<Trailing>,
    /// Bytes of the ring of a stage, at most.
    ring: u64,
    /// Bytes of a segment, at most, if one frame does not need more.
    largest: u64,
    /// Segments that are ready before they are needed.
    spares: Arc<Spares>,
    ways: Arc<Ways>,
    /// There is something to do for the background: a spare is wanted, or a segment has ended.
    news: bool,
    /// The number of a segment that goes without, since a stage could not be made or written.
    unstaged: FileNumber,
    /// Earlier segments of this open.
    ended: Ended,
    /// Segments of earlier opens that are not flushed yet.
    replayed: usize,
    next_size: u64,
    predecessor: FileNumber,
    predecessor_end: u64,
    /// The highest sequence number known to be on the device.
    synced: Seqno,
    /// A step failed behind which the files' contents are unknown: nothing more may be written.
    broken: bool,
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
    /// Bytes of a segment and of the ring of a stage, at most.
    pub(crate) segment_size: u64,
    pub(crate) stage_size: u64,
    /// Bytes of the first segment.
    pub(crate) first_size: u64,
}

impl Origin {
    /// Behind no segment, where everything up to `synced` is on the device.
    pub(crate) fn nowhere(options: &Options, synced: Seqno) -> Self {
        let Options { segment_size, stage_size, .. } = *options;
        Self {
            predecessor: 0,
            predecessor_end: 0,
            synced,
            replayed: 0,
            segment_size,
            stage_size,
            first_size: SEGMENT_MIN,
        }
    }

    /// For a store that has so many bytes of tables: what is no burden to it need not begin small.
    pub(crate) fn for_store_of(&mut self, bytes: u64) {
        let most = (bytes / FIRST_SEGMENT_PART).min(FIRST_SEGMENT_MAX).min(self.segment_size);
        while self.first_size * GROWTH <= most {
            self.first_size *= GROWTH;
        }
    }
}

impl Log {
    pub(crate) fn new(
        dir: Arc<Directory>,
        store: StoreId,
        numbers: Arc<AtomicU64>,
        (spares, chores, ways): (Arc<Spares>, Arc<Chores>, Arc<Ways>),
        origin: Origin,
    ) -> Self {
        Self {
            dir,
            store,
            numbers,
            current: None,
            is_announced: false,
            buffer: Vec::new(),
            stage: None,
            idle_stage: None,
            trailing: None,
            ring: origin.stage_size,
            largest: origin.segment_size,
            spares,
            ways,
            news: false,
            unstaged: 0,
            ended: Ended::new(chores),
            replayed: origin.replayed,
            next_size: origin.first_size,
            predecessor: origin.predecessor,
            predecessor_end: origin.predecessor_end,
            synced: origin.synced,
            broken: false,
        }
    }

    /// Asks for what the first commit will need, where that is little beside the rest of the store: to make it takes
    /// as long as hundreds of commits.
    pub(crate) fn foresee(&mut self, durability: Durability) {
        if self.next_size == SEGMENT_MIN {
            return;
        }
        self.news |= self.spares.want(Wanted { capacity: self.next_size, filled: true });
        if durability != Durability::Synced {
            self.news |= self.spares.want_stage(self.next_size.min(self.ring));
        }
    }

    /// The next group. [`Log::reserve`] has made its room, if it gets batches.
    pub(crate) fn begin(&mut self) -> Group {
        self.current.as_mut().map(Segment::begin).unwrap_or_default()
    }

    /// Lets go of segments whose every batch is in an sstable: nobody reads them any more.
    pub(crate) fn forget_flushed(&mut self, log_number: FileNumber, durable: Seqno) {
        if self.trailing.as_ref().is_some_and(|trailing| trailing.number() < log_number) {
            // Nobody needs it any more; a failure is met, and told, by the next rotation.
            let _ = self.settle_if_landed();
        }
        self.news |= self.ended.forget(log_number);
        self.synced = self.synced.max(durable);
    }

    /// Ends the current segment if it gets no more, and all that it has is in sstables.
    pub(crate) fn end_obsolete(&mut self, log_number: FileNumber) -> Result<()> {
        let is_obsolete = |segment: &Segment| segment.gets_no_more() && segment.number < log_number;
        if self.current.as_ref().is_some_and(is_obsolete) {
            let ended = self.end_current();
            self.breaking(ended)?;
            self.news |= self.ended.forget(log_number);
        }
        Ok(())
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

    /// Makes room for `len` bytes of batches, of which the first gets sequence number `first` (step 1). A
    /// full disk fails it without having changed anything.
    pub(crate) fn reserve(&mut self, len: usize, first: Seqno) -> Result<()> {
        match &self.current {
            Some(segment) if segment.has_room(len as u64) => Ok(()),
            _ => self.rotate(len as u64, first),
        }
    }

    /// The oldest segment that a batch committed from now on can be in.
    pub(crate) fn floor(&mut self) -> FileNumber {
        match &self.current {
            Some(segment) if segment.gets_no_more() => segment.number + 1,
            Some(segment) => segment.number,
            None => self.spares.pass_all(),
        }
    }

    /// Whether the background should be told that there is something to do for it. Asking forgets it.
    pub(crate) fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// How many segments a replay of this log would read.
    pub(crate) fn live_segments(&self) -> usize {
        self.replayed + self.ended.len() + usize::from(self.current.is_some())
    }

    /// How many segments of this open have this number or a higher one, and their bytes.
    pub(crate) fn from(&self, number: FileNumber) -> (usize, u64) {
        let current = self.current.iter().map(|segment| (segment.number, segment.end));
        let all = self.ended.ends().chain(current).filter(|(of, _)| *of >= number);
        all.fold((0, 0), |(count, bytes), (_, end)| (count + 1, bytes + end))
    }

    /// Space reserved on disk for the current segment, in bytes.
    pub(crate) fn capacity(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| segment.capacity)
    }

    /// Ends a group and brings it as far as its durability asks (steps 2 and 3). Nobody may be told before
    /// what this gives has landed.
    pub(crate) fn append(
        &mut self,
        group: Group,
        durability: Durability,
    ) -> Result<Option<Landing>> {
        let appended = self.append_frame(group, durability);
        if !self.is_announced && self.current.as_ref().is_some_and(Segment::has_handed_over) {
            self.announce()?;
        }
        self.breaking(appended)
    }

    fn append_frame(&mut self, group: Group, durability: Durability) -> Result<Option<Landing>> {
        let is_empty = group.count == 0;
        if durability == Durability::Synced {
            seeded!(SyncSkipped => if is_empty { return Ok(None) });
            self.sync_earlier()?;
        }
        let before = group.first.saturating_sub(1);
        let Some(segment) = &mut self.current else {
            return if is_empty { Ok(None) } else { Err(Error::Closed) };
        };
        // What a flush has made durable can be pending here still: a frame vouches for earlier ones only.
        self.synced = self.synced.max(segment.synced());
        let synced = seeded!(SyncedOverstated => before, else self.synced.min(before));
        segment.finish(group, synced);
        let is_piece = segment.pending() as u64 >= (self.ring / PIECES).max(SECTOR);
        match durability {
            Durability::Memory if !is_piece => Ok(None),
            Durability::Memory | Durability::Buffered => self.shelter(is_piece),
            Durability::Synced if segment.pending() == 0 => {
                Ok((segment.last_seqno > segment.synced()).then(|| segment.sync_of_all()))
            }
            Durability::Synced => self.submit_synced().map(Some),
        }
    }

    fn submit_synced(&mut self) -> Result<Landing> {
        if self.stage.is_some() {
            // Buffered commits have come, and more may before this one has landed: they need not wait for
            // it then.
            self.put_on_stage();
        }
        let Some(segment) = &mut self.current else { return Err(Error::Closed) };
        let landing = segment.submit_all(true)?;
        self.ask_for_spare(true);
        Ok(landing)
    }

    fn ask_for_spare(&mut self, filled: bool) {
        let Some(segment) = &mut self.current else { return };
        if let Some(used) = segment.used_since() {
            self.news |= self.spares.goes_on(used);
            // It may have been another way at its beginning.
            self.ways.segments(segment.outlet().fallback());
        }
        if !segment.asks_for_spare(filled) {
            return;
        }
        if filled {
            let more = (segment.capacity / GROWTH_FILLED).next_multiple_of(SECTOR);
            let most = (segment.capacity + more).max(ZEROED);
            self.next_size = self.next_size.min(most);
        }
        self.news |= self.spares.want(Wanted { capacity: self.next_size, filled });
        self.ask_for_stage();
    }

    /// Asks for the stage of the next segment, where commits are staged and the one that will be free is too short.
    fn ask_for_stage(&mut self) {
        let ring = self.next_size.min(self.ring);
        // One that is too short is of no use, and has memory that is locked.
        let short = self.idle_stage.take_if(|stage| stage.ring() < ring);
        short.into_iter().for_each(|stage| self.spares.let_go_of_stage(stage));
        let trailing = self.trailing.as_ref().and_then(Trailing::stage);
        let free = self.idle_stage.as_ref().or(trailing);
        if self.stage.is_some() && free.is_none_or(|stage| stage.ring() < ring) {
            self.news |= self.spares.want_stage(ring);
        }
    }

    /// Brings what is pending where it outlives the process; if it is a piece, also on its way into the
    /// segment. Where there is no stage, nobody may be told before that has landed.
    fn shelter(&mut self, is_piece: bool) -> Result<Option<Landing>> {
        seeded!(StageSkipped => return Ok(None));
        let Some(segment) = &mut self.current else { return Ok(None) };
        seeded!(BehindFlightUnstaged => if segment.is_behind_sync() { return Ok(None) });
        if segment.is_exposed_on_its_way() {
            segment.reap()?;
        }
        if is_piece {
            self.settle_if_landed()?;
        }
        let Some(segment) = &mut self.current else { return Ok(None) };
        if segment.exposed().1.is_empty() {
            return Ok(None);
        }
        if !segment.fits_behind_landed(segment.capacity.min(self.ring)) {
            seeded!(StageOverrun => (), else segment.reap()?);
        }
        let is_staged = self.put_on_stage();
        self.ask_for_spare(false);
        let Some(segment) = &mut self.current else { return Ok(None) };
        if is_staged && !(is_piece && segment.is_free()) {
            return Ok(None);
        }
        let landing = segment.submit_all(false)?;
        Ok((!is_staged).then_some(landing))
    }

    /// Puts what is pending in the current segment onto a stage; false where there is no room, or no stage:
    /// then the segment goes without from now on.
    fn put_on_stage(&mut self) -> bool {
        let Some(segment) = &self.current else { return false };
        let (number, ring) = (segment.number, segment.capacity.min(self.ring));
        let fits = segment.fits_behind_landed(ring);
        seeded!(StageOverrun: fits = true);
        if number == self.unstaged || !fits {
            return false;
        }
        let put = self.stage_for(ring).and_then(|()| match (&mut self.current, &mut self.stage) {
            (Some(segment), Some(stage)) => {
                let (offset, bytes) = segment.exposed();
                stage.put(offset, bytes).map(|()| segment.all_is_staged())
            }
            _ => Err(Error::Closed),
        });
        if put.is_err() {
            self.unstaged = number;
        }
        put.is_ok()
    }

    /// Makes a stage with so long a ring, if that of the one there is shorter. All that the old one holds
    /// has landed: it is that of an earlier segment, and none that trails.
    fn stage_for(&mut self, ring: u64) -> Result<()> {
        if self.stage.as_ref().map_or(0, Stage::ring) < ring {
            let stage = match self.spares.take_stage(ring) {
                Some(stage) => stage,
                None => Stage::create(&self.dir, self.store, &self.numbers, ring)
                    .inspect_err(|error| self.ways.stage(Some(error.to_string())))?,
            };
            self.ways.stage(stage.fallback());
            if let Some(old) = self.stage.replace(stage) {
                self.spares.let_go_of_stage(old);
            }
        }
        Ok(())
    }

    /// Puts everything onto the device.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let synced = self.sync_segments();
        self.breaking(synced)
    }

    fn sync_segments(&mut self) -> Result<()> {
        seeded!(SyncSkipped => return Ok(()));
        self.sync_earlier()?;
        if let Some(segment) = &mut self.current {
            segment.sync()?;
            self.synced = self.synced.max(segment.synced());
        }
        Ok(())
    }

    /// Ends the current segment: the next group starts a new, smaller one. A store that rests becomes small
    /// by and by; one that goes on does not begin at the beginning.
    pub(crate) fn retire(&mut self) -> Result<()> {
        let smaller = (self.capacity() / RETIRED).next_multiple_of(SECTOR);
        self.next_size = smaller.max(SEGMENT_MIN).min(self.largest);
        let ended = self.end_current();
        self.buffer = Vec::new();
        self.breaking(ended)?;
        self.spares.clear();
        Ok(())
    }

    /// The same, where nobody says that more is to come: gives the stage up, too, and begins small again.
    pub(crate) fn rest(&mut self) -> Result<()> {
        self.retire()?;
        let settled = self.settle();
        self.breaking(settled)?;
        self.remove_stages();
        self.next_size = SEGMENT_MIN;
        Ok(())
    }

    /// Syncs everything, gives unused space back, and says where each segment of this open ended.
    pub(crate) fn finish(&mut self) -> Result<Vec<SegmentEnd>> {
        seeded!(StageRemovedEarly => self.remove_stages());
        self.sync()?;
        let finished = self.finish_segments();
        self.breaking(finished)?;
        self.remove_stages();
        self.spares.close();
        Ok(self.ended.take())
    }

    fn finish_segments(&mut self) -> Result<()> {
        if let Some(segment) = &mut self.current {
            segment.trim()?;
        }
        self.end_current()?;
        self.settle()?;
        self.sync_earlier()
    }

    /// No segment trails: all that they hold is in segments.
    fn remove_stages(&mut self) {
        for stage in [self.stage.take(), self.idle_stage.take()].into_iter().flatten() {
            stage.remove(&self.dir);
        }
    }

    /// Segments of earlier numbers go to the device before anything that follows them.
    fn sync_earlier(&mut self) -> Result<()> {
        seeded!(RotatedSegmentUnsynced => return Ok(()));
        self.synced = self.synced.max(self.ended.sync()?);
        Ok(())
    }
}
