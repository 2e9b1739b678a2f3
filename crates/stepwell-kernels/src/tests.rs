//! Buckets and summaries against brute force.

use proptest::prelude::*;
use stepwell_types::{Bucket, SeriesColumns};

use crate::{BucketState, Grid, RollupBuilder, SummaryState, XAxis, bucketize, rollup_level_for, rollup_levels};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), -10.0..10.0, Just(f64::NAN), Just(-0.0), Just(f64::NEG_INFINITY)]
}

fn x() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -20i64..20, Just(i64::MIN), Just(i64::MAX)]
}

/// Values among which there are ties.
fn latest_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(-1.0),
        Just(1.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ]
}

fn columns(points: &[(i64, i64, f64)]) -> SeriesColumns {
    let mut columns = SeriesColumns::default();
    for (lsn, (step, time_us, value)) in (1..).zip(points) {
        columns.push(*step, *time_us, *value, lsn);
    }
    columns.sort();
    columns
}

fn extremes(values: &[(f64, i64)]) -> (f64, f64) {
    let finite = || values.iter().map(|v| v.0).filter(|v| v.is_finite());
    (finite().fold(f64::NAN, f64::min), finite().fold(f64::NAN, f64::max))
}

fn check(bucket: &Bucket, points: &[(f64, i64)]) {
    let count = |test: fn(&f64) -> bool| points.iter().filter(|p| test(&p.0)).count() as u64;
    let (min, max) = extremes(points);
    assert_eq!(bucket.count, points.len() as u64);
    assert_eq!(bucket.finite, count(|v| v.is_finite()));
    assert_eq!(bucket.nan, count(|v| v.is_nan()));
    assert_eq!(bucket.pos_inf, count(|v| *v == f64::INFINITY));
    assert!(bucket.min == min || (bucket.min.is_nan() && min.is_nan()));
    assert!(bucket.max == max || (bucket.max.is_nan() && max.is_nan()));
    assert_eq!(bucket.first.to_bits(), points[0].0.to_bits());
    assert_eq!(bucket.last.to_bits(), points[points.len() - 1].0.to_bits());
    if bucket.finite > 0 {
        assert_eq!(Some(bucket.min_step), points.iter().find(|p| p.0 == min).map(|p| p.1));
        assert_eq!(Some(bucket.max_step), points.iter().find(|p| p.0 == max).map(|p| p.1));
    }
}

