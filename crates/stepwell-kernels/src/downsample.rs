//! Choosing the points of a series that stand for all of them.
//!
//! The points are sorted by step, each step once; what is chosen are rows, rising. Buckets are equal parts of the series' own
//! range of steps.

use std::ops::Range;

use stepwell_types::SeriesColumns;

/// Per bucket the points with the smallest and the largest finite value, the first of each. A bucket without a finite value keeps
/// its first point, so that a spell of NaN does not vanish.
pub fn min_max_rows(points: &SeriesColumns, buckets: usize) -> Vec<usize> {
    let mut rows = Vec::new();
    for bucket in cells(&points.step, buckets) {
        match extremes(points, bucket.clone()) {
            Some((min, max)) => push_distinct(&mut rows, [min, max]),
            None => rows.push(bucket.start),
        }
    }
    rows
}

/// Per bucket the first and the last point, and those with the smallest and the largest finite value: what a line chart of that many
/// pixels shows of all points (Jugel, Jerzak, Hackenbroich, Markl: M4, VLDB 2014).
pub fn m4_rows(points: &SeriesColumns, buckets: usize) -> Vec<usize> {
    let mut rows = Vec::new();
    for bucket in cells(&points.step, buckets) {
        let ends = [bucket.start, bucket.end - 1];
        match extremes(points, bucket) {
            Some((min, max)) => push_distinct(&mut rows, [ends[0], min, max, ends[1]]),
            None => push_distinct(&mut rows, ends),
        }
    }
    rows
}

/// Largest-Triangle-Three-Buckets (Steinarsson 2013): `count` of the points with finite values, the first and the last among them,
/// each of the others the one that makes the largest triangle with the one chosen before it and the mean of those after it. All of
/// them if there are no more, or if `count` is below three.
pub fn lttb_rows(points: &SeriesColumns, count: usize) -> Vec<usize> {
    let finite: Vec<usize> = (0..points.len()).filter(|row| points.value[*row].is_finite()).collect();
    let n = finite.len();
    if count < 3 || n <= count {
        return finite;
    }
    let at = |place: usize| (points.step[finite[place]] as f64, points.value[finite[place]]);
    let every = (n - 2) as f64 / (count - 2) as f64;
    let bound = |bucket: usize| ((bucket as f64 * every) as usize + 1).min(n - 1);
    let mut chosen = vec![0];
    for bucket in 0..count - 2 {
        let next = bound(bucket + 1)..if bucket + 3 == count { n } else { bound(bucket + 2) };
        let mean = mean(next.map(at));
        let last = at(chosen[chosen.len() - 1]);
        let area = |place: &usize| {
            let point = at(*place);
            ((last.0 - mean.0) * (point.1 - last.1) - (last.0 - point.0) * (mean.1 - last.1)).abs()
        };
        let of_bucket = bound(bucket)..bound(bucket + 1);
        // The later of equal ones; sums that overflow compare as equal rather than not at all.
        chosen.extend(of_bucket.max_by(|a, b| area(a).total_cmp(&area(b))));
    }
    chosen.push(n - 1);
    chosen.into_iter().map(|place| finite[place]).collect()
}

fn mean(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let (mut sum, mut count) = ((0.0, 0.0), 0.0);
    for (x, y) in points {
        sum = (sum.0 + x, sum.1 + y);
        count += 1.0;
    }
    (sum.0 / count, sum.1 / count)
}

/// The rows of each bucket that has any.
fn cells(steps: &[i64], buckets: usize) -> impl Iterator<Item = Range<usize>> {
    let first = steps.first().map_or(0, |first| i128::from(*first));
    let span = steps.last().map_or(0, |last| i128::from(*last) - first) + 1;
    let width = (span + buckets.max(1) as i128 - 1) / buckets.max(1) as i128;
    let mut begin = 0;
    std::iter::from_fn(move || {
        let step = *steps.get(begin)?;
        let end_step = first + ((i128::from(step) - first) / width + 1) * width;
        let end = begin + steps[begin..].partition_point(|step| i128::from(*step) < end_step);
        Some(std::mem::replace(&mut begin, end)..end)
    })
}

/// The first rows with the smallest and the largest finite value.
fn extremes(points: &SeriesColumns, rows: Range<usize>) -> Option<(usize, usize)> {
    let value = &points.value;
    let mut found: Option<(usize, usize)> = None;
    for row in rows.filter(|row| value[*row].is_finite()) {
        let (min, max) = found.unwrap_or((row, row));
        found =
            Some((if value[row] < value[min] { row } else { min }, if value[row] > value[max] { row } else { max }));
    }
    found
}

/// Appends rows in order, each once.
fn push_distinct<const N: usize>(rows: &mut Vec<usize>, mut chosen: [usize; N]) {
    chosen.sort_unstable();
    for row in chosen {
        if rows.last() != Some(&row) {
            rows.push(row);
        }
    }
}

#[cfg(test)]
mod tests;
