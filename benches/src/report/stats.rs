//! The statistics: a median over rounds, and how far another run's median may lie from it.
//!
//! The rounds of one number ran interleaved, so their ratio is free of what slowed both engines
//! down alike: rounds are paired by number, each pair gives one ratio, and the median of these is
//! the figure.
//!
//! **The interval** answers the question that a reader can put to it: *if all of this is run once
//! more, where will the new median lie?* On the logarithms of the ratios, with `n` pairs of standard
//! deviation `s`, it is
//!
//! ```text
//! median ± t(0.975, n-1) · s · sqrt(pi / n)
//! ```
//!
//! - The median of `n` normal draws has a variance that approaches `pi / 2n` of theirs from below
//!   (Cramér, *Mathematical Methods of Statistics*, 1946, §28.5); two independent medians, the old
//!   and the new one, differ by twice that. This makes it a prediction interval (Hahn and Meeker,
//!   *Statistical Intervals*, 1991, ch. 4). As a confidence interval for the true ratio it is wider
//!   than it need be.
//! - The quantile of Student's t pays for `s` being itself an estimate from few rounds.
//! - It is widened to take in every pair, so that rounds which fall into two clusters are not
//!   summed up by one of them, and to at least [`LEAST`] on each side: what stands still through a
//!   whole run cannot be seen inside it.
//!
//! Why it is no percentile bootstrap: with five rounds that is too narrow (Efron and Tibshirani, *An
//! Introduction to the Bootstrap*, 1993, ch. 14). In the simulation of the tests it covers the
//! median of the next run in about 83 of 100 runs only. It is computed all the same, for
//! `summary.json`: it is what most reports print.

/// From this many pairs on there is an interval; below it only the range.
pub(super) const PAIRS_FOR_INTERVAL: usize = 3;

/// So many quiet rounds must be left, and more than half of all, before marked ones are left out.
pub(super) const QUIET_ROUNDS: usize = 3;

/// No interval is narrower than this share on each side of its median.
pub(super) const LEAST: f64 = 0.02;

/// The 0.975 quantiles of Student's t, for 2 and more degrees of freedom. The last stands for all
/// that follow, which errs on the wide side.
const STUDENT: [f64; 29] = [
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
    2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052,
    2.048, 2.045, 2.042,
];

/// One round's figure, and whether the round was marked as loud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) loud: bool,
}

/// How often one engine's figure is the other's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) spread: Spread,
    /// The percentile bootstrap of the median: of 1000 resamplings, the middle 95%.
    pub(super) bootstrap: (f64, f64),
    /// Pairs that count.
    pub(super) pairs: usize,
    /// Pairs that were left out because a round of theirs was marked.
    pub(super) left_out: usize,
}

/// What the bounds of a [`Ratio`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// The interval of this module.
    Interval,
    /// The least and the greatest of too few pairs.
    Range,
}

/// What may be said of a [`Ratio`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of the interval lies above 1.
    Ahead,
    /// All of the interval lies below 1.
    Behind,
    /// 1 lies inside, or there are too few rounds to know.
    Open,
}

impl Ratio {
    pub(super) fn verdict(&self) -> Verdict {
        match self.spread {
            Spread::Interval if self.low > 1.0 => Verdict::Ahead,
            Spread::Interval if self.high < 1.0 => Verdict::Behind,
            Spread::Interval | Spread::Range => Verdict::Open,
        }
    }
}

/// The samples that count, and how many were left out: those of loud rounds, but only where at
/// least [`QUIET_ROUNDS`] quiet ones and a majority remain.
pub(super) fn kept(samples: &[Sample]) -> (Vec<f64>, usize) {
    let quiet: Vec<_> = samples.iter().filter(|sample| !sample.loud).collect();
    if quiet.len() >= QUIET_ROUNDS && 2 * quiet.len() > samples.len() {
        let left_out = samples.len() - quiet.len();
        return (quiet.into_iter().map(|sample| sample.value).collect(), left_out);
    }
    (samples.iter().map(|sample| sample.value).collect(), 0)
}

/// The median of what counts; `None` without samples.
pub(super) fn median_of_kept(samples: &[Sample]) -> Option<f64> {
    median(&kept(samples).0)
}

