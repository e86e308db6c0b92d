//! Which kinds of files, frames, edits, operations, blocks and entries a reference store holds,
//! counted. What must be there is listed: a set that lacks a kind proves nothing about it.

use std::collections::BTreeMap;

use orlop_formats::batch;
use orlop_formats::block::{
    Block, FLAG_KINDS, FLAG_SEQNOS, FLAG_SHORT, FLAG_SNAPPY, FLAG_TAILS, FLAG_WIDE,
};
use orlop_formats::catalog::CatalogRecord;
use orlop_formats::filename::FileName;
use orlop_formats::ids::{DatabaseId, Kind, SYSTEM_DATABASE, Seqno};
use orlop_formats::superblock;

use super::anatomy::{Anatomy, Part, dissect};
use super::image::Files;

/// How often each kind is there.
pub type Kinds = BTreeMap<&'static str, usize>;

/// What the closed reference store must hold: all that version 1 writes.
pub const REQUIRED: &[&str] = &[
    "file: superblock",
    "file: lock",
    "file: manifest",
    "file: segment",
    "file: table of level 0",
    "file: table of level 1",
    "file: table of level 2",
    "superblock: slot in force, with edits",
    "superblock: slot before it",
    "edit: snapshot",
    "edit: added table",
    "edit: removed table",
    "edit: witness",
    "edit: segment end",
    "frame: one batch",
    "frame: several batches",
    "frame: at the start of a sector",
    "frame: inside a sector",
    "op: put",
    "op: delete",
    "op: catalog put",
    "op: catalog delete",
    "block: data",
    "block: index",
    "block: index of several blocks",
    "block: larger than a page",
    "block: column of 4",
    "block: column of 8",
    "block: wide",
    "block: narrow",
    "block: short keys",
    "block: long keys",
    "block: tails",
    "block: no tails",
    "block: kinds",
    "block: puts only",
    "block: seqnos",
    "block: one seqno",
    "block: Snappy",
    "block: plain",
    "index: a key goes on in the next block",
    "region: filter",
    "region: no filter",
    "region: partitions, one",
    "region: partitions, several",
    "region: properties",
    "region: footer",
    "entry: put",
    "entry: delete",
    "entry: large value",
    "entry: catalog record",
    "entry: catalog record with options",
    "entry: catalog tombstone",
    "entry: of a dropped database",
];

/// What the flushed reference store must hold. It has no segment.
pub const REQUIRED_FLUSHED: &[&str] = &[
    "superblock: slot in force, with edits",
    "file: table of level 0",
    "edit: snapshot",
    "edit: added table",
    "edit: witness",
];

/// What the crashed reference store must hold beside a manifest and tables.
pub const REQUIRED_CRASHED: &[&str] = &[
    "superblock: slot in force, with edits",
    "file: segment",
    "log: several segments",
    "log: free space behind the last frame",
    "frame: not vouched for",
    "frame: vouched for",
    "frame: several batches",
];

/// Counts what a store holds.
///
/// # Errors
/// When it is not what SPEC.md says.
pub fn take(files: &Files) -> Result<Kinds, String> {
    let anatomy = dissect(files)?;
    let mut inventory = Inventory { kinds: Kinds::new(), files, anatomy: &anatomy };
    inventory.files();
    inventory.manifest();
    inventory.log().map_err(|error| error.to_string())?;
    inventory.tables().map_err(|error| error.to_string())?;
    Ok(inventory.kinds)
}

/// The newest version of each key of the catalog: its sequence number, and the id it names.
type Catalog = BTreeMap<Vec<u8>, (Seqno, Option<DatabaseId>)>;

struct Inventory<'a> {
    kinds: Kinds,
    files: &'a Files,
    anatomy: &'a Anatomy,
}

