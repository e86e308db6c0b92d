//! Work that nobody waits for, one step at a time.
//!
//! In production one thread loops over [`step`]; with [`Background::Manual`] the caller does, so
//! that every run is the same run. The order of urgency: flush, sync segments that have ended, prepare,
//! remove what an earlier open has left, read back, compact, collect; when all that is done, clear up what is worn; and
//! then scrub.

use std::time::Duration;

use orlop_formats::filename::FileName;
use orlop_formats::ids::FileNumber;
use orlop_formats::manifest::TableMeta;

use crate::error::{Error, Result};
use crate::files::sstable::Table;
use crate::flow::compact::job::{self, Search};
use crate::flow::compact::wear::Memory;
use crate::flow::{collect, flush, scrub};
use crate::options::{Background, L0_COMPACT};
use crate::state::shared::Shared;
use crate::state::view::View;
use crate::sync::{Arc, JoinHandle, Ordering, Stopwatch, panicking, spawn};

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// There was nothing to do.
    Idle,
    /// A memtable became sstables.
    Flushed,
    /// A segment of the log was made before it is needed, or one that is not needed was removed, or synced;
    /// or a table was read back into the page cache.
    Prepared,
    /// Sstables were merged or moved.
    Compacted,
    /// Files, or the remains of dropped databases, were removed.
    Collected,
}

/// How long the background waits after a failure before it tries again: doubling, in between.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long it sleeps while dropped databases or tables wait for their last reader.
const PATIENCE: Duration = Duration::from_millis(200);

/// A store that begins no segment, and needs no memory, for so long keeps one spare, and none of it.
const REST: Duration = Duration::from_secs(3);

/// How long nobody has committed when level 0, or what is in memory, is looked at for what is worn; and how long when little
/// of it is enough.
const QUIET: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Bytes of a merge that are worth it for little garbage, for each second that nobody has committed.
const REST_BYTES: u64 = 4 << 20;

/// Does the most urgent piece of work. One step at a time, whoever calls; none of a store that is closed, whose files
/// may be those of a later open.
pub(crate) fn step(shared: &Shared) -> Result<Progress> {
    let settle = shared.background.lock().settle;
    step_as(shared, settle)
}

/// The same for who waits until nothing is left to do.
pub(crate) fn step_settling(shared: &Shared) -> Result<Progress> {
    step_as(shared, true)
}

fn step_as(shared: &Shared, settle: bool) -> Result<Progress> {
    let _stepping = shared.stepping.lock();
    check_open(shared)?;
    work_off(shared, settle).inspect_err(|error| {
        // What is ready before it is needed, or not needed any more, has no claim to space that somebody
        // needs now.
        if let (Error::DiskFull { .. }, Some(spares)) = (error, &shared.spares) {
            spares.give_way();
            collect::remove_orphans(shared);
            collect::remove_buried(shared);
        }
    })
}

/// With `stepping` in hand, for a close takes that for its own steps.
fn check_open(shared: &Shared) -> Result<()> {
    if shared.background.lock().stop { Err(Error::Closed) } else { Ok(()) }
}

fn work_off(shared: &Shared, settle: bool) -> Result<Progress> {
    shared.check_poison()?;
    if flush::run(shared)? {
        return Ok(Progress::Flushed);
    }
    if sync_ended(shared)? {
        return Ok(Progress::Prepared);
    }
    let prepared = prepare_spare(shared);
    shared.chores.empty_bin();
    if prepared {
        return Ok(Progress::Prepared);
    }
    if collect::remove_orphans(shared) {
        return Ok(Progress::Collected);
    }
    if shared.dir.has_failed() {
        // Law 5, whoever met it.
        shared.dir.sync().inspect_err(|error| shared.poison(error))?;
    }
    let (dead, full) = {
        let state = shared.background.lock();
        (state.search_dead, state.full)
    };
    if let Some(asked) = full {
        if merge_down(shared, asked)? {
            return Ok(Progress::Compacted);
        }
        shared.background.lock().full = None;
        shared.changed.notify_all();
    }
    // What is merged next is read anyway. But where tables come faster than they are merged, that goes first.
    if !is_pressed(shared) && warm(shared) {
        return Ok(Progress::Prepared);
    }
    if let Some(job) = job::next(shared, Search::Due { dead }) {
        job::run(shared, &job)?;
        return Ok(Progress::Compacted);
    }
    if collect::run(shared)? {
        return Ok(Progress::Collected);
    }
    if warm(shared) {
        return Ok(Progress::Prepared);
    }
    let rested = rested(shared);
    if let Some(progress) = clear_up(shared, rested, settle)? {
        return Ok(progress);
    }
    if settle {
        shared.background.lock().settle = false;
        shared.changed.notify_all();
    }
    let is_manual = shared.options.background == Background::Manual;
    if is_manual && !rested.is_zero() && give_back(shared) {
        return Ok(Progress::Prepared);
    }
    Ok(Progress::Idle)
}