proptest! {
    #[test]
    fn buckets_equal_brute_force(points in prop::collection::vec((x(), x(), value()), 0..80), a in x(), b in x(), n in 1usize..30, by_time in any::<bool>()) {
        let (from, to) = (a.min(b), a.max(b));
        let columns = columns(&points);
        let axis = if by_time { XAxis::Time } else { XAxis::Step };
        let grid = Grid::covering(from, to, n);
        prop_assert!(grid.cells(from, to) <= n.max(2) as u64);
        let got: Vec<Bucket> = bucketize(&columns, axis, from, to, grid).iter().map(BucketState::finish).collect();
        let mut rows: Vec<usize> = (0..columns.len()).collect();
        if by_time {
            rows.sort_by_key(|&i| (columns.timestamp_us[i], columns.lsn[i]));
        }
        let mut expected: Vec<(i64, Vec<(f64, i64)>)> = Vec::new();
        for i in rows {
            let x = if by_time { columns.timestamp_us[i] } else { columns.step[i] };
            if !(from..=to).contains(&x) {
                continue;
            }
            let index = x.div_euclid(1 << grid.level().min(62)).div_euclid(if grid.level() == 63 { 2 } else { 1 });
            let (low, high) = grid.bounds(index);
            prop_assert!((low..=high).contains(&x));
            let point = (columns.value[i], columns.step[i]);
            match expected.last_mut() {
                Some((last, rows)) if *last == index => rows.push(point),
                _ => expected.push((index, vec![point])),
            }
        }
        prop_assert_eq!(got.len(), expected.len());
        for (bucket, (_, points)) in got.iter().zip(&expected) {
            check(bucket, points);
        }
    }

    /// Rollups of any level, merged into a chart's cells, are what the points give (I6: the last of each step).
    #[test]
    fn i6_rollups_equal_brute_force(points in prop::collection::vec((0i64..5_000, x(), value()), 1..400), cut in 0usize..400, wanted in 5u32..20) {
        let all = columns(&points);
        let mut last = all.clone();
        last.keep_last_per_step();
        let mut builder = RollupBuilder::new((5, 14));
        let mut stored: Vec<(u32, BucketState)> = Vec::new();
        let cut = cut.min(all.len());
        for range in [0..cut, cut..all.len()] {
            let mut part = SeriesColumns::default();
            part.append_range(&all, range);
            builder.push(&part, |level, cells| stored.extend(cells.iter().map(|cell| (level, *cell))));
        }
        builder.finish(|level, cells| stored.extend(cells.iter().map(|cell| (level, *cell))));
        prop_assert!(stored.is_sorted_by_key(|(level, cell)| (*level, cell.parts().0.first_step)));
        let grid = Grid::new(wanted);
        let level = rollup_level_for(grid, (5, 14)).unwrap();
        let mut merged: Vec<BucketState> = Vec::new();
        for (_, cell) in stored.iter().filter(|(of, _)| *of == level) {
            match merged.last_mut() {
                Some(open) if grid.cell(open.parts().0.first_step) == grid.cell(cell.parts().0.first_step) => open.merge(cell),
                _ => merged.push(*cell),
            }
        }
        let brute = bucketize(&last, XAxis::Step, i64::MIN, i64::MAX, grid);
        prop_assert_eq!(merged.len(), brute.len());
        for (merged, brute) in merged.iter().zip(&brute) {
            let (merged, brute) = (merged.finish(), brute.finish());
            let scale = brute.min.abs().max(brute.max.abs()) * brute.finite as f64;
            // Infinite where the values pass the range of doubles; else equal but for the last bit.
            prop_assert!(!scale.is_finite() || brute.finite == 0 || (merged.sum - brute.sum).abs() <= scale * 1e-15);
            let bits = |b: Bucket| format!("{:?}", Bucket { sum: 0.0, ..b });
            prop_assert_eq!(bits(merged), bits(brute));
        }
    }

    #[test]
    fn summaries_merge_in_any_order(points in prop::collection::vec((x(), x(), value()), 1..60), cut in 0usize..60) {
        let all = columns(&points);
        let mut whole = SummaryState::default();
        whole.update(&all);
        let part = |range: std::ops::Range<usize>| {
            let mut state = SummaryState::default();
            let mut some = SeriesColumns::default();
            range.for_each(|i| some.push(all.step[i], all.timestamp_us[i], all.value[i], all.lsn[i]));
            state.update(&some);
            state
        };
        let cut = cut.min(all.len());
        let mut merged = part(cut..all.len());
        merged.merge(&part(0..cut));
        let (whole, merged) = (whole.finish().unwrap(), merged.finish().unwrap());
        prop_assert_eq!((whole.count, whole.min, whole.max), (merged.count, merged.min, merged.max));
        prop_assert_eq!((whole.first.to_bits(), whole.last.to_bits()), (merged.first.to_bits(), merged.last.to_bits()));
        prop_assert_eq!(whole.first.to_bits(), all.value[0].to_bits());
        prop_assert_eq!((whole.last_step, whole.last_time_us), (all.step[all.len() - 1], all.timestamp_us[all.len() - 1]));
    }

    /// A store that compares each point with the one it holds, as it comes, and a retry sends some again: the order of arrival decides
    /// between points that are alike but for their bits, nothing else does.
    #[test]
    fn the_latest_is_that_of_a_store_that_compares_as_points_come(
        points in prop::collection::vec((0i64..3, 0i64..3, latest_value()), 1..40), cuts in prop::collection::vec(0usize..60, 0..4), again in 0usize..40) {
        let mut sent = points.clone();
        sent.extend_from_slice(&points[again.min(points.len())..]);
        let stored = |value: f64| if value.is_nan() { 0.0 } else { value };
        let mut held = sent[0];
        for point in &sent {
            if (point.0, point.1, stored(point.2)) > (held.0, held.1, stored(held.2)) {
                held = *point;
            }
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.len())).chain([0, sent.len()]).collect();
        cuts.sort_unstable();
        let mut states: Vec<SummaryState> = Vec::new();
        for range in cuts.windows(2) {
            let mut part = SeriesColumns::default();
            (range[0]..range[1]).for_each(|i| part.push(sent[i].0, sent[i].1, sent[i].2, i as u64 + 1));
            part.sort();
            let mut state = SummaryState::default();
            state.update(&part);
            states.push(state);
        }
        let mut merged = SummaryState::default();
        states.iter().rev().for_each(|state| merged.merge(state));
        let summary = merged.finish().unwrap();
        prop_assert_eq!((summary.last_step, summary.latest_time_us, summary.latest.to_bits()), (held.0, held.1, held.2.to_bits()));
    }
}

