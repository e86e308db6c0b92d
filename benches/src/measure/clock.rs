//! Timing of operations.
//!
//! A closed loop starts an operation when the one before has ended. It gives throughput; its
//! latencies are those of a caller who waits. One operation in [`EVERY`] is timed, since two looks
//! at the clock cost as much as a fast read.
//!
//! An open loop starts operations when they are due, at a fixed rate, and counts latency from then:
//! an operation that waits because the one before it stalled is late, and says so. (Gil Tene calls
//! what closed loops do here coordinated omission.)

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::failure::{Failure, Result};
use crate::record::Latency;

/// In a closed loop one operation in this many is timed.
pub(crate) const EVERY: usize = 16;

/// Width of one step of a timeline.
const STEP: Duration = Duration::from_millis(100);

/// What one thread measured.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Operations done, from the first on.
    pub(crate) operations: usize,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    latencies: Histogram<u64>,
    open_loop: bool,
    timeline: Vec<u64>,
}

impl Tally {
    fn new(open_loop: bool) -> Result<Self> {
        let now = Instant::now();
        // Nanoseconds up to an hour, to three digits.
        let latencies = Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?;
        let timeline = Vec::with_capacity(128);
        Ok(Self { operations: 0, began: now, ended: now, latencies, open_loop, timeline })
    }

    fn note(&mut self, latency: Duration) {
        // Saturating: what takes longer than an hour counts as an hour.
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// `operations` in all were done at `now`.
    fn progress(&mut self, operations: usize, now: Instant) {
        let step = (now.duration_since(self.began).as_nanos() / STEP.as_nanos()) as usize;
        if self.timeline.len() <= step {
            self.timeline.resize(step + 1, 0);
        }
        self.timeline[step] += (operations - self.operations) as u64;
        self.operations = operations;
        self.ended = now;
    }
}

/// Does operations 0 to `count` one after the other, until `limit` has passed.
pub(crate) fn closed_loop(
    count: usize,
    limit: Duration,
    every: usize,
    mut operation: impl FnMut(usize) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::new(false)?;
    let mut at = 0;
    while at < count {
        let begin = Instant::now();
        operation(at)?;
        let end = Instant::now();
        tally.note(end - begin);
        tally.progress(at + 1, end);
        if end - tally.began >= limit {
            return Ok(tally);
        }
        let next = (at + every).min(count);
        for untimed in at + 1..next {
            operation(untimed)?;
        }
        at = next;
    }
    tally.progress(count, Instant::now());
    Ok(tally)
}

/// Does operations 0 to `count`, `rate` of them a second, until `limit` has passed.
///
/// It waits for the next one busily: waking up would cost more than most operations.
pub(crate) fn open_loop(
    count: usize,
    limit: Duration,
    rate: f64,
    mut operation: impl FnMut(usize) -> Result<()>,
) -> Result<Tally> {
    let mut tally = Tally::new(true)?;
    for at in 0..count {
        let due = tally.began + Duration::from_secs_f64(at as f64 / rate);
        if due - tally.began >= limit {
            break;
        }
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        operation(at)?;
        let end = Instant::now();
        tally.note(end - due);
        tally.progress(at + 1, end);
        // Far too late is told by the latencies and by the rate; no need to work it all off.
        if end - tally.began >= limit * 2 {
            break;
        }
    }
    Ok(tally)
}

/// What the threads of one measurement did together.
#[derive(Debug)]
pub(crate) struct Together {
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) latency: Latency,
    pub(crate) timeline: Vec<u64>,
}

/// Quantiles of the latency curve.
const CURVE: &[f64] =
    &[0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0];

impl Together {
    /// Adds up what ran side by side, from the first begin to the last end.
    pub(crate) fn of(tallies: &[Tally]) -> Result<Self> {
        let (Some(began), Some(ended)) = (
            tallies.iter().map(|tally| tally.began).min(),
            tallies.iter().map(|tally| tally.ended).max(),
        ) else {
            return Err(Failure::other("a measurement without a thread"));
        };
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3)?;
        let mut timeline = Vec::new();
        for tally in tallies {
            latencies.add(&tally.latencies)?;
            timeline.resize(tally.timeline.len().max(timeline.len()), 0);
            for (sum, step) in timeline.iter_mut().zip(&tally.timeline) {
                *sum += step;
            }
        }
        let open_loop = tallies.iter().any(|tally| tally.open_loop);
        Ok(Self {
            operations: tallies.iter().map(|tally| tally.operations as u64).sum(),
            seconds: (ended - began).as_secs_f64(),
            latency: summary(&latencies, open_loop),
            timeline,
        })
    }
}

fn summary(latencies: &Histogram<u64>, open_loop: bool) -> Latency {
    let at = |quantile| latencies.value_at_quantile(quantile);
    Latency {
        samples: latencies.len(),
        open_loop,
        mean: latencies.mean(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: latencies.max(),
        curve: CURVE.iter().map(|quantile| (*quantile, at(*quantile))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_does_every_operation_once_in_order() {
        let mut done = Vec::new();
        let tally = closed_loop(100, Duration::from_secs(60), EVERY, |at| {
            done.push(at);
            Ok(())
        });
        let together = Together::of(&[tally.unwrap()]).unwrap();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
        assert_eq!(together.operations, 100);
        assert_eq!(together.latency.samples, 7);
        assert_eq!(together.timeline.iter().sum::<u64>(), 100);
    }

    #[test]
    fn a_closed_loop_ends_with_its_time_and_knows_how_far_it_came() {
        let mut done = 0;
        let tally = closed_loop(usize::MAX, Duration::from_millis(30), 4, |_| {
            done += 1;
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        let tally = tally.unwrap();
        assert_eq!(tally.operations, done);
        assert!(tally.ended - tally.began >= Duration::from_millis(30));
    }

    #[test]
    fn an_open_loop_counts_the_wait_behind_a_stall() {
        let tally = open_loop(100, Duration::from_secs(60), 1000.0, |at| {
            if at == 10 {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        });
        let together = Together::of(&[tally.unwrap()]).unwrap();
        // The stalled operation alone would be one in a hundred; those due behind it waited, too.
        assert!(together.latency.p90 > 10_000_000, "{:?}", together.latency);
        assert_eq!(together.latency.samples, 100);
        assert!(together.seconds >= 0.099);
    }

    #[test]
    fn an_open_loop_keeps_its_rate() {
        let tally = open_loop(usize::MAX, Duration::from_millis(100), 2000.0, |_| Ok(()));
        let together = Together::of(&[tally.unwrap()]).unwrap();
        assert_eq!(together.operations, 200);
    }
}