/// For how long nobody has committed, as far as steps that found nothing to do can tell. Where steps are the only time
/// that there is, it is as good as a second from the second on.
fn rested(shared: &Shared) -> Duration {
    let last = shared.assigned.load(Ordering::Relaxed);
    let mut state = shared.background.lock();
    match &state.idle {
        Some((at, since)) if *at == last => match shared.options.background {
            Background::Thread => since.elapsed(),
            Background::Manual => QUIET.0,
        },
        _ => {
            state.idle = Some((last, Stopwatch::start()));
            Duration::ZERO
        }
    }
}

/// Merges what is worn, and has what is worn in memory flushed, as far as the store has rested for that. Who waits until
/// nothing is left to do waits for all merges, but not for what others write meanwhile.
fn clear_up(shared: &Shared, rested: Duration, settle: bool) -> Result<Option<Progress>> {
    let worth = if settle { u64::MAX } else { REST_BYTES.saturating_mul(rested.as_secs()) };
    if let Some(job) = job::next(shared, Search::Worn { worth }) {
        let done = job::run(shared, &job);
        if let Err(Error::Corrupt { .. } | Error::Io { .. } | Error::TooNew { .. }) = done {
            // Once is enough: it must not keep everything else from being done.
            shared.background.lock().unmergeable.extend(&job.inputs);
        }
        return done.map(|()| Some(Progress::Compacted));
    }
    let now = shared.clock.now();
    let view = shared.view.pin();
    let is_worth_it = match Memory::of(&view, now) {
        Memory::Fresh { .. } => false,
        Memory::Worn => rested >= QUIET.0,
        Memory::WornSmall => rested >= QUIET.1 && view.version.tables().next().is_some(),
    };
    drop(view);
    let is_flushed = is_worth_it && collect::flush_early(shared)?;
    Ok(is_flushed.then_some(Progress::Collected))
}

/// Does something for the next segment, if nothing is more urgent.
pub(crate) fn prepare_spare(shared: &Shared) -> bool {
    let mut go_on = || {
        let stop = shared.background.lock().stop;
        !stop && shared.view.with(|view| view.flushes_due() == 0)
    };
    shared.spares.as_ref().is_some_and(|spares| spares.prepare(&mut go_on))
}

/// Gives back what a burst has left: spares, but for one, and the memory of memtables. False if there is none.
fn give_back(shared: &Shared) -> bool {
    let trimmed = shared.spares.as_ref().is_some_and(|spares| spares.trim());
    shared.chores.empty_bin();
    let cleared = shared.memory.clear();
    trimmed || cleared
}

/// Syncs a segment of the log that has ended.
pub(crate) fn sync_ended(shared: &Shared) -> Result<bool> {
    let log_number = shared.log_number.load(Ordering::Acquire);
    let synced = shared.chores.sync_one(log_number);
    synced.inspect_err(|error| shared.poison(error))
}

/// Whether level 0 has twice as many runs as it takes for a compaction.
fn is_pressed(shared: &Shared) -> bool {
    shared.view.with(|view| view.version.level(0).len() >= 2 * L0_COMPACT)
}

/// Brings a table into the page cache that was written past it, the newest first: what was written lately is
/// read. What is more urgent goes first; then it is the next reader who waits for the device.
fn warm(shared: &Shared) -> bool {
    let Some(number) = shared.background.lock().cold.pop_back() else { return false };
    if !read_back(shared, number) {
        shared.background.lock().cold.push_back(number);
    }
    true
}

/// The same with those tables of a merge that are to be warm, before readers come to them; as long as nothing is more
/// urgent.
pub(crate) fn warm_output(shared: &Shared, tables: &[TableMeta]) {
    if is_pressed(shared) {
        return;
    }
    for table in tables {
        let number = table.number;
        let was_cold = {
            let cold = &mut shared.background.lock().cold;
            let before = cold.len();
            cold.retain(|other| *other != number);
            cold.len() < before
        };
        if was_cold && !read_back(shared, number) {
            shared.background.lock().cold.push_back(number);
            return;
        }
    }
}

/// Whether all of a table was brought in: not if something more urgent has come up.
fn read_back(shared: &Shared, number: FileNumber) -> bool {
    let path = shared.dir.path_of(FileName::Sstable(number));
    let mut is_whole = true;
    shared.dir.env.warm(&path, &mut || {
        let stop = shared.background.lock().stop;
        is_whole = !stop && shared.view.with(|view| view.flushes_due() == 0);
        is_whole
    });
    is_whole
}

/// One step towards one level; false when everything is there.
pub(crate) fn step_full(shared: &Shared, asked: u64) -> Result<bool> {
    let _stepping = shared.stepping.lock();
    check_open(shared)?;
    merge_down(shared, asked)
}

fn merge_down(shared: &Shared, asked: u64) -> Result<bool> {
    match job::next(shared, Search::Full { asked }) {
        Some(job) => job::run(shared, &job).map(|()| true),
        None => Ok(false),
    }
}

