//! The points of one series, as columns.

use std::ops::Range;

use crate::PointFilter;

/// Points of one series, parallel columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesColumns {
    pub step: Vec<i64>,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: Vec<i64>,
    pub value: Vec<f64>,
    pub lsn: Vec<u64>,
}

impl SeriesColumns {
    /// Bytes that a point takes in memory.
    pub const POINT_BYTES: usize = 32;

    /// Number of points.
    pub fn len(&self) -> usize {
        self.step.len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.step.is_empty()
    }

    /// Drops all points, keeps the memory.
    pub fn clear(&mut self) {
        self.step.clear();
        self.timestamp_us.clear();
        self.value.clear();
        self.lsn.clear();
    }

    /// Appends one point.
    pub fn push(&mut self, step: i64, timestamp_us: i64, value: f64, lsn: u64) {
        self.step.push(step);
        self.timestamp_us.push(timestamp_us);
        self.value.push(value);
        self.lsn.push(lsn);
    }

    /// Appends all points of `other`.
    pub fn append(&mut self, other: &Self) {
        self.append_range(other, 0..other.len());
    }

    /// Appends the points of `other` at `rows`, which are within its length.
    pub fn append_range(&mut self, other: &Self, rows: Range<usize>) {
        self.step.extend_from_slice(&other.step[rows.clone()]);
        self.timestamp_us.extend_from_slice(&other.timestamp_us[rows.clone()]);
        self.value.extend_from_slice(&other.value[rows.clone()]);
        self.lsn.extend_from_slice(&other.lsn[rows]);
    }

    /// Orders the points by (step, LSN); free where they are so already.
    pub fn sort(&mut self) {
        self.sort_from(0);
    }

    /// Orders the points from `begin` on by (step, LSN), and leaves those before it as they are.
    pub fn sort_from(&mut self, begin: usize) {
        let key = |i: usize| (self.step[i], self.lsn[i]);
        let steps = &self.step[begin..];
        // Rising steps, the common case, need no look at the LSNs.
        if steps.is_sorted_by(|a, b| a < b) || (begin + 1..self.len()).all(|i| key(i - 1) <= key(i)) {
            return;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order[begin..].sort_unstable_by_key(|&i| key(i));
        self.take(&order);
    }

    /// Keeps the points that pass `filter`'s step and timestamp ranges.
    pub fn retain(&mut self, filter: &PointFilter) {
        if !filter.restricts_points() {
            return;
        }
        let kept: Vec<usize> =
            (0..self.len()).filter(|&i| filter.accepts_point(self.step[i], self.timestamp_us[i])).collect();
        if kept.len() < self.len() {
            self.take(&kept);
        }
    }

    /// Keeps the points for which `test` holds of (timestamp in microseconds, LSN).
    pub fn keep(&mut self, test: impl Fn(i64, u64) -> bool) {
        let kept: Vec<usize> = (0..self.len()).filter(|&i| test(self.timestamp_us[i], self.lsn[i])).collect();
        if kept.len() < self.len() {
            self.take(&kept);
        }
    }

    /// Of points at one step keeps the one written last (largest LSN). The points must be sorted.
    pub fn keep_last_per_step(&mut self) {
        let n = self.len();
        let kept: Vec<usize> = (0..n).filter(|&i| i + 1 == n || self.step[i + 1] != self.step[i]).collect();
        if kept.len() < n {
            self.take(&kept);
        }
    }

    fn take(&mut self, rows: &[usize]) {
        self.step = rows.iter().map(|&i| self.step[i]).collect();
        self.timestamp_us = rows.iter().map(|&i| self.timestamp_us[i]).collect();
        self.value = rows.iter().map(|&i| self.value[i]).collect();
        self.lsn = rows.iter().map(|&i| self.lsn[i]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_steps_keep_the_last_written() {
        let mut columns = SeriesColumns::default();
        for (step, lsn) in [(2, 1), (1, 2), (2, 3), (1, 4)] {
            columns.push(step, 0, lsn as f64, lsn);
        }
        columns.sort();
        assert_eq!(columns.lsn, [2, 4, 1, 3]);
        columns.keep_last_per_step();
        assert_eq!((columns.step, columns.lsn), (vec![1, 2], vec![4, 3]));
    }
}
