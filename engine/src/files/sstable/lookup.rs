//! Finding a key in a table: which block can have it, where it is in there, and where its value lies.

use std::num::NonZeroU64;
use std::ops::Range;

use orlop_formats::block::{Block, Parsed};
use orlop_formats::error::DecodeError;
use orlop_formats::ids::{DatabaseId, Kind, Seqno};
use orlop_formats::sstable::Handle;

use super::cache::{Pins, Plain};
use super::context::Context;
use super::fences::Fences;
use super::numbers::Place;
use super::reader::Table;
use crate::env::faults;
use crate::error::{Error, Result};
use crate::prefetch;
use crate::sync::Arc;

/// Where a value was found.
pub(crate) enum Payload<'a> {
    /// In the mapping, at these bytes.
    Mapped(Range<usize>),
    /// In values that were decompressed before, and stay for as long as the reader does.
    Cached(&'a Arc<Plain>, Range<usize>),
    /// In values that were decompressed for this reader.
    Plain(Arc<Plain>, Range<usize>),
}

/// Where a key would be in a table.
#[derive(Clone, Copy)]
pub(crate) struct Location<'a> {
    part: usize,
    fences: &'a Fences,
    block: usize,
    /// How far behind the first keys of the block the key is, in 256ths of the way to the last; `None`: not known.
    share: Option<u8>,
}

/// A version of a key found in a table.
pub(crate) struct Found<'a> {
    pub(crate) kind: Kind,
    /// In one word: what is found is handed on a few times.
    expiry: Option<NonZeroU64>,
    pub(crate) seqno: Seqno,
    pub(crate) value: Payload<'a>,
}

impl Found<'_> {
    /// When it expires, in milliseconds since 1970.
    #[inline]
    pub(crate) fn expiry(&self) -> Option<u64> {
        self.expiry.map(NonZeroU64::get)
    }
}

/// The beginning of a block, where its keys are and where its values begin, has at least so many bytes mostly.
const HEAD_OF_BLOCK: usize = 512;

/// In a block of more bytes the values are large, and few.
const LARGEST_GUESSED: usize = 16 << 10;

/// What is read behind a search in a block: so many bytes of values, before the place where the key's is expected and
/// from there on.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    before: usize,
    behind: usize,
}

impl Wanted {
    /// One value; some way off, for keys lie evenly only about.
    const ONE: Wanted = Wanted { before: 192, behind: 192 };
    /// The values of a short scan from there.
    pub(super) const ON: Wanted = Wanted { before: 192, behind: 1024 };
    /// The same, going back.
    pub(super) const BACK: Wanted = Wanted { before: 1024, behind: 192 };
}

/// Asks the processor for what a search in a block will read: its head, and where values are if the keys of the block
/// lie evenly. A value far from there is waited for as it would be without.
#[inline]
fn ask_processor(block: *const u8, len: usize, share: Option<u8>, wanted: Wanted) {
    prefetch::read(block, HEAD_OF_BLOCK);
    let values = len.saturating_sub(HEAD_OF_BLOCK);
    if let Some(share) = share.filter(|_| values < LARGEST_GUESSED) {
        let expected = HEAD_OF_BLOCK + values * usize::from(share) / 256;
        let start = expected.saturating_sub(wanted.before).max(HEAD_OF_BLOCK);
        let end = expected.saturating_add(wanted.behind).min(len);
        prefetch::read(block.wrapping_add(start), end.saturating_sub(start));
    }
}

/// Bytes at the beginning of a block that a scan will come to, and at its end if it goes back, that are asked for ahead.
/// What follows in its page the processor asks for by itself.
const HEAD_AHEAD: usize = 1024;
const END_AHEAD: usize = 512;

