//! `orlop tour`: what a store does, on real files, with a real crash.
//!
//! 1. the regular files below the current directory, path -> bytes
//! 2. 300,000 readings, sensor and time -> value
//! 3. what a commit costs, synced and buffered
//! 4. a snapshot that stands still while writes go on
//! 5. a range, forward and in reverse
//! 6. a drop
//! 7. a crash: a child of this process is killed in mid-write, and what it was told is counted
//! 8. the shape of the tree
//! 9. what to try next
//!
//! A second run on the same store adds a generation: every key begins with its number.

mod commits;
mod crash;
mod files;
mod generation;
mod readings;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use orlop::Store;

use crate::cli;
use crate::commands::stats;
use crate::failure::{Answer, Failure};
use crate::output::{Output, time};

/// The databases of the tour.
const FILES: &str = "files";
const READINGS: &str = "readings";
const SCRATCH: &str = "scratch";
const CRASH: &str = "crash";

/// The store, with a small memtable and small levels: so that a few megabytes already make a tree
/// that is worth drawing.
fn open(dir: &Path) -> Result<Store, Failure> {
    let builder = Store::builder().memtable_size(4 << 20).table_size(4 << 20).level_base(16 << 20);
    Ok(builder.open(dir)?)
}

pub(crate) use crash::run_child;

pub(crate) fn run(args: &cli::Tour) -> Result<Answer, Failure> {
    let start = Instant::now();
    let dir = args.dir.clone().unwrap_or_else(new_dir);
    let fresh = !dir.exists();
    let store = open(&dir)?;
    let generation = generation::next(&store)?;
    if generation == 1 && !store.databases()?.is_empty() {
        // It would write to databases of other people's, and drop one.
        return Err(Failure::with_hint(
            format!("{} holds data that no tour has made", dir.display()),
            "name another DIR, or none for a new store",
        ));
    }
    let mut out = Output::new();
    let age = if fresh { "new" } else { "there before" };
    let log = store.stats();
    let why = log.log_path_fallback.map(|why| format!(" ({why})")).unwrap_or_default();
    out.line("A tour of Orlop: one directory, one store\n")?;
    out.line(format!("   store       {} ({age})", dir.display()))?;
    out.line(format!("   generation  {generation}"))?;
    out.line(format!("   log         {}{why}", log.log_path))?;
    let mut tour = Tour { out, dir: &dir, generation };

    tour.section("1. The files below this directory, path -> bytes")?;
    let example = files::store(&mut tour, &store)?;
    tour.section("2. 300,000 readings of 100 sensors, sensor and time -> value")?;
    readings::store(&mut tour, &store)?;
    tour.section("3. What a commit costs")?;
    commits::measure(&mut tour, &store)?;
    tour.section("4. A snapshot stands still while writes go on")?;
    readings::snapshot(&mut tour, &store)?;
    tour.section("5. A range, forward and in reverse")?;
    readings::ranges(&mut tour, &store)?;
    tour.section("6. A drop")?;
    commits::drop_scratch(&mut tour, &store)?;
    store.close()?;
    tour.section("7. A crash: a process that writes is killed with signal 9")?;
    let store = crash::survive(&mut tour)?;
    tour.section("8. The shape of the tree")?;
    stats::print_levels(&mut tour.out, &store.stats())?;
    tour.line("")?;
    store.close()?;
    stats::print_files(&mut tour.out, &stats::files(&dir)?)?;
    tour.section("9. Look around")?;
    tour.next_commands(example.as_deref())?;
    tour.line(format!("\nTook {}.", time(start.elapsed())))?;
    tour.out.flush()?;
    Ok(Answer::Yes)
}

fn new_dir() -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    std::env::temp_dir().join(format!("orlop-tour-{now}-{}", std::process::id()))
}

/// What every part of the tour needs.
struct Tour<'a> {
    out: Output,
    dir: &'a Path,
    generation: u32,
}

impl Tour<'_> {
    fn section(&mut self, title: &str) -> Result<(), Failure> {
        self.out.line(format!("\n{title}"))?;
        self.out.flush()
    }

    /// A line of the section, which is seen at once.
    fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        self.out.line(line)?;
        self.out.flush()
    }

    /// How the keys of this generation begin.
    fn prefix(&self) -> String {
        generation::prefix(self.generation)
    }

    fn next_commands(&mut self, example: Option<&str>) -> Result<(), Failure> {
        let orlop = quoted(&std::env::args().next().unwrap_or("orlop".to_owned()));
        let dir = quoted(&self.dir.display().to_string());
        let superblock = quoted(&self.dir.join("SUPER").display().to_string());
        let sensor = format!("{}sensor-007/", self.prefix());
        let mut commands =
            vec![format!("databases {dir}"), format!("scan {dir} {FILES} --keys-only --limit 10")];
        commands.extend(example.map(|key| format!("get {dir} {FILES} {}", quoted(key))));
        commands.extend([
            format!("scan {dir} {READINGS} --prefix {sensor} --reverse --limit 5"),
            format!("dump {dir} {READINGS} --format ndjson | head"),
            format!("stats {dir}"),
            format!("verify {dir}"),
            format!("inspect {superblock}"),
            format!("tour {dir}   # adds generation {}", self.generation + 1),
        ]);
        commands.iter().try_for_each(|command| self.line(format!("   {orlop} {command}")))
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
