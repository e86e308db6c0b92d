//! `orlop stats`: the figures of a store, and its files by kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use orlop::{ScrubStats, Stats, Store};
use orlop_formats::filename::FileName;
use serde_json::json;

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::output::{Output, count, counted, size, time};

/// The kinds of files, in the order in which they are printed.
const KINDS: [&str; 9] =
    ["superblock", "manifest", "log", "stage", "sstable", "blob", "lock", "temporary", "other"];

pub(crate) fn run(args: &cli::StoreAndJson) -> Result<Answer, Failure> {
    let store = Store::open_read_only(&args.store)?;
    let stats = store.stats();
    let files = files(&args.store)?;
    let log_path = orlop::env::default_env().log_path();
    let mut out = Output::new();
    if args.json {
        out.json(&as_json(&stats, &files, &log_path))?;
    } else {
        print(&mut out, &args.store, &stats, &files, &log_path)?;
    }
    out.flush()?;
    Ok(Answer::Yes)
}

/// The files of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Files {
    pub(crate) count: u64,
    /// What their lengths add up to.
    pub(crate) bytes: u64,
    /// What they take on disk: reserved space counts, holes do not.
    pub(crate) on_disk: u64,
}

/// The files of a directory by kind.
pub(crate) fn files(dir: &Path) -> Result<BTreeMap<&'static str, Files>, Failure> {
    let fail = |error| Failure::input(dir, &error);
    let mut kinds: BTreeMap<&'static str, Files> = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // A file that a live writer removed meanwhile is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let files = kinds.entry(kind_of(&entry.file_name().to_string_lossy())).or_default();
        files.count += 1;
        files.bytes += metadata.len();
        files.on_disk += on_disk(&metadata);
    }
    Ok(kinds)
}

fn kind_of(name: &str) -> &'static str {
    match FileName::parse(name) {
        Some(FileName::Superblock) => "superblock",
        Some(FileName::Manifest(_)) => "manifest",
        Some(FileName::Log(_)) => "log",
        Some(FileName::Stage(_)) => "stage",
        Some(FileName::Sstable(_)) => "sstable",
        Some(FileName::Blob(_)) => "blob",
        Some(FileName::Lock) => "lock",
        None if FileName::is_temporary(name) => "temporary",
        None => "other",
    }
}

#[cfg(unix)]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

fn as_json(
    stats: &Stats,
    files: &BTreeMap<&'static str, Files>,
    log_path: &orlop::env::LogPath,
) -> serde_json::Value {
    let runs = |level: &orlop::LevelStats| -> Vec<serde_json::Value> {
        let run = |run: &orlop::RunStats| {
            json!({
                "tables": run.tables, "bytes": run.bytes, "entries": run.entries,
                "tombstones": run.tombstones, "expiring": run.expiring,
                "filter_bytes": run.filter_bytes, "index_bytes": run.index_bytes,
            })
        };
        level.runs.iter().map(run).collect()
    };
    let levels: Vec<_> = stats
        .levels
        .iter()
        .map(|level| json!({ "level": level.level, "runs": runs(level) }))
        .collect();
    let files: serde_json::Map<_, _> = files
        .iter()
        .map(|(kind, files)| {
            let figures =
                json!({ "count": files.count, "bytes": files.bytes, "on_disk": files.on_disk });
            ((*kind).to_owned(), figures)
        })
        .collect();
    json!({
        "databases": stats.databases,
        "visible_seqno": stats.visible_seqno,
        "durable_seqno": stats.durable_seqno,
        "snapshots": stats.snapshots,
        "memtable_entries": stats.memtable_entries,
        "memtable_bytes": stats.memtable_bytes,
        "sealed_memtables": stats.sealed_memtables,
        "memtable_range_deletes": stats.memtable_range_deletes,
        "range_deletes": stats.range_deletes,
        "loading_tables": stats.loading_tables,
        "loading_bytes": stats.loading_bytes,
        "levels": levels,
        "commits": stats.commits,
        "commit_groups": stats.commit_groups,
        "log_syncs": stats.log_syncs,
        "write_stalls": stats.write_stalls,
        "write_stall_ms": stats.write_stall_time.as_millis() as u64,
        "compaction_debt": stats.compaction_debt,
        "flushes": stats.flushes,
        "flushed_bytes": stats.flushed_bytes,
        "compactions": stats.compactions,
        "compacted_bytes_in": stats.compacted_bytes_in,
        "compacted_bytes_out": stats.compacted_bytes_out,
        "cache_bytes": stats.cache_bytes,
        "cache_misses": stats.cache_misses,
        "pinned_memtables": stats.pinned_memtables,
        "pinned_memtable_bytes": stats.pinned_memtable_bytes,
        "pinned_tables": stats.pinned_tables,
        "pinned_table_bytes": stats.pinned_table_bytes,
        "scrub": scrub(&stats.scrub),
        "background_error": stats.background_error,
        "poisoned": stats.poisoned,
        "log_path": stats.log_path,
        "log_path_fallback": stats.log_path_fallback,
        "log_path_for_writing": log_path.name,
        "log_path_for_writing_fallback": log_path.fallback,
        "files": files,
    })
}

