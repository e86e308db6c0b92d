//! One sstable: what stands around its blocks, and whether all of it says the same.
//!
//! 1. header and footer, each against the manifest
//! 2. partitions, properties, filter
//! 3. index and data blocks (see [`super::table_blocks`])
//! 4. that the regions follow each other with nothing but zeros between them
//! 5. what properties, partitions and manifest say, against what the blocks hold

use std::path::Path;

use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{FileHeader, FileKind};
use orlop_formats::ids::{FileNumber, Seqno, StoreId};
use orlop_formats::manifest::TableMeta;
use orlop_formats::sstable::{ALIGN, FOOTER_LEN, Footer, Partition, Properties, decode_partitions};

use super::catalog::Catalog;
use super::cleared::Cleared;
use super::manifest::Version;
use super::report::Report;
use super::table_blocks::{Blocks, Totals};

/// Whose file it must be; what is not known is not checked.
pub(super) struct Belongs<'a> {
    pub(super) path: &'a Path,
    pub(super) number: FileNumber,
    pub(super) store: Option<StoreId>,
    pub(super) meta: Option<&'a TableMeta>,
    pub(super) version: Option<&'a Version>,
}

/// Checks a table; its entries of the system database go to the catalog.
pub(super) fn verify(
    report: &mut Report,
    catalog: &mut Catalog,
    belongs: &Belongs<'_>,
    bytes: &[u8],
) {
    let path = belongs.path;
    if let Some(meta) = belongs.meta {
        report.equal(path, 0, "file length", meta.size, bytes.len() as u64);
    }
    // 1. A damaged header does not hide the rest, if the superblock says whose file it is.
    let (kind, number) = (FileKind::Sstable, belongs.number);
    let header = match FileHeader::decode_expecting(bytes, kind, belongs.store, number) {
        Ok(header) => Some(header),
        Err(error) => {
            report.decode(path, error);
            None
        }
    };
    if let (Some(header), Some(meta)) = (&header, belongs.meta) {
        report.equal(path, 40, "file id", meta.id, header.id);
    }
    let Some(store) = belongs.store.or(header.map(|header| header.store)) else { return };
    let place = Place { store, file: number };
    let Some(footer) = footer(report, belongs, &place, bytes) else { return };
    if let Some(header) = header {
        report.equal(path, bytes.len() as u64 - 56, "file id in the footer", header.id, footer.id);
    }

    // 2.
    let mut regions = Regions { report, path, place, bytes };
    let filter = regions.open(footer.filter, "filter");
    let partitions = regions.open(footer.partitions, "partitions");
    let partitions =
        partitions.and_then(|body| regions.decoded(decode_partitions(body), footer.partitions.0));
    let properties = regions.open(footer.properties, "properties");
    let properties =
        properties.and_then(|body| regions.decoded(Properties::decode(body), footer.properties.0));
    let Some(partitions) = partitions else { return };

    // 3. to 5.
    let mut blocks = Blocks::new(report, catalog, path, place, bytes, footer.data_end, filter);
    let cleared_to = properties.as_ref().map_or(0, |properties| properties.cleared_to);
    let ranges = belongs.version.iter().flat_map(|version| &version.range_deletes);
    blocks.cleared = Cleared::of(ranges, cleared_to);
    blocks.is_loaded = properties.as_ref().is_some_and(Properties::is_loaded);
    let totals = blocks.check(&partitions, footer.filter.0);
    check_order(report, path, bytes, &footer, &partitions);
    if let Some(properties) = properties {
        check_properties(report, path, footer.properties.0, &properties, totals.as_ref());
        check_filter(report, path, footer.filter.0, &properties, filter);
        check_meta(report, path, footer.properties.0, &properties, belongs.meta);
        let flushed = belongs.version.map_or(Seqno::MAX, |version| version.flushed_seqno);
        if properties.cleared_to > flushed {
            let (expected, found) = (format!("at most {flushed}"), properties.cleared_to);
            let offset = footer.properties.0;
            report.finding(path, offset, "cleared seqno", expected, found.to_string());
        }
    }
}

fn footer(
    report: &mut Report,
    belongs: &Belongs<'_>,
    place: &Place,
    bytes: &[u8],
) -> Option<Footer> {
    let path = belongs.path;
    let Some((before, last)) = bytes.split_last_chunk::<FOOTER_LEN>() else {
        let found = format!("{} bytes", bytes.len());
        report.finding(path, 0, "sstable", "a header and a footer", found);
        return None;
    };
    let offset = before.len() as u64;
    if let Some(meta) = belongs.meta {
        let found = Footer::checksum_of(last);
        if meta.footer_checksum != found {
            let expected = format!("{:016x} as in the manifest", meta.footer_checksum);
            report.finding(
                path,
                offset + 120,
                "footer checksum",
                expected,
                format!("{found:016x}"),
            );
        }
    }
    match Footer::decode(last, place, offset) {
        Ok(footer) => Some(footer),
        Err(error) => {
            report.decode(path, error);
            None
        }
    }
}

struct Regions<'a, 'r> {
    report: &'r mut Report,
    path: &'r Path,
    place: Place,
    bytes: &'a [u8],
}

