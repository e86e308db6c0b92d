//! Whether a filter has a hash, with the widest instructions that the processor has.
//!
//! Which bits are looked at is [`filter`]'s to say, and the same with and without: `the_same_bits` holds one against the
//! other.

use orlop_formats::filter;

/// The same as [`filter::may_contain`].
#[inline]
pub(super) fn may_contain(lines: &[u8], hash: u64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        let Some(line) = filter::line(lines, hash) else { return true };
        // SAFETY: the processor has what the function needs.
        return unsafe { avx2::has_all(line, hash) };
    }
    filter::may_contain(lines, hash)
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_castsi256_si128, _mm256_cvtepu32_epi64, _mm256_extracti128_si256,
        _mm256_loadu_si256, _mm256_mullo_epi32, _mm256_set1_epi32, _mm256_set1_epi64x,
        _mm256_sllv_epi64, _mm256_srli_epi32, _mm256_testc_si256,
    };

    use orlop_formats::filter::{LINE_LEN, MULTIPLIERS, PLACE_SHIFT};

    const _: () = assert!(size_of_val(&MULTIPLIERS) == size_of::<__m256i>());
    const _: () = assert!(LINE_LEN == 2 * size_of::<__m256i>());

    /// Whether all eight bits of a hash are set in a line: lanes 0 to 3 at once, and lanes 4 to 7.
    #[target_feature(enable = "avx2")]
    pub(super) fn has_all(line: &[u8; LINE_LEN], hash: u64) -> bool {
        // SAFETY: as many bytes as are loaded are there, as asserted above; they need not be aligned.
        let multipliers = unsafe { _mm256_loadu_si256(MULTIPLIERS.as_ptr().cast()) };
        let products = _mm256_mullo_epi32(_mm256_set1_epi32(hash as i32), multipliers);
        let places = _mm256_srli_epi32::<PLACE_SHIFT>(products);
        let (low, high) = line.split_at(LINE_LEN / 2);
        let (first, last) = (_mm256_castsi256_si128(places), _mm256_extracti128_si256::<1>(places));
        has(low, _mm256_cvtepu32_epi64(first)) && has(high, _mm256_cvtepu32_epi64(last))
    }

    /// Whether each of four lanes has its bit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn has(lanes: &[u8], places: __m256i) -> bool {
        let wanted = _mm256_sllv_epi64(_mm256_set1_epi64x(1), places);
        // SAFETY: half a line, as many bytes as are loaded; they need not be aligned.
        let lanes = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
        _mm256_testc_si256(lanes, wanted) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_formats::filter::FilterBuilder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_same_bits(hashes: Vec<u64>, others: [u64; 32], bits in 1u32..30, spoilt: Vec<u8>) {
            let mut builder = FilterBuilder::new(bits);
            hashes.iter().for_each(|hash| builder.add(*hash));
            let lines = builder.finish();
            prop_assert!(hashes.iter().all(|hash| may_contain(&lines, *hash)));
            for hash in hashes.iter().chain(&others) {
                for lines in [&lines, &spoilt] {
                    prop_assert_eq!(may_contain(lines, *hash), filter::may_contain(lines, *hash));
                }
                // One bit less, and it is not there.
                let mut line = *filter::line(&lines, *hash).unwrap();
                for at in 0..line.len() {
                    line[at] = !line[at];
                    prop_assert_eq!(may_contain(&line, *hash), filter::may_contain(&line, *hash));
                }
            }
        }
    }
}
