//! Everything.

use std::time::Duration;

use clap::Args;
use orlop_tests::soak;

use super::Outcome;

/// Everything, each part for its share of the time; one line for each count
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 30)]
    minutes: u64,
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Soak {
    /// Runs it.
    ///
    /// # Errors
    /// None; what fails is in the tally.
    pub(crate) fn run(self) -> Outcome {
        Ok(soak::run(Duration::from_secs(60 * self.minutes), self.seed))
    }
}
