//! The workloads: their names, what they mean, and which of them share a store and a process.
//!
//! Names that `db_bench` has mean what they mean there.

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// What a process works through on one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// A new store, filled in order.
    FillSeq,
    /// A new store, filled in order by batches.
    FillBatch,
    /// A new store, filled at random.
    FillRandom,
    /// A new store that takes sorted entries the fastest way.
    BulkLoad,
    /// A new store that takes synced writes.
    Sync,
    /// A new store that takes synced and buffered writes side by side.
    Mixed,
    /// New stores with large values.
    Large,
    /// A new store with sixteen key spaces.
    Spaces,
    /// A new store whose keys are long and share most of their bytes with thousands of others.
    Prefix,
    /// A store that died, opened again.
    Crash,
    /// The base: every entry once, at random, then settled. The groups below work on it in turn.
    Load,
    /// Reads of the base, in memory.
    Read,
    /// Reads of the base, on the device.
    Cold,
    /// The base, opened after a clean close.
    Open,
    /// The base, changed.
    Update,
    /// A new store with everything as shipped. Its workloads are listed under other groups.
    Shipped,
}

impl Group {
    /// Whether it works on the base store that [`Group::Load`] makes.
    pub(crate) fn needs_base(self) -> bool {
        matches!(self, Self::Read | Self::Cold | Self::Open | Self::Update)
    }
}

/// What a workload's main figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Operations in a second: more is better.
    Rate,
    /// Seconds until it is done: less is better.
    Time,
    /// Latency at a fixed load: less is better. The rate says whether the load was carried.
    Latency,
}

/// One workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) figure: Figure,
    /// Whether it writes, so that rows of different durability must be kept apart.
    pub(crate) writes: bool,
    /// Whether it is part of the table with compression, too.
    pub(crate) compressed: bool,
    /// Where it reads a store that has not settled: the same reads of the settled one.
    pub(crate) settled: Option<&'static str>,
    /// What one operation is.
    pub(crate) meaning: &'static str,
}

const fn rate(name: &'static str, group: Group, meaning: &'static str) -> Workload {
    Workload {
        name,
        group,
        figure: Figure::Rate,
        writes: false,
        compressed: false,
        settled: None,
        meaning,
    }
}

impl Workload {
    const fn writes(self) -> Self {
        Self { writes: true, ..self }
    }

    const fn compressed(self) -> Self {
        Self { compressed: true, ..self }
    }

    const fn beside_settled(self, name: &'static str) -> Self {
        Self { settled: Some(name), ..self }
    }

    const fn figure(self, figure: Figure) -> Self {
        Self { figure, ..self }
    }
}

