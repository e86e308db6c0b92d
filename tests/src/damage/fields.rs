//! Hostile numbers: a length, offset, count, number or flag has another value, and every checksum
//! that guards it is made right again, up to the manifest's copy of a footer's.
//!
//! Such a store is one that somebody wrote on purpose, or that a bug wrote. It may say something
//! else than the reference store; it must not hang, panic or eat memory.

use orlop_formats::checksum::{self, Place};
use orlop_formats::filename::FileName;
use orlop_formats::sstable::{FOOTER_LEN, Footer};
use orlop_formats::varint;

use super::anatomy::Anatomy;
use super::image::{Changes, Files};
use super::mutant::Mutant;
use super::reference::Set;
use super::seals::{self, PAYLOAD_LEN};
use super::sites::{self, Form, Seal, Site, Within};

/// The numbers of a set, and how to forge them.
pub struct Fields {
    sites: Vec<Site>,
    current: Vec<u64>,
    anatomy: Anatomy,
}

/// Where a frame's header says where the frame before it ended.
const PREVIOUS_END: usize = 36;

impl Fields {
    /// Finds the numbers of a store.
    pub fn new(files: &Files, anatomy: &Anatomy) -> Self {
        let sites = sites::find(files, anatomy);
        let current = sites.iter().map(|site| read(files, site)).collect();
        Self { sites, current, anatomy: anatomy.clone() }
    }

    /// All sites.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// What a site is, for a person.
    pub fn describe(&self, site: usize) -> String {
        match (self.sites.get(site), self.current.get(site)) {
            (Some(site), Some(now)) => {
                format!("{} at {} of {}, which is {now}", site.name, site.at, site.file)
            }
            _ => "no such site".to_owned(),
        }
    }

    /// Every hostile value of every site.
    pub fn mutants(&self) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        for (at, (site, now)) in self.sites.iter().zip(&self.current).enumerate() {
            let values = hostile(*now, site.form);
            mutants.extend(values.into_iter().map(|value| Mutant::Field(at, value)));
        }
        mutants
    }

    /// What a hostile value makes of the files; nothing if there is no room for it.
    pub fn changes(&self, set: &Set, site: usize, value: u64) -> Changes {
        let Some(site) = self.sites.get(site) else { return Changes::new() };
        let mut files = set.files.clone();
        let forged = match site.form {
            Form::Fixed(size) => self.fixed(&mut files, site, size, value),
            Form::Varint(within) => self.varint(&mut files, site, within, value),
        };
        let changed = |(name, bytes): &(String, Vec<u8>)| set.files.get(name) != Some(bytes);
        let changes = files.into_iter().filter(changed).map(|(name, bytes)| (name, Some(bytes)));
        if forged.is_some() { changes.collect() } else { Changes::new() }
    }

    fn fixed(&self, files: &mut Files, site: &Site, size: usize, value: u64) -> Option<()> {
        let bytes = files.get_mut(&site.file)?;
        bytes.get_mut(site.at..site.at + size)?.copy_from_slice(&value.to_le_bytes()[..size]);
        let id = self.anatomy.id_of(&site.file);
        match site.seal {
            Seal::Crc(start, end, with_id) => seals::crc(bytes, start..end, id.filter(|_| with_id)),
            Seal::Edit(at) => seals::frame(bytes, &self.anatomy.edits[at], &id?),
            Seal::Group(at) => seals::frame(bytes, &self.anatomy.groups[at], &id?),
            Seal::Part(at) => return seals::part(files, &self.anatomy, at),
        }
        Some(())
    }

    fn varint(&self, files: &mut Files, site: &Site, within: Within, value: u64) -> Option<()> {
        let bytes = files.get_mut(&site.file)?;
        let (frames, at) = match site.seal {
            Seal::Edit(at) => (&self.anatomy.edits, at),
            Seal::Group(at) => (&self.anatomy.groups, at),
            Seal::Part(at) => return self.in_properties(files, site, within, value, at),
            Seal::Crc(..) => return None,
        };
        let frame = &frames[at];
        let next = frames.get(at + 1).filter(|next| next.file == frame.file);
        let payload = spliced(bytes, frame.payload(), site, within, value)?;
        let end = frame.payload().start + payload.len();
        if next.is_some_and(|next| end > next.range.start) {
            return None;
        }
        bytes.resize(bytes.len().max(end), 0);
        bytes[frame.payload()].fill(0);
        bytes[frame.payload().start..end].copy_from_slice(&payload);
        let len = (payload.len() as u32).to_le_bytes();
        let start = frame.range.start;
        bytes[start + PAYLOAD_LEN..start + PAYLOAD_LEN + 4].copy_from_slice(&len);
        let id = self.anatomy.id_of(&site.file)?;
        seals::frame(bytes, frame, &id);
        if let Some(next) = next {
            let at = next.range.start + PREVIOUS_END;
            bytes[at..at + 4].copy_from_slice(&(end as u32).to_le_bytes());
            seals::frame(bytes, next, &id);
        }
        Some(())
    }

    /// Properties of another length move the footer behind them.
    fn in_properties(
        &self,
        files: &mut Files,
        site: &Site,
        within: Within,
        value: u64,
        at: usize,
    ) -> Option<()> {
        let part = &self.anatomy.parts[at];
        let place =
            Place { store: self.anatomy.store, file: FileName::parse(&part.file)?.number()? };
        let bytes = files.get_mut(&part.file)?;
        let body = spliced(bytes, part.body(), site, within, value)?;
        let old = bytes.split_off(bytes.len() - FOOTER_LEN);
        let offset = bytes.len() as u64;
        let before =
            [&(offset + FOOTER_LEN as u64).to_le_bytes()[..], &old[FOOTER_LEN - 8..]].concat();
        let mut footer = Footer::decode(&old, &place, offset).ok()?;
        bytes.truncate(part.range.start);
        bytes.extend_from_slice(&body);
        checksum::seal(bytes, part.range.start, &place, part.range.start as u64);
        footer.properties.1 = (bytes.len() - part.range.start) as u64;
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        footer.file_len = (bytes.len() + FOOTER_LEN) as u64;
        let new = footer.encode(&place);
        bytes.extend_from_slice(&new);
        let after = [&footer.file_len.to_le_bytes()[..], &new[FOOTER_LEN - 8..]].concat();
        seals::tell(files, &self.anatomy, &before, &after)
    }
}