/// The value in the middle, or the mean of the two there.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(sorted.get(middle - 1)?.midpoint(upper))
}

/// The ratio of what each pair compares, from the logarithms of its pairs.
pub(super) fn ratio(logarithms: &[Sample]) -> Option<Ratio> {
    let mut ratio = ratio_alone(logarithms)?;
    let (low, high) = bootstrap(&kept(logarithms).0);
    ratio.bootstrap = (low.exp(), high.exp());
    Some(ratio)
}

/// The same without the bootstrap, which takes a thousand times as long.
fn ratio_alone(logarithms: &[Sample]) -> Option<Ratio> {
    let (kept, left_out) = kept(logarithms);
    let median = median(&kept)?;
    let least = kept.iter().copied().fold(median, f64::min);
    let greatest = kept.iter().copied().fold(median, f64::max);
    let (low, high, spread) = match half_width(&kept) {
        Some(half) => (least.min(median - half), greatest.max(median + half), Spread::Interval),
        None => (least, greatest, Spread::Range),
    };
    Some(Ratio {
        median: median.exp(),
        low: low.exp(),
        high: high.exp(),
        spread,
        bootstrap: (median.exp(), median.exp()),
        pairs: kept.len(),
        left_out,
    })
}

/// How often values are drawn anew for the bootstrap.
const RESAMPLINGS: usize = 1000;

