//! What was promised to whom, and what was seen, on one clock.
//!
//! Every commit counts one counter up, in a batch of its own, and leaves an entry of its own; so
//! what a reader sees is told by one number for each writer, its [`Counts`]. The rules:
//!
//! - what one reader sees at one moment is one prefix of the order of all commits: of two of them,
//!   one contains the other, and a commit is never there without those that had ended before it
//!   began
//! - a reader sees what was acknowledged before it looked, and nothing that had not begun
//! - what a crash leaves is such a prefix too, with everything that was promised to survive it

use std::sync::Mutex;

use orlop::{Durability, Error};

use super::locked;

/// A rule that was broken: the name of its count, and what happened.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) kind: &'static str,
    pub(super) what: String,
}

/// The result of everything that checks.
pub(super) type Check<T = ()> = Result<T, Broken>;

pub(super) fn broken<T>(kind: &'static str, what: impl Into<String>) -> Check<T> {
    Err(Broken { kind, what: what.into() })
}

/// The number of commits of each writer.
pub(super) type Counts = Vec<u64>;

/// A moment.
pub(super) type Time = u64;

/// An attempt of a commit.
#[derive(Debug, Clone)]
struct Attempt {
    writer: usize,
    number: u64,
    durability: Durability,
    begun: Time,
    acknowledged: Option<Time>,
}

impl Attempt {
    fn is_in(&self, counts: &Counts) -> bool {
        counts.get(self.writer).is_some_and(|count| *count >= self.number)
    }
}

#[derive(Debug, Default)]
struct Pages {
    now: Time,
    attempts: Vec<Attempt>,
    seen: Vec<Counts>,
    /// When somebody asked for everything to be on the device, and when it was.
    syncs: Vec<(Time, Time)>,
    /// Somebody was told that the store is poisoned, or closed.
    ended: Option<Time>,
}

impl Pages {
    fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }
}

/// See the module. Threads write into it between two steps of theirs: its lock is a real one.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pages: Mutex<Pages>,
}

impl Journal {
    pub(super) fn now(&self) -> Time {
        locked(&self.pages).tick()
    }

    /// A writer is about to commit its commit `number`.
    pub(super) fn begin(&self, writer: usize, number: u64, durability: Durability) -> usize {
        let mut pages = locked(&self.pages);
        let begun = pages.tick();
        pages.attempts.push(Attempt { writer, number, durability, begun, acknowledged: None });
        pages.attempts.len() - 1
    }

    /// The commit was acknowledged.
    pub(super) fn acknowledge(&self, attempt: usize) -> Check {
        let mut pages = locked(&self.pages);
        let now = pages.tick();
        let ended = pages.ended;
        let Some(attempt) = pages.attempts.get_mut(attempt) else { return Ok(()) };
        attempt.acknowledged = Some(now);
        if ended.is_some_and(|ended| ended < attempt.begun) {
            return broken("false_acks", format!("{attempt:?} after the store had ended"));
        }
        Ok(())
    }

    /// Somebody was told that no more commits are taken.
    pub(super) fn ended(&self, error: &Error) {
        if matches!(error, Error::Poisoned { .. } | Error::Closed) {
            let mut pages = locked(&self.pages);
            let now = pages.tick();
            pages.ended.get_or_insert(now);
        }
    }

    /// Everything acknowledged before `begun` has been put onto the device.
    pub(super) fn synced(&self, begun: Time) {
        let mut pages = locked(&self.pages);
        let now = pages.tick();
        pages.syncs.push((begun, now));
    }

