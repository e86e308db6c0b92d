//! Reading the log back (SPEC "log", "recovery").
//!
//! What was on its way into a segment when its process ended may be on a stage: every segment that is read
//! is completed with what fits there. Stages are read first: beside a live writer a segment that is read
//! later has everything that has left the stage meanwhile.
//!
//! Segments that were made and not begun are left out, unread (`unbegun`).
//! [`scan`] checks every live segment and says how far each is good; what is good it keeps in memory, where
//! that is not too much. [`visit`] then hands out the batches. Where a segment stops being good:
//!
//! 1. the manifest knows its end (clean close): it must be good up to there
//! 2. otherwise its successor may say where it ended, and what is behind is free space; if a later
//!    frame, here or in a later segment, proves that the lost bytes had
//!    been synced: corruption
//! 3. otherwise the tail was torn: it and everything behind it is cut; unless the manifest says that a
//!    commit behind the cut was synced: corruption

mod unbegun;

use std::io;
use std::path::{Path, PathBuf};

use orlop_formats::batch::{self, Op};
use orlop_formats::error::{DecodeError, Reason};
use orlop_formats::filename::FileName;
use orlop_formats::frame::{self, Frame, FrameKind, Walk};
use orlop_formats::ids::{FileId, FileNumber, Kind, SYSTEM_DATABASE, Seqno, StoreId};
use orlop_formats::limits::{MAX_FRAMED_FILE_LEN, MAX_RING_LEN, MAX_SEQNO};
use orlop_formats::{log, stage};

use crate::env::{DirEntry, Env};
use crate::error::{Error, Result};
use crate::files::manifest::State;
use crate::sync::{Arc, join};

/// A segment and how far it is good.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) number: FileNumber,
    path: PathBuf,
    id: FileId,
    /// Where its last good frame ends.
    pub(crate) end: u64,
    /// It up to there, if it was kept: [`visit`] reads it again otherwise.
    bytes: Option<Arc<Vec<u8>>>,
}

/// Bytes that are kept of segments, at most.
pub(crate) const KEPT: usize = 256 << 20;

/// A log of at least so many bytes is worth two threads.
const TWO_THREADS: u64 = 1 << 20;

/// What [`scan`] found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The segments to replay, oldest first.
    pub(crate) live: Vec<Live>,
    /// The last sequence number in them, or 0.
    pub(crate) last_seqno: Seqno,
    /// Every segment was ended by a clean close.
    pub(crate) clean: bool,
    /// Where a torn tail was cut, if one was.
    pub(crate) torn: Option<(PathBuf, u64)>,
    /// What is on stages.
    rings: Rings,
}

/// The rings of all stages.
type Rings = Vec<Vec<u8>>;

/// A segment's file.
struct File {
    number: FileNumber,
    path: PathBuf,
    bytes: Vec<u8>,
    /// Up to here the frames were found to be whole.
    whole: u64,
}

impl File {
    /// Where this segment says that `predecessor` ended, if it is the one behind it.
    fn says_of(&self, predecessor: FileNumber, store: StoreId) -> Option<u64> {
        let (_, segment) = log::decode_prologue(&self.bytes, self.number, Some(store)).ok()?;
        (segment.predecessor == predecessor).then_some(segment.predecessor_end)
    }
}

struct Scanner<'a> {
    env: &'a dyn Env,
    store: StoreId,
    state: &'a State,
    scan: Scan,
    /// Bytes of segments that are kept.
    kept: usize,
    /// The highest sequence number that is accounted for.
    good: Seqno,
    /// The sequence number that the next frame must start with, once known.
    expected: Option<Seqno>,
    /// Segments that were looked at.
    passed: Vec<FileNumber>,
    /// The damage behind which only proof of an earlier sync is looked for.
    cut: Option<(PathBuf, DecodeError)>,
}

