//! Where things lie in the files of an undamaged store: frames, blocks, entries. Read with the
//! decoders of `orlop-formats`, by the book of SPEC.md and not by the engine.

use std::ops::Range;

use orlop_formats::block::Block;
use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{self, FileHeader, FileKind};
use orlop_formats::filename::FileName;
use orlop_formats::frame::{self, Walk};
use orlop_formats::ids::{DatabaseId, FileId, StoreId};
use orlop_formats::manifest::{self, VersionEdit};
use orlop_formats::sstable::{FOOTER_LEN, Footer, Handle, Properties, decode_partitions};
use orlop_formats::{log, superblock};

use super::image::Files;

/// A frame of a segment or of the manifest in force.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its file.
    pub file: String,
    /// Its bytes in the file, header included.
    pub range: Range<usize>,
    /// Batches in it.
    pub count: u32,
    /// Sequence number of its first batch, or number of the edit.
    pub first: u64,
    /// What it says was on the device.
    pub synced: u64,
}

impl Frame {
    /// Sequence number of its last batch, or number of the edit.
    pub fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Its payload in the file.
    pub fn payload(&self) -> Range<usize> {
        self.range.start + frame::HEADER_LEN..self.range.end
    }
}

/// What a sealed part of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Entries of a database.
    Data,
    /// Fences and handles of its data blocks.
    Index,
    /// Lines of bits.
    Filter,
    /// Which databases there are.
    Partitions,
    /// Sums.
    Properties,
    /// The end of the file.
    Footer,
}

/// A sealed part of a table.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its file.
    pub file: String,
    /// What it is.
    pub part: Part,
    /// Its bytes in the file, checksum included.
    pub range: Range<usize>,
    /// Whose entries it holds.
    pub database: Option<DatabaseId>,
}

impl Sealed {
    /// Its bytes in the file without the checksum.
    pub fn body(&self) -> Range<usize> {
        self.range.start..self.range.end - checksum::CHECKSUM_LEN
    }
}

/// A store taken apart.
#[derive(Debug, Clone)]
pub struct Anatomy {
    /// Its id.
    pub store: StoreId,
    /// The name of the manifest in force.
    pub manifest: String,
    /// Frames of the manifest, in order.
    pub edits: Vec<Frame>,
    /// What they say, one each.
    pub said: Vec<VersionEdit>,
    /// The segments of the log, oldest first: name, and where the last frame ends.
    pub segments: Vec<(String, usize)>,
    /// Frames of the log, in order.
    pub groups: Vec<Frame>,
    /// The names of the tables.
    pub tables: Vec<String>,
    /// The parts of all tables.
    pub parts: Vec<Sealed>,
    /// The ids of the files that have a header.
    pub ids: Vec<(String, FileId)>,
}

impl Anatomy {
    /// Whether a byte is under no checksum: it has no meaning, or is there to be zero.
    pub fn is_free(&self, file: &str, at: usize) -> bool {
        let prologue = match FileName::parse(file) {
            Some(FileName::Superblock) => superblock::FILE_LEN,
            Some(FileName::Log(_)) => log::PROLOGUE_LEN as usize,
            Some(FileName::Manifest(_)) => manifest::PROLOGUE_LEN as usize,
            Some(FileName::Sstable(_)) => file_header::HEADER_LEN,
            _ => 0,
        };
        let holds = |(name, range): &(&String, Range<usize>)| *name == file && range.contains(&at);
        at >= prologue && !self.pieces().iter().any(holds)
    }

    /// Every frame and every sealed part: its file, and its bytes in the file.
    pub fn pieces(&self) -> Vec<(&String, Range<usize>)> {
        let frames = self.edits.iter().chain(&self.groups);
        let frames = frames.map(|frame| (&frame.file, frame.range.clone()));
        let parts = self.parts.iter().map(|part| (&part.file, part.range.clone()));
        frames.chain(parts).collect()
    }
}

fn at(file: &str, error: &DecodeError) -> String {
    format!("{file}: {error}")
}

