//! One commit of a group: from its writes to bytes of the log and entries of the memtable.

use std::mem;

use orlop_formats::batch::{self as format, Op};
use orlop_formats::ids::{DatabaseId, SYSTEM_DATABASE, Seqno};
use orlop_formats::limits::MAX_SEQNO;

use crate::error::{Error, Result};
use crate::files::wal;
use crate::options::Durability;
use crate::state::catalog::{Staged, SystemWrites, Target};
use crate::state::memtable::Writer;
use crate::state::shadows::Shadows;
use crate::state::shared::Shared;
use crate::state::ticket::{self, Ticket};
use crate::state::write_set::{Item, Lifetime, OneWrite, Write, WriteSet};
use crate::sync::{Arc, Ordering, write};

/// A commit of the current group.
pub(super) struct Commit<'a> {
    pub(super) writes: Carried<'a>,
    pub(super) durability: Durability,
    /// Where the writer waits, if it is not the one who leads.
    pub(super) ticket: Option<Arc<Ticket>>,
    /// Set when it is encoded.
    pub(super) outcome: Result<Seqno>,
    /// The outcome is final.
    pub(super) done: bool,
    system: SystemWrites,
    ids: Ids,
    shadows: Shadows,
}

/// What a commit carries.
pub(super) enum Carried<'a> {
    /// What a batch has gathered.
    Set(WriteSet),
    /// One write, still where its caller has it.
    One(&'a OneWrite<'a>),
}

impl Carried<'_> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Set(set) if set.is_empty())
    }

    /// Bytes that this takes in the log at most.
    pub(super) fn encoded_bound(&self) -> usize {
        match self {
            Self::Set(set) => set.encoded_bound,
            Self::One(one) => one.encoded_bound(),
        }
    }

    pub(super) fn has_catalog_ops(&self) -> bool {
        matches!(self, Self::Set(set) if set.has_catalog_ops)
    }
}

/// The databases that the writes of a commit go to.
enum Ids {
    Same(DatabaseId),
    /// One for each write.
    Each(Vec<DatabaseId>),
}

impl Ids {
    const NONE: Self = Self::Each(Vec::new());

    fn is_empty(&self) -> bool {
        matches!(self, Self::Each(ids) if ids.is_empty())
    }

    fn get(&self, at: usize) -> Option<DatabaseId> {
        match self {
            Self::Same(id) => Some(*id),
            Self::Each(ids) => ids.get(at).copied(),
        }
    }
}

impl<'a> Commit<'a> {
    pub(super) fn of(
        writes: Carried<'a>,
        durability: Durability,
        ticket: Option<Arc<Ticket>>,
    ) -> Self {
        let (system, ids, shadows) = (SystemWrites::new(), Ids::NONE, Shadows::default());
        Self { writes, durability, ticket, outcome: Ok(0), done: false, system, ids, shadows }
    }
}