/// Checks all segments of the log; see the module. `at_once`: two threads may read.
pub(crate) fn scan(
    env: &dyn Env,
    dir: &Path,
    store: StoreId,
    state: &State,
    at_once: bool,
) -> Result<Scan> {
    let entries = env.list(dir).map_err(|source| Error::io("list", dir, source))?;
    let mut segments: Vec<(FileNumber, u64)> = entries
        .iter()
        .filter_map(|entry| match FileName::parse(&entry.name) {
            Some(FileName::Log(number)) if number >= state.log_number => Some((number, entry.len)),
            _ => None,
        })
        .collect();
    segments.sort_unstable();
    let all = segments.len();
    unbegun::leave_out(env, dir, store, &mut segments);
    let has_unbegun = segments.len() < all;
    let rings = if segments.is_empty() { Rings::new() } else { rings(env, dir, store, &entries)? };
    let mut ready = Vec::new();
    let bytes = segments.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len));
    if at_once && segments.len() > 1 && (TWO_THREADS..=KEPT as u64).contains(&bytes) {
        ready = read_at_once(env, dir, &segments, &rings);
    }
    let mut ready = ready.into_iter();
    let mut scanner = Scanner {
        env,
        store,
        state,
        // What was not begun can be yet, by its process if that was killed.
        scan: Scan { clean: !has_unbegun, rings, ..Scan::default() },
        kept: 0,
        good: state.flushed_seqno,
        expected: None,
        passed: Vec::new(),
        cut: None,
    };
    // One segment is read ahead: it says where the one before it ended.
    let mut ahead: Option<File> = None;
    for number in segments.into_iter().map(|(number, _)| Some(number)).chain([None]) {
        let read = |number| ready.next().unwrap_or_else(|| scanner.read(dir, number));
        let next = number.map(read).transpose()?;
        if number.is_some() && next.as_ref().is_none_or(|next| never_begun(next, store)) {
            // Its name is there, and nothing was ever written behind its prologue. But that can
            // still land, if its process was killed: the log must go on above it.
            scanner.scan.clean = false;
            continue;
        }
        if let Some(file) = ahead {
            let successor_says = next.as_ref().and_then(|next| next.says_of(file.number, store));
            scanner.segment(&file, successor_says)?;
            scanner.keep(file);
        }
        ahead = next;
    }
    if let Some(end) = state.segment_ends.iter().find(|end| !scanner.seen(end.number)) {
        let path = dir.join(FileName::Log(end.number).to_string());
        return Err(Error::corrupt(&path, "log segment", 0, "the segment", "no such file"));
    }
    scanner.check_end(dir)?;
    let mut scan = scanner.scan;
    scan.torn = scanner.cut.map(|(path, damage)| (path, damage.offset));
    scan.clean &= scan.torn.is_none();
    Ok(scan)
}

fn read_segment(env: &dyn Env, dir: &Path, number: FileNumber, rings: &Rings) -> Result<File> {
    let path = dir.join(FileName::Log(number).to_string());
    let (bytes, whole) = read(env, &path, rings)?;
    Ok(File { number, path, bytes, whole })
}

/// Reads all segments, half of the bytes each of two threads, and looks at their frames.
fn read_at_once(
    env: &dyn Env,
    dir: &Path,
    segments: &[(FileNumber, u64)],
    rings: &Rings,
) -> Vec<Result<File>> {
    let half = segments.iter().map(|(_, len)| len).sum::<u64>() / 2;
    let mut before = 0;
    let middle = segments.iter().take_while(|(_, len)| {
        before += len;
        before <= half
    });
    let (one, other) = segments.split_at(middle.count());
    let read = |number: FileNumber| {
        let mut file = read_segment(env, dir, number, rings)?;
        if let Some((id, _)) = log::identity(&file.bytes) {
            let walk = Walk::new(&file.bytes, log::PROLOGUE_LEN, u64::MAX, id);
            let mut walk = walk.knowing_whole(file.whole);
            walk.to_last();
            file.whole = walk.end();
        }
        Ok(file)
    };
    let read_all = |part: &[(FileNumber, u64)]| -> Vec<Result<File>> {
        part.iter().map(|(number, _)| read(*number)).collect()
    };
    let (mut files, mut rest) = join(|| read_all(one), || read_all(other));
    files.append(&mut rest);
    files
}