impl Inventory<'_> {
    fn one(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn either(&mut self, which: bool, yes: &'static str, no: &'static str) {
        self.one(if which { yes } else { no });
    }

    fn files(&mut self) {
        for name in self.files.keys() {
            match FileName::parse(name) {
                Some(FileName::Superblock) => self.one("file: superblock"),
                Some(FileName::Lock) => self.one("file: lock"),
                Some(FileName::Manifest(_)) => self.one("file: manifest"),
                Some(FileName::Log(_)) => self.one("file: segment"),
                _ => {}
            }
        }
        let bytes = self.files.get("SUPER").map(Vec::as_slice).unwrap_or_default();
        if let Ok(decoded) = superblock::decode_file(bytes) {
            let vouches = decoded.newest.edits != 0;
            self.either(
                vouches,
                "superblock: slot in force, with edits",
                "superblock: slot in force, without",
            );
            let other = superblock::slot_offset(decoded.newest.generation + 1) as usize;
            if bytes[other..other + superblock::SLOT_LEN].iter().any(|byte| *byte != 0) {
                self.one("superblock: slot before it");
            }
        }
    }

    fn manifest(&mut self) {
        let mut levels = BTreeMap::new();
        for edit in &self.anatomy.said {
            let nothing = edit.added.is_empty() && edit.segment_ends.is_empty() && !edit.snapshot;
            if nothing && edit.flushed_seqno.is_none() && edit.removed.is_empty() {
                self.one("edit: witness");
            }
            if edit.snapshot {
                self.one("edit: snapshot");
            }
            edit.removed.iter().for_each(|_| self.one("edit: removed table"));
            edit.segment_ends.iter().for_each(|_| self.one("edit: segment end"));
            levels.retain(|number, _| !edit.removed.contains(number));
            for table in &edit.added {
                self.one("edit: added table");
                levels.insert(table.number, table.level);
            }
        }
        for level in levels.values() {
            self.one(match level {
                0 => "file: table of level 0",
                1 => "file: table of level 1",
                2 => "file: table of level 2",
                _ => "file: table of a deeper level",
            });
        }
    }

    fn log(&mut self) -> Result<(), orlop_formats::DecodeError> {
        let anatomy = self.anatomy;
        let proven = anatomy.groups.iter().map(|group| group.synced).max().unwrap_or(0);
        for group in &anatomy.groups {
            self.either(group.count > 1, "frame: several batches", "frame: one batch");
            let start = group.range.start.is_multiple_of(4096);
            self.either(start, "frame: at the start of a sector", "frame: inside a sector");
            self.either(group.last() <= proven, "frame: vouched for", "frame: not vouched for");
            let payload = &self.files[&group.file][group.payload()];
            for ops in batch::read_batches(payload, group.count) {
                for op in ops? {
                    let op = op?;
                    let put = op.kind == Kind::Put;
                    self.either(put, "op: put", "op: delete");
                    if op.database == SYSTEM_DATABASE {
                        self.either(put, "op: catalog put", "op: catalog delete");
                    }
                }
            }
        }
        if anatomy.segments.len() > 1 {
            self.one("log: several segments");
        }
        for (name, end) in &anatomy.segments {
            if self.files[name].len() > *end {
                self.one("log: free space behind the last frame");
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<(), orlop_formats::DecodeError> {
        let anatomy = self.anatomy;
        let mut catalog = Catalog::new();
        let mut holding = Vec::new();
        for sealed in &anatomy.parts {
            let body = &self.files[&sealed.file][sealed.body()];
            match sealed.part {
                Part::Data => {
                    self.block(body, sealed.database, &mut catalog)?;
                    self.one("block: data");
                    holding.extend(sealed.database);
                    if body.len() > 4096 {
                        self.one("block: larger than a page");
                    }
                }
                Part::Index => self.index(&Block::parse(body)?)?,
                Part::Filter => self.either(body.is_empty(), "region: no filter", "region: filter"),
                Part::Partitions => {
                    let one = body.first() == Some(&1);
                    self.either(one, "region: partitions, one", "region: partitions, several");
                }
                Part::Properties => self.one("region: properties"),
                Part::Footer => self.one("region: footer"),
            }
        }
        // An id that no name has any more is a dropped database's.
        let named = |id: &&DatabaseId| catalog.values().any(|(_, named)| *named == Some(**id));
        let dropped = holding.iter().filter(|id| **id != SYSTEM_DATABASE && !named(id));
        dropped.for_each(|_| self.one("entry: of a dropped database"));
        Ok(())
    }

    fn index(&mut self, index: &Block<'_>) -> Result<(), orlop_formats::DecodeError> {
        self.one("block: index");
        if index.len() > 1 {
            self.one("block: index of several blocks");
        }
        if (0..index.len()).any(|entry| index.seqno(entry) != 0) {
            self.one("index: a key goes on in the next block");
        }
        Ok(())
    }

    fn block(
        &mut self,
        body: &[u8],
        database: Option<DatabaseId>,
        catalog: &mut Catalog,
    ) -> Result<(), orlop_formats::DecodeError> {
        let block = Block::parse(body)?;
        let (flags, width) = (body[4], body[5]);
        let has = |flag: u8| flags & flag != 0;
        self.either(width == 4, "block: column of 4", "block: column of 8");
        self.either(has(FLAG_WIDE), "block: wide", "block: narrow");
        self.either(has(FLAG_SHORT), "block: short keys", "block: long keys");
        self.either(has(FLAG_TAILS), "block: tails", "block: no tails");
        self.either(has(FLAG_KINDS), "block: kinds", "block: puts only");
        self.either(has(FLAG_SEQNOS), "block: seqnos", "block: one seqno");
        self.either(has(FLAG_SNAPPY), "block: Snappy", "block: plain");
        let mut values = Vec::new();
        block.decompress_values(&mut values)?;
        for entry in 0..block.len() {
            let put = block.kind(entry)? == Kind::Put;
            let range = block.value_range(entry)?;
            self.either(put, "entry: put", "entry: delete");
            if range.len() > 4096 {
                self.one("entry: large value");
            }
            if database != Some(SYSTEM_DATABASE) {
                continue;
            }
            self.either(put, "entry: catalog record", "entry: catalog tombstone");
            let record = if put { Some(CatalogRecord::decode(&values[range])?) } else { None };
            if record.is_some_and(|record| record.durability.is_some()) {
                self.one("entry: catalog record with options");
            }
            let mut key = Vec::new();
            block.key_into(entry, &mut key)?;
            let seqno = block.seqno(entry);
            let newest = catalog.entry(key).or_insert((seqno, None));
            if newest.0 <= seqno {
                *newest = (seqno, record.map(|record| record.id));
            }
        }
        Ok(())
    }
}
