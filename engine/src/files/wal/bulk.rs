//! A large batch in a segment of its own.
//!
//! Others commit while its bytes are written:
//!
//! 1. a file under a temporary name, as long as it has to be
//! 2. the ops, a piece at a time, and a sync. The first sector, where the frame begins, stays in memory
//! 3. with the log in hand: it gets a number, and is begun as any segment is, but under its temporary name; then
//!    it gets its name
//! 4. the first sector is written, as far as the durability asks. Nothing more comes into this segment
//!
//! Before 4 there is no frame in it. What a crash leaves before 3 is litter.

use std::mem;

use orlop_formats::batch::{self, Op};
use orlop_formats::checksum::Running;
use orlop_formats::frame;
use orlop_formats::ids::{FileId, FileNumber, Seqno};
use orlop_formats::limits::SECTOR;

use super::outlet::Landing;
use super::spares::{Blank, Spare, Spares, Wanted};
use super::{GROWTH, Log};
use crate::error::{Error, Result};
use crate::options::{Durability, SEGMENT_MIN};
use crate::sync::Arc;

/// Ops are written in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// Bytes before the first op: the headers of the frame and of the batch.
const HEAD: usize = frame::HEADER_LEN + batch::HEADER_LEN;

/// Steps 1 and 2. What is dropped before its end leaves no file.
pub(crate) struct BulkWriter {
    loan: Loan,
    /// What comes behind `written`.
    pending: Vec<u8>,
    /// Where in the file.
    written: u64,
    /// All before this in `pending` is in the checksum.
    hashed: usize,
    /// A write is on its way.
    flying: bool,
    parts: Parts,
}

/// What is known of a frame whose first sector is not written.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) first_sector: Vec<u8>,
    pub(super) ops: Running,
    pub(super) count: u32,
}

/// Behind step 2. What is dropped before step 3 leaves no file.
pub(crate) struct Bulk {
    loan: Loan,
    parts: Parts,
}

impl BulkWriter {
    /// Begins a segment for a batch whose ops take so many bytes.
    ///
    /// # Errors
    /// [`Error::Closed`], and that of making the file.
    pub(crate) fn new(spares: &Arc<Spares>, len: usize) -> Result<Self> {
        let capacity = SECTOR + ((HEAD + len) as u64).next_multiple_of(SECTOR);
        Ok(Self {
            loan: Loan::new(spares, capacity)?,
            pending: vec![0; HEAD],
            written: SECTOR,
            hashed: HEAD,
            flying: false,
            parts: Parts::default(),
        })
    }

    /// Adds an op.
    ///
    /// # Errors
    /// That of writing, and [`Error::Closed`] when the store is closing.
    pub(crate) fn push(&mut self, op: &Op<'_>) -> Result<()> {
        batch::push_key(&mut self.pending, op);
        self.parts.count += 1;
        for part in op.value.chunks(PIECE) {
            self.pending.extend_from_slice(part);
            self.write_piece()?;
        }
        self.write_piece()
    }

    /// Writes whole sectors, if there are enough.
    fn write_piece(&mut self) -> Result<()> {
        if self.pending.len() < PIECE { Ok(()) } else { self.write_sectors() }
    }

    fn write_sectors(&mut self) -> Result<()> {
        self.hash();
        let next = self.reap()?;
        let mut piece = mem::replace(&mut self.pending, next);
        let rest = piece.split_off(piece.len() / SECTOR as usize * SECTOR as usize);
        self.pending.extend_from_slice(&rest);
        self.hashed = rest.len();
        if self.parts.first_sector.is_empty() {
            self.parts.first_sector = piece.drain(..SECTOR as usize).collect();
            self.written += SECTOR;
        }
        if piece.is_empty() {
            return Ok(());
        }
        let len = piece.len() as u64;
        let blank = self.loan.blank()?;
        let submitted = blank.file.submit(self.written, piece, false);
        submitted.map_err(|source| Error::io("write", &blank.path, source))?;
        self.flying = true;
        self.written += len;
        Ok(())
    }

    fn hash(&mut self) {
        self.parts.ops.update(self.pending.get(self.hashed..).unwrap_or_default());
        self.hashed = self.pending.len();
    }

