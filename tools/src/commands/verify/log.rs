//! The log: every segment, its chain, its frames, its batches.
//!
//! Where a segment stops being good, one of three things is true:
//!
//! 1. a clean close recorded that it goes on: damage
//! 2. a later frame says that what is lost had been synced: damage
//! 3. neither: a torn tail, that nobody was promised. A note, no finding

use std::path::{Path, PathBuf};

use orlop_formats::batch;
use orlop_formats::error::DecodeError;
use orlop_formats::filename::FileName;
use orlop_formats::frame::{self, Frame, FrameKind, Walk};
use orlop_formats::ids::{
    FIRST_USER_DATABASE, FileId, FileNumber, Kind, SYSTEM_DATABASE, Seqno, StoreId,
};
use orlop_formats::log::{self, SegmentHeader};
use orlop_formats::stage;

use super::catalog::{Catalog, Entry, KNOWN, Origin, may_be};
use super::manifest::Version;
use super::report::Report;

/// See the module.
pub(super) struct LogCheck<'a> {
    store: Option<StoreId>,
    version: Option<&'a Version>,
    seen: Vec<FileNumber>,
    /// The segment before, and where it ended.
    previous: Option<(FileNumber, u64, PathBuf)>,
    /// A segment before could not be read: what follows has nothing to follow.
    broken: bool,
    /// The highest sequence number that is accounted for.
    good: Seqno,
    /// The sequence number that comes next, once known.
    expected: Option<Seqno>,
    /// Where the log was cut; behind it only proof of an earlier sync is looked for.
    cut: Option<(PathBuf, DecodeError)>,
}

impl<'a> LogCheck<'a> {
    pub(super) fn new(store: Option<StoreId>, version: Option<&'a Version>) -> Self {
        Self {
            store,
            version,
            seen: Vec::new(),
            previous: None,
            broken: version.is_none(),
            good: version.map_or(0, |version| version.flushed_seqno),
            expected: None,
            cut: None,
        }
    }

    /// Segments whose end a clean close recorded, and that are not there.
    pub(super) fn missing(&self) -> impl Iterator<Item = FileNumber> + '_ {
        let ends = self.version.into_iter().flat_map(|version| &version.segment_ends);
        ends.map(|end| end.number).filter(|number| !self.seen.contains(number))
    }

    /// How far the manifest says that commits were on the device, and how far they are, if that is less
    /// and nothing before it has been found.
    pub(super) fn falls_short(&self) -> Option<(Seqno, Seqno)> {
        let promised = self.version.filter(|_| !self.broken)?.last_seqno;
        (self.good < promised).then_some((promised, self.good))
    }

    /// Checks the next segment; they come in the order of their numbers. `says`: where its successor
    /// says that it ended.
    pub(super) fn segment(
        &mut self,
        report: &mut Report,
        catalog: &mut Catalog,
        file: &Segment,
        says: Option<u64>,
    ) {
        let Segment { number, path, bytes } = file;
        let number = *number;
        self.seen.push(number);
        let (header, segment) = match log::decode_prologue(bytes, number, self.store) {
            Ok(prologue) => prologue,
            Err(error) => {
                report.decode(path, error);
                (self.broken, self.previous, self.expected) = (true, None, None);
                return;
            }
        };
        if self.cut.is_none() {
            self.check_chain(report, path, &segment);
        }
        if let Some((cut_path, damage)) = &self.cut {
            let log_number = self.version.map_or(0, |version| version.log_number).max(1);
            let before = segment.predecessor;
            if before >= log_number && !self.seen.contains(&before) {
                let expected = format!("segment {before}, which this one names");
                report.finding(path, 64, "log segment chain", expected, "no such file");
            }
            match frame::later_proof(bytes, log::PROLOGUE_LEN, &header.id, self.good) {
                Some((offset, synced)) => {
                    let proof = Proof { path, offset, synced };
                    proof.lost(report, &cut_path.clone(), damage.clone());
                    (self.broken, self.previous, self.expected) = (true, None, None);
                    self.cut = None;
                }
                None => {
                    report.note(path, "lies behind a torn tail: the next open cuts it");
                    return;
                }
            }
        }
        self.frames(report, catalog, file, says, (header.id, segment.first_seqno));
    }

    /// Holds the segment's header against the segment before.
    fn check_chain(&mut self, report: &mut Report, path: &Path, segment: &SegmentHeader) {
        let at = 64;
        let what = "log segment chain";
        let found =
            format!("predecessor {} ending at {}", segment.predecessor, segment.predecessor_end);
        match &self.previous {
            Some((number, end, previous_path)) => {
                if segment.predecessor != *number || segment.predecessor_end < *end {
                    let expected = format!("predecessor {number} ending at {end}");
                    report.finding(path, at, what, expected, found);
                } else if segment.predecessor_end > *end {
                    // The tail of the one before was lost after this one had been started.
                    let expected = format!("frames up to {}", segment.predecessor_end);
                    let damage =
                        DecodeError::corrupt("log segment", *end, expected, "no more frames");
                    report.note(previous_path, format!("torn tail at offset {end}"));
                    self.cut = Some((previous_path.clone(), damage));
                    return;
                }
            }
            None if self.broken => {}
            None => {
                let log_number = self.version.map_or(0, |version| version.log_number).max(1);
                if segment.predecessor >= log_number {
                    let expected = format!("a predecessor below {log_number}, or that segment");
                    report.finding(path, at, what, expected, found);
                }
            }
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != segment.first_seqno) {
            let found = segment.first_seqno.to_string();
            let expected = format!("first sequence number {expected}");
            report.finding(path, at + 16, "log segment", expected, found);
        }
        self.broken = false;
    }

    fn frames(
        &mut self,
        report: &mut Report,
        catalog: &mut Catalog,
        file: &Segment,
        says: Option<u64>,
        (id, first_seqno): (FileId, Seqno),
    ) {
        let Segment { number, path, bytes } = file;
        let number = *number;
        let ends = self.version.map(|version| version.segment_ends.as_slice()).unwrap_or_default();
        let known = ends.iter().find(|end| end.number == number);
        // Behind its end a segment is free space.
        let limit = known.map(|end| end.end).or(says).unwrap_or(bytes.len() as u64);
        let used = usize::try_from(limit).ok().and_then(|limit| bytes.get(..limit));
        let used = used.unwrap_or(bytes);
        let mut expected = first_seqno;
        let mut walk = Walk::new(bytes, log::PROLOGUE_LEN, limit, id);
        let mut last_end = log::PROLOGUE_LEN;
        for frame in walk.by_ref() {
            report.gap(path, bytes, last_end, frame.offset);
            last_end = frame.end();
            if frame.first != expected {
                let found = frame.first.to_string();
                report.finding(path, frame.offset, "group", format!("commit {expected}"), found);
            }
            check_group(report, catalog, path, &frame);
            expected = frame.next_first();
        }
        let end = walk.end();
        self.good = self.good.max(expected.saturating_sub(1));
        self.expected = Some(expected);
        self.previous = Some((number, end, path.to_owned()));
        let stop = walk.stop().cloned();
        if let Some(known) = known {
            if end != limit {
                report.decode(path, stop.unwrap_or_else(|| lost(end, limit)));
                self.expected = None;
            } else if known.last_seqno.saturating_add(1) != expected && end > log::PROLOGUE_LEN {
                let wanted = format!("sequence numbers up to {}", known.last_seqno);
                report.finding(path, end, "log segment", wanted, format!("up to {}", expected - 1));
            }
            return;
        }
        if let Some((offset, synced)) = frame::later_proof(used, end, &id, self.good) {
            let proof = Proof { path, offset, synced };
            proof.lost(report, path, stop.unwrap_or_else(|| lost(end, limit)));
            (self.broken, self.previous, self.expected) = (true, None, None);
        } else if let Some(damage) = stop {
            let text =
                format!("torn tail at offset {end}: what was written there was not promised");
            report.note(path, format!("{text} ({damage})"));
            self.cut = Some((path.to_owned(), damage));
        }
    }
}

