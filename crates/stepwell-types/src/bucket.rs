//! What charts and leaderboards get instead of points.

/// What a chart gets for an interval of x. Only finite values enter `min`, `max` and `sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Smallest and largest step in the bucket.
    pub first_step: i64,
    pub last_step: i64,
    /// Timestamps of the first and last point, microseconds UTC.
    pub first_time_us: i64,
    pub last_time_us: i64,
    /// Number of points of every kind; the sum of the four counts below.
    pub count: u64,
    pub finite: u64,
    pub nan: u64,
    pub pos_inf: u64,
    pub neg_inf: u64,
    /// NaN when the bucket has no finite value; then the steps are those of the first point.
    pub min: f64,
    pub min_step: i64,
    pub max: f64,
    pub max_step: i64,
    /// Compensated (Neumaier) sum of the finite values.
    pub sum: f64,
    /// Value of the first and last point, of any kind, bit for bit.
    pub first: f64,
    pub last: f64,
}

/// Aggregates of a whole series, over all of its points (I6: repeated steps count each time).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub count: u64,
    pub finite: u64,
    pub nan: u64,
    pub pos_inf: u64,
    pub neg_inf: u64,
    /// Point with the smallest (step, LSN).
    pub first_step: i64,
    pub first_time_us: i64,
    pub first: f64,
    /// Point with the largest (step, LSN).
    pub last_step: i64,
    pub last_time_us: i64,
    pub last: f64,
    /// Point with the largest (step, time, value), at `last_step` therefore; of a NaN the value counts as zero.
    pub latest_time_us: i64,
    pub latest: f64,
    /// Over finite values; `None` where there is none. The step is the smallest at which the extreme occurs.
    pub min: Option<(f64, i64)>,
    pub max: Option<(f64, i64)>,
    /// Compensated sum of the finite values.
    pub sum: f64,
}

/// The latest point of a series, as [`Summary`] has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatestPoint {
    pub step: i64,
    /// Microseconds since the Unix epoch, UTC.
    pub timestamp_us: i64,
    pub value: f64,
}

impl Summary {
    /// Mean of the finite values, `None` where there is none.
    pub fn mean(&self) -> Option<f64> {
        (self.finite > 0).then(|| self.sum / self.finite as f64)
    }
}
