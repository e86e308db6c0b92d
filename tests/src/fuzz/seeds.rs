//! The seed corpus: what fuzzing begins with, made of the golden files and of blocks of the closed
//! reference store. The test `corpus` writes it with `ORLOP_BLESS=1`, and else holds the files
//! against it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orlop_formats::catalog::{CatalogKey, CatalogRecord, DurabilityTag, ObjectKind};
use orlop_formats::file_header::{FileHeader, HEADER_LEN};
use orlop_formats::frame::{HEADER_LEN as FRAME_LEN, Walk};
use orlop_formats::ids::DatabaseId;
use orlop_formats::sstable::{FOOTER_LEN, Handle};
use orlop_formats::{log, manifest, varint};

use super::store;
use crate::damage::anatomy::{self, Part};
use crate::damage::image::Files;
use crate::damage::reference;

/// A seed: the target, its name, the input.
pub type Seed = (&'static str, String, Vec<u8>);

/// Where the inputs of a target are kept.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// All seeds.
///
/// # Errors
/// When a golden file cannot be read, or is not what it was.
pub fn seeds() -> Result<Vec<Seed>, String> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, input: &[u8]| {
        seeds.push((target, format!("seed-{name}"), input.to_vec()));
    };
    numbers_and_names(&mut add);
    files(&mut add)?;
    appended(&mut add)?;
    sorted(&mut add)?;
    stores(&mut add)?;
    Ok(seeds)
}

