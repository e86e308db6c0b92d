//! The process of one worker, seen from its parent.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::record::Round;
use crate::worker::{self, Job};

/// No group takes longer, however slow its engine is; what does has hung.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often a worker is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// The signal that a worker sends itself to die.
const KILL: i32 = 9;

/// What a worker is told on stdin.
#[derive(Serialize, Deserialize)]
struct Order {
    job: Job,
    options: Options,
}

/// The worker's side: reads its order, works, and says by its exit code how it went.
pub(crate) fn obey() -> Result<()> {
    // A worker without its parent would go on loading the machine.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("worker is for the harness itself: {error}")))?;
    worker::work(&order.job, &order.options)
}

/// Runs a worker to its end; its rounds.
pub(super) fn work(job: &Job, options: &Options) -> Result<Vec<Round>> {
    let end = run(job, options)?;
    if !end.status.success() {
        return Err(failure(&end));
    }
    end.said.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Runs a worker that kills itself.
pub(super) fn die(job: &Job, options: &Options) -> Result<()> {
    let end = run(job, options)?;
    if end.status.signal() == Some(KILL) { Ok(()) } else { Err(failure(&end)) }
}

struct End {
    status: ExitStatus,
    said: String,
    complained: String,
}

fn failure(end: &End) -> Failure {
    let text = end.complained.trim().to_owned();
    match end.status.code() {
        Some(code) => Failure::from_exit_code(code, text),
        None => Failure::other(format!("the process ended by {}: {text}", end.status)),
    }
}

fn run(job: &Job, options: &Options) -> Result<End> {
    // What an earlier worker wrote must not be written while this one is measured.
    rustix::fs::sync();
    // Not by its path: the file may have been replaced since.
    let mut child = Command::new("/proc/self/exe")
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = drain(child.stdout.take());
    let complained = drain(child.stderr.take());
    let order = serde_json::to_string(&Order { job: job.clone(), options: options.clone() })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(order.as_bytes())?;
    }
    let status = wait(&mut child)?;
    Ok(End { status, said: text(said)?, complained: text(complained)? })
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begin.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            let minutes = PATIENCE.as_secs() / 60;
            return Err(Failure::other(format!("no end after {minutes} minutes; it was killed")));
        }
        thread::sleep(GLANCE);
    }
}

/// Reads all of a pipe, so that the worker never waits for its reader.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<std::io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    })
}

fn text(reader: JoinHandle<std::io::Result<Vec<u8>>>) -> Result<String> {
    let bytes = reader.join().map_err(|_| Failure::other("reading from a worker panicked"))??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
