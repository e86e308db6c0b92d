//! Opening a store.
//!
//! 1. is there a store, and may there be one: nothing is made before that is known
//! 2. lock the directory
//! 3. superblock, manifest, tables: everything that the version names must be there
//! 4. scan the log to its end; nothing has been changed so far
//! 5. replay it: into the memtable after a clean close; after a crash it is sorted and flushed, so that it is
//!    on the device again before it is served
//! 6. load the catalog
//! 7. start a manifest of this open, which is surely on the device; then remove files that nobody names, or
//!    leave that to the background
//! 8. start the background
//!
//! A read-only open does a part of it (`attach`).

use std::collections::HashSet;
use std::io::ErrorKind;
use std::mem;
use std::path::Path;

use orlop_formats::batch::Op;
use orlop_formats::catalog::{CatalogKey, CatalogRecord};
use orlop_formats::filename::FileName;
use orlop_formats::ids::{
    AsOf, FIRST_USER_DATABASE, FileId, FileNumber, Kind, SYSTEM_DATABASE, Seqno, StoreId,
};
use orlop_formats::limits::SECTOR;
use orlop_formats::superblock::Superblock;

use crate::env::{Env, Lock, LockError};
use crate::error::{Error, Result};
use crate::files::directory::Directory;
use crate::files::manifest::{self, Manifest, State};
use crate::files::segments::{self, Replayed, Scan};
use crate::files::sstable::{Context, Table};
use crate::files::superblock;
use crate::files::wal::{Chores, Log, Origin, Spares};
use crate::flow::tail::Tail;
use crate::flow::{collect, flush, room, scan};
use crate::options::{Background, Options};
use crate::state::catalog::Catalog;
use crate::state::clock::Clock;
use crate::state::lead::{Behind, Lead};
use crate::state::loads::Loads;
use crate::state::memtable::{Active, Chunks};
use crate::state::queue::CommitQueue;
use crate::state::range_deletes::RangeDeletes;
use crate::state::shared::{BackgroundState, Shared};
use crate::state::snapshots::Snapshots;
use crate::state::version::{Run, Version};
use crate::state::view::{View, ViewCell};
use crate::stats::Counters;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, OnceLock, Ordering, RwLock, write};

/// Bytes of a lock file, at most.
const MAX_LOCK_LEN: u64 = 4096;

/// The first step of a creation, for its error.
const SYNC_PARENT: &str = "sync the parent directory";

/// What is at a path.
pub(super) enum Found {
    Store,
    /// A directory in which a store may be created.
    Vacant,
    Nothing,
}

/// Opens for writing, and creates the store if that is allowed.
pub(crate) fn open(
    env: Arc<dyn Env>,
    dir: &Path,
    options: Options,
) -> Result<(Arc<Shared>, Box<dyn Lock>)> {
    options.check()?;
    // 1. Is there a store?
    let found = look(&*env, dir)?;
    if !options.create && !matches!(found, Found::Store) {
        return Err(Error::StoreMissing { path: dir.to_owned() });
    }
    match found {
        Found::Store => return enter(env, dir, options),
        Found::Vacant => {}
        Found::Nothing => {
            env.create_dir(dir).map_err(|e| Error::io("create directory", dir, e))?;
        }
    }
    let is_ours = matches!(found, Found::Nothing);
    enter(Arc::clone(&env), dir, options).inspect_err(|error| {
        // A creation that failed leaves nothing. A directory whose name may never reach the device
        // goes even if it was there: the next creation begins with a name of its own.
        let parent_in_doubt = matches!(error, Error::Io { op: SYNC_PARENT, .. });
        if is_ours || parent_in_doubt {
            drop(env.remove_dir(dir));
        }
    })
}

/// Opens what is in a directory, or creates it there.
fn enter(env: Arc<dyn Env>, dir: &Path, options: Options) -> Result<(Arc<Shared>, Box<dyn Lock>)> {
    // 2. Lock; then look again, since another process may have been faster.
    let lock_path = dir.join(FileName::Lock.to_string());
    let before = read_lock(&*env, &lock_path);
    let lock = lock(&*env, dir)?;
    let opened = look(&*env, dir).and_then(|found| match found {
        Found::Store => recover(Directory::new(Arc::clone(&env), dir), options),
        Found::Vacant | Found::Nothing => {
            create(Directory::new(Arc::clone(&env), dir), options).inspect_err(|_| {
                // Once its superblock has its name it is a store, whatever failed then.
                if let Ok(Found::Vacant) = look(&*env, dir) {
                    let _ = remove_leftovers(&*env, dir);
                }
            })
        }
    });
    let shared = opened.inspect_err(|_| {
        // Where there is no store, what a lock file says concerns nobody.
        let before = match look(&*env, dir) {
            Ok(Found::Vacant) => Err(ErrorKind::NotFound.into()),
            _ => before,
        };
        put_back(&*env, &lock_path, &before);
    })?;
    Ok((shared, lock))
}