impl Table {
    /// Where a key would be. The processor is asked for what says so.
    #[inline]
    pub(crate) fn locate(&self, database: DatabaseId, key: &[u8]) -> Result<Option<Location<'_>>> {
        let Some(part) = self.part_index(database) else { return Ok(None) };
        let fences = self.fences(part)?;
        let Place { at: block, share } = self.find_block(part, fences, key)?;
        Ok(Some(Location { part, fences, block, share }))
    }

    /// The first block of a partition that can hold a key of `key` or greater.
    #[inline]
    fn find_block(&self, part: usize, fences: &Fences, key: &[u8]) -> Result<Place> {
        match fences.lower_bound(key) {
            // Where values are in a compressed block the share of keys does not say.
            Some(Place { at, .. }) if self.is_compressed() => Ok(Place { at, share: None }),
            Some(place) => Ok(place),
            None => Ok(Place { at: self.index(part)?.lower_bound(key), share: None }),
        }
    }

    /// About how many blocks hold keys from one on and, if there is one, before another; 0 where that cannot be read.
    pub(crate) fn blocks_in(&self, database: DatabaseId, from: &[u8], to: Option<&[u8]>) -> usize {
        let Some(part) = self.part_index(database) else { return 0 };
        let at = |key: &[u8]| {
            let place = self.fences(part).and_then(|fences| self.find_block(part, fences, key));
            place.map_or(0, |place| place.at)
        };
        faults::inside(|| to.map_or(self.blocks(part), at).saturating_sub(at(from)))
    }

    /// The same, for a seek. The processor is asked for what will be read there.
    pub(super) fn seek_block(&self, part: usize, key: &[u8], wanted: Wanted) -> Result<usize> {
        let fences = self.fences(part)?;
        let Place { at, share } = self.find_block(part, fences, key)?;
        if let Some(Handle { offset, len }) = fences.handle(at) {
            let start = self.mapping().bytes().as_ptr().wrapping_add(offset as usize);
            ask_processor(start, len as usize, share, wanted);
        }
        Ok(at)
    }

    /// Asks the processor for the beginning of a block that a scan will come to; and for its end, if that comes first.
    pub(super) fn ask_ahead(&self, part: usize, block: usize, end_first: bool) {
        let Ok(Some(Handle { offset, len })) = self.fences(part).map(|fences| fences.handle(block))
        else {
            return;
        };
        let start = self.mapping().bytes().as_ptr().wrapping_add(offset as usize);
        let len = len as usize;
        prefetch::read(start, HEAD_AHEAD.min(len));
        if end_first {
            prefetch::read(start.wrapping_add(len.saturating_sub(END_AHEAD)), END_AHEAD.min(len));
        }
    }

    /// Asks for what [`Table::get`] will read first: the processor, and also the device if it may have to come from
    /// there. One that nobody has read in this open may.
    pub(crate) fn ask_for(&self, at: Location<'_>, from_device: bool) {
        let Location { part, fences, block, share } = at;
        let Some(Handle { offset, len }) = fences.handle(block) else { return };
        let start = offset as usize;
        if from_device || !self.was_read(part, block) {
            self.mapping().will_need(start..start.saturating_add(len as usize));
        } else {
            let start = self.mapping().bytes().as_ptr().wrapping_add(start);
            ask_processor(start, len as usize, share, Wanted::ONE);
        }
    }

    /// The newest version of a key that `seqno` can see, from where it would be on.
    #[inline]
    pub(crate) fn get<'a>(
        &'a self,
        at: Location<'_>,
        key: &[u8],
        seqno: Seqno,
        pins: &'a Pins,
    ) -> Result<Option<Found<'a>>> {
        let Location { part, fences, mut block, mut share } = at;
        while let Some(handle) = fences.handle(block) {
            let start = self.mapping().bytes().as_ptr().wrapping_add(handle.offset as usize);
            ask_processor(start, handle.len as usize, share.take(), Wanted::ONE);
            let (found, body) = self.block_of(part, handle, block, self.verify)?;
            let Some(first) = found.find(key) else { return Ok(None) };
            for entry in first..found.len() {
                if entry > first && found.compare(entry, key).is_ne() {
                    return Ok(None);
                }
                let of_entry = found.seqno(entry);
                if of_entry <= seqno {
                    let fail = |source: DecodeError| self.corrupt(source.at(body.start as u64));
                    let kind = found.kind(entry).map_err(fail)?;
                    let range = found.value_range(entry).map_err(fail)?;
                    let value = self.value(&found, (part, block), range, pins)?;
                    let expiry = found.expiry(entry).and_then(NonZeroU64::new);
                    return Ok(Some(Found { kind, expiry, seqno: of_entry, value }));
                }
            }
            // Versions of one key can go on in the next block.
            block += 1;
        }
        Ok(None)
    }

    #[inline]
    fn value<'a>(
        &'a self,
        block: &Block<'_>,
        at: (usize, usize),
        range: Range<usize>,
        pins: &'a Pins,
    ) -> Result<Payload<'a>> {
        match block.plain_values() {
            Some(values) => {
                let value = values.get(range).unwrap_or_default();
                Ok(Payload::Mapped(self.range_of(value)))
            }
            None => self.compressed_value(block, at, range, pins),
        }
    }

    fn compressed_value<'a>(
        &'a self,
        block: &Block<'_>,
        (part, at): (usize, usize),
        range: Range<usize>,
        pins: &'a Pins,
    ) -> Result<Payload<'a>> {
        if let Some(plain) = self.slots.get(self.ordinal(part, at), pins) {
            return Ok(Payload::Cached(plain, range));
        }
        Ok(Payload::Plain(self.plain_values(block, part, at)?, range))
    }

    /// The values of a compressed block, if they were decompressed before and kept.
    pub(crate) fn cached_values(&self, part: usize, at: usize) -> Option<Arc<Plain>> {
        self.slots.get(self.ordinal(part, at), &Pins::default()).cloned()
    }

    /// Decompresses the values of a block, and keeps them for others.
    pub(crate) fn plain_values<B: AsRef<[u8]>>(
        &self,
        block: &Parsed<B>,
        part: usize,
        at: usize,
    ) -> Result<Arc<Plain>> {
        let mut plain = Vec::new();
        block
            .decompress_values(&mut plain)
            .map_err(|source| self.corrupt_block(part, at, source))?;
        // It may stay for long: it must not be of a file that was failing.
        self.check()?;
        let Context { cache, .. } = &*self.context;
        let plain = cache.plain(plain);
        cache.keep(self.meta().number, &self.slots, self.ordinal(part, at), &plain);
        Ok(plain)
    }

    #[cold]
    fn corrupt_block(&self, part: usize, at: usize, source: DecodeError) -> Error {
        let handle = self.handle_of(self.ordinal(part, at));
        handle.map_or_else(|error| error, |handle| self.corrupt(source.at(handle.offset)))
    }

    /// Where a slice of the mapping stands in it.
    fn range_of(&self, slice: &[u8]) -> Range<usize> {
        let start = slice.as_ptr().addr().saturating_sub(self.mapping().bytes().as_ptr().addr());
        start..start + slice.len()
    }
}