fn scrub(stats: &ScrubStats) -> serde_json::Value {
    json!({
        "passes": stats.passes, "tables": stats.tables, "bytes": stats.bytes,
        "damaged": stats.damaged, "damage": stats.damage, "error": stats.error,
    })
}

fn print(
    out: &mut Output,
    path: &Path,
    stats: &Stats,
    files: &BTreeMap<&'static str, Files>,
    log_path: &orlop::env::LogPath,
) -> Result<(), Failure> {
    let mut row = |name: &str, value: String| out.line(format!("{name:<18}{value}"));
    row("store", path.display().to_string())?;
    row("databases", count(stats.databases))?;
    row("last commit", format!("{} (durable: {})", stats.visible_seqno, stats.durable_seqno))?;
    let memory =
        format!("{} entries, {}", count(stats.memtable_entries), size(stats.memtable_bytes));
    let sealed = format!("{memory}; {} sealed", stats.sealed_memtables);
    row("in memory", format!("{sealed} (replayed from the log)"))?;
    let ranges = count(stats.memtable_range_deletes + stats.range_deletes);
    row("range deletes", ranges)?;
    let loading = counted(stats.loading_tables, "table", "tables");
    row("unfinished loads", format!("{loading}, {}", size(stats.loading_bytes)))?;
    row("snapshots", count(stats.snapshots))?;
    row("log path", format!("{} (this open only reads)", stats.log_path))?;
    let why = log_path.fallback.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    row("  when writing", format!("{}{why}", log_path.name))?;
    row("commits", format!("{} in {} groups", count(stats.commits), count(stats.commit_groups)))?;
    let stalls =
        format!("{} stalls of {}", count(stats.write_stalls), time(stats.write_stall_time));
    row("  with", format!("{} syncs, {stalls}", count(stats.log_syncs)))?;
    row("flushes", format!("{}, {}", count(stats.flushes), size(stats.flushed_bytes)))?;
    let moved =
        format!("{} in, {} out", size(stats.compacted_bytes_in), size(stats.compacted_bytes_out));
    row("compactions", format!("{}, {moved}", count(stats.compactions)))?;
    row("  left to do", size(stats.compaction_debt))?;
    row("background error", stats.background_error.clone().unwrap_or("none".to_owned()))?;
    row("poisoned", stats.poisoned.clone().unwrap_or("no".to_owned()))?;
    out.line("")?;
    print_levels(out, stats)?;
    out.line("")?;
    print_files(out, files)
}

/// The shape of the tree: one row for each run.
pub(crate) fn print_levels(out: &mut Output, stats: &Stats) -> Result<(), Failure> {
    if stats.levels.is_empty() {
        return out.line("no sstables yet: everything is in the log and in memory");
    }
    let runs = || stats.levels.iter().flat_map(|level| &level.runs);
    let largest = runs().map(|run| run.bytes).max().unwrap_or(1).max(1);
    out.line("level   run  tables       size      entries  tombstones     filter")?;
    for level in &stats.levels {
        for (at, run) in level.runs.iter().enumerate() {
            let bar = (run.bytes * 24).div_ceil(largest) as usize;
            out.line(format!(
                "{:>5} {:>5} {:>7} {:>10} {:>12} {:>11} {:>10}  {}",
                format!("L{}", level.level),
                at + 1,
                count(run.tables),
                size(run.bytes),
                count(run.entries),
                count(run.tombstones),
                size(run.filter_bytes),
                "#".repeat(bar),
            ))?;
        }
    }
    Ok(())
}

/// The files of a store: one row for each kind, and the sum.
pub(crate) fn print_files(
    out: &mut Output,
    files: &BTreeMap<&'static str, Files>,
) -> Result<(), Failure> {
    let mut total = Files::default();
    let header = format!("{:<10} {:>6} {:>10} {:>10}", "files", "count", "bytes", "on disk");
    let mut rows = Vec::new();
    for kind in KINDS {
        if let Some(files) = files.get(kind) {
            total.count += files.count;
            total.bytes += files.bytes;
            total.on_disk += files.on_disk;
            rows.push((kind, *files));
        }
    }
    rows.push(("total", total));
    out.line(header)?;
    for (name, files) in rows {
        out.line(format!(
            "{name:<10} {:>6} {:>10} {:>10}",
            count(files.count),
            size(files.bytes),
            size(files.on_disk)
        ))?;
    }
    Ok(())
}
