//! The way down: from a batch to the log, the memtable and the readers.
//!
//! Writers queue; whoever finds the log free takes it and leads, then hands it to the next in line
//! (`state/queue.rs`). A group, by its leader:
//!
//! 1. make room: seal a full memtable, wait for flushes, reserve space in the log
//! 2. resolve databases, assign sequence numbers, encode the batches into one frame (`commit`)
//! 3. append the frame to the log, as far as the strongest durability in the group asks
//! 4. insert into the memtable, while a large write is in flight: a small one that is synced has been written by then
//! 5. a synced group hands the log on, and waits for its landing
//! 6. publish: readers see the group; then wake its writers

use std::any::Any;
use std::{mem, slice};

use orlop_formats::batch;
use orlop_formats::ids::Seqno;

use crate::error::{Error, Result};
use crate::files::wal::{Landing, Log};
use crate::flow::commit::{self, Carried, Commit, Group, encode, insert};
use crate::flow::{background, bulk, room};
use crate::options::Durability;
use crate::state::lead::Lead;
use crate::state::queue::{CommitQueue, Work};
use crate::state::shared::Shared;
use crate::state::ticket::{self, Ticket, TicketState};
use crate::state::write_set::{OneWrite, WriteSet};
use crate::sync::{Arc, Ordering, Stopwatch, panicking, yield_until};

/// Commits a batch and returns its sequence number; an empty batch takes none and gets what is
/// visible. Returns when the commit has reached its durability and is visible.
pub(crate) fn commit(
    shared: &Shared,
    mut writes: WriteSet,
    durability: Durability,
) -> Result<Seqno> {
    shared.check_poison()?;
    if writes.is_empty() && durability == Durability::Memory {
        return Ok(shared.visible.load(Ordering::Acquire));
    }
    bulk::prepare(shared, &mut writes)?;
    let mut queue = shared.queue.lock();
    if let Some(log) = free_log(&mut queue, durability)? {
        drop(queue);
        let commit = Commit::of(Carried::Set(writes), durability, None);
        return alone(Leading::of(shared, log), commit);
    }
    let ticket = queue.enter(Work::Commit { writes, durability })?;
    drop(queue);
    loop {
        match ticket.wait() {
            TicketState::Done(result) => return result,
            TicketState::Lead(log) => lead(Leading::of(shared, log)),
            TicketState::Waiting => {}
        }
    }
}

/// Commits one write, from where the caller has it if nobody leads just now.
pub(crate) fn commit_one(
    shared: &Shared,
    write: &OneWrite<'_>,
    durability: Durability,
) -> Result<Seqno> {
    write.check()?;
    shared.check_poison()?;
    if write.encoded_bound() >= shared.options.bulk_bytes() {
        return commit(shared, write.to_set()?, durability);
    }
    let log = free_log(&mut shared.queue.lock(), durability)?;
    match log {
        Some(log) => {
            let commit = Commit::of(Carried::One(write), durability, None);
            alone(Leading::of(shared, log), commit)
        }
        None => commit(shared, write.to_set()?, durability),
    }
}

/// The log, for a commit that need not stand in line, nor should for the sake of others.
fn free_log(queue: &mut CommitQueue, durability: Durability) -> Result<Option<Box<Lead>>> {
    let synced = durability == Durability::Synced;
    if synced && queue.linger.expects_company() { Ok(None) } else { queue.take_log(synced) }
}

/// What becomes of a commit that nobody waits for.
pub(crate) enum Submitted {
    /// It was faster than a wait would have been.
    Done(Result<Seqno>),
    InLine(Arc<Ticket>),
}

/// Puts a batch in line, and does not wait for the device. `store` stays open until the commit is done.
///
/// A large one is prepared first, which takes time with its length, and waits for those before it and for room.
///
/// What is not synced is done at once, unless something was submitted before it that is not: then it lines up
/// behind that, and is synced with it.
pub(crate) fn submit(
    shared: &Shared,
    mut writes: WriteSet,
    durability: Durability,
    store: Arc<dyn Any + Send + Sync>,
) -> Submitted {
    if durability != Durability::Synced && !shared.deputy.has_clients() {
        return Submitted::Done(commit(shared, writes, durability));
    }
    let prepared = shared.check_poison().and_then(|()| bulk::prepare(shared, &mut writes));
    let work = Work::Commit { writes, durability: Durability::Synced };
    let in_line = prepared.and_then(|()| shared.queue.lock().leave(work, &shared.deputy, store));
    in_line.map_or_else(|error| Submitted::Done(Err(error)), Submitted::InLine)
}

