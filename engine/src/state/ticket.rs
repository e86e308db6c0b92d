//! Where a writer in line hears of its turn and of its result.
//!
//! A writer that waits sleeps at a [`Bell`]. The first in a line, who will lead, has one of its own; all
//! behind it share one, so that a group is woken by one system call. Whoever is woken looks at its own
//! ticket, and sleeps on if it was not meant.
//!
//! A writer that does not wait has a handle: its result stays here until somebody asks for it. If it is to
//! lead, its [`Deputy`] does.

use std::any::Any;
use std::mem;
use std::task::Waker;

use orlop_formats::ids::Seqno;

use crate::error::Result;
use crate::state::lead::Lead;
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, guarded};

/// What a writer is told.
pub(crate) enum TicketState<L = Lead> {
    Waiting,
    Lead(Box<L>),
    Done(Result<Seqno>),
}

/// See the module.
pub(crate) struct Ticket<L = Lead> {
    state: Mutex<TicketState<L>>,
    bell: Arc<Bell>,
    handle: Option<Handle<L>>,
}

/// What a ticket has in place of a writer that waits.
struct Handle<L> {
    deputy: Arc<Deputy<L>>,
    until_done: Mutex<UntilDone>,
}

impl<L> Handle<L> {
    /// The one before is dropped behind the lock: it is others' code.
    fn set_waker(&self, waker: Option<Waker>) {
        let before = mem::replace(&mut self.until_done.lock().waker, waker);
        drop(before);
    }
}

struct UntilDone {
    waker: Option<Waker>,
    /// The store stays open as long as it has a commit in line.
    store: Option<Arc<dyn Any + Send + Sync>>,
}

/// Where writers sleep.
#[derive(Default)]
pub(crate) struct Bell {
    sleepers: Mutex<usize>,
    woken: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Wakes those who sleep. A wake-up is a system call even when nobody hears it.
    fn ring(&self) {
        if *self.sleepers.lock() > 0 {
            self.woken.notify_all();
        }
    }

    fn sleep<'a>(&self, mut sleepers: MutexGuard<'a, usize>) -> MutexGuard<'a, usize> {
        *sleepers += 1;
        let mut sleepers = self.woken.wait(sleepers);
        *sleepers -= 1;
        sleepers
    }
}

impl<L> Ticket<L> {
    /// For a writer that sleeps there.
    pub(crate) fn at(bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(TicketState::Waiting), bell, handle: None })
    }

    /// For a writer that does not wait.
    pub(crate) fn handle(deputy: Arc<Deputy<L>>, store: Arc<dyn Any + Send + Sync>) -> Arc<Self> {
        deputy.clients.fetch_add(1, Ordering::AcqRel);
        let until_done = Mutex::new(UntilDone { waker: None, store: Some(store) });
        let handle = Handle { deputy, until_done };
        let state = Mutex::new(TicketState::Waiting);
        Arc::new(Self { state, bell: Bell::new(), handle: Some(handle) })
    }

    /// Gives the log to whoever leads for this writer.
    pub(crate) fn lead(&self, log: Box<L>) {
        match &self.handle {
            Some(handle) => handle.deputy.hand_over(log),
            None => {
                *self.state.lock() = TicketState::Lead(log);
                self.bell.ring();
            }
        }
    }

    /// Waits for leadership or for the result.
    pub(crate) fn wait(&self) -> TicketState<L> {
        let mut sleepers = self.bell.sleepers.lock();
        loop {
            // Told before the bell is rung, and the bell is held from here to the sleep.
            let told = mem::replace(&mut *self.state.lock(), TicketState::Waiting);
            if !matches!(told, TicketState::Waiting) {
                return told;
            }
            sleepers = self.bell.sleep(sleepers);
        }
    }

    /// The result, if it is there; it stays. Otherwise `waker` is called when it is.
    pub(crate) fn poll(&self, waker: Option<&Waker>) -> Option<Result<Seqno>> {
        let (Some(handle), Some(waker)) = (&self.handle, waker) else { return self.look() };
        if let Some(result) = self.look() {
            return Some(result);
        }
        handle.set_waker(Some(waker.clone()));
        // A result that came in between may have found no waker, and one that is not needed is not kept.
        let result = self.look()?;
        handle.set_waker(None);
        Some(result)
    }

    fn look(&self) -> Option<Result<Seqno>> {
        match &*self.state.lock() {
            TicketState::Done(result) => Some(result.clone()),
            _ => None,
        }
    }

    /// Waits for the result, which stays.
    pub(crate) fn result(&self) -> Result<Seqno> {
        let mut sleepers = self.bell.sleepers.lock();
        loop {
            if let Some(result) = self.look() {
                return result;
            }
            sleepers = self.bell.sleep(sleepers);
        }
    }
}

