//! Room for writes: when a memtable is sealed, and when a writer waits.
//!
//! A memtable is sealed by its size, or by that of the log that feeds it. A writer waits while too many
//! sealed memtables wait for their flush or too many runs for their compaction; when the background cannot go
//! on, because the disk is full for one, the writer is told why instead.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::flow::background::{self, Progress};
use crate::options::{Background, L0_STALL, LOG_SEGMENTS, LOG_SIZES, Options, SEALED_LIMIT};
use crate::state::lead::Lead;
use crate::state::shared::{BackgroundState, Shared};
use crate::state::view::View;
use crate::sync::{Arc, Ordering};

/// Returns when the active memtable can take a group.
pub(crate) fn make(shared: &Shared, lead: &mut Lead) -> Result<()> {
    loop {
        // As of the last group, or the last seal.
        if !lead.is_full {
            return Ok(());
        }
        if !stalled(shared) {
            seal(shared, lead);
            return Ok(());
        }
        shared.counters.count_stall();
        wait(shared)?;
    }
}

/// Whether the active memtable has its size, or the log has become too long for so little: synced commits
/// take a sector each.
pub(crate) fn is_full(shared: &Shared, lead: &Lead) -> bool {
    let Options { memtable_size, segment_size, .. } = shared.options;
    let longest = LOG_SIZES * segment_size.max(memtable_size as u64);
    let (log, active) = (&lead.log, lead.active.memtable());
    let too_long = || {
        let (segments, bytes) = log.from(active.log_floor());
        segments >= LOG_SEGMENTS || bytes >= longest
    };
    let is_due = || too_long() && !active.is_empty() && shared.view.with(|v| v.sealed.is_empty());
    active.live_bytes() >= memtable_size || is_due()
}

fn stalled(shared: &Shared) -> bool {
    shared
        .view
        .with(|view| view.sealed.len() >= SEALED_LIMIT || view.version.level(0).len() >= L0_STALL)
}

/// Puts an empty memtable in front of the active one.
pub(crate) fn seal(shared: &Shared, lead: &mut Lead) {
    lead.is_full = false;
    lead.active.memtable().seal(shared.assigned.load(Ordering::Relaxed));
    lead.active = lead.active.successor(lead.log.floor());
    let active = Arc::clone(lead.active.memtable());
    shared.view.update(|view| {
        let mut sealed = Vec::with_capacity(view.sealed.len() + 1);
        sealed.push(Arc::clone(&view.active));
        sealed.extend(view.sealed.iter().cloned());
        View { active, sealed, version: Arc::clone(&view.version) }
    });
    shared.wake();
}

fn wait(shared: &Shared) -> Result<()> {
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
    if !stalled(shared) {
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
