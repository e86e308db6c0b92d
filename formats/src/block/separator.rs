//! Short keys for the index.

/// A shortest key `s` with `last <= s < next`; `last` itself if the two are equal, or if they are
/// not in order.
pub fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let shared = last.iter().zip(next).take_while(|(a, b)| a == b).count();
    // If `last` begins `next`, nothing shorter is as great as `last`.
    let (Some(&low), Some(&high)) = (last.get(shared), next.get(shared)) else {
        return last.to_vec();
    };
    if low > high || last.len() == shared + 1 {
        return last.to_vec();
    }
    if high - low > 1 || next.len() > shared + 1 {
        // One byte behind the shared ones is enough: between the two, or that of a longer `next`.
        return [&last[..shared], &[low + 1]].concat();
    }
    // `next` is the shared bytes and one more, the successor of `last`'s: stay below it, and
    // raise the first byte that can be raised.
    match last[shared + 1..].iter().position(|&byte| byte < u8::MAX) {
        Some(i) => {
            let at = shared + 1 + i;
            [&last[..at], &[last[at] + 1]].concat()
        }
        None => last.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::separator;
    use proptest::prelude::*;

    const BYTES: [u8; 5] = [0, 1, 2, 0xfe, 0xff];

    /// Every key of up to `len` bytes.
    fn keys(len: usize) -> Vec<Vec<u8>> {
        let mut out = vec![vec![]];
        let mut from = 0;
        for _ in 0..len {
            let to = out.len();
            for i in from..to {
                out.extend(BYTES.map(|byte| [&out[i][..], &[byte]].concat()));
            }
            from = to;
        }
        out
    }

    #[test]
    fn is_in_between_and_as_short_as_can_be() {
        let (keys, candidates) = (keys(3), keys(4));
        for last in &keys {
            for next in keys.iter().filter(|next| last < *next) {
                let s = separator(last, next);
                assert!(*last <= s && s < *next, "{last:?} {s:?} {next:?}");
                let shorter = candidates.iter().any(|c| c.len() < s.len() && last <= c && c < next);
                assert!(!shorter, "{last:?} {s:?} {next:?}");
            }
        }
    }

    #[test]
    fn without_room_it_is_the_last_key() {
        assert_eq!(separator(b"same", b"same"), b"same");
        assert_eq!(separator(b"b", b"a"), b"b");
        assert_eq!(separator(b"abcdef", b"abx"), b"abd");
    }

    proptest! {
        #[test]
        fn is_in_between(a: Vec<u8>, b: Vec<u8>) {
            let (last, next) = if a < b { (a, b) } else { (b, a) };
            let s = separator(&last, &next);
            prop_assert!(last <= s && (s < next || last == next));
        }
    }
}
