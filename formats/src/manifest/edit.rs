//! One change to a version: tagged fields, of which a reader must know every one.

use super::{RangeDelete, SegmentEnd, TableMeta};
use crate::error::Result;
use crate::ids::{FileNumber, Seqno};
use crate::tagged::{self, Field, Fields};

const WHAT: &str = "version edit";

const SNAPSHOT: u64 = 1;
const NEXT_FILE_NUMBER: u64 = 2;
const LOG_NUMBER: u64 = 3;
const FLUSHED_SEQNO: u64 = 4;
const NEXT_DATABASE_ID: u64 = 5;
const CLOCK_MS: u64 = 6;
const ADDED: u64 = 7;
const REMOVED: u64 = 8;
const SEGMENT_END: u64 = 9;
const LAST_SEQNO: u64 = 10;
const ADDED_RANGE_DELETE: u64 = 11;
const REMOVED_RANGE_DELETE: u64 = 12;
const LOADING: u64 = 13;
const LOADED: u64 = 14;
const LOADED_SEQNO: u64 = 15;

/// A change to a version. What is `None` or empty stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Forget everything before: this edit says it all. Only the first of a manifest is one.
    pub snapshot: bool,
    /// The number the next new file gets.
    pub next_file_number: Option<FileNumber>,
    /// Segments with a lower number are obsolete.
    pub log_number: Option<FileNumber>,
    /// Everything committed up to here is in tables.
    pub flushed_seqno: Option<Seqno>,
    /// The id the next new database gets.
    pub next_database_id: Option<u32>,
    /// The highest time seen, in milliseconds since 1970: the clock never goes behind it.
    pub clock_ms: Option<u64>,
    /// The next commit gets a greater sequence number.
    pub last_seqno: Option<Seqno>,
    /// Tables that are part of the version from now on.
    pub added: Vec<TableMeta>,
    /// Tables that are not any more.
    pub removed: Vec<FileNumber>,
    /// Where a clean close left the segments of the log.
    pub segment_ends: Vec<SegmentEnd>,
    /// Range deletes that tables may hold entries for from now on.
    pub added_range_deletes: Vec<RangeDelete>,
    /// Those that are not needed any more.
    pub removed_range_deletes: Vec<RangeDelete>,
    /// Tables of bulk loads that are not finished: nobody reads them. Level, run and sequence numbers are 0.
    pub loading: Vec<TableMeta>,
    /// Tables that are not among these any more.
    pub loaded: Vec<FileNumber>,
    /// The commit of the last bulk load, all of which is in tables.
    pub loaded_seqno: Option<Seqno>,
}

impl VersionEdit {
    /// Appends the edit's bytes: the payload of a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.snapshot {
            tagged::put(out, SNAPSHOT, &[]);
        }
        let numbers = [
            (NEXT_FILE_NUMBER, self.next_file_number),
            (LOG_NUMBER, self.log_number),
            (FLUSHED_SEQNO, self.flushed_seqno),
            (NEXT_DATABASE_ID, self.next_database_id.map(u64::from)),
            (CLOCK_MS, self.clock_ms),
            (LAST_SEQNO, self.last_seqno),
            (LOADED_SEQNO, self.loaded_seqno),
        ];
        for (tag, number) in numbers {
            if let Some(number) = number {
                tagged::put_u64(out, tag, number);
            }
        }
        for table in &self.added {
            tagged::put(out, ADDED, &table.encode());
        }
        for number in &self.removed {
            tagged::put_u64(out, REMOVED, *number);
        }
        for end in &self.segment_ends {
            tagged::put(out, SEGMENT_END, &end.encode());
        }
        for range in &self.added_range_deletes {
            tagged::put(out, ADDED_RANGE_DELETE, &range.encode());
        }
        for range in &self.removed_range_deletes {
            tagged::put(out, REMOVED_RANGE_DELETE, &range.encode());
        }
        for table in &self.loading {
            tagged::put(out, LOADING, &table.encode());
        }
        for number in &self.loaded {
            tagged::put_u64(out, LOADED, *number);
        }
    }

    /// Reads an edit: exactly the payload of its frame.
    ///
    /// # Errors
    /// A corruption if a field is malformed, unknown, or comes twice where once is all.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut edit = Self::default();
        for field in Fields::new(WHAT, bytes) {
            edit.field(&field?)?;
        }
        Ok(edit)
    }

    fn field(&mut self, field: &Field<'_>) -> Result<()> {
        let inside = |error: crate::DecodeError| error.at(field.offset);
        match field.tag {
            SNAPSHOT if field.bytes.is_empty() && !self.snapshot => self.snapshot = true,
            SNAPSHOT => return Err(field.corrupt("an empty field, once")),
            NEXT_FILE_NUMBER => field.once(&mut self.next_file_number, field.u64()?)?,
            LOG_NUMBER => field.once(&mut self.log_number, field.u64()?)?,
            FLUSHED_SEQNO => field.once(&mut self.flushed_seqno, field.u64()?)?,
            NEXT_DATABASE_ID => field.once(&mut self.next_database_id, field.u32()?)?,
            CLOCK_MS => field.once(&mut self.clock_ms, field.u64()?)?,
            LAST_SEQNO => field.once(&mut self.last_seqno, field.u64()?)?,
            ADDED => self.added.push(TableMeta::decode(field.bytes).map_err(inside)?),
            REMOVED => self.removed.push(field.u64()?),
            SEGMENT_END => {
                self.segment_ends.push(SegmentEnd::decode(field.bytes).map_err(inside)?);
            }
            ADDED_RANGE_DELETE => {
                self.added_range_deletes.push(RangeDelete::decode(field.bytes).map_err(inside)?);
            }
            REMOVED_RANGE_DELETE => {
                self.removed_range_deletes.push(RangeDelete::decode(field.bytes).map_err(inside)?);
            }
            LOADING => self.loading.push(TableMeta::decode_loading(field.bytes).map_err(inside)?),
            LOADED => self.loaded.push(field.u64()?),
            LOADED_SEQNO => field.once(&mut self.loaded_seqno, field.u64()?)?,
            _ => return Err(field.corrupt("a known tag")),
        }
        Ok(())
    }
}
