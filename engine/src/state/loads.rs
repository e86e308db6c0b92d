//! Bulk loads that are going on: one for a database at most; and the end of their work when the store closes.

use std::collections::HashSet;

use orlop_formats::ids::DatabaseId;

use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    state: Mutex<State>,
    /// Somebody has stopped working.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Databases into which something is loaded.
    databases: HashSet<DatabaseId>,
    /// How many touch the directory just now.
    working: usize,
    is_closed: bool,
    /// Number and bytes of the tables of unfinished loads, as the manifest has them: who asks for figures does not wait for
    /// its syncs.
    figures: (u64, u64),
}

/// Leave to touch the directory of the store, which is not closed meanwhile.
pub(crate) struct Working<'a>(&'a Loads);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.state.lock().working -= 1;
        self.0.changed.notify_all();
    }
}

impl Loads {
    /// Where an earlier open has left so many tables, of so many bytes.
    pub(crate) fn with(figures: (u64, u64)) -> Self {
        let state = State { figures, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::default() }
    }

    /// Number and bytes of the tables of unfinished loads.
    pub(crate) fn figures(&self) -> (u64, u64) {
        self.state.lock().figures
    }

    /// Takes new ones over.
    pub(crate) fn set_figures(&self, figures: (u64, u64)) {
        self.state.lock().figures = figures;
    }

    /// Begins a load; false while there is another one into the same database.
    pub(crate) fn begin(&self, database: DatabaseId) -> bool {
        self.state.lock().databases.insert(database)
    }

    /// Ends it.
    pub(crate) fn end(&self, database: DatabaseId) {
        self.state.lock().databases.remove(&database);
    }

    /// Whether something is loaded into a database just now.
    pub(crate) fn has(&self, database: DatabaseId) -> bool {
        self.state.lock().databases.contains(&database)
    }

    /// Whether nothing is loaded.
    #[cfg(feature = "sim")]
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().databases.is_empty()
    }

    /// Leave to touch the directory.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) fn work(&self) -> Result<Working<'_>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Error::Closed);
        }
        state.working += 1;
        Ok(Working(self))
    }

    /// Gives no more leave, and waits until all that were given are back.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        while state.working > 0 {
            state = self.changed.wait(state);
        }
    }
}
