//! Writers in line for the log.
//!
//! Leadership *is* possession of the [`Log`]: it lies in the queue while nobody leads, and is handed
//! from leader to leader, so no lock is held while a group is written or synced.

use std::collections::VecDeque;

use orlop_formats::ids::Seqno;

use crate::error::{Error, Result};
use crate::files::wal::Log;
use crate::options::Durability;
use crate::state::write_set::WriteSet;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};

/// Writers that wait, and the log while nobody leads.
#[derive(Default)]
pub(crate) struct CommitQueue {
    pub(crate) waiting: VecDeque<Request>,
    pub(crate) log: Option<Box<Log>>,
    /// The answer to whoever comes, once no more commits are taken.
    pub(crate) closed: Option<Error>,
}

/// A writer in the queue.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) ticket: Arc<Ticket>,
}

/// What a writer wants.
pub(crate) enum Work {
    Commit {
        writes: WriteSet,
        durability: Durability,
    },
    /// The writer wants the log for itself.
    Lead,
}

/// Where a waiting writer hears of its turn or its result.
pub(crate) struct Ticket {
    state: Mutex<TicketState>,
    woken: Condvar,
    /// Somebody sleeps on `woken`. A wake-up is a system call even when nobody hears it, and a
    /// writer alone never sleeps.
    asleep: AtomicBool,
}

/// What a waiting writer is told.
pub(crate) enum TicketState {
    Waiting,
    Lead(Box<Log>),
    Done(Result<Seqno>),
}

impl Ticket {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(TicketState::Waiting),
            woken: Condvar::default(),
            asleep: AtomicBool::new(false),
        })
    }

    pub(crate) fn tell(&self, state: TicketState) {
        let mut current = self.state.lock();
        *current = state;
        // Written under the lock that the sleeper holds until it sleeps.
        if self.asleep.load(Ordering::Relaxed) {
            self.woken.notify_all();
        }
    }

    /// Waits for leadership or for the result.
    pub(crate) fn wait(&self) -> TicketState {
        let mut state = self.state.lock();
        while matches!(*state, TicketState::Waiting) {
            self.asleep.store(true, Ordering::Relaxed);
            state = self.woken.wait(state);
        }
        std::mem::replace(&mut *state, TicketState::Waiting)
    }
}

impl CommitQueue {
    pub(crate) fn new(log: Log) -> Self {
        Self { log: Some(Box::new(log)), ..Self::default() }
    }

    /// A queue that takes no commits: `why` is the answer to each.
    pub(crate) fn refusing(why: Error) -> Self {
        Self { closed: Some(why), ..Self::default() }
    }

    /// Answers everybody that waits, and whoever comes, with `why`.
    pub(crate) fn refuse(&mut self, why: &Error) {
        self.closed = Some(why.clone());
        for request in self.waiting.drain(..) {
            request.ticket.tell(TicketState::Done(Err(why.clone())));
        }
    }
}
