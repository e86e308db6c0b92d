//! Which databases exist, under which id, at which sequence number.
//!
//! The truth is in system database 0, written by batches like any other entry. This is its image
//! in memory, for the leader of a commit group (who changes it) and for readers (who ask for the
//! id of a handle at their sequence number). A database's id changes when it is cleared or swapped,
//! so a slot keeps its ids with the sequence number from which each holds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use orlop_formats::catalog::{CatalogKey, CatalogRecord, DurabilityTag, ObjectKind};
use orlop_formats::ids::{DatabaseId, FIRST_USER_DATABASE, Seqno};

use crate::error::{Error, Result};
use crate::expiry::milliseconds;
use crate::options::Durability;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Options of a database that the store remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatabaseOptions {
    /// What a commit to this database is worth unless the caller says otherwise; `None`: what
    /// the store was opened with.
    pub durability: Option<Durability>,
    /// For how long a value is there whose write does not say so itself, from that write on; `None`: for ever. Counted in
    /// whole milliseconds, at least one.
    pub time_to_live: Option<Duration>,
}

/// What a name stands for. Handles share it, so that they see a clear, swap or drop.
///
/// A slot belongs to its name for good. It is vacant after a swap has left nothing under the name;
/// a drop or rename ends it, and a database that later takes the name gets a slot of its own.
#[derive(Debug)]
pub(crate) struct Slot {
    name: Arc<str>,
    state: Mutex<SlotState>,
    /// The id, or [`NOWHERE`]; see [`Slot::at`].
    current: AtomicU64,
    /// From which sequence number on `current` holds.
    since: AtomicU64,
    /// What a write is worth unless it says so itself: the tag, or 0.
    durability: AtomicU64,
    /// For how many milliseconds a value is there unless its write says so itself; 0: for ever.
    time_to_live: AtomicU64,
}

#[derive(Debug, Default)]
struct SlotState {
    dropped: bool,
    /// Entries were taken off the front of `history`.
    forgotten: bool,
    /// Ascending; `None`: does not exist from there on.
    history: Vec<(Seqno, Option<DatabaseId>)>,
}

/// What a slot is for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    Id(DatabaseId),
    /// There is no database.
    Vacant,
    /// The reader is so old that nobody knows any more.
    Forgotten,
}

/// `current` of a slot without a database.
const NOWHERE: u64 = u64::MAX;

impl Slot {
    fn new(name: Arc<str>, options: DatabaseOptions) -> Self {
        let slot = Self {
            name,
            state: Mutex::default(),
            current: AtomicU64::new(NOWHERE),
            since: AtomicU64::new(0),
            durability: AtomicU64::new(0),
            time_to_live: AtomicU64::new(0),
        };
        slot.set_options(options);
        slot
    }

    /// The database behind this slot as a reader at `seqno` sees it.
    pub(crate) fn at(&self, seqno: Seqno) -> Binding {
        // The pair is written under the lock, `since` last and never falling: when `since` is the
        // same before and after, `current` belongs to it.
        let since = self.since.load(Ordering::Acquire);
        let current = self.current.load(Ordering::Acquire);
        if since <= seqno && self.since.load(Ordering::Acquire) == since {
            return u32::try_from(current)
                .map_or(Binding::Vacant, |id| Binding::Id(DatabaseId(id)));
        }
        let state = self.state.lock();
        match state.history.iter().rev().find(|(from, _)| *from <= seqno) {
            Some((_, Some(id))) => Binding::Id(*id),
            Some((_, None)) => Binding::Vacant,
            None if state.forgotten => Binding::Forgotten,
            None => Binding::Vacant,
        }
    }

    /// The id after every change so far: for the leader. `None` also when it was dropped.
    pub(crate) fn latest(&self) -> Option<DatabaseId> {
        u32::try_from(self.current.load(Ordering::Acquire)).ok().map(DatabaseId)
    }

    /// From `seqno` on this slot is `id`. What no snapshot sees is forgotten; a reader without one
    /// that is older than that starts over.
    fn set(&self, seqno: Seqno, id: Option<DatabaseId>, oldest: Seqno) {
        let mut state = self.state.lock();
        state.history.push((seqno, id));
        let seen = state.history.iter().rposition(|(from, _)| *from <= oldest).unwrap_or(0);
        state.forgotten |= seen > 0;
        state.history.drain(..seen);
        self.since.store(Seqno::MAX, Ordering::Release);
        self.current.store(id.map_or(NOWHERE, |id| u64::from(id.0)), Ordering::Release);
        self.since.store(seqno, Ordering::Release);
    }

