//! What a run is asked for: sizes, times, rates. Kept beside its rounds, so that a run that is
//! resumed goes on as it began.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Table;
use crate::shape::Shape;

/// No workload takes longer in one round.
pub(crate) const MOST_SECONDS: f64 = 10.0;

/// No workload does more operations in one round.
pub(crate) const MOST_OPERATIONS: u64 = 3_000_000;

/// Everything that changes what is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Names of engines, in the order of the tables.
    pub(crate) engines: Vec<String>,
    /// Names of workloads, in the order of the catalog.
    pub(crate) workloads: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) rounds: u32,
    /// Entries of the base store.
    pub(crate) entries: u64,
    pub(crate) shape: Shape,
    /// Length of a workload that could go on for ever.
    pub(crate) seconds: f64,
    /// Most seconds for a workload that writes a given number of entries.
    pub(crate) fill_seconds: f64,
    /// Bytes for caches.
    pub(crate) cache: u64,
    /// Fixed loads of the latency workloads and of the writer beside readers, in a second.
    pub(crate) read_load: f64,
    pub(crate) write_load: f64,
    pub(crate) sync_load: f64,
    /// Seed of everything random.
    pub(crate) seed: u64,
}

impl Options {
    /// Length of a workload that could go on for ever.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Longest time for a fill, which has an end of its own.
    pub(crate) fn fill_window(&self) -> Duration {
        Duration::from_secs_f64(self.fill_seconds)
    }

    /// Operations of a workload that is to touch as many entries as the base has.
    pub(crate) fn operations(&self) -> u64 {
        self.entries.min(MOST_OPERATIONS)
    }

    /// Bytes of keys and values in the base.
    pub(crate) fn user_bytes(&self) -> u64 {
        self.entries * self.shape.entry_size()
    }
}
