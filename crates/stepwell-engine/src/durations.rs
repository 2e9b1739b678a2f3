//! How long things take, counted by upper bounds, so that percentiles can be told and not only means.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Syncs: from a fast device's to a stalled one's, three steps a factor of two and a half or so, microseconds.
pub(crate) const SYNC_BOUNDS_US: &[u64] = &[
    50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000,
    50_000, 70_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
];
/// Flushes and merges, microseconds.
pub(crate) const WORK_BOUNDS_US: &[u64] = &[
    10_000,
    30_000,
    100_000,
    300_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// Counts of durations, from any thread.
pub(crate) struct Durations {
    bounds_us: &'static [u64],
    /// One more than bounds: the last is of what is longer than all.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Durations {
    pub(crate) fn new(bounds_us: &'static [u64]) -> Self {
        let counts = (0..=bounds_us.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_us, counts, sum_us: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let at = self.bounds_us.partition_point(|bound| *bound < us);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> DurationCounts {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        DurationCounts { bounds_us: self.bounds_us, counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// A reading of counted durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurationCounts {
    /// Upper bounds, inclusive, rising, microseconds.
    pub bounds_us: &'static [u64],
    /// How many were at most as long as each bound and longer than the one before; the last: longer than all bounds.
    pub counts: Vec<u64>,
    /// All of them together, microseconds.
    pub sum_us: u64,
}

impl DurationCounts {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_at_the_first_bound_that_holds_it() {
        let durations = Durations::new(&[10, 20]);
        for us in [0, 10, 11, 20, 21, 1_000_000] {
            durations.observe(Duration::from_micros(us));
        }
        let read = durations.read();
        assert_eq!((read.counts.as_slice(), read.sum_us, read.count()), (&[2, 2, 2][..], 1_000_062, 6));
        assert!(SYNC_BOUNDS_US.is_sorted() && WORK_BOUNDS_US.is_sorted());
    }
}