    pub(crate) fn dropped(&self) -> bool {
        self.state.lock().dropped
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What a write is worth unless it says so itself. Asked for with every write.
    pub(crate) fn durability(&self) -> Option<Durability> {
        let tag = self.durability.load(Ordering::Relaxed);
        let all = [DurabilityTag::Memory, DurabilityTag::Buffered, DurabilityTag::Synced];
        all.into_iter().find(|of| *of as u64 == tag).map(from_tag)
    }

    fn options(&self) -> DatabaseOptions {
        let time_to_live = self.time_to_live().map(Duration::from_millis);
        DatabaseOptions { durability: self.durability(), time_to_live }
    }

    /// For how many milliseconds a value is there unless its write says so itself. Asked for with every put.
    #[inline]
    pub(crate) fn time_to_live(&self) -> Option<u64> {
        Some(self.time_to_live.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }

    fn set_options(&self, options: DatabaseOptions) {
        let tag = options.durability.map_or(0, |durability| to_tag(durability) as u64);
        self.durability.store(tag, Ordering::Relaxed);
        let time_to_live = to_milliseconds(options.time_to_live).unwrap_or(0);
        self.time_to_live.store(time_to_live, Ordering::Relaxed);
    }
}

/// What a write names: a database that may not exist yet, or a slot a handle is bound to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Name(Arc<str>),
    Slot(Arc<Slot>),
}

impl Target {
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Target::Name(name) => name,
            Target::Slot(slot) => slot.name(),
        }
    }
}

/// A change of the catalog inside a batch.
#[derive(Debug, Clone)]
pub(crate) enum CatalogOp {
    Create { name: Arc<str>, options: DatabaseOptions },
    Drop { name: Arc<str> },
    Clear { target: Target },
    Rename { from: Arc<str>, to: Arc<str> },
    Swap { first: Arc<str>, second: Arc<str> },
}

/// The image of system database 0; see the module.
#[derive(Debug)]
pub(crate) struct Catalog {
    by_name: HashMap<Arc<str>, Arc<Slot>>,
    live: HashSet<DatabaseId>,
    /// Ids that died while the store was open, with the sequence number of their end.
    dead: Vec<(DatabaseId, Seqno)>,
    next_id: u32,
    /// Every live database is in here. Before, none may be taken for dead.
    loaded: bool,
}

impl Catalog {
    pub(crate) fn new(next_id: u32) -> Self {
        Self {
            loaded: false,
            by_name: HashMap::new(),
            live: HashSet::new(),
            dead: Vec::new(),
            next_id: next_id.max(FIRST_USER_DATABASE),
        }
    }

    /// Takes in an entry of system database 0 found at open.
    pub(crate) fn load(&mut self, key: CatalogKey, record: CatalogRecord) {
        let time_to_live = record.time_to_live.map(Duration::from_millis);
        let durability = record.durability.map(from_tag);
        let options = DatabaseOptions { durability, time_to_live };
        let name: Arc<str> = key.name.into();
        let slot = Arc::new(Slot::new(Arc::clone(&name), options));
        slot.set(0, Some(record.id), 0);
        self.by_name.insert(name, slot);
        self.live.insert(record.id);
        self.reserve(record.id);
    }

    /// All entries of system database 0 have been loaded.
    pub(crate) fn set_loaded(&mut self) {
        self.loaded = true;
    }

    /// Never gives this id out again.
    pub(crate) fn reserve(&mut self, id: DatabaseId) {
        self.next_id = self.next_id.max(id.0.saturating_add(1));
    }

    pub(crate) fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.by_name.get(name)
    }

    /// Whether a name stands for this database now.
    pub(crate) fn is_live(&self, id: DatabaseId) -> bool {
        self.live.contains(&id)
    }

    /// Number of databases.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// The id that the next new database gets.
    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Decides, for a compaction, which databases' entries nobody can see any more.
    pub(crate) fn liveness(&self, oldest: Seqno, durable: Seqno) -> Liveness {
        let mut live = self.live.clone();
        let still_seen = |&&(_, end): &&(DatabaseId, Seqno)| end > oldest || end > durable;
        live.extend(self.dead.iter().filter(still_seen).map(|(id, _)| *id));
        Liveness { live, next_id: if self.loaded { self.next_id } else { 0 } }
    }

    /// The newest end of a database that is not yet durable or still seen, if any: reclaiming has
    /// to come back for it.
    pub(crate) fn pending_ends(&self, oldest: Seqno, durable: Seqno) -> bool {
        self.dead.iter().any(|&(_, end)| end > oldest || end > durable)
    }

    /// Forgets ends that every reader and every crash is past.
    pub(crate) fn forget_ends(&mut self, oldest: Seqno, durable: Seqno) {
        self.dead.retain(|&(_, end)| end > oldest || end > durable);
    }

    /// Whether a database has ended and is not forgotten.
    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn has_ended(&self) -> bool {
        !self.dead.is_empty()
    }

    fn end(&mut self, id: DatabaseId, seqno: Seqno) {
        self.live.remove(&id);
        self.dead.push((id, seqno));
    }

    fn new_id(&mut self) -> Result<DatabaseId> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or_else(|| Error::InvalidArgument {
            what: "new database",
            expected: format!("fewer than {} in the life of a store", u32::MAX),
            found: "one more; copy what it holds into a new store".to_owned(),
        })?;
        self.live.insert(DatabaseId(id));
        Ok(DatabaseId(id))
    }
}

