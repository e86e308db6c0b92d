//! Cuts the simulated disk after every operation of a scripted history, for each durability, and
//! checks that what recovers is one prefix of the history that keeps every promise; goes on
//! writing, cuts again, and checks again.

use orlop::Durability;
use orlop::env::{Keep, SimEnv};
use orlop_tests::history::{self, Change, Promise, SMALL, Step};
use orlop_tests::model::Model;

fn put(name: &str, key: u32, value: &str) -> Change {
    let key = format!("key{key:03}").into_bytes();
    Change::Put(name.to_owned(), key, value.repeat(12).into_bytes())
}

/// A history that flushes, compacts, reopens, drops and swaps within a few dozen commits.
fn script(durability: Durability) -> Vec<Step> {
    let mut steps = Vec::new();
    let commit = |changes: Vec<Change>| Step::Commit(changes, durability);
    for round in 0..4_u32 {
        for at in 0..6 {
            let key = (round * 7 + at * 5) % 20;
            let value = format!("{round}.{at}.");
            steps.push(commit(vec![put("a", key, &value), put("b", key + 1, &value)]));
        }
        steps.push(commit(vec![
            Change::Delete("a".to_owned(), format!("key{:03}", round * 5).into_bytes()),
            put("c", round, "c"),
        ]));
        match round {
            0 => steps.push(Step::Flush),
            1 => steps.extend([Step::Background, Step::Reopen]),
            2 => {
                steps.push(commit(vec![Change::Swap("a".to_owned(), "b".to_owned())]));
                steps.push(commit(vec![Change::Drop("c".to_owned()), put("a", 9, "drop")]));
                steps.push(commit(vec![put("c", 9, "again")]));
                steps.extend([Step::Sync, Step::Compact, Step::Background]);
            }
            _ => steps.push(commit(vec![Change::Clear("b".to_owned()), put("b", 1, "new")])),
        }
    }
    steps
}

/// What is written after a recovery, before the second crash.
fn sequel() -> Vec<Step> {
    let commit = |key, durability| Step::Commit(vec![put("z", key, "later")], durability);
    vec![
        commit(1, Durability::Memory),
        commit(2, Durability::Buffered),
        commit(3, Durability::Synced),
        commit(4, Durability::Buffered),
    ]
}

/// Runs `script` up to a cut and checks every way of coming out of it. Returns false when the
/// history ended before the cut.
fn cut_at(script: &[Step], cut: u64, images: &mut u64) -> bool {
    let env = SimEnv::new(7);
    env.cut_after(cut);
    let promise = history::run(&env, SMALL, Model::new(), script);
    let mut crashed: Vec<(String, SimEnv, usize)> = history::keeps(&env, cut)
        .into_iter()
        .map(|keep| (format!("{keep:?}"), env.crash(keep), promise.power))
        .collect();
    crashed.push(("kill".to_owned(), env.kill(), promise.kill));
    let ended = env.operations() < cut;
    assert!(!ended || promise.error.is_none(), "the uncut history failed: {:?}", promise.error);
    for (how, image, least) in crashed {
        *images += 1;
        let context = || format!("cut after operation {cut}, {how}");
        if cut.is_multiple_of(5) {
            // A kill keeps the page cache, of which a later power cut can still take anything.
            let survives = if how == "kill" { promise.power } else { least };
            nested_cuts(&image, &promise, survives, &context(), images);
        }
        let (store, k) = history::recovered(&image, SMALL, &promise, least)
            .unwrap_or_else(|error| panic!("{}: {error}", context()));
        drop(store);
        second_crash(&image, &promise.states[k], &context());
    }
    !ended
}

fn second_crash(image: &SimEnv, start: &Model, context: &str) {
    let promise = history::run(image, SMALL, start.clone(), &sequel());
    assert!(promise.error.is_none(), "{context}: then writing: {:?}", promise.error);
    for (keep, least) in [(Keep::Nothing, promise.power), (Keep::Everything, promise.begun)] {
        let again = image.crash(keep);
        if let Err(error) = history::recovered(&again, SMALL, &promise, least) {
            panic!("{context}: then after a second crash with {keep:?}: {error}");
        }
    }
}

/// Cuts the recovery itself after every operation, and recovers from that.
fn nested_cuts(image: &SimEnv, promise: &Promise, least: usize, context: &str, images: &mut u64) {
    for cut in 1.. {
        let again = image.kill();
        again.cut_after(cut);
        let opened = history::open(&again, SMALL);
        for keep in history::keeps(&again, cut) {
            *images += 1;
            if let Err(error) = history::recovered(&again.crash(keep), SMALL, promise, least) {
                panic!("{context}: recovery cut after operation {cut}, {keep:?}: {error}");
            }
        }
        if opened.is_ok() {
            return;
        }
    }
}

fn every_cut(durability: Durability) {
    let script = script(durability);
    let mut images = 0;
    let mut cut = 0;
    while cut_at(&script, cut, &mut images) {
        cut += 1;
    }
    println!("{durability:?}: {cut} operations, {images} images");
    assert!(cut > 60, "the script is too short to mean anything: {cut} operations");
}

#[test]
fn synced_commits_survive_a_cut_at_every_operation() {
    every_cut(Durability::Synced);
}

#[test]
fn buffered_commits_survive_a_cut_at_every_operation() {
    every_cut(Durability::Buffered);
}

#[test]
fn memory_commits_survive_a_cut_at_every_operation() {
    every_cut(Durability::Memory);
}
