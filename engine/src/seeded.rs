//! Historic bugs of storage engines, re-created to test the tests (feature `seeded-bugs`).
//!
//! 1. a test plants one of them ([`plant`]), on its own thread
//! 2. the sites `seeded!(Bug => what is wrong)` in the engine ask whether theirs is planted
//! 3. a check that does not notice is no check
//!
//! The switch is thread-local, so that several threads can test several bugs at once. So a bug acts
//! on the thread that planted it only: use it with `Background::Manual`, where the engine starts no
//! thread of its own.
//!
//! Without the feature this module is not compiled, and a site is nothing at all or what stands behind
//! its `else`.

mod frames;

use std::cell::Cell;

pub(crate) use frames::{believed, first_on_disk, renumbered};

use orlop_formats::checksum::Place;
use orlop_formats::ids::StoreId;

/// A place where a bug can be planted.
///
/// When the bug is planted, `seeded!(Bug => wrong)` does the wrong thing, usually an early `return`;
/// `seeded!(Bug: name = wrong)` gives the variable another value; and
/// `seeded!(Bug => wrong, else right)` is the first of two values instead of the second.
macro_rules! seeded {
    ($bug:ident => $wrong:expr, else $right:expr) => {
        if $crate::seeded::planted($crate::seeded::Bug::$bug) { $wrong } else { $right }
    };
    ($bug:ident => $wrong:expr) => {
        if $crate::seeded::planted($crate::seeded::Bug::$bug) {
            $wrong;
        }
    };
    ($bug:ident: $value:ident = $wrong:expr) => {
        let $value = seeded!($bug => $wrong, else $value);
    };
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug on this thread, in place of the one before; `None`: the engine is as it should be.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// The bug that is planted on this thread: for one that does a part of its work.
pub fn here() -> Option<Bug> {
    PLANTED.get()
}

/// Whether a bug is planted on this thread.
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident: $source:literal,)+) => {
        /// A bug that can be planted. Each says where it, or one like it, was once found: project and
        /// number of the public issue or pull request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Bug {
            $($(#[$doc])* #[doc = concat!("\n\nAfter: ", $source, ".")] $bug,)+
        }

        impl Bug {
            /// All of them, in the order of the code they are in.
            pub const ALL: &[Bug] = &[$(Bug::$bug),+];

            /// Where it was once found.
            pub fn source(self) -> &'static str {
                match self {
                    $(Bug::$bug => $source,)+
                }
            }
        }
    };
}

