//! The power cut itself: the ioctl that makes an ext4 forget everything that is not on its device.
//!
//! This is the one place of the tests with unsafe code.

use std::fs::File;
use std::io;

/// What the file system still does before it goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Everything: as if somebody had synced it.
    Everything,
    /// Its journal: names and sizes, not the data behind them.
    Journal,
    /// Nothing: a power cut.
    Nothing,
}

/// `EXT4_IOC_SHUTDOWN`: `_IOR('X', 125, __u32)`.
#[cfg(target_os = "linux")]
const SHUTDOWN: libc::Ioctl = 0x8004_587D;

/// Shuts the file system down that `root` lies on. Whoever calls this has made sure that it is one
/// of his own.
///
/// # Errors
/// What the system says: not root, no ext4.
#[cfg(target_os = "linux")]
pub(super) fn shut_down(root: &File, flush: Flush) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let flag: u32 = match flush {
        Flush::Everything => 0,
        Flush::Journal => 1,
        Flush::Nothing => 2,
    };
    // SAFETY: the call reads the four bytes of `flag`, which outlives it; the descriptor is open as
    // long as `root` is borrowed here.
    let done = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const flag) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// There is no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn shut_down(_root: &File, _flush: Flush) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
