//! Giving space back: files that nobody names, remains of dropped databases.
//!
//! A dropped database's entries may go once no snapshot sees the database any more and the drop
//! itself is on the device. Tables that hold much of it are then found by the compaction picker.
//! What it left in memtables and log goes with a flush, which this asks for.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use orlop_formats::filename::FileName;
use orlop_formats::ids::FileNumber;

use crate::error::Result;
use crate::files::manifest::State;
use crate::flow::{load, room, write};
use crate::options::{Background, SEGMENT_MIN};
use crate::state::lead::Lead;
use crate::state::shared::Shared;
use crate::sync::{self, Ordering, read, yield_until};

/// How often old views are asked for before the background comes back later.
const RECLAIM_ROUNDS: usize = 100;

/// How long they are waited for where the background does not come back.
const LET_GO: Duration = Duration::from_secs(1);

/// Does one piece; false when there is nothing to do now.
pub(crate) fn run(shared: &Shared) -> Result<bool> {
    if remove_buried(shared) {
        return Ok(true);
    }
    if !shared.background.lock().search_dead {
        return Ok(false);
    }
    advance_ends(shared)
}

/// Files of ours that nothing names.
pub(crate) fn orphans(shared: &Shared) -> Result<Vec<PathBuf>> {
    let live: HashSet<FileNumber> =
        shared.view.with(|view| view.version.tables().map(|table| table.meta().number).collect());
    let guard = shared.manifest.lock();
    let Some(manifest) = guard.as_ref() else { return Ok(Vec::new()) };
    let current = manifest.superblock().manifest_number;
    let State { log_number, loading, .. } = manifest.state();
    let live: HashSet<FileNumber> =
        live.into_iter().chain(loading.iter().map(|table| table.number)).collect();
    let entries = shared.dir.list()?;
    let is_orphan = |name: &str| match FileName::parse(name) {
        Some(FileName::Superblock | FileName::Lock) => false,
        Some(FileName::Log(number)) => number < *log_number,
        // What an earlier open has staged was replayed, or is in its segment.
        Some(FileName::Stage(_)) => true,
        Some(FileName::Manifest(number)) => number != current,
        Some(FileName::Sstable(number)) => !live.contains(&number),
        Some(FileName::Blob(_)) => false,
        None => FileName::is_temporary(name),
    };
    let names = entries.into_iter().map(|entry| entry.name).filter(|name| is_orphan(name));
    Ok(names.map(|name| shared.dir.path.join(name)).collect())
}

/// Removes what the open has found that nobody names.
pub(crate) fn remove_orphans(shared: &Shared) -> bool {
    let orphans = std::mem::take(&mut shared.background.lock().orphans);
    for path in &orphans {
        // One that stays is found again by the next open.
        let _ = shared.dir.env.remove(path);
    }
    !orphans.is_empty()
}

/// Removes files whose last reader has let go.
pub(crate) fn remove_buried(shared: &Shared) -> bool {
    if !shared.tables.graveyard.expects() {
        return false;
    }
    if shared.options.background == Background::Manual {
        // What a step does depends on the steps before it, not on what other threads do.
        let_go(shared);
    } else {
        shared.view.reclaim(RECLAIM_ROUNDS);
    }
    let paths = shared.tables.graveyard.empty();
    for path in &paths {
        // What cannot be removed now is an orphan that the next open removes.
        let _ = shared.dir.env.remove(path);
    }
    !paths.is_empty()
}

/// Waits until replaced views are freed, so that the files that only they name can be removed.
pub(crate) fn let_go(shared: &Shared) {
    if !shared.view.reclaim(RECLAIM_ROUNDS) {
        // Who is in the way may be a thread of another store that has no processor just now.
        yield_until(LET_GO, || shared.view.reclaim(1));
    }
}

/// Brings dropped databases closer to their end; true when tables should be searched again.
///
/// 1. what they left in the active memtable and its segment is flushed away, if that is worth it
/// 2. a drop that is not on the device yet is synced
/// 3. once no snapshot sees them either, what was being loaded into them goes, and there is nothing more to look for
fn advance_ends(shared: &Shared) -> Result<bool> {
    if shared.background.lock().trim_log {
        let done = write::try_with_log(shared, |lead| trim(shared, lead)).transpose()?;
        shared.background.lock().trim_log = done.is_none();
        return Ok(done.is_some());
    }
    let durable = shared.durable();
    if read(&shared.catalog).pending_ends(durable, durable) {
        let done = write::try_with_log(shared, |lead| {
            let log = &mut lead.log;
            let synced = log.sync();
            write::judge(shared, log, synced)?;
            shared.durable.fetch_max(log.synced(), Ordering::AcqRel);
            Ok(())
        });
        return done.transpose().map(|done| done.is_some());
    }
    let oldest = shared.snapshots.oldest(&shared.visible);
    let mut catalog = sync::write(&shared.catalog);
    if catalog.pending_ends(oldest, durable) {
        return Ok(false);
    }
    catalog.forget_ends(oldest, durable);
    drop(catalog);
    if load::forget_dead(shared)? {
        return Ok(true);
    }
    // A drop that came in between has set it again after its commit; its wake-up follows.
    shared.background.lock().search_dead = false;
    Ok(false)
}

/// Has what is in memory flushed, and its segments go with it. False where that cannot be: somebody has the log just now,
/// or a flush is due.
pub(crate) fn flush_early(shared: &Shared) -> Result<bool> {
    let done = write::try_with_log(shared, |lead| {
        let can_be = !lead.has_nothing() && shared.view.with(|view| view.flushes_due() == 0);
        if can_be {
            flush(shared, lead)?;
        }
        Ok(can_be)
    });
    done.transpose().map(|done| done.unwrap_or(false))
}

fn trim(shared: &Shared, lead: &mut Lead) -> Result<()> {
    let large = lead.unflushed_bytes() as u64 > SEGMENT_MIN || lead.log.capacity() > SEGMENT_MIN;
    let worth_it = large && !lead.has_nothing() && shared.view.with(|view| view.flushes_due() == 0);
    if worth_it { flush(shared, lead) } else { Ok(()) }
}

fn flush(shared: &Shared, lead: &mut Lead) -> Result<()> {
    let rested = lead.log.rest();
    write::judge(shared, &lead.log, rested)?;
    room::seal(shared, lead);
    Ok(())
}
