//! From the bytes of a request to a batch.

use std::{fmt::Write as _, hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_loadgen::{BatchEncoder, Dataset, Shape};
use stepwell_server::{PointsForm, decode_points};

/// What one request may decode to by default.
const LIMIT_BYTES: usize = 256 << 20;

fn arrow(dataset: &Arc<Dataset>, points: u64) -> Vec<u8> {
    BatchEncoder::new(dataset.clone(), points).encode(0, 0).expect("a body")
}

fn ndjson(dataset: &Dataset, points: u64) -> Vec<u8> {
    let (run, metrics) = (dataset.run_id(0), dataset.shape().metrics);
    let mut text = String::new();
    for number in 0..points {
        let point = dataset.point(0, number % metrics, number / metrics);
        let (metric, step, time) = (dataset.metric(number % metrics), point.step, point.timestamp_us);
        let value = if point.value.is_nan() { "\"NaN\"".to_owned() } else { point.value.to_string() };
        let line =
            format!(r#"{{"run_id":"{run}","metric":"{metric}","step":{step},"timestamp":{time},"value":{value}}}"#);
        writeln!(text, "{line}").expect("memory");
    }
    text.into_bytes()
}

fn decode(c: &mut Criterion) {
    for (name, metrics, points) in [("large", 1_000, 10_000), ("small", 50, 50)] {
        let dataset = Arc::new(Dataset::new("bench", Shape { runs: 1, metrics, steps: 100_000 }, 1));
        let mut group = c.benchmark_group(format!("{name} bodies of {points} points"));
        group.throughput(Throughput::Elements(points));
        for (form, body) in
            [(PointsForm::Arrow, arrow(&dataset, points)), (PointsForm::Ndjson, ndjson(&dataset, points))]
        {
            group.bench_function(format!("decode {form:?}"), |b| {
                let decode = |body| decode_points(form, black_box(body), 0, LIMIT_BYTES).expect("a batch");
                b.iter_batched(|| body.clone(), decode, BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