/// Every workload, in the order of the tables. Those of one group are run in this order.
pub(crate) const WORKLOADS: &[Workload] = &[
    rate("fillseq", Group::FillSeq, "one put each, keys ascending, into a new store").writes(),
    rate("fillbatch", Group::FillBatch, "batches of 1000 puts, keys ascending, into a new store; rate of entries")
        .writes(),
    rate("fillrandom", Group::FillRandom, "one put each, random keys with repetition, into a new store")
        .writes()
        .compressed(),
    rate("bulkload", Group::BulkLoad, "sorted entries into an empty store, the fastest way the engine has; rate of entries").writes(),
    rate("fillsync1", Group::Sync, "synced puts of random keys, 1 writer").writes(),
    rate("fillsync4", Group::Sync, "synced puts, 4 writers").writes(),
    rate("fillsync16", Group::Sync, "synced puts, 16 writers").writes(),
    rate("fillsync64", Group::Sync, "synced puts, 64 writers").writes(),
    rate("mixedsync", Group::Mixed, "synced puts of 1 writer beside 1 writer of buffered puts at full speed; rate of the synced ones").writes(),
    rate("latencysync", Group::Sync, "synced puts of 1 writer at a fixed rate").writes().figure(Figure::Latency),
    rate("fill4k", Group::Large, "puts of 4 KiB values, random keys, into a new store").writes(),
    rate("read4k", Group::Large, "gets of these"),
    rate("fill64k", Group::Large, "puts of 64 KiB values").writes(),
    rate("read64k", Group::Large, "gets of these"),
    rate("fill1m", Group::Large, "puts of 1 MiB values").writes(),
    rate("read1m", Group::Large, "gets of these"),
    rate("fill16spaces", Group::Spaces, "one put each, random keys, 16 key spaces in turn, 2 writers").writes(),
    rate("read16spaces", Group::Spaces, "gets of these, 2 readers"),
    rate("seek16spaces10", Group::Spaces, "seek of one of these and 10 nexts in its key space, 2 readers"),
    rate("fillprefix", Group::Prefix, "one put each, every key once, in random order, into a new store; keys of 64 bytes, of which each 10000 that follow each other share the first 48").writes(),
    rate("readprefix", Group::Prefix, "gets of these, in memory, 1 reader"),
    rate("seekprefix10", Group::Prefix, "seek of one of these and 10 nexts"),
    rate("opencrash", Group::Crash, "open and first get after the process was killed behind its last put").figure(Figure::Time).writes(),
    rate("filluniquerandom", Group::Load, "one put each, every key once, in random order, into a new store").writes().compressed(),
    rate("readunsettled", Group::Load, "gets of random keys, in memory, after that fill and before the store settles, 1 reader").compressed().beside_settled("readrandom"),
    rate("seekunsettled10", Group::Load, "seek of a random key and 10 nexts, before the store settles").compressed().beside_settled("seekrandom10"),
    rate("settle", Group::Load, "memtables flushed and due compactions finished after that fill and the reads behind it; its written bytes are those of the fill and of settling together").figure(Figure::Time).writes().compressed(),
    rate("readrandom", Group::Read, "gets of random keys, in memory, 1 reader").compressed(),
    rate("readrandom2", Group::Read, "gets of random keys, in memory, 2 readers").compressed(),
    rate("readinplace", Group::Read, "gets of random keys that look at the value where it lies, 1 reader"),
    rate("readmissing", Group::Read, "gets of keys that are not there but between those that are").compressed(),
    rate("multireadrandom", Group::Read, "32 random keys a call; rate of keys"),
    rate("readseq", Group::Read, "a scan forwards; rate of entries").compressed(),
    rate("readreverse", Group::Read, "a scan backwards; rate of entries"),
    rate("seekrandom10", Group::Read, "seek of a random key and 10 nexts").compressed(),
    rate("seekrandom100", Group::Read, "seek of a random key and 100 nexts"),
    rate("ycsbc", Group::Read, "YCSB C: gets, zipfian 0.99"),
    rate("latencyread", Group::Read, "gets of random keys at a fixed rate").figure(Figure::Latency),
    rate("readrandomcold", Group::Cold, "gets of random keys, caches dropped before, 1 reader, until a tenth as many were read as the store has pages").compressed(),
    rate("open", Group::Open, "open and first get after a clean close").figure(Figure::Time),
    rate("ycsbb", Group::Update, "YCSB B: 95% gets, 5% puts, zipfian 0.99").writes(),
    rate("ycsbd", Group::Update, "YCSB D: 95% gets of the latest, 5% inserts").writes(),
    rate("ycsbe", Group::Update, "YCSB E: 95% scans of 1 to 100 entries, 5% inserts, zipfian 0.99").writes(),
    rate("ycsba", Group::Update, "YCSB A: 50% gets, 50% puts, zipfian 0.99").writes(),
    rate("ycsbf", Group::Update, "YCSB F: 50% gets, 50% get and put of the same key, zipfian 0.99").writes(),
    rate("readwhilewriting", Group::Update, "gets of random keys, 1 reader, beside 1 writer at a fixed rate; rate of the gets").writes(),
    rate("latencywrite", Group::Update, "puts over random existing keys at a fixed rate").figure(Figure::Latency).writes(),
    rate("overwrite", Group::Update, "one put each over random existing keys").writes().compressed(),
    rate("deleterandom", Group::Update, "one delete each of random keys, with repetition").writes(),
];

/// The workload of that name.
pub(crate) fn find(name: &str) -> Result<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        Failure::usage(format!(
            "there is no workload {name:?}; there are {}, and all for every one",
            names.join(", ")
        ))
    })
}

/// What is measured with everything as shipped.
pub(crate) const SHIPPED: &[&str] = &["fillrandom", "readrandom"];

/// The workloads of a group, in order.
pub(crate) fn of(group: Group) -> impl Iterator<Item = &'static Workload> {
    WORKLOADS.iter().filter(move |workload| workload.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_what_is_settled_is_there_in_the_same_tables() {
        for (at, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..at].iter().all(|other| other.name != workload.name));
            let Some(settled) = workload.settled.map(|name| find(name).unwrap()) else { continue };
            assert_eq!(settled.compressed, workload.compressed, "{}", workload.name);
            assert_eq!(settled.figure, Figure::Rate, "{}", workload.name);
        }
    }
}
