//! `orlop compact`: merge all sstables into one level.

use crate::cli;
use crate::commands::open_writing;
use crate::failure::{Answer, Failure};
use crate::output::{Output, size, time};
use crate::progress;

pub(crate) fn run(args: &cli::StoreOnly) -> Result<Answer, Failure> {
    let store = open_writing(&args.store)?;
    let before = tables(&store.stats());
    let bar = progress::spinner("compacting");
    let start = std::time::Instant::now();
    store.compact()?;
    let after = tables(&store.stats());
    store.close()?;
    bar.finish_and_clear();
    let mut out = Output::new();
    out.line(format!("before  {}", describe(before)))?;
    out.line(format!("after   {}, in {}", describe(after), time(start.elapsed())))?;
    out.flush()?;
    Ok(Answer::Yes)
}

/// Sstables, their runs, their bytes, and the bytes in memory.
fn tables(stats: &orlop::Stats) -> (u64, u64, u64, u64) {
    let runs = || stats.levels.iter().flat_map(|level| &level.runs);
    let tables = runs().map(|run| run.tables).sum();
    let bytes = runs().map(|run| run.bytes).sum();
    (tables, runs().count() as u64, bytes, stats.memtable_entries)
}

fn describe((tables, runs, bytes, in_memory): (u64, u64, u64, u64)) -> String {
    use crate::output::counted;
    format!(
        "{} in {}, {}; {} in memory",
        counted(tables, "sstable", "sstables"),
        counted(runs, "run", "runs"),
        size(bytes),
        counted(in_memory, "entry", "entries"),
    )
}
