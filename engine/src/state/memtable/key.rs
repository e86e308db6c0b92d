//! Keys as the memtable orders them, and the eight bytes by which most are told apart.

use std::cmp::Ordering;

use orlop_formats::ids::DatabaseId;

/// A key of a database. In order: the number of the database, then the bytes. Seen as one string:
/// four bytes of the database, big-endian, then the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) database: DatabaseId,
    pub(super) bytes: &'a [u8],
}

/// Bytes of the database in front of the key.
const DATABASE: usize = 4;

impl Key<'_> {
    /// How many bytes two keys have in common at their beginning.
    fn shared(self, other: Key<'_>) -> usize {
        if self.database != other.database {
            return 0;
        }
        let same = self.bytes.iter().zip(other.bytes).take_while(|(a, b)| a == b);
        DATABASE + same.count()
    }

    /// The eight bytes behind the first `at`, as a number that orders as they do; behind the end
    /// are zeros. `at` is 0, or at least 4.
    #[inline(always)]
    pub(super) fn window(self, at: usize) -> u64 {
        match at.checked_sub(DATABASE) {
            Some(at) => eight(self.bytes, at),
            None => u64::from(self.database.0) << 32 | eight(self.bytes, 0) >> 32,
        }
    }

    /// The first bytes, as a number that orders as they do; behind the end are zeros.
    #[inline(always)]
    fn head(self) -> u128 {
        let tail = u128::from(eight(self.bytes, 0)) << 32 | u128::from(eight(self.bytes, 8) >> 32);
        u128::from(self.database.0) << 96 | tail
    }
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    if let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        return u64::from_be_bytes(*window);
    }
    let len = bytes.len().saturating_sub(at);
    if let Some(last) = bytes.last_chunk() {
        // The last eight bytes, without those before `at`.
        return u64::from_be_bytes(*last).checked_shl(8 * (8 - len as u32)).unwrap_or(0);
    }
    let mut window = [0; 8];
    window[..len].copy_from_slice(&bytes[bytes.len() - len..]);
    u64::from_be_bytes(window)
}

/// Bytes at the end of a common beginning that are left to the windows: keys that come later may
/// differ there, and the beginning stays common.
const SLACK: usize = 4;

/// How many bytes at the beginning all keys between two have in common, but for a few; 0, or at
/// least those of the database.
pub(super) fn common(first: Key<'_>, last: Key<'_>) -> usize {
    match first.shared(last) {
        0 => 0,
        shared => shared.saturating_sub(SLACK).max(DATABASE),
    }
}

/// Bytes of a head.
const HEAD: usize = size_of::<u128>();

/// What a set of keys begins with: some bytes, and where those fit into a head, no look at any key is
/// needed to compare with them.
///
/// What is behind the end of a key counts as zeros here. A key that only seems to begin alike then
/// differs in its end, and the full comparison behind the windows tells it apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning {
    len: usize,
    head: u128,
}

impl Beginning {
    /// The first `len` bytes of a key.
    pub(super) fn of(key: Key<'_>, len: usize) -> Self {
        Self { len, head: key.head() & mask(len) }
    }

    /// How many bytes.
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// How a key stands to those that begin so: before all, among, or behind all of them. `model` gives
    /// one of them.
    #[inline(always)]
    pub(super) fn side<'a>(
        self,
        key: Key<'_>,
        model: impl FnOnce() -> Option<Key<'a>>,
    ) -> Ordering {
        let by_head = (key.head() & mask(self.len)).cmp(&self.head);
        if self.len <= HEAD || by_head.is_ne() {
            return by_head;
        }
        let Some(model) = model() else { return by_head };
        let padded = |key: Key<'_>, at: usize| {
            let bytes = (self.len - at).min(8);
            key.window(at) >> (64 - 8 * bytes)
        };
        let mut rest = (HEAD..self.len).step_by(8);
        let differs = rest.find_map(|at| {
            Some(padded(key, at).cmp(&padded(model, at))).filter(|side| side.is_ne())
        });
        differs.unwrap_or(Ordering::Equal)
    }
}

fn mask(len: usize) -> u128 {
    if len >= HEAD { u128::MAX } else { !(u128::MAX >> (8 * len)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    fn key(database: u32, bytes: &[u8]) -> Key<'_> {
        Key { database: DatabaseId(database), bytes }
    }

    fn text(key: Key<'_>) -> Vec<u8> {
        [&key.database.0.to_be_bytes(), key.bytes].concat()
    }

    /// Short ones, and such as have a long beginning in common.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let tail = || prop::collection::vec(0..3_u8, 0..14);
        let long = (20..35_usize, tail()).prop_map(|(len, tail)| [vec![0; len], tail].concat());
        prop_oneof![tail(), long]
    }

    proptest! {
        #[test]
        fn windows_and_common_beginnings_agree_with_the_order(
            mut keys in prop::collection::vec((0..2_u32, any_bytes()), 3..9),
            probe in (0..3_u32, any_bytes()),
        ) {
            keys.sort();
            let keys: Vec<Key<'_>> = keys.iter().map(|(db, bytes)| key(*db, bytes)).collect();
            let (first, last) = (keys[0], keys[keys.len() - 1]);
            let len = common(first, last);
            let beginning = Beginning::of(first, len);
            let probe = key(probe.0, &probe.1);
            let pad = |key: Key<'_>| {
                let mut text = text(key);
                text.resize(60, 0);
                text
            };
            for known in &keys {
                prop_assert_eq!(&text(*known)[..len], &text(first)[..len]);
                prop_assert_eq!(beginning.side(*known, || Some(first)), Ordering::Equal);
                prop_assert_eq!(
                    beginning.side(probe, || Some(first)),
                    pad(probe)[..len].cmp(&pad(first)[..len])
                );
                match beginning.side(probe, || Some(first)) {
                    Ordering::Equal => {
                        let windows = probe.window(len).cmp(&known.window(len));
                        prop_assert!(windows == Ordering::Equal || windows == probe.cmp(known));
                    }
                    side => prop_assert_eq!(probe.cmp(known), side),
                }
            }
        }
    }
}