/// Leads for those who do not wait, until the store closes.
pub(crate) fn lead_for_others(shared: &Shared) {
    while let Some(log) = shared.deputy.next() {
        lead(Leading::of(shared, log));
    }
}

/// Commits where nobody leads and nobody waits.
fn alone(leading: Leading<'_>, mut commit: Commit<'_>) -> Result<Seqno> {
    lead_group(leading, slice::from_mut(&mut commit));
    mem::replace(&mut commit.outcome, Ok(0))
}

/// Runs `work` with the log in hand, after every commit that was queued before it.
pub(crate) fn with_log<R>(shared: &Shared, work: impl FnOnce(&mut Lead) -> R) -> Result<R> {
    let ticket = enter_to_lead(shared)?;
    match ticket.wait() {
        TicketState::Lead(log) => {
            shared.queue.lock().step_out();
            Leading::of(shared, log).run(work).ok_or(Error::Closed)
        }
        TicketState::Done(Err(error)) => Err(error),
        _ => Err(Error::Closed),
    }
}

/// Runs `work` with the log in hand if nobody leads just now: for the background, which leaders
/// may be waiting for.
pub(crate) fn try_with_log<R>(shared: &Shared, work: impl FnOnce(&mut Lead) -> R) -> Option<R> {
    let log = shared.queue.lock().log.take()?;
    Leading::of(shared, log).run(work)
}

/// Takes the log away for good, after every commit queued before; later ones get
/// [`Error::Closed`].
pub(crate) fn close(shared: &Shared) -> Result<Box<Lead>> {
    let ticket = enter_to_lead(shared)?;
    match ticket.wait() {
        TicketState::Lead(lead) => {
            shared.queue.lock().step_out();
            refuse(shared, &Error::Closed);
            Ok(lead)
        }
        // A store that was poisoned while this stood in line is not closed as if nothing had been.
        TicketState::Done(Err(error)) => Err(error),
        _ => Err(Error::Closed),
    }
}

/// Puts everything committed so far onto the device.
pub(crate) fn sync(shared: &Shared) -> Result<()> {
    commit(shared, WriteSet::default(), Durability::Synced).map(|_| ())
}

fn enter_to_lead(shared: &Shared) -> Result<Arc<Ticket>> {
    shared.queue.lock().enter(Work::Lead)
}

/// Answers all that wait, and whoever comes.
fn refuse(shared: &Shared, why: &Error) {
    let refused = shared.queue.lock().refuse(why);
    ticket::tell(refused.into_iter().map(|ticket| (ticket, Err(why.clone()))));
}

/// Possession of the log. Dropping it gives the log to the first in the queue, or lays it down.
///
/// A panic while leading would leave everybody waiting for a log that is gone, half a group
/// written: it poisons the store and answers all that wait.
struct Leading<'a> {
    shared: &'a Shared,
    /// `None` once it was handed on: behind a take-off, and inside the drop.
    lead: Option<Box<Lead>>,
    /// The thread was unwinding already: a commit inside a drop, which is none of ours.
    unwinding: bool,
}

impl<'a> Leading<'a> {
    fn of(shared: &'a Shared, lead: Box<Lead>) -> Self {
        Self { shared, lead: Some(lead), unwinding: panicking() }
    }

    fn run<R>(mut self, work: impl FnOnce(&mut Lead) -> R) -> Option<R> {
        self.lead.as_deref_mut().map(work)
    }

    /// Hands the log on while the group is on its way to the device.
    fn take_off(&mut self) -> Flying<'a> {
        if let Some(lead) = self.lead.take() {
            self.shared.queue.lock().take_off(lead);
        }
        Flying { shared: self.shared, unwinding: self.unwinding }
    }
}

/// A synced group is on its way. Dropping it lets the next one go.
struct Flying<'a> {
    shared: &'a Shared,
    unwinding: bool,
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        if !abandoned(self.shared, self.unwinding) {
            self.shared.queue.lock().land();
        }
    }
}

/// If the thread has panicked over a group: poisons the store, and answers all that wait.
fn abandoned(shared: &Shared, unwinding_before: bool) -> bool {
    let abandoned = panicking() && !unwinding_before;
    if abandoned {
        let cause = "a thread panicked while it committed".to_owned();
        let _ = shared.poison.set(cause.clone());
        refuse(shared, &Error::Poisoned { cause });
    }
    abandoned
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if let Some(lead) = self.lead.take()
            && !abandoned(self.shared, self.unwinding)
        {
            self.shared.queue.lock().pass_on(lead);
        }
    }
}

