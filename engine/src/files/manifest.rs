//! The manifest: the log of changes to the set of live files (SPEC "manifest").
//!
//! Every writing open starts a manifest of its own, with the whole state as the first edit, before
//! it serves anything: what it read from an earlier one may have been in the page cache only.
//! A manifest of an earlier open is never appended to. To begin one:
//!
//! 1. write header and snapshot edit, sync the file
//! 2. sync the directory
//! 3. if the superblock's current slot is of an earlier open, write and sync the same bytes again:
//!    it may have been in the page cache only, too, and must stand while the other one is written
//! 4. write the other slot, sync it: the new manifest is the current one
//! 5. remove the old manifest
//!
//! Each later edit is one frame, synced before anything that depends on it happens, and then
//! followed by an empty edit as a witness of that sync.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::frame::{self, Fields, FrameKind, Walk};
use orlop_formats::ids::{FileId, FileNumber, Seqno};
use orlop_formats::limits::{MAX_FILE_NUMBER, MAX_FRAMED_FILE_LEN, MAX_SEQNO, SECTOR};
use orlop_formats::manifest::{PROLOGUE_LEN, RangeDelete, SegmentEnd, TableMeta, VersionEdit};
use orlop_formats::superblock::Superblock;

use crate::env::{Env, WriteFile};
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::files::{read, superblock};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A manifest that has grown over this many bytes, and over twice what it began with, is replaced by a fresh one.
const ROTATE_BYTES: u64 = 1 << 20;

/// Everything a manifest says, edits folded together.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) next_file_number: FileNumber,
    pub(crate) log_number: FileNumber,
    pub(crate) flushed_seqno: Seqno,
    pub(crate) last_seqno: Seqno,
    pub(crate) next_database_id: u32,
    pub(crate) clock_ms: u64,
    pub(crate) segment_ends: Vec<SegmentEnd>,
    /// Those that may delete something in tables.
    pub(crate) range_deletes: Arc<BTreeSet<Arc<RangeDelete>>>,
    /// Tables of bulk loads that are not finished.
    pub(crate) loading: Vec<TableMeta>,
    /// The commit of the last one that was.
    pub(crate) loaded_seqno: Seqno,
}

impl State {
    /// Folds one edit in.
    ///
    /// # Errors
    /// A sentence, when the edit does not fit the state.
    pub(crate) fn apply(&mut self, edit: VersionEdit) -> Result<(), String> {
        if edit.snapshot {
            *self = State::default();
        }
        for number in &edit.removed {
            let at = self.tables.iter().position(|table| table.number == *number);
            let at = at.ok_or(format!("an edit removes table {number}, which is not live"))?;
            self.tables.swap_remove(at);
        }
        self.end_loading(&edit.loaded)?;
        self.add_tables(edit.added, edit.loading)?;
        self.next_file_number = edit.next_file_number.unwrap_or(self.next_file_number);
        self.log_number = edit.log_number.unwrap_or(self.log_number);
        self.flushed_seqno = edit.flushed_seqno.unwrap_or(self.flushed_seqno);
        self.last_seqno = edit.last_seqno.unwrap_or(self.last_seqno);
        self.loaded_seqno = edit.loaded_seqno.unwrap_or(self.loaded_seqno);
        self.next_database_id = edit.next_database_id.unwrap_or(self.next_database_id);
        self.clock_ms = edit.clock_ms.unwrap_or(self.clock_ms);
        if self.last_seqno.max(self.flushed_seqno) > MAX_SEQNO {
            return Err(format!("a sequence number over {MAX_SEQNO}"));
        }
        if self.next_file_number > MAX_FILE_NUMBER {
            return Err(format!("a file number over {MAX_FILE_NUMBER}"));
        }
        if self.log_number > self.next_file_number {
            // New segments would lie below it, and be taken for old ones.
            let next = self.next_file_number;
            return Err(format!("log number {} beyond the next file, {next}", self.log_number));
        }
        self.apply_range_deletes(edit.added_range_deletes, &edit.removed_range_deletes)?;
        self.segment_ends.extend(edit.segment_ends);
        let log_number = self.log_number;
        self.segment_ends.retain(|end| end.number >= log_number);
        Ok(())
    }

