//! Bytes that are not what was written: bits that flip, files that are cut short or missing, pages
//! in each other's place.
//!
//! Whatever is read from a damaged store is right or an error, before and after a compaction. Of a
//! store that was not closed the last group alone may be lost, as a torn tail would be.

use std::path::{Path, PathBuf};

use orlop::env::{Env, Keep, SimEnv};
use orlop::{Durability, Store};
use orlop_formats::frame::Walk;
use orlop_formats::log;

use crate::checks::Budget;
use crate::checks::dice::Dice;
use crate::checks::scripts::{self, Script, put};
use crate::history::{self, Change, Step, Tree};
use crate::model::{self, Model};

/// A store at rest, and what it holds.
struct Reference {
    name: String,
    env: SimEnv,
    tree: Tree,
    whole: Model,
    /// What it holds without the last group, which damage to that group's frame may leave.
    torn: Option<(Model, PathBuf, usize)>,
}

/// What may be read from a damaged store.
struct Allowed<'a>(Vec<&'a Model>);

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    for reference in &references()? {
        let line = |found: String| format!("{}: {found}", reference.name);
        reference.judge(&reference.copy(), &reference.allowed(None)).map_err(line)?;
        flips(budget, reference).map_err(line)?;
        missing(budget, reference).map_err(line)?;
        if reference.torn.is_none() {
            cuts(budget, reference).map_err(line)?;
            swaps(budget, reference).map_err(line)?;
        }
    }
    Ok(budget.cases())
}

/// Closed stores, and stores left by a crash at different moments.
fn references() -> Result<Vec<Reference>, String> {
    let everything = scripts::everything(Durability::Synced);
    let part = |steps: &[Step]| Script { steps: steps.to_vec(), ..scripts::flushes() };
    let flushes = scripts::flushes();
    let mut compacted = everything.steps[..everything.steps.len() / 2].to_vec();
    compacted.push(Step::Compact);
    let mut segments = scripts::segments();
    segments.steps.truncate(15);
    let all_synced = |step: &mut Step| {
        if let Step::Commit(_, durability) = step {
            *durability = Durability::Synced;
        }
    };
    segments.steps.iter_mut().for_each(all_synced);
    Ok(vec![
        reference("a closed store", &everything, true)?,
        reference("a closed store of full pages", &pages(), true)?,
        reference("a closed store with nothing in its log", &flushes, true)?,
        reference("a crash in the middle", &part(&everything.steps[..8]), false)?,
        reference("a crash behind a reopen", &everything, false)?,
        reference("a crash after a flush", &flushes, false)?,
        reference("a crash after a compaction", &part(&compacted), false)?,
        reference("a crash with many segments", &segments, false)?,
    ])
}

/// Entries of one size, so that every block fills its page as the next one does.
fn pages() -> Script {
    let tree = Tree { memtable_size: 64 << 10, table_size: 24 << 10 };
    let entry = |key: u32| {
        Change::Put("a".to_owned(), format!("key{key:05}").into_bytes(), vec![key as u8; 360])
    };
    let commit = |first: u32| {
        let changes = (first..first + 10).map(entry).collect();
        Step::Commit(changes, Durability::Synced)
    };
    let mut steps: Vec<Step> = (0..12).map(|round| commit(round * 10)).collect();
    steps.push(Step::Compact);
    steps.push(Step::Commit(vec![put("b", 1, "log")], Durability::Synced));
    Script { name: "pages".to_owned(), tree, steps }
}

fn reference(name: &str, script: &Script, close: bool) -> Result<Reference, String> {
    let env = SimEnv::new(11);
    let mut states = vec![Model::new()];
    let played = play(&env, script, &mut states, close);
    played.map_err(|error| format!("{name}: {error}"))?;
    let whole = states.pop().unwrap_or_default();
    let env = env.crash(Keep::Everything);
    let mut reference =
        Reference { name: name.to_owned(), env, tree: script.tree, whole, torn: None };
    if !close {
        let newest = reference.files()?.into_iter().rfind(|path| is_log(path));
        let newest = newest.unwrap_or_else(|| Path::new(history::DIR).join("none"));
        let bytes = reference.env.read(&newest).unwrap_or_default();
        reference.torn = Some((states.pop().unwrap_or_default(), newest, last_frame(&bytes)));
    }
    Ok(reference)
}

