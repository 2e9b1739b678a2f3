//! What charts and leaderboards are made of.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stepwell_benches::series;
use stepwell_kernels::{Grid, RollupBuilder, Smoothing, SummaryState, XAxis, area_under, bucketize, rollup_levels};

const POINTS: u64 = 1_000_000;

fn reading(c: &mut Criterion) {
    let points = series(POINTS);
    let mut group = c.benchmark_group(format!("series of {POINTS} points"));
    group.sample_size(20).throughput(Throughput::Elements(POINTS));
    group.bench_function("buckets", |b| {
        let grid = Grid::covering(0, POINTS as i64 - 1, 1_000);
        b.iter(|| bucketize(black_box(&points), XAxis::Step, i64::MIN, i64::MAX, grid));
    });
    group.bench_function("buckets by time", |b| {
        let (first, last) = (points.timestamp_us[0], points.timestamp_us[points.len() - 1]);
        let grid = Grid::covering(first, last, 1_000);
        b.iter(|| bucketize(black_box(&points), XAxis::Time, i64::MIN, i64::MAX, grid));
    });
    group.bench_function("buckets merged, a thousand to one", |b| {
        let cells = bucketize(&points, XAxis::Step, i64::MIN, i64::MAX, Grid::new(0));
        b.iter(|| {
            let merged = cells.chunks(1_000).map(|cells| {
                let (mut whole, rest) = (cells[0], &cells[1..]);
                rest.iter().for_each(|cell| whole.merge(cell));
                whole.finish()
            });
            merged.map(|bucket| bucket.count).sum::<u64>()
        });
    });
    group.bench_function("smoothing", |b| {
        b.iter(|| {
            let mut smoothing = Smoothing::new(0.6).expect("a weight");
            points.value.iter().map(|value| smoothing.next(*value)).sum::<f64>()
        });
    });
    group.bench_function("rollups", |b| {
        b.iter(|| {
            let levels = rollup_levels(POINTS, 0, POINTS as i64 - 1).expect("levels");
            let (mut builder, mut cells) = (RollupBuilder::new(levels), 0);
            builder.push(black_box(&points), |_, complete| cells += complete.len());
            builder.finish(|_, complete| cells += complete.len());
            cells
        });
    });
    group.bench_function("summary", |b| {
        b.iter(|| {
            let mut state = SummaryState::default();
            state.update(black_box(&points));
            state
        });
    });
    group.bench_function("area", |b| {
        b.iter(|| area_under(points.step.iter().copied().zip(points.value.iter().copied())));
    });
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
