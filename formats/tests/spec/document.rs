//! Reads SPEC.md as data: its chapters against the modules, its tables against the layouts and
//! limits of the code, its hex against what the code encodes.

use crate::examples::examples;
use orlop_formats::layout::LAYOUTS;
use orlop_formats::{batch, block, checksum, filter, frame, limits, log, manifest, sstable};

const SPEC: &str = include_str!("../../../SPEC.md");
const LIB: &str = include_str!("../../src/lib.rs");

/// The cells of the first table behind a line, without its two head rows.
fn table_behind(line: &str) -> Vec<Vec<String>> {
    let at = SPEC.find(&format!("\n{line}\n")).unwrap_or_else(|| panic!("SPEC.md lacks: {line}"));
    SPEC[at..]
        .lines()
        .skip(2)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().into()).collect())
        .collect()
}

#[test]
fn every_module_has_its_chapter_in_its_place() {
    // These two describe no bytes: errors are values, layouts are the tables of every chapter.
    let silent = ["error", "layout"];
    let modules: Vec<&str> = LIB
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|module| !silent.contains(module))
        .collect();
    let chapters: Vec<&str> = SPEC
        .lines()
        .filter_map(|line| line.strip_prefix("## ")?.strip_suffix('`')?.split_once(" `"))
        .map(|(_, name)| name)
        .collect();
    assert_eq!(chapters, modules);
}

#[test]
fn tables_are_the_layouts() {
    for layout in LAYOUTS {
        let rows = table_behind(&format!("Layout **{}**, {} bytes:", layout.name, layout.len));
        let rows: Vec<(usize, usize, &str)> = rows
            .iter()
            .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), &row[2][..]))
            .collect();
        let fields: Vec<_> = layout.fields.iter().map(|f| (f.offset, f.size, f.name)).collect();
        assert_eq!(rows, fields, "{}", layout.name);
    }
    let tables = SPEC.lines().filter(|line| line.starts_with("Layout **")).count();
    assert_eq!(tables, LAYOUTS.len(), "a table without a layout");
}

#[test]
fn constants_are_the_ones_in_the_code() {
    let constants = [
        ("FORMAT_VERSION", u64::from(limits::FORMAT_VERSION)),
        ("MAX_KEY_LEN", limits::MAX_KEY_LEN as u64),
        ("MAX_VALUE_LEN", limits::MAX_VALUE_LEN as u64),
        ("MAX_BATCH_LEN", limits::MAX_BATCH_LEN as u64),
        ("MAX_BLOCK_VALUES_LEN", limits::MAX_BLOCK_VALUES_LEN as u64),
        ("MAX_NAME_LEN", limits::MAX_NAME_LEN as u64),
        ("MAX_FRAMED_FILE_LEN", limits::MAX_FRAMED_FILE_LEN),
        ("MAX_SEQNO", limits::MAX_SEQNO),
        ("MAX_FILE_NUMBER", limits::MAX_FILE_NUMBER),
        ("SECTOR", limits::SECTOR),
        ("MAX_RING_LEN", limits::MAX_RING_LEN),
        ("PAGE", sstable::PAGE),
        ("FRAME_ALIGN", frame::ALIGN),
        ("REGION_ALIGN", sstable::ALIGN),
        ("FRAME_HEADER_LEN", frame::HEADER_LEN as u64),
        ("LOG_PROLOGUE_LEN", log::PROLOGUE_LEN),
        ("MANIFEST_PROLOGUE_LEN", manifest::PROLOGUE_LEN),
        ("BATCH_HEADER_LEN", batch::HEADER_LEN as u64),
        ("BLOCK_HEADER_LEN", block::HEADER_LEN as u64),
        ("FILTER_LINE_LEN", filter::LINE_LEN as u64),
        ("CHECKSUM_LEN", checksum::CHECKSUM_LEN as u64),
    ];
    let rows = table_behind("Constants:");
    let rows: Vec<(&str, u64)> =
        rows.iter().map(|row| (row[0].trim_matches('`'), row[1].parse().unwrap())).collect();
    assert_eq!(rows, constants);
}

/// The bytes of a hex listing: lines of "offset | bytes | comment", where "00 x5" is five zeros.
fn listing(lines: &[&str], name: &str) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for line in lines {
        let mut parts = line.split('|').map(str::trim);
        let offset: usize = parts.next().and_then(|at| at.parse().ok()).unwrap_or(usize::MAX);
        assert_eq!(offset, out.len(), "{name}: offset of the line {line:?}");
        let mut previous = 0;
        for word in parts.next().unwrap_or_default().split_whitespace() {
            if let Some(count) = word.strip_prefix('x') {
                let more = count.parse::<usize>().unwrap() - 1;
                out.resize(out.len() + more, previous);
            } else {
                previous = u8::from_str_radix(word, 16).unwrap();
                out.push(previous);
            }
        }
    }
    out
}

#[test]
fn examples_are_what_the_code_encodes() {
    let mut listings = Vec::new();
    let mut lines = SPEC.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```hex ") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            listings.push((name, listing(&body, name)));
        }
    }
    let examples = examples();
    let names = |list: &[(&'static str, Vec<u8>)]| list.iter().map(|e| e.0).collect::<Vec<_>>();
    assert_eq!(names(&listings), names(&examples));
    for ((name, listed), (_, encoded)) in listings.iter().zip(&examples) {
        assert_eq!(listed, encoded, "{name}");
    }
}
