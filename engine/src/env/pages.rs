//! Bytes that begin at a page boundary, from where a device can fetch them.

use std::ops::{Deref, DerefMut};

/// Bytes of a page, and of the largest sector that a device has.
pub(super) const PAGE: usize = 4096;

#[repr(C, align(4096))]
#[derive(Clone, Copy)]
struct Page([u8; PAGE]);

/// A buffer at a page boundary.
#[derive(Default)]
pub(super) struct Pages {
    pages: Vec<Page>,
    len: usize,
}

impl Pages {
    /// So many zeros.
    pub(super) fn zeros(len: usize) -> Self {
        Self { pages: vec![Page([0; PAGE]); len.div_ceil(PAGE)], len }
    }

    /// Takes a copy of `bytes` in place of what it held.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        let count = bytes.len().div_ceil(PAGE);
        if self.pages.len() < count {
            self.pages.resize(count, Page([0; PAGE]));
        }
        let pages = self.pages.as_mut_ptr().cast::<u8>();
        // SAFETY: the first `count` pages are there, initialised, one behind the other, and borrowed by
        // `self`; they hold at least as many bytes.
        let place = unsafe { std::slice::from_raw_parts_mut(pages, bytes.len()) };
        place.copy_from_slice(bytes);
        self.len = bytes.len();
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are in pages that are there, initialised, as long as `self` is.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast::<u8>(), self.len) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; they are borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast::<u8>(), self.len) }
    }
}

/// Whether a device can fetch these bytes from where they are.
pub(super) fn begins_at_a_page(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_begins_at_a_page() {
        let mut pages = Pages::default();
        assert!(pages.is_empty());
        for len in [1, PAGE, 3 * PAGE + 5, 0, 70] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            pages.copy(&bytes);
            assert_eq!(*pages, bytes[..]);
            assert!(len == 0 || pages.as_ptr().addr().is_multiple_of(PAGE));
        }
    }
}
