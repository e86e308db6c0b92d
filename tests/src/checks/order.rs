//! What must be on the device before something else happens: the laws of ARCHITECTURE.md and the
//! rules of SPEC.md, chapter C, held against the trace of the simulated disk.
//!
//! | before | must be durable |
//! |---|---|
//! | a group is written to a segment | the segment's prologue and its name |
//! | an acknowledged synced commit | every byte of every segment that is still there |
//! | an edit | every sstable that is written, and its name |
//! | a slot of the superblock | the manifest it names, its name, and the other slot, in this open |
//! | a segment or sstable is removed | the edit that lets go of it, and a witness behind it |
//! | a manifest is removed | the slot that names the next one |
//! | anything is removed by an open | a slot written by this open |
//! | a store is closed | every byte; and a slot behind the last edit |
//! | what an unclean log held is served | the tables it went into: the log itself is gone |
//!
//! And a sector with synced frames is never written again.

use std::collections::BTreeMap;
use std::path::Path;

use orlop::Durability;
use orlop::env::{Env, SimEnv};
use orlop_formats::file_header::FileHeader;
use orlop_formats::filename::FileName;
use orlop_formats::frame::Walk;
use orlop_formats::ids::FileNumber;
use orlop_formats::manifest::{PROLOGUE_LEN, VersionEdit};
use orlop_formats::{log, superblock};

use super::trace::Op;
use super::{Budget, play};
use crate::crash::workload::Workload;
use crate::history::{self, Step};
use crate::model::Model;

/// Random histories beside the scripts.
const ROUNDS: usize = 100;

/// Bytes of a segment before its frames.
const LOG_PROLOGUE: u64 = 128;

/// Bytes of a manifest before its frames.
const MANIFEST_PROLOGUE: u64 = 64;

const SECTOR: u64 = 4096;

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    let random = (budget.seed..).take(ROUNDS).map(Workload::random);
    for script in Workload::scripts().into_iter().chain(random) {
        if budget.is_over() {
            break;
        }
        budget.add(1);
        let env = SimEnv::new(9);
        let line = |found: String| format!("{script}: {found}");
        follow(&env, &script).map_err(line)?;
        after_a_kill(&script).map_err(line)?;
    }
    Ok(budget.cases())
}

/// Runs a history and holds every operation against the rules.
fn follow(env: &SimEnv, script: &Workload) -> Result<(), String> {
    let told = |error: orlop::Error| error.to_string();
    let mut rules = Rules::of(env);
    let mut store = history::open(env, script.tree).map_err(told)?;
    let mut model = Model::new();
    for step in &history::one_by_one(&script.steps) {
        let open = || history::open(env, script.tree);
        play::step(&mut store, open, &mut model, step).map_err(told)?;
        rules.read(env)?;
        match step {
            Step::Commit(_, Durability::Synced)
            | Step::Load(_, _, true)
            | Step::Sync
            | Step::Flush => rules.synced(log_number(env)?)?,
            _ => {}
        }
    }
    store.close().map_err(told)?;
    rules.read(env)?;
    rules.closed()
}

/// Kills the process in the middle of a history and holds the recovery against the rules.
fn after_a_kill(script: &Workload) -> Result<(), String> {
    let env = SimEnv::new(9);
    let steps = history::one_by_one(&script.steps);
    let steps = &steps[..steps.len() * 2 / 3];
    let promise = history::run(&env, script.tree, Model::new(), steps);
    if let Some(error) = promise.error {
        return Err(error.to_string());
    }
    let image = env.kill();
    let mut rules = Rules::of(&image);
    let before = begun_last(&env.trace());
    let store = history::open(&image, script.tree).map_err(|error| error.to_string())?;
    rules.read(&image)?;
    let begun = |name: &&String| {
        let bytes = image.read(&Path::new(history::DIR).join(name));
        bytes.is_ok_and(|bytes| !log::was_never_begun(&bytes, number_of(name), None))
    };
    if let Some(left) = logs(&image)?.iter().filter(|name| before.contains(name)).find(begun) {
        return Err(format!("{left} of a killed process is served as it was found"));
    }
    drop(store);
    Ok(())
}

/// The segments that the last open of a trace began: no close has said where they end.
fn begun_last(trace: &[String]) -> Vec<String> {
    let mut begun = Vec::new();
    for line in trace {
        match Op::of(line) {
            Op::Lock => begun.clear(),
            Op::Create(name) | Op::Rename(_, name) if is(&name, "log") => begun.push(name),
            _ => {}
        }
    }
    begun
}

fn number_of(name: &str) -> FileNumber {
    FileName::parse(name).and_then(|name| name.number()).unwrap_or(0)
}

fn logs(env: &SimEnv) -> Result<Vec<String>, String> {
    let entries = env.list(Path::new(history::DIR)).map_err(|error| error.to_string())?;
    let names = entries.into_iter().map(|entry| entry.name);
    Ok(names.filter(|name| name.ends_with(".log")).collect())
}