    /// Takes in tables of the version, and such that are loading: none that there is already, here or there.
    fn add_tables(&mut self, added: Vec<TableMeta>, loading: Vec<TableMeta>) -> Result<(), String> {
        if added.is_empty() && loading.is_empty() {
            return Ok(());
        }
        let there = self.tables.iter().chain(&self.loading);
        let mut numbers: HashSet<FileNumber> = there.map(|table| table.number).collect();
        if let Some(table) = added.iter().chain(&loading).find(|of| !numbers.insert(of.number)) {
            return Err(format!("an edit adds table {} twice", table.number));
        }
        self.tables.extend(added);
        self.loading.extend(loading);
        Ok(())
    }

    fn end_loading(&mut self, loaded: &[FileNumber]) -> Result<(), String> {
        let mut loading: HashSet<FileNumber> =
            self.loading.iter().map(|table| table.number).collect();
        if let Some(number) = loaded.iter().find(|number| !loading.remove(*number)) {
            return Err(format!("an edit ends the load of table {number}, which has none"));
        }
        self.loading.retain(|table| loading.contains(&table.number));
        Ok(())
    }

    fn apply_range_deletes(
        &mut self,
        added: Vec<RangeDelete>,
        removed: &[RangeDelete],
    ) -> Result<(), String> {
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let all = Arc::make_mut(&mut self.range_deletes);
        if let Some(range) = removed.iter().find(|range| !all.remove(*range)) {
            return Err(format!("an edit removes {}, which is not there", told(range)));
        }
        for range in added {
            let is_in_log = range.seqno > self.flushed_seqno;
            let range = Arc::new(range);
            if is_in_log || !all.insert(Arc::clone(&range)) {
                return Err(format!(
                    "an edit adds {}, which is there, or in the log",
                    told(&range)
                ));
            }
        }
        Ok(())
    }

    /// Number and bytes of the tables that are loading.
    pub(crate) fn loading_figures(&self) -> (u64, u64) {
        let bytes = self.loading.iter().map(|table| table.size);
        (self.loading.len() as u64, bytes.fold(0, u64::saturating_add))
    }

    /// The whole state as one edit.
    fn snapshot(&self) -> VersionEdit {
        VersionEdit {
            snapshot: true,
            next_file_number: Some(self.next_file_number),
            log_number: Some(self.log_number),
            flushed_seqno: Some(self.flushed_seqno),
            next_database_id: Some(self.next_database_id),
            clock_ms: Some(self.clock_ms),
            last_seqno: Some(self.last_seqno),
            added: self.tables.clone(),
            removed: Vec::new(),
            segment_ends: self.segment_ends.clone(),
            added_range_deletes: self.range_deletes.iter().map(|of| (**of).clone()).collect(),
            removed_range_deletes: Vec::new(),
            loading: self.loading.clone(),
            loaded: Vec::new(),
            loaded_seqno: Some(self.loaded_seqno),
        }
    }
}

fn told(range: &RangeDelete) -> String {
    let RangeDelete { seqno, database, start, .. } = range;
    let start = start.get(..start.len().min(32)).unwrap_or_default().escape_ascii();
    format!("the range delete of commit {seqno} in database {database} from \"{start}\" on")
}

/// Reads the manifest that the superblock names.
pub(crate) fn load(env: &dyn Env, dir: &Path, superblock: &Superblock) -> Result<State> {
    let path = dir.join(FileName::Manifest(superblock.manifest_number).to_string());
    let bytes = read(env, &path, MAX_FRAMED_FILE_LEN)?;
    seeded!(EditUnchecked: bytes = crate::seeded::believed(bytes));
    decode(&bytes, superblock).map_err(|source| Error::decode(&path, source))
}

