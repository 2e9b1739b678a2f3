//! What is made of points, made again in the plainest way.

use stepwell_types::{Bucket, Summary};

use crate::model::Seen;

fn value(point: &Seen) -> f64 {
    f64::from_bits(point.bits)
}

/// The points of a series in order, of each step the last written alone.
pub(crate) fn last_per_step(points: &[Seen]) -> Vec<Seen> {
    let mut kept: Vec<Seen> = Vec::new();
    for point in points {
        if kept.last().is_some_and(|last| last.step == point.step) {
            kept.pop();
        }
        kept.push(*point);
    }
    kept
}

/// Whether a sum is the sum of these, as exactly as floating point can say whatever the order.
fn is_sum(sum: f64, of: &[f64]) -> bool {
    let size: f64 = of.iter().map(|value| value.abs()).sum();
    let expected: f64 = of.iter().sum();
    !size.is_finite() || (sum - expected).abs() <= size * 1e-12 || sum == expected
}

/// Finite values, and numbers of NaN, +Inf and -Inf.
fn kinds(points: &[Seen]) -> (Vec<f64>, [u64; 3]) {
    let finite: Vec<f64> = points.iter().map(value).filter(|value| value.is_finite()).collect();
    let count = |test: fn(f64) -> bool| points.iter().filter(|point| test(value(point))).count() as u64;
    (finite, [count(f64::is_nan), count(|v| v == f64::INFINITY), count(|v| v == f64::NEG_INFINITY)])
}

/// The extreme of the finite values, and the smallest step at which it is.
fn extreme(points: &[Seen], is_beyond: fn(f64, f64) -> bool) -> Option<(f64, i64)> {
    let mut best: Option<(f64, i64)> = None;
    for point in points.iter().filter(|point| value(point).is_finite()) {
        if best.is_none_or(|(known, _)| is_beyond(value(point), known)) {
            best = Some((value(point), point.step));
        }
    }
    best
}

/// The first written of those with the largest (step, time, value), of which a NaN counts as zero.
fn latest(points: &[Seen]) -> Option<&Seen> {
    let key = |point: &Seen| {
        let value = f64::from_bits(point.bits);
        (point.step, point.timestamp_us, if value.is_nan() { 0.0 } else { value })
    };
    let mut by_arrival: Vec<&Seen> = points.iter().collect();
    by_arrival.sort_by_key(|point| point.lsn);
    let later = |held, point| if key(point) > key(held) { point } else { held };
    by_arrival.into_iter().reduce(later)
}

/// What is wrong with a summary of these points, which are sorted by (step, LSN).
pub(crate) fn check_summary(summary: &Summary, points: &[Seen]) -> Result<(), String> {
    let (finite, [nan, pos_inf, neg_inf]) = kinds(points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Err("of no point".to_owned()) };
    let counts = [points.len() as u64, finite.len() as u64, nan, pos_inf, neg_inf];
    let edges = [(first.step, first.timestamp_us, first.bits), (last.step, last.timestamp_us, last.bits)];
    let latest = latest(points).map(|latest| (latest.timestamp_us, latest.bits));
    let is_right = [summary.count, summary.finite, summary.nan, summary.pos_inf, summary.neg_inf] == counts
        && Some((summary.latest_time_us, summary.latest.to_bits())) == latest
        && [
            (summary.first_step, summary.first_time_us, summary.first.to_bits()),
            (summary.last_step, summary.last_time_us, summary.last.to_bits()),
        ] == edges
        && summary.min == extreme(points, |a, b| a < b)
        && summary.max == extreme(points, |a, b| a > b)
        && is_sum(summary.sum, &finite);
    if is_right { Ok(()) } else { Err(format!("{summary:?} is not of {} points {first:?} … {last:?}", points.len())) }
}

/// What is wrong with buckets that are to be of these points, one of each step.
pub(crate) fn check_buckets(buckets: &[Bucket], points: &[Seen]) -> Result<(), String> {
    let mut rest = points;
    for bucket in buckets {
        let count = usize::try_from(bucket.count).unwrap_or(usize::MAX).min(rest.len());
        let (inside, after) = rest.split_at(count);
        rest = after;
        check_bucket(bucket, inside)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{} points are in no bucket", rest.len())) }
}

fn check_bucket(bucket: &Bucket, points: &[Seen]) -> Result<(), String> {
    let (finite, [nan, pos_inf, neg_inf]) = kinds(points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Err("an empty bucket".to_owned()) };
    let counts = [points.len() as u64, finite.len() as u64, nan, pos_inf, neg_inf];
    let edges = [(first.step, first.timestamp_us, first.bits), (last.step, last.timestamp_us, last.bits)];
    let has_extremes = match (extreme(points, |a, b| a < b), extreme(points, |a, b| a > b)) {
        (Some(min), Some(max)) => (bucket.min, bucket.min_step) == min && (bucket.max, bucket.max_step) == max,
        _ => bucket.min.is_nan() && bucket.max.is_nan(),
    };
    let is_right = [bucket.count, bucket.finite, bucket.nan, bucket.pos_inf, bucket.neg_inf] == counts
        && [
            (bucket.first_step, bucket.first_time_us, bucket.first.to_bits()),
            (bucket.last_step, bucket.last_time_us, bucket.last.to_bits()),
        ] == edges
        && has_extremes
        && is_sum(bucket.sum, &finite);
    if is_right { Ok(()) } else { Err(format!("{bucket:?} is not of {} points {first:?} … {last:?}", points.len())) }
}
