//! Parts 3 and 6: how long commits take, in a database that is dropped afterwards.

use std::time::{Duration, Instant};

use orlop::{Durability, Store};

use super::{SCRATCH, Tour};
use crate::failure::Failure;
use crate::output::{count, time};

/// Commits of each durability, and the time after which they are enough.
const SYNCED: usize = 500;
const BUFFERED: usize = 50_000;
const ENOUGH: Duration = Duration::from_secs(3);

/// Part 3.
pub(super) fn measure(tour: &mut Tour<'_>, store: &Store) -> Result<(), Failure> {
    let scratch = store.database(SCRATCH)?;
    // Its birth is not what is measured.
    scratch.put("first", "")?;
    for (durability, name, most) in
        [(Durability::Synced, "synced", SYNCED), (Durability::Buffered, "buffered", BUFFERED)]
    {
        let mut times = Vec::with_capacity(most);
        let start = Instant::now();
        while times.len() < most && start.elapsed() < ENOUGH {
            let key = format!("{name}/{:08}", times.len());
            let before = Instant::now();
            scratch.put_with(key, [b'v'; 100], durability)?;
            times.push(before.elapsed());
        }
        times.sort_unstable();
        tour.line(format!(
            "   {name:<9} {:>7} commits, one after the other: p50 {:>7}, p99 {:>7}   ({})",
            count(times.len() as u64),
            time(percentile(&times, 50)),
            time(percentile(&times, 99)),
            match durability {
                Durability::Synced => "on the device: survives power loss",
                _ => "in the kernel: survives kill -9",
            }
        ))?;
    }
    Ok(())
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Part 6.
pub(super) fn drop_scratch(tour: &mut Tour<'_>, store: &Store) -> Result<(), Failure> {
    let names = |store: &Store| store.databases().map(|names| names.join(", "));
    let before = names(store)?;
    let start = Instant::now();
    store.drop_database(SCRATCH)?;
    let took = time(start.elapsed());
    let after = names(store)?;
    tour.line(format!("   before  {before}"))?;
    tour.line(format!("   after   {after}"))?;
    tour.line(format!("   one synced commit, {took}; its space comes back in the background"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(51));
        assert_eq!(percentile(&times, 99), Duration::from_millis(100));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
