//! Where the numbers stand in a store's files: every length, offset, count, number and flag of
//! every layout, and which checksum guards it.

use std::collections::BTreeSet;

use orlop_formats::block::{self, Block};
use orlop_formats::filename::FileName;
use orlop_formats::ids::SYSTEM_DATABASE;
use orlop_formats::layout::Layout;
use orlop_formats::manifest::{SEGMENT_END_LAYOUT, TABLE_LAYOUT};
use orlop_formats::sstable::{
    FOOTER_LAYOUT, HANDLE_LAYOUT, HANDLE_LEN, PARTITION_LAYOUT, PARTITION_LEN,
};
use orlop_formats::{batch, catalog, file_header, frame, log, superblock, varint};

use super::anatomy::{Anatomy, Frame, Part, Sealed};
use super::image::Files;

/// A number in a file.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its file.
    pub file: String,
    /// What it is.
    pub name: String,
    /// Where it begins in the file.
    pub at: usize,
    /// How it is written.
    pub form: Form,
    /// What guards it.
    pub seal: Seal,
}

/// How a number is written.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// In so many bytes.
    Fixed(usize),
    /// As a varint, within something whose length is written, too.
    Varint(Within),
}

/// Whose length changes with the length of a varint, beside that of frame or region.
#[derive(Debug, Clone, Copy)]
pub enum Within {
    /// Nothing's.
    Itself,
    /// That of the batch whose head stands here.
    Batch(usize),
    /// That of the field whose length, a varint of one byte, stands here.
    Tag(usize),
}

/// What guards a number.
#[derive(Debug, Clone)]
pub enum Seal {
    /// A CRC-32 behind the bytes from here to there; with the file's id before them, or not.
    Crc(usize, usize, bool),
    /// The CRC-32 of this edit of the manifest.
    Edit(usize),
    /// The CRC-32 of this group of the log.
    Group(usize),
    /// The checksum of this part of a table.
    Part(usize),
}

/// All numbers of a store.
pub fn find(files: &Files, anatomy: &Anatomy) -> Vec<Site> {
    let mut finder = Finder { files, sites: Vec::new() };
    finder.headers();
    for (at, edit) in anatomy.edits.iter().enumerate() {
        finder.frame(edit, &Seal::Edit(at));
        finder.edit(edit, &Seal::Edit(at));
    }
    for (at, group) in anatomy.groups.iter().enumerate() {
        finder.frame(group, &Seal::Group(at));
        finder.group(group, &Seal::Group(at));
    }
    let mut shapes = BTreeSet::new();
    for (at, part) in anatomy.parts.iter().enumerate() {
        finder.part(part, &Seal::Part(at), &mut shapes);
    }
    finder.sites
}

struct Finder<'a> {
    files: &'a Files,
    sites: Vec<Site>,
}

/// The varints and values of a record of tagged fields: tag, where tag, length and value begin, and
/// the length.
fn tagged(record: &[u8]) -> Vec<(u64, [usize; 3], usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < record.len() {
        let start = at;
        let Some(tag) = varint::get(record, &mut at) else { break };
        let len_at = at;
        let Some(len) = varint::get(record, &mut at) else { break };
        found.push((tag, [start, len_at, at], len as usize));
        at += len as usize;
    }
    found
}

