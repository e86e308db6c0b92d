//! What a seed says will happen, apart from the order of the steps.

use orlop::Durability;
use orlop::env::{FaultKind, Keep};

use crate::dice::Dice;

/// One commit of a writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) durability: Durability,
    pub(super) extra: Extra,
}

/// What a commit does beside counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    Nothing,
    /// Exchanges the two databases, which hold the same but for their badges.
    Swap,
    /// Clears a third one and leaves its own mark there.
    Mark,
}

/// How a reader looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// A snapshot, read through every database, twice.
    Snapshot,
    /// Point reads, one database after the other.
    Gets,
    /// A cursor of its own over each database.
    Cursors,
    /// A read-only store of its own, opened beside the live one.
    Beside,
}

/// What the upkeep does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upkeep {
    Flush,
    Compact,
    Settle,
    Sync,
    Stats,
}

/// How the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A close, beside all others, after so many acknowledged commits.
    Beside(u64),
    /// A close after all others.
    Close,
    /// The last handle is dropped.
    Drop,
    /// The machine dies.
    Cut,
    /// The process dies; what the kernel has stays.
    Kill,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) writers: Vec<Vec<Commit>>,
    pub(super) readers: Vec<Vec<Look>>,
    pub(super) upkeep: Vec<Upkeep>,
    pub(super) memtable_size: usize,
    pub(super) end: End,
    /// Operations of the disk that fail, counted from the open.
    pub(super) faults: Vec<(u64, FaultKind)>,
    /// The power goes after so many operations from the open.
    pub(super) cut: Option<u64>,
    pub(super) keep: Keep,
    /// The recovery is cut too, after so many operations.
    pub(super) nested: Option<u64>,
}

/// Operations in which a failure or a cut is planned; a run has about as many.
const SPAN: u64 = 120;

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let writers: Vec<Vec<Commit>> = (0..dice.within(2, 3)).map(|_| commits(dice)).collect();
        let total: u64 = writers.iter().map(|commits| commits.len() as u64).sum();
        let looks =
            [Look::Snapshot, Look::Snapshot, Look::Gets, Look::Gets, Look::Cursors, Look::Beside];
        let upkeep = [
            Upkeep::Flush,
            Upkeep::Flush,
            Upkeep::Compact,
            Upkeep::Settle,
            Upkeep::Sync,
            Upkeep::Stats,
        ];
        let ends =
            [End::Beside(dice.below(total)), End::Close, End::Drop, End::Cut, End::Cut, End::Kill];
        let kinds = [FaultKind::Io, FaultKind::StorageFull];
        let faults = if dice.once_in(3) { dice.within(1, 3) } else { 0 };
        Self {
            writers,
            readers: (0..dice.within(1, 2)).map(|_| list(dice, 1, 3, &looks)).collect(),
            upkeep: list(dice, 0, 3, &upkeep),
            memtable_size: dice.pick(&[1 << 10, 2 << 10, 4 << 10, 1 << 20]),
            end: dice.pick(&ends),
            faults: (0..faults).map(|_| (1 + dice.below(SPAN), dice.pick(&kinds))).collect(),
            cut: dice.once_in(3).then(|| dice.below(SPAN)),
            keep: keep(dice),
            nested: dice.once_in(4).then(|| dice.below(20)),
        }
    }

    /// How often the twins have been exchanged once these commits are done.
    pub(super) fn swaps(&self, counts: &[u64]) -> u64 {
        let done = |(commits, count): (&Vec<Commit>, &u64)| {
            let done = commits.iter().take(*count as usize);
            done.filter(|commit| commit.extra == Extra::Swap).count() as u64
        };
        self.writers.iter().zip(counts).map(done).sum()
    }

    /// The last commit of a writer, among its first `count`, that has left a mark.
    pub(super) fn last_mark(&self, writer: usize, count: u64) -> Option<u64> {
        let commits = self.writers.get(writer)?.iter().take(count as usize);
        let marks = commits.zip(1..).filter(|(commit, _)| commit.extra == Extra::Mark);
        marks.map(|(_, number)| number).last()
    }

    /// Whether an operation of the disk may fail while the store is open.
    pub(super) fn may_fail(&self) -> bool {
        !self.faults.is_empty() || self.cut.is_some()
    }

    pub(super) fn closes_early(&self) -> bool {
        matches!(self.end, End::Beside(_))
    }
}

fn list<T: Copy>(dice: &mut Dice, least: u64, most: u64, from: &[T]) -> Vec<T> {
    (0..dice.within(least, most)).map(|_| dice.pick(from)).collect()
}

fn commits(dice: &mut Dice) -> Vec<Commit> {
    use Durability::{Buffered, Memory, Synced};
    let mixes: [&[Durability]; 4] =
        [&[Synced], &[Memory, Buffered, Synced], &[Memory, Memory, Synced], &[Buffered, Memory]];
    let mix = dice.pick(&mixes);
    let extras = [Extra::Nothing, Extra::Nothing, Extra::Nothing, Extra::Swap, Extra::Mark];
    let commit = |dice: &mut Dice| Commit { durability: dice.pick(mix), extra: dice.pick(&extras) };
    (0..dice.within(2, 5)).map(|_| commit(dice)).collect()
}

fn keep(dice: &mut Dice) -> Keep {
    match dice.below(4) {
        0 => Keep::Nothing,
        1 => Keep::Everything,
        2 => Keep::Prefix(dice.below(12) as usize),
        _ => Keep::Random(dice.roll()),
    }
}