/// Tells writers their results. Not behind a lock: wakers are others' code, and the store may close here.
pub(crate) fn tell<L>(results: impl IntoIterator<Item = (Arc<Ticket<L>>, Result<Seqno>)>) {
    let results: Vec<_> = results.into_iter().collect();
    // First: who has a result may rely on it that nobody else keeps the store open. If these are the last
    // handles the store closes here, and the results come behind that. It delays nobody who has a handle, for
    // there is none: a writer that waits in a commit has one. And who has none can learn only from its result
    // that the store is closed, and may be opened again.
    let handles = || results.iter().filter_map(|(ticket, _)| ticket.handle.as_ref());
    let stores: Vec<_> = handles().map(|handle| handle.until_done.lock().store.take()).collect();
    drop(stores);
    let mut bells: Vec<Arc<Bell>> = Vec::new();
    let mut wakers = Vec::new();
    for (ticket, result) in results {
        // A log that was meant for a writer that is refused goes with what is dropped here.
        let before = mem::replace(&mut *ticket.state.lock(), TicketState::Done(result));
        drop(before);
        if !bells.last().is_some_and(|last| Arc::ptr_eq(last, &ticket.bell)) {
            bells.push(Arc::clone(&ticket.bell));
        }
        if let Some(handle) = &ticket.handle {
            handle.deputy.clients.fetch_sub(1, Ordering::AcqRel);
            wakers.extend(handle.until_done.lock().waker.take());
        }
    }
    bells.iter().for_each(|bell| bell.ring());
    // One that panics ends nobody else's waiting, nor the thread.
    wakers.into_iter().for_each(|waker| guarded(|| waker.wake()));
}

/// Leads for writers that do not wait: a thread that sleeps until it is handed the log.
pub(crate) struct Deputy<L = Lead> {
    desk: Mutex<Desk<L>>,
    woken: Condvar,
    /// Handles whose commits are not done.
    clients: AtomicU64,
    /// It has been given the log, and has not come back for more.
    is_busy: AtomicBool,
}

struct Desk<L> {
    log: Option<Box<L>>,
    /// Nobody will hand the log over any more.
    ended: bool,
}

impl<L> Default for Deputy<L> {
    fn default() -> Self {
        let desk = Mutex::new(Desk { log: None, ended: false });
        let (clients, is_busy) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { desk, woken: Condvar::default(), clients, is_busy }
    }
}

impl<L> Deputy<L> {
    /// Whether a commit was submitted that is not done, or whose waker may be running: what that submits must not be
    /// waited for by the thread that it is running on, on which others wait.
    pub(crate) fn has_clients(&self) -> bool {
        self.clients.load(Ordering::Acquire) > 0 || self.is_busy.load(Ordering::Acquire)
    }

    fn hand_over(&self, log: Box<L>) {
        self.desk.lock().log = Some(log);
        self.woken.notify_all();
    }

    /// Waits for the log; `None` at the end.
    pub(crate) fn next(&self) -> Option<Box<L>> {
        let mut desk = self.desk.lock();
        self.is_busy.store(false, Ordering::Release);
        loop {
            if let Some(log) = desk.log.take() {
                self.is_busy.store(true, Ordering::Release);
                return Some(log);
            }
            if desk.ended {
                return None;
            }
            desk = self.woken.wait(desk);
        }
    }

    /// Lets the thread go.
    pub(crate) fn end(&self) {
        self.desk.lock().ended = true;
        self.woken.notify_all();
    }
}
