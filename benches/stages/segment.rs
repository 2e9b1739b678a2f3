//! Writing segments, reading them, merging them.

use std::sync::{Arc, mpsc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stepwell_benches::{batch, series};
use stepwell_engine::{CompactionOptions, Engine, EngineConfig};
use stepwell_env::{Disk, Env, RealDisk};
use stepwell_segment::{FooterCache, Names, SEGMENT_DIRS, Segment, SegmentOptions, SegmentWriter};
use stepwell_types::{PointFilter, SegmentMeta, SeriesKey};

const SERIES: u64 = 100;
const POINTS: u64 = 10_000;

fn write(dir: &std::path::Path, name: &str) -> SegmentMeta {
    let points = series(POINTS);
    let options = SegmentOptions::default();
    let mut writer = SegmentWriter::create(Arc::new(RealDisk), dir, name, &options).expect("a writer");
    for run in 0..SERIES {
        writer.write(&SeriesKey::new("1", "loss", format!("run-{run:05}")), &points).expect("a series");
    }
    writer.finish().expect("a segment")
}

fn segment(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    SEGMENT_DIRS.iter().for_each(|name| std::fs::create_dir(dir.path().join(name)).expect("a directory"));
    let mut group = c.benchmark_group(format!("segment of {SERIES} series of {POINTS} points"));
    group.sample_size(10).throughput(Throughput::Elements(SERIES * POINTS));
    group.bench_function("write, synced", |b| b.iter(|| write(dir.path(), "1.parquet")));
    let meta = write(dir.path(), "2.parquet");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let segment = Segment::open(&disk, dir.path(), &meta, &FooterCache::new(1 << 30)).expect("a segment");
    group.bench_function("scan, all columns", |b| {
        b.iter(|| {
            segment.scan(&PointFilter::default(), &[0, 1, 2, 3, 4, 5, 6], Names::Views, 8_192).expect("a scan").count()
        });
    });
    group.bench_function("scan, step and value", |b| {
        b.iter(|| segment.scan(&PointFilter::default(), &[3, 5], Names::Views, 8_192).expect("a scan").count());
    });
    group.throughput(Throughput::Elements(SERIES));
    group.bench_function("summaries", |b| b.iter(|| segment.summaries(&PointFilter::default()).expect("summaries")));
    group.finish();
}

fn merge(c: &mut Criterion) {
    const BATCHES: u64 = 20;
    let batch = batch(1_000, 50).expect("a batch");
    let mut group = c.benchmark_group("compaction");
    group.sample_size(10).throughput(Throughput::Elements(BATCHES * batch.len() as u64));
    group.bench_function("ingest, flush, merge two segments", |b| {
        b.iter_with_large_drop(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let compaction = CompactionOptions { fan_in: 2, ..CompactionOptions::default() };
            let config = EngineConfig { compaction, ..EngineConfig::new(dir.path()) };
            let engine = Engine::open(Env::real(), config).expect("an engine");
            for number in 1..=BATCHES {
                let (send, receive) = mpsc::channel();
                engine.ingest(batch.clone(), None, move |ack| drop(send.send(ack))).expect("a place in the queue");
                receive.recv().expect("an answer").expect("an acknowledgement");
                if number % (BATCHES / 2) == 0 {
                    engine.flush().expect("a flush");
                }
            }
            engine.wait_for_compaction();
            engine.shutdown().expect("a stop");
            dir
        });
    });
    group.finish();
}

criterion_group!(benches, segment, merge);
criterion_main!(benches);
