//! Part 7: a process that writes is killed, and every write that it was told of must be there.
//!
//! The child commits batches of two entries and prints the number of each one *after* its commit
//! has returned. The parent kills it in the middle, so that:
//!
//! 1. every number that was printed was acknowledged: both entries must be there
//! 2. of the batches behind it some may be there, whole; half of one never

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use orlop::{Durability, Store};

use super::{CRASH, Tour};
use crate::cli;
use crate::failure::{Answer, Failure};
use crate::output::{count, time};

/// Acknowledgements after which the child is killed, and the least and most time it gets.
const ENOUGH: usize = 3_000;
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(8);

/// One commit of so many is synced, the others are buffered.
const SYNCED_EVERY: u64 = 16;

/// A child that nobody kills ends by itself.
const CHILD_MOST: u64 = 2_000_000;

fn keys(prefix: &str, number: u64) -> [String; 2] {
    [format!("{prefix}a/{number:08}"), format!("{prefix}b/{number:08}")]
}

/// The process that is killed.
pub(crate) fn run_child(args: &cli::TourChild) -> Result<Answer, Failure> {
    let store = super::open(&args.store)?;
    let crash = store.database(CRASH)?;
    let mut out = std::io::stdout().lock();
    for number in 0..CHILD_MOST {
        let synced = number % SYNCED_EVERY == 0;
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let mut batch = store.batch();
        for key in keys(&args.prefix, number) {
            batch.put(&crash, key, format!("value of {number}"))?;
        }
        batch.commit_with(durability)?;
        let class = if synced { 's' } else { 'b' };
        writeln!(out, "{class}{number}").and_then(|()| out.flush()).map_err(Failure::output)?;
    }
    Ok(Answer::Yes)
}

/// What the child said before it died.
#[derive(Default)]
struct Acknowledged {
    numbers: Vec<u64>,
    synced: u64,
}

/// Part 7; gives the store, open again.
pub(super) fn survive(tour: &mut Tour<'_>) -> Result<Store, Failure> {
    let acknowledged = kill_a_writer(tour)?;
    let all = acknowledged.numbers.len() as u64;
    tour.line(format!(
        "   killed after {} acknowledged commits of two entries ({} synced, {} buffered)",
        count(all),
        count(acknowledged.synced),
        count(all - acknowledged.synced)
    ))?;
    let start = Instant::now();
    let store = super::open(tour.dir)?;
    tour.line(format!("   opened again in {}", time(start.elapsed())))?;
    let more = check(&store, &tour.prefix(), &acknowledged.numbers)?;
    let in_flight = match more {
        0 => "none was in flight".to_owned(),
        more => format!("and {} more that had not been told", count(more)),
    };
    tour.line(format!("   all {} are there, no batch by half; {in_flight}", count(all)))?;
    Ok(store)
}

fn kill_a_writer(tour: &Tour<'_>) -> Result<Acknowledged, Failure> {
    let fail = |what: &str, error: std::io::Error| Failure::new(format!("cannot {what}: {error}"));
    let program = std::env::current_exe().map_err(|e| fail("find this program", e))?;
    let mut child = Command::new(program)
        .arg("tour-child")
        .arg("--")
        .arg(tour.dir)
        .arg(tour.prefix())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fail("start the process to be killed", error))?;
    let Some(stdout) = child.stdout.take() else {
        let _ = child.kill();
        return Err(Failure::new("the process to be killed has no output"));
    };
    let mut acknowledged = Acknowledged::default();
    let start = Instant::now();
    let mut killed = false;
    let mut reader = BufReader::new(stdout);
    while let Some((synced, number)) = next_number(&mut reader) {
        acknowledged.numbers.push(number);
        acknowledged.synced += u64::from(synced);
        let enough = acknowledged.numbers.len() >= ENOUGH && start.elapsed() >= LEAST;
        if !killed && (enough || start.elapsed() >= MOST) {
            // What it wrote into the pipe before it died is read all the same.
            child.kill().map_err(|error| fail("kill the child", error))?;
            killed = true;
        }
    }
    let status = child.wait().map_err(|error| fail("wait for the child", error))?;
    if !killed {
        let what = format!("the process to be killed ended by itself: {status}");
        return Err(Failure::with_hint(what, "its own message stands above; try the tour again"));
    }
    Ok(acknowledged)
}

/// The next acknowledgement; `None` at the end. The last line may be cut short.
fn next_number(reader: &mut BufReader<ChildStdout>) -> Option<(bool, u64)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = line.strip_suffix('\n')?;
    let (class, number) = line.split_at_checked(1)?;
    Some((class == "s", number.parse().ok()?))
}

/// Looks for every acknowledged batch. Gives how many more there are.
fn check(store: &Store, prefix: &str, numbers: &[u64]) -> Result<u64, Failure> {
    let crash = store.database(CRASH)?;
    let mut lost = Vec::new();
    for number in numbers {
        let expected = format!("value of {number}");
        for key in keys(prefix, *number) {
            if crash.get(&key)?.as_deref() != Some(expected.as_bytes()) {
                lost.push(key);
            }
        }
    }
    if let Some(first) = lost.first() {
        return Err(Failure::with_hint(
            format!("{} acknowledged entries are lost, {first} for one", lost.len()),
            "this is a bug in Orlop: please report it, and keep the store",
        ));
    }
    let entries = |half: &str| -> Result<u64, Failure> {
        let mut entries = 0;
        for entry in crash.prefix(format!("{prefix}{half}/")) {
            entry?;
            entries += 1;
        }
        Ok(entries)
    };
    let (a, b) = (entries("a")?, entries("b")?);
    if a != b {
        return Err(Failure::with_hint(
            format!("a batch was torn: {a} first halves, {b} second ones"),
            "this is a bug in Orlop: please report it, and keep the store",
        ));
    }
    Ok(a - numbers.len() as u64)
}
