//! Looks for damage where nobody reads: every sstable, from the device, a piece at a time.
//!
//! The background does so with [`Builder::scrub_rate`](crate::Builder::scrub_rate), when nothing else is to be done, and
//! a caller with [`Store::scrub`](crate::Store::scrub). What is found is kept for `stats`, counted, and mended by
//! nobody: whoever reads the place gets an error, as without a scrub.

use std::io::ErrorKind;
use std::time::Duration;

use orlop_formats::ids::FileNumber;

use crate::env::faults::Inside;
use crate::error::{Error, Result};
use crate::files::sstable::{Scrubbed, Table};
use crate::options::Background;
use crate::state::shared::Shared;
use crate::stats::ScrubStats;
use crate::sync::{Arc, Stopwatch};

/// Sentences about damage that are kept.
const SENTENCES: usize = 32;

/// Until the background tries again, when it could not read or there was nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// Checks all sstables that are there. `check_open` says when to stop.
pub(crate) fn run(shared: &Shared, check_open: impl Fn() -> Result<()>) -> Result<ScrubStats> {
    let mut found = ScrubStats::default();
    let mut way = Way::default();
    loop {
        check_open()?;
        let Some(scrubbed) = way.next_piece(shared)? else { break };
        // What a closed store finds in its directory is somebody else's.
        check_open()?;
        note(&mut found, &scrubbed);
        note(&mut shared.scrub.lock(), &scrubbed);
    }
    found.passes = 1;
    shared.scrub.lock().passes += 1;
    Ok(found)
}

fn note(stats: &mut ScrubStats, scrubbed: &Scrubbed) {
    stats.bytes += scrubbed.bytes;
    stats.damaged += scrubbed.damage.len() as u64;
    stats.tables += u64::from(scrubbed.next.is_none());
    for sentence in scrubbed.damage.iter().map(Error::to_string) {
        if stats.damage.len() < SENTENCES && !stats.damage.contains(&sentence) {
            stats.damage.push(sentence);
        }
    }
}

/// A way through all tables, in the order of their numbers. It keeps none between two pieces.
#[derive(Default)]
struct Way {
    /// The least number to go on with, and from where in the table of this number.
    at: (FileNumber, usize),
}

impl Way {
    /// Checks a piece of the next table that there is; `None` behind the last one.
    fn next_piece(&mut self, shared: &Shared) -> Result<Option<Scrubbed>> {
        let version = Arc::clone(&shared.view.pin().version);
        let (least, from) = self.at;
        let tables = version.tables().filter(|table| table.meta().number >= least);
        let Some(table) = tables.min_by_key(|table| table.meta().number) else { return Ok(None) };
        let number = table.meta().number;
        let scrubbed = piece(shared, table, if number == least { from } else { 0 })?;
        self.at = scrubbed.next.map_or((number + 1, 0), |from| (number, from));
        Ok(Some(scrubbed))
    }
}

fn piece(shared: &Shared, table: &Table, from: usize) -> Result<Scrubbed> {
    // Where its blocks lie the index says, which may have to be read first.
    let _inside = Inside::enter();
    let scrubbed = table.scrub(&*shared.dir.env, from)?;
    if shared.read_only && scrubbed.damage.iter().any(is_gone) {
        // The writer beside us has merged it away; this open goes on reading what it has mapped.
        return Ok(Scrubbed::default());
    }
    Ok(scrubbed)
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// The background's way, again and again.
#[derive(Default)]
pub(super) struct Rounds {
    way: Way,
    /// Since the last piece, and for how long that has to last.
    paid: Option<(Stopwatch, Duration)>,
}

impl Rounds {
    /// Checks a piece, if it is time for that. How long until the next one; `None`: the background does not scrub.
    pub(super) fn turn(&mut self, shared: &Shared) -> Option<Duration> {
        let rate = shared.options.scrub_rate;
        if rate == 0 || shared.options.background == Background::Manual {
            return None;
        }
        if let Some(left) = self.left() {
            return Some(left);
        }
        let _stepping = shared.stepping.lock();
        let lasts = match self.way.next_piece(shared) {
            Ok(Some(scrubbed)) => {
                note(&mut shared.scrub.lock(), &scrubbed);
                Duration::from_secs_f64(scrubbed.asked.max(1) as f64 / rate as f64)
            }
            Ok(None) => {
                let was_at = std::mem::take(&mut self.way).at;
                shared.scrub.lock().passes += u64::from(was_at != (0, 0));
                PAUSE
            }
            Err(error) => {
                shared.scrub.lock().error = Some(error.to_string());
                PAUSE
            }
        };
        self.paid = Some((Stopwatch::start(), lasts));
        Some(lasts)
    }

    fn left(&self) -> Option<Duration> {
        let (since, lasts) = self.paid.as_ref()?;
        lasts.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }
}
