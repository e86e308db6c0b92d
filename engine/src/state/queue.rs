//! Writers in line for the log.
//!
//! Leadership *is* possession of the [`Lead`]: it lies in the queue while nobody leads, and is handed
//! from leader to leader, so no lock is held while a group is written or synced. The log is a
//! parameter, `L`, since its possession is all that matters here.
//!
//! There is a line for each kind of work, and everybody has a place in the order of coming. Whose place is the
//! lowest is first, and makes a group of those of its kind behind it. So whatever happens here takes the same
//! time however many wait.
//!
//! While a synced group is on its way to the device, its leader has handed the log on: commits that ask for
//! less go on meanwhile. Who needs the device, too, stays in line, and so the next group gathers. When the
//! group has arrived, they are put behind those who wait already.

use std::any::Any;
use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::state::lead::Lead;
use crate::state::linger::Linger;
use crate::state::ticket::{Bell, Deputy, Ticket};
use crate::state::write_set::WriteSet;
use crate::sync::Arc;

/// Where somebody stands: places ascend in the order of coming.
type Place = u64;

/// Writers of one kind, in their order.
type Line<T> = VecDeque<(Place, T)>;

/// A commit in line.
type Request<L> = (WriteSet, Durability, Arc<Ticket<L>>);

/// Space that an empty line keeps: what a crowd has filled is given back.
const SPARE: usize = 4 << 10;

/// Writers that wait, and the log while nobody leads.
pub(crate) struct CommitQueue<L = Lead> {
    /// Commits that are to be synced: they need the device.
    synced: Line<Request<L>>,
    /// The bytes of these.
    synced_bytes: usize,
    /// Commits that ask for less.
    weaker: Line<Request<L>>,
    /// Who wants the log for itself, and needs the device, too.
    leads: Line<Arc<Ticket<L>>>,
    /// The place of who comes next.
    next: Place,
    /// A synced group is on its way: nobody else can have the device.
    flying: bool,
    /// The place in which they all stand who waited for the device when the last such group arrived.
    landed: Place,
    /// Where those sleep who come now and are not the first in their line.
    bell: Arc<Bell>,
    pub(crate) log: Option<Box<L>>,
    pub(crate) linger: Linger,
    /// The answer to whoever comes, once no more commits are taken.
    pub(crate) closed: Option<Error>,
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
    fn needs_device(&self) -> bool {
        match self {
            Work::Commit { durability, .. } => *durability == Durability::Synced,
            Work::Lead => true,
        }
    }
}

/// The kinds of [`Work`] that do not mix.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Synced,
    Weaker,
    Lead,
}

