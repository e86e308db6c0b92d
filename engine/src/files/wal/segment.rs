//! A segment of this open.
//!
//! It is written in order, in pieces of whole frames and whole sectors: the last sector of a piece is
//! filled with zeros, and the next frame begins behind it, so that no sector is ever written twice. What
//! has not been handed to the file yet is *pending*; what has been handed over has *landed* once the
//! write was reaped (`outlet`): then it outlives the process. What outlives the process, there or on the
//! stage, is *sheltered*.

use std::mem;

use orlop_formats::batch;
use orlop_formats::frame::{self, Fields, FrameKind, Seed};
use orlop_formats::ids::{FileId, FileNumber, Seqno};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::PROLOGUE_LEN;

use super::Group;
use super::bulk::Parts;
use super::outlet::{Flight, Landing, Outlet};
use super::pending::Pending;
use crate::error::Result;
use crate::sync::Arc;

/// See the module.
pub(super) struct Segment {
    pub(super) number: FileNumber,
    seed: Seed,
    outlet: Arc<Outlet>,
    pub(super) capacity: u64,
    /// Bytes before this, whole sectors, had been written when it was begun.
    prepared: u64,
    /// Where the last frame ends.
    pub(super) end: u64,
    /// The highest sequence number in it.
    pub(super) last_seqno: Seqno,
    /// Bytes before this, whole sectors, were handed to the file.
    written: u64,
    /// Where the last of these frames ends.
    handed_over: u64,
    /// Bytes before this are on the stage, or were in the file before.
    staged: u64,
    /// What comes behind `written`.
    pending: Pending,
    /// Where its one frame ends, in whole sectors, if others have written that but for its first sector.
    bulk_end: u64,
    /// The spare that was asked for to follow it.
    asked: Asked,
    /// Where the part of it ends that is being used.
    part_end: u64,
}

/// What a segment that has ended needs to be synced.
pub(super) struct Unsynced {
    pub(super) number: FileNumber,
    outlet: Arc<Outlet>,
    last_seqno: Seqno,
}

impl Unsynced {
    pub(super) fn is_synced(&self) -> bool {
        self.outlet.synced() >= self.last_seqno
    }

    /// Makes everything durable that was handed over.
    pub(super) fn sync(&self) -> Result<()> {
        self.outlet.sync(self.last_seqno)
    }
}

/// The steps in which a segment is used up, for who makes the next one.
pub(super) const PARTS: u64 = 16;

/// Once so many are used, the next one is asked for.
pub(super) const ASKED: u64 = 4;

/// See [`Segment::asks_for_spare`].
#[derive(PartialEq, PartialOrd)]
enum Asked {
    Nothing,
    Named,
    Filled,
}

impl Segment {
    /// A segment whose first sector is in its file; its capacity, and how much of it was written once; space for
    /// what is pending.
    pub(super) fn begun(
        (number, id): (FileNumber, FileId),
        outlet: Arc<Outlet>,
        (capacity, prepared): (u64, u64),
        buffer: Vec<u8>,
    ) -> Self {
        let end = PROLOGUE_LEN;
        Self {
            number,
            seed: Seed::from(&id),
            outlet,
            capacity,
            prepared,
            end,
            last_seqno: 0,
            written: SECTOR,
            handed_over: end,
            staged: end,
            pending: Pending::within(buffer),
            bulk_end: 0,
            asked: Asked::Nothing,
            part_end: capacity.div_ceil(PARTS),
        }
    }

    /// The highest sequence number in it that its own syncs cover. What is durable elsewhere, in
    /// an sstable, does not count: recovery reads the segment to its end.
    pub(super) fn synced(&self) -> Seqno {
        self.outlet.synced()
    }

    /// Whether it is time to have a spare to follow, `filled` or not: when [`ASKED`] parts are used, and once each.
    pub(super) fn asks_for_spare(&mut self, filled: bool) -> bool {
        let asks = if filled { Asked::Filled } else { Asked::Named };
        let used = self.written + self.pending.len() as u64;
        let is_time = asks > self.asked && used * PARTS > self.capacity * ASKED;
        if is_time {
            self.asked = asks;
        }
        is_time
    }

