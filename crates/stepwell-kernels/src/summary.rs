//! Aggregates of whole series that merge in any order.

use stepwell_types::{SeriesColumns, Summary};

use crate::CompensatedSum;

/// A summary being built.
#[derive(Debug, Clone, Default)]
pub struct SummaryState {
    finite: u64,
    nan: u64,
    pos_inf: u64,
    neg_inf: u64,
    first: Option<Edge>,
    last: Option<Edge>,
    min: Option<(f64, i64)>,
    max: Option<(f64, i64)>,
    sum: CompensatedSum,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    step: i64,
    lsn: u64,
    time_us: i64,
    value: f64,
}

impl Edge {
    fn order(&self) -> (i64, u64) {
        (self.step, self.lsn)
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
    /// Takes in points of the series, in any order, each once.
    pub fn update(&mut self, points: &SeriesColumns) {
        for i in 0..points.len() {
            let (step, value) = (points.step[i], points.value[i]);
            let edge = Edge { step, lsn: points.lsn[i], time_us: points.timestamp_us[i], value };
            self.note_edges(edge, edge);
            if value.is_finite() {
                self.finite += 1;
                self.sum.add(value);
                self.min = extreme(self.min, Some((value, step)), |a, b| a < b);
                self.max = extreme(self.max, Some((value, step)), |a, b| a > b);
            } else if value.is_nan() {
                self.nan += 1;
            } else if value > 0.0 {
                self.pos_inf += 1;
            } else {
                self.neg_inf += 1;
            }
        }
    }

    fn note_edges(&mut self, first: Edge, last: Edge) {
        if self.first.is_none_or(|known| first.order() < known.order()) {
            self.first = Some(first);
        }
        if self.last.is_none_or(|known| last.order() > known.order()) {
            self.last = Some(last);
        }
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
        self.min = extreme(self.min, other.min, |a, b| a < b);
        self.max = extreme(self.max, other.max, |a, b| a > b);
        self.sum.merge(&other.sum);
    }

    /// The summary, or `None` without a point.
    pub fn finish(&self) -> Option<Summary> {
        let (first, last) = (self.first?, self.last?);
        Some(Summary {
            count: self.finite + self.nan + self.pos_inf + self.neg_inf,
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
            min: self.min,
            max: self.max,
            sum: self.sum.get(),
        })
    }
}
