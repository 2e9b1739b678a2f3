//! Buckets over x, each with exact aggregates: no sampling, so no spike is lost.

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

/// A grid over x whose cells are `2^level` wide and begin at multiples of that. Cells of one level lie within cells of every
/// higher one, which is why aggregates of a lower level make those of a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    level: u32,
}

impl Grid {
    /// Cells of `2^level`; a level above 63 is taken as 63, one cell for each sign.
    pub fn new(level: u32) -> Self {
        Self { level: level.min(63) }
    }

    /// The finest grid of which at most `buckets` cells cover `[from, to]` (two, if they straddle zero).
    pub fn covering(from: i64, to: i64, buckets: usize) -> Self {
        let fits = |level: &u32| Self::new(*level).cells(from, to) <= buckets.max(1) as u64;
        Self::new((0..63).find(fits).unwrap_or(63))
    }

    /// Logarithm of the width to base 2.
    pub fn level(self) -> u32 {
        self.level
    }

    /// Number of the cell that `x` is in.
    pub fn cell(self, x: i64) -> i64 {
        x >> self.level
    }

    /// Smallest and largest x of a cell.
    pub fn bounds(self, cell: i64) -> (i64, i64) {
        let first = cell << self.level;
        (first, first | ((1_u64 << self.level) - 1) as i64)
    }

    /// Number of cells that `[from, to]` touches; 0 if it is empty.
    pub fn cells(self, from: i64, to: i64) -> u64 {
        if to < from { 0 } else { (self.cell(to).wrapping_sub(self.cell(from)) as u64).saturating_add(1) }
    }
}

/// A bucket being built, in the parts that are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketState {
    bucket: Bucket,
    sum: CompensatedSum,
}

impl BucketState {
    /// A bucket of one point.
    pub fn new(step: i64, time_us: i64, value: f64) -> Self {
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
        let mut state = Self { bucket, sum: CompensatedSum::default() };
        state.add(step, time_us, value);
        state
    }

    /// Adds the next point in the order of x.
    pub fn add(&mut self, step: i64, time_us: i64, value: f64) {
        let b = &mut self.bucket;
        b.count += 1;
        b.first_step = b.first_step.min(step);
        b.last_step = b.last_step.max(step);
        b.last_time_us = time_us;
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

    /// Adds a bucket all of whose points come after those here in the order of x.
    pub fn merge(&mut self, later: &Self) {
        let (b, l) = (&mut self.bucket, &later.bucket);
        if l.finite > 0 {
            if b.finite == 0 || l.min < b.min {
                (b.min, b.min_step) = (l.min, l.min_step);
            }
            if b.finite == 0 || l.max > b.max {
                (b.max, b.max_step) = (l.max, l.max_step);
            }
        }
        b.count += l.count;
        b.finite += l.finite;
        b.nan += l.nan;
        b.pos_inf += l.pos_inf;
        b.neg_inf += l.neg_inf;
        b.first_step = b.first_step.min(l.first_step);
        b.last_step = b.last_step.max(l.last_step);
        b.last_time_us = l.last_time_us;
        b.last = l.last;
        self.sum.merge(&later.sum);
    }

    /// The bucket with its sum in the two parts that are kept; `bucket.sum` is not set.
    pub fn parts(&self) -> (&Bucket, CompensatedSum) {
        (&self.bucket, self.sum)
    }

    /// What [`BucketState::parts`] took apart.
    pub fn from_parts(bucket: Bucket, sum: CompensatedSum) -> Self {
        Self { bucket, sum }
    }

    /// The bucket.
    pub fn finish(&self) -> Bucket {
        Bucket { sum: self.sum.get(), ..self.bucket }
    }
}

/// Aggregates the points in each cell of `grid`; only cells with points come out, in order of x.
///
/// `points` are sorted by (step, LSN); for [`XAxis::Time`] they are put in order of (timestamp, LSN) here. Points outside
/// `[from, to]` are left out. One linear pass.
pub fn bucketize(points: &SeriesColumns, x: XAxis, from: i64, to: i64, grid: Grid) -> Vec<BucketState> {
    match x {
        XAxis::Step => {
            let begin = points.step.partition_point(|step| *step < from);
            let end = points.step.partition_point(|step| *step <= to);
            in_order(points, &points.step, begin..end.max(begin), grid)
        }
        XAxis::Time => {
            let inside = |i: &usize| (from..=to).contains(&points.timestamp_us[*i]);
            let mut order: Vec<usize> = (0..points.len()).filter(inside).collect();
            order.sort_unstable_by_key(|&i| (points.timestamp_us[i], points.lsn[i]));
            in_order(points, &points.timestamp_us, order.into_iter(), grid)
        }
    }
}

fn in_order(points: &SeriesColumns, x: &[i64], rows: impl Iterator<Item = usize>, grid: Grid) -> Vec<BucketState> {
    let mut out: Vec<BucketState> = Vec::new();
    let mut last_x = i64::MIN;
    for i in rows {
        let (step, time_us, value) = (points.step[i], points.timestamp_us[i], points.value[i]);
        match out.last_mut() {
            Some(bucket) if x[i] <= last_x => bucket.add(step, time_us, value),
            _ => {
                last_x = grid.bounds(grid.cell(x[i])).1;
                out.push(BucketState::new(step, time_us, value));
            }
        }
    }
    out
}