impl<'a> Regions<'a, '_> {
    fn open(&mut self, (offset, len): (u64, u64), what: &'static str) -> Option<&'a [u8]> {
        // The footer has proven that its regions lie in the file.
        let sealed = self.bytes.get(offset as usize..(offset + len) as usize).unwrap_or_default();
        self.decoded(checksum::open(sealed, &self.place, offset, what), 0)
    }

    fn decoded<T>(&mut self, decoded: Result<T, DecodeError>, base: u64) -> Option<T> {
        match decoded {
            Ok(value) => Some(value),
            Err(error) => {
                self.report.decode(self.path, error.at(base));
                None
            }
        }
    }
}

/// Behind the data: index blocks, filter, partitions, properties, footer, each on the next
/// multiple of 8, zeros between.
fn check_order(
    report: &mut Report,
    path: &Path,
    bytes: &[u8],
    footer: &Footer,
    partitions: &[Partition],
) {
    let indexes = partitions
        .iter()
        .map(|partition| ("index block", partition.index.offset, u64::from(partition.index.len)));
    let rest = [
        ("filter", footer.filter.0, footer.filter.1),
        ("partitions", footer.partitions.0, footer.partitions.1),
        ("properties", footer.properties.0, footer.properties.1),
        ("footer", bytes.len() as u64 - FOOTER_LEN as u64, FOOTER_LEN as u64),
    ];
    let mut at = footer.data_end;
    for (what, offset, len) in indexes.chain(rest) {
        let start = at.next_multiple_of(ALIGN);
        if offset != start {
            report.finding(path, offset, what, format!("offset {start}"), format!("{offset}"));
        } else if let Some(padding) = bytes.get(at as usize..start as usize) {
            report.zeros(path, at, "padding", padding);
        }
        at = offset.saturating_add(len);
    }
}

fn check_properties(
    report: &mut Report,
    path: &Path,
    offset: u64,
    properties: &Properties,
    totals: Option<&Totals>,
) {
    // Without every block nothing can be said about the sums.
    let Some(totals) = totals else { return };
    let expiring = properties.expiries.map_or(0, |expiries| expiries.entries);
    let [.., latest] = properties.expiries.map_or([0; 8], |expiries| expiries.eighths);
    for (what, said, counted) in [
        ("property entries", properties.entries, totals.entries),
        ("property tombstones", properties.tombstones, totals.tombstones),
        ("property blocks", properties.blocks, totals.blocks),
        ("property min seqno", properties.min_seqno, totals.min_seqno),
        ("property max seqno", properties.max_seqno, totals.max_seqno),
        ("property raw key bytes", properties.raw_key_bytes, totals.key_bytes),
        ("property raw value bytes", properties.raw_value_bytes, totals.value_bytes),
        ("property entries with an expiry", expiring, totals.expiring),
        ("property latest expiry", latest, totals.max_expiry.unwrap_or(0)),
    ] {
        report.equal(path, offset, what, counted, said);
    }
    if let Some(smallest) = &totals.smallest {
        report.equal(
            path,
            offset,
            "property smallest",
            bound(smallest),
            bound(&properties.smallest),
        );
    }
    if let Some(largest) = &totals.largest {
        report.equal(path, offset, "property largest", bound(largest), bound(&properties.largest));
    }
}

fn bound((database, key): &(orlop_formats::ids::DatabaseId, Vec<u8>)) -> String {
    format!("database {database}, key \"{}\"", crate::text::escape(key))
}

fn check_filter(
    report: &mut Report,
    path: &Path,
    offset: u64,
    properties: &Properties,
    lines: Option<&[u8]>,
) {
    let Some(lines) = lines else { return };
    let good = match properties.filter_bits {
        0 => lines.is_empty(),
        _ => !lines.is_empty() && lines.len().is_multiple_of(64),
    };
    if !good {
        let expected = format!("lines of 64 bytes at {} bits a key", properties.filter_bits);
        report.finding(path, offset, "filter", expected, format!("{} bytes", lines.len()));
    }
}

fn check_meta(
    report: &mut Report,
    path: &Path,
    offset: u64,
    properties: &Properties,
    meta: Option<&TableMeta>,
) {
    let Some(meta) = meta else { return };
    for (what, manifest, said) in [
        ("entries as in the manifest", meta.entries, properties.entries),
        ("tombstones as in the manifest", meta.tombstones, properties.tombstones),
    ] {
        report.equal(path, offset, what, manifest, said);
    }
    if properties.is_loaded() {
        let what = "one seqno for all entries in the manifest";
        report.equal(path, offset, what, meta.min_seqno, meta.max_seqno);
    } else {
        let (what, said) = ("min seqno as in the manifest", properties.min_seqno);
        report.equal(path, offset, what, meta.min_seqno, said);
        let (what, said) = ("max seqno as in the manifest", properties.max_seqno);
        report.equal(path, offset, what, meta.max_seqno, said);
    }
    for (what, manifest, said) in [
        ("smallest as in the manifest", &meta.smallest, &properties.smallest),
        ("largest as in the manifest", &meta.largest, &properties.largest),
    ] {
        report.equal(path, offset, what, bound(manifest), bound(said));
    }
}
