//! The way of a segment's bytes into its file, one write at a time.
//!
//! Whoever has the log hands writes over. Whoever waits for one needs nothing but its [`Landing`], so
//! that others can have the log meanwhile. The lock in here is held while a write is waited for: only who
//! has something for the file, too, comes to it. What all others ask is in atomics.

use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use orlop_formats::ids::Seqno;

use super::pending::Pending;
use crate::env::LogFile;
use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// The largest buffer that is kept for the next piece, in bytes.
const SPARE: usize = 4 << 20;

/// See the module.
pub(super) struct Outlet {
    path: PathBuf,
    state: Mutex<State>,
    /// Where the last frame ends that has landed, and with it all before.
    landed: AtomicU64,
    /// The highest sequence number that a sync of this file covers.
    synced: AtomicU64,
}

struct State {
    file: Box<dyn LogFile>,
    flight: Option<Flight>,
    /// Space for what comes next.
    spare: Vec<u8>,
    /// Behind a failure nothing is known of the file.
    failed: Option<Error>,
}

/// A write on its way.
#[derive(Clone, Copy)]
pub(super) struct Flight {
    /// Where its last frame ends.
    pub(super) end: u64,
    /// The last sequence number that it makes durable.
    pub(super) synced: Option<Seqno>,
}

/// The end of a write that was handed over.
pub(crate) struct Landing {
    outlet: Arc<Outlet>,
    flight: Flight,
}

/// A failure that leaves the segment's contents unknown. Also when the system says that the disk is
/// full: [`Error::DiskFull`] would promise that nothing has happened.
pub(super) fn in_doubt(path: &Path, source: io::Error) -> Error {
    seeded!(LogGoesOnWhenFull => return Error::io("write", path, source));
    Error::Io { op: "write", path: path.to_owned(), source: Arc::new(source) }
}

impl Landing {
    /// Waits for it.
    ///
    /// # Errors
    /// That of this write, of its sync, or of one before.
    pub(crate) fn wait(&self) -> Result<()> {
        if self.has_come() {
            return Ok(());
        }
        let mut state = self.outlet.state.lock();
        // Who had the next write may have waited for this one.
        if self.has_come() {
            return Ok(());
        }
        self.outlet.land(&mut state)?;
        match self.flight.synced {
            _ if self.has_come() => Ok(()),
            // What was written before without a sync.
            Some(seqno) if self.flight.end <= self.outlet.landed() => {
                self.outlet.sync_landed(&mut state, seqno)
            }
            _ => Err(in_doubt(&self.outlet.path, io::Error::other("nobody saw the write land"))),
        }
    }

    fn has_come(&self) -> bool {
        let synced = self.flight.synced.is_none_or(|synced| synced <= self.outlet.synced());
        synced && self.flight.end <= self.outlet.landed()
    }

    /// The last sequence number that is durable then, if it is a sync.
    pub(crate) fn synced(&self) -> Option<Seqno> {
        self.flight.synced
    }
}

impl Outlet {
    /// The way into a file in which everything up to `landed` is, and perhaps a sync on its way.
    pub(super) fn new(
        path: PathBuf,
        file: Box<dyn LogFile>,
        landed: u64,
        is_syncing: bool,
    ) -> Arc<Self> {
        let flight = is_syncing.then_some(Flight { end: landed, synced: None });
        let state = State { file, flight, spare: Vec::new(), failed: None };
        let (landed, synced) = (AtomicU64::new(landed), AtomicU64::new(0));
        Arc::new(Self { path, state: Mutex::new(state), landed, synced })
    }

    /// Where the last frame ends that outlives the process in the file, and with it all before.
    pub(super) fn landed(&self) -> u64 {
        self.landed.load(Ordering::Acquire)
    }

    /// The highest sequence number that a sync of this file covers.
    pub(super) fn synced(&self) -> Seqno {
        self.synced.load(Ordering::Acquire)
    }

