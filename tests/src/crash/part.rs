//! A part of the cases of a workload: of many workloads a few cases each find a bug sooner than all
//! cases of one after the other.

/// Every so many-th case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many parts there are, 1 or more.
    pub of: u64,
    /// Which of them, from 0.
    pub number: u64,
}

impl Part {
    /// All cases.
    pub const WHOLE: Part = Part { of: 1, number: 0 };

    /// All parts, one after the other.
    pub fn all(of: u64) -> impl Iterator<Item = Part> {
        (0..of).map(move |number| Part { of, number })
    }

    /// For cases that come up one by one.
    pub fn turns(self) -> Turns {
        Turns { part: self, next: 0 }
    }

    /// Those of the cases that are in this part.
    pub fn of_cases<T>(self, cases: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        (0..).zip(cases).filter(move |(number, _)| self.has(*number)).map(|(_, case)| case)
    }

    /// Whether a case is in this part.
    pub fn has(self, case: u64) -> bool {
        case % self.of == self.number
    }
}

/// Cases that come up one by one.
#[derive(Debug)]
pub struct Turns {
    part: Part,
    next: u64,
}

impl Turns {
    /// Whether the next case is in the part.
    pub fn mine(&mut self) -> bool {
        self.next += 1;
        self.part.has(self.next - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_part() {
        assert!((0..9).all(|case| Part::WHOLE.has(case)));
        let mut turns = Part { of: 3, number: 1 }.turns();
        assert_eq!([(); 5].map(|()| turns.mine()), [false, true, false, false, true]);
        let mut cases: Vec<u32> = Part::all(7).flat_map(|part| part.of_cases(0..100)).collect();
        cases.sort_unstable();
        assert!(cases.into_iter().eq(0..100));
    }
}