/// Runs a script to its end, and closes the store or lets the machine die.
fn play(env: &SimEnv, script: &Script, states: &mut Vec<Model>, close: bool) -> orlop::Result<()> {
    let mut store = history::open(env, script.tree)?;
    for step in &script.steps {
        let mut model = states.last().cloned().unwrap_or_default();
        scripts::play(&mut store, || history::open(env, script.tree), &mut model, step)?;
        if matches!(step, Step::Commit(..)) {
            states.push(model);
        }
    }
    if close {
        return store.close();
    }
    env.cut_after(env.operations());
    Ok(())
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Where the last frame of a segment starts.
fn last_frame(bytes: &[u8]) -> usize {
    let Ok((header, _)) = log::decode_prologue(bytes, number_of(bytes), None) else {
        return bytes.len();
    };
    let frames = Walk::new(bytes, log::PROLOGUE_LEN, u64::MAX, header.id);
    frames.last().map_or(bytes.len(), |frame| frame.offset as usize)
}

/// The number in a file's header.
fn number_of(bytes: &[u8]) -> u64 {
    let field = bytes.get(32..40).and_then(|field| field.try_into().ok());
    u64::from_le_bytes(field.unwrap_or_default())
}

impl Reference {
    /// Another disk with the same bytes.
    fn copy(&self) -> SimEnv {
        self.env.crash(Keep::Everything)
    }

    /// Every file that counts.
    fn files(&self) -> Result<Vec<PathBuf>, String> {
        let dir = Path::new(history::DIR);
        let entries = self.env.list(dir).map_err(|error| error.to_string())?;
        let names = entries.into_iter().map(|entry| entry.name).filter(|name| name != "LOCK");
        Ok(names.map(|name| dir.join(name)).collect())
    }

    /// What may be read when byte `at` of `path` is damaged; `None`: anything else is.
    fn allowed(&self, damage: Option<(&Path, usize)>) -> Allowed<'_> {
        let mut models = vec![&self.whole];
        if let (Some((torn, newest, last)), Some((path, at))) = (&self.torn, damage)
            && path == newest
            && at >= *last
        {
            models.push(torn);
        }
        Allowed(models)
    }

    /// Reads all of a damaged store, compacts it, and reads it again.
    fn judge(&self, image: &SimEnv, allowed: &Allowed<'_>) -> Result<(), String> {
        if let Ok(store) = history::open_read_only(image) {
            allowed.check(&store).map_err(|found| format!("read-only, {found}"))?;
        }
        let Ok(store) = history::open(image, self.tree) else { return Ok(()) };
        if store.compact().is_ok() {
            return allowed.check(&store).map_err(|found| format!("after a compaction, {found}"));
        }
        allowed.check(&store).map_err(|found| format!("after a refused compaction, {found}"))
    }
}

impl Allowed<'_> {
    /// Every answer is right or an error.
    fn check(&self, store: &Store) -> Result<(), String> {
        if let Ok(found) = model::contents(store)
            && !self.0.contains(&&found)
        {
            let shape: Vec<_> = found.iter().map(|(name, map)| (name, map.len())).collect();
            return Err(format!("a scan is silently wrong; it gives {shape:?}"));
        }
        for model in &self.0 {
            for (name, contents) in *model {
                let Ok(database) = store.database(name) else { continue };
                for key in contents.keys() {
                    let Ok(value) = database.get(key) else { continue };
                    let fits = |model: &&Model| {
                        let wanted = model.get(name).and_then(|contents| contents.get(key));
                        wanted.map(Vec::as_slice) == value.as_deref()
                    };
                    if !self.0.iter().any(fits) {
                        let key = key.escape_ascii();
                        return Err(format!("a look-up of {key} in {name} is silently wrong"));
                    }
                }
                sticky(&database)?;
            }
        }
        Ok(())
    }
}

/// A cursor that met an error gives that error for ever, in both directions.
fn sticky(database: &orlop::Database) -> Result<(), String> {
    for forward in [true, false] {
        let Ok(mut cursor) = database.cursor() else { continue };
        if !forward {
            cursor.seek_last();
        }
        loop {
            let step = if forward { cursor.next() } else { cursor.prev() };
            match step {
                Ok(Some(_)) => continue,
                Ok(None) => break,
                Err(_) => {}
            }
            let more = if forward { cursor.next() } else { cursor.prev() };
            if more.is_ok() {
                return Err("a cursor goes on after an error".to_owned());
            }
            break;
        }
    }
    Ok(())
}

