//! A thread that does the writing of a load, in order, while the next blocks are made.
//!
//! What it has not come to takes a bounded amount of memory. Behind the first failure nothing more is done.
//!
//! Syncs, and what waits for them, are *late*: they come when the next table has been written, too. What they are about is
//! on its way to the device then, and while they wait for it the device has something to do.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use crate::env::WriteFile;
use crate::error::{Error, Result};
use crate::state::shared::Shared;
use crate::sync::{Arc, Condvar, JoinHandle, Mutex, spawn};

/// Bytes that wait, at most: a few writes of a table.
const MOST_WAITING: usize = 32 << 20;

/// A piece of work.
type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// See the module.
pub(super) struct Lane {
    line: Arc<Line>,
    /// `None`: whoever sends a job does it.
    thread: Option<JoinHandle<()>>,
}

/// What sender and thread share.
struct Line {
    shared: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
    has_thread: bool,
}

#[derive(Default)]
struct State {
    /// Jobs, with the bytes that each of them holds.
    jobs: VecDeque<(usize, Job)>,
    late: Vec<Job>,
    waiting: usize,
    is_working: bool,
    is_ended: bool,
    error: Option<Error>,
}

impl Lane {
    /// A lane with a thread, if `threaded` and there can be one.
    pub(super) fn new(shared: &Arc<Shared>, threaded: bool) -> Self {
        let line = |has_thread| {
            let (state, changed) = (Mutex::default(), Condvar::default());
            Arc::new(Line { shared: Arc::clone(shared), state, changed, has_thread })
        };
        if threaded {
            let with_thread = line(true);
            let of_thread = Arc::clone(&with_thread);
            if let Ok(thread) = spawn("orlop-load", move || of_thread.work_off()) {
                return Self { line: with_thread, thread: Some(thread) };
            }
        }
        Self { line: line(false), thread: None }
    }

    /// Has a job done behind those that were sent before, late. The store is open while it is done.
    ///
    /// # Errors
    /// That of an earlier one, or of this.
    pub(super) fn send(&self, job: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.line.send_late(Box::new(job))
    }

    /// Has those that are late done now.
    ///
    /// # Errors
    /// That of an earlier one.
    pub(super) fn catch_up(&self) -> Result<()> {
        let late = std::mem::take(&mut self.line.state.lock().late);
        late.into_iter().try_for_each(|job| self.line.send(0, job))
    }

    /// A file whose writes and syncs are jobs.
    pub(super) fn file(&self, mut file: Box<dyn WriteFile>, path: PathBuf) -> Box<dyn WriteFile> {
        file.stream();
        let file = Arc::new(Mutex::new(file));
        Box::new(Behind { file, path, line: Arc::clone(&self.line) })
    }

    /// Waits until everything is done.
    ///
    /// # Errors
    /// The first one.
    pub(super) fn drain(&self) -> Result<()> {
        let caught_up = self.catch_up();
        let mut state = self.line.state.lock();
        while state.is_working || !state.jobs.is_empty() {
            state = self.line.changed.wait(state);
        }
        state.error.clone().map_or(caught_up, Err)
    }

    /// The first error that a job has met.
    pub(super) fn error(&self) -> Option<Error> {
        self.line.state.lock().error.clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.line.state.lock().is_ended = true;
        self.line.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of its own was told to who has waited for it.
            let _ = thread.join();
        }
    }
}

impl Line {
    fn send(&self, bytes: usize, job: Job) -> Result<()> {
        let mut state = self.state.lock();
        while state.error.is_none() && state.waiting > 0 && state.waiting + bytes > MOST_WAITING {
            state = self.changed.wait(state);
        }
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if self.has_thread {
            state.waiting += bytes;
            state.jobs.push_back((bytes, job));
            self.changed.notify_all();
            return Ok(());
        }
        drop(state);
        self.run(job).inspect_err(|error| self.state.lock().error = Some(error.clone()))
    }

    fn send_late(&self, job: Job) -> Result<()> {
        if !self.has_thread {
            return self.send(0, job);
        }
        let mut state = self.state.lock();
        state.late.push(job);
        state.error.clone().map_or(Ok(()), Err)
    }

    fn run(&self, job: Job) -> Result<()> {
        let _working = self.shared.loads.work()?;
        job()
    }

    /// What the thread does.
    fn work_off(&self) {
        let mut state = self.state.lock();
        loop {
            let Some((bytes, job)) = state.jobs.pop_front() else {
                if state.is_ended {
                    return;
                }
                state = self.changed.wait(state);
                continue;
            };
            if state.error.is_none() {
                state.is_working = true;
                drop(state);
                let mut working = Working { line: self, done: None };
                working.done = Some(self.run(job));
                drop(working);
                state = self.state.lock();
            }
            state.waiting = state.waiting.saturating_sub(bytes);
            self.changed.notify_all();
        }
    }
}

/// Does a job, and tells how it has ended: who sees that it has, sees how.
struct Working<'a> {
    line: &'a Line,
    /// `None`: it has panicked. What it was about may be half done then, in the manifest for one.
    done: Option<Result<()>>,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let panicked = || {
            let cause = "a thread panicked while it wrote tables of a load".to_owned();
            self.line.shared.poison(&Error::Poisoned { cause: cause.clone() });
            Err(Error::Poisoned { cause })
        };
        let done = self.done.take().unwrap_or_else(panicked);
        let mut state = self.line.state.lock();
        state.is_working = false;
        if let Err(error) = done {
            state.error.get_or_insert(error);
            // Nobody comes to them, and nobody is to wait for them.
            state.jobs.clear();
            state.waiting = 0;
        }
        drop(state);
        self.line.changed.notify_all();
    }
}

/// See [`Lane::file`].
struct Behind {
    file: Arc<Mutex<Box<dyn WriteFile>>>,
    path: PathBuf,
    line: Arc<Line>,
}

impl Behind {
    fn job(
        &self,
        op: &'static str,
        job: impl FnOnce(&mut dyn WriteFile) -> io::Result<()> + Send + 'static,
    ) -> Job {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        Box::new(move || job(&mut **file.lock()).map_err(|source| Error::io(op, &path, source)))
    }
}

/// Who sees this asks the lane for what it was.
fn met(error: Error) -> io::Error {
    io::Error::other(error.to_string())
}

impl WriteFile for Behind {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (len, bytes) = (bytes.len(), bytes.to_vec());
        let job = self.job("write", move |file| file.write_at(offset, &bytes));
        self.line.send(len, job).map_err(met)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.line.send_late(self.job("sync", |file| file.sync())).map_err(met)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let job = self.job("set the length of", move |file| file.set_len(len));
        self.line.send(0, job).map_err(met)
    }
}
