//! The change from one segment to the next.

use std::io;
use std::path::Path;

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::frame;
use orlop_formats::ids::{FileId, Seqno};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::SegmentHeader;

use super::outlet::in_doubt;
use super::segment::Segment;
use super::spares::Spare;
use super::{GROWTH, Log, ZEROED};
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::sync::Ordering;

impl Log {
    /// Writes what is pending, so that the next segment needs nothing of the stage.
    pub(super) fn end_current(&mut self) -> Result<()> {
        if let Some(segment) = &mut self.current {
            if segment.pending() > 0 {
                segment.submit_all(false)?;
            }
            segment.reap()?;
        }
        if let Some(mut segment) = self.current.take() {
            segment.end_writing();
            if !segment.has_asked() {
                // It was ended before its time.
                self.spares.want_none();
            }
            self.predecessor = segment.number;
            self.predecessor_end = segment.end;
            self.news |= self.ended.push(segment)?;
        }
        Ok(())
    }

    /// Begins the next segment, a spare if there is one. Its name and its prologue are on the device before the
    /// first group is written, so that a damaged prologue is never mistaken for one that was torn.
    pub(super) fn rotate(&mut self, len: u64, first: Seqno) -> Result<()> {
        let needed = SECTOR + frame::HEADER_LEN as u64 + len;
        let mut size = self.next_size;
        while needed > size / 4 && size < self.largest {
            size = (size * GROWTH).min(self.largest);
        }
        // A frame over a quarter of the largest segment gets a segment of its own size.
        let own_size = needed.next_multiple_of(SECTOR);
        let capacity = if needed > size / 4 { own_size } else { size };
        let spare = match self.spares.take(self.next_number, capacity) {
            Some(spare) => spare,
            None => {
                let created = self.create(capacity, own_size);
                // What failed here may have been a sync of the directory.
                self.broken |= created.is_err() && self.dir.has_failed();
                created?
            }
        };
        // Until here nothing has changed.
        let ended = self.end_current();
        self.breaking(ended)?;
        let Spare { number, path, id, file, capacity, is_filled } = spare;
        let header = FileHeader { kind: FileKind::Log, store: self.store, number, id };
        let (predecessor, predecessor_end) = (self.predecessor, self.predecessor_end);
        let segment_header = SegmentHeader { predecessor, predecessor_end, first_seqno: first };
        let mut prologue = header.encode().to_vec();
        prologue.extend_from_slice(&segment_header.encode(&id));
        let to_fill = if is_filled || capacity > ZEROED { SECTOR } else { capacity };
        prologue.resize(to_fill as usize, 0);
        let begun = Self::begin_segment(&path, file, prologue);
        let file = self.breaking(begun)?;
        self.ways.segments(file.fallback());
        self.current = Some(Segment::begun((number, path, id), file, capacity));
        self.next_number = number + 1;
        self.next_size = (size * GROWTH).min(self.largest);
        Ok(())
    }

    /// Makes a segment here and now, which has its name for good and nothing in it: it counts when it has its
    /// prologue. Where there is no room for it there may be some for the batch. A file that could not be
    /// created is not there.
    fn create(&self, capacity: u64, own_size: u64) -> Result<Spare> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path_of(FileName::Log(number));
        let id = FileId(self.dir.env.random());
        let create =
            |capacity| self.dir.env.create_log(&path, capacity).map(|file| (file, capacity));
        let created = create(capacity).or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull => {
                // What is ready too early, or too small, has no claim to the space.
                self.spares.clear();
                create(capacity)
            }
            _ => Err(error),
        });
        let created = created.or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull if own_size < capacity => create(own_size),
            _ => Err(error),
        });
        let (file, capacity) = created.map_err(|source| Error::io("create", &path, source))?;
        let made = Spare { number, path, id, file, capacity, is_filled: false };
        seeded!(SegmentDirectoryUnsynced => return Ok(made));
        // What stays is litter, which the next open removes.
        self.dir.sync().inspect_err(|_| drop(self.dir.env.remove(&made.path)))?;
        Ok(made)
    }

    /// A failure in here may leave a segment that counts: its successor would not know it.
    fn begin_segment(
        path: &Path,
        mut file: Box<dyn LogFile>,
        prologue: Vec<u8>,
    ) -> Result<Box<dyn LogFile>> {
        let fail = |source| in_doubt(path, source);
        file.submit(0, prologue, true).map_err(fail)?;
        file.reap().map_err(fail)?;
        Ok(file)
    }
}