impl Scanner<'_> {
    fn seen(&self, number: FileNumber) -> bool {
        self.scan.live.iter().any(|live| live.number == number)
    }

    fn read(&self, dir: &Path, number: FileNumber) -> Result<File> {
        read_segment(self.env, dir, number, &self.scan.rings)
    }

    /// Keeps what is good of a segment, while that is not too much.
    fn keep(&mut self, file: File) {
        let Some(live) = self.scan.live.last_mut().filter(|live| live.number == file.number) else {
            return;
        };
        let mut bytes = file.bytes;
        bytes.truncate(usize::try_from(live.end).unwrap_or(usize::MAX));
        bytes.shrink_to_fit();
        if self.kept + bytes.len() <= KEPT {
            self.kept += bytes.len();
            live.bytes = Some(Arc::new(bytes));
        }
    }

    fn segment(&mut self, file: &File, successor_says: Option<u64>) -> Result<()> {
        let File { number, path, bytes, .. } = file;
        let fail = |source| Error::decode(path, source);
        let (header, segment) =
            log::decode_prologue(bytes, *number, Some(self.store)).map_err(fail)?;
        if seeded!(ChainUnchecked => false, else self.cut.is_none()) {
            self.check_chain(&segment).map_err(fail)?;
            if let Some(previous) = self.scan.live.last()
                && previous.end < segment.predecessor_end
            {
                // Its tail was lost after this segment had been started.
                let expected = format!("frames up to {}", segment.predecessor_end);
                let damage =
                    DecodeError::corrupt("log segment", previous.end, expected, "no more frames");
                self.cut = Some((previous.path.clone(), damage));
            }
        }
        let is_missing = segment.predecessor >= self.state.log_number.max(1)
            && !self.passed.contains(&segment.predecessor);
        self.passed.push(*number);
        if let Some((cut_path, damage)) = &self.cut {
            if is_missing {
                let (expected, found) = (format!("segment {}", segment.predecessor), "none");
                return Err(fail(DecodeError::corrupt("log segment chain", 64, expected, found)));
            }
            let proof = frame::later_proof(bytes, log::PROLOGUE_LEN, &header.id, self.good);
            seeded!(DamageIsTorn: proof = None);
            return match proof {
                Some(proof) => Err(Error::decode(cut_path, proven(damage.clone(), path, proof))),
                None => Ok(()),
            };
        }
        self.check_first(&segment).map_err(fail)?;
        self.frames(file, successor_says, header.id, segment.first_seqno)
    }

    /// The manifest says how far commits were on the device when it was written: a log that ends before
    /// that is not torn.
    fn check_end(&self, dir: &Path) -> Result<()> {
        seeded!(DamageIsTorn => return Ok(()));
        let (found, promised) = (self.good, self.state.last_seqno);
        if found >= promised {
            return Ok(());
        }
        let also = format!(", since the manifest says that commit {promised} was synced");
        Err(match &self.cut {
            Some((path, damage)) => {
                let expected = damage.expected.clone() + &also;
                Error::decode(path, DecodeError { expected, ..damage.clone() })
            }
            None => {
                let expected = format!("commits up to {promised}{also}");
                Error::corrupt(dir, "log", 0, expected, format!("commits up to {found}"))
            }
        })
    }

    fn check_first(&self, segment: &log::SegmentHeader) -> Result<(), DecodeError> {
        seeded!(ChainUnchecked => return Ok(()));
        let fits = self.expected.is_none_or(|expected| segment.first_seqno == expected);
        if fits && segment.first_seqno <= MAX_SEQNO {
            return Ok(());
        }
        let expected = match self.expected {
            Some(expected) => format!("first sequence number {expected}"),
            None => format!("a first sequence number up to {MAX_SEQNO}"),
        };
        Err(DecodeError::corrupt("log segment", 80, expected, segment.first_seqno.to_string()))
    }

    fn check_chain(&self, segment: &log::SegmentHeader) -> Result<(), DecodeError> {
        let good = match self.scan.live.last() {
            Some(previous) => {
                segment.predecessor == previous.number && segment.predecessor_end >= previous.end
            }
            None => segment.predecessor < self.state.log_number.max(1),
        };
        if good {
            return Ok(());
        }
        let expected = match self.scan.live.last() {
            Some(previous) => format!("predecessor {} ending at {}", previous.number, previous.end),
            None => format!("a predecessor below {}", self.state.log_number),
        };
        let found =
            format!("predecessor {} ending at {}", segment.predecessor, segment.predecessor_end);
        Err(DecodeError::corrupt("log segment chain", 64, expected, found))
    }

    fn frames(
        &mut self,
        file: &File,
        successor_says: Option<u64>,
        id: FileId,
        first_seqno: Seqno,
    ) -> Result<()> {
        let File { number, path, bytes, whole } = file;
        let fail = |source| Error::decode(path, source);
        let known = self.state.segment_ends.iter().find(|end| end.number == *number);
        let known = known.map(|end| end.end);
        // Behind its end a segment is free space.
        let limit = known.or(successor_says).unwrap_or(bytes.len() as u64);
        let used = usize::try_from(limit).ok().and_then(|limit| bytes.get(..limit));
        let used = used.unwrap_or(bytes);
        let mut expected = first_seqno;
        let mut walk = Walk::new(bytes, log::PROLOGUE_LEN, limit, id).knowing_whole(*whole);
        for frame in walk.by_ref() {
            check_group(&frame, expected).map_err(fail)?;
            expected = frame.first + u64::from(frame.count);
        }
        let end = walk.end();
        self.good = self.good.max(expected.saturating_sub(1));
        self.expected = Some(expected);
        self.scan.last_seqno = self.scan.last_seqno.max(expected.saturating_sub(1));
        self.scan.clean &= known.is_some();
        let damage = walk.stop().cloned();
        self.scan.live.push(Live { number: *number, path: path.clone(), id, end, bytes: None });
        if known.is_some() {
            return if end == limit { Ok(()) } else { Err(fail(missing(damage, end, limit))) };
        }
        let proof = frame::later_proof(used, end, &id, self.good);
        seeded!(DamageIsTorn: proof = None);
        if let Some(proof) = proof {
            return Err(fail(proven(missing(damage, end, limit), path, proof)));
        }
        if let Some(damage) = damage {
            self.cut = Some((path.clone(), damage));
        }
        Ok(())
    }
}

