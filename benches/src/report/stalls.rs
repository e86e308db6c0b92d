//! Stalls: tenths of a second in which a workload stood still, or almost.

use super::figures;
use super::rows::{Cell, Results, Row};
use super::sheets;
use crate::record::Measurement;

/// A tenth stands still when it does less than this share of the round's mean.
const STILL: f64 = 0.1;

/// Tenths that a timeline must have before it tells anything.
const LEAST_TENTHS: usize = 3;

/// Operations that were timed in a tenth, on average, for a tenth without any to mean something.
const LEAST_TIMED: f64 = 10.0;

/// One operation of theirs is a pass over the store, however long that takes.
const SCANS: [&str; 2] = ["readseq", "readreverse"];

/// The section, with its chart; nothing where no timelines were kept.
pub(super) fn section(results: &Results<'_>, chart: &str) -> String {
    let sheets = sheets::sheets(results, |_, row, at| text(row, sheets::cell(row, at)?));
    if sheets.is_empty() {
        return String::new();
    }
    format!(
        "## Stalls\n\n{chart}The longest time without work, in tenths of a second that did less than \
         a tenth of their round's mean; then the slowest tenth, as a share of that mean. Medians \
         over rounds. Workloads are left out in which some engine did too few operations in a tenth \
         to tell a stop from a slow operation, and scans.\n\n{sheets}"
    )
}

/// Whether a tenth without work is a stop on every engine of the row, in every round.
pub(super) fn can_tell(row: &Row<'_>) -> bool {
    let mut rounds = row.cells.iter().flat_map(|cell| cell.rounds.values());
    !SCANS.contains(&row.name) && rounds.all(|round| is_fine(round))
}

/// Whether enough was done in each tenth. A timeline may count entries, many of them by one
/// operation; those that were timed are single operations.
fn is_fine(round: &Measurement) -> bool {
    let timed = round.latency.as_ref().map_or(0, |latency| latency.samples);
    round.seconds > 0.0 && timed as f64 / (10.0 * round.seconds) >= LEAST_TIMED
}

fn text(row: &Row<'_>, cell: &Cell<'_>) -> Option<String> {
    if !can_tell(row) {
        return None;
    }
    let stop = cell.median(longest_stop)?;
    let slowest = cell.median(slowest_tenth)?;
    Some(format!("{stop:.1} s, {}", figures::share(slowest)))
}

/// The tenths of a round that are whole: the last one is cut off by the end.
pub(super) fn whole_tenths(round: &Measurement) -> &[u64] {
    let whole = (10.0 * round.seconds + 1e-6).max(0.0) as usize;
    round.timeline.get(..whole).unwrap_or(&round.timeline)
}

/// Seconds of the longest stop in a round.
pub(super) fn longest_stop(round: &Measurement) -> Option<f64> {
    let mean = mean(round)?;
    let tenths = whole_tenths(round);
    let stops = tenths.split(|tenth| *tenth as f64 >= STILL * mean);
    stops.map(|stop| stop.len() as f64 / 10.0).reduce(f64::max)
}

/// The slowest tenth over the mean one.
pub(super) fn slowest_tenth(round: &Measurement) -> Option<f64> {
    let mean = mean(round)?;
    whole_tenths(round).iter().min().map(|tenth| *tenth as f64 / mean)
}

/// Operations in a tenth, of rounds that are long enough to tell.
fn mean(round: &Measurement) -> Option<f64> {
    let tenths = whole_tenths(round);
    let mean = tenths.iter().sum::<u64>() as f64 / tenths.len() as f64;
    (tenths.len() >= LEAST_TENTHS && mean > 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::report::synthetic;

    fn round(seconds: f64, timeline: &[u64]) -> Measurement {
        Measurement { seconds, timeline: timeline.to_vec(), ..Measurement::default() }
    }

    #[test]
    fn the_longest_stop_and_the_slowest_tenth() {
        let steady = round(0.5, &[100; 5]);
        assert_eq!(longest_stop(&steady), Some(0.0));
        assert_eq!(slowest_tenth(&steady), Some(1.0));
        let stalled = round(0.8, &[100, 100, 0, 1, 100, 0, 100, 99]);
        assert_eq!(longest_stop(&stalled), Some(0.2));
        assert_eq!(slowest_tenth(&stalled), Some(0.0));
    }

    #[test]
    fn scans_and_rows_in_which_someone_is_slow_are_left_out() {
        assert!(SCANS.iter().all(|name| catalog::find(name).is_ok()));
        let (run, mut rounds) = synthetic::run(3);
        let text = section(&Results::new(&run, &rounds), "");
        assert!(text.contains("| readinplace |") && text.contains("| fillseq, buffered |"));
        assert!(!text.contains("| readseq |") && !text.contains("| readreverse |"), "{text}");
        // 1.5 seconds are 15 tenths.
        synthetic::set_samples(&mut rounds, "readinplace", &[("redb", 149)]);
        synthetic::set_samples(&mut rounds, "ycsbc", &[("redb", 150)]);
        let text = section(&Results::new(&run, &rounds), "");
        assert!(!text.contains("| readinplace |") && text.contains("| ycsbc |"), "{text}");
    }

    #[test]
    fn a_tenth_that_the_end_cuts_off_is_no_stall() {
        assert_eq!(slowest_tenth(&round(0.41, &[100, 100, 100, 100, 3])), Some(1.0));
        assert_eq!(whole_tenths(&round(0.3, &[1, 1, 1])).len(), 3);
    }

    #[test]
    fn too_short_or_idle_rounds_tell_nothing() {
        assert_eq!(longest_stop(&round(0.2, &[5, 5])), None);
        assert_eq!(slowest_tenth(&round(0.5, &[0; 5])), None);
        assert_eq!(slowest_tenth(&round(0.0, &[])), None);
    }
}