/// Commits one group from the front of the queue.
fn lead(leading: Leading<'_>) {
    linger(leading.shared);
    let most = leading.shared.options.group_bytes();
    let group = leading.shared.queue.lock().take_group(most);
    let commit =
        |(writes, durability, ticket)| Commit::of(Carried::Set(writes), durability, Some(ticket));
    let mut group = Group(group.into_iter().map(commit).collect());
    lead_group(leading, &mut group.0);
}

/// Waits for more writers where the next group is to be synced and they are on their way.
fn linger(shared: &Shared) {
    let most = shared.options.group_bytes();
    let queue = shared.queue.lock();
    let plan = queue.linger.plan(queue.synced_waiting());
    let plan = plan.filter(|_| queue.next_group_can_grow(most));
    drop(queue);
    let Some((writers, time)) = plan else { return };
    yield_until(time, || {
        let queue = shared.queue.lock();
        queue.synced_waiting() >= writers || !queue.next_group_can_grow(most)
    });
    let mut queue = shared.queue.lock();
    let all_came = queue.synced_waiting() >= writers;
    queue.linger.has_waited(all_came);
}

fn lead_group(leading: Leading<'_>, group: &mut [Commit<'_>]) {
    let shared = leading.shared;
    let result = shared.check_poison().and_then(|()| write_group(leading, group));
    if let Err(error) = result {
        shared.queue.lock().linger.group_has_failed();
        group.iter_mut().for_each(|commit| commit.outcome = Err(error.clone()));
    }
    group.iter_mut().for_each(|commit| commit.done = true);
}

fn write_group(mut leading: Leading<'_>, group: &mut [Commit<'_>]) -> Result<()> {
    let shared = leading.shared;
    let Some(lead) = leading.lead.as_deref_mut() else { return Err(Error::Closed) };
    let strongest = group.iter().map(|c| c.durability).max().unwrap_or_default();
    lead.log.forget_flushed(shared.log_number.load(Ordering::Acquire), shared.durable());
    let (landing, begun) = match (bulk::of(shared, group), &mut *group) {
        (Some(bulk), [commit]) => (bulk::append(shared, lead, commit, *bulk)?, None),
        _ => append_frame(shared, lead, group, strongest)?,
    };
    let last = shared.assigned.load(Ordering::Relaxed);
    // The background sleeps for as long as there is nothing to do, and the first tombstone is something.
    if lead.log.has_news() || lead.active.memtable().has_news() {
        shared.wake();
    }
    lead.is_full = room::is_full(shared, lead);
    shared.counters.count_group(group.len(), strongest == Durability::Synced);

    // 5. Wait for the landing, without the log where that takes long.
    let mut flying = None;
    if let Some(landing) = landing {
        flying = landing.synced().map(|_| leading.take_off());
        seeded!(AcknowledgedAtTakeOff => (), else wait_for(shared, &landing)?);
    } else {
        note_durable(shared, lead.log.synced());
    }

    // 6. Publish, if anybody is to be told.
    if group.iter().any(|commit| commit.outcome.is_ok()) {
        match leading.lead {
            Some(_) => publish_in_turn(shared, last),
            None => publish(shared, last),
        }
    }
    if let Some(begun) = begun {
        let mut queue = shared.queue.lock();
        let waiting = queue.synced_waiting();
        queue.linger.group_is_synced(group.len(), waiting, begun.elapsed());
    }
    drop(flying);
    if group.iter().any(|commit| commit.writes.has_catalog_ops()) {
        background::search_dead(shared);
    }
    Ok(())
}

/// A commit without operations: on the device, and not published.
pub(super) fn commit_nothing(shared: &Shared, lead: &mut Lead) -> Result<Seqno> {
    let seqno = commit::next_seqno(shared)?;
    lead.log.forget_flushed(shared.log_number.load(Ordering::Acquire), shared.durable());
    let reserved = lead.log.reserve(2 * batch::HEADER_LEN, seqno);
    judge(shared, &lead.log, reserved)?;
    let mut frame = lead.log.begin();
    let start = batch::begin(&mut frame.bytes);
    batch::finish(&mut frame.bytes, start, 0);
    (frame.first, frame.count) = (seqno, 1);
    // From here on a failure leaves it indeterminate.
    shared.assigned.store(seqno, Ordering::Relaxed);
    let appended = lead.log.append(frame, Durability::Synced);
    let landing = judge(shared, &lead.log, appended)?;
    seeded!(LoadNotNoted => (), else lead.active.note(seqno));
    lead.is_full = room::is_full(shared, lead);
    shared.counters.count_group(1, true);
    landing.map_or(Ok(()), |landing| wait_for(shared, &landing))?;
    Ok(seqno)
}

