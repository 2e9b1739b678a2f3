//! Buckets of equal width over x, each with exact aggregates: no sampling, so no spike is lost.

use stepwell_types::{Bucket, SeriesColumns};

use crate::CompensatedSum;

/// What the chart's x axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XAxis {
    #[default]
    Step,
    /// Microseconds since the Unix epoch, UTC.
    Time,
}

/// Splits `[from, to]` into `buckets` intervals of equal width and aggregates the points in each; only non-empty buckets
/// come out, in order of x. Interval `i` holds the x with `⌊(x − from) · buckets / (to − from + 1)⌋ = i`, in integers.
///
/// `points` are sorted by (step, LSN); for [`XAxis::Time`] they are put in order of (timestamp, LSN) here. Points outside
/// `[from, to]` are left out. One linear pass.
pub fn bucketize(points: &SeriesColumns, x: XAxis, from: i64, to: i64, buckets: usize) -> Vec<Bucket> {
    if to < from || buckets == 0 {
        return Vec::new();
    }
    match x {
        XAxis::Step => in_order(points, &points.step, from, to, buckets, |i| i),
        XAxis::Time => {
            let mut order: Vec<usize> = (0..points.len()).collect();
            order.sort_unstable_by_key(|&i| (points.timestamp_us[i], points.lsn[i]));
            in_order(points, &points.timestamp_us, from, to, buckets, |i| order[i])
        }
    }
}

fn in_order(
    points: &SeriesColumns,
    x: &[i64],
    from: i64,
    to: i64,
    buckets: usize,
    row: impl Fn(usize) -> usize,
) -> Vec<Bucket> {
    let width = i128::from(to) - i128::from(from) + 1;
    let count = buckets as i128;
    let mut out = Vec::new();
    let mut open: Option<(Open, i64)> = None;
    for at in 0..points.len() {
        let i = row(at);
        if x[i] < from || x[i] > to {
            continue;
        }
        match &mut open {
            // The division is done once per bucket, not once per point.
            Some((bucket, last_x)) if x[i] <= *last_x => bucket.add(points, i),
            _ => {
                let index = (i128::from(x[i]) - i128::from(from)) * count / width;
                // The largest x of the bucket: the one before the smallest that the next bucket takes.
                let next = ((index + 1) * width + count - 1) / count;
                let last_x = (i128::from(from) + next - 1) as i64;
                if let Some((full, _)) = open.replace((Open::new(points, i), last_x)) {
                    out.push(full.finish());
                }
            }
        }
    }
    out.extend(open.map(|(last, _)| last.finish()));
    out
}

struct Open {
    bucket: Bucket,
    sum: CompensatedSum,
}

impl Open {
    fn new(points: &SeriesColumns, i: usize) -> Self {
        let (step, time_us, value) = (points.step[i], points.timestamp_us[i], points.value[i]);
        let bucket = Bucket {
            first_step: step,
            last_step: step,
            first_time_us: time_us,
            last_time_us: time_us,
            count: 0,
            finite: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
            min: f64::NAN,
            min_step: step,
            max: f64::NAN,
            max_step: step,
            sum: 0.0,
            first: value,
            last: value,
        };
        let mut open = Self { bucket, sum: CompensatedSum::default() };
        open.add(points, i);
        open
    }

    fn add(&mut self, points: &SeriesColumns, i: usize) {
        let (step, value) = (points.step[i], points.value[i]);
        let b = &mut self.bucket;
        b.count += 1;
        b.first_step = b.first_step.min(step);
        b.last_step = b.last_step.max(step);
        b.last_time_us = points.timestamp_us[i];
        b.last = value;
        if value.is_finite() {
            // The first finite value replaces NaN; later ones only if they are strictly beyond.
            if b.finite == 0 || value < b.min {
                (b.min, b.min_step) = (value, step);
            }
            if b.finite == 0 || value > b.max {
                (b.max, b.max_step) = (value, step);
            }
            b.finite += 1;
            self.sum.add(value);
        } else if value.is_nan() {
            b.nan += 1;
        } else if value > 0.0 {
            b.pos_inf += 1;
        } else {
            b.neg_inf += 1;
        }
    }

    fn finish(self) -> Bucket {
        Bucket { sum: self.sum.get(), ..self.bucket }
    }
}
