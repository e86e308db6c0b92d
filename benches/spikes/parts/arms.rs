//! Ways to let a record outlive the process.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use super::pages::{PAGE, Pages};
use super::ring::Ring;

/// What goes to a segment at a time, past the page cache.
const PIECE: usize = 256 << 10;
/// The mapped ring: four pieces.
pub(crate) const STAGE: usize = 1 << 20;

/// Takes records in order.
pub(crate) trait Arm {
    fn put(&mut self, record: &[u8]) -> io::Result<()>;

    /// How long `put` has waited for records of earlier calls.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Brings the last ones as far as `put` has promised for all.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing outlives the process: a buffer that begins again when it is full.
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Arm for Memory {
    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        if self.0.len() + record.len() > STAGE {
            self.0.clear();
        }
        self.0.extend_from_slice(record);
        Ok(())
    }
}

/// `write`, one call a record.
pub(crate) struct Written(pub(crate) File);

impl Arm for Written {
    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        self.0.write_all(record)
    }
}

/// A store into the mapped segment.
pub(crate) struct Mapped(pub(crate) MmapMut, pub(crate) usize);

impl Arm for Mapped {
    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        self.0[self.1..self.1 + record.len()].copy_from_slice(record);
        self.1 += record.len();
        Ok(())
    }
}

/// A write through the ring for each record, waited for.
pub(crate) struct Ringed {
    ring: Ring,
    file: File,
    buffer: Option<Pages>,
    at: u64,
}

impl Arm for Ringed {
    fn put(&mut self, record: &[u8]) -> io::Result<()> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| Pages::new(record.len()));
        buffer.copy_from_slice(record);
        self.ring.start(&self.file, buffer, self.at, 0, false)?;
        self.buffer = self.ring.finish()?;
        self.at += record.len() as u64;
        Ok(())
    }
}

impl Ringed {
    pub(crate) fn of(file: File, ring: Ring) -> Ringed {
        Ringed { ring, file, buffer: None, at: 0 }
    }
}

/// A store into a small mapped ring, and a copy into a piece that goes to the segment past the page cache.
/// One piece flies while the next fills: the ring never comes round to bytes that have not arrived.
pub(crate) struct Staged {
    stage: MmapMut,
    ring: Ring,
    segment: File,
    piece: Pages,
    filled: usize,
    sent: usize,
    waited: Duration,
}

impl Staged {
    pub(crate) fn of(stage: MmapMut, segment: File, ring: Ring) -> Staged {
        let (piece, waited) = (Pages::new(PIECE), Duration::ZERO);
        Staged { stage, ring, segment, piece, filled: 0, sent: 0, waited }
    }

    fn send(&mut self, len: usize) -> io::Result<()> {
        let clock = Instant::now();
        let spare = self.ring.finish()?;
        self.waited += clock.elapsed();
        let spare = spare.unwrap_or_else(|| Pages::new(PIECE));
        let mut piece = mem::replace(&mut self.piece, spare);
        if len < PIECE {
            let mut last = Pages::new(len);
            last[..self.filled].copy_from_slice(&piece[..self.filled]);
            piece = last;
        }
        self.ring.start(&self.segment, piece, self.sent as u64, 0, false)?;
        (self.filled, self.sent) = (0, self.sent + len);
        Ok(())
    }
}

impl Arm for Staged {
    fn put(&mut self, mut record: &[u8]) -> io::Result<()> {
        while !record.is_empty() {
            let at = (self.sent + self.filled) % STAGE;
            let (now, later) = record.split_at(record.len().min(PIECE - self.filled));
            self.stage[at..at + now.len()].copy_from_slice(now);
            self.piece[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            record = later;
            if self.filled == PIECE {
                self.send(PIECE)?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(self.filled.next_multiple_of(PAGE))?;
        self.ring.finish().map(drop)
    }

    fn waited(&self) -> Duration {
        self.waited
    }
}