    /// Waits for the write on its way; gives an empty buffer.
    fn reap(&mut self) -> Result<Vec<u8>> {
        let blank = self.loan.blank()?;
        if !mem::take(&mut self.flying) {
            return Ok(Vec::new());
        }
        let reaped = blank.file.reap();
        let mut buffer = reaped.map_err(|source| Error::io("write", &blank.path, source))?;
        buffer.clear();
        Ok(buffer)
    }

    /// Writes the rest, and syncs it: then nobody waits for all of it with the log in hand.
    ///
    /// # Errors
    /// Those of writing and of syncing.
    pub(crate) fn finish(mut self) -> Result<Bulk> {
        self.hash();
        // Zeros up to the end of the sector are no ops.
        self.pending.resize(self.pending.len().next_multiple_of(SECTOR as usize), 0);
        self.hashed = self.pending.len();
        self.write_sectors()?;
        self.reap()?;
        let blank = self.loan.blank()?;
        // A sync that fails harms nobody: the file is not the log's yet.
        blank.file.sync().map_err(|source| Error::io("write", &blank.path, source))?;
        let Self { loan, parts, .. } = self;
        Ok(Bulk { loan, parts })
    }
}

/// A file that the log does not have yet. Dropping it leaves its removal to the background, and lets a close go
/// on.
struct Loan {
    spares: Arc<Spares>,
    /// `None` when the log has it.
    blank: Option<Blank>,
}

impl Loan {
    fn new(spares: &Arc<Spares>, capacity: u64) -> Result<Self> {
        spares.lend()?;
        let mut loan = Self { spares: Arc::clone(spares), blank: None };
        loan.blank = Some(spares.create_now(capacity)?);
        Ok(loan)
    }

    /// The file, unless the store is closing.
    fn blank(&mut self) -> Result<&mut Blank> {
        self.blank.as_mut().filter(|_| self.spares.is_open()).ok_or(Error::Closed)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.spares.take_back(self.blank.take());
    }
}

impl Log {
    /// Ends the current segment and begins that of a batch, which gets sequence number `first` (step 3). What
    /// fails it before that has changed nothing.
    pub(crate) fn begin_bulk(&mut self, bulk: &mut Bulk, first: Seqno) -> Result<FileNumber> {
        self.announce()?;
        let Some(Blank { path, file, capacity, written }) = bulk.loan.blank.take() else {
            return Err(Error::Closed);
        };
        self.plan_behind_bulk();
        let number = self.spares.next_number();
        let id = FileId(self.dir.env.random());
        let is_named = false;
        self.go_on_in(Spare { number, path, id, file, capacity, is_named, written }, first)?;
        Ok(number)
    }

    /// Where a large batch ends a segment before its time, again and again, the next ones are no larger than
    /// what is used of them is worth.
    fn plan_behind_bulk(&mut self) {
        let Some(current) = self.current.as_ref().filter(|current| !current.gets_no_more()) else {
            return;
        };
        let worth = (current.end * GROWTH).next_multiple_of(SECTOR).max(SEGMENT_MIN);
        self.next_size = self.next_size.min(worth);
    }

    /// Writes what is missing of the frame of the segment just begun (step 4). Nobody may be told before what
    /// this gives has landed.
    pub(crate) fn append_bulk(
        &mut self,
        bulk: Bulk,
        first: Seqno,
        durability: Durability,
    ) -> Result<Option<Landing>> {
        let Bulk { parts, .. } = bulk;
        let appended = self.append_first_sector(parts, first, durability);
        self.breaking(appended)
    }

    fn append_first_sector(
        &mut self,
        parts: Parts,
        first: Seqno,
        durability: Durability,
    ) -> Result<Option<Landing>> {
        let is_synced = durability == Durability::Synced;
        if is_synced {
            self.sync_earlier()?;
        }
        let synced = self.synced.min(first.saturating_sub(1));
        let Some(segment) = &mut self.current else { return Err(Error::Closed) };
        segment.finish_bulk(parts, first, synced);
        let landing = segment.submit_all(is_synced)?;
        self.news |= self.spares.want(Wanted { capacity: self.next_size, filled: is_synced });
        seeded!(BulkUnlanded => return Ok(None));
        Ok((durability != Durability::Memory).then_some(landing))
    }
}
