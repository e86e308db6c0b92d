//! A commit that nobody waits for yet.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::database::Database;
use crate::error::Result;
use crate::flow::write::Submitted;

/// A commit that was submitted ([`Batch::submit`](crate::Batch::submit)): its result can be waited for, asked
/// for, or awaited as a future of any runtime.
///
/// Dropping it changes nothing: the commit goes on, and a close of the store waits for it. It keeps the store open until
/// it is done: whoever lets go of every other handle instead of closing the store, and ends the process, ends it as a
/// kill does. Commits that one thread
/// submits happen in the order in which they were submitted. One that it waits for ([`Batch::commit`](crate::Batch::commit))
/// may be faster than one that it has submitted before.
///
/// How many can be on their way is not limited: who never waits fills the memory. A waker must not wait for the
/// store itself, nor close it, nor submit a large batch: it is called by the thread that others wait for. Dropping the last handle of the
/// store there is fine.
///
/// ```
/// # fn main() -> orlop::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = orlop::Store::open(dir.path().join("my.orlop"))?;
/// let events = store.database("events")?;
/// let mut pending = Vec::new();
/// for n in 0..100_u32 {
///     let mut batch = store.batch();
///     batch.put(&events, n.to_be_bytes(), "something happened")?;
///     pending.push(batch.submit());
/// }
/// // All of them are on their way: a few syncs, not a hundred.
/// for commit in pending {
///     commit.wait()?;
/// }
/// assert!(events.contains(99_u32.to_be_bytes())?);
/// # Ok(()) }
/// ```
#[must_use = "whether the commit has happened is only known from its result"]
pub struct Pending {
    state: Submitted,
    /// Handles of databases that the commit may have created.
    unbound: Vec<Database>,
}

impl Pending {
    pub(crate) fn new(state: Submitted, unbound: Vec<Database>) -> Self {
        Self { state, unbound }
    }

    /// The result, if it is there; it can be asked for again.
    ///
    /// # Errors
    /// As [`Batch::commit`](crate::Batch::commit).
    pub fn try_wait(&mut self) -> Option<Result<()>> {
        self.ask(None)
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// As [`Batch::commit`](crate::Batch::commit).
    pub fn wait(self) -> Result<()> {
        let result = match &self.state {
            Submitted::Done(result) => result.clone(),
            Submitted::InLine(ticket) => ticket.result(),
        };
        self.bind(result)
    }

    fn ask(&mut self, waker: Option<&Waker>) -> Option<Result<()>> {
        let result = match &self.state {
            Submitted::Done(result) => result.clone(),
            Submitted::InLine(ticket) => ticket.poll(waker)?,
        };
        Some(self.bind(result))
    }

    fn bind<T>(&self, result: Result<T>) -> Result<()> {
        result.map(|_| self.unbound.iter().for_each(Database::bind))
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().ask(Some(context.waker())).map_or(Poll::Pending, Poll::Ready)
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_done = match &self.state {
            Submitted::Done(_) => true,
            Submitted::InLine(ticket) => ticket.poll(None).is_some(),
        };
        f.debug_struct("Pending").field("is_done", &is_done).finish_non_exhaustive()
    }
}