/// The middle 95% of the medians of draws from `values`, with the same seed every time.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut medians: Vec<_> = (0..RESAMPLINGS)
        .filter_map(|_| {
            let drawn: Vec<_> = values.iter().filter_map(|_| random.choice(values)).collect();
            median(&drawn.into_iter().copied().collect::<Vec<_>>())
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let tail = RESAMPLINGS / 40;
    let at = |at: usize| medians.get(at).copied().unwrap_or(0.0);
    (at(tail), at(RESAMPLINGS - 1 - tail))
}

/// Half of the interval, in logarithms; `None` with too few pairs.
fn half_width(logarithms: &[f64]) -> Option<f64> {
    let pairs = logarithms.len();
    if pairs < PAIRS_FOR_INTERVAL {
        return None;
    }
    let factor = student(pairs - 1) * (std::f64::consts::PI / pairs as f64).sqrt();
    Some((factor * deviation(logarithms)).max(LEAST.ln_1p()))
}

/// The standard deviation of the population that at least two values come from.
fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

/// The 0.975 quantile for at least 2 degrees of freedom.
fn student(degrees: usize) -> f64 {
    let at = degrees.saturating_sub(2).min(STUDENT.len() - 1);
    STUDENT[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(values: &[f64]) -> Vec<Sample> {
        values.iter().map(|value| Sample { value: *value, loud: false }).collect()
    }

    fn logarithms(ratios: &[f64]) -> Vec<Sample> {
        quiet(&ratios.iter().map(|ratio| ratio.ln()).collect::<Vec<_>>())
    }

    #[test]
    fn medians_that_are_known() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_is_the_median_of_its_pairs_inside_its_interval() {
        let ratio = ratio(&logarithms(&[2.0, 2.1, 1.9, 2.05, 2.2])).unwrap();
        assert!((ratio.median - 2.05).abs() < 1e-9);
        assert!(ratio.low < 1.9 && ratio.high > 2.2, "{ratio:?}");
        assert_eq!((ratio.spread, ratio.pairs), (Spread::Interval, 5));
        assert_eq!(ratio.verdict(), Verdict::Ahead);
    }

    #[test]
    fn the_interval_is_the_documented_formula() {
        let ratio = ratio(&logarithms(&[1.0, 1.1, 1.21])).unwrap();
        // Evenly spaced logarithms: the deviation is the step.
        let half = 4.303 * 1.1_f64.ln() * (std::f64::consts::PI / 3.0).sqrt();
        assert!((ratio.high - (1.1_f64.ln() + half).exp()).abs() < 1e-9);
        assert!((ratio.low - (1.1_f64.ln() - half).exp()).abs() < 1e-9);
        assert_eq!(ratio.verdict(), Verdict::Open);
    }

    #[test]
    fn rounds_that_agree_too_well_do_not_make_a_point_of_the_interval() {
        let ratio = ratio(&logarithms(&[3.0; 5])).unwrap();
        assert!((ratio.high / ratio.median - 1.02).abs() < 1e-9);
        assert!((ratio.median / ratio.low - 1.02).abs() < 1e-9);
    }

    #[test]
    fn too_few_pairs_have_a_range_and_no_verdict() {
        assert_eq!(ratio(&[]), None);
        let one = ratio(&logarithms(&[5.0])).unwrap();
        assert_eq!((one.spread, one.verdict()), (Spread::Range, Verdict::Open));
        let two = ratio(&logarithms(&[4.0, 9.0])).unwrap();
        assert!((two.median - 6.0).abs() < 1e-9 && (two.low - 4.0).abs() < 1e-9);
        assert!((two.high - 9.0).abs() < 1e-9);
    }

    #[test]
    fn loud_rounds_are_left_out_only_where_enough_quiet_ones_remain() {
        let mut samples = quiet(&[1.0, 2.0, 3.0, 4.0, 50.0]);
        samples[4].loud = true;
        assert_eq!(kept(&samples), (vec![1.0, 2.0, 3.0, 4.0], 1));
        samples[3].loud = true;
        assert_eq!(kept(&samples).1, 2);
        samples[2].loud = true;
        assert_eq!(kept(&samples), (vec![1.0, 2.0, 3.0, 4.0, 50.0], 0));
        // Three quiet ones of six are no majority.
        let mut six = quiet(&[1.0; 6]);
        six[..3].iter_mut().for_each(|sample| sample.loud = true);
        assert_eq!(kept(&six).1, 0);
    }

    /// A normal draw (Box and Muller).
    fn normal(random: &mut fastrand::Rng) -> f64 {
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * random.f64()).cos()
    }

    /// How often, of many runs, the interval holds the true ratio and the median of a second run.
    fn coverage(rounds: usize, draw: impl Fn(&mut fastrand::Rng) -> f64) -> (f64, f64) {
        const RUNS: usize = 20_000;
        const TRUTH: f64 = 0.7;
        let mut random = fastrand::Rng::with_seed(11);
        let (mut true_ones, mut repeated) = (0, 0);
        for _ in 0..RUNS {
            let mut run = || {
                let pairs: Vec<_> = (0..rounds).map(|_| TRUTH + draw(&mut random)).collect();
                ratio_alone(&quiet(&pairs)).unwrap()
            };
            let (first, second) = (run(), run());
            let holds = |value: f64| usize::from(first.low <= value && value <= first.high);
            true_ones += holds(TRUTH.exp());
            repeated += holds(second.median);
        }
        (true_ones as f64 / RUNS as f64, repeated as f64 / RUNS as f64)
    }

    #[test]
    fn the_interval_covers_the_truth_and_the_next_run() {
        for rounds in [3, 4, 5, 7, 10] {
            let (truth, next) = coverage(rounds, |random| 0.1 * normal(random));
            assert!(truth > 0.97, "{rounds} rounds: the truth in {truth}");
            assert!(next > 0.95, "{rounds} rounds: the next run in {next}");
        }
    }

    #[test]
    fn it_does_so_with_an_odd_round_out_of_five_and_with_two_clusters() {
        let (truth, next) = coverage(5, |random| {
            let scale = if random.f64() < 0.2 { 0.6 } else { 0.1 };
            scale * normal(random)
        });
        assert!(truth > 0.97 && next > 0.95, "odd rounds: {truth}, {next}");
        let (_, next) = coverage(5, |random| {
            let cluster = if random.bool() { 0.3 } else { -0.3 };
            cluster + 0.05 * normal(random)
        });
        assert!(next > 0.92, "clusters: {next}");
    }

    #[test]
    fn a_percentile_bootstrap_would_promise_too_much() {
        const RUNS: usize = 1000;
        let mut random = fastrand::Rng::with_seed(12);
        let mut repeated = 0;
        for _ in 0..RUNS {
            let mut run = || -> Vec<f64> { (0..5).map(|_| normal(&mut random)).collect() };
            let (first, second) = (run(), run());
            let (low, high) = bootstrap(&first);
            let next = median(&second).unwrap();
            repeated += usize::from(low <= next && next <= high);
        }
        let share = repeated as f64 / RUNS as f64;
        assert!((0.79..0.87).contains(&share), "{share}");
    }
}