/// The log number that the newest manifest says: it is that of the last edit that has one.
fn log_number(env: &SimEnv) -> Result<FileNumber, String> {
    let told = |error: std::io::Error| error.to_string();
    let entries = env.list(Path::new(history::DIR)).map_err(told)?;
    let manifests = entries.into_iter().map(|entry| entry.name).filter(|name| is(name, "manifest"));
    let Some(newest) = manifests.max_by_key(|name| number_of(name)) else { return Ok(0) };
    let bytes = env.read(&Path::new(history::DIR).join(newest)).map_err(told)?;
    let header = FileHeader::decode(&bytes).map_err(|error| error.to_string())?;
    let edits = Walk::new(&bytes, PROLOGUE_LEN, u64::MAX, header.id).expecting(1);
    let numbers = edits.filter_map(|edit| VersionEdit::decode(edit.payload).ok()?.log_number);
    Ok(numbers.last().unwrap_or(0))
}

/// What is known of a file.
#[derive(Debug, Default)]
struct File {
    /// Its name is durable.
    named: bool,
    /// Bytes were written, or its length changed, since its last sync.
    dirty: bool,
    /// The place of its last sync in the trace; 0: none yet.
    synced_at: usize,
    /// End of the bytes behind the prologue that are synced, and of those that are written.
    synced_end: u64,
    written_end: u64,
    /// Synced edits, for a manifest.
    edits: usize,
    /// The write in flight is to be synced.
    flight: Option<bool>,
}

/// The rules, and all they need to know.
#[derive(Debug, Default)]
struct Rules {
    files: BTreeMap<String, File>,
    at: usize,
    line: String,
    manifest: String,
    /// Edits that were synced since the last sstable was.
    edits_since_table: usize,
    /// The slot of the superblock that holds the newest generation.
    slot: Option<u64>,
    /// That slot was synced in this open.
    stands: bool,
    /// The slot that was written and not synced yet.
    slot_written: Option<u64>,
    /// The newest slot names the newest manifest, all edits of it included.
    slot_at: usize,
}

fn is(name: &str, kind: &str) -> bool {
    name.rsplit('.').next() == Some(kind)
}

impl Rules {
    /// Rules for a disk that may hold a store.
    fn of(env: &SimEnv) -> Rules {
        let bytes = env.read(&Path::new(history::DIR).join("SUPER")).unwrap_or_default();
        let newest = superblock::decode_file(&bytes).ok().map(|decoded| decoded.newest);
        let slot = newest.map(|newest| superblock::slot_offset(newest.generation));
        Rules { slot, ..Rules::default() }
    }

    /// Takes in what was done since the last time.
    fn read(&mut self, env: &SimEnv) -> Result<(), String> {
        let trace = env.trace();
        for line in &trace[self.at..] {
            self.at += 1;
            self.line.clone_from(line);
            self.take(Op::of(line))?;
        }
        Ok(())
    }

    fn broken<T>(&self, rule: &str) -> Result<T, String> {
        Err(format!("operation {}, {:?}: {rule}", self.at, self.line))
    }

    fn demand(&self, holds: bool, rule: &str) -> Result<(), String> {
        if holds { Ok(()) } else { self.broken(rule) }
    }

    fn file(&mut self, name: &str) -> &mut File {
        self.files.entry(name.to_owned()).or_default()
    }

    fn all(&self, kind: &str, holds: impl Fn(&File) -> bool) -> bool {
        self.files.iter().filter(|(name, _)| is(name, kind)).all(|(_, file)| holds(file))
    }

