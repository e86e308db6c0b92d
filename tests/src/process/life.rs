//! One life of a child: start, pipe, end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::child::Options;
use super::report::{self, Event, Record};

/// How long a child may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program that has the `child` subcommand: this very one.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
}

/// When a child is to end.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// So long after its start.
    Started(Duration),
    /// So long after its store was open.
    Ready(Duration),
    /// When it has told so much.
    Records(usize),
    /// When it has done its work.
    ByItself,
}

/// A child that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Told after the first record, and after as many as were asked for.
    marks: Receiver<()>,
    records: JoinHandle<Vec<u8>>,
    errors: JoinHandle<String>,
    hung: bool,
}

/// A life that is over.
#[derive(Debug)]
pub struct Life {
    /// What the child told.
    pub records: Vec<Record>,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on stderr.
    pub errors: String,
    /// It did not come to where it should have within a very long time.
    pub hung: bool,
}

/// Starts a child of `program`.
///
/// # Errors
/// When no process can be started.
pub fn start(program: &Path, options: &Options, end: End) -> io::Result<Running> {
    let from: Vec<String> = options.from.iter().map(u64::to_string).collect();
    let mut command = Command::new(program);
    command
        .args(["child", "--env", options.env.name(), "--from", &from.join(",")])
        .args(["--seed", &options.seed.to_string(), "--life", &options.life.to_string()])
        .args(["--commits", &options.commits.to_string()])
        .arg("--dir")
        .arg(&options.dir)
        .stdin(if options.gate { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if options.gate {
        command.arg("--gate");
    }
    let mut child = command.spawn()?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("a child without pipes"));
    };
    let (mark, marks) = mpsc::channel();
    let wanted = if let End::Records(wanted) = end { wanted } else { 0 };
    let records = thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        // An error is an end like any other: what has come so far is what counts.
        while let Ok(len @ 1..) = stdout.read(&mut buffer) {
            let before = all.len() / report::LEN;
            all.extend_from_slice(&buffer[..len]);
            let after = all.len() / report::LEN;
            let first = before == 0 && after > 0;
            let reached = wanted > 1 && before < wanted && after >= wanted;
            for _ in 0..u8::from(first) + u8::from(reached) {
                // Whoever does not listen any more has killed the child.
                let _ = mark.send(());
            }
        }
        all
    });
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    Ok(Running { child, marks, records, errors, hung: false })
}

impl Running {
    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a child through its gate.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn open_gate(&mut self) -> io::Result<()> {
        let gate: Option<ChildStdin> = self.child.stdin.take();
        gate.map_or(Ok(()), |mut gate| gate.write_all(b"!"))
    }

    /// Waits until it is time to end the child.
    pub fn wait_for(&mut self, end: End) {
        match end {
            End::Started(time) => thread::sleep(time),
            End::Ready(time) => {
                self.next_mark();
                thread::sleep(time);
            }
            End::Records(wanted) => {
                self.next_mark();
                if wanted > 1 {
                    self.next_mark();
                }
            }
            End::ByItself => self.wait_for_exit(),
        }
    }

    fn next_mark(&mut self) {
        // A child that ended before it came so far has hung up, which is no hang.
        let mark = self.marks.recv_timeout(PATIENCE);
        self.hung |= mark == Err(RecvTimeoutError::Timeout);
    }

    fn wait_for_exit(&mut self) {
        let begun = Instant::now();
        while !self.records.is_finished() {
            if begun.elapsed() > PATIENCE {
                self.hung = true;
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends SIGKILL, without waiting for what follows from it.
    pub fn kill(&mut self) {
        // One that has ended already cannot be killed, and need not.
        let _ = self.child.kill();
    }

    /// Waits until nothing is left of a child that was killed or ends by itself.
    ///
    /// # Errors
    /// When the system does not say how it ended, it does not end, or the pipe holds no records.
    pub fn finish(mut self) -> io::Result<Life> {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    let why = "the child does not end";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        let bytes = self.records.join().unwrap_or_default();
        let errors = self.errors.join().unwrap_or_default();
        let records = report::decode_all(&bytes).map_err(io::Error::other)?;
        Ok(Life { records, status, errors, hung: self.hung })
    }
}

impl Life {
    /// Whether the child has told of such an event.
    pub fn told(&self, event: Event) -> bool {
        self.records.iter().any(|record| record.event == event)
    }

    /// Whether it was ended by SIGKILL.
    pub fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.status.signal() == Some(9)
    }

    /// The last line on stderr.
    pub fn last_words(&self) -> &str {
        self.errors.lines().last().unwrap_or("nothing on stderr")
    }
}