/// The text of a lock file. A longer one is none of ours.
fn read_lock(env: &dyn Env, path: &Path) -> std::io::Result<Vec<u8>> {
    match env.len(path)? {
        0..=MAX_LOCK_LEN => env.read(path),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// A failed open changes nothing, not even who held the lock last. If that fails too, no harm is
/// done: the file's text is advice.
fn put_back(env: &dyn Env, lock_path: &Path, before: &std::io::Result<Vec<u8>>) {
    match before {
        Ok(before) => {
            if let Ok(mut file) = env.open_write(lock_path) {
                let _ = file.set_len(0).and_then(|()| file.write_at(0, before));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => drop(env.remove(lock_path)),
        // It was there, and cannot be read.
        Err(_) => {}
    }
}

pub(super) fn look(env: &dyn Env, dir: &Path) -> Result<Found> {
    let entries = match env.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let found = "a file, not a directory".to_owned();
            return Err(Error::NotAStore { path: dir.to_owned(), found });
        }
        Err(error) => return Err(Error::io("list", dir, error)),
    };
    let mut foreign = None;
    let mut data = None;
    for entry in &entries {
        match FileName::parse(&entry.name) {
            Some(FileName::Superblock) => return Ok(Found::Store),
            Some(FileName::Lock | FileName::Manifest(_)) => {}
            Some(_) => data = Some(&entry.name),
            None if FileName::is_temporary(&entry.name) => {}
            None => foreign = Some(&entry.name),
        }
    }
    let found = match (data, foreign) {
        (Some(data), _) => format!("{data} is there, but SUPER is missing"),
        (None, Some(foreign)) => format!("a directory with other files, {foreign} for one"),
        (None, None) => return Ok(Found::Vacant),
    };
    Err(Error::NotAStore { path: dir.to_owned(), found })
}

fn lock(env: &dyn Env, dir: &Path) -> Result<Box<dyn Lock>> {
    let path = dir.join(FileName::Lock.to_string());
    env.lock(&path).map_err(|error| match error {
        LockError::Held { pid } => Error::Locked { path: dir.to_owned(), pid },
        LockError::Io(source) => Error::io("lock", &path, source),
    })
}

/// Creates an empty store. Until its superblock is in place, there is none.
fn create(dir: Arc<Directory>, options: Options) -> Result<Arc<Shared>> {
    remove_leftovers(&*dir.env, &dir.path)?;
    // Whoever made the directory may have died before its name was on the device.
    let parent = dir.path.parent().unwrap_or(Path::new(""));
    dir.env.sync_dir(parent).map_err(|source| Error::io(SYNC_PARENT, parent, source))?;
    let store = StoreId(dir.env.random());
    let numbers = Arc::new(AtomicU64::new(1));
    let superblock = Superblock {
        generation: 1,
        store,
        origin: None,
        manifest_number: 0,
        manifest_id: FileId([0; 16]),
        sector_size: SECTOR as u32,
        edits: 0,
    };
    let clock_ms = dir.env.now_ms();
    let state = State { clock_ms, log_number: 1, ..State::default() };
    let manifest = Manifest::create(Arc::clone(&dir), Arc::clone(&numbers), superblock, state)?;
    let log_number = numbers.load(Ordering::Relaxed);
    let parts = Parts {
        store,
        numbers,
        version: Version::empty(),
        tables: Arc::new(Context::new(&options)),
        last_seqno: 0,
        durable: 0,
        next_database_id: 0,
        log_number,
        clock_ms,
        loading: (0, 0),
    };
    let active = Active::with_memory(log_number, chunks(&options));
    let shared = assemble(dir, options, parts, &active, Some(manifest));
    write(&shared.catalog).set_loaded();
    let origin = Origin::nowhere(&shared.options, 0);
    Ok(Arc::new(with_log(shared, active, origin)))
}

/// What a creation that was cut short has left.
fn remove_leftovers(env: &dyn Env, dir: &Path) -> Result<()> {
    for entry in env.list(dir).map_err(|source| Error::io("list", dir, source))? {
        let manifest = matches!(FileName::parse(&entry.name), Some(FileName::Manifest(_)));
        if manifest || FileName::is_temporary(&entry.name) {
            let path = dir.join(&entry.name);
            env.remove(&path).map_err(|source| Error::io("remove", &path, source))?;
        }
    }
    Ok(())
}

/// What the files of a store say.
pub(super) struct Loaded {
    pub(super) superblock: Superblock,
    pub(super) state: State,
    pub(super) version: Version,
    pub(super) tables: Arc<Context>,
    pub(super) scan: Scan,
}

/// Steps 3 and 4.
pub(super) fn load(env: &dyn Env, dir: &Path, options: &Options) -> Result<Loaded> {
    let superblock = superblock::read(env, dir)?;
    let state = manifest::load(env, dir, &superblock)?;
    let context = Arc::new(Context::new(options));
    let mut tables = Vec::with_capacity(state.tables.len());
    for meta in &state.tables {
        let path = dir.join(FileName::Sstable(meta.number).to_string());
        let place = orlop_formats::checksum::Place { store: superblock.store, file: meta.number };
        let table = Table::open(env, path, place, meta.clone(), Arc::clone(&context))?;
        tables.push(Arc::new(table));
    }
    let version = Version::empty().apply(&HashSet::new(), &tables).map_err(|found| {
        let path = dir.join(FileName::Manifest(superblock.manifest_number).to_string());
        Error::corrupt(&path, "manifest", 0, "a valid version", found)
    })?;
    let range_deletes = RangeDeletes::of(state.range_deletes.iter().cloned().collect());
    let version = version.with_range_deletes(Arc::new(range_deletes));
    let at_once = options.background == Background::Thread;
    let scan = segments::scan(env, dir, superblock.store, &state, at_once)?;
    // New commits are numbered behind these: they must not sort below what tables hold.
    let known = state.last_seqno.max(state.flushed_seqno).max(scan.last_seqno);
    if let Some(table) = tables.iter().find(|table| table.meta().max_seqno > known) {
        let found = table.meta().max_seqno.to_string();
        let expected = format!("sequence numbers up to {known}");
        return Err(Error::corrupt(table.path(), "sstable", 0, expected, found));
    }
    let flushed = state.flushed_seqno;
    if let Some(table) = tables.iter().find(|table| table.properties().cleared_to > flushed) {
        let found = table.properties().cleared_to.to_string();
        let expected = format!("a cleared sequence number up to {flushed}");
        return Err(Error::corrupt(table.path(), "sstable", 0, expected, found));
    }
    Ok(Loaded { superblock, state, version, tables: context, scan })
}

/// Steps 3 to 8 of a writing open.
fn recover(dir: Arc<Directory>, options: Options) -> Result<Arc<Shared>> {
    let Loaded { superblock, state, version, tables, mut scan } =
        load(&*dir.env, &dir.path, &options)?;
    let numbers = Arc::new(AtomicU64::new(next_number(&dir, &state)?));
    let last_in_log = seeded!(SeqnoNotAdvanced => 0, else scan.last_seqno);
    let last_seqno = state.last_seqno.max(state.flushed_seqno).max(last_in_log);
    let flushed = state.flushed_seqno;
    // After a kill the log's tail can be in the page cache only, until it has been flushed.
    let durable = if scan.clean { last_seqno } else { state.last_seqno.max(flushed) };
    seeded!(PageCacheVouchedFor: durable = last_seqno);
    let old_floor = scan.live.first().map_or(state.log_number, |live| live.number);
    let parts = Parts {
        store: superblock.store,
        numbers: Arc::clone(&numbers),
        version,
        tables,
        last_seqno,
        durable,
        next_database_id: state.next_database_id,
        log_number: state.log_number,
        clock_ms: state.clock_ms,
        loading: state.loading_figures(),
    };
    let manifest = Manifest::resume(Arc::clone(&dir), numbers, superblock, state);
    let mut active = Active::with_memory(old_floor, chunks(&options));
    let shared = assemble(dir, options, parts, &active, Some(manifest));

    seeded!(OrphansBeforeManifest => remove_orphans(&shared)?);
    // 5. Replay.
    let mut origin = Origin::nowhere(&shared.options, last_seqno);
    if seeded!(TailServedUnflushed => true, else scan.clean) {
        replay(&shared, &mut scan, flushed, |batch| insert(&mut active, batch))?;
        if let Some(last) = scan.live.last() {
            (origin.predecessor, origin.predecessor_end) = (last.number, last.end);
            origin.replayed = scan.live.len();
        }
    } else {
        replay_and_flush(&shared, &mut scan, flushed, &mut active)?;
    }
    shared.durable.store(last_seqno, Ordering::Release);

    // 6. The catalog.
    load_catalog(&shared)?;

    // 7. A manifest of this open; then what nobody names can go.
    if let Some(manifest) = shared.manifest.lock().as_mut() {
        manifest.begin_if_new()?;
    }
    let orphans = collect::orphans(&shared)?;

    // 8. Ready.
    let shared = with_log(shared, active, origin);
    *shared.background.lock() =
        BackgroundState { search_dead: true, wake: true, orphans, ..BackgroundState::default() };
    if shared.options.background == Background::Manual {
        collect::remove_orphans(&shared);
    }
    Ok(Arc::new(shared))
}

/// What [`assemble`] needs to know.
pub(super) struct Parts {
    pub(super) store: StoreId,
    pub(super) numbers: Arc<AtomicU64>,
    pub(super) version: Version,
    pub(super) tables: Arc<Context>,
    pub(super) last_seqno: u64,
    /// Of these commits, those that are surely on the device.
    pub(super) durable: u64,
    pub(super) next_database_id: u32,
    pub(super) log_number: FileNumber,
    /// The time that the manifest has noted.
    pub(super) clock_ms: u64,
    /// Number and bytes of tables of unfinished loads.
    pub(super) loading: (u64, u64),
}

pub(super) fn assemble(
    dir: Arc<Directory>,
    options: Options,
    parts: Parts,
    active: &Active,
    manifest: Option<Manifest>,
) -> Shared {
    let chores = Chores::new(Arc::clone(&dir));
    let clock = Clock::new(Arc::clone(&dir.env), parts.clock_ms);
    let active = Arc::clone(active.memtable());
    let memory = Arc::clone(active.memory());
    let view = View::of(active, parts.version);
    Shared {
        dir,
        options,
        store: parts.store,
        read_only: manifest.is_none(),
        tables: parts.tables,
        clock,
        memory,
        view: ViewCell::new(view),
        assigned: AtomicU64::new(parts.last_seqno),
        visible: AtomicU64::new(parts.last_seqno),
        durable: AtomicU64::new(parts.durable),
        numbers: parts.numbers,
        log_number: AtomicU64::new(parts.log_number),
        counters: Counters::default(),
        poison: OnceLock::new(),
        spares: None,
        chores,
        ways: Arc::default(),
        bulk_turns: Arc::default(),
        stepping: Mutex::default(),
        queue: Mutex::new(CommitQueue::refusing(Error::ReadOnly)),
        deputy: Arc::default(),
        manifest: Mutex::new(manifest),
        catalog: RwLock::new(Catalog::new(parts.next_database_id)),
        snapshots: Snapshots::default(),
        loads: Loads::with(parts.loading),
        merging: Mutex::default(),
        flushed: Mutex::default(),
        scrub: Mutex::default(),
        background: Mutex::new(BackgroundState::default()),
        changed: Condvar::default(),
    }
}

/// What memtables use again: so much as one of them has.
fn chunks(options: &Options) -> Arc<Chunks> {
    Chunks::keeping(options.memtable_size)
}

fn with_log(mut shared: Shared, active: Active, mut origin: Origin) -> Shared {
    let bytes = |view: &View| view.version.runs().map(Run::bytes).sum();
    origin.for_store_of(shared.view.with(bytes));
    let (dir, numbers) = (Arc::clone(&shared.dir), Arc::clone(&shared.numbers));
    let (chores, ways) = (Arc::clone(&shared.chores), Arc::clone(&shared.ways));
    let of = (Arc::clone(&numbers), Arc::clone(&chores));
    let spares = Spares::new(Arc::clone(&dir), shared.store, of);
    shared.spares = Some(Arc::clone(&spares));
    let mut log = Log::new(dir, shared.store, numbers, (spares, chores, ways), origin);
    log.foresee(shared.options.durability);
    let mut lead = Lead { log, active, is_full: false, behind: Behind::default() };
    lead.is_full = room::is_full(&shared, &lead);
    shared.queue = Mutex::new(CommitQueue::new(lead));
    shared
}

/// No number in the directory is ever used again.
fn next_number(dir: &Directory, state: &State) -> Result<FileNumber> {
    let entries = dir.list()?;
    // A temporary file may be removed while the store is in use: nothing may have its name then.
    let used = entries.iter().filter_map(|entry| {
        FileName::parse(&entry.name).or_else(|| FileName::parse_temporary(&entry.name))?.number()
    });
    Ok(used.max().map_or(1, |number| number + 1).max(state.next_file_number))
}

/// Sorts what the log holds, and brings it into sstables, as much at a time as a memtable holds.
fn replay_and_flush(
    shared: &Shared,
    scan: &mut Scan,
    flushed: Seqno,
    active: &mut Active,
) -> Result<()> {
    let old_floor = active.memtable().log_floor();
    let mut tail = Tail::default();
    replay(shared, scan, flushed, |batch| {
        tail.add(&batch);
        if tail.is_full(shared.options.memtable_size) {
            flush::run_of_tail(shared, &mem::take(&mut tail), old_floor)?;
        }
        Ok(())
    })?;
    let floor = shared.numbers.load(Ordering::Relaxed);
    if tail.is_empty() && old_floor == floor {
        return Ok(());
    }
    flush::run_of_tail(shared, &tail, floor)?;
    *active = active.successor(floor);
    let active = active.memtable();
    shared.view.update(|view| View { active: Arc::clone(active), ..view.clone() });
    Ok(())
}

/// Puts a batch into the memtable.
pub(super) fn insert(active: &mut Active, batch: Replayed<'_>) -> Result<()> {
    let mut writer = active.writer();
    for op in batch.ops {
        writer.insert(op, batch.seqno);
    }
    drop(writer);
    seeded!(LoadNotNoted => return Ok(()));
    active.note(batch.seqno);
    Ok(())
}

/// Hands out what the log holds, and notes the ids of databases in it.
pub(super) fn replay(
    shared: &Shared,
    scan: &mut Scan,
    flushed: Seqno,
    mut batch: impl FnMut(Replayed<'_>) -> Result<()>,
) -> Result<()> {
    segments::visit(&*shared.dir.env, scan, flushed, |replayed| {
        note_ids(shared, replayed.ops);
        batch(replayed)
    })
}

/// Every id that was ever given out counts, also one whose database was dropped in the batch that created
/// it: a database that got the id again would find its entries.
fn note_ids(shared: &Shared, ops: &[Op<'_>]) {
    seeded!(DatabaseIdReused => return);
    let mut catalog = write(&shared.catalog);
    for op in ops {
        catalog.reserve(op.database);
        if op.database == SYSTEM_DATABASE
            && op.kind == Kind::Put
            && let Ok(record) = CatalogRecord::decode(op.value)
        {
            catalog.reserve(record.id);
        }
    }
}

/// Reads system database 0.
pub(super) fn load_catalog(shared: &Shared) -> Result<()> {
    let view = shared.view.pin();
    let mut entries = scan::open(&view, SYSTEM_DATABASE, AsOf { seqno: u64::MAX, now: 0 });
    let mut catalog = write(&shared.catalog);
    while entries.next()? {
        let decoded = entries.take(|key, value| {
            CatalogKey::decode(key)
                .and_then(|key| CatalogRecord::decode(value).map(|record| (key, record)))
        })?;
        let (key, record) = decoded.map_err(|source| Error::decode(&shared.dir.path, source))?;
        if let Some(expiry) = entries.expiry()? {
            let (expected, found) = ("no expiry", format!("one at {expiry}"));
            return Err(Error::corrupt(&shared.dir.path, "catalog record", 0, expected, found));
        }
        if record.id.0 < FIRST_USER_DATABASE {
            let expected = format!("an id of {FIRST_USER_DATABASE} or more");
            let found = record.id.to_string();
            return Err(Error::corrupt(&shared.dir.path, "catalog record", 0, expected, found));
        }
        catalog.load(key, record);
    }
    catalog.set_loaded();
    Ok(())
}

/// Removes what nobody names.
#[cfg(feature = "seeded-bugs")]
fn remove_orphans(shared: &Shared) -> Result<()> {
    shared.background.lock().orphans = collect::orphans(shared)?;
    collect::remove_orphans(shared);
    Ok(())
}
