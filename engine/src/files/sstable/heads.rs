//! Ascending keys that never change, told apart by eight bytes each.
//!
//! The eight bytes are those behind what all of the keys begin with, as a number; the numbers are in a tree of cache
//! lines. Two keys can have the same number: then the keys themselves must be asked.

use super::numbers::{Numbers, Place};

/// See the module. Something of type `P` belongs to each key.
#[derive(Clone, Debug)]
pub(crate) struct Heads<P = ()> {
    /// What all keys begin with.
    prefix: Vec<u8>,
    numbers: Numbers<P>,
}

impl Heads {
    /// Of keys in ascending order; `None` if they are not.
    pub(crate) fn of<K: AsRef<[u8]>>(keys: &[K]) -> Option<Heads> {
        let (first, last) = (keys.first()?.as_ref(), keys.last()?.as_ref());
        let mut heads = HeadsBuilder::new(first, last);
        keys.iter().for_each(|key| heads.add(key.as_ref(), ()));
        heads.finish()
    }

    /// How many keys are less than `key`. `None`: the keys must be asked.
    #[inline]
    pub(crate) fn less_than(&self, key: &[u8]) -> Option<usize> {
        self.place(key).map(|place| place.at)
    }
}

impl<P: Copy + Default> Heads<P> {
    /// Where `key` is, or would be. `None`: the keys must be asked.
    #[inline]
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        let Some(rest) = key.strip_prefix(self.prefix.as_slice()) else {
            let is_before = key < self.prefix.as_slice();
            let at = if is_before { 0 } else { self.numbers.len() };
            return Some(Place { at, share: None });
        };
        let number = number(rest);
        let place = self.numbers.place(number);
        (self.numbers.get(place.at) != Some(number)).then_some(place)
    }

    /// What belongs to key number `at`.
    #[inline]
    pub(super) fn with(&self, at: usize) -> Option<P> {
        self.numbers.with(at)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.prefix.len() + self.numbers.bytes()
    }
}

/// Takes the keys one after the other, and keeps none.
pub(super) struct HeadsBuilder<P> {
    prefix: Vec<u8>,
    numbers: Vec<(u64, P)>,
    in_order: bool,
}

impl<P: Copy + Default> HeadsBuilder<P> {
    /// Of keys between these two.
    pub(super) fn new(first: &[u8], last: &[u8]) -> Self {
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        Self { prefix: first[..common].to_vec(), numbers: Vec::new(), in_order: true }
    }

    pub(super) fn add(&mut self, key: &[u8], with: P) {
        let number = key.strip_prefix(self.prefix.as_slice()).map(number);
        let last = self.numbers.last().map(|(number, _)| *number);
        self.in_order &= number.is_some() && last <= number;
        self.numbers.extend(number.map(|number| (number, with)));
    }

    /// `None` if the keys did not ascend.
    pub(super) fn finish(self) -> Option<Heads<P>> {
        let is_any = self.in_order && !self.numbers.is_empty();
        is_any.then(|| Heads { prefix: self.prefix, numbers: Numbers::new(&self.numbers) })
    }
}

/// The first eight bytes, as they sort. A key that is shorter sorts as if zeros followed.
#[inline]
fn number(rest: &[u8]) -> u64 {
    match rest.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut padded = [0; 8];
            padded[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_they_say_is_so(
            head in "[ab]{0,12}",
            tails in prop::collection::btree_set("[ab\\x00]{0,20}", 1..200),
            asked in prop::collection::vec("[ab\\x00]{0,32}", 20),
        ) {
            let keys: Vec<Vec<u8>> =
                tails.iter().map(|tail| format!("{head}{tail}").into_bytes()).collect();
            let heads = Heads::of(&keys).unwrap();
            let behind_head = asked.iter().map(|tail| format!("{head}{tail}").into_bytes());
            let asked = asked.iter().map(|key| key.clone().into_bytes()).chain(behind_head);
            for key in asked.chain(keys.iter().cloned()) {
                let expected = keys.partition_point(|other| *other < key);
                prop_assert_eq!(heads.less_than(&key).unwrap_or(expected), expected);
            }
        }
    }

    #[test]
    fn eight_bytes_tell_most() {
        let key = |at: u64| format!("customer:{at:012}").into_bytes();
        let keys: Vec<Vec<u8>> = (0..1000).map(|at| key(at * 7)).collect();
        let heads = Heads::of(&keys).unwrap();
        let told = (0..7000).filter(|at| heads.less_than(&key(*at)).is_some()).count();
        assert_eq!(told, 6000, "but for the keys themselves");
        assert!(heads.bytes() < 16 * keys.len());
    }

    #[test]
    fn none_and_others_in_no_order() {
        assert!(Heads::of::<Vec<u8>>(&[]).is_none());
        assert!(Heads::of(&["b", "a"]).is_none());
        assert!(Heads::of(&["ab", "b", "ac"]).is_none());
        assert!(Heads::of(&["ab", "ad", "ac", "ae"]).is_none());
        assert_eq!(Heads::of(&["ab", "ac"]).and_then(|heads| heads.less_than(b"x")), Some(2));
    }
}
