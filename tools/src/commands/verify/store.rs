//! A whole store: which files there are, which there must be, and each of them.
//!
//! 1. list the directory
//! 2. superblock, then the manifest that it names; if either is beyond reading, the newest
//!    manifest that can be read stands in, so that the rest is checked all the same
//! 3. every sstable of the version, then the log
//! 4. the catalog that these two hold
//! 5. files that nobody names

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use orlop_formats::filename::FileName;
use orlop_formats::ids::{FileNumber, StoreId};
use orlop_formats::superblock::Superblock;
use orlop_formats::{log as segments, stage};

use super::catalog::Catalog;
use super::log::{LogCheck, Segment};
use super::manifest::{self, Version};
use super::report::Report;
use super::superblock;
use super::table::{self, Belongs};
use crate::failure::Failure;
use crate::progress;

/// The files of a directory.
#[derive(Debug, Default)]
struct Listing {
    superblock: bool,
    lock: bool,
    manifests: BTreeSet<FileNumber>,
    logs: BTreeSet<FileNumber>,
    stages: BTreeSet<FileNumber>,
    tables: BTreeSet<FileNumber>,
    blobs: BTreeSet<FileNumber>,
    temporary: Vec<String>,
    foreign: Vec<String>,
    bytes: u64,
}

impl Listing {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::Engine(orlop::Error::StoreMissing { path: dir.to_owned() })
            }
            io::ErrorKind::NotADirectory => not_a_store(dir, "a file, not a directory"),
            _ => Failure::input(dir, &error),
        };
        let mut listing = Self::default();
        for entry in fs::read_dir(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(metadata) = entry.metadata() {
                listing.bytes += metadata.len();
            }
            match FileName::parse(&name) {
                Some(FileName::Superblock) => listing.superblock = true,
                Some(FileName::Lock) => listing.lock = true,
                Some(FileName::Manifest(number)) => drop(listing.manifests.insert(number)),
                Some(FileName::Log(number)) => drop(listing.logs.insert(number)),
                Some(FileName::Stage(number)) => drop(listing.stages.insert(number)),
                Some(FileName::Sstable(number)) => drop(listing.tables.insert(number)),
                Some(FileName::Blob(number)) => drop(listing.blobs.insert(number)),
                None if FileName::is_temporary(&name) => listing.temporary.push(name),
                None => listing.foreign.push(name),
            }
        }
        if !listing.superblock && listing.logs.is_empty() && listing.tables.is_empty() {
            return Err(listing.is_no_store(dir));
        }
        Ok(listing)
    }

    fn is_no_store(&self, dir: &Path) -> Failure {
        match self.foreign.first() {
            Some(name) => {
                not_a_store(dir, &format!("a directory with other files, {name} for one"))
            }
            None => Failure::Engine(orlop::Error::StoreMissing { path: dir.to_owned() }),
        }
    }
}

fn not_a_store(dir: &Path, found: &str) -> Failure {
    Failure::Engine(orlop::Error::NotAStore { path: dir.to_owned(), found: found.to_owned() })
}

/// Changes whenever a writer does something that could look like damage to a reader.
pub(super) fn fingerprint(dir: &Path) -> Vec<u8> {
    let mut bytes = fs::read(dir.join(FileName::Superblock.to_string())).unwrap_or_default();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if matches!(
            entry.file_name().to_str().and_then(FileName::parse),
            Some(
                FileName::Manifest(_)
                    | FileName::Sstable(_)
                    | FileName::Log(_)
                    | FileName::Stage(_)
            )
        ) {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            bytes.extend_from_slice(format!("{:?}{modified:?}", entry.file_name()).as_bytes());
        }
    }
    bytes
}

/// Checks a store.
///
/// # Errors
/// When there is no store to check, or a file cannot be read for other reasons than damage.
pub(super) fn verify(dir: &Path) -> Result<Report, Failure> {
    let listing = Listing::read(dir)?;
    let bar = progress::bytes(listing.bytes, "verifying");
    let mut check =
        Check { dir, listing, report: Report::default(), bar, catalog: Catalog::default() };
    let superblock = check.superblock()?;
    let store = superblock.as_ref().map(|superblock| superblock.store);
    let (version, current) = check.manifest(superblock.as_ref())?;
    check.tables(store, version.as_ref())?;
    check.log(store, version.as_ref())?;
    let known = version.as_ref().map(|v| (v.flushed_seqno, v.next_database_id));
    std::mem::take(&mut check.catalog).finish(&mut check.report, known);
    check.leftovers(version.as_ref(), current)?;
    check.bar.finish_and_clear();
    Ok(check.report)
}