/// Which database ids still matter to somebody.
#[derive(Debug, Clone)]
pub(crate) struct Liveness {
    live: HashSet<DatabaseId>,
    next_id: u32,
}

impl Liveness {
    /// Whether every entry of this database may be forgotten.
    pub(crate) fn is_dead(&self, id: DatabaseId) -> bool {
        id.0 >= FIRST_USER_DATABASE && id.0 < self.next_id && !self.live.contains(&id)
    }
}

/// Entries of system database 0 that a batch writes: a key, and its record or `None` for a delete.
pub(crate) type SystemWrites = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What a batch makes of a name.
#[derive(Debug, Clone)]
struct Staging {
    slot: Arc<Slot>,
    options: DatabaseOptions,
    /// `None`: vacant.
    id: Option<DatabaseId>,
}

/// The catalog as one batch sees and changes it, before it is known whether the batch succeeds.
///
/// 1. resolve the batch's names and changes in order, on this overlay
/// 2. [`Staged::commit`] puts them into the catalog under the batch's sequence number
pub(crate) struct Staged<'a> {
    catalog: &'a mut Catalog,
    /// Names changed by this batch; `None`: no slot any more.
    names: HashMap<Arc<str>, Option<Staging>>,
    /// The order of `names`, so that the batch's bytes do not depend on hashing.
    changed: Vec<Arc<str>>,
    born: Vec<DatabaseId>,
    /// Databases whose entries nobody needs any more.
    dead: Vec<DatabaseId>,
    /// Slots whose handles are told that the database was dropped.
    ended: Vec<Arc<Slot>>,
    next_id: u32,
}

impl<'a> Staged<'a> {
    pub(crate) fn new(catalog: &'a mut Catalog) -> Self {
        let next_id = catalog.next_id;
        Self {
            catalog,
            names: HashMap::new(),
            changed: Vec::new(),
            born: Vec::new(),
            dead: Vec::new(),
            ended: Vec::new(),
            next_id,
        }
    }

    fn staging(&self, name: &str) -> Option<Staging> {
        if let Some(staged) = self.names.get(name) {
            return staged.clone();
        }
        let slot = self.catalog.by_name.get(name)?;
        Some(Staging { slot: Arc::clone(slot), options: slot.options(), id: slot.latest() })
    }

    /// The database called `name`, if there is one.
    fn find(&self, name: &str) -> Option<(Staging, DatabaseId)> {
        let staging = self.staging(name)?;
        let id = staging.id?;
        Some((staging, id))
    }

    fn put(&mut self, name: &Arc<str>, staging: Option<Staging>) {
        if self.names.insert(Arc::clone(name), staging).is_none() {
            self.changed.push(Arc::clone(name));
        }
    }

    /// Puts a database under a name that has none: into its slot if that is vacant.
    fn settle(&mut self, name: &Arc<str>, id: DatabaseId, options: DatabaseOptions) {
        let vacant = self.staging(name).map(|staging| staging.slot);
        let slot = vacant.unwrap_or_else(|| Arc::new(Slot::new(Arc::clone(name), options)));
        self.put(name, Some(Staging { slot, options, id: Some(id) }));
    }

    /// The id that a write to `target` goes to, and for how many milliseconds a value is there; a name that is free
    /// becomes a new database.
    pub(crate) fn resolve(&mut self, target: &Target) -> Result<(DatabaseId, Option<u64>)> {
        let name = self.name_of(target)?;
        match self.find(&name) {
            Some((staging, id)) => Ok((id, to_milliseconds(staging.options.time_to_live))),
            None => Ok((self.create(&name, DatabaseOptions::default())?, None)),
        }
    }

    fn name_of(&self, target: &Target) -> Result<Arc<str>> {
        match target {
            Target::Name(name) => Ok(Arc::clone(name)),
            Target::Slot(slot) => {
                let ended_here = self.ended.iter().any(|other| Arc::ptr_eq(other, slot));
                if ended_here || slot.dropped() {
                    return Err(Error::DatabaseDropped { name: slot.name().to_string() });
                }
                Ok(Arc::clone(slot.name()))
            }
        }
    }

    fn create(&mut self, name: &Arc<str>, options: DatabaseOptions) -> Result<DatabaseId> {
        let id = self.catalog.new_id()?;
        self.born.push(id);
        self.settle(name, id, options);
        Ok(id)
    }

