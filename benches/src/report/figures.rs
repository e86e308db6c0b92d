//! Numbers as a person reads them. Three digits carry what a measurement knows.

use super::stats::{Ratio, Spread, Verdict};

/// Operations in a second: `812 /s`, `258 k/s`, `1.42 M/s`.
pub(super) fn rate(per_second: f64) -> String {
    scaled(per_second, 1000.0, &["/s", "k/s", "M/s", "G/s"])
}

/// A time, from nanoseconds to seconds.
pub(super) fn time(seconds: f64) -> String {
    if seconds <= 0.0 {
        return "0 s".to_owned();
    }
    if seconds >= 0.9995 {
        return format!("{} s", digits(seconds));
    }
    scaled(seconds * 1e9, 1000.0, &["ns", "µs", "ms"])
}

/// Bytes: `812 B`, `1.50 KiB`, `27.0 MiB`.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A plain number to three digits: `0.046`, `0.87`, `13.5`, `1,234,567`.
pub(super) fn digits(value: f64) -> String {
    to_places(value, decimals(value))
}

/// A number with so many decimals; without any, with its thousands apart.
fn to_places(value: f64, places: usize) -> String {
    if places == 0 { thousands(value.round() as i64) } else { format!("{value:.places$}") }
}

/// A whole number with its thousands apart: `1,234,567`.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share: `0.3%`, `12%`.
pub(super) fn share(share: f64) -> String {
    let percent = 100.0 * share;
    let decimals = usize::from(percent < 9.95);
    format!("{percent:.decimals$}%")
}

/// A ratio and its bounds, for Markdown: `▲ 1.35 (1.30–1.41)`. Wins and losses look alike.
///
/// The bounds are rounded outwards, so that what is printed holds all that was meant.
pub(super) fn ratio(ratio: &Ratio) -> String {
    let places = decimals(ratio.median);
    let star = if ratio.spread == Spread::Range { "\\*" } else { "" };
    format!(
        "{} {}{star} ({}–{})",
        symbol(ratio.verdict()),
        to_places(ratio.median, places),
        outwards(ratio.low, places, f64::floor),
        outwards(ratio.high, places, f64::ceil),
    )
}

/// What a reader looks for along a column.
pub(super) fn symbol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ahead => "▲",
        Verdict::Behind => "▼",
        Verdict::Open => "≈",
    }
}

fn outwards(value: f64, places: usize, round: fn(f64) -> f64) -> String {
    let unit = 10_f64.powi(places as i32);
    // A whisker of tolerance: 1.30 must not become 1.29 because no float is 1.30.
    let nearest = (value * unit).round();
    let exact = (value * unit - nearest).abs() < 1e-6;
    let rounded = if exact { nearest } else { round(value * unit) };
    to_places(rounded / unit, places)
}

/// Decimal places for three digits; two for numbers near 1, where more would be noise.
fn decimals(value: f64) -> usize {
    match value.abs() {
        0.0 => 0,
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.0995 => 2,
        value if value >= 0.009_95 => 3,
        _ => 4,
    }
}

/// A number with the first unit that leaves it below one step.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut at = 0;
    while value >= 999.5 && at + 1 < units.len() {
        value /= step;
        at += 1;
    }
    let unit = units.get(at).copied().unwrap_or_default();
    // Below the first step there may be whole things to count.
    let whole = at == 0 && (value - value.round()).abs() < 1e-6;
    if whole { format!("{value:.0} {unit}") } else { format!("{} {unit}", digits(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let cases = [
            (0.0, "0 /s"),
            (0.42, "0.42 /s"),
            (7.0, "7 /s"),
            (1000.0, "1.00 k/s"),
            (812.4, "812 /s"),
            (999.4, "999 /s"),
            (999.6, "1.00 k/s"),
            (14_249.0, "14.2 k/s"),
            (258_400.0, "258 k/s"),
            (999_999.0, "1.00 M/s"),
            (1_421_000.0, "1.42 M/s"),
        ];
        for (value, text) in cases {
            assert_eq!(rate(value), text);
        }
    }

    #[test]
    fn times_and_sizes() {
        assert_eq!(time(0.0), "0 s");
        assert_eq!(time(0.000_000_812), "812 ns");
        assert_eq!(time(0.000_012_4), "12.4 µs");
        assert_eq!(time(0.25), "250 ms");
        assert_eq!(time(0.9999), "1.00 s");
        assert_eq!(time(75.3), "75.3 s");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(812.0), "812 B");
        assert_eq!(bytes(1536.0), "1.50 KiB");
        assert_eq!(bytes(27.0 * 1024.0 * 1024.0), "27.0 MiB");
    }

    #[test]
    fn plain_numbers() {
        assert_eq!(digits(1_234_567.2), "1,234,567");
        assert_eq!(digits(0.046), "0.046");
        assert_eq!(thousands(-1000), "-1,000");
        assert_eq!(thousands(999), "999");
        assert_eq!(share(0.003), "0.3%");
        assert_eq!(share(0.12), "12%");
    }

    fn of(median: f64, low: f64, high: f64, spread: Spread) -> String {
        ratio(&Ratio { median, low, high, spread, bootstrap: (low, high), pairs: 5, left_out: 0 })
    }

    #[test]
    fn wins_and_losses_look_alike_and_bounds_are_rounded_outwards() {
        assert_eq!(of(1.351, 1.3, 1.4011, Spread::Interval), "▲ 1.35 (1.30–1.41)");
        assert_eq!(of(0.741, 0.7, 0.7811, Spread::Interval), "▼ 0.74 (0.70–0.79)");
        assert_eq!(of(1.0, 0.989, 1.012, Spread::Interval), "≈ 1.00 (0.98–1.02)");
        assert_eq!(of(13.51, 12.99, 14.0, Spread::Interval), "▲ 13.5 (12.9–14.0)");
        assert_eq!(of(12_513.2, 10_443.9, 14_988.1, Spread::Interval), "▲ 12,513 (10,443–14,989)");
        assert_eq!(of(0.046, 0.04, 0.05, Spread::Range), "≈ 0.046\\* (0.040–0.050)");
    }
}