/// Flips in each file, at most; they spread over the bytes that are not zero.
const FLIPS: usize = 160;

fn flips(budget: &mut Budget, reference: &Reference) -> Result<(), String> {
    let dice = &mut Dice::new(budget.seed);
    for path in reference.files()? {
        let good = reference.env.read(&path).map_err(|error| error.to_string())?;
        let full: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
        let few = full.len().div_ceil(FLIPS).max(1);
        let start = dice.below(few as u64) as usize;
        let spread = full.iter().copied().skip(start).step_by(few);
        let empty = (0..good.len()).step_by(1 + good.len() / 16);
        for at in spread.chain(empty) {
            if budget.is_over() {
                return Ok(());
            }
            budget.count();
            let bit = dice.below(8);
            let image = reference.copy();
            let byte = [good[at] ^ 1 << bit];
            change(&image, &path, at, &byte)?;
            reference
                .judge(&image, &reference.allowed(Some((&path, at))))
                .map_err(|found| format!("bit {bit} of byte {at} of {path:?} flipped: {found}"))?;
        }
    }
    Ok(())
}

fn change(image: &SimEnv, path: &Path, at: usize, bytes: &[u8]) -> Result<(), String> {
    let written = image.open_write(path).and_then(|mut file| file.write_at(at as u64, bytes));
    written.map_err(|error| error.to_string())
}

/// Every file is missing once. The newest segment of a crashed store is left out: nothing else
/// knows of it.
fn missing(budget: &mut Budget, reference: &Reference) -> Result<(), String> {
    for path in reference.files()? {
        let newest = reference.torn.as_ref().is_some_and(|(_, newest, _)| *newest == path);
        if newest || budget.is_over() {
            continue;
        }
        budget.count();
        let image = reference.copy();
        image.remove(&path).map_err(|error| error.to_string())?;
        let judged = reference.judge(&image, &reference.allowed(None));
        judged.map_err(|found| format!("{path:?} missing: {found}"))?;
    }
    Ok(())
}

/// Every file of a closed store is cut short: at pages, beside them, and in between.
fn cuts(budget: &mut Budget, reference: &Reference) -> Result<(), String> {
    const PAGE: usize = 4096;
    for path in reference.files()? {
        let good = reference.env.read(&path).map_err(|error| error.to_string())?;
        let pages = (0..good.len()).step_by(PAGE).flat_map(|at| [at, at + 1, at + 300]);
        let others = (0..good.len()).step_by(1 + good.len() / 20);
        for len in pages.chain(others).filter(|len| *len < good.len()) {
            if budget.is_over() {
                return Ok(());
            }
            budget.count();
            let image = reference.copy();
            let cut = image.open_write(&path).and_then(|mut file| file.set_len(len as u64));
            cut.map_err(|error| error.to_string())?;
            let judged = reference.judge(&image, &reference.allowed(None));
            judged.map_err(|found| format!("{path:?} cut to {len} bytes: {found}"))?;
        }
    }
    Ok(())
}

/// Pages of a closed store change places, in one file and between files.
fn swaps(budget: &mut Budget, reference: &Reference) -> Result<(), String> {
    const PAGE: usize = 4096;
    const MOST: usize = 1_500;
    let mut pages = Vec::new();
    for path in reference.files()? {
        let good = reference.env.read(&path).map_err(|error| error.to_string())?;
        for (at, page) in good.chunks_exact(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                pages.push((path.clone(), at * PAGE, page.to_vec()));
            }
        }
    }
    let pairs = (0..pages.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let few = (pages.len() * pages.len() / 2).div_ceil(MOST).max(1);
    for (one, other) in pairs.step_by(few) {
        if budget.is_over() {
            return Ok(());
        }
        budget.count();
        let ((path, at, page), (other_path, other_at, other_page)) = (&pages[one], &pages[other]);
        let image = reference.copy();
        change(&image, path, *at, other_page)?;
        change(&image, other_path, *other_at, page)?;
        let judged = reference.judge(&image, &reference.allowed(None));
        judged.map_err(|found| {
            format!("page {at} of {path:?} and page {other_at} of {other_path:?} swapped: {found}")
        })?;
    }
    Ok(())
}
