//! The ring itself: entries in, completions out, each matched by its number.
//!
//! What the ring asks of the kernel is the trait [`Kernel`]: the real one in production, and in the
//! tests one that follows a script (`scripted.rs`), since a real one does nothing odd on demand.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::os::fd::RawFd;

use io_uring::{IoUring, opcode, squeue, types};

/// Entries of the ring. Every submit hands over the two it needs at once.
const ENTRIES: u32 = 8;
/// How many enters may achieve nothing before the ring is given up. Each gives the processor away.
const PATIENCE: u32 = 1000;

/// What an entry asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    Nop,
    /// If `linked`, the next entry begins after it, and only if every byte was written. If `aside`, a thread
    /// of the kernel does all of it, and the caller goes on at once.
    Write {
        fd: RawFd,
        bytes: *const u8,
        len: u32,
        offset: u64,
        linked: bool,
        aside: bool,
    },
    SyncData {
        fd: RawFd,
    },
}

impl Op {
    fn entry(self) -> squeue::Entry {
        match self {
            Op::Nop => opcode::Nop::new().build(),
            Op::Write { fd, bytes, len, offset, linked, aside } => {
                let mut flags = squeue::Flags::empty();
                flags.set(squeue::Flags::IO_LINK, linked);
                flags.set(squeue::Flags::ASYNC, aside);
                opcode::Write::new(types::Fd(fd), bytes, len).offset(offset).build().flags(flags)
            }
            Op::SyncData { fd } => {
                opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build()
            }
        }
    }
}

/// The submission queue cannot take so many entries.
#[derive(Debug)]
pub(super) struct Full;

/// The other end of a ring.
pub(super) trait Kernel {
    /// Queues entries with their numbers: all of them or none.
    ///
    /// # Safety
    /// What the entries refer to must stay valid until the completion of each was seen.
    unsafe fn push<const N: usize>(&mut self, entries: [(u64, Op); N]) -> Result<(), Full>;

    /// Hands over what is queued, and waits for a completion if `want` is 1. Gives the number of
    /// entries taken.
    fn enter(&mut self, want: usize) -> io::Result<usize>;

    /// Hands out the number and result of each completion that is there.
    fn completions(&mut self, seen: impl FnMut(u64, i32));
}

impl Kernel for IoUring {
    unsafe fn push<const N: usize>(&mut self, entries: [(u64, Op); N]) -> Result<(), Full> {
        let entries = entries.map(|(n, op)| op.entry().user_data(n));
        // SAFETY: the caller keeps what the entries refer to.
        unsafe { self.submission().push_multiple(&entries) }.map_err(|_| Full)
    }

    fn enter(&mut self, want: usize) -> io::Result<usize> {
        self.submitter().submit_and_wait(want)
    }

    fn completions(&mut self, mut seen: impl FnMut(u64, i32)) {
        self.completion().for_each(|cqe| seen(cqe.user_data(), cqe.result()));
    }
}

/// The ring, and the completions nobody asked for yet.
pub(super) struct Ring<K = IoUring> {
    pub(super) kernel: K,
    /// Number of the next entry; its completion carries it back.
    next: u64,
    /// Results of the entries under way: `None` until the completion was seen.
    pub(super) expected: BTreeMap<u64, Option<i32>>,
    /// Why the ring is used no more: then the kernel and we disagree about what is under way.
    pub(super) broken: Option<String>,
}

impl<K> Debug for Ring<K> {
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
        needs(|code| probe.is_supported(code))?;
        Ring::over(uring)
    }
}

