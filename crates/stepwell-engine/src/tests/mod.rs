//! The engine against a naive model, on the real disk and on one that crashes and fails.

mod cardinality;
mod compaction;
mod deletion;
mod descriptors;
mod faults;
mod health;
mod left_over;
mod manifest;
mod path;
mod reading;
mod rot;
mod simulated;
mod watched;

use std::{path::Path, sync::mpsc, time::Duration};

use stepwell_env::Env;
use stepwell_segment::Names;
use stepwell_types::{Batch, PointFilter, ProducerSequence, SeriesColumns, SeriesKey};

use crate::{CompactionOptions, Engine, EngineConfig, EngineError, IngestAck};

pub(super) fn config(dir: &Path) -> EngineConfig {
    let compaction = CompactionOptions { fan_in: 2, ..CompactionOptions::default() };
    EngineConfig { shards: 2, flush_age: Duration::from_secs(3_600), compaction, ..EngineConfig::new(dir) }
}

pub(super) fn open(env: &Env, dir: &Path) -> Engine {
    Engine::open(env.clone(), config(dir)).unwrap()
}

pub(super) fn key(metric: &str, run: &str) -> SeriesKey {
    SeriesKey::new("1", metric, run)
}

/// Points (metric, run, step, value); the timestamp is the step in seconds.
pub(super) fn batch(points: &[(&str, &str, i64, f64)]) -> Batch {
    let mut series: Vec<SeriesKey> = Vec::new();
    let mut index = Vec::new();
    for (metric, run, ..) in points {
        let key = key(metric, run);
        let known = series.iter().position(|other| *other == key);
        index.push(known.unwrap_or_else(|| {
            series.push(key);
            series.len() - 1
        }) as u32);
    }
    let step: Vec<i64> = points.iter().map(|point| point.2).collect();
    let timestamp_us = step.iter().map(|step| step.wrapping_mul(1_000_000)).collect();
    Batch::new(series, index, step, timestamp_us, points.iter().map(|point| point.3).collect()).unwrap()
}

pub(super) fn producer(name: &str, sequence: u64) -> Option<ProducerSequence> {
    Some(ProducerSequence { producer: name.into(), sequence })
}

pub(super) fn ingest(
    engine: &Engine,
    batch: Batch,
    producer: Option<ProducerSequence>,
) -> Result<IngestAck, EngineError> {
    let (send, receive) = mpsc::channel();
    engine.ingest(batch, producer, move |result| send.send(result).unwrap())?;
    receive.recv().unwrap()
}

pub(super) fn series(engine: &Engine, metric: &str, run: &str) -> SeriesColumns {
    engine.snapshot().series(&key(metric, run), &PointFilter::default()).unwrap()
}

pub(super) fn rows(engine: &Engine) -> usize {
    let scan = engine.snapshot().scan(&PointFilter::default());
    scan.iter()
        .map(|part| part.open(&[3], Names::Views, 100).unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>())
        .sum()
}
