//! The manifest: its edits one by one, and the version they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::frame::{self, Frame, FrameKind, Walk};
use orlop_formats::ids::{DatabaseId, FileId, FileNumber, Seqno, StoreId};
use orlop_formats::limits::{MAX_FILE_NUMBER, MAX_SEQNO, SECTOR};
use orlop_formats::manifest::{PROLOGUE_LEN, RangeDelete, SegmentEnd, TableMeta, VersionEdit};

use super::report::Report;

/// Levels that a store has.
const LEVELS: u8 = 7;

/// What the edits of a manifest add up to.
#[derive(Debug, Default)]
pub(super) struct Version {
    pub(super) tables: BTreeMap<FileNumber, TableMeta>,
    pub(super) log_number: FileNumber,
    pub(super) flushed_seqno: Seqno,
    pub(super) next_database_id: u32,
    pub(super) segment_ends: Vec<SegmentEnd>,
    pub(super) range_deletes: BTreeSet<RangeDelete>,
    /// Tables of bulk loads that are not finished.
    loading: BTreeMap<FileNumber, TableMeta>,
    next_file_number: FileNumber,
    pub(super) last_seqno: Seqno,
    loaded_seqno: Seqno,
    clock_ms: u64,
}

/// Whose manifest it must be; what is not known is not checked.
pub(super) struct Expected {
    pub(super) store: Option<StoreId>,
    pub(super) number: FileNumber,
    pub(super) id: Option<FileId>,
    /// How many edits it has at least.
    pub(super) edits: u64,
}

/// Checks a manifest and gives its version, if it has one.
pub(super) fn verify(
    report: &mut Report,
    path: &Path,
    bytes: &[u8],
    expected: &Expected,
) -> Option<Version> {
    let (kind, number) = (FileKind::Manifest, expected.number);
    let header = match FileHeader::decode_expecting(bytes, kind, expected.store, number) {
        Ok(header) => header,
        Err(error) => {
            report.decode(path, error);
            return None;
        }
    };
    if let Some(id) = expected.id {
        report.equal(path, 40, "manifest file id", id, header.id);
    }
    let mut version = Version::default();
    let (mut edits, mut end) = (0, PROLOGUE_LEN);
    let mut walk = Walk::new(bytes, PROLOGUE_LEN, u64::MAX, header.id).expecting(1);
    for frame in walk.by_ref() {
        report.gap(path, bytes, end, frame.offset);
        end = frame.end();
        edits += 1;
        check_frame(report, path, &frame, edits);
        let payload = frame.offset + frame::HEADER_LEN as u64;
        match VersionEdit::decode(frame.payload) {
            Ok(edit) => version.apply(report, path, payload, edit, edits == 1),
            Err(error) => report.decode(path, error.at(payload)),
        }
    }
    check_tail(report, path, bytes, &walk, header.id, edits);
    if edits < expected.edits {
        let last = format!("{} edits, as the superblock says", expected.edits);
        report.finding(path, walk.end(), "manifest", last, edits.to_string());
    }
    check_version(report, path, &version);
    (edits > 0).then_some(version)
}

fn check_frame(report: &mut Report, path: &Path, frame: &Frame<'_>, number: u64) {
    let at = frame.offset;
    if frame.kind != FrameKind::Edit || frame.count != 1 {
        let found = format!("{:?} of {}", frame.kind, frame.count);
        report.finding(path, at, "version edit", "one edit", found);
    }
    if !at.is_multiple_of(SECTOR) {
        report.finding(path, at, "version edit", "the start of a sector", format!("offset {at}"));
    }
    if frame.synced.saturating_add(1) != number {
        let expected = format!("edits up to {} synced", number - 1);
        report.finding(path, at, "version edit", expected, format!("up to {}", frame.synced));
    }
}

/// What stands behind the last edit: free space, a torn edit, or lost ones.
fn check_tail(
    report: &mut Report,
    path: &Path,
    bytes: &[u8],
    walk: &Walk<'_>,
    id: FileId,
    edits: u64,
) {
    let end = walk.end();
    let lost = frame::later_proof(bytes, end, &id, edits);
    let unexplained =
        || DecodeError::corrupt("version edit", end, format!("edit {}", edits + 1), "free space");
    match (lost, walk.stop().cloned()) {
        (Some((offset, synced)), stop) => {
            let mut error = stop.unwrap_or_else(unexplained);
            error.expected +=
                &format!(": the frame at {offset} says that edit {synced} was synced");
            report.decode(path, error);
        }
        (None, stop) if edits == 0 => report.decode(path, stop.unwrap_or_else(unexplained)),
        (None, Some(torn)) => {
            let text = format!("torn tail at offset {}: the edit written there never counted", end);
            report.note(path, format!("{text} ({torn})"));
        }
        (None, None) => {}
    }
}