/// Refuses a kernel that does not know all that is asked of a ring here.
pub(super) fn needs(is_supported: impl Fn(u8) -> bool) -> io::Result<()> {
    for (code, name) in [(opcode::Write::CODE, "WRITE"), (opcode::Fsync::CODE, "FSYNC")] {
        if !is_supported(code) {
            let why = format!("this kernel's ring has no {name}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
    }
    Ok(())
}

impl<K: Kernel> Ring<K> {
    /// A ring over a kernel that takes a no-op: a seccomp profile may allow the setup and deny the
    /// use.
    pub(super) fn over(kernel: K) -> io::Result<Self> {
        let mut ring = Ring { kernel, next: 0, expected: BTreeMap::new(), broken: None };
        // SAFETY: a no-op refers to no memory.
        let (first, _) = unsafe { ring.start([Op::Nop]) }?;
        match ring.wait(first)? {
            0.. => Ok(ring),
            refused => Err(io::Error::from_raw_os_error(-refused)),
        }
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
        entries: [Op; N],
    ) -> io::Result<(u64, bool)> {
        let first = self.next;
        let mut numbers = first..;
        let numbered = entries.map(|op| (numbers.next().unwrap_or(u64::MAX), op));
        // SAFETY: the caller keeps what the entries refer to.
        if unsafe { self.kernel.push(numbered) }.is_err() {
            // Every start empties the queue or breaks the ring.
            return Err(self.disable("the submission queue is full".to_owned()));
        }
        self.next += N as u64;
        self.expected.extend((first..self.next).map(|n| (n, None)));
        let (mut taken, mut at_once, mut patience) = (0, false, PATIENCE);
        while taken < N {
            let now = self.enter(0, &mut patience)?;
            at_once |= now == N;
            taken += now;
        }
        Ok((first, at_once))
    }

    /// Waits for the completion of entry `n` and forgets the entry.
    pub(super) fn wait(&mut self, n: u64) -> io::Result<i32> {
        let mut patience = PATIENCE;
        loop {
            self.drain();
            match self.expected.get(&n) {
                Some(Some(result)) => {
                    let result = *result;
                    self.expected.remove(&n);
                    return Ok(result);
                }
                Some(None) => drop(self.enter(1, &mut patience)?),
                None => return Err(self.disable(format!("entry {n} is not under way"))),
            }
        }
    }

    /// Whether the completion of entry `n` is there.
    pub(super) fn has_come(&mut self, n: u64) -> bool {
        self.drain();
        !matches!(self.expected.get(&n), Some(None))
    }

    /// Takes all completions there are.
    pub(super) fn drain(&mut self) {
        let Ring { kernel, expected, .. } = self;
        let mut stray = None;
        kernel.completions(|n, result| match expected.get_mut(&n) {
            Some(slot @ None) => *slot = Some(result),
            Some(Some(_)) | None => stray = stray.or(Some(n)),
        });
        if let Some(n) = stray {
            // Whoever waits now still gets its own completion; nobody starts anything new.
            drop(self.disable(format!("a completion {n} that nobody expects")));
        }
    }

    /// Enters the kernel: hands over what is queued, and waits for a completion if `want` is 1.
    /// Gives the number of entries taken, which can be none; after a wait there may be no
    /// completion: look again.
    fn enter(&mut self, want: usize, patience: &mut u32) -> io::Result<usize> {
        let error = match self.kernel.enter(want) {
            Ok(0) if want == 0 => return self.lose(patience),
            Ok(taken) => return Ok(taken),
            Err(error) => error,
        };
        match error.raw_os_error() {
            // A wait may be interrupted for ever: what it waits for is under way.
            Some(libc::EINTR) if want > 0 => Ok(0),
            Some(libc::EINTR) => self.lose(patience),
            // No memory for a request just now, or completions that must be taken first.
            Some(libc::EAGAIN | libc::EBUSY) => {
                self.drain();
                self.lose(patience)
            }
            _ => Err(self.disable(format!("io_uring_enter: {error}"))),
        }
    }

    /// An enter has achieved nothing.
    fn lose(&mut self, patience: &mut u32) -> io::Result<usize> {
        if *patience == 0 {
            let why = format!("io_uring_enter achieved nothing {PATIENCE} times");
            return Err(self.disable(why));
        }
        *patience -= 1;
        std::thread::yield_now();
        Ok(0)
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