/// A record with another varint in it, and the length right of what it is in.
fn spliced(
    bytes: &[u8],
    record: std::ops::Range<usize>,
    site: &Site,
    within: Within,
    value: u64,
) -> Option<Vec<u8>> {
    let mut end = site.at;
    varint::get(bytes, &mut end)?;
    let mut out = bytes[record.start..site.at].to_vec();
    varint::put(&mut out, value);
    let more = (out.len() + record.start) as i64 - end as i64;
    out.extend_from_slice(bytes.get(end..record.end)?);
    match within {
        Within::Itself => {}
        Within::Batch(head) => {
            let at = head - record.start;
            let len = i64::from(varint::u32_at(&out, at)?) + more;
            out[at..at + 4].copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        }
        Within::Tag(len_at) => {
            let at = len_at - record.start;
            let len = u8::try_from(i64::from(out[at]) + more).ok().filter(|len| *len < 128)?;
            out[at] = len;
        }
    }
    Some(out)
}

fn read(files: &Files, site: &Site) -> u64 {
    let bytes = files.get(&site.file).map(Vec::as_slice).unwrap_or_default();
    match site.form {
        Form::Varint(_) => varint::get(bytes, &mut { site.at }).unwrap_or(0),
        Form::Fixed(size) => {
            let mut number = [0; 8];
            let found = bytes.get(site.at..site.at + size).unwrap_or_default();
            number[..found.len()].copy_from_slice(found);
            u64::from_le_bytes(number)
        }
    }
}

/// Values that a decoder may stumble over, in place of `now`.
fn hostile(now: u64, form: Form) -> Vec<u64> {
    let size = match form {
        Form::Fixed(size) => size,
        Form::Varint(_) => 8,
    };
    let mask = u64::MAX >> (64 - 8 * size);
    let mut values: Vec<u64> = [
        0,
        1,
        now.wrapping_sub(1),
        now.wrapping_add(1),
        mask >> 1,
        (mask >> 1) + 1,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        (1 << 56) - 1,
        1 << 56,
        1 << 63,
        u64::MAX,
    ]
    .map(|value| value & mask)
    .to_vec();
    values.sort_unstable();
    values.dedup();
    values.retain(|value| *value != now);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_fit_their_field_and_are_others() {
        let one = hostile(5, Form::Fixed(1));
        assert_eq!(one, [0, 1, 4, 6, 127, 128, 255]);
        let two = hostile(0, Form::Fixed(2));
        assert_eq!(two, [1, 0x7fff, 0x8000, 0xffff]);
        let eight = hostile(7, Form::Fixed(8));
        for value in [0, 1, 6, 8, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 63, u64::MAX] {
            assert!(eight.contains(&value), "{value}");
        }
    }
}