fn golden(name: &str) -> Result<Vec<u8>, String> {
    let path = format!("{}/../formats/golden/v1/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).map_err(|error| format!("{path}: {error}"))
}

fn numbers_and_names(add: &mut impl FnMut(&'static str, &str, &[u8])) {
    let mut numbers = Vec::new();
    for value in [0, 1, 127, 128, 300, 1 << 21, 1 << 32, 1 << 63, u64::MAX] {
        varint::put(&mut numbers, value);
    }
    add("varint", "all-lengths", &numbers);
    add("varint", "not-shortest", &[0x80, 0x00]);
    for name in ["SUPER", "LOCK", "000012.log", "1000000.sst", "000001.manifest.tmp", "12.blob"] {
        add("filename", &name.replace('.', "-"), name.as_bytes());
    }
    let key = |kind, name: &str| CatalogKey { kind, name: name.to_owned() }.encode();
    add("catalog_key", "database", &key(ObjectKind::Database, "events"));
    add("catalog_key", "depot", &key(ObjectKind::Depot, "ä/🦀"));
    let record = |durability| {
        CatalogRecord { id: DatabaseId(17), durability, time_to_live: Some(60_000) }.encode()
    };
    add("catalog_record", "plain", &record(None));
    add("catalog_record", "options", &record(Some(DurabilityTag::Buffered)));
    add("handle", "one", &Handle { offset: 4096, len: 100 }.encode());
}

fn files(add: &mut impl FnMut(&'static str, &str, &[u8])) -> Result<(), String> {
    for name in ["superblock", "log", "manifest", "sstable"] {
        add("file_header", name, &golden(name)?[..HEADER_LEN]);
    }
    let file = golden("superblock")?;
    let slot = |at: usize| &file[at..at + 76];
    let both = [&file[..HEADER_LEN], slot(4096), slot(8192)].concat();
    add("superblock", "both-slots", &both);
    add("superblock", "one-slot", &both[..HEADER_LEN + 76]);
    Ok(())
}

/// A frame: its header, its payload.
type Piece = (Vec<u8>, Vec<u8>);

/// The frames of a golden file.
fn payloads(file: &[u8], prologue: u64) -> Result<Vec<Piece>, String> {
    let id = FileHeader::decode(file).map_err(|error| error.to_string())?.id;
    let walk = Walk::new(file, prologue, u64::MAX, id);
    let parts = walk.map(|frame| {
        let start = frame.offset as usize;
        (file[start..start + FRAME_LEN].to_vec(), frame.payload.to_vec())
    });
    Ok(parts.collect())
}

/// Frames close together: the targets make their places right.
fn packed(frames: &[Piece]) -> Vec<u8> {
    let mut out = Vec::new();
    for (header, payload) in frames {
        out.resize(out.len().next_multiple_of(64), 0);
        out.extend_from_slice(header);
        out.extend_from_slice(payload);
    }
    out
}

fn appended(add: &mut impl FnMut(&'static str, &str, &[u8])) -> Result<(), String> {
    let file = golden("log")?;
    let groups = payloads(&file, log::PROLOGUE_LEN)?;
    add("frame", "groups", &packed(&groups));
    add("segment", "groups", &[&file[HEADER_LEN..128], &packed(&groups)[..]].concat());
    for (at, (header, payload)) in groups.iter().enumerate() {
        add("batch", &format!("group-{at}"), &[&header[12..13], &payload[..]].concat());
    }
    add("batch", "golden", &[&[1], &golden("batch")?[..]].concat());
    let edits = payloads(&golden("manifest")?, manifest::PROLOGUE_LEN)?;
    add("frame", "edits", &packed(&edits));
    add("manifest", "edits", &packed(&edits));
    for (at, (_, payload)) in edits.iter().enumerate() {
        add("edit", &format!("edit-{at}"), payload);
    }
    Ok(())
}

/// The parts of the golden table, and of the reference store one block of each shape.
fn sorted(add: &mut impl FnMut(&'static str, &str, &[u8])) -> Result<(), String> {
    let table = golden("sstable")?;
    add("footer", "golden", &table[table.len() - FOOTER_LEN..]);
    for name in ["block", "catalog"] {
        add("block", name, &golden(name)?);
    }
    let superblock = golden("superblock")?;
    let store = FileHeader::decode(&superblock).map_err(|error| error.to_string())?.store;
    let files = Files::from([("000012.sst".to_owned(), table)]);
    let golden = anatomy::tables(&files, store)?;
    let set = reference::closed()?;
    let other = anatomy::dissect(&set.files)?.parts;
    let mut shapes = BTreeSet::new();
    for (origin, files, parts) in [("golden", &files, golden), ("set", &set.files, other)] {
        for part in parts {
            let body = &files[&part.file][part.body()];
            let target = match part.part {
                Part::Data | Part::Index => "block",
                Part::Filter => "filter",
                Part::Partitions => "partitions",
                Part::Properties => "properties",
                Part::Footer => continue,
            };
            let shape =
                (part.part, body.get(4..6).filter(|_| target == "block").map(<[u8]>::to_vec));
            if body.len() <= 4096 && shapes.insert(shape.clone()) {
                add(target, &format!("{origin}-{:?}-{}", part.part, shapes.len()), body);
            }
        }
    }
    add("built_block", "some", b"\x00\x04\x00\x03\x08user\x02\x04\x05\x0c/1\x03\x04\x00\x11abc");
    add("built_block", "long", b"\x01\x09\x00\xff\x0abeginning\x01\x09\xff\x13!\x01\x09\xfe\x1b?");
    Ok(())
}

fn stores(add: &mut impl FnMut(&'static str, &str, &[u8])) -> Result<(), String> {
    add("store", "nothing", &store::spelling(&[]));
    let entrance = golden("superblock")?;
    add("store", "a-superblock", &store::spelling(&[(0, &entrance), (7, &golden("manifest")?)]));
    add("store", "as-it-is", &store::patches(1, &[]));
    for mode in [1, 2] {
        for file in 0..14_u8 {
            let patches: [(u8, u16, &[u8]); 3] =
                [(file, 4_100, b"\x01"), (file, 70, b"\xff\xff\xff\x7f"), (file, 150, b"\x00")];
            add("store", &format!("mode-{mode}-file-{file}"), &store::patches(mode, &patches));
        }
    }
    Ok(())
}
