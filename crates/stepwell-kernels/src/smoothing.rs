//! Exponential smoothing as dashboards do it.

/// Debiased exponential moving average, as TensorBoard's scalar charts compute it: `last = last · w + (1 − w) · v`, shown divided
/// by `1 − w^n` after the n-th value. Values that are not finite come out as they are and leave the average alone.
#[derive(Debug, Clone, Copy)]
pub struct Smoothing {
    weight: f64,
    last: f64,
    count: i32,
}

impl Smoothing {
    /// Smoothing with a weight from 0 (none) to below 1; `None` for another weight.
    pub fn new(weight: f64) -> Option<Self> {
        (0.0..1.0).contains(&weight).then_some(Self { weight, last: 0.0, count: 0 })
    }

    /// The smoothed value at the next value of the series.
    pub fn next(&mut self, value: f64) -> f64 {
        if !value.is_finite() {
            return value;
        }
        self.last = self.last * self.weight + (1.0 - self.weight) * value;
        self.count = self.count.saturating_add(1);
        self.last / (1.0 - self.weight.powi(self.count))
    }
}
