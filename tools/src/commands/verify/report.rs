//! What was found: findings are damage, notes are not.

use std::path::{Path, PathBuf};

use orlop_formats::error::DecodeError;

/// Findings that are kept; the rest is counted.
const KEPT: usize = 1000;

/// A place where a file breaks a rule.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Something that a person may want to know, and that breaks no rule.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    found: u64,
    pub(super) notes: Vec<Note>,
    /// Files that were read.
    pub(super) files: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
}

impl Report {
    /// The first findings, oldest first.
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings there are.
    pub(super) fn found(&self) -> u64 {
        self.found
    }

    pub(super) fn is_clean(&self) -> bool {
        self.found == 0
    }

    pub(super) fn finding(
        &mut self,
        path: &Path,
        offset: u64,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(Finding {
                path: path.to_owned(),
                offset,
                what: what.to_owned(),
                expected: expected.into(),
                found: found.into(),
            });
        }
    }

    /// A decoder's error, as a finding.
    pub(super) fn decode(&mut self, path: &Path, error: DecodeError) {
        self.finding(path, error.offset, error.what, error.expected, error.found);
    }

    /// A finding unless two values are equal.
    pub(super) fn equal<T: PartialEq + ToString>(
        &mut self,
        path: &Path,
        offset: u64,
        what: &str,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.finding(path, offset, what, expected.to_string(), found.to_string());
        }
    }

    /// A finding unless all bytes are zero; `offset` is that of the first one.
    pub(super) fn zeros(&mut self, path: &Path, offset: u64, what: &str, bytes: &[u8]) {
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            let byte = bytes.get(at).copied().unwrap_or_default();
            self.finding(path, offset + at as u64, what, "zero", format!("{byte:#04x}"));
        }
    }

    /// Free space between two frames, which a writer fills with zeros.
    pub(super) fn gap(&mut self, path: &Path, bytes: &[u8], from: u64, to: u64) {
        let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(to).unwrap_or(0);
        self.zeros(path, from, "free space", bytes.get(range).unwrap_or_default());
    }

    pub(super) fn note(&mut self, path: &Path, text: impl Into<String>) {
        self.notes.push(Note { path: path.to_owned(), text: text.into() });
    }
}
