//! Histories that reach the corners of the protocols within a few dozen commits.

use orlop::Durability::{self, Buffered, Memory, Synced};

use super::workload::{Workload, commit, delete, delete_range, gone, put, until};
use crate::history::{Change, SMALL, Step, Tree};

/// A memtable so large that segments rotate under it.
const WIDE: Tree = Tree { memtable_size: 400 << 10, table_size: 32 << 10 };

/// All of them.
pub(super) fn all() -> Vec<Workload> {
    let each = [Synced, Buffered, Memory];
    let everything = each.map(|durability| of(format!("{durability:?}"), everything(durability)));
    let drops = each.map(|durability| of(format!("drops-{durability:?}"), drops(durability)));
    // What few cases show comes first.
    let mut scripts = vec![trails("trails", Step::Sync), trails("trails-flushed", Step::Flush)];
    scripts.push(marks());
    scripts.extend(everything.into_iter().chain(drops));
    scripts.push(of("flushes".to_owned(), flushes()));
    scripts.push(Workload { tree: WIDE, ..of("segments".to_owned(), segments()) });
    scripts.push(Workload { tree: WIDE, ..of("ring".to_owned(), ring()) });
    scripts.push(Workload { tree: WIDE, ..of("flights".to_owned(), flights()) });
    scripts.push(of("spares".to_owned(), spares(4)));
    scripts.push(of("spares-late".to_owned(), spares(15)));
    scripts.push(Workload { tree: WIDE, ..of("spares-early".to_owned(), spares_early()) });
    scripts.push(of("bulk".to_owned(), bulk(17 << 10)));
    scripts.push(Workload { tree: WIDE, ..of("bulk-wide".to_owned(), bulk(27 << 10)) });
    scripts.push(of("expiring".to_owned(), expiring()));
    scripts.push(of("ranges".to_owned(), ranges()));
    scripts.push(of("loads".to_owned(), loads()));
    scripts
}

fn of(name: String, steps: Vec<Step>) -> Workload {
    let name = format!("script:{}", name.to_lowercase());
    Workload { name, tree: SMALL, prelude: Vec::new(), steps }
}

/// Flushes, compacts, reopens, drops and swaps.
fn everything(durability: Durability) -> Vec<Step> {
    let mut steps = Vec::new();
    let commit = |changes: Vec<Change>| commit(changes, durability);
    for round in 0..4_u32 {
        for at in 0..6 {
            let n = (round * 7 + at * 5) % 20;
            let what = format!("{round}.{at}.");
            steps.push(commit(vec![put("a", n, &what, 60), put("b", n + 1, &what, 60)]));
        }
        steps.push(commit(vec![delete("a", round * 5), put("c", round, "c", 12)]));
        match round {
            0 => steps.push(Step::Flush),
            1 => steps.extend([Step::Background, Step::Reopen]),
            2 => {
                steps.push(commit(vec![Change::Swap("a".to_owned(), "b".to_owned())]));
                steps.push(commit(vec![drop_of("c"), put("a", 9, "drop", 48)]));
                steps.push(commit(vec![put("c", 9, "again", 60)]));
                steps.extend([Step::Sync, Step::Compact, Step::Background]);
            }
            _ => steps.push(commit(vec![Change::Clear("b".to_owned()), put("b", 1, "new", 36)])),
        }
    }
    steps
}

fn drop_of(name: &str) -> Change {
    Change::Drop(name.to_owned())
}

