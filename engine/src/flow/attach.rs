//! Opening a store for reading only.
//!
//! It takes no lock, and does these steps of an open (`recover`): superblock, manifest, tables; the log's
//! scan; its replay into the memtable; the catalog. Beside a live writer it starts over with the newer
//! manifest when a file has gone meanwhile.

use std::path::Path;

use orlop_formats::filename::FileName;
use orlop_formats::superblock::Superblock;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::files::{manifest, superblock};
use crate::flow::recover::{
    Found, Loaded, Parts, assemble, insert, load, load_catalog, look, replay,
};
use crate::options::Options;
use crate::state::memtable::Active;
use crate::state::shared::Shared;
use crate::sync::{Arc, AtomicU64};

/// How often a read-only open starts over while no writer changes the set of live files; its square: in
/// all.
const READ_ONLY_TRIES: usize = 20;

/// Opens for reading only. What a live writer does meanwhile can look like damage: a file that is
/// gone, a segment that another one follows, a log that ends before its manifest's mark. So an error
/// counts only if it stays, and no writer was at work.
pub(crate) fn open_read_only(
    env: Arc<dyn Env>,
    dir: &Path,
    options: Options,
) -> Result<Arc<Shared>> {
    options.check()?;
    let mut outcome = Ok(None);
    let (mut calm, mut tries) = (0, 0);
    while calm < READ_ONLY_TRIES && tries < READ_ONLY_TRIES * READ_ONLY_TRIES {
        tries += 1;
        let before = roots(&*env, dir);
        if !matches!(look(&*env, dir)?, Found::Store) {
            return Err(Error::StoreMissing { path: dir.to_owned() });
        }
        outcome = attach(Directory::new(Arc::clone(&env), dir), &options);
        if let Ok(Some(shared)) = outcome {
            return Ok(shared);
        }
        // Whatever was amiss, the writer may have done.
        calm += usize::from(before == roots(&*env, dir));
        crate::sync::yield_now();
    }
    let at_rest = |_| {
        let found = "a writer that flushed during each of them".to_owned();
        let expected = format!("a moment of rest in {tries} tries");
        Err(Error::InvalidArgument { what: "read-only open", expected, found })
    };
    if calm == 0 { at_rest(None) } else { outcome.and_then(at_rest) }
}

/// What changes whenever a writer changes the set of live files.
fn roots(env: &dyn Env, dir: &Path) -> Option<(Superblock, u64)> {
    let superblock = superblock::read(env, dir).ok()?;
    let manifest = dir.join(FileName::Manifest(superblock.manifest_number).to_string());
    Some((superblock, env.len(&manifest).ok()?))
}

/// One try of a read-only open; `None` when the writer flushed while the log was read.
fn attach(dir: Arc<Directory>, options: &Options) -> Result<Option<Arc<Shared>>> {
    let Loaded { superblock, state, version, tables, mut scan } =
        load(&*dir.env, &dir.path, options)?;
    let parts = Parts {
        store: superblock.store,
        numbers: Arc::new(AtomicU64::new(state.next_file_number)),
        version,
        tables,
        last_seqno: state.last_seqno.max(state.flushed_seqno).max(scan.last_seqno),
        durable: state.last_seqno.max(state.flushed_seqno),
        next_database_id: state.next_database_id,
        log_number: state.log_number,
        clock_ms: state.clock_ms,
        loading: state.loading_figures(),
    };
    let mut active = Active::new(0);
    let shared = assemble(Arc::clone(&dir), options.clone(), parts, &active, None);
    replay(&shared, &mut scan, state.flushed_seqno, |batch| insert(&mut active, batch))?;
    load_catalog(&shared)?;
    // The segments were listed after the manifest was read: none of them may have gone between, and of what they have
    // nothing may follow a load that the manifest had not.
    let (env, path) = (&*dir.env, &dir.path);
    let now = manifest::load(env, path, &superblock::read(env, path)?)?;
    let is_same = (now.log_number, now.loaded_seqno) == (state.log_number, state.loaded_seqno);
    Ok(is_same.then(|| Arc::new(shared)))
}
