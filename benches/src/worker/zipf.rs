//! Zipfian choice: few numbers come often, most hardly ever.
//!
//! The method of Gray, Sundaresan, Englert, Baclawski and Weinberger, "Quickly generating
//! billion-record synthetic databases" (SIGMOD 1994), section 3, which YCSB uses.

use fastrand::Rng;

use crate::shape::mix;

/// YCSB's skew.
const THETA: f64 = 0.99;

/// Chooses ranks from 0 (the most frequent) to `count`.
pub(super) struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    pub(super) fn new(count: u64) -> Self {
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum();
        let zeta_of_two = 1.0 + 0.5_f64.powf(THETA);
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - zeta_of_two / zeta);
        Self { count, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// A rank: 0 comes most often.
    pub(super) fn rank(&self, random: &mut Rng) -> u64 {
        let uniform = random.f64();
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }

    /// A number below the count: the frequent ones are spread over all.
    pub(super) fn scrambled(&self, random: &mut Rng) -> u64 {
        mix(self.rank(random)) % self.count as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_as_frequent_as_they_should_be() {
        let zipf = Zipf::new(1000);
        let mut random = Rng::with_seed(5);
        let mut counts = vec![0_u32; 1000];
        let draws = 400_000;
        for _ in 0..draws {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        for rank in [0_usize, 1, 9, 99] {
            let share = f64::from(counts[rank]) / f64::from(draws);
            let wanted = (rank as f64 + 1.0).powf(-THETA) / zipf.zeta;
            assert!((share / wanted - 1.0).abs() < 0.25, "rank {rank}: {share} {wanted}");
        }
    }

    #[test]
    fn the_smallest_counts_work() {
        let mut random = Rng::with_seed(5);
        for count in 3..10 {
            let zipf = Zipf::new(count);
            assert!((0..1000).all(|_| zipf.scrambled(&mut random) < count));
        }
    }
}