/// Loads over what memory has, over what tables have, below neither; one that is left, and one that takes its place; one into a
/// database that is dropped behind it.
fn loads() -> Vec<Step> {
    let load = |name: &str, changes, is_finished| Step::Load(name.to_owned(), changes, is_finished);
    let first = vec![put("a", 10, "p", 60), put("b", 1, "p", 60), put("c", 1, "p", 60)];
    let mut steps = vec![commit(first, Buffered)];
    let over_memory = vec![put("a", 9, "l", 1500), put("a", 10, "l", 90), put("a", 40, "l", 900)];
    steps.push(load("a", over_memory, true));
    steps.push(commit(vec![put("a", 10, "q", 60), delete("a", 40)], Memory));
    steps.extend([Step::Snapshot, Step::Flush, Step::Snapshot]);
    steps.push(load("a", vec![put("a", 40, "m", 60), delete("a", 9), put("a", 41, "m", 60)], true));
    steps.push(commit(vec![put("b", 2, "q", 60)], Buffered));
    steps.push(load("b", vec![put("b", 60, "x", 1500), put("b", 61, "x", 1500)], false));
    steps.extend([Step::Background, Step::Reopen]);
    steps.push(load("b", vec![put("b", 60, "y", 1500), until("b", 61, "y", 70)], true));
    steps.push(load("c", vec![put("c", 5, "x", 1500)], false));
    steps.push(commit(vec![drop_of("c"), put("a", 11, "r", 40)], Synced));
    steps.extend([Step::Background, Step::Background, Step::Compact]);
    // It is the last commit of all, beside what memory has.
    steps.push(commit(vec![put("a", 1, "s", 40)], Buffered));
    steps.push(load("b", vec![put("b", 70, "z", 60)], true));
    steps.extend([Step::Flush, Step::Reopen]);
    steps
}

/// Entries that expire later, and such that have expired above others that have not.
fn expiring() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..4 {
        let changes =
            vec![until("a", n, "u", 60), put("a", 10 + n, "p", 40), gone("b", n, "g", 50)];
        steps.push(commit(changes, if n % 2 == 0 { Synced } else { Buffered }));
    }
    steps.extend([Step::Flush, Step::Snapshot]);
    steps.push(commit(vec![gone("a", 0, "h", 30), gone("a", 10, "h", 30)], Synced));
    steps.push(commit(vec![until("a", 11, "v", 70), put("a", 1, "q", 20)], Memory));
    steps.extend([Step::Flush, Step::Background, Step::Background, Step::Snapshot]);
    steps.push(commit(vec![until("a", 12, "w", 17 << 10), gone("a", 2, "i", 40)], Buffered));
    steps.extend([Step::Reopen, Step::Background, Step::Background]);
    steps.push(commit(vec![gone("a", 3, "j", 40), until("b", 5, "x", 40)], Buffered));
    steps.extend([Step::Compact, Step::Background]);
    steps
}

/// Ranges that are deleted: from tables, from memory, from their own batch, beside a snapshot, alone in a memtable and in
/// a large batch.
fn ranges() -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..5 {
        let changes = vec![put("a", n, "r", 60), put("a", 10 + n, "r", 60), put("b", n, "r", 50)];
        steps.push(commit(changes, if n % 2 == 0 { Synced } else { Buffered }));
    }
    steps.extend([Step::Flush, Step::Snapshot]);
    steps.push(commit(vec![delete_range("a", 2, Some(12))], Buffered));
    steps.push(commit(vec![put("a", 3, "s", 40), delete_range("b", 0, None)], Memory));
    steps.extend([Step::Flush, Step::Background, Step::Snapshot]);
    steps.push(commit(vec![delete_range("a", 0, Some(4))], Synced));
    steps.extend([Step::Flush, Step::Background, Step::Background]);
    let inside = vec![put("b", 1, "t", 30), delete_range("b", 0, Some(9)), put("b", 2, "t", 30)];
    steps.push(commit(inside, Buffered));
    steps.extend([Step::Snapshot, Step::Reopen]);
    let large =
        vec![put("a", 20, "u", 17 << 10), delete_range("a", 10, Some(30)), put("a", 21, "u", 40)];
    steps.push(commit(large, Buffered));
    steps.push(commit(vec![put("a", 12, "v", 40)], Buffered));
    steps.extend([Step::Compact, Step::Background, Step::Snapshot]);
    steps.push(commit(vec![delete_range("a", 0, None), delete_range("b", 0, None)], Synced));
    steps.extend([Step::Flush, Step::Background, Step::Background, Step::Reopen]);
    steps
}

