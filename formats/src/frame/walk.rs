//! Finding the frames of a file, and judging what lies behind the last one.

use crc32fast::Hasher;

use super::{
    ALIGN, CRC, FIRST, Frame, HEADER_LEN, KIND, OFFSET, PAYLOAD_LEN, PREVIOUS_END, SYNCED, decode,
    decode_if,
};
use crate::checksum::crc;
use crate::error::{DecodeError, Result};
use crate::ids::FileId;
use crate::limits::SECTOR;
use crate::varint::{u32_at, u64_at};

/// Goes through the frames of a file, each proven to follow the one before.
///
/// It ends at the first place where no frame follows. [`Walk::end`] then says where the last one
/// ended and [`Walk::stop`] whether there are bytes behind it that should have been one.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    limit: u64,
    file: FileId,
    end: u64,
    first: Option<u64>,
    /// Frames that end at or before this are whole.
    whole: u64,
    /// What is wrong with the two places where a frame could follow, if these are two.
    refused: Option<(DecodeError, Option<DecodeError>)>,
    stop: Option<DecodeError>,
    done: bool,
}

impl<'a> Walk<'a> {
    /// A walk over the frames behind a prologue that ends at `prologue_end`. `bytes` are the file
    /// from its first byte; frames end at or before `limit`: the end that a clean close recorded,
    /// or `u64::MAX` for the end of the file.
    pub fn new(bytes: &'a [u8], prologue_end: u64, limit: u64, file: FileId) -> Self {
        let (first, whole, refused, stop, done) = (None, 0, None, None, false);
        Self { bytes, limit, file, end: prologue_end, first, whole, refused, stop, done }
    }

    /// The same over bytes that another walk has gone through up to `end`: the checksums of these frames are
    /// not looked at again.
    #[must_use]
    pub fn knowing_whole(self, end: u64) -> Self {
        Self { whole: end, ..self }
    }

    /// The same, where the first frame must have this `first`.
    #[must_use]
    pub fn expecting(self, first: u64) -> Self {
        Self { first: Some(first), ..self }
    }

    /// The end of the last frame, unpadded; at the beginning the end of the prologue.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Once the walk has ended: what stands behind [`Walk::end`] and is not free space. `None`
    /// if only zeros follow up to the limit.
    pub fn stop(&self) -> Option<&DecodeError> {
        self.stop.as_ref()
    }

