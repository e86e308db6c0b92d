//! Writers in line for the log.
//!
//! Leadership *is* possession of the [`Log`]: it lies in the queue while nobody leads, and is handed
//! from leader to leader, so no lock is held while a group is written or synced. The log is a
//! parameter, `L`, since its possession is all that matters here.

use std::collections::VecDeque;

use orlop_formats::ids::Seqno;

use crate::error::{Error, Result};
use crate::files::wal::Log;
use crate::options::Durability;
use crate::state::linger::Linger;
use crate::state::write_set::WriteSet;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};

/// Writers that wait, and the log while nobody leads.
pub(crate) struct CommitQueue<L = Log> {
    pub(crate) waiting: VecDeque<Request<L>>,
    pub(crate) log: Option<Box<L>>,
    pub(crate) linger: Linger,
    /// The answer to whoever comes, once no more commits are taken.
    pub(crate) closed: Option<Error>,
}

/// A writer in the queue.
pub(crate) struct Request<L = Log> {
    pub(crate) work: Work,
    pub(crate) ticket: Arc<Ticket<L>>,
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
pub(crate) struct Ticket<L = Log> {
    state: Mutex<TicketState<L>>,
    woken: Condvar,
    /// Somebody sleeps on `woken`. A wake-up is a system call even when nobody hears it, and a
    /// writer alone never sleeps.
    asleep: AtomicBool,
}

/// What a waiting writer is told.
pub(crate) enum TicketState<L = Log> {
    Waiting,
    Lead(Box<L>),
    Done(Result<Seqno>),
}

impl<L> Ticket<L> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(TicketState::Waiting),
            woken: Condvar::default(),
            asleep: AtomicBool::new(false),
        })
    }

    pub(crate) fn tell(&self, state: TicketState<L>) {
        let mut current = self.state.lock();
        *current = state;
        // Written under the lock that the sleeper holds until it sleeps.
        if self.asleep.load(Ordering::Relaxed) {
            self.woken.notify_all();
        }
    }

    /// Waits for leadership or for the result.
    pub(crate) fn wait(&self) -> TicketState<L> {
        let mut state = self.state.lock();
        while matches!(*state, TicketState::Waiting) {
            self.asleep.store(true, Ordering::Relaxed);
            state = self.woken.wait(state);
        }
        std::mem::replace(&mut *state, TicketState::Waiting)
    }
}

impl<L> CommitQueue<L> {
    pub(crate) fn new(log: L) -> Self {
        Self {
            waiting: VecDeque::new(),
            log: Some(Box::new(log)),
            linger: Linger::default(),
            closed: None,
        }
    }

    /// A queue that takes no commits: `why` is the answer to each.
    pub(crate) fn refusing(why: Error) -> Self {
        Self { waiting: VecDeque::new(), log: None, linger: Linger::default(), closed: Some(why) }
    }

    /// The log, where nobody leads: who takes it leads without standing in line.
    pub(crate) fn take_log(&mut self) -> Result<Option<Box<L>>> {
        match &self.closed {
            Some(why) => Err(why.clone()),
            None => Ok(self.log.take()),
        }
    }

    /// Puts a writer in line; where nobody leads, it does.
    pub(crate) fn enter(&mut self, work: Work, ticket: &Arc<Ticket<L>>) -> Result<()> {
        if let Some(why) = &self.closed {
            return Err(why.clone());
        }
        self.waiting.push_back(Request { work, ticket: Arc::clone(ticket) });
        // The log lies here only while nobody waits: then the new request is the first.
        if let Some(log) = self.log.take() {
            ticket.tell(TicketState::Lead(log));
        }
        Ok(())
    }

    /// Takes the log from who has led: the first in line gets it, or it lies down here.
    pub(crate) fn pass_on(&mut self, log: Box<L>) {
        match self.waiting.front() {
            Some(next) => next.ticket.tell(TicketState::Lead(log)),
            None => self.log = Some(log),
        }
    }

    /// Answers everybody that waits, and whoever comes, with `why`.
    pub(crate) fn refuse(&mut self, why: &Error) {
        self.closed = Some(why.clone());
        for request in self.waiting.drain(..) {
            request.ticket.tell(TicketState::Done(Err(why.clone())));
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
