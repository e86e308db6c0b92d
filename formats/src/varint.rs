//! Integers: LEB128 of up to 64 bits, and little-endian fields of a fixed width.
//!
//! A varint has one spelling only: the shortest. A longer one is refused, so that equal values
//! have equal bytes.

/// The longest varint, in bytes.
pub const MAX_VARINT_LEN: usize = 10;

/// Appends `v`, seven bits a byte, lowest first; the high bit says that another byte follows.
#[inline]
pub fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// The same into `out` at `*at`, which is moved behind it.
///
/// # Panics
/// If it does not fit there.
#[inline]
pub(crate) fn put_at(out: &mut [u8], at: &mut usize, mut v: u64) {
    while v >= 0x80 {
        out[*at] = v as u8 | 0x80;
        (*at, v) = (*at + 1, v >> 7);
    }
    out[*at] = v as u8;
    *at += 1;
}

/// Bytes that [`put`] appends for `v`.
#[inline]
pub fn len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads a varint at `*at` and moves `*at` behind it. `None`, with `*at` where it was, if the
/// bytes end too early, if the value needs more than 64 bits, or if a shorter spelling exists.
#[inline]
pub fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut v = 0u64;
    for (i, &byte) in bytes.get(*at..)?.iter().take(MAX_VARINT_LEN).enumerate() {
        let overflows = i == MAX_VARINT_LEN - 1 && byte > 1;
        let overlong = i > 0 && byte == 0;
        if overflows || overlong {
            return None;
        }
        v |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *at += i + 1;
            return Some(v);
        }
    }
    None
}

/// The `N` bytes at `at`, if there are as many.
#[inline]
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The little-endian u16 at `at`.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian u32 at `at`.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian u64 at `at`.
#[inline]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<(u64, usize)> {
        let mut at = 0;
        get(bytes, &mut at).map(|v| (v, at))
    }

    #[test]
    fn refuses_truncated_overlong_and_too_big() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0x80, 0x00]), None, "0 spelled in two bytes");
        assert_eq!(read(&[0xff, 0x80, 0x00]), None, "127 spelled in three bytes");
        assert_eq!(read(&[0x7f, 9]), Some((127, 1)));
        let mut most = vec![0xff; 9];
        most.push(1);
        assert_eq!(read(&most), Some((u64::MAX, 10)));
        most[9] = 2;
        assert_eq!(read(&most), None, "65 bits");
        most[9] = 0x81;
        most.push(0);
        assert_eq!(read(&most), None, "11 bytes");
        let mut at = 9;
        assert_eq!(get(&[1], &mut at), None, "a start behind the end");
    }

    #[test]
    fn fixed_fields_stop_at_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u16_at(&bytes, 6), Some(0x0807));
        assert_eq!(u16_at(&bytes, 7), None);
        assert_eq!(u32_at(&bytes, 4), Some(0x0807_0605));
        assert_eq!(u64_at(&bytes, 0), Some(0x0807_0605_0403_0201));
        assert_eq!(u64_at(&bytes, usize::MAX), None);
    }

    proptest! {
        #[test]
        fn what_is_put_is_got(v: u64, shift in 0u32..64, junk: Vec<u8>) {
            let v = v >> shift;
            let mut out = Vec::new();
            put(&mut out, v);
            prop_assert_eq!(out.len(), len(v));
            out.extend(junk);
            prop_assert_eq!(read(&out), Some((v, len(v))));
        }

        #[test]
        fn what_is_got_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some((v, n)) = read(&bytes) {
                let mut out = Vec::new();
                put(&mut out, v);
                prop_assert_eq!(&out, &bytes[..n]);
            }
        }
    }
}