    /// The frame at a boundary, if it is the one that follows.
    fn candidate(&self, offset: u64) -> Result<Frame<'a>> {
        let frame = self.frame_at(offset)?;
        let refuse = |expected, found| Err(DecodeError::corrupt("frame", offset, expected, found));
        if frame.previous_end != self.end {
            let found = format!("one behind {}", frame.previous_end);
            return refuse(format!("the frame behind {}", self.end), found);
        }
        if let Some(first) = self.first.filter(|first| *first != frame.first) {
            return refuse(format!("first {first}"), frame.first.to_string());
        }
        if frame.end() > self.limit {
            return refuse(format!("an end before {}", self.limit), frame.end().to_string());
        }
        Ok(frame)
    }

    /// The next frame. Where there is none, the errors of the candidates are noted.
    fn step(&mut self) -> Option<Frame<'a>> {
        let (near, far) = boundaries(self.end);
        let near_error = match self.candidate(near) {
            Ok(frame) => return Some(self.accept(frame)),
            Err(error) => error,
        };
        let far = if far == near { None } else { Some(self.candidate(far)) };
        let far_error = match far.transpose() {
            Ok(Some(frame)) => return Some(self.accept(frame)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        self.refused = Some((near_error, far_error));
        None
    }

    /// Goes to the last frame and gives it, without a look at what is behind it.
    pub fn to_last(&mut self) -> Option<Frame<'a>> {
        let mut last = None;
        while let Some(frame) = self.step() {
            last = Some(frame);
        }
        last
    }

    /// Whether the other place where a frame could follow does not look as if one did: a walk may have passed
    /// over damage at the first.
    fn is_alone(&self, offset: u64) -> bool {
        let (near, far) = boundaries(self.end);
        let other = if offset == near { far } else { near };
        let Ok(at) = usize::try_from(other) else { return true };
        let field = |field: usize| u32_at(self.bytes, at.saturating_add(field)).map(u64::from);
        other == offset || field(OFFSET) != Some(other) || field(PREVIOUS_END) != Some(self.end)
    }

    fn frame_at(&self, offset: u64) -> Result<Frame<'a>> {
        if offset < self.whole
            && self.is_alone(offset)
            && let Some(bytes) = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..))
            && let Ok(frame) = decode_if(bytes, offset, |_| None)
            && frame.end() <= self.whole
        {
            return Ok(frame);
        }
        decode(self.bytes, offset, &self.file)
    }

    fn accept(&mut self, frame: Frame<'a>) -> Frame<'a> {
        self.end = frame.end();
        self.first = Some(frame.next_first());
        frame
    }

    /// Why no frame follows. `near` and `far` are the errors of the two candidates.
    fn reason(&self, near: DecodeError, far: Option<DecodeError>) -> Option<DecodeError> {
        let len = self.bytes.len() as u64;
        let from = usize::try_from(self.end.min(len)).unwrap_or(usize::MAX);
        let to = usize::try_from(self.limit.min(len)).unwrap_or(usize::MAX);
        let rest = self.bytes.get(from..to).unwrap_or_default();
        let Some(dirty) = first_not_zero(rest) else {
            let missing = self.limit != u64::MAX && self.limit > len || self.end > len;
            return missing.then(|| {
                let expected = format!("{} bytes", self.limit);
                DecodeError::corrupt("frame", len, expected, format!("{len} bytes"))
            });
        };
        // The candidate whose bytes are not zero is the one a person wants to hear about.
        let dirty = self.end + dirty as u64;
        let inside = |error: &DecodeError, start: u64| {
            dirty >= start && dirty < start + HEADER_LEN as u64 || error.offset == dirty
        };
        let (near_start, far_start) = boundaries(self.end);
        if inside(&near, near_start) {
            return Some(near);
        }
        if let Some(far) = far.filter(|far| inside(far, far_start)) {
            return Some(far);
        }
        Some(DecodeError::corrupt("frame", dirty, "a frame or free space", "other bytes"))
    }
}

/// Where the first byte is that is not zero. Free space can be long.
fn first_not_zero(bytes: &[u8]) -> Option<usize> {
    const PIECE: usize = 256;
    let is_zero = |piece: &[u8]| piece.iter().fold(0, |all, byte| all | byte) == 0;
    let clean = bytes.chunks(PIECE).take_while(|piece| is_zero(piece)).count() * PIECE;
    let at = bytes.get(clean..)?.iter().position(|&byte| byte != 0)?;
    Some(clean + at)
}

/// The two places where a frame can follow one that ends at `end`.
fn boundaries(end: u64) -> (u64, u64) {
    let align = |to: u64| end.checked_next_multiple_of(to).unwrap_or(u64::MAX);
    (align(ALIGN), align(SECTOR))
}

impl<'a> Iterator for Walk<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        if self.done {
            return None;
        }
        let next = self.step();
        if next.is_none() {
            self.done = true;
            self.stop = self.refused.take().and_then(|(near, far)| self.reason(near, far));
        }
        next
    }
}

/// Whether a header stands behind `end` that names its own place, `end` as that of the frame before, and
/// `first`: what was to be the next frame, whether it is whole or not.
pub fn was_to_follow(bytes: &[u8], end: u64, first: u64) -> bool {
    let (near, far) = boundaries(end);
    [near, far].into_iter().any(|offset| {
        let Ok(at) = usize::try_from(offset) else { return false };
        let field = |field: usize| u32_at(bytes, at.saturating_add(field)).map(u64::from);
        let number = u64_at(bytes, at.saturating_add(FIRST));
        field(OFFSET) == Some(offset) && field(PREVIOUS_END) == Some(end) && number == Some(first)
    })
}