/// Checks one group: its numbers, and every operation in it.
fn check_group(frame: &Frame<'_>, expected: Seqno) -> Result<(), DecodeError> {
    let last = frame.first.saturating_add(u64::from(frame.count));
    if frame.kind != FrameKind::Group || frame.first != expected || last > MAX_SEQNO {
        let found = format!("{:?} from {}", frame.kind, frame.first);
        let expected = format!("batches from sequence number {expected}");
        return Err(DecodeError::corrupt("group", frame.offset, expected, found));
    }
    let base = frame.offset + frame::HEADER_LEN as u64;
    for ops in batch::read_batches(frame.payload, frame.count) {
        for op in ops.map_err(|source| source.at(base))? {
            let op = op.map_err(|source| source.at(base))?;
            let may_expire = op.kind == Kind::Put && op.database != SYSTEM_DATABASE;
            let is_known = matches!(op.kind, Kind::Put | Kind::Delete | Kind::RangeDelete);
            if !is_known || op.expiry.is_some() && !may_expire {
                let found = format!("{:?} in {}, expiry {:?}", op.kind, op.database, op.expiry);
                let expected =
                    "puts, range deletes, and deletes and changes of the catalog without an expiry";
                return Err(DecodeError::new(Reason::TooNew, "op", base, expected, found));
            }
        }
    }
    Ok(())
}

/// The damage, and the frame that shows that what is lost had been on the device.
fn proven(mut damage: DecodeError, path: &Path, (offset, synced): (u64, Seqno)) -> DecodeError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    damage.expected +=
        &format!(", since the frame at {offset} of {name} says that commit {synced} was synced");
    damage
}

