//! The ring itself: entries in, completions out, each matched by its number.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;

use io_uring::{IoUring, opcode, squeue};

/// Entries of the ring. Every submit hands over the two it needs at once.
const ENTRIES: u32 = 8;
/// How often an enter that found no memory is tried again, with the processor given away.
const ENTER_TRIES: u32 = 1000;

/// The ring, and the completions nobody asked for yet.
pub(super) struct Ring {
    uring: IoUring,
    /// Number of the next entry; its completion carries it back.
    next: u64,
    /// Results of the entries under way: `None` until the completion was seen.
    pub(super) expected: BTreeMap<u64, Option<i32>>,
    /// Why the ring is used no more: then the kernel and we disagree about what is under way.
    pub(super) broken: Option<String>,
}

impl Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ring { next, expected, broken, .. } = self;
        write!(f, "Ring(next {next}, under way {}, broken {broken:?})", expected.len())
    }
}

impl Ring {
    pub(super) fn new() -> io::Result<Ring> {
        let uring = IoUring::new(ENTRIES)?;
        let mut probe = io_uring::Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Write::CODE) || !probe.is_supported(opcode::Fsync::CODE) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no WRITE or FSYNC in the ring",
            ));
        }
        let mut ring = Ring { uring, next: 0, expected: BTreeMap::new(), broken: None };
        // A seccomp profile may allow the setup and deny the use.
        // SAFETY: a no-op refers to no memory.
        let (first, _) = unsafe { ring.start([opcode::Nop::new().build()]) }?;
        ring.wait(first)?;
        Ok(ring)
    }

    /// Starts entries with one system call. Gives the number of the first (the others follow it),
    /// and whether the kernel took all of them at once: if not, a link between them is void.
    /// An error leaves the ring broken, and anything may be under way.
    ///
    /// # Safety
    /// Memory and descriptors the entries refer to must stay valid until [`Ring::wait`] succeeded
    /// for each of them; for ever if that or this fails.
    pub(super) unsafe fn start<const N: usize>(
        &mut self,
        entries: [squeue::Entry; N],
    ) -> io::Result<(u64, bool)> {
        let first = self.next;
        let numbered: Vec<_> =
            (first..).zip(entries).map(|(n, entry)| entry.user_data(n)).collect();
        // SAFETY: the caller keeps what the entries refer to.
        if unsafe { self.uring.submission().push_multiple(&numbered) }.is_err() {
            // Every start empties the queue or breaks the ring.
            return Err(self.disable("the submission queue is full".to_owned()));
        }
        self.next += N as u64;
        self.expected.extend((first..self.next).map(|n| (n, None)));
        let mut taken = self.enter(0)?;
        let at_once = taken == N;
        while taken < N {
            taken += self.enter(0)?;
        }
        Ok((first, at_once))
    }

    /// Waits for the completion of entry `n` and forgets the entry.
    pub(super) fn wait(&mut self, n: u64) -> io::Result<i32> {
        loop {
            self.drain();
            match self.expected.get(&n) {
                Some(Some(result)) => {
                    let result = *result;
                    self.expected.remove(&n);
                    return Ok(result);
                }
                Some(None) => drop(self.enter(1)?),
                None => return Err(self.disable(format!("entry {n} is not under way"))),
            }
        }
    }

    /// Takes all completions there are.
    pub(super) fn drain(&mut self) {
        let done: Vec<_> =
            self.uring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect();
        for (n, result) in done {
            match self.expected.get_mut(&n) {
                Some(slot @ None) => *slot = Some(result),
                // Whoever waits now still gets its own completion; nobody starts anything new.
                Some(Some(_)) | None => {
                    drop(self.disable(format!("a completion {n} that nobody expects")));
                }
            }
        }
    }

    /// Enters the kernel: hands over what is queued, and waits for a completion if `want` is 1.
    /// Gives the number of entries taken. After a wait there may be no completion: look again.
    fn enter(&mut self, want: usize) -> io::Result<usize> {
        for _ in 0..ENTER_TRIES {
            let error = match self.uring.submitter().submit_and_wait(want) {
                Ok(taken) => return Ok(taken),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // No memory for a request just now, or completions that must be taken first.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    self.drain();
                    std::thread::yield_now();
                }
                _ => return Err(self.disable(format!("io_uring_enter: {error}"))),
            }
            if want > 0 {
                return Ok(0); // the drain may have taken what is waited for
            }
        }
        Err(self.disable("io_uring_enter: no memory for a request".to_owned()))
    }

    pub(super) fn usable(&self) -> io::Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("the io_uring is broken: {why}"))),
        }
    }

    /// The first reason is the one to tell.
    fn disable(&mut self, why: String) -> io::Error {
        let why = self.broken.get_or_insert(why);
        io::Error::other(format!("the io_uring is broken: {why}"))
    }
}
