//! Files that are written past the page cache.
//!
//! The device takes the bytes out of our memory: nothing is copied into the page cache, nothing is
//! left there to be written back, and a sync finds nothing but what it is asked for. It asks for whole
//! sectors, in memory as on the device. What is not in whole sectors, and what a file system
//! refuses, goes the common way, and from then on so does the whole file: the two must not mix. What goes
//! aside, and is synced before anything else comes there, does not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pages::{PAGE, Pages};

/// A large write goes in pieces of this many bytes.
const PIECE: usize = 4 << 20;

/// A file that is written past the page cache, if that can be.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// Only whole sectors can be written.
    direct: AtomicBool,
}

impl DirectFile {
    /// Past the page cache, where the file system lets us.
    pub(super) fn of(file: File) -> DirectFile {
        let direct = AtomicBool::new(set_direct(&file, true).is_ok());
        DirectFile { file, direct }
    }

    /// Through the page cache.
    pub(super) fn through_the_cache(file: File) -> DirectFile {
        DirectFile { file, direct: AtomicBool::new(false) }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }

    /// Why not, if not.
    pub(super) fn fallback(&self) -> Option<String> {
        let why = "through the page cache: this file system lets nothing past it";
        (!self.is_direct()).then(|| why.to_owned())
    }

    /// Whether these bytes can go past the page cache.
    pub(super) fn takes(&self, offset: u64, len: usize) -> bool {
        let whole = offset.is_multiple_of(PAGE as u64) && len.is_multiple_of(PAGE);
        self.is_direct() && whole && len > 0
    }

    /// From now on past the page cache, where the file system lets us.
    pub(super) fn take_up(&self) {
        self.direct.store(set_direct(&self.file, true).is_ok(), Ordering::Relaxed);
    }

    /// From now on through the page cache.
    pub(super) fn give_up(&self) -> io::Result<()> {
        if self.direct.swap(false, Ordering::Relaxed) {
            set_direct(&self.file, false)?;
        }
        Ok(())
    }

    /// Writes all of `bytes`. Whoever gets through here has them in the page cache, or on the device.
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_from(&mut Pages::default(), bytes, offset)
    }

    /// The same, with a buffer to copy the bytes to.
    pub(super) fn write_all_from(
        &self,
        pages: &mut Pages,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        if !self.takes(offset, bytes.len()) {
            return self.write_through_cache(bytes, offset);
        }
        for (n, piece) in bytes.chunks(PIECE).enumerate() {
            pages.copy(piece);
            let at = offset + (n * PIECE) as u64;
            match self.file.write_all_at(pages, at) {
                Ok(()) => {}
                Err(error) if is_refusal(&error) => {
                    return self.write_through_cache(&bytes[n * PIECE..], at);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The bytes of a range, past the page cache where that can be; fewer at the end of the file.
    pub(super) fn read_at_most(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(len).min(self.file.metadata()?.len());
        let Some(len) = end.checked_sub(offset).and_then(|len| usize::try_from(len).ok()) else {
            return Ok(Vec::new());
        };
        if self.is_direct() {
            match self.read_pages(offset, len) {
                Err(error) if is_refusal(&error) => self.give_up()?,
                read => return read,
            }
        }
        let mut bytes = vec![0; len];
        let read = read_full(&self.file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The same in whole pages.
    fn read_pages(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let ahead = (offset % PAGE as u64) as usize;
        let mut pages = Pages::zeros((ahead + len).next_multiple_of(PAGE));
        let read = read_full(&self.file, &mut pages, offset - ahead as u64)?;
        match pages.get(ahead..ahead + len).filter(|_| ahead + len <= read) {
            Some(bytes) => Ok(bytes.to_vec()),
            // The file has more than that, or had: the common way says which.
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Writes all of `bytes` the common way.
    pub(super) fn write_through_cache(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.give_up()?;
        self.file.write_all_at(bytes, offset)
    }

    /// Writes all of `bytes` the common way, and has the system begin to bring them to the device.
    pub(super) fn stream(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_through_cache(bytes, offset)?;
        begin_writeback(&self.file, offset, bytes.len());
        Ok(())
    }

    /// Writes all of `bytes` through the page cache, where they outlive the process, without waiting for the device;
    /// then goes on past it. Nothing else of this file may be under way, nor come there before these are synced.
    pub(super) fn write_aside(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let was_direct = self.is_direct();
        self.write_through_cache(bytes, offset)?;
        if was_direct {
            self.take_up();
        }
        Ok(())
    }

    /// Writes what comes before the last piece of a large write. Gives how much that is.
    pub(super) fn write_leading(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let leading = bytes.len().saturating_sub(1) / PIECE * PIECE;
        if leading > 0 {
            self.write_all_at(&bytes[..leading], offset)?;
        }
        Ok(leading)
    }
}

/// Fills the buffer as far as the file reaches; how far that is.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            // Past the page cache nothing can be asked for behind the end of a file, where nothing is aligned.
            Err(error) if is_refusal(&error) && done > 0 => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Whether a file system does not write past the page cache after all.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

#[cfg(target_os = "linux")]
fn set_direct(file: &File, on: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let fd = file.as_raw_fd();
    // SAFETY: no pointers; the descriptor is open as long as `file` is borrowed here.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = if on { flags | libc::O_DIRECT } else { flags & !libc::O_DIRECT };
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd, libc::F_SETFL, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Other systems have no common way past their page cache.
#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, on: bool) -> io::Result<()> {
    if on { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
}

/// Has the system begin to write a range back. A hint: a sync does what this has not done, and meets what it has met.
#[cfg(target_os = "linux")]
fn begin_writeback(file: &File, start: u64, len: usize) {
    use std::os::fd::AsRawFd;

    let range = libc::off64_t::try_from(start).ok().zip(libc::off64_t::try_from(len).ok());
    let Some((start, len)) = range else { return };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is handed over.
    unsafe { libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn begin_writeback(_: &File, _: u64, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_sectors_and_others_come_to_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = DirectFile::of(File::create(&path).unwrap());
        let mut expected = vec![7; 3 * PIECE + PAGE];
        file.write_all_at(&expected, 0).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        expected[PAGE..2 * PAGE].fill(8);
        file.write_all_at(&expected[PAGE..2 * PAGE], PAGE as u64).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        assert_eq!(file.write_leading(&expected, 0).unwrap(), 3 * PIECE);
        let direct = file.is_direct();
        assert_eq!(file.write_leading(&expected[..PIECE], 0).unwrap(), 0);
        assert_eq!(file.is_direct(), direct, "nothing to write is no reason to give up");
        expected[5..20].fill(9);
        file.write_all_at(&expected[5..20], 5).unwrap();
        assert!(!file.is_direct());
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
}
