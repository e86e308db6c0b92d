//! System calls of a child made to fail by strace, which attaches while the child waits at its gate:
//! so calls are counted from the opening of the store on, for each thread by itself.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What is done to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is not done and fails with this error.
    Error(&'static str),
    /// It is not done and returns 0. For a write that is honest: nothing was written. (Any other
    /// number would claim bytes that nobody wrote, which no engine can see through.)
    Zero,
    /// The process is killed at its entry.
    Kill,
}

/// A system call that is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its name, or names with the same meaning, as strace knows them.
    pub call: &'static str,
    /// What is done to it.
    pub effect: Effect,
    /// From which call of a thread on.
    pub when: u32,
    /// Every call from there on, not that one only.
    pub sticky: bool,
}

impl Fault {
    /// One name of the call.
    pub fn name(&self) -> &'static str {
        self.call.trim_start_matches('?').split(',').next().unwrap_or(self.call)
    }

    /// The calls to look at: a table whose sync fails must be removed.
    fn traced(&self) -> String {
        let also = if self.call == "fsync" { ",?unlink,?unlinkat" } else { "" };
        format!("{}{also}", self.call)
    }

    /// As strace wants it.
    pub fn expression(&self) -> String {
        let effect = match self.effect {
            Effect::Error(name) => format!("error={name}"),
            Effect::Zero => "retval=0".to_owned(),
            Effect::Kill => "signal=KILL".to_owned(),
        };
        let sticky = if self.sticky { "+" } else { "" };
        format!("{}:{effect}:when={}{sticky}", self.call, self.when)
    }
}

/// A call that was traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread.
    pub thread: u32,
    /// When it was entered, in microseconds since 1970.
    pub micros: u64,
    /// Its name.
    pub name: String,
    /// The file that its descriptor stands for, or that it names.
    pub file: String,
    /// strace has kept it from taking place.
    pub injected: bool,
}

/// A strace at work.
#[derive(Debug)]
pub struct Strace {
    child: Child,
}

/// Attaches to a process.
///
/// # Errors
/// One line that says why strace cannot: it is missing, or tracing is denied.
pub fn attach(pid: u32, fault: &Fault, log: &Path) -> Result<Strace, String> {
    let mut child = Command::new("strace")
        .args(["-f", "-y", "-ttt", "-o"])
        .arg(log)
        .args(["-e", &format!("trace={}", fault.traced())])
        .args(["-e", &format!("inject={}", fault.expression())])
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("no strace: {error}"))?;
    let stderr = child.stderr.take().ok_or("a strace without stderr")?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nobody listens to the later lines; they are read so that strace can write them.
            let _ = tell.send(line);
        }
    });
    let first = told.recv_timeout(Duration::from_secs(10));
    match first {
        Ok(line) if line.contains("attached") => Ok(Strace { child }),
        other => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("strace does not attach: {}", other.unwrap_or_default()))
        }
    }
}

impl Strace {
    /// Waits for its end, which follows from that of the child, and tells what it saw.
    ///
    /// # Errors
    /// When it cannot be waited for, or its log cannot be read.
    pub fn finish(mut self, log: &Path) -> std::io::Result<Vec<Call>> {
        self.child.wait()?;
        Ok(calls(&std::fs::read_to_string(log)?))
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It has ended, or nobody wants its answer any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The calls in a log with thread ids and times, in the order in which they ended.
fn calls(log: &str) -> Vec<Call> {
    let mut entered: HashMap<&str, &str> = HashMap::new();
    let mut all = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if rest.contains("<unfinished ...>") {
            entered.insert(thread, rest);
            continue;
        }
        let injected = rest.contains("(INJECTED)");
        let rest =
            if rest.contains(" resumed>") { entered.remove(thread).unwrap_or(rest) } else { rest };
        let Some((time, call)) = rest.trim_start().split_once(' ') else { continue };
        // What is none ends or signals the thread.
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let time: f64 = time.parse().unwrap_or_default();
        all.push(Call {
            thread: thread.parse().unwrap_or_default(),
            micros: (time * 1e6) as u64,
            name: name.to_owned(),
            file: file_of(arguments).to_owned(),
            injected,
        });
    }
    all
}

/// The file that the first argument stands for, `5</the/file>`, or the first that is named.
fn file_of(arguments: &str) -> &str {
    let first = arguments.split([',', ')']).next().unwrap_or_default();
    let described = first.split_once('<').and_then(|(number, file)| {
        number.bytes().all(|byte| byte.is_ascii_digit()).then(|| file.split('>').next())?
    });
    described.or_else(|| arguments.split('"').nth(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_strace_is_understood() {
        let log = "\
            12 1700000000.000001 fdatasync(5</tmp/x/000004.log>) = 0\n\
            13 1700000000.250000 fdatasync(5</tmp/x/000004.log> <unfinished ...>\n\
            12 1700000000.300000 pwrite64(6</tmp/x/000005.sst>, \"a\\1\"..., 10, 0) = 10\n\
            13 1700000000.400000 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)\n\
            12 1700000000.500000 unlink(\"/tmp/x/000003.log\") = -1 EIO (Input/output error) (INJECTED)\n\
            12 1700000000.600000 +++ exited with 0 +++\n";
        let expected = [
            (12, 1_700_000_000_000_001, "fdatasync", "/tmp/x/000004.log", false),
            (12, 1_700_000_000_300_000, "pwrite64", "/tmp/x/000005.sst", false),
            (13, 1_700_000_000_250_000, "fdatasync", "/tmp/x/000004.log", true),
            (12, 1_700_000_000_500_000, "unlink", "/tmp/x/000003.log", true),
        ];
        let found = calls(log);
        assert_eq!(found.len(), expected.len());
        for (call, (thread, micros, name, file, injected)) in found.iter().zip(expected) {
            assert!(call.micros.abs_diff(micros) <= 1);
            let seen = (call.thread, call.name.as_str(), call.file.as_str(), call.injected);
            assert_eq!(seen, (thread, name, file, injected));
        }
        assert_eq!(file_of("AT_FDCWD</tmp>, \"/tmp/x\", O_RDONLY"), "/tmp/x");
    }
}
