//! Asks the processor for memory before it is needed.
//!
//! Where several places are needed one after the other, each is a miss that is waited for; asked for
//! together, they come together. And what is written to memory that is far away keeps the next locked
//! instruction waiting until it has arrived there.
//!
//! It is advice: nothing is read, whatever the place is, and where the processor has no such instruction
//! nothing happens.

/// Bytes that come at once.
const LINE: usize = 64;

/// So many bytes from `start` on are about to be read.
#[inline(always)]
pub(crate) fn read(start: *const u8, bytes: usize) {
    each_line(start, bytes, |line| {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch reads nothing, wherever it points.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line);
        }
        let _ = line;
    });
}

/// So many bytes from `start` on are about to be written.
#[inline(always)]
pub(crate) fn write(start: *const u8, bytes: usize) {
    each_line(start, bytes, |line| {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(line);
        }
        let _ = line;
    });
}

#[inline(always)]
fn each_line(start: *const u8, bytes: usize, ask: impl Fn(*const i8)) {
    (0..bytes.div_ceil(LINE)).for_each(|line| ask(start.wrapping_add(line * LINE).cast()));
}