/// The commits of a group whose writers are somewhere else.
pub(super) struct Group(pub(super) Vec<Commit<'static>>);

impl Drop for Group {
    /// Tells the writers, also when a panic has ended the group.
    fn drop(&mut self) {
        ticket::tell(self.0.drain(..).filter_map(|mut commit| {
            let outcome = if commit.done {
                mem::replace(&mut commit.outcome, Ok(0))
            } else {
                Err(Error::Poisoned { cause: "a panic ended the commit".to_owned() })
            };
            Some((commit.ticket.take()?, outcome))
        }));
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        if let Carried::Set(set) = &mut self.writes {
            mem::take(set).let_go();
        }
    }
}

/// Resolves its databases, gives it the next sequence number and appends
/// its batch to the frame. A commit that cannot be takes no part in the group.
pub(super) fn encode(shared: &Shared, commit: &mut Commit<'_>, frame: &mut wal::Group) {
    if commit.writes.is_empty() {
        commit.outcome = Ok(shared.assigned.load(Ordering::Relaxed));
        return;
    }
    let seqno = match next_seqno(shared) {
        Ok(seqno) => seqno,
        Err(error) => {
            commit.outcome = Err(error);
            return;
        }
    };
    if let Err(error) = resolve(shared, commit, seqno) {
        commit.ids = Ids::NONE;
        commit.outcome = Err(error);
        return;
    }
    if commit.ids.is_empty() && commit.system.is_empty() {
        // Such as the clear of a database that does not exist.
        commit.outcome = Ok(seqno - 1);
        return;
    }
    if let Carried::Set(WriteSet { has_range_deletes: true, .. }) = commit.writes {
        commit.shadows = shadows(commit);
    }
    let start = format::begin(&mut frame.bytes);
    let mut count = 0;
    each_operation(commit, |op| {
        seeded!(CatalogChangeUnlogged: op = unless_catalog_change(commit, op));
        format::push(&mut frame.bytes, &op);
        count += 1;
    });
    format::finish(&mut frame.bytes, start, count);
    let most = commit.writes.encoded_bound() + format::HEADER_LEN;
    debug_assert!(frame.bytes.len() - start <= most, "more than there is room for");
    if frame.count == 0 {
        frame.first = seqno;
    }
    frame.count += 1;
    shared.assigned.store(seqno, Ordering::Relaxed);
    commit.outcome = Ok(seqno);
}

/// The sequence number of the next commit.
pub(super) fn next_seqno(shared: &Shared) -> Result<Seqno> {
    let seqno = shared.assigned.load(Ordering::Relaxed) + 1;
    if seqno <= MAX_SEQNO {
        return Ok(seqno);
    }
    Err(Error::InvalidArgument {
        what: "commit",
        expected: format!("fewer than {MAX_SEQNO} in the life of a store"),
        found: "one more; copy what it holds into a new store".to_owned(),
    })
}

/// Finds the id of every item's database, as of this commit.
fn resolve(shared: &Shared, commit: &mut Commit<'_>, seqno: Seqno) -> Result<()> {
    let set = match &commit.writes {
        Carried::Set(set) => set,
        Carried::One(one) => {
            if let Some(id) = one.slot.latest() {
                commit.ids = Ids::Same(id);
                return Ok(());
            }
            // What has become of its database is said, or done, as for all others.
            commit.writes = Carried::Set(one.to_set()?);
            return resolve(shared, commit, seqno);
        }
    };
    if let Some(ids) = resolve_bound(set) {
        commit.ids = ids;
        return Ok(());
    }
    let Carried::Set(WriteSet { items, targets, .. }) = &mut commit.writes else { return Ok(()) };
    let oldest = shared.snapshots.oldest(&shared.visible);
    let mut catalog = write(&shared.catalog);
    let mut staged = Staged::new(&mut catalog);
    let mut ids = Vec::with_capacity(items.len());
    let walk = || {
        for item in items {
            match item {
                Item::Write { target, lifetime, .. } => {
                    let (id, time_to_live) = staged.resolve(&targets[*target])?;
                    lifetime.settle(time_to_live);
                    ids.push(id);
                }
                Item::Catalog(op) => staged.apply(op)?,
            }
        }
        Ok(())
    };
    if let Err(error) = walk() {
        staged.cancel();
        return Err(error);
    }
    commit.system = staged.system_writes();
    staged.commit(seqno, oldest);
    commit.ids = Ids::Each(ids);
    Ok(())
}

/// The common case: no change of the catalog, every target an existing database.
fn resolve_bound(writes: &WriteSet) -> Option<Ids> {
    if writes.has_catalog_ops {
        return None;
    }
    let bound = |target: &Target| match target {
        Target::Slot(slot) => slot.latest(),
        Target::Name(_) => None,
    };
    if let [target] = writes.targets.as_slice() {
        return bound(target).map(Ids::Same);
    }
    let of_targets: Vec<DatabaseId> = writes.targets.iter().map(bound).collect::<Option<_>>()?;
    let id_of = |item: &Item| match item {
        Item::Write { target, .. } => of_targets.get(*target).copied(),
        Item::Catalog(_) => None,
    };
    writes.items.iter().map(id_of).collect::<Option<_>>().map(Ids::Each)
}

/// Hands over the entries of a resolved commit, in the order they are written: its own, then the catalog's.
fn each_operation<'a>(commit: &'a Commit<'_>, mut hand_over: impl FnMut(Op<'a>)) {
    match &commit.writes {
        Carried::One(OneWrite { write, .. }) => {
            if let Some(database) = commit.ids.get(0) {
                hand_over(write.to(database));
            }
        }
        Carried::Set(set) => {
            for (write, at) in set.writes().zip(0..) {
                let Some(database) = commit.ids.get(at) else { break };
                let op = write.to(database);
                if !commit.shadows.have(at, &op) {
                    hand_over(op);
                }
            }
        }
    }
    for (key, record) in commit.system.iter() {
        let write = match record {
            Some(record) => Write::put(key, record, Lifetime::EVER),
            None => Write::delete(key),
        };
        hand_over(write.to(SYSTEM_DATABASE));
    }
}

/// What a resolved commit deletes again itself.
#[cold]
fn shadows(commit: &Commit<'_>) -> Shadows {
    let mut ops = Vec::new();
    each_operation(commit, |op| ops.push(op));
    Shadows::of(ops.into_iter())
}

/// Puts its entries into the memtable.
pub(super) fn insert(writer: &mut Writer<'_>, commit: &Commit<'_>) {
    let Ok(seqno) = commit.outcome else { return };
    each_operation(commit, |op| writer.insert(&op, seqno));
}

/// The operation, or one that changes nothing in place of a change of the catalog.
#[cfg(feature = "seeded-bugs")]
fn unless_catalog_change<'a>(commit: &Commit<'_>, op: Op<'a>) -> Op<'a> {
    if !commit.writes.has_catalog_ops() || op.database != SYSTEM_DATABASE {
        return op;
    }
    Write::delete(b"").to(op.database)
}

/// Puts all of its entries but the last into the memtable.
#[cfg(feature = "seeded-bugs")]
pub(super) fn insert_all_but_one(writer: &mut Writer<'_>, commit: &Commit<'_>) {
    let Ok(seqno) = commit.outcome else { return };
    let mut last: Option<Op<'_>> = None;
    each_operation(commit, |op| {
        if let Some(op) = last.replace(op) {
            writer.insert(&op, seqno);
        }
    });
}
