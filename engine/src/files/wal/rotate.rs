//! The change from one segment to the next.

use std::io;
use std::mem;

use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::frame;
use orlop_formats::ids::{FileId, Seqno};
use orlop_formats::limits::SECTOR;
use orlop_formats::log::{PROLOGUE_LEN, SegmentHeader};

use super::outlet::{Outlet, in_doubt};
use super::segment::Segment;
use super::spares::Spare;
use super::{GROWTH, Log, ZEROED};
use crate::error::{Error, Result};

impl Log {
    /// Hands over what is pending. Who is not safe on a stage before it has landed is waited for.
    pub(super) fn end_current(&mut self) -> Result<()> {
        self.settle()?;
        if self.current.as_ref().is_some_and(|segment| segment.pending() > 0) {
            if self.stage.is_some() {
                self.put_on_stage();
            }
            self.current.as_mut().map(|segment| segment.submit_all(false)).transpose()?;
        }
        if let Some(mut segment) = self.current.take() {
            // Of one without a frame only the prologue's sync is on its way, which its successor needs.
            let may_trail = self.stage.is_some()
                && segment.has_handed_over()
                && !segment.is_exposed_on_its_way();
            if may_trail && !segment.is_free() {
                self.trail(&segment);
            } else if let Err(error) = segment.reap() {
                self.current = Some(segment);
                return Err(error);
            } else if !segment.gets_no_more() {
                self.spares.ended(segment.number, segment.written_once());
            }
            self.ways.segments(segment.outlet().fallback());
            self.buffer = segment.end_writing();
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

    /// Begins the next segment, a spare if there is one. Its prologue and its name are on the device before
    /// the first group is written, so that a damaged prologue is never mistaken for one that was torn. Where
    /// it has its name, and the environment can, nobody waits for the prologue's sync but the first write behind it.
    pub(super) fn rotate(&mut self, len: u64, first: Seqno) -> Result<()> {
        self.announce()?;
        let needed = SECTOR + frame::HEADER_LEN as u64 + len;
        let mut size = self.next_size;
        while needed > size / 4 && size < self.largest {
            size = (size * GROWTH).min(self.largest);
        }
        // A frame over a quarter of the largest segment gets a segment of its own size.
        let own_size = needed.next_multiple_of(SECTOR);
        let capacity = if needed > size / 4 { own_size } else { size };
        let spare = match self.spares.take(capacity) {
            Some(spare) => spare,
            None => self.create(capacity, own_size)?,
        };
        // Until here nothing has changed.
        self.go_on_in(spare, first)?;
        self.next_size = (size * GROWTH).min(self.largest);
        Ok(())
    }

    /// Ends the current segment and begins this one, whose first batch gets sequence number `first`.
    pub(super) fn go_on_in(&mut self, spare: Spare, first: Seqno) -> Result<()> {
        let ended = self.end_current();
        self.breaking(ended)?;
        let Spare { number, id, capacity, written, .. } = spare;
        let (predecessor, predecessor_end) = (self.predecessor, self.predecessor_end);
        let header = SegmentHeader { predecessor, predecessor_end, first_seqno: first };
        let to_fill = if written >= capacity || capacity > ZEROED { SECTOR } else { capacity };
        let (spare, synced) = self.begin_segment(spare, &header, to_fill)?;
        let Spare { path, file, .. } = spare;
        self.ways.segments(file.fallback());
        let lengths = (capacity, written.max(to_fill));
        let outlet = Outlet::new(path, file, PROLOGUE_LEN, !synced);
        self.current =
            Some(Segment::begun((number, id), outlet, lengths, mem::take(&mut self.buffer)));
        self.spares.begun(number);
        self.is_announced = false;
        if synced {
            self.announce()?;
        }
        Ok(())
    }

    /// Lets the background know that the current segment says which came before, since its prologue is on the
    /// device: where nothing stands behind that yet, it is waited for.
    pub(super) fn announce(&mut self) -> Result<()> {
        let Some(segment) = self.current.as_ref().filter(|_| !self.is_announced) else {
            return Ok(());
        };
        if !segment.has_handed_over() {
            let reaped = segment.reap();
            self.breaking(reaped)?;
        }
        self.is_announced = true;
        self.spares.vouches(self.current.as_ref().map_or(0, |segment| segment.number));
        Ok(())
    }

    /// Makes a segment here and now. Where there is no room for it there may be some for the batch. A
    /// file that could not be created is not there.
    fn create(&self, capacity: u64, own_size: u64) -> Result<Spare> {
        let number = self.spares.next_number();
        let path = self.dir.path_of(FileName::Log(number));
        let id = FileId(self.dir.env.random());
        let create =
            |capacity| self.dir.env.create_log(&path, capacity).map(|file| (file, capacity));
        let created = create(capacity).or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull => {
                // What is ready too early, or too small, has no claim to the space.
                self.spares.give_way();
                create(capacity)
            }
            _ => Err(error),
        });
        let created = created.or_else(|error| match error.kind() {
            io::ErrorKind::StorageFull if own_size < capacity => create(own_size),
            _ => Err(error),
        });
        let (file, capacity) = created.map_err(|source| Error::io("create", &path, source))?;
        Ok(Spare { number, path, id, file, capacity, is_named: false, written: 0 })
    }