    fn take(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Create(name) => {
                if is(&name, "manifest") {
                    self.manifest.clone_from(&name);
                }
                self.files.insert(name, File::default());
            }
            Op::Submit(name, offset, len, sync) => {
                self.may_write(&name, offset)?;
                self.written(&name, offset, len);
                self.file(&name).flight = Some(sync);
            }
            Op::Fill(name, sync) => {
                let file = self.file(&name);
                (file.dirty, file.flight) = (true, Some(sync));
            }
            Op::Reap(name) => {
                if self.file(&name).flight.take() == Some(true) {
                    self.file_synced(&name);
                }
            }
            Op::Write(name, offset, len) => {
                self.may_write(&name, offset)?;
                self.written(&name, offset, len);
            }
            Op::SetLen(name) => self.file(&name).dirty = true,
            Op::Sync(name) => self.file_synced(&name),
            Op::SyncDir(_) => self.files.values_mut().for_each(|file| file.named = true),
            Op::Rename(from, to) => {
                if to.ends_with(".log.tmp") {
                    // It is to be used again, and nothing in it counts.
                    self.may_remove(&from)?;
                    self.files.remove(&from);
                    self.files.insert(to, File::default());
                    return Ok(());
                }
                let file = self.files.remove(&from).unwrap_or_default();
                self.demand(!file.dirty, "a file is synced before it is renamed")?;
                if is(&to, "log") {
                    // Nothing in it but a prologue counts.
                    let synced_end = LOG_PROLOGUE;
                    let file = File { named: false, synced_end, written_end: synced_end, ..file };
                    self.files.insert(to, file);
                    return Ok(());
                }
                self.files.insert(to, file);
                (self.slot, self.stands, self.slot_at) = (Some(SECTOR), true, self.at);
            }
            Op::Remove(name) => {
                self.may_remove(&name)?;
                self.files.remove(&name);
            }
            Op::Lock => self.stands = false,
            Op::Other => {}
        }
        Ok(())
    }

    fn written(&mut self, name: &str, offset: u64, len: u64) {
        // Behind the prologue of a segment, in the same write, are zeros.
        let len = if is(name, "log") && offset == 0 { LOG_PROLOGUE } else { len };
        let file = self.file(name);
        file.dirty = true;
        file.written_end = file.written_end.max(offset + len);
        if name == "SUPER" {
            self.slot_written = Some(offset);
        }
    }

    fn file_synced(&mut self, name: &str) {
        let at = self.at;
        let file = self.file(name);
        let edits = file.written_end > file.synced_end && file.written_end > MANIFEST_PROLOGUE;
        (file.dirty, file.synced_at, file.synced_end) = (false, at, file.written_end);
        if is(name, "sst") {
            self.edits_since_table = 0;
        }
        if is(name, "manifest") && edits {
            self.file(name).edits += 1;
            self.edits_since_table += 1;
        }
        if name == "SUPER"
            && let Some(slot) = self.slot_written.take()
        {
            (self.slot, self.stands, self.slot_at) = (Some(slot), true, at);
        }
    }

    fn may_write(&self, name: &str, offset: u64) -> Result<(), String> {
        let Some(file) = self.files.get(name).filter(|_| name != "SUPER") else {
            return if name == "SUPER" { self.may_write_slot(offset) } else { Ok(()) };
        };
        if name.ends_with(".log.tmp") {
            // Nothing in it counts before it has its name.
            return Ok(());
        }
        let prologue = if is(name, "log") { LOG_PROLOGUE } else { MANIFEST_PROLOGUE };
        // A segment that is used again gets a new prologue first: its frames are gone with that.
        let used_again = is(name, "log") && offset == 0;
        let shared = !used_again
            && file.synced_end > prologue
            && offset / SECTOR < file.synced_end.div_ceil(SECTOR);
        self.demand(!shared, "a sector with synced frames is written again")?;
        if is(name, "log") && offset >= LOG_PROLOGUE {
            self.demand(file.synced_at > 0, "the prologue is synced before the first group")?;
            self.demand(file.named, "a segment's name is synced before its first group")?;
        }
        if is(name, "manifest") && offset >= MANIFEST_PROLOGUE {
            let written = |table: &File| table.written_end > 0;
            let synced = self.all("sst", |table| !written(table) || !table.dirty);
            self.demand(synced, "an sstable is synced before an edit names it")?;
            let named = self.all("sst", |table| !written(table) || table.named);
            self.demand(named, "an sstable's name is synced before an edit names it")?;
        }
        Ok(())
    }

    fn may_write_slot(&self, offset: u64) -> Result<(), String> {
        if self.slot != Some(offset) {
            self.demand(self.stands, "the other slot is synced in this open before this one")?;
        }
        let Some(manifest) = self.files.get(&self.manifest) else { return Ok(()) };
        self.demand(!manifest.dirty, "a manifest is synced before the superblock names it")?;
        self.demand(manifest.named, "a manifest's name is synced before the superblock names it")
    }

    fn may_remove(&self, name: &str) -> Result<(), String> {
        if !["log", "sst", "manifest"].iter().any(|kind| is(name, kind)) {
            return Ok(());
        }
        if is(name, "log")
            && self.files.get(name).is_some_and(|log| log.written_end <= LOG_PROLOGUE)
        {
            return Ok(()); // it was never begun
        }
        self.demand(self.stands, "an open removes nothing before its superblock is synced")?;
        let settled = self.slot_written.is_none();
        self.demand(settled, "the superblock is synced before a file is removed")?;
        if is(name, "manifest") {
            return Ok(());
        }
        let Some(manifest) = self.files.get(&self.manifest) else { return Ok(()) };
        self.demand(!manifest.dirty, "an edit is synced before a file is removed for it")?;
        let tables = self.files.iter().any(|(name, file)| is(name, "sst") && file.synced_at > 0);
        let needed = if manifest.edits > 1 { 2 } else { 1 };
        let edits = !tables || self.edits_since_table >= needed;
        self.demand(edits, "an edit and its witness come before a file is removed for them")
    }

    /// A synced commit was acknowledged. What segments below this number had is in tables.
    fn synced(&self, log_number: u64) -> Result<(), String> {
        let is_clean = |(name, log): (&String, &File)| {
            !is(name, "log") || number_of(name) < log_number || !log.dirty && log.flight.is_none()
        };
        let clean = self.files.iter().all(is_clean);
        self.demand(clean, "then a commit is acknowledged, and a segment is not synced")
    }

    /// The store was closed.
    fn closed(&self) -> Result<(), String> {
        self.synced(0)?;
        let last_edit = self.files.get(&self.manifest).map_or(0, |manifest| manifest.synced_at);
        self.demand(self.slot_at > last_edit, "then a close leaves an edit behind the superblock")
    }
}
