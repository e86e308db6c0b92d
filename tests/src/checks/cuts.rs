//! The power is cut after every operation of a history, or the process is killed there.
//!
//! What recovers must equal one commit that the promises allow, go on writing, and stand a second
//! crash. What a restarted process has served must survive a power cut, and a recovery that is cut
//! itself must be as good as none.

use std::fmt::Display;
use std::path::Path;

use orlop::env::{Env, Keep, SimEnv};

use crate::checks::Budget;
use crate::checks::dice::Dice;
use crate::checks::scripts::{self, Script};
use crate::checks::trace::Op;
use crate::history::{self, Promise, Tree};
use crate::model::Model;

/// Recoveries of every so many cuts are cut themselves.
const NESTED_EVERY: u64 = 7;

/// Random histories.
const RANDOM: u64 = 40;

/// Throws of the dice for each cut of a recovery, beside the usual ways to come out of it.
const MORE_DICE: u64 = 4;

/// A history that was cut.
struct Cut<'a> {
    script: &'a Script,
    at: u64,
    env: SimEnv,
    promise: Promise,
}

impl Cut<'_> {
    fn line(&self, how: &str, found: &impl Display) -> String {
        format!("{}, cut after operation {}, {how}: {found}", self.script.name, self.at)
    }

    fn tree(&self) -> Tree {
        self.script.tree
    }
}

type CutCheck = fn(&mut Budget, &Cut<'_>) -> Result<(), String>;

/// Hands every cut of every script to `check`, and some cuts of random histories.
fn every_cut(budget: &mut Budget, check: CutCheck) -> Result<u64, String> {
    for script in &scripts::all() {
        let mut at = 0;
        while cut_at(budget, script, at, check)? {
            at += 1;
        }
    }
    let dice = &mut Dice::new(budget.seed);
    for _ in 0..RANDOM {
        let script = scripts::random(dice, 60);
        let whole = SimEnv::new(7);
        history::run(&whole, script.tree, Model::new(), &script.steps);
        for _ in 0..4 {
            cut_at(budget, &script, dice.below(whole.operations()), check)?;
        }
    }
    Ok(budget.cases())
}

/// Hands one cut to `check`. False when the history ended before, or time is up.
fn cut_at(budget: &mut Budget, script: &Script, at: u64, check: CutCheck) -> Result<bool, String> {
    if budget.is_over() {
        return Ok(false);
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
    Ok(!ended)
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
        // Between two writes of the superblock a recovery can do the most harm.
        let at_superblock = cut.env.trace().last().is_some_and(|line| line.contains("SUPER"));
        let chosen = at_superblock || cut.at.is_multiple_of(NESTED_EVERY);
        if chosen { nested(budget, cut) } else { Ok(()) }
    })
}

/// Cuts the recovery of a killed process after each of its operations.
fn nested(budget: &mut Budget, cut: &Cut<'_>) -> Result<(), String> {
    for at in 1.. {
        let image = cut.env.kill();
        image.cut_after(at);
        let opened = history::open(&image, cut.tree());
        let more = (0..MORE_DICE).map(|n| Keep::Random(cut.at * 1_009 + at * 31 + n));
        for keep in history::keeps(&image, at).into_iter().chain(more) {
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
const SECTOR: usize = 4096;

/// The power is cut while a device writes, in a history or in a recovery: a sector that gets other
/// bytes may then hold anything.
pub(super) fn shorn(budget: &mut Budget) -> Result<u64, String> {
    every_cut(budget, |budget, cut| {
        shear(budget, cut, &cut.env)?;
        for at in (1..).take_while(|_| cut.at.is_multiple_of(NESTED_EVERY)) {
            let image = cut.env.kill();
            image.cut_after(at);
            let opened = history::open(&image, cut.tree());
            shear(budget, cut, &image).map_err(|found| format!("in a recovery, {found}"))?;
            if opened.is_ok() || budget.is_over() {
                break;
            }
        }
        Ok(())
    })
}

/// Spoils the sectors of the write that a disk ended with, and recovers.
fn shear(budget: &mut Budget, cut: &Cut<'_>, env: &SimEnv) -> Result<(), String> {
    let Some((name, offset, len)) = last_write(&env.trace()) else { return Ok(()) };
    let image = env.crash(Keep::Nothing);
    let path = Path::new(history::DIR).join(&name);
    let (Ok(durable), Ok(written)) = (image.read(&path), env.read(&path)) else { return Ok(()) };
    for start in (offset / SECTOR * SECTOR..offset + len).step_by(SECTOR) {
        let sector = start..(start + SECTOR).min(durable.len());
        if durable.get(sector.clone()) == written.get(sector.clone()) {
            continue;
        }
        // SPEC.md takes the prologue of a segment for whole.
        let first = if name.ends_with(".log") { start.max(128) } else { start };
        let garbage = vec![0xa5; sector.end.saturating_sub(first)];
        let spoilt = image.open_write(&path).and_then(|mut file| {
            file.write_at(first as u64, &garbage)?;
            file.sync()
        });
        spoilt.map_err(|error| cut.line("a write into the image", &error.to_string()))?;
    }
    budget.count();
    history::recovered(&image, cut.tree(), &cut.promise, cut.promise.power)
        .map_err(|found| cut.line(&format!("{len} bytes at {offset} of {name} shorn"), &found))?;
    Ok(())
}

/// The file and the bytes of the write that a trace ends with.
fn last_write(trace: &[String]) -> Option<(String, usize, usize)> {
    let (name, offset, len) = match Op::of(trace.last()?) {
        Op::Submit(name, offset, len, _) | Op::Write(name, offset, len) => (name, offset, len),
        _ => return None,
    };
    Some((name, usize::try_from(offset).ok()?, usize::try_from(len).ok()?))
}