fn missing(damage: Option<DecodeError>, end: u64, limit: u64) -> DecodeError {
    damage.unwrap_or_else(|| {
        DecodeError::corrupt("group", end, format!("frames up to {limit}"), "free space")
    })
}

fn rings(env: &dyn Env, dir: &Path, store: StoreId, entries: &[DirEntry]) -> Result<Rings> {
    let mut rings = Rings::new();
    for entry in entries {
        let Some(name @ FileName::Stage(number)) = FileName::parse(&entry.name) else { continue };
        let path = dir.join(name.to_string());
        let bytes = match super::read(env, &path, stage::PROLOGUE_LEN + MAX_RING_LEN) {
            Ok(bytes) => bytes,
            // A live writer has removed it: what it held is in segments that are read later.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let ring = stage::ring(&bytes, number, Some(store));
        rings.push(ring.map_err(|source| Error::decode(&path, source))?.to_vec());
    }
    seeded!(StageIgnored => rings.clear());
    Ok(rings)
}

/// A segment's file, completed with what is on a stage, and up to where its frames were looked at for that.
fn read(env: &dyn Env, path: &Path, rings: &Rings) -> Result<(Vec<u8>, u64)> {
    let read = super::read(env, path, MAX_FRAMED_FILE_LEN);
    seeded!(ReadErrorIsEnd => return Ok((read.unwrap_or_default(), 0)));
    let mut bytes = read?;
    let mut whole = 0;
    if let Some((id, first)) = log::identity(&bytes) {
        for ring in rings {
            (_, whole) = stage::complete(&mut bytes, log::PROLOGUE_LEN, (&id, first), ring);
        }
    }
    seeded!(FrameUnchecked: bytes = crate::seeded::believed(bytes));
    seeded!(FirstUnchecked: bytes = crate::seeded::renumbered(bytes));
    Ok((bytes, whole))
}

/// Whether a segment was made and not begun.
fn never_begun(file: &File, store: StoreId) -> bool {
    seeded!(EmptySegmentRefused => return false);
    log::was_never_begun(&file.bytes, file.number, Some(store))
}

/// A batch of the log.
pub(crate) struct Replayed<'a> {
    pub(crate) seqno: Seqno,
    pub(crate) ops: &'a [Op<'a>],
    /// What keys and values of `ops` are slices of.
    pub(crate) segment: &'a Arc<Vec<u8>>,
}

/// Hands out every batch with a sequence number above `after`, in order.
pub(crate) fn visit(
    env: &dyn Env,
    scan: &mut Scan,
    after: Seqno,
    mut batch: impl FnMut(Replayed<'_>) -> Result<()>,
) -> Result<()> {
    for live in &mut scan.live {
        let path = &live.path;
        let (segment, whole) = match live.bytes.take() {
            Some(bytes) => (bytes, live.end),
            None => {
                let (mut bytes, whole) = read(env, path, &scan.rings)?;
                bytes.truncate(usize::try_from(live.end).unwrap_or(usize::MAX));
                (Arc::new(bytes), whole.min(live.end))
            }
        };
        let walk = Walk::new(&segment, log::PROLOGUE_LEN, live.end, live.id);
        let mut walk = walk.knowing_whole(whole);
        let mut ops = Vec::new();
        for frame in walk.by_ref() {
            let base = frame.offset + frame::HEADER_LEN as u64;
            let fail = |source: DecodeError| Error::decode(path, source.at(base));
            let first = frame.first;
            seeded!(FirstUnchecked: first = crate::seeded::first_on_disk(env, path, &frame));
            for (seqno, found) in (first..).zip(batch::read_batches(frame.payload, frame.count)) {
                if seqno <= after {
                    continue;
                }
                ops.clear();
                for op in found.map_err(fail)? {
                    ops.push(op.map_err(fail)?);
                }
                batch(Replayed { seqno, ops: &ops, segment: &segment })?;
            }
        }
        if walk.end() != live.end {
            // Someone changed the file between the scan and now.
            return Err(Error::decode(path, missing(walk.stop().cloned(), walk.end(), live.end)));
        }
    }
    Ok(())
}
