//! What a life has promised, from what the child told.
//!
//! A commit that was acknowledged before another one began comes before it in commit order. So:
//! - of each writer, between its last acknowledged commit of sufficient durability and the last one
//!   that it began, some prefix is there
//! - whatever commit is there, everything that was acknowledged before it began is there
//! - once a commit of sufficient durability, a sync or a flush is acknowledged, everything that was
//!   acknowledged before it began is there for good

use orlop::Durability;

use super::plan::WRITERS;
use super::report::{Event, FLUSHER, Record};

/// What must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordeal {
    /// SIGKILL: the page cache stays.
    Kill,
    /// A power cut that took place between these two moments, in microseconds since 1970.
    Power {
        /// Before the cut.
        from: u64,
        /// After it.
        to: u64,
    },
}

impl Ordeal {
    /// Whether what this acknowledges must survive.
    fn survived_by(self, ack: &Record) -> bool {
        match self {
            Ordeal::Kill => ack.durability >= Durability::Buffered,
            // The kernel's cut is no instant: a sync that overlaps it may find its pages clean,
            // since their writing was given up, and report success; a later sync then has nothing
            // left to do. Power that is gone lets neither return.
            Ordeal::Power { from, .. } => ack.durability == Durability::Synced && ack.micros < from,
        }
    }

    /// Whether this must not have been acknowledged: it had to write to a disk without power. What is not
    /// synced need not: it is on a stage, in memory that outlives the process.
    fn forbids(self, ack: &Record, begun: u64) -> bool {
        match self {
            Ordeal::Kill => false,
            Ordeal::Power { to, .. } => {
                usize::from(ack.writer) < WRITERS
                    && ack.durability == Durability::Synced
                    && begun > to
            }
        }
    }
}

/// A number for each writer.
pub type PerWriter = [u64; WRITERS];

/// The promises of one life.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The last commit of each writer before this life.
    pub base: PerWriter,
    /// What must be there at least.
    pub least: PerWriter,
    /// What can be there at most.
    pub most: PerWriter,
    /// Acknowledged commits that must have survived.
    pub acked: u64,
    /// For each commit from `base + 1`: what was acknowledged when it began first.
    before: [Vec<PerWriter>; WRITERS],
    /// What promised that.
    pub why: [Option<Record>; WRITERS],
    /// Acknowledged after the store had said that it is poisoned.
    pub after_poison: u64,
    /// Acknowledged although it had to write to a disk without power.
    pub forbidden: u64,
}

impl Ledger {
    /// Reads the promises out of what the child told.
    ///
    /// # Errors
    /// One line, when the child broke the rules of the game: then the harness is wrong.
    pub fn read(records: &[Record], base: PerWriter, ordeal: Ordeal) -> Result<Ledger, String> {
        let mut ledger = Ledger {
            base,
            least: base,
            most: base,
            acked: 0,
            before: Default::default(),
            why: [None; WRITERS],
            after_poison: 0,
            forbidden: 0,
        };
        let mut acked = base;
        let mut poisoned_before = None;
        // What was acknowledged when the last try began, and when that was.
        let mut begun = [(base, 0); WRITERS + 2];
        let mut in_doubt = [false; WRITERS];
        for (at, record) in records.iter().enumerate() {
            let Record { event, writer, number, .. } = *record;
            // Behind the writers' rows there is one for the keeper and one for the flusher.
            let keeping = writer.checked_sub(FLUSHER).map(|row| WRITERS + usize::from(row));
            let row = keeping.unwrap_or(usize::from(writer));
            match event {
                Event::Begin => {
                    let begun = begun.get_mut(row).ok_or(format!("writer {row} is none"))?;
                    *begun = (acked, record.micros);
                    if row < WRITERS {
                        ledger.begin(row, number, acked)?;
                        in_doubt[row] &= ledger.most[row] == number;
                        ledger.most[row] = number;
                    }
                }
                Event::Ack => {
                    if row < WRITERS {
                        acked[row] = number;
                    }
                    let (before, since) = begun[row.min(WRITERS + 1)];
                    if ordeal.survived_by(record) {
                        ledger.promise(row, record, &before);
                    }
                    ledger.forbidden += u64::from(ordeal.forbids(record, since));
                    if poisoned_before.is_some_and(|poisoned| began_after(records, at, poisoned)) {
                        ledger.after_poison += 1;
                    }
                }
                Event::Unknown if row < WRITERS => in_doubt[row] = true,
                Event::Refused if row < WRITERS && !in_doubt[row] => {
                    ledger.most[row] = number - 1;
                }
                Event::Poisoned => poisoned_before = poisoned_before.or(Some(at)),
                Event::Closed => {
                    let everything = acked;
                    ledger.promise(WRITERS, record, &everything);
                }
                _ => {}
            }
        }
        ledger.acked = (0..WRITERS).map(|writer| ledger.least[writer] - base[writer]).sum();
        Ok(ledger)
    }