impl Version {
    fn apply(
        &mut self,
        report: &mut Report,
        path: &Path,
        offset: u64,
        mut edit: VersionEdit,
        first: bool,
    ) {
        let what = "version edit";
        if edit.snapshot != first {
            let expected = if first { "a snapshot first" } else { "no second snapshot" };
            let found = if first { "a change" } else { "one" };
            report.finding(path, offset, what, expected, found);
        }
        if edit.snapshot {
            *self = Self::default();
        }
        self.apply_tables(report, (path, offset), &mut edit);
        let mut grow = |name: &str, slot: &mut u64, value: Option<u64>| {
            if let Some(value) = value {
                if value < *slot {
                    let expected = format!("{slot} or more");
                    report.finding(path, offset, name, expected, value.to_string());
                }
                *slot = value;
            }
        };
        grow("next file number", &mut self.next_file_number, edit.next_file_number);
        grow("log number", &mut self.log_number, edit.log_number);
        grow("flushed sequence number", &mut self.flushed_seqno, edit.flushed_seqno);
        grow("last sequence number", &mut self.last_seqno, edit.last_seqno);
        grow("loaded sequence number", &mut self.loaded_seqno, edit.loaded_seqno);
        grow("clock", &mut self.clock_ms, edit.clock_ms);
        let mut next_database_id = u64::from(self.next_database_id);
        grow("next database id", &mut next_database_id, edit.next_database_id.map(u64::from));
        self.next_database_id = next_database_id as u32;
        if self.log_number > self.next_file_number {
            let expected = format!("at most the next file number, {}", self.next_file_number);
            report.finding(path, offset, "log number", expected, self.log_number.to_string());
        }
        for range in edit.removed_range_deletes {
            if !self.range_deletes.remove(&range) {
                report.finding(path, offset, what, "a range delete to remove", told(&range));
            }
        }
        for range in edit.added_range_deletes {
            if range.seqno > self.flushed_seqno || self.range_deletes.contains(&range) {
                let expected =
                    format!("a new range delete of a commit up to {}", self.flushed_seqno);
                report.finding(path, offset, what, expected, told(&range));
            }
            self.range_deletes.insert(range);
        }
        self.segment_ends.extend(edit.segment_ends);
        let log_number = self.log_number;
        self.segment_ends.retain(|end| end.number >= log_number);
    }
}

impl Version {
    /// Takes the tables of an edit over.
    fn apply_tables(
        &mut self,
        report: &mut Report,
        (path, offset): (&Path, u64),
        edit: &mut VersionEdit,
    ) {
        let what = "version edit";
        for number in &edit.removed {
            if self.tables.remove(number).is_none() {
                let found = format!("table {number}, which is none");
                report.finding(path, offset, what, "a live table to remove", found);
            }
        }
        for number in &edit.loaded {
            if self.loading.remove(number).is_none() {
                let found = format!("table {number}, which is none");
                report.finding(path, offset, what, "a loading table that is none any more", found);
            }
        }
        let (added, loading) = (edit.added.drain(..), edit.loading.drain(..));
        for (table, is_loading) in added.map(|of| (of, false)).chain(loading.map(|of| (of, true))) {
            let number = table.number;
            if self.tables.contains_key(&number) || self.loading.contains_key(&number) {
                let found = format!("table {number}, which is there");
                report.finding(path, offset, what, "a new table to add", found);
            }
            let among = if is_loading { &mut self.loading } else { &mut self.tables };
            among.insert(number, table);
        }
    }

    /// Every table that is named: those of the version, and those that are loading.
    pub(super) fn named(&self) -> BTreeMap<FileNumber, &TableMeta> {
        self.tables.iter().chain(&self.loading).map(|(number, table)| (*number, table)).collect()
    }
}

/// A range delete in one line.
pub(super) fn told(range: &RangeDelete) -> String {
    let RangeDelete { seqno, database, start, end } = range;
    let end = match end {
        Some(end) => format!("\"{}\"", crate::text::escape(end)),
        None => "the end".to_owned(),
    };
    let start = crate::text::escape(start);
    format!("that of commit {seqno} in database {database}, \"{start}\" to {end}")
}

/// The rules that the version as a whole keeps.
fn check_version(report: &mut Report, path: &Path, version: &Version) {
    let what = "version";
    for (name, value, limit) in [
        ("flushed sequence number", version.flushed_seqno, MAX_SEQNO),
        ("last sequence number", version.last_seqno, MAX_SEQNO),
        ("loaded sequence number", version.loaded_seqno, version.last_seqno),
        // Whoever opens the store for writing needs some.
        ("next file number", version.next_file_number, MAX_FILE_NUMBER - 1),
    ] {
        if value > limit {
            report.finding(path, 0, name, format!("at most {limit}"), value.to_string());
        }
    }
    let numbers = version.named().into_keys().chain(version.segment_ends.iter().map(|s| s.number));
    if let Some(number) = numbers.max().filter(|number| *number >= version.next_file_number) {
        let found = format!("{number} in use, next {}", version.next_file_number);
        report.finding(path, 0, what, "file numbers below the next one", found);
    }
    let mut runs: BTreeMap<(u8, u64), Vec<&TableMeta>> = BTreeMap::new();
    for table in version.tables.values() {
        if table.level >= LEVELS {
            let found = format!("table {} on level {}", table.number, table.level);
            report.finding(path, 0, what, format!("levels 0 to {}", LEVELS - 1), found);
        }
        // What was loaded is in tables before what was committed earlier is.
        let known = version.flushed_seqno.max(version.loaded_seqno);
        if table.max_seqno > known {
            let expected = format!("sequence numbers up to {known}");
            let found = format!("{} in table {}", table.max_seqno, table.number);
            report.finding(path, 0, what, expected, found);
        }
        runs.entry((table.level, table.run)).or_default().push(table);
    }
    let mut loads: BTreeMap<DatabaseId, Vec<&TableMeta>> = BTreeMap::new();
    for table in version.loading.values() {
        loads.entry(table.smallest.0).or_default().push(table);
    }
    let of_version = |((level, run), tables)| (format!("run {run} of level {level}"), tables);
    let of_load = |(database, tables)| (format!("the load into database {database}"), tables);
    for (whose, mut tables) in
        runs.into_iter().map(of_version).chain(loads.into_iter().map(of_load))
    {
        tables.sort_by(|a, b| a.smallest.cmp(&b.smallest));
        for pair in tables.windows(2) {
            let [left, right] = pair else { continue };
            if left.largest >= right.smallest {
                let found = format!("tables {} and {} overlap", left.number, right.number);
                let expected = format!("disjoint tables in {whose}");
                report.finding(path, 0, what, expected, found);
            }
        }
    }
}
