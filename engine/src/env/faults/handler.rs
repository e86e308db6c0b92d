//! The handler of `SIGBUS`; see the module above.
//!
//! It may interrupt anything: it takes no lock and no memory, and formats by hand.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use super::{INSIDE, Region};

/// A page that fails, that nobody has touched yet.
const BUS_MCEERR_AO: c_int = 5;

type WithInfo = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
type Plain = extern "C" fn(c_int);

/// What was there before.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Installs the handler.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: it takes and gives numbers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).map_err(|_| io::Error::last_os_error())?;
    PAGE.store(page, Ordering::Relaxed);
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the pointers are null, which asks for no change, and to a place for what the call writes.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has written it; and zeros were a value already.
    let mut action = unsafe { previous.assume_init() };
    // Known before the handler can run.
    PREVIOUS.store(action.sa_sigaction, Ordering::Relaxed);
    PREVIOUS_FLAGS.store(action.sa_flags, Ordering::Release);
    // The mask stays, for the handler that was there before.
    action.sa_sigaction = on_fault as WithInfo as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | (action.sa_flags & libc::SA_RESTART);
    // SAFETY: the action is whole, and its handler does only what a handler may.
    match unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system hands a valid one to a handler with SA_SIGINFO; an address is read from it as a number.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // SAFETY: it points to this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let was = unsafe { *errno };
    // What somebody has sent has no address.
    let touched = code > 0 && code != BUS_MCEERR_AO;
    match Region::at(address).filter(|_| touched) {
        Some((region, offset)) => {
            if !(region.may_go_on() && put_zeros(region, address, offset)) {
                tell(region, offset);
                process::abort();
            }
        }
        None => hand_on(signal, info, context, touched),
    }
    // SAFETY: as above.
    unsafe { *errno = was };
}

/// Puts a page of zeros where a fault was; false if that cannot be.
fn put_zeros(region: &Region, address: usize, offset: usize) -> bool {
    region.fail(offset);
    let page = PAGE.load(Ordering::Relaxed).max(1);
    let start = ptr::without_provenance_mut(address - address % page);
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the page is one of a map that the engine has, since it looks at it now; it stays mapped for reading, and
    // whoever looks at it expects any bytes. It goes with the map.
    let put = unsafe { libc::mmap(start, page, libc::PROT_READ, flags, -1, 0) };
    put != libc::MAP_FAILED
}

/// To the handler that was there before. Where there is none, the fault is raised again without this one.
fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, touched: bool) {
    let flags = PREVIOUS_FLAGS.load(Ordering::Acquire);
    match PREVIOUS.load(Ordering::Relaxed) {
        // A fault cannot be ignored.
        libc::SIG_IGN if !touched => {}
        libc::SIG_IGN | libc::SIG_DFL => {
            // SAFETY: it takes numbers, and a handler may call it.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            if !touched {
                // SAFETY: as above. The signal comes when this handler has returned.
                unsafe { libc::raise(signal) };
            }
        }
        handler if flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: it is neither of the two numbers that are no function, and with this flag it is one of three
            // arguments, which are those that the system has given.
            let handler = unsafe { mem::transmute::<usize, WithInfo>(handler) };
            handler(signal, info, context);
            stay(touched);
        }
        handler => {
            // SAFETY: as above, without the flag: of one argument.
            let handler = unsafe { mem::transmute::<usize, Plain>(handler) };
            handler(signal);
            stay(touched);
        }
    }
}

/// A handler that has come to an end may have put the default in place of this one, for a fault that is raised again. A
/// signal that somebody has sent is not: the next fault is another one.
fn stay(touched: bool) {
    if touched {
        return;
    }
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeros are a value: no flags, and no signal in the mask.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = on_fault as WithInfo as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the action is whole, and a handler may make this call. If it is refused, all is as it was.
    let _ = unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) };
}

/// One line on standard error.
fn tell(region: &Region, offset: usize) {
    let mut line = Line { bytes: [0; 1024], len: 0 };
    let path = region.path.load(Ordering::Relaxed);
    line.add(b"orlop: ");
    if !path.is_null() {
        // SAFETY: the map is in use, so it is known, and its path lives as long as that.
        let path = unsafe { CStr::from_ptr(path) }.to_bytes();
        // The end of a long one says more.
        line.add(path.get(path.len().saturating_sub(MOST_OF_PATH)..).unwrap_or_default());
    }
    line.add(b": the device cannot read the bytes at ");
    line.add_number(offset);
    line.add(match region.is_lent.load(Ordering::Relaxed) && !INSIDE.get() {
        true => b"; a value that lies there was looked at\n",
        false => b"; the file was opened before faults were caught, or no page can be put there\n",
    });
    // SAFETY: the pointer and the length are those of the line. Nobody can be told if it fails.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
}

const MOST_OF_PATH: usize = 800;

/// A line that is put together without memory of its own.
struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    /// What does not fit is left out.
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn add_number(&mut self, number: usize) {
        if number > 9 {
            self.add_number(number / 10);
        }
        self.add(&[b'0' + (number % 10) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_hand() {
        let mut line = Line { bytes: [0; 1024], len: 0 };
        for number in [0, 9, 10, 4096, usize::MAX] {
            line.add_number(number);
            line.add(b" ");
        }
        assert_eq!(&line.bytes[..line.len], format!("0 9 10 4096 {} ", usize::MAX).as_bytes());
        line.add(&[1; 2000]);
        assert_eq!(line.len, 1024);
    }
}
