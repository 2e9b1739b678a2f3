//! `Batch`: the one data type from the decoder to the segment.

use crate::{Lsn, SeriesKey, limits};

/// Points of any number of runs and metrics, columnar: a dictionary of distinct series, and one row per point in arrival
/// order. The unit of ingest and acknowledgement.
///
/// Invariant: the four point columns have one length, and every `series_index` is below `series.len()`
/// (checked by [`Batch::new`]; the fields are private so that it stays so).
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    series: Vec<SeriesKey>,
    series_index: Vec<u32>,
    step: Vec<i64>,
    timestamp_us: Vec<i64>,
    value: Vec<f64>,
}

/// Why columns do not make a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("column {column} has {actual} rows, series_index has {expected}")]
    Length { column: &'static str, expected: usize, actual: usize },
    #[error("row {row} names series {index}, the batch has {series} series")]
    SeriesIndex { row: usize, index: u32, series: usize },
    #[error("the batch has {actual} points; the limit is {limit}: send it in parts")]
    TooManyPoints { actual: usize, limit: usize },
}

/// One point with its LSN, as reads hand it out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointRef {
    pub step: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: i64,
    pub value: f64,
    pub lsn: Lsn,
}

impl Batch {
    /// Checks the columns against one another and makes them a batch.
    pub fn new(
        series: Vec<SeriesKey>,
        series_index: Vec<u32>,
        step: Vec<i64>,
        timestamp_us: Vec<i64>,
        value: Vec<f64>,
    ) -> Result<Self, BatchError> {
        let expected = series_index.len();
        for (column, actual) in [("step", step.len()), ("timestamp", timestamp_us.len()), ("value", value.len())] {
            if actual != expected {
                return Err(BatchError::Length { column, expected, actual });
            }
        }
        if expected > limits::BATCH_POINTS_MAX {
            return Err(BatchError::TooManyPoints { actual: expected, limit: limits::BATCH_POINTS_MAX });
        }
        if let Some(row) = series_index.iter().position(|&index| index as usize >= series.len()) {
            return Err(BatchError::SeriesIndex { row, index: series_index[row], series: series.len() });
        }
        Ok(Self { series, series_index, step, timestamp_us, value })
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.series_index.len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.series_index.is_empty()
    }

    /// The distinct series, in order of first appearance.
    pub fn series(&self) -> &[SeriesKey] {
        &self.series
    }

    /// Per point, the position of its series in [`Batch::series`].
    pub fn series_index(&self) -> &[u32] {
        &self.series_index
    }

    /// Per point, its step.
    pub fn step(&self) -> &[i64] {
        &self.step
    }

    /// Per point, microseconds since the Unix epoch, UTC.
    pub fn timestamp_us(&self) -> &[i64] {
        &self.timestamp_us
    }

    /// Per point, its value.
    pub fn value(&self) -> &[f64] {
        &self.value
    }

    /// Replaces the series dictionary, one for one; `rename` sees each distinct series once.
    pub fn try_map_series<E>(mut self, mut rename: impl FnMut(SeriesKey) -> Result<SeriesKey, E>) -> Result<Self, E> {
        self.series = self.series.into_iter().map(&mut rename).collect::<Result<_, E>>()?;
        Ok(self)
    }

    /// Approximate heap size in bytes, for budgets.
    pub fn heap_bytes(&self) -> usize {
        let names: usize = self
            .series
            .iter()
            .map(|s| s.project_id.len() + s.metric.len() + s.run_id.len() + size_of::<SeriesKey>())
            .sum();
        names + self.len() * (size_of::<u32>() + 2 * size_of::<i64>() + size_of::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_refuses_ragged_columns_and_dangling_series() {
        let key = || vec![SeriesKey::new("1", "loss", "r")];
        assert!(Batch::new(key(), vec![0], vec![1], vec![2], vec![3.0]).is_ok());
        assert!(matches!(
            Batch::new(key(), vec![0], vec![], vec![2], vec![3.0]),
            Err(BatchError::Length { column: "step", expected: 1, actual: 0 })
        ));
        assert!(matches!(
            Batch::new(key(), vec![1], vec![1], vec![2], vec![3.0]),
            Err(BatchError::SeriesIndex { row: 0, index: 1, series: 1 })
        ));
    }
}
