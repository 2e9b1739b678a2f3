//! From a decoded batch to memory, and out of it to the flush.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_benches::{batch, series};
use stepwell_memtable::{Memtable, Rows, SlabPool};
use stepwell_types::{Lsn, PointFilter, SeriesColumns};
use stepwell_wal::encode_frame;

const BATCHES: u64 = 100;

fn ingest(c: &mut Criterion) {
    for (name, metrics, rows) in [("large", 1_000, 10), ("small", 50, 1)] {
        let batch = batch(metrics, rows).expect("a batch");
        let points = batch.len() as u64;
        let mut group = c.benchmark_group(format!("{name} batches of {points} points"));
        group.throughput(Throughput::Elements(points));
        group.bench_function("log frame", |b| b.iter(|| encode_frame(black_box(&batch), None)));
        group.throughput(Throughput::Elements(points * BATCHES));
        let insert = || {
            let memtable = Arc::new(Memtable::new(SlabPool::default()));
            (0..BATCHES).for_each(|i| memtable.insert(&batch, Lsn(1 + i * points), Rows::All));
            memtable
        };
        group.bench_function("memtable insert", |b| b.iter_batched(|| (), |()| insert(), BatchSize::LargeInput));
        let memtable = insert();
        group.bench_function("memtable read, all series", |b| {
            b.iter(|| {
                let view = memtable.view(Lsn(u64::MAX));
                let mut out = SeriesColumns::default();
                for handle in view.series(&PointFilter::default()) {
                    let mut parts = view.parts(&handle, &PointFilter::default());
                    while parts.read(&mut out) {
                        black_box(&out);
                        out.clear();
                    }
                }
            });
        });
        group.finish();
    }
}

/// A point each of many series: what it costs to find where a series has its rows, new and known.
fn intern(c: &mut Criterion) {
    const SERIES: u64 = 100_000;
    let batch = batch(SERIES, 1).expect("a batch");
    let mut group = c.benchmark_group(format!("a point of each of {SERIES} series"));
    group.sample_size(20).throughput(Throughput::Elements(SERIES));
    group.bench_function("intern, all new", |b| {
        b.iter_batched(
            || Memtable::new(SlabPool::default()),
            |memtable| {
                memtable.insert(&batch, Lsn(1), Rows::All);
                memtable
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("intern, all known", |b| {
        let known = || {
            let memtable = Memtable::new(SlabPool::default());
            memtable.insert(&batch, Lsn(1), Rows::All);
            memtable
        };
        b.iter_batched(
            known,
            |memtable| {
                memtable.insert(&batch, Lsn(1 + SERIES), Rows::All);
                memtable
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Points of one series by step: as they mostly come, after a restart that repeats some, and from many writers at once.
fn sort(c: &mut Criterion) {
    const POINTS: u64 = 100_000;
    let in_order = series(POINTS);
    let mut restarted = series(POINTS / 10 * 6);
    restarted.append_range(&in_order, POINTS as usize / 2..POINTS as usize);
    let mut shuffled = SeriesColumns::default();
    for i in 0..POINTS as usize {
        // A prime that does not divide the number of points visits each of them once.
        let row = i * 7_919 % POINTS as usize;
        shuffled.append_range(&in_order, row..row + 1);
    }
    let mut group = c.benchmark_group(format!("sort a series of {POINTS} points"));
    group.throughput(Throughput::Elements(POINTS));
    for (name, columns) in [("in order", in_order), ("restarted", restarted), ("shuffled", shuffled)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || columns.clone(),
                |mut columns| {
                    columns.sort();
                    columns
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, ingest, intern, sort);
criterion_main!(benches);