fn decode(bytes: &[u8], superblock: &Superblock) -> Result<State, DecodeError> {
    let header = FileHeader::decode_expecting(
        bytes,
        FileKind::Manifest,
        Some(superblock.store),
        superblock.manifest_number,
    )?;
    if header.id != superblock.manifest_id {
        return Err(DecodeError::corrupt(
            "manifest",
            0,
            format!("file id {} as in the superblock", superblock.manifest_id),
            header.id.to_string(),
        ));
    }
    let mut state = State::default();
    let mut edits = 0;
    let mut walk = Walk::new(bytes, PROLOGUE_LEN, u64::MAX, header.id).expecting(1);
    for frame in walk.by_ref() {
        let offset = frame.offset;
        let fail = |found: String| {
            DecodeError::corrupt("version edit", offset, "an edit that fits its past", found)
        };
        let edit = VersionEdit::decode(frame.payload)
            .map_err(|source| source.at(offset + frame::HEADER_LEN as u64))?;
        let alone = frame.kind == FrameKind::Edit && frame.count == 1;
        if !alone || (edits == 0) != edit.snapshot {
            return Err(fail("an edit out of place".to_owned()));
        }
        state.apply(edit).map_err(fail)?;
        edits += 1;
    }
    // Every edit is synced before the next is written: one that is followed was not torn.
    let lost = frame::later_proof(bytes, walk.end(), &header.id, edits);
    let damage = if edits == 0 || lost.is_some() { walk.stop().cloned() } else { None };
    match damage {
        Some(damage) => Err(damage),
        None if edits == 0 || lost.is_some() => Err(DecodeError::corrupt(
            "version edit",
            walk.end(),
            format!("edit {}", edits + 1),
            "none, but edits behind it",
        )),
        None if edits < superblock.edits => {
            let expected = format!("{} edits, as the superblock says", superblock.edits);
            Err(DecodeError::corrupt("manifest", walk.end(), expected, edits.to_string()))
        }
        None => Ok(state),
    }
}

/// The manifest of a writing open.
pub(crate) struct Manifest {
    dir: Arc<Directory>,
    numbers: Arc<AtomicU64>,
    superblock: Superblock,
    state: State,
    /// `None` until this open writes its first edit.
    tail: Option<Tail>,
    /// A sync failed: what is on the device is unknown, so nothing more is written.
    failed: Option<Error>,
}

struct Tail {
    path: PathBuf,
    id: FileId,
    file: Box<dyn WriteFile>,
    end: u64,
    edits: u64,
    /// It is replaced once it ends behind this.
    rotate_at: u64,
}

impl Manifest {
    /// Continues from the state of an earlier open, in a manifest of its own.
    pub(crate) fn resume(
        dir: Arc<Directory>,
        numbers: Arc<AtomicU64>,
        superblock: Superblock,
        state: State,
    ) -> Self {
        let tail = seeded!(ManifestReused => Tail::found(&dir, &superblock), else None);
        Self { dir, numbers, superblock, state, tail, failed: None }
    }

    /// Writes the first manifest of a new store, before its superblock exists.
    pub(crate) fn create(
        dir: Arc<Directory>,
        numbers: Arc<AtomicU64>,
        mut superblock: Superblock,
        state: State,
    ) -> Result<Self> {
        superblock.generation = 1;
        let mut manifest = Self::resume(dir, numbers, superblock, state);
        let tail = manifest.begin()?;
        manifest.tail = Some(tail);
        superblock::create(&manifest.dir, &manifest.superblock)?;
        Ok(manifest)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Makes an edit durable, in a fresh manifest when this open has none yet or it has grown.
    ///
    /// On an error nothing that depends on the edit may happen. A full disk leaves the manifest
    /// as it was, and the same edit can be tried again; after any other failure nothing can (see
    /// [`Manifest::failed`]).
    pub(crate) fn append(&mut self, mut edit: VersionEdit) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        edit.next_file_number = Some(self.numbers.load(Ordering::Relaxed));
        let mut next = self.state.clone();
        next.apply(edit.clone()).map_err(|found| self.corrupt(found))?;
        match &mut self.tail {
            Some(tail) if tail.end < tail.rotate_at => {
                let written = append_edit(tail, &edit);
                self.guard(written)?;
                self.state = next;
                self.witness()
            }
            _ => {
                let before = std::mem::replace(&mut self.state, next);
                let rotated = self.rotate();
                if rotated.is_err() {
                    self.state = before;
                }
                self.guard(rotated)
            }
        }
    }

