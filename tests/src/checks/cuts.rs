//! The power is cut after every operation of a history, or the process is killed there.
//!
//! What recovers must equal one commit that the promises allow, go on writing, and stand a second
//! crash. What a restarted process has served must survive a power cut, and a recovery that is cut
//! itself must be as good as none.

use std::path::Path;

use orlop::env::{Env, Keep, SimEnv};

use crate::checks::Budget;
use crate::checks::scripts::{self, Script};
use crate::history::{self, Promise, Tree};
use crate::model::Model;

/// Recoveries of every so many cuts are cut themselves.
const NESTED_EVERY: u64 = 7;

/// A history that was cut.
struct Cut<'a> {
    script: &'a Script,
    at: u64,
    env: SimEnv,
    promise: Promise,
}

impl Cut<'_> {
    fn line(&self, how: &str, found: &str) -> String {
        format!("{}, cut after operation {}, {how}: {found}", self.script.name, self.at)
    }

    fn tree(&self) -> Tree {
        self.script.tree
    }
}

/// Hands every cut of every script to `check`.
fn every_cut(
    budget: &mut Budget,
    check: fn(&mut Budget, &Cut<'_>) -> Result<(), String>,
) -> Result<u64, String> {
    for script in &scripts::all() {
        for at in 0.. {
            if budget.is_over() {
                return Ok(budget.cases());
            }
            let env = SimEnv::new(7);
            env.cut_after(at);
            let promise = history::run(&env, script.tree, Model::new(), &script.steps);
            let ended = env.operations() < at;
            let cut = Cut { script, at, env, promise };
            if let Some(error) = cut.promise.error.as_ref().filter(|_| ended) {
                return Err(cut.line("which it did not reach", &error.to_string()));
            }
            check(budget, &cut)?;
            if ended {
                break;
            }
        }
    }
    Ok(budget.cases())
}

/// Power cuts and kills; then more writes, and a second power cut.
pub(super) fn power(budget: &mut Budget) -> Result<u64, String> {
    every_cut(budget, |budget, cut| {
        let keeps = history::keeps(&cut.env, cut.at).into_iter();
        let crashed = keeps.map(|keep| (format!("{keep:?}"), cut.env.crash(keep)));
        let mut images: Vec<_> = crashed.map(|(how, env)| (how, env, cut.promise.power)).collect();
        images.push(("kill".to_owned(), cut.env.kill(), cut.promise.kill));
        for (how, image, least) in images {
            budget.count();
            let (store, k) = history::recovered(&image, cut.tree(), &cut.promise, least)
                .map_err(|found| cut.line(&how, &found))?;
            drop(store);
            second(&image, cut.tree(), &cut.promise.states[k])
                .map_err(|found| cut.line(&how, &found))?;
        }
        Ok(())
    })
}

/// Goes on writing, and cuts the power again.
fn second(image: &SimEnv, tree: Tree, start: &Model) -> Result<(), String> {
    let promise = history::run(image, tree, start.clone(), &scripts::sequel());
    if let Some(error) = &promise.error {
        return Err(format!("then writing: {error}"));
    }
    for (keep, least) in [(Keep::Nothing, promise.power), (Keep::Everything, promise.begun)] {
        history::recovered(&image.crash(keep), tree, &promise, least)
            .map_err(|found| format!("then after a second crash, {keep:?}: {found}"))?;
    }
    Ok(())
}

/// The process is killed and another one opens the store: what that one serves must survive a power
/// cut; and when the power is cut while it recovers, nothing promised may be lost.
pub(super) fn restarts(budget: &mut Budget) -> Result<u64, String> {
    every_cut(budget, |budget, cut| {
        let image = cut.env.kill();
        let (store, k) = history::recovered(&image, cut.tree(), &cut.promise, cut.promise.kill)
            .map_err(|found| cut.line("a restart", &found))?;
        for keep in [Keep::Nothing, Keep::Random(cut.at), Keep::Random(cut.at + 1)] {
            budget.count();
            history::recovered(&image.crash(keep), cut.tree(), &cut.promise, k).map_err(
                |found| cut.line(&format!("a restart, then a power cut, {keep:?}"), &found),
            )?;
        }
        drop(store);
        if cut.at.is_multiple_of(NESTED_EVERY) { nested(budget, cut) } else { Ok(()) }
    })
}

/// Cuts the recovery of a killed process after each of its operations.
fn nested(budget: &mut Budget, cut: &Cut<'_>) -> Result<(), String> {
    for at in 1.. {
        let image = cut.env.kill();
        image.cut_after(at);
        let opened = history::open(&image, cut.tree());
        for keep in history::keeps(&image, at) {
            budget.count();
            let how = format!("a restart, cut after operation {at} of its recovery, {keep:?}");
            history::recovered(&image.crash(keep), cut.tree(), &cut.promise, cut.promise.power)
                .map_err(|found| cut.line(&how, &found))?;
        }
        if opened.is_ok() || budget.is_over() {
            break;
        }
    }
    Ok(())
}

/// Bytes that a device writes as one.
const SECTOR: u64 = 4096;

/// The power is cut while a device writes: the sectors of that write may hold anything. The prologue
/// of a segment is taken for whole, as SPEC.md does.
pub(super) fn shorn(budget: &mut Budget) -> Result<u64, String> {
    every_cut(budget, |budget, cut| {
        let Some((name, offset, len)) = last_write(&cut.env.trace()) else { return Ok(()) };
        let image = cut.env.crash(Keep::Nothing);
        let path = Path::new(history::DIR).join(&name);
        let Ok(bytes) = image.read(&path) else { return Ok(()) };
        let prologue = if name.ends_with(".log") { 128 } else { 0 };
        let start = (offset / SECTOR * SECTOR).max(prologue).min(bytes.len() as u64);
        let end = (offset + len).next_multiple_of(SECTOR).min(bytes.len() as u64);
        if start < end {
            let written = image.open_write(&path).and_then(|mut file| {
                file.write_at(start, &vec![0xa5; (end - start) as usize])?;
                file.sync()
            });
            written.map_err(|error| cut.line("a write into the image", &error.to_string()))?;
        }
        budget.count();
        history::recovered(&image, cut.tree(), &cut.promise, cut.promise.power).map_err(
            |found| cut.line(&format!("sectors {start}..{end} of {name} shorn"), &found),
        )?;
        Ok(())
    })
}

/// The file and the bytes of the write that a trace ends with.
fn last_write(trace: &[String]) -> Option<(String, u64, u64)> {
    let mut words = trace.last()?.split(' ');
    words.next().filter(|verb| ["submit", "write"].contains(verb))?;
    let name = words.next()?;
    let (offset, len) = words.next()?.split_once('+')?;
    Some((name.to_owned(), offset.parse().ok()?, len.parse().ok()?))
}
