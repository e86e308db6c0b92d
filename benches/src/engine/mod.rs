//! The engines, behind one seam.
//!
//! An [`Engine`] is one open store. A thread that works on it asks for a [`Session`], which holds
//! what a careful user of that engine would keep between operations: a read transaction, an
//! iterator, a handle. One operation costs one virtual call; loops over entries run inside the
//! adapter. The `null` engine shows what that and the rest of the harness cost.
//!
//! Each adapter ends in a constant [`Kind`] that [`KINDS`] lists, and starts with a comment that
//! says why it is set so.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod null;
mod orlop;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "surrealkv")]
mod surrealkv;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::shape::Shape;

/// What an acknowledged write outlives. Rows of different classes are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// Nothing: it may still lie in the memory of the process.
    Memory,
    /// The death of the process: the kernel owns it.
    Buffered,
    /// The loss of power: it is on the device.
    Synced,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Buffered => "buffered",
            Self::Synced => "synced",
        })
    }
}

/// Which settings an engine is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Table {
    /// Tuned as its documentation says for the budget; blocks and values as they are.
    Uncompressed,
    /// Tuned, with the compression that the engine's users usually have.
    Compressed,
    /// Everything as the library ships it, its durability included.
    Shipped,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uncompressed => "uncompressed",
            Self::Compressed => "compressed",
            Self::Shipped => "shipped",
        })
    }
}

/// Bytes for what was written and is not yet in the store's own files.
#[allow(dead_code, reason = "only some engines can be told")]
pub(crate) const WRITE_BUFFERS: u64 = 128 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "which of them are read depends on the engines compiled in")]
pub(crate) struct Settings {
    /// Its directory, which exists. Empty when the store is to be created.
    pub(crate) dir: PathBuf,
    /// What [`Session::put`], [`Session::put_batch`] and [`Session::delete`] must be worth.
    /// For [`Table::Shipped`] it is [`Kind::shipped_class`] and the adapter sets nothing.
    pub(crate) class: Class,
    pub(crate) table: Table,
    /// Bytes for caches. Write buffers come on top, at most [`WRITE_BUFFERS`].
    pub(crate) cache: u64,
    pub(crate) shape: Shape,
    /// Number of key spaces (databases, trees, tables, column families): "0", "1", ...
    pub(crate) spaces: usize,
    /// Sessions that will be open at the same time, at most.
    pub(crate) sessions: usize,
    /// The page cache is empty and read-ahead would only get in the way.
    pub(crate) cold: bool,
}

/// What reads see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The store as it was when the session began, or later. Lets a session keep one read
    /// transaction and one iterator for good: the store does not change meanwhile.
    Fixed,
    /// Every write that was acknowledged before the read began.
    Current,
}

/// What came back: how many entries, and the sum of [`touch`] over their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entries: u64,
    pub(crate) sum: u64,
}