    /// Says in the superblock how many edits there are: from then on a reader misses what is cut
    /// off. Needs no space on the disk.
    pub(crate) fn vouch(&mut self) -> Result<()> {
        seeded!(ManifestEndUnrecorded => return Ok(()));
        let Some(tail) = &self.tail else { return Ok(()) };
        // A manifest without its first edit is none.
        if tail.edits <= self.superblock.edits.max(1) {
            return Ok(());
        }
        let vouching = Superblock {
            generation: self.superblock.generation + 1,
            edits: tail.edits,
            ..self.superblock
        };
        let written = superblock::update(&*self.dir.env, &self.dir.path, &vouching);
        self.guard(written)?;
        self.superblock = vouching;
        Ok(())
    }

    /// Makes the state durable in a manifest of this open, unless an edit has done so already.
    pub(crate) fn begin_if_new(&mut self) -> Result<()> {
        if self.tail.is_some() { Ok(()) } else { self.append(VersionEdit::default()) }
    }

    /// Follows an edit with an empty one, which says that the edit was synced. Without it, damage to
    /// the last edit would pass for a torn write, and what the edit allowed to be deleted (segments,
    /// input tables) would be missed by nobody.
    fn witness(&mut self) -> Result<()> {
        seeded!(WitnessMissing => return Ok(()));
        let Some(tail) = &mut self.tail else { return Ok(()) };
        match append_edit(tail, &VersionEdit::default()) {
            // The edit stands; only there is no room for the witness. Where none is for the slot
            // either, the edit must not be taken for one that was never written.
            Err(Error::DiskFull { .. }) => self.vouch().map_err(|error| {
                let error = in_doubt(error);
                self.failed = Some(error.clone());
                error
            }),
            written => self.guard(written),
        }
    }

    fn corrupt(&self, found: String) -> Error {
        Error::corrupt(
            &self.dir.path,
            "version edit",
            0,
            "an edit that fits the live version",
            found,
        )
    }

