//! SUPER: its header and both of its slots.

use std::path::Path;

use orlop_formats::limits::MAX_GENERATION;
use orlop_formats::superblock::{self, Superblock};

use super::report::Report;

/// Checks the file and gives the slot in force.
pub(super) fn verify(report: &mut Report, path: &Path, bytes: &[u8]) -> Option<Superblock> {
    match superblock::decode_file(bytes) {
        Ok(decoded) => {
            // The store opens without it; but one more loss, and it would not.
            if let Some(error) = decoded.bad_slot {
                report.decode(path, error);
            }
            if decoded.newest.generation == MAX_GENERATION {
                let expected = format!("one below {MAX_GENERATION}, so that it can be written");
                report.finding(path, 0, "generation", expected, "that one");
            }
            Some(decoded.newest)
        }
        Err(error) => {
            report.decode(path, error);
            None
        }
    }
}