    /// Notes what was acknowledged when a commit began.
    fn begin(&mut self, writer: usize, number: u64, acked: PerWriter) -> Result<(), String> {
        let at = number.checked_sub(self.base[writer] + 1).map(|at| at as usize);
        let first_tries = &mut self.before[writer];
        match at {
            // Another try: the commit may be there since the first one.
            Some(at) if at < first_tries.len() => Ok(()),
            Some(at) if at == first_tries.len() => {
                first_tries.push(acked);
                Ok(())
            }
            _ => Err(format!("writer {writer} jumped to commit {number}")),
        }
    }

    fn promise(&mut self, row: usize, ack: &Record, before: &PerWriter) {
        for (writer, before) in before.iter().enumerate() {
            let promised = if writer == row { ack.number } else { *before };
            if promised > self.least[writer] {
                self.least[writer] = promised;
                self.why[writer] = Some(*ack);
            }
        }
    }

    /// Whether writers that got so far are one prefix of one history.
    ///
    /// # Errors
    /// One line that says which commit is missing.
    pub fn check(&self, found: &PerWriter) -> Result<(), String> {
        for writer in 0..WRITERS {
            let (have, least, most) = (found[writer], self.least[writer], self.most[writer]);
            if have < least {
                let why = self.why[writer];
                return Err(format!(
                    "writer {writer} has {have} commits, {least} were promised, last by {why:?}"
                ));
            }
            if have > most {
                return Err(format!("writer {writer} has {have} commits, it only made {most}"));
            }
            let last = have.checked_sub(self.base[writer] + 1);
            let before = last.and_then(|last| self.before[writer].get(last as usize));
            for (other, needed) in before.into_iter().flatten().enumerate() {
                if found[other] < *needed {
                    return Err(format!(
                        "commit {have} of writer {writer} is there, but of writer {other} only \
                         {} instead of the {needed} that came before it",
                        found[other]
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether what was acknowledged at `at` began after `poisoned`.
fn began_after(records: &[Record], at: usize, poisoned: usize) -> bool {
    let ack = records[at];
    if ack.writer == FLUSHER {
        return false;
    }
    records[poisoned..at].iter().any(|record| {
        record.event == Event::Begin && record.writer == ack.writer && record.number == ack.number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records, one microsecond after the other.
    fn story(steps: &[(Event, u8, u64, Durability)]) -> Vec<Record> {
        let record = |(micros, (event, writer, number, durability))| Record {
            event,
            writer,
            durability,
            number,
            micros,
        };
        (0..).zip(steps.iter().copied()).map(record).collect()
    }

    /// A cut behind everything.
    const LATE: Ordeal = Ordeal::Power { from: 1_000, to: 1_001 };

    use super::super::report::KEEPER;
    use Durability::{Buffered, Memory, Synced};
    use Event::{Ack, Begin, Poisoned, Refused, Unknown};

    #[test]
    fn an_acknowledged_commit_promises_itself_and_what_came_before_it() {
        let records = story(&[
            (Begin, 0, 5, Memory),
            (Ack, 0, 5, Memory),
            (Begin, 1, 3, Buffered),
            (Begin, 0, 6, Memory),
            (Ack, 0, 6, Memory),
            (Ack, 1, 3, Buffered),
            (Begin, 1, 4, Synced),
        ]);
        let ledger = Ledger::read(&records, [4, 2, 0], Ordeal::Kill).unwrap();
        assert_eq!((ledger.least, ledger.most), ([5, 3, 0], [6, 4, 0]));
        assert!(ledger.check(&[5, 3, 0]).is_ok() && ledger.check(&[6, 4, 0]).is_ok());
        assert!(ledger.check(&[4, 3, 0]).is_err() && ledger.check(&[6, 2, 0]).is_err());
        assert!(ledger.check(&[7, 3, 0]).is_err(), "more than was begun");
        // Commit 4 of writer 1 began after commit 6 of writer 0 had returned.
        assert!(ledger.check(&[5, 4, 0]).unwrap_err().contains("came before"));
        let ledger = Ledger::read(&records, [4, 2, 0], LATE).unwrap();
        assert_eq!(ledger.least, [4, 2, 0]);
    }

    #[test]
    fn a_sync_promises_what_was_acknowledged_before_it() {
        let records = story(&[
            (Begin, 2, 1, Memory),
            (Ack, 2, 1, Memory),
            (Begin, KEEPER, 1, Synced),
            (Begin, 2, 2, Memory),
            (Ack, 2, 2, Memory),
            (Ack, KEEPER, 1, Synced),
        ]);
        let ledger = Ledger::read(&records, [0; 3], LATE).unwrap();
        assert_eq!((ledger.least, ledger.most), ([0, 0, 1], [0, 0, 2]));
    }

    #[test]
    fn a_sync_beside_the_cut_promises_nothing_and_none_may_succeed_behind_it() {
        let commit = |writer| [(Begin, writer, 1, Synced), (Ack, writer, 1, Synced)];
        let records = story(&[commit(0), commit(1), commit(2)].concat());
        let cut = Ordeal::Power { from: 2, to: 3 };
        let ledger = Ledger::read(&records, [0; 3], cut).unwrap();
        assert_eq!((ledger.least, ledger.forbidden), ([1, 0, 0], 1));
        // Memory needs no disk, and a sync with nothing left to do neither.
        let others = [(Begin, 0, 1, Memory), (Ack, 0, 1, Memory)];
        let syncs = [(Begin, KEEPER, 1, Synced), (Ack, KEEPER, 1, Synced)];
        let behind = Ordeal::Power { from: 0, to: 0 };
        let records = story(&[[(Poisoned, KEEPER, 0, Memory); 2], others, syncs].concat());
        assert_eq!(Ledger::read(&records, [0; 3], behind).unwrap().forbidden, 0);
    }

    #[test]
    fn a_refused_commit_is_not_there_unless_an_earlier_try_is_in_doubt() {
        let refused = [(Begin, 0, 1, Synced), (Refused, 0, 1, Synced)];
        let ledger = Ledger::read(&story(&refused), [0; 3], Ordeal::Kill).unwrap();
        assert_eq!(ledger.most, [0; 3]);
        let doubt = [(Begin, 0, 1, Synced), (Unknown, 0, 1, Synced)];
        let both = story(&[doubt, refused].concat());
        let ledger = Ledger::read(&both, [0; 3], Ordeal::Kill).unwrap();
        assert_eq!((ledger.least[0], ledger.most[0]), (0, 1));
    }

    #[test]
    fn nothing_that_began_after_the_poison_may_succeed() {
        let records = story(&[
            (Begin, 0, 1, Synced),
            (Begin, 1, 1, Synced),
            (Unknown, 0, 1, Synced),
            (Poisoned, KEEPER, 0, Memory),
            (Ack, 1, 1, Synced),
            (Begin, 1, 2, Memory),
            (Ack, 1, 2, Memory),
        ]);
        let ledger = Ledger::read(&records, [0; 3], Ordeal::Kill).unwrap();
        assert_eq!(ledger.after_poison, 1);
    }
}