/// Databases were dropped: their remains are to be looked for.
pub(crate) fn search_dead(shared: &Shared) {
    let mut state = shared.background.lock();
    (state.search_dead, state.trim_log, state.wake) = (true, true, true);
    drop(state);
    shared.changed.notify_all();
}

/// Starts the thread that loops over [`step`] until the store closes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let dir = shared.dir.path.clone();
    spawn("orlop-background", move || work(&shared))
        .map_err(|source| Error::io("start a thread for", &dir, source))
}

/// A panic of the thread would leave writers waiting for room that nobody makes.
struct Working<'a>(&'a Shared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if panicking() {
            let _ = self.0.poison.set("the background thread panicked".to_owned());
            self.0.wake();
        }
    }
}

/// How much was used so far of what could be given back; nothing where there is none.
type Used = (Option<u64>, Option<u64>);

/// Since when no more was used.
#[derive(Default)]
struct Rest(Option<(Used, Stopwatch)>);

impl Rest {
    /// Gives back what a store that has rested does not need. Gives when to look again, if there is something.
    fn look(&mut self, shared: &Shared) -> Option<Duration> {
        let begun = shared.spares.as_ref().and_then(|spares| spares.begun_beside_many());
        let used = (begun, shared.memory.taken_beside_some());
        if used == (None, None) {
            return None;
        }
        let rested = match &self.0 {
            Some((at, since)) if *at == used => since.elapsed(),
            _ => {
                self.0 = Some((used, Stopwatch::start()));
                Duration::ZERO
            }
        };
        let left = REST.checked_sub(rested).filter(|left| !left.is_zero());
        if left.is_none() {
            let _stepping = shared.stepping.lock();
            give_back(shared);
        }
        left
    }
}

/// How long until something can be worn that is not now, or that the store has not rested for.
fn until_worn(shared: &Shared) -> Option<Duration> {
    let view = shared.view.pin();
    let look = job::look(shared, &view.version, None);
    let unmergeable = shared.background.lock().unmergeable.clone();
    let now = shared.clock.now();
    // Clocks are put forward: it is looked again after a while.
    let until = |time: u64| Duration::from_millis(time.saturating_sub(now)).clamp(QUIET.0, QUIET.1);
    let of_table = |table: &Arc<Table>| match look.when(table) {
        _ if unmergeable.contains(&table.meta().number) => None,
        _ if look.is_worn(table) => Some(QUIET.0),
        // Who lets go of a snapshot that holds it wakes the background.
        time => time.filter(|time| *time > now).map(until),
    };
    let tables = view.version.tables().filter_map(of_table);
    tables.chain(until_memory_worn(shared, &view, until)).min()
}

/// The same for what is in memory. While somebody deletes it is asked again and again; a store that is quiet hears of the
/// next delete.
fn until_memory_worn(
    shared: &Shared,
    view: &View,
    until: impl Fn(u64) -> Duration,
) -> Option<Duration> {
    let is_quiet = rested(shared) >= QUIET.0;
    if is_quiet || !view.active.has_garbage() {
        view.active.watch_garbage();
    }
    match Memory::of(view, shared.clock.now()) {
        Memory::Fresh { .. } if !is_quiet && view.active.has_garbage() => Some(QUIET.0),
        Memory::Fresh { until: time } => time.map(until),
        Memory::WornSmall if is_quiet => Some(QUIET.1),
        Memory::WornSmall | Memory::Worn => Some(QUIET.0),
    }
}

fn work(shared: &Shared) {
    let _working = Working(shared);
    let mut back_off = BACK_OFF.0;
    let mut rest = Rest::default();
    let mut scrubbing = scrub::Rounds::default();
    loop {
        shared.background.lock().wake = false;
        let outcome = step(shared);
        let patience = match outcome {
            Ok(Progress::Idle) => {
                let waits = [rest.look(shared), scrubbing.turn(shared), until_worn(shared)];
                waits.into_iter().flatten().min()
            }
            _ => None,
        };
        let mut state = shared.background.lock();
        if state.stop {
            return;
        }
        match outcome {
            Ok(Progress::Idle) => {
                state.error = None;
                if state.wake {
                    continue;
                }
                if state.search_dead || shared.tables.graveyard.expects() {
                    let patience = patience.map_or(PATIENCE, |patience| patience.min(PATIENCE));
                    shared.changed.wait_at_most(state, patience);
                } else if let Some(patience) = patience {
                    shared.changed.wait_at_most(state, patience);
                } else {
                    drop(shared.changed.wait(state));
                }
            }
            Ok(_) => {
                state.error = None;
                back_off = BACK_OFF.0;
                drop(state);
                shared.changed.notify_all();
            }
            Err(error) => {
                state.error = Some(error);
                shared.changed.notify_all();
                shared.changed.wait_at_most(state, back_off);
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
        }
    }
}