    /// How many of its [`PARTS`] are used, if they are more than when it was asked last.
    pub(super) fn used_since(&mut self) -> Option<u64> {
        if self.written < self.part_end {
            return None;
        }
        let used = self.written * PARTS / self.capacity.max(1);
        self.part_end = (self.capacity * (used + 1)).div_ceil(PARTS);
        Some(used)
    }

    /// Whether a spare was asked for to follow it.
    pub(super) fn has_asked(&self) -> bool {
        self.asked > Asked::Nothing
    }

    /// Whether a frame with `len` bytes of batches has room.
    pub(super) fn has_room(&self, len: u64) -> bool {
        let offset = self.written + (self.pending.len() as u64).next_multiple_of(frame::ALIGN);
        let end = offset + frame::HEADER_LEN as u64 + len;
        !self.gets_no_more() && end.next_multiple_of(SECTOR) <= self.capacity
    }

    /// Bytes before this, whole sectors, were written once in the life of the file.
    pub(super) fn written_once(&self) -> u64 {
        self.prepared.max(self.written)
    }

    /// Bytes that wait to be handed over.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Begins a frame behind what is pending.
    pub(super) fn begin(&mut self) -> Group {
        self.pending.fill_up(frame::ALIGN);
        let mut bytes = self.pending.lend();
        let start = frame::begin(&mut bytes);
        Group { bytes, start, count: 0, first: 0 }
    }

    /// Ends the frame of a group, which knows that everything up to `synced` is on the device; or takes
    /// it back if the group has nothing in it.
    pub(super) fn finish(&mut self, group: Group, synced: Seqno) {
        let Group { mut bytes, start, count, first } = group;
        if count == 0 {
            bytes.truncate(start);
            self.pending.put_back(bytes);
            return;
        }
        let fields = Fields {
            kind: FrameKind::Group,
            count,
            first,
            synced,
            offset: self.written + self.pending.place(start),
            previous_end: self.end,
        };
        frame::finish(&mut bytes, start, self.seed, &fields);
        self.pending.put_back(bytes);
        self.end = self.written + self.pending.len() as u64;
        self.last_seqno = first + u64::from(count) - 1;
    }

    /// Ends the frame of a batch of which the file has all but the first sector. It knows that everything up
    /// to `synced` is on the device.
    pub(super) fn finish_bulk(&mut self, parts: Parts, first: Seqno, synced: Seqno) {
        let Parts { mut first_sector, ops, count } = parts;
        let fields = Fields {
            kind: FrameKind::Group,
            count: 1,
            first,
            synced,
            offset: self.written,
            previous_end: self.end,
        };
        let (frame_head, batch_head) = (frame::HEADER_LEN, batch::HEADER_LEN);
        // Whoever has the parts of a whole frame has a whole sector of it.
        let head = &mut first_sector[..frame_head + batch_head];
        batch::finish_before(&mut head[frame_head..], count, ops.len() as usize);
        frame::finish_before(head, self.seed, &fields, &ops);
        self.end = self.written + head.len() as u64 + ops.len();
        self.bulk_end = self.end.next_multiple_of(SECTOR);
        self.last_seqno = first;
        self.pending = Pending::of(first_sector);
        self.asked = Asked::Filled;
    }

    /// Whether it has its one frame, which others have written.
    pub(super) fn gets_no_more(&self) -> bool {
        self.bulk_end > 0
    }

    /// Bytes before this outlive the process, in the file or on the stage.
    fn sheltered(&self) -> u64 {
        self.staged.max(self.outlet.landed())
    }

    /// Whether a write is on its way that does not outlive the process before it has landed.
    pub(super) fn is_exposed_on_its_way(&self) -> bool {
        self.sheltered() < self.handed_over
    }

    /// Pending bytes that do not outlive the process yet: where they begin, and they.
    pub(super) fn exposed(&self) -> (u64, &[u8]) {
        let from = self.staged.max(self.written);
        (from, self.pending.from((from - self.written) as usize))
    }

