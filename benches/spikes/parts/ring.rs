//! An io_uring with one write in flight.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};

use super::pages::Pages;

pub(crate) struct Ring {
    ring: IoUring,
    flight: Option<Flight>,
}

/// What the kernel has, and how many answers it owes for it.
struct Flight {
    buffer: Pages,
    answers: usize,
}

impl Ring {
    pub(crate) fn new() -> io::Result<Ring> {
        Ok(Ring { ring: IoUring::new(8)?, flight: None })
    }

    /// Starts to write all of `buffer`; with `sync`, linked to a data sync.
    pub(crate) fn start(
        &mut self,
        file: &File,
        buffer: Pages,
        offset: u64,
        flags: i32,
        sync: bool,
    ) -> io::Result<()> {
        self.finish()?;
        let fd = types::Fd(file.as_raw_fd());
        let link = if sync { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
        let write = opcode::Write::new(fd, buffer.as_ptr(), buffer.len() as u32);
        let write = write.offset(offset).rw_flags(flags).build().flags(link);
        let datasync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        let len = buffer.len() as u64;
        let entries = [write.user_data(len), datasync.user_data(0)];
        let entries = &entries[..1 + usize::from(sync)];
        self.flight = Some(Flight { buffer, answers: entries.len() });
        // SAFETY: the buffer stays in `flight`, unmoved on the heap, until every answer is there; the
        // file is open while it is borrowed here, and the kernel holds it once `submit` is done.
        unsafe { self.ring.submission().push_multiple(entries) }.map_err(io::Error::other)?;
        self.ring.submit()?;
        Ok(())
    }

    /// Waits for what was started and gives the buffer back.
    pub(crate) fn finish(&mut self) -> io::Result<Option<Pages>> {
        let Some(flight) = &mut self.flight else { return Ok(None) };
        let mut failed = None;
        while flight.answers > 0 {
            self.ring.submit_and_wait(1)?;
            for answer in self.ring.completion() {
                flight.answers -= 1;
                // The answer of a write is its length; each entry carries what it should answer.
                if answer.result() < 0 {
                    failed = Some(io::Error::from_raw_os_error(-answer.result()));
                } else if answer.result() as u64 != answer.user_data() {
                    failed = Some(io::ErrorKind::WriteZero.into());
                }
            }
        }
        let buffer = self.flight.take().map(|flight| flight.buffer);
        failed.map_or(Ok(buffer), Err)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.finish().is_err() {
            // The kernel may use it still.
            mem::forget(self.flight.take());
        }
    }
}
