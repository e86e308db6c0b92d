//! One file for each family of subcommands: their arguments, and what they call in the library.
//!
//! Each gives a tally, or says why it cannot be run at all.

pub(crate) mod checks;
pub(crate) mod crash;
pub(crate) mod damage;
pub(crate) mod process;
pub(crate) mod soak;

use std::time::Duration;

use clap::Args;
use orlop_tests::tally::{Limits, Tally};

/// What a subcommand comes to.
pub(crate) type Outcome = Result<Tally, String>;

/// How long, from where, and with what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// When to begin nothing new
    #[arg(long, default_value_t = 300.0)]
    pub(crate) seconds: f64,
    /// Threads to work with
    #[arg(long, default_value_t = orlop_tests::soak::threads())]
    pub(crate) threads: usize,
}

impl Run {
    /// The limits that it says.
    ///
    /// # Errors
    /// A time that is none.
    pub(crate) fn limits(&self) -> Result<Limits, String> {
        let time = Duration::try_from_secs_f64(self.seconds)
            .map_err(|error| format!("--seconds {}: {error}", self.seconds))?;
        Ok(Limits::of(time, self.seed, self.threads.max(1)))
    }
}

/// The tally of one case that was run again.
fn verdict(outcome: Result<(), String>) -> Tally {
    let mut tally = Tally::default();
    match outcome {
        Ok(()) => tally.note("everything is as it must be"),
        Err(line) => tally.fail("wrong", line),
    }
    tally
}
