//! Compensated summation.

/// Neumaier's improved Kahan–Babuška sum (A. Neumaier, 1974): the error does not grow with the number of terms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CompensatedSum {
    sum: f64,
    compensation: f64,
}

impl CompensatedSum {
    /// Adds one finite value.
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.compensation +=
            if self.sum.abs() >= value.abs() { (self.sum - total) + value } else { (value - total) + self.sum };
        self.sum = total;
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.compensation += other.compensation;
    }

    /// The sum so far and what rounding took from it, for storage.
    pub fn parts(&self) -> (f64, f64) {
        (self.sum, self.compensation)
    }

    /// What [`CompensatedSum::parts`] took apart.
    pub fn from_parts(sum: f64, compensation: f64) -> Self {
        Self { sum, compensation }
    }

    /// The sum. Where it passes the range of doubles, it is the infinity that plain addition gives.
    pub fn get(&self) -> f64 {
        let total = self.sum + self.compensation;
        if total.is_nan() { self.sum } else { total }
    }
}
