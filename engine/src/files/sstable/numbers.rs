//! A search tree over ascending numbers that never change, and something that belongs to each.
//!
//! Eight numbers to a cache line, each the greatest of a line below: a search reads one line a level, and compares
//! without a branch that could be mistaken. A binary search over a flat array would touch twice as many lines.
//! (Khuong and Morin, "Array layouts for comparison-based searching", call it a B-tree layout.) What belongs to the
//! numbers stands right behind their line, so that both come at once.

use crate::prefetch;

/// Numbers of a line.
const WIDTH: usize = 8;

/// One cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line([u64; WIDTH]);

/// The last level: numbers, and what belongs to each.
#[derive(Clone, Debug)]
#[repr(C)]
struct Leaf<P> {
    line: Line,
    with: [P; WIDTH],
}

impl Line {
    /// Behind the last number there are greater ones.
    fn of(numbers: impl Iterator<Item = u64>) -> Line {
        let mut line = [u64::MAX; WIDTH];
        line.iter_mut().zip(numbers).for_each(|(place, number)| *place = number);
        Line(line)
    }

    /// How many are less than `number`.
    #[inline]
    fn less_than(&self, number: u64) -> usize {
        self.0.iter().map(|other| usize::from(*other < number)).sum()
    }
}

impl<P: Copy + Default> Leaf<P> {
    fn of(entries: &[(u64, P)]) -> Leaf<P> {
        let mut with = [P::default(); WIDTH];
        with.iter_mut().zip(entries).for_each(|(place, (_, what))| *place = *what);
        Leaf { line: Line::of(entries.iter().map(|(number, _)| *number)), with }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Numbers<P = ()> {
    /// The levels above the last one, the root first.
    above: Vec<Vec<Line>>,
    leaves: Vec<Leaf<P>>,
    len: usize,
}

/// Where a number is, or would be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// How many numbers are less.
    pub(super) at: usize,
    /// How much of the way from the number before to the one there it has come, in 256ths; `None`: not known.
    pub(super) share: Option<u8>,
}

impl<P: Copy + Default> Numbers<P> {
    /// A tree of numbers in ascending order.
    pub(super) fn new(entries: &[(u64, P)]) -> Numbers<P> {
        let leaves: Vec<Leaf<P>> = entries.chunks(WIDTH).map(Leaf::of).collect();
        let mut above: Vec<Vec<Line>> = Vec::new();
        let mut below: Vec<u64> = entries
            .chunks(WIDTH)
            .filter_map(|chunk| chunk.last())
            .map(|(number, _)| *number)
            .collect();
        while below.len() > 1 {
            above.push(below.chunks(WIDTH).map(|line| Line::of(line.iter().copied())).collect());
            below = below.chunks(WIDTH).filter_map(|line| line.last().copied()).collect();
        }
        above.reverse();
        Numbers { above, leaves, len: entries.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where `number` is.
    #[inline]
    pub(super) fn place(&self, number: u64) -> Place {
        let behind = Place { at: self.len, share: None };
        let mut at = 0;
        for level in &self.above {
            // Behind the last line all are less.
            let Some(line) = level.get(at) else { return behind };
            at = at * WIDTH + line.less_than(number);
        }
        let Some(Leaf { line, with }) = self.leaves.get(at) else { return behind };
        prefetch::read(with.as_ptr().cast(), size_of_val(with));
        let less = line.less_than(number);
        let between = line.0.get(less.wrapping_sub(1)).zip(line.0.get(less));
        let share = between.map(|(before, behind)| share(number - before, behind - before));
        Place { at: (at * WIDTH + less).min(self.len), share }
    }

    /// Number `at`, in their order.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<u64> {
        let leaf = self.leaves.get(at / WIDTH).filter(|_| at < self.len)?;
        leaf.line.0.get(at % WIDTH).copied()
    }

    /// What belongs to number `at`.
    #[inline]
    pub(super) fn with(&self, at: usize) -> Option<P> {
        let leaf = self.leaves.get(at / WIDTH).filter(|_| at < self.len)?;
        leaf.with.get(at % WIDTH).copied()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let above: usize = self.above.iter().map(|level| level.len() * size_of::<Line>()).sum();
        above + size_of_val(self.leaves.as_slice())
    }
}

/// A part of a whole, in 256ths, about.
#[inline]
fn share(part: u64, whole: u64) -> u8 {
    (part as f32 / whole as f32 * 256.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(numbers: &[u64], asked: u64) {
        let entries: Vec<(u64, usize)> = numbers.iter().copied().zip(10..).collect();
        let tree = Numbers::new(&entries);
        let expected = numbers.partition_point(|number| *number < asked);
        let Place { at, share } = tree.place(asked);
        assert_eq!(at, expected, "{asked} in {numbers:?}");
        assert_eq!(tree.get(expected), numbers.get(expected).copied());
        assert_eq!(tree.with(expected), numbers.get(expected).map(|_| expected + 10));
        assert_eq!((tree.get(numbers.len()), tree.with(numbers.len())), (None, None));
        if let (Some(share), Some(there)) = (share, numbers.get(at)) {
            let before = numbers[at - 1];
            let exact = (asked - before) as f64 / (there - before) as f64 * 256.0;
            assert!((f64::from(share) - exact).abs() < 1.5, "{share} for {exact}");
        }
    }

    #[test]
    fn every_length_and_place() {
        for len in (0..140).chain([511, 512, 513, 4095, 4096, 4097]) {
            let numbers: Vec<u64> = (0..len).map(|at| at * 2 + 1).collect();
            for asked in (0..=2 * len + 1).step_by(1 + len as usize / 300).chain([u64::MAX]) {
                check(&numbers, asked);
            }
        }
    }

    #[test]
    fn equal_ones_and_the_greatest() {
        check(&[u64::MAX; 9], u64::MAX);
        check(&[u64::MAX; 9], 0);
        check(&[5; 70], 5);
        check(&[5; 70], 6);
        check(&[], 0);
    }

    proptest! {
        #[test]
        fn as_a_sorted_vector(mut numbers: Vec<u64>, asked: u64, at: prop::sample::Index) {
            numbers.sort_unstable();
            check(&numbers, asked);
            if !numbers.is_empty() {
                check(&numbers, *at.get(&numbers));
            }
        }
    }
}