/// Steps 1 to 4. Gives what is on its way, and since when if it is to be synced.
fn append_frame(
    shared: &Shared,
    lead: &mut Lead,
    group: &mut [Commit<'_>],
    strongest: Durability,
) -> Result<(Option<Landing>, Option<Stopwatch>)> {
    // 1. Make room. Nothing has happened yet when this fails.
    make_room(shared, lead, group)?;

    // 2. Resolve, number, encode.
    let mut frame = lead.log.begin();
    for commit in group.iter_mut() {
        encode(shared, commit, &mut frame);
    }

    // 3. Append. From here on a failure leaves the group indeterminate.
    let begun = (strongest == Durability::Synced && frame.count > 0).then(Stopwatch::start);
    seeded!(SyncSkippedAfterDrop: strongest = unless_dropped(shared, strongest));
    seeded!(PublishedBeforeWritten => publish(shared, shared.assigned.load(Ordering::Relaxed)));
    let appended = lead.log.append(frame, strongest);
    seeded!(LogWriteErrorIgnored: appended = appended.or(Ok(None)));
    let landing = judge(shared, &lead.log, appended)?;

    // 4. Insert while the write is in flight.
    seeded!(BatchOverTwoMemtables => insert_and_seal(shared, lead, group));
    let mut writer = lead.active.writer();
    group.iter().for_each(|commit| insert(&mut writer, commit));
    drop(writer);
    Ok((landing, begun))
}

/// Step 1.
fn make_room(shared: &Shared, lead: &mut Lead, group: &[Commit<'_>]) -> Result<()> {
    if group.iter().any(|commit| !commit.writes.is_empty()) {
        room::make(shared, lead)?;
        let bound = group.iter().map(|commit| commit.writes.encoded_bound() + 16).sum();
        let first = shared.assigned.load(Ordering::Relaxed) + 1;
        let reserved = lead.log.reserve(bound, first);
        judge(shared, &lead.log, reserved)?;
    }
    Ok(())
}

/// Waits for a group that was handed to the device. A failure leaves the log's contents unknown.
fn wait_for(shared: &Shared, landing: &Landing) -> Result<()> {
    let landed = landing.wait();
    seeded!(LogGoesOnWhenFull => if let Err(Error::DiskFull { .. }) = landed { return landed });
    landed.inspect_err(|error| shared.poison(error))?;
    note_durable(shared, landing.synced().unwrap_or(0));
    Ok(())
}

/// Lets readers see everything up to a commit. A weaker group may have been faster, and shown one that is on
/// its way still: what it promises, that one has reached, too.
pub(super) fn publish(shared: &Shared, last: Seqno) {
    shared.visible.fetch_max(last, Ordering::AcqRel);
}

/// The same by who has the log: whatever was shown has its number from before, and who shows it later than this looks
/// first. So nobody need look here, which a locked instruction would take.
fn publish_in_turn(shared: &Shared, last: Seqno) {
    shared.visible.store(last, Ordering::Release);
}

/// Everything up to a commit is on the device.
fn note_durable(shared: &Shared, last: Seqno) {
    // Seldom news to a commit that is not synced, and looking is cheaper than writing.
    if last > shared.durable() {
        shared.durable.fetch_max(last, Ordering::AcqRel);
    }
}

/// Passes a result of the log on; a failure that leaves its contents unknown poisons the store.
pub(crate) fn judge<T>(shared: &Shared, log: &Log, result: Result<T>) -> Result<T> {
    result.inspect_err(|error| {
        if log.is_broken() {
            shared.poison(error);
        }
    })
}

/// The durability, or none if a database was dropped lately.
#[cfg(feature = "seeded-bugs")]
fn unless_dropped(shared: &Shared, durability: Durability) -> Durability {
    let has_dropped = crate::sync::read(&shared.catalog).has_ended();
    if has_dropped { durability.min(Durability::Buffered) } else { durability }
}

/// Inserts all but the last operation of a group, and seals the memtable when it is half full.
#[cfg(feature = "seeded-bugs")]
fn insert_and_seal(shared: &Shared, lead: &mut Lead, group: &[Commit<'_>]) {
    let half_full = lead.active.memtable().live_bytes() >= shared.options.memtable_size / 2;
    if !half_full || shared.view.with(|view| !view.sealed.is_empty()) {
        return;
    }
    let mut writer = lead.active.writer();
    group.iter().for_each(|commit| commit::insert_all_but_one(&mut writer, commit));
    drop(writer);
    room::seal(shared, lead);
}