struct Check<'a> {
    dir: &'a Path,
    listing: Listing,
    report: Report,
    bar: ProgressBar,
    catalog: Catalog,
}

impl Check<'_> {
    fn path(&self, name: FileName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// The bytes of a file that must be there; `None`, with a finding, if it is not.
    fn read(&mut self, path: &Path, what: &str) -> Result<Option<Vec<u8>>, Failure> {
        match fs::read(path) {
            Ok(bytes) => {
                self.report.files += 1;
                self.report.bytes += bytes.len() as u64;
                self.bar.inc(bytes.len() as u64);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.report.finding(path, 0, what, "the file", "no such file");
                Ok(None)
            }
            Err(error) if is_media_error(&error) => {
                self.report.finding(path, 0, what, "a file that can be read", error.to_string());
                Ok(None)
            }
            Err(error) => Err(Failure::input(path, &error)),
        }
    }

    fn superblock(&mut self) -> Result<Option<Superblock>, Failure> {
        let path = self.path(FileName::Superblock);
        let bytes = self.read(&path, "superblock")?;
        Ok(bytes.and_then(|bytes| superblock::verify(&mut self.report, &path, &bytes)))
    }

    /// The version, and the number of the manifest that it is from.
    fn manifest(
        &mut self,
        superblock: Option<&Superblock>,
    ) -> Result<(Option<Version>, Option<FileNumber>), Failure> {
        if let Some(superblock) = superblock {
            let number = superblock.manifest_number;
            let path = self.path(FileName::Manifest(number));
            let expected = manifest::Expected {
                store: Some(superblock.store),
                number,
                id: Some(superblock.manifest_id),
                edits: superblock.edits,
            };
            if let Some(bytes) = self.read(&path, "manifest")?
                && let Some(version) = manifest::verify(&mut self.report, &path, &bytes, &expected)
            {
                return Ok((Some(version), Some(number)));
            }
        }
        let store = superblock.map(|superblock| superblock.store);
        let in_force = superblock.map(|superblock| superblock.manifest_number);
        let numbers: Vec<_> = self.listing.manifests.iter().rev().copied().collect();
        for number in numbers.into_iter().filter(|number| Some(*number) != in_force) {
            let path = self.path(FileName::Manifest(number));
            let expected = manifest::Expected { store, number, id: None, edits: 0 };
            let Some(bytes) = self.read(&path, "manifest")? else { continue };
            // What is wrong with it counts only if it is the one that is used.
            let mut report = Report::default();
            if let Some(version) = manifest::verify(&mut report, &path, &bytes, &expected)
                && report.is_clean()
            {
                self.report.note(&path, "stands in for the manifest in force");
                return Ok((Some(version), Some(number)));
            }
        }
        Ok((None, None))
    }

    /// The sstables of the version and of unfinished loads; without a version, every sstable there is.
    fn tables(&mut self, store: Option<StoreId>, version: Option<&Version>) -> Result<(), Failure> {
        let numbers: Vec<FileNumber> = match version {
            Some(version) => version.named().keys().copied().collect(),
            None => self.listing.tables.iter().copied().collect(),
        };
        let named = version.map(Version::named).unwrap_or_default();
        for number in numbers {
            let path = self.path(FileName::Sstable(number));
            let meta = named.get(&number).copied();
            let Some(bytes) = self.read(&path, "sstable")? else { continue };
            let belongs = Belongs { path: &path, number, store, meta, version };
            table::verify(&mut self.report, &mut self.catalog, &belongs, &bytes);
        }
        Ok(())
    }

    fn log(&mut self, store: Option<StoreId>, version: Option<&Version>) -> Result<(), Failure> {
        let numbers: Vec<FileNumber> = match version {
            Some(version) => self.listing.logs.range(version.log_number..).copied().collect(),
            None => self.listing.logs.iter().copied().collect(),
        };
        let rings = self.rings(store)?;
        let mut log = LogCheck::new(store, version);
        // One segment is read ahead: it says where the one before it ended.
        let mut ahead: Option<Segment> = None;
        for number in numbers.into_iter().map(Some).chain([None]) {
            let next = match number {
                Some(number) => {
                    let path = self.path(FileName::Log(number));
                    let bytes = self.read(&path, "log segment")?;
                    let Some(bytes) = bytes else { continue };
                    if segments::was_never_begun(&bytes, number, store) {
                        self.report.note(&path, "a segment that was never begun");
                        continue;
                    }
                    let mut segment = Segment { number, path, bytes };
                    for (name, ring) in &rings {
                        segment.complete(&mut self.report, name, ring);
                    }
                    Some(segment)
                }
                None => None,
            };
            if let Some(segment) = ahead {
                let says = next.as_ref().and_then(|next| next.says_of(segment.number));
                log.segment(&mut self.report, &mut self.catalog, &segment, says);
            }
            ahead = next;
        }
        let (missing, falls_short): (Vec<_>, _) = (log.missing().collect(), log.falls_short());
        if let Some((promised, found)) = falls_short {
            let expected = format!("commits up to {promised}, as the manifest says");
            let dir = self.dir;
            self.report.finding(dir, 0, "log", expected, format!("up to {found}"));
        }
        for number in missing {
            let path = self.path(FileName::Log(number));
            self.report.finding(&path, 0, "log segment", "the segment", "no such file");
        }
        Ok(())
    }

    /// What is on stages, by the name of each.
    fn rings(&mut self, store: Option<StoreId>) -> Result<Vec<(FileName, Vec<u8>)>, Failure> {
        let mut rings = Vec::new();
        for number in self.listing.stages.clone() {
            let name = FileName::Stage(number);
            let path = self.path(name);
            let Some(bytes) = self.read(&path, "stage")? else { continue };
            match stage::ring(&bytes, number, store) {
                Ok([]) => self.report.note(&path, "a stage that was never begun, or not whole"),
                Ok(ring) => {
                    rings.push((name, ring.to_vec()));
                    if let Err(error) = stage::check(&bytes) {
                        self.report.decode(&path, error);
                    }
                }
                Err(error) => self.report.decode(&path, error),
            }
        }
        Ok(rings)
    }

    /// Files that the version does not name: a crash may leave them, the next writing open
    /// removes them. And files that are not ours.
    fn leftovers(
        &mut self,
        version: Option<&Version>,
        manifest: Option<FileNumber>,
    ) -> Result<(), Failure> {
        let mut orphans = Vec::new();
        if let Some(version) = version {
            let named = version.named();
            let live = |number: &&FileNumber| !named.contains_key(number);
            orphans.extend(self.listing.tables.iter().filter(live).map(|n| FileName::Sstable(*n)));
            let obsolete = self.listing.logs.range(..version.log_number);
            orphans.extend(obsolete.map(|number| FileName::Log(*number)));
        }
        if manifest.is_some() {
            let others = self.listing.manifests.iter().filter(|number| Some(**number) != manifest);
            orphans.extend(others.map(|number| FileName::Manifest(*number)));
        }
        for name in orphans {
            let path = self.path(name);
            self.report
                .note(&path, "nothing names this file; the next open for writing removes it");
        }
        for name in &self.listing.temporary {
            self.report.note(&self.dir.join(name), "a temporary file that a crash left behind");
        }
        for number in &self.listing.blobs {
            let path = self.dir.join(FileName::Blob(*number).to_string());
            self.report.note(&path, "format version 1 has no blob files; not read");
        }
        for name in &self.listing.foreign {
            self.report.note(&self.dir.join(name), "not a file of a store; not read");
        }
        self.lock()
    }

    fn lock(&mut self) -> Result<(), Failure> {
        if !self.listing.lock {
            return Ok(());
        }
        let path = self.path(FileName::Lock);
        let Some(bytes) = self.read(&path, "lock")? else { return Ok(()) };
        let pid = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_prefix("pid ")?.strip_suffix('\n')?.parse::<u32>().ok());
        if pid.is_none() && !bytes.is_empty() {
            self.report.note(&path, "its text is not \"pid N\"; it is only advice");
        }
        Ok(())
    }
}

/// Whether a read failed because the medium lost bytes, rather than because it was not allowed.
fn is_media_error(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}
