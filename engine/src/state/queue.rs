//! Writers in line for the log.
//!
//! Leadership *is* possession of the [`Lead`]: it lies in the queue while nobody leads, and is handed
//! from leader to leader, so no lock is held while a group is written or synced. The log is a
//! parameter, `L`, since its possession is all that matters here.
//!
//! While a synced group is on its way to the device, its leader has handed the log on: commits that ask for
//! less go on meanwhile. Who needs the device, too, stands in a line of its own, and so the next group
//! gathers. When the group has arrived, that line is put behind the other one.

use std::any::Any;
use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::state::lead::Lead;
use crate::state::linger::Linger;
use crate::state::ticket::{Bell, Deputy, Ticket};
use crate::state::write_set::WriteSet;
use crate::sync::Arc;

/// Writers that wait, and the log while nobody leads.
pub(crate) struct CommitQueue<L = Lead> {
    /// Who waits for the log.
    pub(crate) waiting: VecDeque<Request<L>>,
    /// A synced group is on its way.
    flying: bool,
    /// Who waits until it has arrived.
    behind: VecDeque<Request<L>>,
    /// How many synced commits are in both lines.
    synced: usize,
    /// Where those sleep who come now and are not the first in their line.
    bell: Arc<Bell>,
    pub(crate) log: Option<Box<L>>,
    pub(crate) linger: Linger,
    /// The answer to whoever comes, once no more commits are taken.
    pub(crate) closed: Option<Error>,
}

/// A writer in the queue.
pub(crate) struct Request<L = Lead> {
    pub(crate) work: Work,
    pub(crate) ticket: Arc<Ticket<L>>,
}

impl<L> Request<L> {
    /// Whether it needs the device to be free of other groups.
    fn needs_device(&self) -> bool {
        self.work.needs_device()
    }
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

impl Work {
    /// Whether it is a commit that is to be synced.
    fn is_synced(&self) -> bool {
        matches!(self, Work::Commit { durability: Durability::Synced, .. })
    }

    pub(crate) fn needs_device(&self) -> bool {
        match self {
            Work::Commit { durability, .. } => *durability == Durability::Synced,
            Work::Lead => true,
        }
    }
}

impl<L> CommitQueue<L> {
    pub(crate) fn new(log: L) -> Self {
        Self { log: Some(Box::new(log)), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            waiting: VecDeque::new(),
            flying: false,
            behind: VecDeque::new(),
            synced: 0,
            bell: Bell::new(),
            log: None,
            linger: Linger::default(),
            closed: None,
        }
    }

    /// A queue that takes no commits: `why` is the answer to each.
    pub(crate) fn refusing(why: Error) -> Self {
        Self { closed: Some(why), ..Self::empty() }
    }

    /// The log, where nobody leads: who takes it leads without standing in line.
    pub(crate) fn take_log(&mut self, needs_device: bool) -> Result<Option<Box<L>>> {
        match &self.closed {
            Some(why) => Err(why.clone()),
            None if self.flying && needs_device => Ok(None),
            None => Ok(self.log.take()),
        }
    }

    /// Puts a writer in line that will wait; where nobody leads, it does.
    pub(crate) fn enter(&mut self, work: Work) -> Result<Arc<Ticket<L>>> {
        let line = if self.flying && work.needs_device() { &self.behind } else { &self.waiting };
        let bell = if line.is_empty() { Bell::new() } else { Arc::clone(&self.bell) };
        self.line_up(work, Ticket::at(bell))
    }

    /// Puts the work of a writer in line that goes on; where nobody leads, its deputy does.
    pub(crate) fn leave(
        &mut self,
        work: Work,
        deputy: &Arc<Deputy<L>>,
        store: Arc<dyn Any + Send + Sync>,
    ) -> Result<Arc<Ticket<L>>> {
        if let Some(why) = &self.closed {
            return Err(why.clone());
        }
        self.line_up(work, Ticket::handle(Arc::clone(deputy), store))
    }

    fn line_up(&mut self, work: Work, ticket: Arc<Ticket<L>>) -> Result<Arc<Ticket<L>>> {
        if let Some(why) = &self.closed {
            return Err(why.clone());
        }
        let request = Request { work, ticket: Arc::clone(&ticket) };
        self.synced += usize::from(request.work.is_synced());
        if self.flying && request.needs_device() {
            self.behind.push_back(request);
            return Ok(ticket);
        }
        self.waiting.push_back(request);
        // The log lies here only while nobody waits: then the new request is the first.
        if let Some(log) = self.log.take() {
            ticket.lead(log);
        }
        Ok(ticket)
    }

    /// Takes the log from who has led: the first in line gets it, or it lies down here.
    pub(crate) fn pass_on(&mut self, log: Box<L>) {
        match self.waiting.front() {
            Some(next) => next.ticket.lead(log),
            None => self.log = Some(log),
        }
    }

    /// Takes the log from who has led a synced group that is on its way.
    pub(crate) fn take_off(&mut self, log: Box<L>) {
        self.flying = true;
        let all = std::mem::take(&mut self.waiting);
        (self.behind, self.waiting) = all.into_iter().partition(Request::needs_device);
        self.pass_on(log);
    }

    /// The synced group has arrived, or failed to.
    pub(crate) fn land(&mut self) {
        self.flying = false;
        self.waiting.append(&mut self.behind);
        if let Some(log) = self.log.take() {
            self.pass_on(log);
        }
    }

    /// Takes the next group out of line: from the front, commits that need the device, or such that do not,
    /// as the first of them. Those of one kind keep their order: behind one that is too large for the group
    /// none goes. None in this line passes one who wants the log for itself.
    pub(crate) fn take_group(
        &mut self,
        most_bytes: usize,
    ) -> Vec<(WriteSet, Durability, Arc<Ticket<L>>)> {
        let needs_device = self.waiting.front().is_some_and(Request::needs_device);
        let (mut group, mut left, mut bytes, mut full) = (Vec::new(), VecDeque::new(), 0, false);
        while let Some(Request { work, ticket }) = self.waiting.pop_front() {
            let is_kind = work.needs_device() == needs_device;
            match work {
                Work::Commit { writes, durability } if is_kind && !full => {
                    full = !group.is_empty() && bytes + writes.encoded_bound > most_bytes;
                    if full {
                        left.push_back(Request {
                            work: Work::Commit { writes, durability },
                            ticket,
                        });
                        continue;
                    }
                    bytes += writes.encoded_bound;
                    group.push((writes, durability, ticket));
                }
                Work::Commit { .. } => left.push_back(Request { work, ticket }),
                Work::Lead => {
                    left.push_back(Request { work, ticket });
                    break;
                }
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        self.bell = Bell::new();
        self.synced -= if needs_device { group.len() } else { 0 };
        group
    }

    /// How many wait whose commits could be in a group with a synced one.
    pub(crate) fn synced_waiting(&self) -> usize {
        self.synced
    }

    /// Answers whoever comes with `why`. Gives those who wait: they are to be told.
    #[must_use]
    pub(crate) fn refuse(&mut self, why: &Error) -> Vec<Arc<Ticket<L>>> {
        self.closed = Some(why.clone());
        self.synced = 0;
        let waiting = self.waiting.drain(..).chain(self.behind.drain(..));
        waiting.map(|request| request.ticket).collect()
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
