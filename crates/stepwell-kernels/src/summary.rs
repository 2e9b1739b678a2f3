//! Aggregates of whole series that merge in any order.

use std::cmp::Ordering;

use stepwell_types::{SeriesColumns, Summary};

use crate::CompensatedSum;

/// A summary being built, in the parts that are stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryState {
    pub finite: u64,
    pub nan: u64,
    pub pos_inf: u64,
    pub neg_inf: u64,
    /// `None` without a point; both or neither.
    pub first: Option<Edge>,
    pub last: Option<Edge>,
    /// The latest point by what its writer says: the largest (step, time, value). Where LSNs tell what was written last, this tells
    /// what a retry or a resumed run cannot turn back. There if `last` is.
    pub latest: Option<Edge>,
    /// Over finite values, with the smallest step at which the extreme occurs.
    pub min: Option<(f64, i64)>,
    pub max: Option<(f64, i64)>,
    pub sum: CompensatedSum,
}

/// A point at the end of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    pub step: i64,
    pub lsn: u64,
    /// Microseconds since the Unix epoch, UTC.
    pub time_us: i64,
    pub value: f64,
}

impl Edge {
    /// The latest of points sorted by (step, LSN).
    pub fn latest_of(points: &SeriesColumns) -> Option<Self> {
        let last_step = points.step.last()?;
        let at_last_step = (0..points.len()).rev().take_while(|&i| points.step[i] == *last_step);
        at_last_step.map(|i| Self::at(points, i)).reduce(Self::later)
    }

    /// The later of two points.
    pub fn later(self, other: Self) -> Self {
        if other.is_later_than(&self) { other } else { self }
    }

    fn at(points: &SeriesColumns, i: usize) -> Self {
        Self { step: points.step[i], lsn: points.lsn[i], time_us: points.timestamp_us[i], value: points.value[i] }
    }

    fn order(&self) -> (i64, u64) {
        (self.step, self.lsn)
    }

    /// Whether it is later than `other` by (step, time, value). A NaN counts as zero here; of equals the first written is later, so
    /// that a second copy changes nothing.
    fn is_later_than(&self, other: &Self) -> bool {
        let value = |edge: &Self| if edge.value.is_nan() { 0.0 } else { edge.value };
        let by_time = (self.step, self.time_us).cmp(&(other.step, other.time_us));
        let by_value = || value(self).partial_cmp(&value(other)).unwrap_or(Ordering::Equal);
        by_time.then_with(by_value).then_with(|| other.lsn.cmp(&self.lsn)).is_gt()
    }
}

/// The better of two extremes; of equal values the one at the smaller step.
fn extreme(a: Option<(f64, i64)>, b: Option<(f64, i64)>, is_beyond: fn(f64, f64) -> bool) -> Option<(f64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let takes_b = is_beyond(b.0, a.0) || (!is_beyond(a.0, b.0) && b.1 < a.1);
            Some(if takes_b { b } else { a })
        }
        (a, b) => a.or(b),
    }
}

impl SummaryState {
    /// Takes in points of the series, sorted by (step, LSN) among themselves, each once; parts may come in any order.
    pub fn update(&mut self, points: &SeriesColumns) {
        let Some(last) = points.len().checked_sub(1) else { return };
        self.note_edges(Edge::at(points, 0), Edge::at(points, last));
        self.note_latest(Edge::latest_of(points));
        let mut min: Option<(f64, i64)> = None;
        let mut max: Option<(f64, i64)> = None;
        for (&step, &value) in points.step.iter().zip(&points.value) {
            if value.is_finite() {
                self.finite += 1;
                self.sum.add(value);
                // Steps rise, so the first occurrence is the one at the smallest step.
                if min.is_none_or(|(known, _)| value < known) {
                    min = Some((value, step));
                }
                if max.is_none_or(|(known, _)| value > known) {
                    max = Some((value, step));
                }
            } else if value.is_nan() {
                self.nan += 1;
            } else if value > 0.0 {
                self.pos_inf += 1;
            } else {
                self.neg_inf += 1;
            }
        }
        self.min = extreme(self.min, min, |a, b| a < b);
        self.max = extreme(self.max, max, |a, b| a > b);
    }

    /// Number of points of every kind.
    pub fn count(&self) -> u64 {
        self.finite + self.nan + self.pos_inf + self.neg_inf
    }

    fn note_edges(&mut self, first: Edge, last: Edge) {
        if self.first.is_none_or(|known| first.order() < known.order()) {
            self.first = Some(first);
        }
        if self.last.is_none_or(|known| last.order() > known.order()) {
            self.last = Some(last);
        }
    }

    fn note_latest(&mut self, point: Option<Edge>) {
        self.latest = self.latest.into_iter().chain(point).reduce(Edge::later);
    }

    /// Takes in the summary of other points of the series.
    pub fn merge(&mut self, other: &Self) {
        self.finite += other.finite;
        self.nan += other.nan;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
        if let (Some(first), Some(last)) = (other.first, other.last) {
            self.note_edges(first, last);
        }
        self.note_latest(other.latest);
        self.min = extreme(self.min, other.min, |a, b| a < b);
        self.max = extreme(self.max, other.max, |a, b| a > b);
        self.sum.merge(&other.sum);
    }

    /// The summary, or `None` without a point.
    pub fn finish(&self) -> Option<Summary> {
        let (first, last) = (self.first?, self.last?);
        let latest = self.latest.unwrap_or(last);
        Some(Summary {
            count: self.count(),
            finite: self.finite,
            nan: self.nan,
            pos_inf: self.pos_inf,
            neg_inf: self.neg_inf,
            first_step: first.step,
            first_time_us: first.time_us,
            first: first.value,
            last_step: last.step,
            last_time_us: last.time_us,
            last: last.value,
            latest_time_us: latest.time_us,
            latest: latest.value,
            min: self.min,
            max: self.max,
            sum: self.sum.get(),
        })
    }
}