    /// Remembers a failure after which it is unknown whether the edit is on the device. A write
    /// that found the disk full, and a file that could not be created, are none.
    fn guard(&mut self, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| {
            if !matches!(error, Error::DiskFull { .. } | Error::Io { op: "create", .. }) {
                self.failed = Some(error.clone());
            }
        })
    }

    /// Whether a failure has ended this manifest: the last edit may or may not be in effect.
    pub(crate) fn failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Steps 1 to 5. Until the superblock's slot is synced, the old manifest is the current one.
    fn rotate(&mut self) -> Result<()> {
        let old = self.superblock;
        let rotated = self.begin().and_then(|tail| {
            if seeded!(OtherSlotTrusted => false, else self.tail.is_none()) {
                superblock::update(&*self.dir.env, &self.dir.path, &old)?;
            }
            self.superblock.generation += 1;
            self.superblock.edits = 0;
            superblock::update(&*self.dir.env, &self.dir.path, &self.superblock)?;
            Ok(tail)
        });
        // Whether the slot was written or not: both manifests stay, and nothing more is appended.
        self.tail = Some(rotated.inspect_err(|_| self.superblock = old)?);
        let old_path = self.dir.path_of(FileName::Manifest(old.manifest_number));
        // It is an orphan now: if it cannot be removed here, the next open does it.
        let _ = self.dir.env.remove(&old_path);
        Ok(())
    }

    /// Steps 1 and 2: a new manifest file that holds the whole state.
    fn begin(&mut self) -> Result<Tail> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.state.next_file_number = self.numbers.load(Ordering::Relaxed);
        if self.state.next_file_number > MAX_FILE_NUMBER {
            // A manifest that says so cannot be read: it must not be named.
            return Err(self.corrupt(format!("a file number over {MAX_FILE_NUMBER}")));
        }
        let path = self.dir.path_of(FileName::Manifest(number));
        let id = FileId(self.dir.env.random());
        let header =
            FileHeader { kind: FileKind::Manifest, store: self.superblock.store, number, id };
        let fail = |op| {
            let path = path.clone();
            move |source| Error::io(op, &path, source)
        };
        let mut file = self.dir.env.create(&path).map_err(fail("create"))?;
        let written = file.write_at(0, &header.encode()).map_err(fail("write")).and_then(|()| {
            let path = path.clone();
            let mut tail = Tail { path, id, file, end: PROLOGUE_LEN, edits: 0, rotate_at: 0 };
            append_edit(&mut tail, &self.state.snapshot())?;
            tail.rotate_at = ROTATE_BYTES.max((2 * tail.end).min(MAX_FRAMED_FILE_LEN / 4));
            seeded!(ManifestDirectoryUnsynced => return Ok(tail));
            self.dir.sync()?;
            Ok(tail)
        });
        let tail = written.inspect_err(|_| {
            // Nothing names it. If it cannot be removed here, the next open does it.
            let _ = self.dir.env.remove(&path);
        })?;
        self.superblock.manifest_number = number;
        self.superblock.manifest_id = id;
        Ok(tail)
    }
}

/// An edit that may or may not be in effect: [`Error::DiskFull`] would promise that it is not.
fn in_doubt(error: Error) -> Error {
    match error {
        Error::DiskFull { path } => {
            let source = Arc::new(std::io::ErrorKind::StorageFull.into());
            Error::Io { op: "write", path, source }
        }
        other => other,
    }
}

fn append_edit(tail: &mut Tail, edit: &VersionEdit) -> Result<()> {
    let offset = tail.end.next_multiple_of(SECTOR);
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    edit.encode(&mut bytes);
    let fields = Fields {
        kind: FrameKind::Edit,
        count: 1,
        first: tail.edits + 1,
        synced: tail.edits,
        offset,
        previous_end: tail.end,
    };
    frame::finish(&mut bytes, 0, &tail.id, &fields);
    let end = offset + bytes.len() as u64;
    let written = tail.file.write_at(offset, &bytes);
    seeded!(EditHole => if written.is_err() { (tail.end, tail.edits) = (end, tail.edits + 1) });
    written.map_err(|e| Error::io("write", &tail.path, e))?;
    tail.sync()?;
    tail.end = end;
    tail.edits += 1;
    Ok(())
}

impl Tail {
    fn sync(&mut self) -> Result<()> {
        seeded!(EditUnsynced => return Ok(()));
        let synced = self.file.sync();
        seeded!(EditSyncErrorIgnored => return Ok(()));
        synced.map_err(|e| Error::io("sync", &self.path, e))
    }

    /// The end of a manifest that nobody has closed.
    #[cfg(feature = "seeded-bugs")]
    fn found(dir: &Directory, superblock: &Superblock) -> Option<Tail> {
        let path = dir.path_of(FileName::Manifest(superblock.manifest_number));
        let bytes = dir.env.read(&path).ok().filter(|_| superblock.edits == 0)?;
        let id = superblock.manifest_id;
        let mut walk = Walk::new(&bytes, PROLOGUE_LEN, u64::MAX, id).expecting(1);
        let edits = walk.by_ref().count() as u64;
        let (file, end) = (dir.env.open_write(&path).ok()?, walk.end());
        Some(Tail { file, path, id, end, edits, rotate_at: ROTATE_BYTES })
    }
}

#[cfg(test)]
mod tests;
