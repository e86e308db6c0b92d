//! How many comparisons came out which way: counted, never claimed.

use super::rows::Results;
use super::stats::Verdict;
use super::words;
use crate::engine::Table;

/// The comparisons of one table: each row with each peer that has a ratio there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) comparisons: usize,
    /// With a median above 1.
    pub(super) ahead: usize,
    /// Of these, with all of the interval above 1.
    pub(super) clearly_ahead: usize,
    /// With a median below 1.
    pub(super) behind: usize,
    /// Of these, with all of the interval below 1.
    pub(super) clearly_behind: usize,
}

impl Count {
    pub(super) fn of(results: &Results<'_>, table: Table) -> Self {
        let mut count = Self::default();
        for ratio in results.of(table).flat_map(|row| &row.cells).filter_map(|cell| cell.ratio) {
            count.comparisons += 1;
            count.ahead += usize::from(ratio.median > 1.0);
            count.behind += usize::from(ratio.median < 1.0);
            count.clearly_ahead += usize::from(ratio.verdict() == Verdict::Ahead);
            count.clearly_behind += usize::from(ratio.verdict() == Verdict::Behind);
        }
        count
    }

    /// `ahead in 150 of 200 comparisons (138 clearly), behind in 50 (41 clearly)`.
    pub(super) fn text(&self) -> String {
        format!(
            "ahead in {} of {} comparisons ({} clearly), behind in {} ({} clearly)",
            self.ahead, self.comparisons, self.clearly_ahead, self.behind, self.clearly_behind
        )
    }
}

/// One phrase for each table that compares anything, joined; `None` where nothing is compared.
pub(super) fn sentence(results: &Results<'_>) -> Option<String> {
    let counts = words::TABLES.map(|table| (table, Count::of(results, table)));
    let phrases: Vec<_> = counts
        .iter()
        .filter(|(_, count)| count.comparisons > 0)
        .map(|(table, count)| format!("{}: {}", words::table(*table), count.text()))
        .collect();
    (!phrases.is_empty()).then(|| phrases.join("; "))
}