/// Databases that come and go, in tables and in the log, with work in the background in between.
fn drops(durability: Durability) -> Vec<Step> {
    let synced = |change| commit(vec![change], Synced);
    let commit = |changes: Vec<Change>| commit(changes, durability);
    let mut steps = Vec::new();
    for n in 0..6 {
        steps.push(commit(vec![put("old", n, "old", 36), put("kept", n, "kept", 48)]));
    }
    steps.extend([Step::Flush, Step::Sync]);
    steps.push(commit(vec![drop_of("old")]));
    steps.extend([Step::Background, Step::Background, Step::Background]);
    steps.push(commit(vec![put("ghost", 11, "boo", 36), put("ghost", 12, "boo", 36)]));
    steps.push(commit(vec![drop_of("ghost")]));
    steps.push(synced(put("kept", 9, "x", 12)));
    steps.push(commit(vec![put("next", 3, "y", 12)]));
    steps.push(commit(vec![Change::Clear("kept".to_owned())]));
    steps.push(Step::Reopen);
    steps.push(commit(vec![put("old", 7, "new", 36)]));
    steps.push(commit(vec![Change::Clear("old".to_owned()), put("kept", 2, "z", 12)]));
    steps.extend([Step::Background, Step::Background]);
    steps
}

/// Synced commits that a compaction's edit alone vouches for: no frame follows them, and no flush takes them along.
fn marks() -> Workload {
    let synced = |n: u32| commit(vec![put("a", n, "m", 60)], Synced);
    let prelude = (0..4).flat_map(|n| [synced(n), Step::Flush]).collect();
    let mut steps = vec![synced(4), synced(5)];
    steps.extend(vec![Step::Background; 2]);
    Workload { prelude, ..of("marks".to_owned(), steps) }
}

/// Opens that end with everything in tables and nothing in the log.
fn flushes() -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..3 {
        for at in 0..4 {
            let both = vec![put("a", round * 3 + at, "f", 12), put("b", at, "g", 12)];
            steps.push(commit(both, Synced));
        }
        steps.push(Step::Flush);
        if round < 2 {
            steps.push(Step::Reopen);
        }
    }
    steps
}

/// Segments that rotate under one memtable, with syncs at different distances behind them.
fn segments() -> Vec<Step> {
    let large = |n: u32, durability| commit(vec![put("a", n, "large", 19 << 10)], durability);
    let small = |n: u32, durability| commit(vec![put("b", n, "s", 12)], durability);
    let mut steps: Vec<Step> = (0..4).map(|n| large(n, Buffered)).collect();
    steps.push(small(1, Synced));
    steps.extend((4..9).map(|n| large(n, if n % 2 == 0 { Memory } else { Buffered })));
    steps.extend([small(2, Buffered), Step::Sync, small(3, Memory), large(2, Buffered)]);
    steps.extend((10..18).map(|n| large(n % 6, Buffered)));
    steps.extend([small(4, Synced), Step::Reopen, small(5, Synced), large(1, Buffered)]);
    steps
}

/// Commits that go round on the ring of the stage, two of which do not fit there at a time.
fn ring() -> Vec<Step> {
    let of_len = |n: u32, len, durability| commit(vec![put("a", n, "r", len)], durability);
    let mut steps: Vec<Step> = (0..5).map(|n| of_len(n, 5 << 10, Buffered)).collect();
    steps.push(of_len(6, 40, Synced));
    steps.extend((7..12).map(|n| of_len(n, 700 * n as usize, Buffered)));
    steps.extend([of_len(12, 9 << 10, Buffered), of_len(13, 3 << 10, Memory)]);
    steps.extend([of_len(14, 40, Buffered), of_len(15, 2 << 10, Memory), Step::Sync]);
    steps.extend((16..19).map(|n| of_len(n, 5 << 10, Buffered)));
    steps
}

/// A segment that ends while its last piece, two commits, is on its way, and stands where the next segment's first
/// commits stand on a ring.
fn trails(name: &str, behind: Step) -> Workload {
    let of_len = |n: u32, len, durability| commit(vec![put("a", n, "t", len)], durability);
    // Up to the last two of its sixteen sectors.
    let mut prelude: Vec<Step> = (0..4).map(|n| of_len(n, (12 << 10) - 400, Synced)).collect();
    prelude.push(of_len(4, 3_800, Synced));
    let mut steps: Vec<Step> = (5..7).map(|n| of_len(n, 3_700, Buffered)).collect();
    steps.push(of_len(7, 900, Buffered));
    steps.extend((8..16).map(|n| of_len(n, 40, if n == 9 { Memory } else { Buffered })));
    steps.extend([behind, of_len(16, 40, Buffered), Step::Background]);
    Workload { tree: WIDE, prelude, ..of(name.to_owned(), steps) }
}