    /// Puts its prologue into a segment, with zeros behind it up to `len`, and its name into the directory. A
    /// failure in here may leave a segment that counts, which its successor would not know; but where no sync
    /// of the directory was even tried, it is taken back. False if the prologue's sync is on its way.
    fn begin_segment(
        &mut self,
        mut spare: Spare,
        header: &SegmentHeader,
        len: u64,
    ) -> Result<(Spare, bool)> {
        if spare.is_named {
            let synced = self.write_prologue(&mut spare, header, len);
            let synced = self.breaking(synced)?;
            return Ok((spare, synced));
        }
        let synced = self.sync_prologue(&mut spare, header, len);
        self.breaking(synced)?;
        seeded!(SegmentDirectoryUnsynced => return Ok((spare, true)));
        let named = self.dir.path_of(FileName::Log(spare.number));
        if spare.path != named {
            let renamed = self.dir.env.rename(&spare.path, &named);
            if let Err(source) = renamed {
                let error = Error::io("rename", &spare.path, source);
                self.spares.discard(spare);
                return Err(error);
            }
            spare.path = named;
        }
        let Err(error) = self.dir.sync() else { return Ok((spare, true)) };
        if self.dir.has_failed() {
            self.broken = true;
        } else {
            let taken_back = self.sync_prologue(&mut spare, &SegmentHeader::NOT_BEGUN, SECTOR);
            self.breaking(taken_back)?;
            self.spares.discard(spare);
        }
        Err(error)
    }

    fn sync_prologue(&self, spare: &mut Spare, header: &SegmentHeader, len: u64) -> Result<()> {
        let prologue = self.prologue(spare, header, len);
        let sync = seeded!(PrologueUnsynced => false, else true);
        let submitted = spare.file.submit(0, prologue, sync);
        submitted.map_err(|source| in_doubt(&spare.path, source))?;
        spare.file.reap().map(drop).map_err(|source| in_doubt(&spare.path, source))
    }

    /// Puts a prologue into the file, and begins its sync at least. Whether that is done.
    fn write_prologue(&self, spare: &mut Spare, header: &SegmentHeader, len: u64) -> Result<bool> {
        let fail = |source| in_doubt(&spare.path, source);
        let prologue = self.prologue(spare, header, len);
        seeded!(PrologueUnsynced => {
            spare.file.submit(0, prologue, false).map_err(fail)?;
            return spare.file.reap().map(|_| true).map_err(fail);
        });
        if spare.file.submit_aside(0, prologue).map_err(fail)? {
            return Ok(false);
        }
        spare.file.reap().map(|_| true).map_err(fail)
    }

    /// The prologue of a segment, with zeros behind it.
    fn prologue(&self, spare: &Spare, header: &SegmentHeader, len: u64) -> Vec<u8> {
        let file_header = FileHeader {
            kind: FileKind::Log,
            store: self.store,
            number: spare.number,
            id: spare.id,
        };
        let mut prologue = file_header.encode().to_vec();
        prologue.extend_from_slice(&header.encode(&spare.id));
        prologue.resize(len as usize, 0);
        prologue
    }
}
