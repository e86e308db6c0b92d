//! Ending an open.
//!
//! 1. take the log away: later commits are refused
//! 2. end the background after its step, and large batches on their way
//! 3. flush what would take long to replay; finish small compactions
//! 4. sync the log and give its unused space back
//! 5. record in the manifest where each segment ended, and in the superblock where the manifest
//!    did: the next open finds a clean store
//! 6. remove files whose last reader has let go; the next open removes the others
//!
//! A poisoned store skips 3 to 5: what it left is for recovery to judge.

use orlop_formats::manifest::VersionEdit;

use crate::error::{Error, Result};
use crate::flow::compact::job::{self, Search};
use crate::flow::{collect, flush, room, write};
use crate::options::{CLOSE_COMPACT_BYTES, CLOSE_FLUSH_BYTES, CLOSE_FLUSH_SEGMENTS};
use crate::state::lead::Lead;
use crate::state::shared::Shared;
use crate::sync::{JoinHandle, Mutex, Ordering, is_this_thread};

/// Closes a store. The second and later calls do nothing.
pub(crate) fn run(shared: &Shared, worker: &Mutex<Option<JoinHandle<()>>>) -> Result<()> {
    let lead = write::close(shared);
    stop(shared);
    // A panic of its own may have it here.
    if let Some(worker) = worker.lock().take().filter(|worker| !is_this_thread(worker)) {
        // It ends by itself, and panics are not ours to pass on inside a drop.
        let _ = worker.join();
    }
    // Who loads something is refused from now on, and done with what it has begun.
    shared.loads.close();
    if let Some(spares) = &shared.spares {
        spares.close();
        // Who writes a large batch still is refused; then nobody touches the directory any more.
        spares.wait_for_lent();
    }
    let mut lead = match lead {
        Ok(lead) => lead,
        // What was committed last may be nowhere; the first to hear of it may be this one.
        Err(Error::Poisoned { cause }) => return Err(Error::Poisoned { cause }),
        Err(_) => return Ok(()),
    };
    let result = last_steps(shared, &mut lead);
    drop(lead);
    shared.chores.close();
    collect::let_go(shared);
    shared.memory.clear();
    collect::remove_orphans(shared);
    collect::remove_buried(shared);
    result
}

/// Tells the background, and whoever waits for it, that nothing more comes.
fn stop(shared: &Shared) {
    shared.background.lock().stop = true;
    shared.changed.notify_all();
}

/// Steps 3 to 5, as one of the background's: before it that has ended, behind it nobody does another.
fn last_steps(shared: &Shared, lead: &mut Lead) -> Result<()> {
    let _stepping = shared.stepping.lock();
    shared.background.lock().stop = false;
    let sound = shared.check_poison();
    seeded!(PoisonedCloseIsClean: sound = Ok(()));
    let result = sound.and_then(|()| settle(shared, lead));
    stop(shared);
    result
}

fn settle(shared: &Shared, lead: &mut Lead) -> Result<()> {
    let (bytes, segments) = (lead.unflushed_bytes(), lead.log.live_segments());
    let takes_long = bytes > CLOSE_FLUSH_BYTES || segments > CLOSE_FLUSH_SEGMENTS;
    if takes_long && !lead.has_nothing() {
        let retired = lead.log.retire();
        write::judge(shared, &lead.log, retired)?;
        room::seal(shared, lead);
    }
    // Only to make the next open faster. What fails here, for want of space perhaps, is in the log
    // or in its old tables, as it was.
    let _ = shorten(shared);
    let sound = shared.check_poison();
    seeded!(PoisonedCloseIsClean: sound = Ok(()));
    sound?;
    let log = &mut lead.log;
    log.forget_flushed(shared.log_number.load(Ordering::Acquire), shared.durable());
    let ends = log.finish();
    let ends = write::judge(shared, log, ends)?;
    seeded!(LogEndUnrecorded: ends = Vec::new());
    shared.durable.fetch_max(log.synced(), Ordering::AcqRel);
    let mut manifest = shared.manifest.lock();
    let Some(manifest) = manifest.as_mut() else { return Ok(()) };
    let last_seqno = shared.assigned.load(Ordering::Relaxed);
    seeded!(LogEndUnrecorded: last_seqno = manifest.state().last_seqno);
    let edit = VersionEdit {
        segment_ends: ends,
        last_seqno: Some(last_seqno),
        next_database_id: Some(crate::sync::read(&shared.catalog).next_id()),
        clock_ms: Some(manifest.state().clock_ms.max(shared.clock.now())),
        ..VersionEdit::default()
    };
    match manifest.append(edit).and_then(|()| manifest.vouch()) {
        // Everything is on the device; the next open only has to find the ends by itself.
        Err(Error::DiskFull { .. }) => Ok(()),
        closed => closed,
    }
}

/// Step 3.
fn shorten(shared: &Shared) -> Result<()> {
    while flush::run(shared)? {}
    while let Some(job) = job::next(shared, Search::Due { dead: false }) {
        if job.bytes > CLOSE_COMPACT_BYTES {
            break;
        }
        job::run(shared, &job)?;
    }
    Ok(())
}