    /// Number of commits acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        let pages = locked(&self.pages);
        pages.attempts.iter().filter(|attempt| attempt.acknowledged.is_some()).count() as u64
    }

    /// The commits acknowledged before a moment, by writer and number.
    pub(super) fn acknowledged_before(&self, moment: Time) -> Vec<(usize, u64)> {
        let pages = locked(&self.pages);
        let before = |attempt: &&Attempt| attempt.acknowledged.is_some_and(|time| time < moment);
        let attempts = pages.attempts.iter().filter(before);
        attempts.map(|attempt| (attempt.writer, attempt.number)).collect()
    }

    /// Number of observations.
    pub(super) fn observations(&self) -> u64 {
        locked(&self.pages).seen.len() as u64
    }

    /// A reader that began to look at `begun` saw `counts`.
    pub(super) fn saw(&self, counts: Counts, begun: Time) -> Check {
        let mut pages = locked(&self.pages);
        for attempt in &pages.attempts {
            let before = attempt.acknowledged.is_some_and(|time| time < begun);
            if before && !attempt.is_in(&counts) {
                return broken(
                    "lost",
                    format!("{attempt:?} is not in {counts:?}, read at {begun}"),
                );
            }
        }
        pages.has_begun(&counts)?;
        pages.is_prefix(&counts)?;
        pages.seen.push(counts);
        Ok(())
    }

    /// A reader that began to look at `begun` saw commit `number` of one writer.
    pub(super) fn saw_count(&self, writer: usize, number: u64, begun: Time) -> Check {
        let pages = locked(&self.pages);
        let of = |attempt: &&Attempt| attempt.writer == writer;
        let before = |attempt: &&Attempt| attempt.acknowledged.is_some_and(|time| time < begun);
        let least = pages.attempts.iter().filter(of).filter(before).map(|a| a.number).max();
        if least > Some(number) {
            return broken("lost", format!("writer {writer}: {number} is read, not {least:?}"));
        }
        let most = pages.attempts.iter().filter(of).map(|attempt| attempt.number).max();
        if number > 0 && most < Some(number) {
            return broken(
                "resurrected",
                format!("writer {writer}: {number} is read, not {most:?}"),
            );
        }
        Ok(())
    }

    /// What a crash has left, or a store beside, holds `counts`. Of what was acknowledged before
    /// `moment`, it has what was promised `least`, and all that came before that.
    pub(super) fn left(&self, counts: &Counts, least: Durability, moment: Time) -> Check {
        let pages = locked(&self.pages);
        let before = |attempt: &&Attempt| attempt.acknowledged.is_some_and(|time| time < moment);
        let strong = |attempt: &&Attempt| attempt.durability >= least;
        let promised = pages.attempts.iter().filter(strong).filter(before);
        // A stronger commit makes every earlier one as safe as itself.
        let syncs = pages.syncs.iter().filter(|(_, done)| *done < moment).map(|(begun, _)| *begun);
        let until = promised.clone().map(|attempt| attempt.begun).chain(syncs).max();
        let earlier = pages.attempts.iter().filter(|attempt| {
            attempt.acknowledged.zip(until).is_some_and(|(time, until)| time < until)
        });
        for attempt in promised.chain(earlier) {
            if !attempt.is_in(counts) {
                return broken("lost", format!("{attempt:?} is not in {counts:?} from the disk"));
            }
        }
        pages.has_begun(counts)?;
        pages.is_prefix(counts)
    }
}

impl Pages {
    fn has_begun(&self, counts: &Counts) -> Check {
        for (writer, count) in counts.iter().enumerate() {
            let begun = self.attempts.iter().filter(|attempt| attempt.writer == writer);
            let last = begun.map(|attempt| attempt.number).max().unwrap_or(0);
            if *count > last {
                let what = format!("commit {count} of writer {writer}, which has begun {last}");
                return broken("resurrected", what);
            }
        }
        Ok(())
    }

    fn is_prefix(&self, counts: &Counts) -> Check {
        for other in &self.seen {
            let pairs = || counts.iter().zip(other);
            if pairs().any(|(one, other)| one > other) && pairs().any(|(one, other)| one < other) {
                return broken("half", format!("{counts:?} and {other:?} are of no one order"));
            }
        }
        // A number that was tried again has several beginnings: the first one counts.
        let first_begun = |attempt: &Attempt| {
            let same =
                |other: &&Attempt| (other.writer, other.number) == (attempt.writer, attempt.number);
            self.attempts.iter().filter(same).map(|other| other.begun).min()
        };
        for inside in self.attempts.iter().filter(|attempt| attempt.is_in(counts)) {
            let begun = first_begun(inside).unwrap_or(inside.begun);
            for outside in self.attempts.iter().filter(|attempt| !attempt.is_in(counts)) {
                if outside.acknowledged.is_some_and(|time| time < begun) {
                    let what = format!("{inside:?} without the earlier {outside:?}");
                    return broken("half", what);
                }
            }
        }
        Ok(())
    }
}
