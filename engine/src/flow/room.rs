//! Room for writes: when a memtable is sealed, and when a writer waits.
//!
//! A memtable is sealed by its size, by its number of range deletes, or by the size of the log that feeds it; and before its time when a large
//! batch brings a memtable of its own. Such ones count together, with the active one: when all have the size of
//! one, they are due. A writer waits while too many that are due wait for their flush, or too many runs for
//! their compaction; when the background cannot go on, because the disk is full for one, the writer is told why
//! instead.

use std::time::Duration;

use orlop_formats::ids::{FileNumber, Seqno};

use crate::error::{Error, Result};
use crate::flow::background::{self, Progress};
use crate::options::{
    BEHIND_LIMIT, Background, L0_STALL, LOG_SEGMENTS, LOG_SIZES, MOST_RANGE_DELETES, Options,
    SEALED_LIMIT,
};
use crate::state::lead::{Behind, Lead};
use crate::state::memtable::{Active, Memtable};
use crate::state::shared::{BackgroundState, Shared};
use crate::state::view::View;
use crate::sync::{Arc, Ordering, Stopwatch};

/// Returns when the active memtable can take a group.
pub(crate) fn make(shared: &Shared, lead: &mut Lead) -> Result<()> {
    // As of the last group, or the last seal.
    if lead.is_full {
        wait_while(shared, || stalled(shared))?;
        seal(shared, lead);
    }
    Ok(())
}

/// Whether the active memtable has its size, or the log has become too long for so little: synced commits
/// take a sector each.
pub(crate) fn is_full(shared: &Shared, lead: &Lead) -> bool {
    let Options { memtable_size, segment_size, .. } = shared.options;
    let longest = LOG_SIZES * segment_size.max(memtable_size as u64);
    let too_long = || {
        let (segments, bytes) = lead.log.from(lead.log_floor());
        segments >= LOG_SEGMENTS || bytes >= longest
    };
    let is_due = || too_long() && !lead.has_nothing() && flushes_due(shared) == 0;
    let has_many = lead.active.memtable().range_deletes() >= MOST_RANGE_DELETES;
    lead.unflushed_bytes() >= memtable_size || has_many || is_due()
}

fn flushes_due(shared: &Shared) -> usize {
    shared.view.with(View::flushes_due)
}

fn stalled(shared: &Shared) -> bool {
    shared
        .view
        .with(|view| view.flushes_due() >= SEALED_LIMIT || view.version.level(0).len() >= L0_STALL)
}

/// Makes everything due that is in memory: puts an empty memtable in front of the active one, if there is
/// anything in that.
pub(crate) fn seal(shared: &Shared, lead: &mut Lead) {
    lead.is_full = false;
    lead.behind = Behind::default();
    if lead.active.memtable().is_empty() {
        shared.view.with(|view| view.sealed.iter().take(1).for_each(|newest| newest.make_due()));
    } else {
        lead.active.memtable().make_due();
        replace_active(shared, lead, shared.assigned.load(Ordering::Relaxed), None);
    }
    shared.wake();
}

/// Puts the memtable of the commit `seqno`, a large batch in the segment `log_floor`, in front of the active
/// one, and an empty one in front of that.
pub(crate) fn attach(
    shared: &Shared,
    lead: &mut Lead,
    memtable: Active,
    (seqno, log_floor): (Seqno, FileNumber),
) {
    let memtable = memtable.place(seqno, log_floor);
    let (before, floor) = (lead.active.memtable(), lead.log_floor());
    let Behind { memtables, .. } = lead.behind;
    lead.behind = Behind {
        memtables: memtables + 1 + usize::from(!before.is_empty()),
        bytes: lead.unflushed_bytes() + memtable.live_bytes(),
        log_floor: Some(if lead.has_nothing() { log_floor } else { floor }),
    };
    let is_due =
        lead.behind.bytes >= shared.options.memtable_size || lead.behind.memtables >= BEHIND_LIMIT;
    if is_due {
        memtable.make_due();
        lead.behind = Behind::default();
    }
    replace_active(shared, lead, seqno.saturating_sub(1), Some(memtable));
    if is_due {
        shared.wake();
    }
}