impl<L> CommitQueue<L> {
    pub(crate) fn new(log: L) -> Self {
        Self { log: Some(Box::new(log)), ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            synced: Line::new(),
            synced_bytes: 0,
            weaker: Line::new(),
            leads: Line::new(),
            next: 0,
            flying: false,
            landed: 0,
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
        let is_first = if self.flying && work.needs_device() {
            self.synced.is_empty() && self.leads.is_empty()
        } else {
            self.first().is_none()
        };
        let bell = if is_first { Bell::new() } else { Arc::clone(&self.bell) };
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
        let (place, told) = (self.next_place(), Arc::clone(&ticket));
        match work {
            Work::Lead => self.leads.push_back((place, told)),
            Work::Commit { writes, durability: Durability::Synced } => {
                self.synced_bytes += writes.encoded_bound;
                self.synced.push_back((place, (writes, Durability::Synced, told)));
            }
            Work::Commit { writes, durability } => {
                self.weaker.push_back((place, (writes, durability, told)));
            }
        }
        self.offer_log();
        Ok(ticket)
    }

    fn next_place(&mut self) -> Place {
        self.next += 1;
        self.next
    }

    /// Gives the log to the first in line, if it lies here.
    fn offer_log(&mut self) {
        if let Some(log) = self.log.take() {
            self.pass_on(log);
        }
    }

    /// Takes the log from who has led: the first in line gets it, or it lies down here.
    pub(crate) fn pass_on(&mut self, log: Box<L>) {
        let ticket = match self.first() {
            Some(Kind::Synced) => self.synced.front().map(|(_, (_, _, ticket))| ticket),
            Some(Kind::Weaker) => self.weaker.front().map(|(_, (_, _, ticket))| ticket),
            Some(Kind::Lead) => self.leads.front().map(|(_, ticket)| ticket),
            None => None,
        };
        match ticket {
            Some(ticket) => ticket.lead(log),
            None => self.log = Some(log),
        }
    }

    /// What the first in line wants, of those who can have it now.
    fn first(&self) -> Option<Kind> {
        let synced = place_of(&self.synced).map(|place| (place, Kind::Synced));
        let lead = place_of(&self.leads).map(|place| (place, Kind::Lead));
        let weaker = place_of(&self.weaker).map(|place| (place, Kind::Weaker));
        let at_device = lowest([synced, lead]).filter(|_| !self.flying);
        let at_device = at_device.map(|(place, kind)| (place.max(self.landed), kind));
        lowest([at_device, weaker]).map(|(_, kind)| kind)
    }

    /// Takes the log from who has led a synced group that is on its way.
    pub(crate) fn take_off(&mut self, log: Box<L>) {
        self.flying = true;
        self.pass_on(log);
    }

    /// The synced group has arrived, or failed to.
    pub(crate) fn land(&mut self) {
        self.flying = false;
        self.landed = self.next_place();
        self.offer_log();
    }

    /// Who wanted the log for itself has it, and is in line no more.
    pub(crate) fn step_out(&mut self) {
        self.leads.pop_front();
    }

    /// Takes the next group out of line: commits that need the device, or such that do not, as the first of
    /// them. They keep their order: behind one that is too large for the group none goes. None passes one who
    /// wants the log for itself, but while nobody can have the device.
    pub(crate) fn take_group(&mut self, most_bytes: usize) -> Vec<Request<L>> {
        let lead = place_of(&self.leads);
        let (line, before) = match self.first() {
            Some(Kind::Synced) => (&mut self.synced, lead),
            Some(Kind::Weaker) => {
                let lead = lead.filter(|_| !self.flying);
                (&mut self.weaker, lead.map(|place| place.max(self.landed)))
            }
            Some(Kind::Lead) | None => return Vec::new(),
        };
        let (mut group, mut bytes) = (Vec::new(), 0);
        let before = before.unwrap_or(Place::MAX);
        while let Some((_, request)) = line.pop_front_if(|(place, (writes, ..))| {
            let fits = group.is_empty() || bytes + writes.encoded_bound <= most_bytes;
            fits && *place < before
        }) {
            bytes += request.0.encoded_bound;
            group.push(request);
        }
        if line.is_empty() {
            line.shrink_to(SPARE);
        }
        self.bell = Bell::new();
        let is_synced = group.first().is_some_and(|(_, of, _)| *of == Durability::Synced);
        self.synced_bytes -= if is_synced { bytes } else { 0 };
        group
    }

    /// How many wait whose commits could be in a group with a synced one.
    pub(crate) fn synced_waiting(&self) -> usize {
        self.synced.len()
    }

    /// Whether the next group is to be synced, who comes now would be in it, and nobody else waits for the log.
    pub(crate) fn next_group_can_grow(&self, most_bytes: usize) -> bool {
        let is_alone = self.weaker.is_empty() && self.leads.is_empty();
        is_alone && self.first() == Some(Kind::Synced) && self.synced_bytes < most_bytes
    }

    /// Answers whoever comes with `why`. Gives those who wait: they are to be told.
    #[must_use]
    pub(crate) fn refuse(&mut self, why: &Error) -> Vec<Arc<Ticket<L>>> {
        self.closed = Some(why.clone());
        self.synced_bytes = 0;
        let commits = self.synced.drain(..).chain(self.weaker.drain(..));
        let commits = commits.map(|(_, (_, _, ticket))| ticket);
        commits.chain(self.leads.drain(..).map(|(_, ticket)| ticket)).collect()
    }
}

fn place_of<T>(line: &Line<T>) -> Option<Place> {
    line.front().map(|(place, _)| *place)
}

fn lowest(of: [Option<(Place, Kind)>; 2]) -> Option<(Place, Kind)> {
    of.into_iter().flatten().min_by_key(|(place, _)| *place)
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;

#[cfg(test)]
#[cfg(not(any(loom, feature = "shuttle")))]
mod tests;