    /// Hands a write over, behind the one before. Gives an empty buffer for the next one.
    pub(super) fn submit(
        self: &Arc<Self>,
        offset: u64,
        pending: Pending,
        flight: Flight,
    ) -> Result<(Landing, Vec<u8>)> {
        let mut state = self.state.lock();
        self.land(&mut state)?;
        let (bytes, from) = pending.into_parts();
        let submitted = state.file.submit_from(offset, bytes, from, flight.synced.is_some());
        self.failing(&mut state, submitted.map_err(|source| in_doubt(&self.path, source)))?;
        state.flight = Some(flight);
        Ok((self.landing(flight), mem::take(&mut state.spare)))
    }

    /// Why its writes go another way than the fastest, if they do and that can be told now: whoever waits for a landing
    /// has the state, and who asks has the log, which waits for no sync.
    pub(super) fn fallback(&self) -> Option<String> {
        self.state.try_lock()?.file.fallback()
    }

    /// Whether a write can be handed over without waiting for the one before.
    pub(super) fn is_free(&self) -> bool {
        let Some(mut state) = self.state.try_lock() else { return false };
        state.flight.is_none() || state.file.has_landed()
    }

    /// Takes space for what comes next, if it is more than is there.
    pub(super) fn keep(&self, buffer: Vec<u8>) {
        let mut state = self.state.lock();
        if buffer.capacity() > state.spare.capacity() && buffer.capacity() <= SPARE {
            state.spare = buffer;
        }
    }

    /// Waits for the write on its way.
    pub(super) fn reap(&self) -> Result<()> {
        self.land(&mut self.state.lock())
    }

    fn land(&self, state: &mut State) -> Result<()> {
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let Some(flight) = state.flight.take() else { return Ok(()) };
        let reaped = state.file.reap();
        seeded!(LogSyncErrorIgnored: reaped = reaped.or(Ok(Vec::new())));
        seeded!(FailedSyncRetried: reaped = reaped.or_else(|_| sync_again(state)));
        let reaped = reaped.map_err(|source| in_doubt(&self.path, source));
        let mut buffer = self.failing(state, reaped)?;
        if (state.spare.capacity()..=SPARE).contains(&buffer.capacity()) {
            buffer.clear();
            state.spare = buffer;
        }
        self.landed.store(flight.end, Ordering::Release);
        self.covers(flight.synced.unwrap_or(0));
        Ok(())
    }

    fn failing<T>(&self, state: &mut State, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| state.failed = Some(error.clone()))
    }

    fn covers(&self, seqno: Seqno) {
        self.synced.fetch_max(seqno, Ordering::AcqRel);
    }

    /// Makes everything durable that was handed over, up to this sequence number.
    pub(super) fn sync(&self, last_seqno: Seqno) -> Result<()> {
        let mut state = self.state.lock();
        self.land(&mut state)?;
        self.sync_landed(&mut state, last_seqno)
    }

    /// The sync of what was handed over up to here, for whoever waits for it.
    pub(super) fn landing(self: &Arc<Self>, flight: Flight) -> Landing {
        Landing { outlet: Arc::clone(self), flight }
    }

    fn sync_landed(&self, state: &mut State, last_seqno: Seqno) -> Result<()> {
        if last_seqno > self.synced() {
            let synced = state.file.sync();
            seeded!(LogSyncErrorIgnored: synced = synced.or(Ok(())));
            let synced = synced.map_err(|source| Error::io("sync", &self.path, source));
            self.failing(state, synced)?;
            self.covers(last_seqno);
        }
        Ok(())
    }

    /// Nothing more is written: gives the buffers up, of which this one can be used again.
    pub(super) fn end_writing(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        state.file.end_writing();
        mem::take(&mut state.spare)
    }

    /// Gives the space behind `end` back.
    pub(super) fn trim(&self, end: u64) -> Result<()> {
        let mut state = self.state.lock();
        state.file.set_len(end).map_err(|e| Error::io("truncate", &self.path, e))?;
        state.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}

#[cfg(feature = "seeded-bugs")]
impl Outlet {
    /// Whether a write is on its way that is to be synced: if somebody waits for one, it is.
    pub(super) fn is_syncing(&self) -> bool {
        let state = self.state.try_lock();
        state.is_none_or(|state| state.flight.is_some_and(|flight| flight.synced.is_some()))
    }
}

#[cfg(feature = "seeded-bugs")]
fn sync_again(state: &mut State) -> io::Result<Vec<u8>> {
    state.file.sync().map(|()| Vec::new())
}
