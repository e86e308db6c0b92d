//! Where the tables of a load go. Pure: a function of the version, of what is being merged, and of the tables.
//!
//! A load that is small goes into level 0, from where merges bring it down with others: many of them would leave a table each.
//! Otherwise a table goes as far down as it can: no table on its way there, or where it lies, may have keys between its bounds, for
//! what is loaded is newer than all that there is. Where it would end is the level that the store, with it, is large enough for.

use orlop_formats::manifest::TableMeta;

use crate::flow::compact::pick::{LEVELED_RUN, SMALL_SHARE};
use crate::options::{LEVELS, Options};
use crate::state::version::{Merging, Run, Version};

/// The level of each table.
pub(super) fn levels(
    version: &Version,
    merging: Option<&Merging>,
    tables: &[&TableMeta],
    options: &Options,
) -> Vec<u8> {
    let bytes = tables.iter().map(|table| table.size).sum();
    let wanted = match bytes < options.table_size / SMALL_SHARE {
        true => 0,
        false => level_of_size(version, bytes, options).max(version.lowest()),
    };
    tables.iter().map(|table| deepest(version, merging, table, wanted) as u8).collect()
}

/// The first level whose target so many more bytes do not exceed.
fn level_of_size(version: &Version, more: u64, options: &Options) -> usize {
    let mut target = options.level_base;
    for level in 1..LEVELS - 1 {
        let bytes: u64 = version.level(level).iter().map(Run::bytes).sum();
        if bytes + more <= target {
            return level;
        }
        target = target.saturating_mul(options.level_multiplier);
    }
    LEVELS - 1
}

fn deepest(
    version: &Version,
    merging: Option<&Merging>,
    table: &TableMeta,
    wanted: usize,
) -> usize {
    let overlaps = |run: &Run| run.overlaps(&table.smallest, &table.largest.1);
    let is_free = |level: &usize| !version.level(*level).iter().any(overlaps);
    let deepest = (0..=wanted).take_while(is_free).last().unwrap_or(0);
    // The tables of a merge may come to lie around it, though they have no key between its bounds.
    let is_taken = |level: usize| {
        let run = if level == 0 { None } else { Some(LEVELED_RUN) };
        merging.is_some_and(|of| {
            usize::from(of.level) == level && Some(of.run) == run && of.touches(table)
        })
    };
    seeded!(LoadedTooLow => return wanted);
    (0..=deepest).rev().find(|level| !is_taken(*level)).unwrap_or(0)
}