bugs! {
    // What must be on the device before something else happens.

    /// An sstable is named by the manifest without having been synced.
    TableUnsynced: "sled #1452, ReOpenLDAP #1",
    /// The names of new sstables are not synced before the manifest names them.
    TableDirectoryUnsynced: "RocksDB PR #10573",
    /// The name of a new segment is not synced before commits in it are acknowledged.
    SegmentDirectoryUnsynced: "RocksDB PR #10573",
    /// The name of a new manifest is not synced before the superblock names it.
    ManifestDirectoryUnsynced: "RocksDB PR #10573",
    /// The superblock is not synced before the manifest that it named is removed.
    SuperblockUnsynced: "LevelDB #189, #195",
    /// Edits of the manifest are not synced.
    EditUnsynced: "LevelDB #189, #195",
    /// Readers see a version before the edit that makes it is durable, or has failed.
    ViewBeforeEdit: "law 2 of ARCHITECTURE.md",
    /// Segments are removed before the edit that lets go of them.
    SegmentsBeforeEdit: "RocksDB PR #7780",
    /// The inputs of a compaction are removed before the edit that lets go of them.
    InputsBeforeEdit: "LevelDB #189, #195",
    /// Segments are removed although a later memtable has batches in them.
    SegmentsTooEarly: "RocksDB PR #7781",
    /// Recovery removes files that nobody names before it knows that the names are durable.
    OrphansBeforeManifest: "LevelDB #189, #195",
    /// A slot of the superblock is written while the other one may be in the page cache only.
    OtherSlotTrusted: "redb 4.2.0, a second crash",
    /// The manifest of an earlier open is appended to.
    ManifestReused: "law 6 of ARCHITECTURE.md",
    /// What recovery has replayed is served from the page cache, not put onto the device again.
    TailServedUnflushed: "redb 4.2.0, a second crash",
    /// A sector that holds acknowledged bytes is written again.
    SectorRewritten: "chapter C of SPEC.md, rule 6",
    /// A commit that shall outlive its process is only in the process.
    StageSkipped: "RocksDB, manual_wal_flush",
    /// A byte on the stage is overwritten before it is in its segment.
    StageOverrun: "etcd, a pipe of the log that wraps",
    /// What is on its way into a segment that has ended is overwritten on the stage by what comes next.
    TrailingStageReused: "etcd, a pipe of the log that wraps",
    /// The first group of a segment is written before the segment's prologue was synced.
    PrologueUnsynced: "law 1 of ARCHITECTURE.md",
    /// Recovery does not look at the stage.
    StageIgnored: "RocksDB, manual_wal_flush",
    /// The stage is removed before what it holds is in the segment.
    StageRemovedEarly: "RocksDB PR #7780",
    /// A spare segment is used although one with a higher number was.
    SpareOutOfTurn: "RocksDB PR #12918, recycled logs",
    /// A segment that is used again keeps the id of its file, so that frames of its earlier life are good ones.
    RecycledIdKept: "RocksDB PR #12918, recycled logs",
    /// A segment that is used again gets its new name before its new prologue is on the device.
    RecycledPrologueUnsynced: "law 1 of ARCHITECTURE.md",
    /// A spare segment is used before its name is on the device.
    SpareNameUnsynced: "RocksDB PR #10573",
    /// The entries of a dropped database go before the drop is durable.
    DropActsBeforeDurable: "fjall #241",

    /// Edits do not say how far commits were on the device.
    MarkLeftOut: "RocksDB #13226",
    /// Recovery says of what it found in the page cache that it is on the device.
    PageCacheVouchedFor: "redb 4.2.0, a second crash",

    // What an acknowledgement is worth.

    /// The segment before the current one is not synced along with it.
    RotatedSegmentUnsynced: "RocksDB PR #7701",
    /// Once a database has been dropped, commits are not synced any more.
    SyncSkippedAfterDrop: "RocksDB 7.6.0",
    /// A sync that brings no batches does nothing.
    SyncSkipped: "sled #1452",
    /// A synced commit is acknowledged when its write is on its way.
    AcknowledgedAtTakeOff: "docs/decisions/0012",
    /// A commit behind a synced one that is on its way is acknowledged without outliving the process.
    BehindFlightUnstaged: "docs/decisions/0012",
    /// A large batch is acknowledged before the frame in its segment has a header.
    BulkUnlanded: "docs/decisions/0016",
    /// A large batch goes to the databases that there were before it stood in line.
    BulkIdsUnchecked: "docs/decisions/0016",
    /// The memtable of a large batch is put behind the one before it.
    BulkOutOfOrder: "docs/decisions/0016",
    /// A commit whose write to the log could not be started counts.
    LogWriteErrorIgnored: "fjall #304",
    /// A commit whose write or sync of the log failed counts.
    LogSyncErrorIgnored: "RocksDB PR #3740",
    /// A failed sync of the log is done again, and believed.
    FailedSyncRetried: "PostgreSQL's fsync of 2018",
    /// A failed sync of the manifest is ignored.
    EditSyncErrorIgnored: "RocksDB 5.6.0, PR #3740",
    /// A failed sync of an sstable is ignored.
    TableSyncErrorIgnored: "RocksDB PR #3740",
    /// A failed sync of the directory is ignored.
    DirectorySyncErrorIgnored: "RocksDB PR #3740, #10573",
    /// Commits go on after a failed sync.
    PoisonIgnored: "LevelDB PR #578, PostgreSQL's fsync of 2018",
    /// The log goes on after a write that found the disk full.
    LogGoesOnWhenFull: "LevelDB PR #578",
    /// The manifest goes on behind the hole that a full disk has left.
    EditHole: "RocksDB #6316",
    /// A store whose log failed is closed as if nothing had happened.
    PoisonedCloseIsClean: "redb 2.x, a commit that failed and a clean drop",
    /// Readers see a commit before it is written, and the first part of a batch before the rest.
    PublishedBeforeWritten: "fjall #198",
    /// A memtable is sealed in the middle of a batch; the flush counts all of the batch.
    BatchOverTwoMemtables: "RocksDB PR #7781",

    // What recovery believes.

    /// A segment that cannot be read is taken for an empty one.
    ReadErrorIsEnd: "RocksDB #6288",
    /// Damage in the middle of the log is taken for a torn tail.
    DamageIsTorn: "Pebble #453, #6031; fjall's journal reader",
    /// The checksums of the log's frames are not looked at.
    FrameUnchecked: "LevelDB's verify_checksums, off by default",
    /// The first sequence number of a group is outside of what its checksum covers.
    FirstUnchecked: "fjall's batch reader",
    /// The checksums of the manifest's edits are not looked at.
    EditUnchecked: "fjall's version recovery",
    /// A segment may follow any other: a missing one, and a lost tail, go unnoticed.
    ChainUnchecked: "RocksDB PR #7701",
    /// A segment whose creation was cut short makes the store unopenable.
    EmptySegmentRefused: "sled #1533, #1166; fjall #68",
    /// A frame vouches for bytes that were never synced, so that a torn tail is refused.
    SyncedOverstated: "fjall #68",
    /// Sequence numbers go on from the manifest's, below those in the log.
    SeqnoNotAdvanced: "RocksDB PR #6313",
    /// Ids that only the log knows are given out again.
    DatabaseIdReused: "InfluxDB #465",
    /// A drop or clear is applied and not logged.
    CatalogChangeUnlogged: "fjall #241, #242",

    // What the tree holds.

    /// A compaction drops versions that a snapshot sees.
    SnapshotVersionsDropped: "surrealkv PR #326, #351",
    /// A compaction drops tombstones above older versions of their keys.
    TombstonesDroppedEarly: "Badger PR #2278, LevelDB #184",
    /// A table is cut between versions of one key.
    KeySplit: "LevelDB #320, #376",
    /// The oldest run of a level is taken for the newest.
    RunsOutOfOrder: "lsm-tree #315",
    /// A compaction takes a block that cannot be read for the end of its table.
    CompactionErrorSwallowed: "RocksDB PR #11782",
    /// A scan takes an error for its end.
    ScanErrorSwallowed: "RocksDB PR #11782",
    /// A cursor goes on after an error.
    IteratorNotFused: "redb 4.3",
    /// A scan returns entries of one run although another has one before them.
    RunPastRival: "docs/decisions/0020",
    /// The same going back.
    RunBackPastRival: "docs/decisions/0020",
    /// A scan returns entries that have expired, where they follow others that are returned as they are.
    RunPastExpiry: "RocksDB #160, #828",
    /// A compaction drops what has expired although a snapshot of an earlier time sees it.
    ExpiredForSnapshots: "docs/decisions/0025",
    /// A store's time goes back with the system's clock.
    ClockGoesBack: "docs/decisions/0025",
    /// The expiry of an entry is lost on its way from a memtable into a table.
    ExpiryNotFlushed: "docs/decisions/0025",
    /// What a batch deletes with a range hides nothing that the batch has written before.
    RangeDeletedBehindWrites: "SPEC.md, chapter 11",
    /// What was deleted with its range goes although a snapshot sees it.
    RangeDeletedForSnapshots: "CockroachDB #70886, Pebble #1285",
    /// A whole table goes because its keys were deleted with their ranges, although a snapshot sees them.
    DeletedForSnapshots: "CockroachDB #70886, Pebble #1285",
    /// A range delete is forgotten while a table still holds what it deletes.
    RangeDeleteForgotten: "RocksDB PR #3059",
    /// A range delete is forgotten because a newer one deletes the same keys, which a snapshot does not see.
    SurpassedForSnapshots: "CockroachDB #70886, Pebble #1285",
    /// A range delete is lost on its way from a memtable into the manifest.
    RangeDeleteNotFlushed: "RocksDB #3039",
    /// Entries that are newer than a range delete are passed over with those that it deletes.
    SkippedNewerTable: "RocksDB PR #7317",
    /// Entries that follow each other are taken together although a deleted range lies in between.
    RunPastRangeDelete: "RocksDB PR #7317",
    /// The entries of a loaded table have the sequence numbers that its blocks say.
    LoadedUnnumbered: "RocksDB #6245",
    /// What is loaded lies below older entries of the same keys.
    LoadedTooLow: "RocksDB PR #12257",
    /// What is loaded is in tables while older entries of the same keys are in a memtable.
    LoadBehindMemtable: "Pebble #2196",
    /// The manifest names the table of a load whose name in the directory was not synced.
    LoadingUnsynced: "RocksDB #5287, PR #5435",
    /// The commit of a load is not among those that a flush vouches for.
    LoadNotNoted: "RocksDB PR #12918, a table that is ahead of the log",
    /// The entries of a dropped database go although a snapshot sees them.
    DropIgnoresSnapshots: "surrealkv PR #326",
    /// A snapshot's look-ups see what was committed after it.
    SnapshotDirtyRead: "fjall #198",
    /// A snapshot is never let go of.
    SnapshotLeaked: "blevex PR #31",
    /// Filters lack some of their table's keys.
    FilterMissesKeys: "RocksDB PR #4024",
    /// The filter of a memtable lacks some of its keys.
    MemtableFilterMissesKeys: "RocksDB #2743, PR #9453",
    /// The checksums of data blocks are not looked at.
    BlockUnchecked: "LevelDB's verify_checksums, off by default",
    /// A data block is accepted in a place that is not its own.
    PlaceUnbound: "fjall's blocks; RocksDB before format_version 6",

    // What a closed store vouches for.

    /// An edit is not followed by a witness: damage to it passes for a torn write.
    WitnessMissing: "fjall's version recovery",
    /// A close records neither where the segments ended nor how far the commits went.
    LogEndUnrecorded: "RocksDB #13226",
    /// A close does not record where the manifest ended.
    ManifestEndUnrecorded: "RocksDB PR #7701",
}

impl Bug {
    /// Its name on a command line: `tail-served-unflushed`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

impl std::str::FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Bug::ALL.iter().find(|bug| bug.name() == name);
        found.copied().ok_or_else(|| format!("no bug is called {name:?}"))
    }
}

/// The one place that data blocks have when their place is no part of their checksum.
pub(crate) fn unbound<'a>(what: &str, place: &'a Place, offset: u64) -> (&'a Place, u64) {
    const NOWHERE: &Place = &Place { store: StoreId([0; 16]), file: 0 };
    if what == "data block" { (NOWHERE, 0) } else { (place, offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name() {
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
        }
        assert_eq!(Bug::TailServedUnflushed.name(), "tail-served-unflushed");
        assert!("tail".parse::<Bug>().is_err());
    }

    #[test]
    fn a_bug_is_planted_on_one_thread() {
        plant(Some(Bug::KeySplit));
        assert!(planted(Bug::KeySplit) && !planted(Bug::EditHole));
        let elsewhere = std::thread::spawn(|| planted(Bug::KeySplit)).join();
        assert!(matches!(elsewhere, Ok(false)));
        plant(None);
        assert!(!planted(Bug::KeySplit));
    }
}
