//! What a long run has counted: one line a count, `name: value`, and one line a failure that
//! reproduces it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How far a part of a long run may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When to begin nothing new.
    pub until: Instant,
    /// Where randomness begins: the same seed does the same things in the same order.
    pub seed: u64,
    /// Threads to work with.
    pub threads: usize,
}

impl Limits {
    /// Limits that end after `time`.
    pub fn of(time: Duration, seed: u64, threads: usize) -> Self {
        Self { until: Instant::now() + time, seed, threads }
    }

    /// Whether time is up.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// Counts and failures. Parts count for themselves and are merged.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    failures: Vec<String>,
    notes: Vec<String>,
}

/// Failures beyond these are only counted.
const KEPT: usize = 20;

impl Tally {
    /// Adds to a count; adding 0 makes sure that the line is printed.
    pub fn add(&mut self, name: &str, n: u64) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += n;
        } else {
            self.counts.insert(name.to_owned(), n);
        }
    }

    /// What a count stands at.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Counts a failure under `name` (such as `lost`) and keeps the line that reproduces it.
    pub fn fail(&mut self, name: &str, line: impl Into<String>) {
        self.add(name, 1);
        self.add("failures", 1);
        if self.failures.len() < KEPT {
            self.failures.push(line.into());
        }
    }

    /// Keeps a line for the reader: why something was skipped, a distribution.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Takes another tally in.
    pub fn merge(&mut self, other: Tally) {
        for (name, n) in other.counts {
            self.add(&name, n);
        }
        self.failures.extend(other.failures);
        self.failures.truncate(KEPT);
        self.notes.extend(other.notes);
    }

    /// What another process has printed.
    pub fn parse(text: &str) -> Self {
        let mut tally = Self::default();
        for line in text.lines() {
            if let Some(note) = line.strip_prefix("# ") {
                tally.note(note);
            } else if let Some(failure) = line.strip_prefix("FAILED ") {
                tally.failures.push(failure.to_owned());
            } else if let Some((name, n)) = line.split_once(": ") {
                tally.add(name, n.parse().unwrap_or(0));
            }
        }
        tally
    }

    /// The lines that reproduce what failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        for (name, n) in &self.counts {
            writeln!(f, "{name}: {n}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_counts_add_up_and_failures_are_kept_with_their_line() {
        let mut one = Tally::default();
        one.add("images", 3);
        one.add("lost", 0);
        let mut other = Tally::default();
        other.add("images", 4);
        other.fail("lost", "crash random:7 cut 3");
        one.merge(other);
        assert_eq!((one.count("images"), one.count("lost"), one.count("failures")), (7, 1, 1));
        let text = one.to_string();
        assert!(text.contains("images: 7\n") && text.contains("FAILED crash random:7 cut 3\n"));
        one.note("a word: 3");
        assert_eq!(Tally::parse(&one.to_string()).to_string(), one.to_string());
    }
}
