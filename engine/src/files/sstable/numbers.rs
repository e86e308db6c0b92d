//! A search tree over ascending numbers that never change.
//!
//! Eight numbers to a cache line, each the greatest of a line below: a search reads one line a level, and compares
//! without a branch that could be mistaken. A binary search over a flat array would touch twice as many lines.
//! (Khuong and Morin, "Array layouts for comparison-based searching", call it a B-tree layout.)

/// Numbers of a line.
const WIDTH: usize = 8;

/// One cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Line([u64; WIDTH]);

impl Line {
    /// Behind the last number there are greater ones.
    fn of(numbers: &[u64]) -> Line {
        let mut line = [u64::MAX; WIDTH];
        line.iter_mut().zip(numbers).for_each(|(place, number)| *place = *number);
        Line(line)
    }

    /// How many are less than `number`.
    #[inline]
    fn less_than(&self, number: u64) -> usize {
        self.0.iter().map(|other| usize::from(*other < number)).sum()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// The root first; the last level has all numbers.
    levels: Vec<Vec<Line>>,
    len: usize,
}

impl Numbers {
    /// A tree of numbers in ascending order.
    pub(super) fn new(numbers: &[u64]) -> Numbers {
        let mut levels = Vec::new();
        let mut below = numbers.to_vec();
        loop {
            let lines: Vec<Line> = below.chunks(WIDTH).map(Line::of).collect();
            below = below.chunks(WIDTH).filter_map(|line| line.last().copied()).collect();
            levels.push(lines);
            if below.len() <= 1 {
                break;
            }
        }
        levels.reverse();
        Numbers { levels, len: numbers.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many are less than `number`.
    #[inline]
    pub(super) fn lower_bound(&self, number: u64) -> usize {
        let mut at = 0;
        for level in &self.levels {
            // Behind the last line all are less.
            let Some(line) = level.get(at) else { return self.len };
            at = at * WIDTH + line.less_than(number);
        }
        at.min(self.len)
    }

    /// Number `at`, in their order.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<u64> {
        let line = self.levels.last()?.get(at / WIDTH).filter(|_| at < self.len)?;
        line.0.get(at % WIDTH).copied()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * size_of::<Line>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(numbers: &[u64], asked: u64) {
        let tree = Numbers::new(numbers);
        let expected = numbers.partition_point(|number| *number < asked);
        assert_eq!(tree.lower_bound(asked), expected, "{asked} in {numbers:?}");
        assert_eq!(tree.get(expected), numbers.get(expected).copied());
        assert_eq!(tree.get(numbers.len()), None);
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