    /// Applies one change to the overlay.
    pub(crate) fn apply(&mut self, op: &CatalogOp) -> Result<()> {
        let missing = |name: &Arc<str>| Error::DatabaseMissing { name: name.to_string() };
        match op {
            CatalogOp::Create { name, options } => {
                self.check_free(name)?;
                self.create(name, *options)?;
            }
            CatalogOp::Drop { name } => {
                let (staging, id) = self.find(name).ok_or_else(|| missing(name))?;
                self.dead.push(id);
                self.ended.push(staging.slot);
                self.put(name, None);
            }
            CatalogOp::Clear { target } => {
                let name = self.name_of(target)?;
                if let Some((staging, id)) = self.find(&name) {
                    self.dead.push(id);
                    let new = self.catalog.new_id()?;
                    self.born.push(new);
                    self.put(&name, Some(Staging { id: Some(new), ..staging }));
                }
            }
            CatalogOp::Rename { from, to } => {
                let (staging, id) = self.find(from).ok_or_else(|| missing(from))?;
                if from != to {
                    self.check_free(to)?;
                    self.settle(to, id, staging.options);
                    self.ended.push(staging.slot);
                    self.put(from, None);
                }
            }
            CatalogOp::Swap { first, second } => {
                let (one, other) = (self.find(first), self.find(second));
                if one.is_none() && other.is_none() {
                    return Err(missing(first));
                }
                self.exchange(first, one.clone(), other.clone());
                self.exchange(second, other, one);
            }
        }
        Ok(())
    }

    fn check_free(&self, name: &Arc<str>) -> Result<()> {
        match self.find(name) {
            Some(_) => Err(Error::DatabaseExists { name: name.to_string() }),
            None => Ok(()),
        }
    }

    /// One side of a swap: `name`, which had `had`, gets `gets`.
    fn exchange(
        &mut self,
        name: &Arc<str>,
        had: Option<(Staging, DatabaseId)>,
        gets: Option<(Staging, DatabaseId)>,
    ) {
        match (had, gets) {
            (Some((had, _)), Some((gets, id))) => {
                let options = gets.options;
                self.put(name, Some(Staging { slot: had.slot, options, id: Some(id) }));
            }
            (Some((had, _)), None) => self.put(name, Some(Staging { id: None, ..had })),
            (None, Some((gets, id))) => self.settle(name, id, gets.options),
            (None, None) => {}
        }
    }

    /// What the batch has to write to system database 0.
    pub(crate) fn system_writes(&self) -> SystemWrites {
        let mut writes = SystemWrites::new();
        for name in &self.changed {
            let key = CatalogKey { kind: ObjectKind::Database, name: name.to_string() }.encode();
            let record = match self.names.get(name) {
                Some(Some(Staging { id: Some(id), options, .. })) => {
                    let durability = options.durability.map(to_tag);
                    let time_to_live = to_milliseconds(options.time_to_live);
                    Some(CatalogRecord { id: *id, durability, time_to_live }.encode())
                }
                _ => None,
            };
            writes.push((key, record));
        }
        writes
    }

    /// Nothing of the batch happens: ids taken for it are given back.
    pub(crate) fn cancel(self) {
        for id in &self.born {
            self.catalog.live.remove(id);
        }
        self.catalog.next_id = self.next_id;
    }

    /// The batch has its sequence number: readers from `seqno` on see its changes.
    pub(crate) fn commit(mut self, seqno: Seqno, oldest: Seqno) {
        for slot in &self.ended {
            slot.set(seqno, None, oldest);
            slot.state.lock().dropped = true;
        }
        // In the batch's order, not in that of hashing: a run of a model checker can be repeated.
        for name in self.changed {
            let Some(Some(Staging { slot, options, id })) = self.names.remove(&name) else {
                self.catalog.by_name.remove(&name);
                continue;
            };
            slot.set_options(options);
            if slot.latest() != id {
                slot.set(seqno, id, oldest);
            }
            self.catalog.by_name.insert(name, slot);
        }
        for id in self.dead {
            self.catalog.end(id, seqno);
        }
    }
}

fn to_milliseconds(time_to_live: Option<Duration>) -> Option<u64> {
    time_to_live.map(|time| milliseconds(time).max(1))
}

fn to_tag(durability: Durability) -> DurabilityTag {
    match durability {
        Durability::Memory => DurabilityTag::Memory,
        Durability::Buffered => DurabilityTag::Buffered,
        Durability::Synced => DurabilityTag::Synced,
    }
}

fn from_tag(tag: DurabilityTag) -> Durability {
    match tag {
        DurabilityTag::Memory => Durability::Memory,
        DurabilityTag::Buffered => Durability::Buffered,
        DurabilityTag::Synced => Durability::Synced,
    }
}