/// Puts an empty memtable in front of the active one, whose last commit is `seqno`, with this one between them.
fn replace_active(shared: &Shared, lead: &mut Lead, seqno: Seqno, between: Option<Arc<Memtable>>) {
    lead.active.memtable().seal(seqno);
    lead.active = lead.active.successor(lead.log.floor());
    let active = Arc::clone(lead.active.memtable());
    shared.view.update(|view| {
        let mut sealed = Vec::with_capacity(view.sealed.len() + 2);
        seeded!(BulkOutOfOrder: between = behind(view, between, &mut sealed));
        sealed.extend(between);
        sealed.extend(Some(&view.active).filter(|before| !before.is_empty()).cloned());
        sealed.extend(view.sealed.iter().cloned());
        View { active, sealed, ..view.clone() }
    });
}

/// Puts the active memtable in front of the one that should be in front of it.
#[cfg(feature = "seeded-bugs")]
fn behind(
    view: &View,
    between: Option<Arc<Memtable>>,
    sealed: &mut Vec<Arc<Memtable>>,
) -> Option<Arc<Memtable>> {
    sealed.extend(between.as_ref().map(|_| Arc::clone(&view.active)));
    between
}

/// Lets the flushes that are due now go first, so that few wait for room behind a large batch. Who waits has no
/// log, and needs none of this: others may fill the room meanwhile.
pub(crate) fn wait_for_flushes(shared: &Shared) -> Result<()> {
    let newest = |view: &View| view.sealed.iter().find(|memtable| memtable.is_due()).cloned();
    let Some(due) = shared.view.with(newest) else { return Ok(()) };
    let is_there = || shared.view.with(|view| view.sealed.iter().any(|m| Arc::ptr_eq(m, &due)));
    match wait_while(shared, is_there) {
        // What ails the background fails those who cannot do without it.
        Err(_) if !stalled(shared) => shared.check_poison(),
        waited => waited,
    }
}

/// Returns when a large batch can be put into memory.
pub(crate) fn make_for_bulk(shared: &Shared) -> Result<()> {
    wait_while(shared, || stalled(shared))
}

pub(super) fn wait_while(shared: &Shared, go_on: impl Fn() -> bool) -> Result<()> {
    if !go_on() {
        return Ok(());
    }
    let begun = Stopwatch::start();
    let mut waited = Ok(());
    while waited.is_ok() && go_on() {
        shared.counters.count_stall();
        waited = wait(shared, &go_on);
    }
    shared.counters.count_stall_time(begun.elapsed());
    waited
}

/// Waits a while for the background, unless there is nothing to wait for any more.
fn wait(shared: &Shared, go_on: impl Fn() -> bool) -> Result<()> {
    if shared.options.background == Background::Manual {
        background::step(shared)?;
        return Ok(());
    }
    let state = shared.background.lock();
    if let Some(error) = &state.error {
        return Err(error.clone());
    }
    if state.stop {
        return Err(Error::Closed);
    }
    if !go_on() {
        return Ok(());
    }
    // The background tells when something is done; the timeout only bounds what a lost word costs.
    shared.changed.wait_at_most(state, Duration::from_millis(100));
    shared.check_poison()
}

/// Waits for the background to bring something about; its failure, if it has one, is the answer.
pub(crate) fn wait_until(shared: &Shared, done: impl Fn(&BackgroundState) -> bool) -> Result<()> {
    if shared.options.background == Background::Manual {
        while !done(&shared.background.lock()) && background::step(shared)? != Progress::Idle {}
        return Ok(());
    }
    loop {
        // Whoever brings it about tells so with this lock in hand, afterwards: from the question to
        // the sleep it is kept, so that no word is lost.
        let state = shared.background.lock();
        if done(&state) {
            return Ok(());
        }
        shared.check_poison()?;
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if state.stop {
            return Err(Error::Closed);
        }
        shared.changed.wait_at_most(state, Duration::from_millis(20));
    }
}
