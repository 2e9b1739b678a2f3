//! From a decoded batch to memory, and out of it to the flush.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_benches::batch;
use stepwell_memtable::{Memtable, Rows};
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
            let memtable = Arc::new(Memtable::new());
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
                    out.clear();
                    view.read(&handle, &PointFilter::default(), &mut out);
                    black_box(&out);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, ingest);
criterion_main!(benches);