/// A segment's file.
pub(super) struct Segment {
    pub(super) number: FileNumber,
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Segment {
    /// Adds the frames that are on a stage still.
    pub(super) fn complete(&mut self, report: &mut Report, name: &FileName, ring: &[u8]) {
        let Some((id, first)) = log::identity(&self.bytes) else { return };
        let (own, end) = stage::complete(&mut self.bytes, log::PROLOGUE_LEN, (&id, first), ring);
        if end > own {
            let text = format!("what was written from offset {own} to {end} is in {name}");
            report.note(&self.path, text);
        }
    }

    /// Where this segment says that `predecessor` ended, if it is the one behind it.
    pub(super) fn says_of(&self, predecessor: FileNumber) -> Option<u64> {
        let (_, segment) = log::decode_prologue(&self.bytes, self.number, None).ok()?;
        (segment.predecessor == predecessor).then_some(segment.predecessor_end)
    }
}

/// A frame that says that what is lost had been on the device.
struct Proof<'a> {
    path: &'a Path,
    offset: u64,
    synced: Seqno,
}

impl Proof<'_> {
    fn lost(&self, report: &mut Report, path: &Path, mut damage: DecodeError) {
        let Proof { path: proof, offset, synced } = self;
        damage.expected += &format!(
            ": the frame at offset {offset} of {} says that commit {synced} was synced",
            proof.file_name().unwrap_or_default().to_string_lossy()
        );
        report.decode(path, damage);
    }
}

fn lost(end: u64, limit: u64) -> DecodeError {
    DecodeError::corrupt("group", end, format!("frames up to {limit}"), "free space")
}

/// Checks a group's fields, its batches and their ops.
fn check_group(report: &mut Report, catalog: &mut Catalog, path: &Path, frame: &Frame<'_>) {
    let at = frame.offset;
    if frame.kind != FrameKind::Group {
        report.finding(path, at, "group", "a group of batches", format!("{:?}", frame.kind));
        return;
    }
    if frame.synced >= frame.first {
        let expected = format!("a sync before commit {}", frame.first);
        report.finding(path, at, "group", expected, format!("of commit {}", frame.synced));
    }
    let payload = at + frame::HEADER_LEN as u64;
    for (seqno, ops) in
        numbers_from(frame.first).zip(batch::read_batches(frame.payload, frame.count))
    {
        let ops = match ops {
            Ok(ops) => ops,
            Err(error) => {
                report.decode(path, error.at(payload));
                return;
            }
        };
        for op in ops {
            let op = match op {
                Ok(op) => op,
                Err(error) => {
                    report.decode(path, error.at(payload));
                    break;
                }
            };
            let is_range_delete = op.kind == Kind::RangeDelete;
            if !is_range_delete && !may_be(op.database, op.kind, op.expiry) {
                let found = format!("{:?} in {}, expiry {:?}", op.kind, op.database, op.expiry);
                report.finding(path, at, "op", KNOWN, found);
            }
            if op.database == SYSTEM_DATABASE {
                let entry = Entry { key: op.key, seqno, kind: op.kind, value: op.value };
                catalog.entry(report, Origin { path, offset: at }, &entry);
            } else if op.database.0 < FIRST_USER_DATABASE {
                let found = op.database.to_string();
                report.finding(path, at, "op", "database 0, or 16 and more", found);
            }
        }
    }
}

/// Sequence numbers from this one on, as many as there are.
fn numbers_from(first: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(first), |number| number.checked_add(1))
}