#[test]
fn a_one_step_spike_and_tiny_terms_survive() {
    let points: Vec<_> = (0..100_000).map(|i| (i, i, if i == 54_321 { 1e16 } else { 1.0 })).collect();
    let grid = Grid::covering(0, 99_999, 100);
    let buckets = bucketize(&columns(&points), XAxis::Step, 0, 99_999, grid);
    let buckets: Vec<Bucket> = buckets.iter().map(BucketState::finish).collect();
    let spiked: Vec<_> = buckets.iter().filter(|b| b.max > 1.0).collect();
    assert_eq!((grid.level(), buckets.len(), spiked.len(), spiked[0].max_step), (10, 98, 1, 54_321));
    assert_eq!(spiked[0].sum, 1e16 + 1_023.0, "the small terms are not lost beside the large one");
}

#[test]
fn levels_fit_the_density_of_a_series() {
    assert_eq!(rollup_levels(4_095, 0, 4_094), None, "a chart reads so few points");
    assert_eq!(rollup_levels(100_000, 0, 99_999), Some((7, 13)));
    assert_eq!(rollup_levels(10_000_000, 0, 9_999_999), Some((7, 19)));
    assert_eq!(rollup_levels(100_000, 0, 9_999_900), Some((13, 19)), "every hundredth step");
    assert_eq!(rollup_levels(5_000, i64::MIN, i64::MAX), Some((58, 61)));
    assert_eq!(rollup_level_for(Grid::new(6), (7, 13)), None);
    assert_eq!(rollup_level_for(Grid::new(9), (7, 13)), Some(7));
    assert_eq!(rollup_level_for(Grid::new(13), (7, 13)), Some(13));
    assert_eq!(rollup_level_for(Grid::new(40), (7, 13)), Some(13));
}

#[test]
fn smoothing_is_debiased_and_passes_what_is_not_finite() {
    let mut smoothing = crate::Smoothing::new(0.5).unwrap();
    // By hand: 4; (4/4 + 8/2) / (3/4); then a NaN; (5/2 + 1/2) / (7/8).
    assert_eq!(smoothing.next(4.0), 4.0);
    assert_eq!(smoothing.next(8.0), (1.0 + 4.0) / 0.75);
    assert!(smoothing.next(f64::NAN).is_nan());
    assert_eq!(smoothing.next(1.0), 3.0 / 0.875);
    assert!(crate::Smoothing::new(1.0).is_none() && crate::Smoothing::new(-0.1).is_none());
}

#[test]
fn areas_are_trapezoids_between_finite_points() {
    assert_eq!(crate::area_under([(0, 1.0), (2, 3.0), (3, f64::NAN), (4, 3.0)].into_iter()), Some(4.0 + 6.0));
    assert_eq!(crate::area_under([(0, 1.0)].into_iter()), None);
    assert!(crate::area_under([(i64::MIN, 1.0), (i64::MAX, 1.0)].into_iter()).unwrap() > 1.8e19);
}