    /// Everything pending is on the stage.
    pub(super) fn all_is_staged(&mut self) {
        self.staged = self.written + self.pending.len() as u64;
    }

    /// Whether no more than `len` bytes stand behind the last frame that has landed: where a reader finds
    /// the end of the segment, should the process be killed now.
    pub(super) fn fits_behind_landed(&self, len: u64) -> bool {
        self.written + self.pending.len() as u64 - self.outlet.landed() <= len
    }

    /// Hands over all that is pending, the last sector filled with zeros; with `sync`, to the device.
    pub(super) fn submit_all(&mut self, sync: bool) -> Result<Landing> {
        let synced = sync.then_some(self.last_seqno);
        seeded!(SectorRewritten => return self.submit_and_keep(synced));
        self.pending.fill_up(SECTOR);
        self.submit(synced)
    }

    fn submit(&mut self, synced: Option<Seqno>) -> Result<Landing> {
        let pending = mem::take(&mut self.pending);
        let len = pending.len() as u64;
        let flight = Flight { end: self.end, synced };
        let (landing, spare) = self.outlet.submit(self.written, pending, flight)?;
        self.written = (self.written + len).max(self.bulk_end);
        self.handed_over = self.end;
        self.pending = Pending::within(spare);
        Ok(landing)
    }

    /// The sync of everything in it, of which nothing is pending.
    pub(super) fn sync_of_all(&self) -> Landing {
        self.outlet.landing(Flight { end: self.handed_over, synced: Some(self.last_seqno) })
    }

    /// Whether a frame was handed over: then the prologue is on the device.
    pub(super) fn has_handed_over(&self) -> bool {
        self.handed_over > PROLOGUE_LEN
    }

    /// Its way into the file.
    pub(super) fn outlet(&self) -> Arc<Outlet> {
        Arc::clone(&self.outlet)
    }

    /// Takes space for what is pending next.
    pub(super) fn keep(&self, buffer: Vec<u8>) {
        self.outlet.keep(buffer);
    }

    /// Whether what is pending can be handed over without waiting for what was.
    pub(super) fn is_free(&self) -> bool {
        self.outlet.is_free()
    }

    /// Waits for what was handed over.
    pub(super) fn reap(&self) -> Result<()> {
        self.outlet.reap()
    }

    /// Makes everything in it durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return self.outlet.sync(self.last_seqno);
        }
        self.submit_all(true)?;
        self.reap()
    }

    /// Whether everything in it is on the device.
    pub(super) fn is_synced(&self) -> bool {
        self.pending.is_empty() && self.unsynced().is_synced()
    }

    /// Its sync, for whoever has time for it; nothing is pending.
    pub(super) fn unsynced(&self) -> Unsynced {
        let Self { number, last_seqno, .. } = *self;
        Unsynced { number, outlet: Arc::clone(&self.outlet), last_seqno }
    }

    /// Nothing more is written: gives the buffers up. One of them is for the next segment.
    pub(super) fn end_writing(&mut self) -> Vec<u8> {
        let (pending, _) = mem::take(&mut self.pending).into_parts();
        let spare = self.outlet.end_writing();
        if spare.capacity() > pending.capacity() { spare } else { pending }
    }

    /// Gives the space behind the last frame back.
    pub(super) fn trim(&self) -> Result<()> {
        self.outlet.trim(self.end)
    }
}

#[cfg(feature = "seeded-bugs")]
impl Segment {
    /// Whether a write is on its way that is to be synced.
    pub(super) fn is_behind_sync(&self) -> bool {
        self.outlet.is_syncing()
    }

    /// Submits all, and keeps the last sector to write it again.
    fn submit_and_keep(&mut self, synced: Option<Seqno>) -> Result<Landing> {
        let last =
            self.pending.from(self.pending.len() / SECTOR as usize * SECTOR as usize).to_vec();
        self.pending.fill_up(SECTOR);
        let landing = self.submit(synced)?;
        if !last.is_empty() {
            self.written -= SECTOR;
            self.pending = Pending::of(last);
        }
        Ok(landing)
    }
}
