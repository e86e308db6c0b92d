//! A logarithmic axis: from values to pixels, and where its marks go.

/// Marks within one power of ten, from coarse to fine.
const STEPS: [&[f64]; 3] = [&[1.0], &[1.0, 3.0], &[1.0, 2.0, 5.0]];

/// A logarithmic axis between two pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Scale {
    /// An axis that holds all of `values` (those above zero), or `None` without any.
    pub(super) fn over(values: impl Iterator<Item = f64>, from: i32, to: i32) -> Option<Self> {
        let usable = values.filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = usable
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        (low <= high).then(|| {
            // Air on both sides, and some width where all values are the same.
            let air = (high / low).powf(0.04).max(1.05);
            Self { low: low / air, high: high * air, from, to }
        })
    }

    /// The pixel of a value; the nearest end for values outside.
    pub(super) fn at(&self, value: f64) -> i32 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.from + (share.min(1.0) * f64::from(self.to - self.from)).round() as i32
    }

    /// The finest marks that are at least so many pixels apart.
    pub(super) fn marks(&self, apart: i32) -> Vec<f64> {
        let all: Vec<_> = STEPS.iter().rev().map(|steps| self.all_marks(steps)).collect();
        let fit = |marks: &&Vec<f64>| {
            marks.windows(2).all(|pair| match pair {
                [a, b] => (self.at(*b) - self.at(*a)).abs() >= apart,
                _ => true,
            })
        };
        all.iter().find(fit).or(all.last()).cloned().unwrap_or_default()
    }

    fn all_marks(&self, steps: &[f64]) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        powers
            .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
            .filter(|mark| (self.low..=self.high).contains(mark))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_pixels() {
        let scale = Scale::over([0.01, 100.0, 0.0, f64::NAN].into_iter(), 0, 1000).unwrap();
        assert_eq!(scale.at(1.0), 500);
        assert!(scale.at(0.01) > 0 && scale.at(100.0) < 1000);
        assert_eq!((scale.at(0.0), scale.at(1e9)), (0, 1000));
        assert!(Scale::over([0.0].into_iter(), 0, 10).is_none());
        assert!(Scale::over([3.0].into_iter(), 0, 10).is_some());
    }

    #[test]
    fn marks_do_not_touch() {
        let scale = Scale::over([0.5, 50.0].into_iter(), 0, 400).unwrap();
        assert_eq!(scale.marks(30), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(scale.marks(80), [1.0, 3.0, 10.0, 30.0]);
        assert_eq!(scale.marks(150), [1.0, 10.0]);
    }
}