/// How many bytes of a file decide whether a frame follows `end`. `bytes` are from the file's beginning, so many
/// that both headers are in them which could be that of the frame.
pub fn reach(bytes: &[u8], end: u64) -> u64 {
    let (near, far) = boundaries(end);
    let reach = |offset: u64| {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let field = |field: usize| u32_at(bytes, at.saturating_add(field)).map(u64::from);
        let fits = field(OFFSET) == Some(offset) && field(PREVIOUS_END) == Some(end);
        let payload = field(PAYLOAD_LEN).filter(|_| fits).unwrap_or(0);
        offset.saturating_add(HEADER_LEN as u64).saturating_add(payload)
    };
    reach(near).max(reach(far))
}

/// Looks on every boundary from `from` on for a valid frame that says that more than
/// `acknowledged_after` was on the device when it was written: proof that bytes before it were
/// synced and are lost. Gives its offset and what it says was synced.
///
/// None found: the bytes behind the last good frame are a torn tail, and nobody was promised them.
pub fn later_proof(
    bytes: &[u8],
    from: u64,
    file: &FileId,
    acknowledged_after: u64,
) -> Option<(u64, u64)> {
    let mut offset = from.checked_next_multiple_of(ALIGN)?;
    let mut hashed = 0;
    let mut prefixes = None;
    while let Ok(at) = usize::try_from(offset)
        && bytes.len().saturating_sub(at) >= HEADER_LEN
    {
        // Two fields first, so that ordinary bytes cost no checksum.
        let own = u32_at(bytes, at + OFFSET).is_some_and(|own| u64::from(own) == offset);
        let newer = u64_at(bytes, at + SYNCED).is_some_and(|synced| synced > acknowledged_after);
        if own && newer {
            // Bytes that look like a header at every boundary would have the rest of the file hashed
            // as often. So, once that has cost as much as the file twice, no byte is hashed again.
            let len = u32_at(bytes, at + PAYLOAD_LEN).map_or(0, |len| len as usize);
            hashed += len;
            let worth_it = hashed <= 2 * bytes.len() || {
                let prefixes = prefixes.get_or_insert_with(|| Prefixes::of(bytes));
                prefixes.frame_is_whole(at, len, file)
            };
            if worth_it && let Ok(frame) = decode(bytes, offset, file) {
                return Some((offset, frame.synced));
            }
        }
        offset += ALIGN;
    }
    None
}

/// The checksums of a file up to every boundary, from which that of any stretch follows in a time that
/// hardly depends on its length.
struct Prefixes<'a> {
    bytes: &'a [u8],
    sums: Vec<u32>,
}

impl<'a> Prefixes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut hasher = Hasher::new();
        let mut sums = vec![0];
        for piece in bytes.chunks(ALIGN as usize) {
            hasher.update(piece);
            sums.push(hasher.clone().finalize());
        }
        Self { bytes, sums }
    }

    /// The checksum of the first `end` bytes.
    fn until(&self, end: usize) -> u32 {
        let at = end / ALIGN as usize;
        let rest = self.bytes.get(at * ALIGN as usize..end).unwrap_or_default();
        let mut hasher = Hasher::new_with_initial(self.sums.get(at).copied().unwrap_or_default());
        hasher.update(rest);
        hasher.finalize()
    }

    /// Whether the frame at `at` with a payload of `len` bytes has the checksum that it names.
    fn frame_is_whole(&self, at: usize, len: usize, file: &FileId) -> bool {
        let (start, end) = (at + KIND, at.saturating_add(HEADER_LEN).saturating_add(len));
        if end > self.bytes.len() {
            return false;
        }
        // crc(ab) = shift(crc(a), len(b)) ^ crc(b): so crc(b) = crc(ab) ^ shift(crc(a), len(b)).
        let between = (end - start) as u64;
        let inside = self.until(end) ^ shift(self.until(start), between);
        let sum = shift(crc(&[&file.0]), between) ^ inside;
        u32_at(self.bytes, at + CRC) == Some(sum)
    }
}

/// The checksum of what `sum` is the checksum of, followed by something whose checksum is 0.
fn shift(sum: u32, len: u64) -> u32 {
    let mut hasher = Hasher::new_with_initial(sum);
    hasher.combine(&Hasher::new_with_initial_len(0, len));
    hasher.finalize()
}