impl Found {
    /// One more value, read as [`touch`] reads it.
    #[inline]
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.entries += 1;
        self.sum = self.sum.wrapping_add(touch(value));
    }

    /// Everything that `other` found, too.
    pub(crate) fn merge(&mut self, other: Self) {
        self.entries += other.entries;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Reads 8 bytes of every cache line of a value: a value that nobody looks at costs an engine that
/// copies nothing too little.
#[inline]
pub(crate) fn touch(value: &[u8]) -> u64 {
    let mut sum = 0_u64;
    for line in value.chunks(64) {
        sum = sum.wrapping_add(match line.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => line.iter().fold(1, |sum, byte| (sum << 8) | u64::from(*byte)),
        });
    }
    sum
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// One open store.
pub(crate) trait Engine: Send + Sync {
    /// What a thread works through. Call it on the thread that uses the session.
    fn session(&self, reads: Reads) -> Result<Box<dyn Session + '_>>;

    /// Puts entries that come in ascending order of their keys into key space 0, which is empty,
    /// the fastest way that the engine offers, and returns when all are worth
    /// [`Settings::class`].
    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()>;

    /// Returns when nothing is left to do: memtables flushed, due compactions finished, all of it
    /// on the device.
    fn settle(&self) -> Result<()>;

    /// A clean close.
    fn close(self: Box<Self>) -> Result<()>;

    /// How many sorted runs of tables a read may have to look into, where the engine says so.
    fn runs(&self) -> Option<usize> {
        None
    }

    /// A word for the table about how this store came to work as it does, if there is one.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// One thread's view of an open store.
///
/// Reads and writes go to key space 0 until [`select`](Session::select) says otherwise.
pub(crate) trait Session {
    /// Chooses the key space of what follows.
    fn select(&mut self, space: usize) -> Result<()>;

    /// Writes one entry, worth [`Settings::class`] when it returns.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes one entry, worth `class` when it returns, beside others that are worth another.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where the engine has one class for the whole store.
    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes all of `entries` at once: after a crash, all or none are there.
    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()>;

    /// Deletes one key that may not be there.
    fn delete(&mut self, key: &[u8]) -> Result<()>;

    /// Reads one value the way most users do; its [`touch`].
    fn get(&mut self, key: &[u8]) -> Result<Option<u64>>;

    /// Reads one value where it lies; its [`touch`]. The same as [`get`](Session::get) for engines
    /// that lend their values anyway.
    fn get_in_place(&mut self, key: &[u8]) -> Result<Option<u64>> {
        self.get(key)
    }

    /// Reads many values, with the engine's own call for that where it has one.
    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Found> {
        let mut found = Found::default();
        for key in keys {
            if let Some(sum) = self.get(key)? {
                found.merge(Found { entries: 1, sum });
            }
        }
        Ok(found)
    }

    /// Reads at most `limit` entries, keys and values, from `from` on (that key included; without
    /// it from the start, or the end for [`Direction::Backward`]).
    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found>;
}

/// Opens a store.
type Open = fn(&Settings) -> Result<Box<dyn Engine>>;

/// One engine that can be named on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The package whose version the lock file knows.
    pub(crate) package: &'static str,
    /// The cargo feature that compiles it in, if it is not always there.
    pub(crate) feature: Option<&'static str>,
    /// `None` where it is not compiled in.
    pub(crate) open: Option<Open>,
    /// What a single put can be worth, weakest first.
    pub(crate) classes: &'static [Class],
    /// What it is worth with everything as shipped.
    pub(crate) shipped_class: Class,
    /// The compression of [`Table::Compressed`], by name; `None` where the engine has none.
    pub(crate) compression: Option<&'static str>,
    /// How it was set, in one paragraph, for the published page.
    pub(crate) settings: &'static str,
    /// Whether what it returns is checked; only `null` has nothing to return.
    pub(crate) answers: bool,
}

impl Kind {
    /// An engine that was not compiled in.
    #[allow(dead_code, reason = "with every feature on, none is missing")]
    const fn missing(name: &'static str, package: &'static str) -> Self {
        Self {
            name,
            package,
            feature: Some(name),
            open: None,
            classes: &[],
            shipped_class: Class::Memory,
            compression: None,
            settings: "",
            answers: true,
        }
    }

    /// Whether its writes can be worth `class`.
    pub(crate) fn can(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`Failure::Usage`] where the engine is not compiled in, and what opening meets.
    pub(crate) fn open(&self, settings: &Settings) -> Result<Box<dyn Engine>> {
        let Some(open) = self.open else { return Err(self.not_compiled_in()) };
        open(settings).map_err(|failure| {
            failure.during(format_args!("open {} in {}", self.name, settings.dir.display()))
        })
    }

    /// What to say to the one who asked for it.
    pub(crate) fn not_compiled_in(&self) -> Failure {
        let feature = self.feature.unwrap_or(self.name);
        let patience = if self.name == "rocksdb" {
            " (RocksDB is C++: the first build takes half an hour on two cores and needs libclang)"
        } else {
            ""
        };
        Failure::usage(format!(
            "engine {name:?} is not compiled in; build it with\n  RUSTFLAGS=\"-C \
             target-cpu=native\" cargo run --release -p orlop-benches --features {feature} -- \
             ...{patience}",
            name = self.name,
        ))
    }

    /// The version that the lock file of this build holds.
    pub(crate) fn version(&self) -> String {
        version_of(self.package).unwrap_or_default()
    }
}

/// The version of a package in the lock file of this build.
fn version_of(package: &str) -> Option<String> {
    let wanted = format!("name = \"{package}\"");
    let mut lines = include_str!("../../../Cargo.lock").lines();
    lines.find(|line| *line == wanted)?;
    let version = lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// Every engine there is, compiled in or not, in the order of the tables.
pub(crate) const KINDS: &[Kind] = &[
    orlop::KIND,
    #[cfg(feature = "rocksdb")]
    rocksdb::KIND,
    #[cfg(not(feature = "rocksdb"))]
    Kind::missing("rocksdb", "librocksdb-sys"),
    #[cfg(feature = "fjall")]
    fjall::KIND,
    #[cfg(not(feature = "fjall"))]
    Kind::missing("fjall", "fjall"),
    #[cfg(feature = "surrealkv")]
    surrealkv::KIND,
    #[cfg(not(feature = "surrealkv"))]
    Kind::missing("surrealkv", "surrealkv"),
    #[cfg(feature = "redb")]
    redb::KIND,
    #[cfg(not(feature = "redb"))]
    Kind::missing("redb", "redb"),
    #[cfg(feature = "lmdb")]
    lmdb::KIND,
    #[cfg(not(feature = "lmdb"))]
    Kind::missing("lmdb", "heed"),
    #[cfg(feature = "sled")]
    sled::KIND,
    #[cfg(not(feature = "sled"))]
    Kind::missing("sled", "sled"),
    null::KIND,
];

/// The engine of that name.
///
/// # Errors
/// [`Failure::Usage`], with the names that there are.
pub(crate) fn find(name: &str) -> Result<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        Failure::usage(format!(
            "there is no engine {name:?}; there are {}, and all for those compiled in",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests;