/// Weaker commits while a synced one is on its way to the device.
fn flights() -> Vec<Step> {
    let put = |n: u32| vec![put("a", n % 9, &format!("f{n}."), 40)];
    let round = |from: u32, kinds: &[Durability]| {
        let others = (from + 1..).zip(kinds).map(|(n, of)| (put(n), *of));
        let flight = Step::Flight(put(from), others.collect());
        // The first has a stage made, so that nobody behind the flight needs to wait for it.
        [commit(put(from + 5), Buffered), flight, commit(put(from + 6), Memory)]
    };
    let kinds: [&[Durability]; 4] =
        [&[Buffered], &[Memory, Buffered], &[Buffered, Memory, Buffered], &[Memory]];
    let rounds = (0..).step_by(10).zip(kinds);
    let mut steps: Vec<Step> = rounds.flat_map(|(from, of)| round(from, of)).collect();
    steps.extend([Step::Sync, Step::Flush]);
    steps.extend(round(50, &[Buffered]));
    steps.push(Step::Reopen);
    steps.extend(round(60, &[Buffered, Memory]));
    steps.push(commit(put(70), Synced));
    steps
}

/// Batches that are written apart, alone and beside others: behind them, above them, and such that change what
/// their databases are. In a small tree each is flushed by itself, in a wide one together with others.
fn bulk(len: usize) -> Vec<Step> {
    let large = |n: u32| vec![put("a", n, "l", len), put("b", n + 1, "l", 40), delete("a", n + 2)];
    let few = |n: u32| vec![put("a", n, "s", 40), put("b", n, "s", 40)];
    let swap = || Change::Swap("a".to_owned(), "b".to_owned());
    let mut steps = vec![commit(few(0), Buffered), commit(large(1), Buffered)];
    steps.extend([commit(few(1), Memory), commit(large(2), Memory), Step::Snapshot]);
    steps.push(Step::Beside(large(3), Buffered, vec![(few(3), Buffered), (few(4), Memory)]));
    steps.push(Step::Beside(large(4), Synced, vec![(few(5), Synced), (large(5), Buffered)]));
    steps.extend([commit(few(5), Memory), Step::Background]);
    steps.push(Step::Beside(large(6), Buffered, vec![(vec![swap()], Memory)]));
    steps.push(Step::Beside(large(7), Memory, vec![(vec![Change::Clear("a".to_owned())], Synced)]));
    steps.extend([Step::Snapshot, commit(few(6), Buffered), Step::Reopen]);
    steps.extend([commit(large(1), Buffered), commit(few(1), Buffered)]);
    steps
}

/// Few keys, and no state that was there before: an old one would pass for the right one.
fn small(n: u32) -> Step {
    commit(vec![put("a", n % 9, &format!("s{n}."), 160)], Synced)
}

/// Spares that come into use long before the next flush.
fn spares_early() -> Vec<Step> {
    let with_background = |n| match n {
        5 | 19 => vec![small(n), Step::Background, Step::Background],
        _ => vec![small(n)],
    };
    (0..22).flat_map(with_background).collect()
}

/// Synced commits that fill segments, so that spares are made, recycled and taken, with work in the
/// background after so many each; one that needs a larger segment comes in between.
fn spares(pace: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    for n in 0..46 {
        steps.push(small(n));
        match n {
            5 => steps.extend([Step::Background, Step::Background]),
            8 if pace < 10 => steps.push(commit(vec![put("b", 1, "large", 80 << 10)], Synced)),
            _ if n % pace == pace - 1 => steps.extend([Step::Background, Step::Background]),
            _ => {}
        }
    }
    steps.extend([Step::Reopen, small(50)]);
    steps
}
