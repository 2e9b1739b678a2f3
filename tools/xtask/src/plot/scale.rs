//! Logarithmic scales, and numbers as they stand beside them.

/// From numbers to places on the sheet.
pub(super) struct Scale {
    low: f64,
    high: f64,
    low_end: f64,
    high_end: f64,
    ticks: Vec<f64>,
}

/// Room above the largest number, for the label of its point.
const HEADROOM: f64 = 1.3;
/// Ends that are at least so far apart make a line look like what it is.
const RATIO_MIN: f64 = 10.0;
/// More decades than this are marked by their powers of ten only.
const FINE_DECADES_MAX: f64 = 2.4;

impl Scale {
    /// From the smallest number to the largest, marked at powers of ten.
    pub(super) fn of_decades(numbers: impl Iterator<Item = f64>, low_end: f64, high_end: f64) -> Self {
        let (low, high) = extent(numbers);
        Self::new(low, high.max(low * RATIO_MIN), low_end, high_end, &[1.0])
    }

    /// Around all numbers, marked at powers of ten and, where there are few of those, at twice and five times them.
    pub(super) fn of_steps(numbers: impl Iterator<Item = f64>, low_end: f64, high_end: f64) -> Self {
        let (low, high) = extent(numbers);
        let (low, high) = (step_below(low), step_above(high * HEADROOM));
        let is_flat = high / low < RATIO_MIN;
        let (low, high) = if is_flat { (step_below(low * 0.9), step_above(high * 1.1)) } else { (low, high) };
        let steps: &[f64] = if (high / low).log10() > FINE_DECADES_MAX { &[1.0] } else { &[1.0, 2.0, 5.0] };
        Self::new(low, high, low_end, high_end, steps)
    }

    fn new(low: f64, high: f64, low_end: f64, high_end: f64, steps: &[f64]) -> Self {
        // Rounding errors of powers and logarithms must not drop the ticks at the very ends.
        let (from, to) = (low * 0.999, high * 1.001);
        let powers = (from.log10().floor() as i32..=to.log10().ceil() as i32).map(|power| 10f64.powi(power));
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * power));
        let ticks = ticks.filter(|tick| (from..=to).contains(tick)).collect();
        Self { low, high, low_end, high_end, ticks }
    }

    /// Where a number is.
    pub(super) fn place(&self, number: f64) -> f64 {
        let share = (number / self.low).ln() / (self.high / self.low).ln();
        self.low_end + share * (self.high_end - self.low_end)
    }

    /// Numbers that are marked, rising.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        self.ticks.iter().copied()
    }

    /// Where its smallest number is.
    pub(super) fn low_end(&self) -> f64 {
        self.low_end
    }

    /// Where its largest number is.
    pub(super) fn high_end(&self) -> f64 {
        self.high_end
    }
}

fn extent(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| (low.min(number), high.max(number)))
}

/// The largest of 1, 2 and 5 times a power of ten that is not above a number.
fn step_below(number: f64) -> f64 {
    let power = 10f64.powf(number.log10().floor());
    [5.0, 2.0, 1.0].iter().map(|step| step * power).find(|step| *step <= number).unwrap_or(power)
}

/// The smallest of them that is not below a number.
fn step_above(number: f64) -> f64 {
    let power = 10f64.powf(number.log10().floor());
    [1.0, 2.0, 5.0].iter().map(|step| step * power).find(|step| *step >= number).unwrap_or(10.0 * power)
}

/// `8.1 ms`, `1.2 s`.
pub(crate) fn milliseconds(number: f64) -> String {
    if number < 999.5 { format!("{} ms", short(number)) } else { format!("{} s", short(number / 1e3)) }
}

/// `4.3 M`, `100 k`, `5.4`, `0.03`.
pub(crate) fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        large if large >= 999_500.0 => (large / 1e6, " M"),
        large if large >= 999.5 => (large / 1e3, " k"),
        small => (small, ""),
    };
    let digits = match scaled {
        scaled if scaled >= 9.95 => 0,
        scaled if scaled >= 0.995 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_units() {
        let cases =
            [(0.034, "0.03"), (5.38, "5.4"), (10.0, "10"), (999.6, "1 k"), (3_890_593.0, "3.9 M"), (0.5, "0.5")];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!([8.12, 1_151.0].map(milliseconds), ["8.1 ms", "1.2 s"]);
        assert_eq!([1e3, 1e5, 1e6, 1e7].map(short), ["1 k", "100 k", "1 M", "10 M"]);
    }

    #[test]
    fn equal_factors_are_equal_distances_and_all_numbers_are_inside() {
        let scale = Scale::of_decades([10.0, 5_000.0].into_iter(), 0.0, 100.0);
        assert_eq!(scale.ticks().collect::<Vec<_>>(), [10.0, 100.0, 1_000.0]);
        assert_eq!((scale.place(10.0), scale.place(5_000.0)), (0.0, 100.0));
        assert!((scale.place(1_000.0) - 2.0 * scale.place(100.0)).abs() < 1e-9);
        let flat = Scale::of_steps([5.1, 5.4].into_iter(), 300.0, 0.0);
        assert!(flat.ticks().count() >= 3);
        assert!([5.1, 5.4].iter().all(|number| (20.0..280.0).contains(&flat.place(*number))));
    }
}
