//! Latencies, kept whole and sorted once.

use std::{fmt, time::Duration};

/// Durations in microseconds; the quantiles are exact.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Of durations in any order.
    pub fn new(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    /// The smallest that at least the share `quantile` (0 to 1) of all do not exceed; zero of none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        Duration::from_micros(self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.quantile(quantile).as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            ms(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let hundred = Latencies::new((1..=100).rev().collect());
        for (quantile, micros) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)] {
            assert_eq!(hundred.quantile(quantile), Duration::from_micros(micros));
        }
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }
}
