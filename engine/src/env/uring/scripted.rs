//! A kernel that follows a script: it takes entries, completes them in any order, late, in part or
//! not at all, interrupts and refuses, and says things that a real one never should.
//!
//! It does the writes that it completes, out of the buffer that the entry names, at the time of the
//! completion: a buffer that was freed too early shows in the file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use super::ring::{Full, Kernel, Op};

/// What one enter does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Enter {
    /// It fails.
    Fails(i32),
    /// It takes so many entries at most, and completes nothing.
    Takes(usize),
}

/// What becomes of one entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It is done.
    Done,
    /// So many bytes of it are written.
    Short(u32),
    /// It fails.
    Fails(i32),
}

/// An entry that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    n: u64,
    op: Op,
    fate: Fate,
    /// It begins only once the entry before it has succeeded.
    chained: bool,
}

/// The kernel; see the module.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    /// What the next enters do. Afterwards each takes everything, and completes everything if it is
    /// to wait.
    pub(super) enters: VecDeque<Enter>,
    /// What becomes of the next entries. Afterwards each is done.
    pub(super) fates: VecDeque<Fate>,
    /// For ever after the script, an enter that is to wait fails so.
    pub(super) waits_fail: Option<i32>,
    /// In which order the entries that are under way complete, by their position; the rest follows.
    pub(super) order: VecDeque<usize>,
    /// Completions come one at a time.
    pub(super) one_by_one: bool,
    /// The submission queue takes nothing.
    pub(super) full: bool,
    queued: VecDeque<(u64, Op)>,
    taken: Vec<Taken>,
    completions: VecDeque<(u64, i32)>,
    /// Numbers of the syncs that took place, in the ring.
    pub(super) syncs: Vec<u64>,
}

// SAFETY: the pointers in the entries are read only, and only while their flight is alive or leaked.
unsafe impl Send for Scripted {}

impl Scripted {
    /// A completion out of nowhere.
    pub(super) fn invent(&mut self, n: u64, result: i32) {
        self.completions.push_back((n, result));
    }

    /// Completes everything that was taken.
    pub(super) fn complete_all(&mut self) {
        while !self.taken.is_empty() {
            self.complete_one();
        }
    }

    fn take(&mut self, most: usize) -> usize {
        let mut linked = false;
        let count = most.min(self.queued.len());
        for (n, op) in self.queued.drain(..count) {
            let fate = self.fates.pop_front().unwrap_or(Fate::Done);
            self.taken.push(Taken { n, op, fate, chained: linked });
            linked = matches!(op, Op::Write { linked: true, .. });
        }
        count
    }

    /// Completes an entry: the one whose turn it is, or the one that it is chained to.
    fn complete_one(&mut self) {
        let mut at = self.order.pop_front().unwrap_or(0).min(self.taken.len() - 1);
        if self.taken[at].chained {
            let first = self.taken[at].n - 1;
            at = self.taken.iter().position(|taken| taken.n == first).unwrap_or(at);
        }
        let Taken { n, op, fate, .. } = self.taken.remove(at);
        let result = match fate {
            Fate::Fails(error) => -error,
            Fate::Done => self.perform(n, op, u32::MAX),
            Fate::Short(len) => self.perform(n, op, len),
        };
        self.completions.push_back((n, result));
        let Some(next) = self.taken.iter_mut().find(|taken| taken.chained && taken.n == n + 1)
        else {
            return;
        };
        // What is behind a short or failed write is given up.
        next.chained = false;
        if !matches!(op, Op::Write { len, .. } if result == len as i32) {
            next.fate = Fate::Fails(libc::ECANCELED);
        }
    }

    fn perform(&mut self, n: u64, op: Op, most: u32) -> i32 {
        match op {
            Op::Nop => 0,
            Op::Write { fd, bytes, len, offset, .. } => {
                let len = len.min(most) as usize;
                // SAFETY: who queued the entry keeps the buffer until its completion was seen, or
                // for ever; that is what is tested.
                let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
                // SAFETY: the same for the descriptor, which is not closed here.
                let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
                match file.write_all_at(bytes, offset) {
                    Ok(()) => len as i32,
                    Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
                }
            }
            Op::SyncData { .. } => {
                self.syncs.push(n);
                0
            }
        }
    }
}

impl Kernel for Scripted {
    unsafe fn push<const N: usize>(&mut self, entries: [(u64, Op); N]) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        self.queued.extend(entries);
        Ok(())
    }

    fn enter(&mut self, want: usize) -> io::Result<usize> {
        match self.enters.pop_front() {
            Some(Enter::Fails(error)) => return Err(io::Error::from_raw_os_error(error)),
            Some(Enter::Takes(most)) => return Ok(self.take(most)),
            None => {}
        }
        if want > 0
            && let Some(error) = self.waits_fail
        {
            return Err(io::Error::from_raw_os_error(error));
        }
        let count = self.take(usize::MAX);
        if want > 0 {
            let quiet = self.taken.is_empty() && self.completions.is_empty();
            assert!(!quiet, "waits for ever: nothing is under way");
            if self.one_by_one && !self.taken.is_empty() {
                self.complete_one();
            } else {
                self.complete_all();
            }
        }
        Ok(count)
    }

    fn completions(&mut self, mut seen: impl FnMut(u64, i32)) {
        self.completions.drain(..).for_each(|(n, result)| seen(n, result));
    }
}
