//! T1 to T4: writing.

use std::time::Duration;

use anyhow::Result;

use super::{
    Figure, millions, ms,
    stage::{ROOMY, Sending, Stage},
};
use crate::{Shape, probe_memory};

/// Counting billions of points afterwards takes longer than queries may by default.
const HOUR: &str = "3600";

/// Large batches for as long as the options say, flushes and compaction keeping up.
pub(super) fn sustained(stage: &Stage) -> Result<Vec<Figure>> {
    let probe = stage.probe()?;
    let running = stage.start(&["--query-timeout-seconds", HOUR])?;
    let sending = Sending { batch: 10_000, connections: 4, rate: None, pipeline: None, duration: stage.sustained };
    let report = running.send("sustained", Shape { runs: 64, metrics: 1_000, steps: 100_000 }, &sending)?;
    let merges = running.server.metric("stepwell_compactions_total")?;
    let per_second = report.bytes as f64 / report.seconds;
    Ok(vec![Figure {
        name: "T1",
        work: format!(
            "sustained ingest, Arrow over HTTP, 10,000-point batches of 1,000 metrics, {:.0} s",
            report.seconds
        ),
        target: "≥ 4 M points/s",
        measured: format!(
            "{} points/s, acknowledged p99 {}",
            millions(report.points_per_second()),
            ms(report.latency.quantile(0.99))
        ),
        beside: format!(
            "disk writes {:.0} MB/s; bodies came at {:.0} MB/s; {merges} merges of segments meanwhile",
            probe.bandwidth / 1e6,
            per_second / 1e6
        ),
    }])
}

/// Huge batches into a memtable that takes them all.
pub(super) fn burst(stage: &Stage) -> Result<Vec<Figure>> {
    let (probe, memory) = (stage.probe()?, probe_memory());
    let running = stage.start(&[&ROOMY[..], &["--queue-bytes", "1073741824"]].concat())?;
    let sending =
        Sending { batch: 100_000, connections: 2, rate: None, pipeline: None, duration: Duration::from_secs(5) };
    let report = running.send("burst", Shape { runs: 64, metrics: 1_000, steps: 100_000 }, &sending)?;
    let (bytes, _) = running.bytes_below("wal")?;
    Ok(vec![Figure {
        name: "T2",
        work: format!("burst into memory, 100,000-point batches, {:.0} s", report.seconds),
        target: "≥ 10 M points/s",
        measured: format!("{} points/s", millions(report.points_per_second())),
        beside: format!(
            "one thread copies memory at {:.1} GB/s, the disk writes {:.0} MB/s; bodies came at {:.0} MB/s, the log was \
             written at {:.0} MB/s, {:.1} bytes a point",
            memory / 1e9,
            probe.bandwidth / 1e6,
            report.bytes as f64 / report.seconds / 1e6,
            bytes as f64 / report.seconds / 1e6,
            bytes as f64 / report.points as f64
        ),
    }])
}

/// Many connections with small batches, at full speed and then at half of it.
pub(super) fn small_writers(stage: &Stage) -> Result<Vec<Figure>> {
    let probe = stage.probe()?;
    let running = stage.start(&[])?;
    let shape = Shape { runs: 1_024, metrics: 50, steps: 100_000 };
    let mut sending = Sending { batch: 50, connections: 256, rate: None, pipeline: None, duration: stage.load };
    let full = running.send("small", shape, &sending)?;
    let running = stage.start(&[])?;
    sending.rate = Some(full.points_per_second() / 2.0);
    let half = running.send("small", shape, &sending)?;
    let running = stage.start(&[])?;
    let streams = Sending { connections: 16, rate: None, pipeline: Some(64), ..sending };
    let streamed = running.send("streams", shape, &streams)?;
    let (fsync, ack) = (probe.latency.quantile(0.99), half.latency.quantile(0.99));
    let fsyncs = 1.0 / probe.latency.quantile(0.5).as_secs_f64();
    Ok(vec![
        Figure {
            name: "T3",
            work: "50-point batches over 256 connections".to_owned(),
            target: "≥ 12,000 durable batches/s",
            measured: format!("{:.0} durable batches/s", full.batches_per_second()),
            beside: format!("one writer without group commit could sync {fsyncs:.0} times a second"),
        },
        Figure {
            name: "T3",
            work: "the same batches over 16 Flight streams, 64 batches in flight on each".to_owned(),
            target: "≥ 2 M points/s",
            measured: format!(
                "{} points/s ({:.0} durable batches/s)",
                millions(streamed.points_per_second()),
                streamed.batches_per_second()
            ),
            beside: format!("acknowledged p99 {}", ms(streamed.latency.quantile(0.99))),
        },
        Figure {
            name: "T4",
            work: "acknowledgement latency at half of T3's rate".to_owned(),
            target: "p99 ≤ 4 × fsync p99",
            measured: format!("p50 {}, p99 {}", ms(half.latency.quantile(0.5)), ms(ack)),
            beside: format!(
                "at {:.0} batches/s; fsync p99 {}; {:.1} times it; the load generator itself sent late by p50 {}, p99 {}",
                half.batches_per_second(),
                ms(fsync),
                ack.as_secs_f64() / fsync.as_secs_f64(),
                ms(half.lag.quantile(0.5)),
                ms(half.lag.quantile(0.99))
            ),
        },
    ])
}