/// Takes an undamaged store apart.
///
/// # Errors
/// When it is not what SPEC.md says.
pub fn dissect(files: &Files) -> Result<Anatomy, String> {
    let entrance = files.get("SUPER").ok_or("no SUPER")?;
    let superblock = superblock::decode_file(entrance).map_err(|error| at("SUPER", &error))?.newest;
    let store = superblock.store;
    let manifest = FileName::Manifest(superblock.manifest_number).to_string();
    let bytes = files.get(&manifest).ok_or("no manifest")?;
    let edits = frames(&manifest, bytes, manifest::PROLOGUE_LEN, 1)?;
    let said = edits.iter().map(|edit| VersionEdit::decode(&bytes[edit.payload()]));
    let said = said.collect::<Result<Vec<_>, _>>().map_err(|error| at(&manifest, &error))?;
    let mut anatomy = Anatomy {
        store,
        manifest,
        edits,
        said,
        segments: Vec::new(),
        groups: Vec::new(),
        tables: Vec::new(),
        parts: Vec::new(),
        ids: Vec::new(),
    };
    for (name, bytes) in files {
        if let Ok(header) = FileHeader::decode(bytes) {
            anatomy.ids.push((name.clone(), header.id));
        }
        match FileName::parse(name) {
            Some(FileName::Log(number)) => {
                let prologue = log::decode_prologue(bytes, number, Some(store));
                let (_, segment) = prologue.map_err(|error| at(name, &error))?;
                let groups = frames(name, bytes, log::PROLOGUE_LEN, segment.first_seqno)?;
                let end = groups.last().map_or(log::PROLOGUE_LEN as usize, |group| group.range.end);
                anatomy.segments.push((name.clone(), end));
                anatomy.groups.extend(groups);
            }
            Some(FileName::Sstable(_)) => anatomy.tables.push(name.clone()),
            _ => {}
        }
    }
    anatomy.parts = tables(files, store)?;
    Ok(anatomy)
}

/// The parts of all tables among the files of a store.
///
/// # Errors
/// When one is not what SPEC.md says.
pub fn tables(files: &Files, store: StoreId) -> Result<Vec<Sealed>, String> {
    let mut found = Vec::new();
    for (name, bytes) in files {
        if let Some(FileName::Sstable(file)) = FileName::parse(name) {
            let parts = parts(name, bytes, &Place { store, file });
            found.extend(parts.map_err(|error| at(name, &error))?);
        }
    }
    Ok(found)
}

impl Anatomy {
    /// The id of a file that has a header.
    pub fn id_of(&self, file: &str) -> Option<FileId> {
        self.ids.iter().find(|(name, _)| name == file).map(|(_, id)| *id)
    }
}

fn frames(file: &str, bytes: &[u8], prologue: u64, first: u64) -> Result<Vec<Frame>, String> {
    let id = FileHeader::decode(bytes).map_err(|error| at(file, &error))?.id;
    let mut walk = Walk::new(bytes, prologue, u64::MAX, id).expecting(first);
    let frames = walk.by_ref().map(|frame| Frame {
        file: file.to_owned(),
        range: frame.offset as usize..frame.end() as usize,
        count: frame.count,
        first: frame.first,
        synced: frame.synced,
    });
    let frames = frames.collect();
    match walk.stop() {
        None => Ok(frames),
        Some(error) => Err(at(file, error)),
    }
}

/// The body of a sealed region of a table.
fn open<'a>(bytes: &'a [u8], range: &Range<usize>, place: &Place) -> Result<&'a [u8], DecodeError> {
    let sealed = bytes.get(range.clone()).unwrap_or_default();
    checksum::open(sealed, place, range.start as u64, "region")
}

fn region((offset, len): (u64, u64)) -> Range<usize> {
    offset as usize..(offset + len) as usize
}

fn parts(file: &str, bytes: &[u8], place: &Place) -> Result<Vec<Sealed>, DecodeError> {
    FileHeader::decode_expecting(bytes, FileKind::Sstable, Some(place.store), place.file)?;
    let end = bytes.len();
    let start = end.saturating_sub(FOOTER_LEN);
    let footer = Footer::decode(&bytes[start..], place, start as u64)?;
    let sealed = |part, range, database| Sealed { file: file.to_owned(), part, range, database };
    let mut found = Vec::new();
    let partitions = region(footer.partitions);
    for partition in decode_partitions(open(bytes, &partitions, place)?)? {
        let database = Some(partition.database);
        let range = region((partition.index.offset, u64::from(partition.index.len)));
        let index = Block::parse(open(bytes, &range, place)?)?;
        for entry in 0..index.len() {
            let values = index.plain_values().unwrap_or_default();
            let handle = Handle::decode(&values[index.value_range(entry)?])?;
            let range = region((handle.offset, u64::from(handle.len)));
            Block::parse(open(bytes, &range, place)?)?.check()?;
            found.push(sealed(Part::Data, range, database));
        }
        index.check()?;
        found.push(sealed(Part::Index, range, database));
    }
    let properties = region(footer.properties);
    Properties::decode(open(bytes, &properties, place)?)?;
    open(bytes, &region(footer.filter), place)?;
    found.push(sealed(Part::Filter, region(footer.filter), None));
    found.push(sealed(Part::Partitions, partitions, None));
    found.push(sealed(Part::Properties, properties, None));
    found.push(sealed(Part::Footer, start..end, None));
    Ok(found)
}
