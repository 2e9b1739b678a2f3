//! Chosen points, and aligned series, against brute force.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Alignment, align, grid_steps};

fn series() -> impl Strategy<Value = SeriesColumns> {
    let step = prop_oneof![-50i64..50, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    let value = prop_oneof![-9.0..9.0, Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(f64::MAX)];
    prop::collection::btree_map(step, value, 0..60).prop_map(|points: BTreeMap<i64, f64>| {
        let mut columns = SeriesColumns::default();
        points.into_iter().for_each(|(step, value)| columns.push(step, 0, value, 1));
        columns
    })
}

/// Rows by the bucket that their step is in.
fn by_bucket(points: &SeriesColumns, buckets: usize) -> Vec<Vec<usize>> {
    let Some(first) = points.step.first().map(|step| i128::from(*step)) else { return Vec::new() };
    let span = i128::from(points.step[points.len() - 1]) - first + 1;
    let width = (span + buckets as i128 - 1) / buckets as i128;
    let mut of_bucket: BTreeMap<i128, Vec<usize>> = BTreeMap::new();
    for row in 0..points.len() {
        of_bucket.entry((i128::from(points.step[row]) - first) / width).or_default().push(row);
    }
    of_bucket.into_values().collect()
}

fn bound(points: &SeriesColumns, rows: &[usize], better: fn(f64, f64) -> bool) -> Option<f64> {
    let finite = rows.iter().map(|row| points.value[*row]).filter(|value| value.is_finite());
    finite.reduce(|a, b| if better(b, a) { b } else { a })
}

proptest! {
    #[test]
    fn each_bucket_keeps_its_exact_extremes_and_m4_its_ends(points in series(), buckets in 1usize..20) {
        for (rows, has_ends) in [(min_max_rows(&points, buckets), false), (m4_rows(&points, buckets), true)] {
            prop_assert!(rows.is_sorted_by(|a, b| a < b));
            let mut left = rows.as_slice();
            for all in by_bucket(&points, buckets) {
                let (chosen, rest) = left.split_at(left.partition_point(|row| *row <= all[all.len() - 1]));
                left = rest;
                let most = if has_ends { 4 } else { 2 };
                prop_assert!((1..=most).contains(&chosen.len()));
                for better in [|a, b| a < b, |a: f64, b: f64| a > b] {
                    prop_assert_eq!(bound(&points, chosen, better), bound(&points, &all, better));
                }
                if has_ends {
                    prop_assert_eq!((chosen[0], chosen[chosen.len() - 1]), (all[0], all[all.len() - 1]));
                }
            }
            prop_assert!(left.is_empty());
        }
    }

    #[test]
    fn lttb_keeps_the_ends_and_the_count(points in series(), count in 0usize..40) {
        let finite: Vec<usize> = (0..points.len()).filter(|row| points.value[*row].is_finite()).collect();
        let rows = lttb_rows(&points, count);
        prop_assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|row| finite.contains(row)));
        prop_assert_eq!(rows.len(), if count < 3 { finite.len() } else { finite.len().min(count) });
        prop_assert_eq!((rows.first(), rows.last()), (finite.first(), finite.last()));
    }

    #[test]
    fn aligned_series_equal_a_look_at_every_point(points in series(), grid in prop_oneof![1i64..9, 1i64 << 55..i64::MAX]) {
        let (Some(&first), Some(&last)) = (points.step.first(), points.step.last()) else { return Ok(()) };
        prop_assume!(grid_steps(first, last, grid) <= 2_000);
        for alignment in [Alignment::Last, Alignment::Linear] {
            let aligned = align(&points, grid, alignment);
            prop_assert_eq!(aligned.len() as u64, grid_steps(first, last, grid));
            prop_assert!(aligned.windows(2).all(|pair| i128::from(pair[1].0) - i128::from(pair[0].0) == i128::from(grid)));
            for (step, value) in aligned {
                prop_assert!(step % grid == 0 && (first..=last).contains(&step));
                let before = points.step.iter().rposition(|known| *known <= step).unwrap();
                let is_exact = points.step[before] == step || alignment == Alignment::Last;
                if is_exact {
                    prop_assert_eq!(value.to_bits(), points.value[before].to_bits());
                } else if points.value[before].is_finite() && points.value[before + 1].is_finite() {
                    let ends = [points.value[before], points.value[before + 1]];
                    prop_assert!(value >= ends[0].min(ends[1]) - 1e-9 * ends[0].abs() && value <= ends[0].max(ends[1]) + 1e-9 * ends[1].abs());
                }
            }
        }
    }
}

#[test]
fn lttb_chooses_the_spike() {
    let mut points = SeriesColumns::default();
    (0..100).for_each(|step| points.push(step, 0, if step == 42 { 50.0 } else { 1.0 }, 1));
    let rows = lttb_rows(&points, 10);
    assert!(rows.contains(&42) && rows.len() == 10);
}