impl<'a> Finder<'a> {
    fn bytes(&self, file: &str) -> &'a [u8] {
        self.files.get(file).map(Vec::as_slice).unwrap_or_default()
    }

    fn site(&mut self, file: &str, name: String, at: usize, form: Form, seal: &Seal) {
        self.sites.push(Site { file: file.to_owned(), name, at, form, seal: seal.clone() });
    }

    /// The numbers of a fixed layout, and its ids, each as two; letters and checksums are none.
    fn layout(&mut self, file: &str, layout: &Layout, base: usize, seal: &Seal) {
        for field in layout.fields {
            let number = matches!(field.size, 1 | 2 | 4 | 8);
            let other = ["crc", "checksum", "magic"].iter().any(|word| field.name.contains(word));
            let name = format!("{}: {}", layout.name, field.name);
            let at = base + field.offset;
            if number && !other {
                self.site(file, name, at, Form::Fixed(field.size), seal);
            } else if field.size == 16 && !other {
                self.site(file, format!("{name}, first half"), at, Form::Fixed(8), seal);
                self.site(file, format!("{name}, second half"), at + 8, Form::Fixed(8), seal);
            }
        }
    }

    fn headers(&mut self) {
        for file in self.files.keys() {
            let kind = FileName::parse(file);
            if matches!(kind, None | Some(FileName::Lock)) {
                continue;
            }
            self.layout(file, &file_header::LAYOUT, 0, &Seal::Crc(0, 60, false));
            match kind {
                Some(FileName::Log(_)) => {
                    self.layout(file, &log::LAYOUT, 64, &Seal::Crc(64, 124, true));
                }
                Some(FileName::Superblock) => {
                    for slot in [superblock::SLOT_LEN, 2 * superblock::SLOT_LEN] {
                        let seal = Seal::Crc(slot, slot + superblock::SLOT_LEN - 4, false);
                        self.layout(file, &superblock::LAYOUT, slot, &seal);
                    }
                }
                _ => {}
            }
        }
    }

    fn frame(&mut self, frame: &Frame, seal: &Seal) {
        self.layout(&frame.file, &frame::LAYOUT, frame.range.start, seal);
    }

    /// Tags, lengths and values of an edit.
    fn edit(&mut self, edit: &Frame, seal: &Seal) {
        let (file, base) = (edit.file.as_str(), edit.payload().start);
        let record = &self.bytes(file)[edit.payload()];
        for (tag, [tag_at, len_at, value_at], len) in tagged(record) {
            let whole = Form::Varint(Within::Itself);
            self.site(file, format!("edit: tag {tag}"), base + tag_at, whole, seal);
            self.site(file, format!("edit: length of tag {tag}"), base + len_at, whole, seal);
            let value = base + value_at;
            match tag {
                2..=6 | 8 | 10 => {
                    let form = Form::Varint(Within::Tag(base + len_at));
                    self.site(file, format!("edit: value of tag {tag}"), value, form, seal);
                }
                7 => {
                    self.layout(file, &TABLE_LAYOUT, value, seal);
                    let mut bound = TABLE_LAYOUT.len;
                    for name in ["smallest", "largest"] {
                        let at = value + bound;
                        self.site(
                            file,
                            format!("table: {name} database"),
                            at,
                            Form::Fixed(4),
                            seal,
                        );
                        self.site(
                            file,
                            format!("table: {name} key length"),
                            at + 4,
                            Form::Fixed(2),
                            seal,
                        );
                        let key = varint::u16_at(record, value_at + bound + 4);
                        bound += 6 + usize::from(key.unwrap_or(0));
                    }
                    debug_assert_eq!(bound, len);
                }
                9 => self.layout(file, &SEGMENT_END_LAYOUT, value, seal),
                _ => {}
            }
        }
    }

    /// The heads of the batches of a group, and of their ops.
    fn group(&mut self, group: &Frame, seal: &Seal) {
        let (file, base) = (group.file.as_str(), group.payload().start);
        let payload = &self.bytes(file)[group.payload()];
        let mut at = 0;
        for _ in 0..group.count {
            let head = at;
            self.layout(file, &batch::LAYOUT, base + head, seal);
            let len = varint::u32_at(payload, head).unwrap_or(0) as usize;
            at += batch::HEADER_LEN;
            while at < head + batch::HEADER_LEN + len {
                let Some(end) = self.op(file, payload, (base, head, at), seal) else { return };
                at = end;
            }
        }
    }

    /// One op, and where it ends. `place`: where the payload lies in the file, and batch and op in
    /// the payload.
    fn op(
        &mut self,
        file: &str,
        payload: &[u8],
        place: (usize, usize, usize),
        seal: &Seal,
    ) -> Option<usize> {
        let (base, head, op) = place;
        self.site(file, "op: kind".into(), base + op, Form::Fixed(1), seal);
        self.site(file, "op: flags".into(), base + op + 1, Form::Fixed(1), seal);
        let mut at = op + 2;
        let mut numbers = [0; 3];
        for (number, name) in numbers.iter_mut().zip(["database", "key length", "value length"]) {
            let form = Form::Varint(Within::Batch(base + head));
            self.site(file, format!("op: {name}"), base + at, form, seal);
            *number = varint::get(payload, &mut at)? as usize;
        }
        let [database, key, value] = numbers;
        if database == SYSTEM_DATABASE.0 as usize && value > 0 {
            self.layout(file, &catalog::LAYOUT, base + at + key, seal);
        }
        Some(at + key + value)
    }

    fn part(&mut self, part: &Sealed, seal: &Seal, shapes: &mut BTreeSet<(Part, u8, u8)>) {
        let (file, start) = (part.file.as_str(), part.range.start);
        let body = &self.bytes(file)[part.body()];
        match part.part {
            Part::Footer => self.layout(file, &FOOTER_LAYOUT, start, seal),
            Part::Partitions => {
                self.site(file, "partitions: count".into(), start, Form::Fixed(4), seal);
                for at in (4..body.len()).step_by(PARTITION_LEN) {
                    self.layout(file, &PARTITION_LAYOUT, start + at, seal);
                }
            }
            Part::Properties => self.properties(file, body, start, seal),
            Part::Filter => {}
            Part::Data | Part::Index => self.block(part, body, seal, shapes),
        }
    }

    fn properties(&mut self, file: &str, body: &[u8], base: usize, seal: &Seal) {
        for (tag, [tag_at, len_at, value_at], _) in tagged(body) {
            let whole = Form::Varint(Within::Itself);
            self.site(file, format!("properties: tag {tag}"), base + tag_at, whole, seal);
            self.site(file, format!("properties: length of tag {tag}"), base + len_at, whole, seal);
            let form = Form::Varint(Within::Tag(base + len_at));
            self.site(file, format!("properties: value of tag {tag}"), base + value_at, form, seal);
        }
    }

    /// The header of a block, handles, catalog records; of one block of each shape every word.
    fn block(
        &mut self,
        part: &Sealed,
        body: &[u8],
        seal: &Seal,
        shapes: &mut BTreeSet<(Part, u8, u8)>,
    ) {
        let (file, start) = (part.file.as_str(), part.range.start);
        self.layout(file, &block::LAYOUT, start, seal);
        if shapes.insert((part.part, body[4], body[5])) {
            for at in (block::HEADER_LEN..body.len().saturating_sub(1)).step_by(2) {
                self.site(file, "block: word".into(), start + at, Form::Fixed(2), seal);
            }
        }
        let Ok(parsed) = Block::parse(body) else { return };
        let Some(values) = parsed.plain_values() else { return };
        let base = start + body.len() - values.len();
        for range in (0..parsed.len()).filter_map(|entry| parsed.value_range(entry).ok()) {
            if part.part == Part::Index && range.len() == HANDLE_LEN {
                self.layout(file, &HANDLE_LAYOUT, base + range.start, seal);
            } else if part.database == Some(SYSTEM_DATABASE) && !range.is_empty() {
                self.layout(file, &catalog::LAYOUT, base + range.start, seal);
            }
        }
    }
}

/// How many sites there are of each name.
pub fn names(sites: &[Site]) -> std::collections::BTreeMap<&str, usize> {
    let mut names = std::collections::BTreeMap::new();
    for site in sites {
        *names.entry(site.name.as_str()).or_default() += 1;
    }
    names
}
