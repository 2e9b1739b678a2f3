//! T5 to T7, T9 and T14: size on disk, a million series, leaderboards, zooming.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_env::{Clock, SystemClock};

use super::{
    Figure, duckdb, millions, ms,
    stage::{PROJECT, Running, Sending, Stage, median},
};
use crate::{Dataset, Shape};

const MIB_64: &str = "67108864";
const GIB_4: &str = "4294967296";
const GIB_24: &str = "25769803776";
const ALL: Sending =
    Sending { batch: 10_000, connections: 4, rate: None, pipeline: None, duration: Duration::from_secs(3_600) };
const ARROW: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/vnd.apache.arrow.stream")];

/// Curves long enough for rollups, flushed often enough to be merged.
pub(super) fn size(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&["--memtable-bytes", MIB_64])?;
    let report = running.send("size", Shape { runs: 20, metrics: 30, steps: 50_000 }, &ALL)?;
    let running = running.flush()?;
    running.wait_for_compaction()?;
    let of = |folder: &str| -> Result<f64> { Ok(running.bytes_below(folder)?.0 as f64 / report.points as f64) };
    let (points, summaries, rollups) = (of("segments")?, of("summaries")?, of("rollups")?);
    let (_, files) = running.bytes_below("segments")?;
    Ok(vec![Figure {
        name: "T5",
        work: "bytes on disk per point after compaction, rollups and summaries included".to_owned(),
        target: "≤ 5.0",
        measured: format!("{:.2}", points + summaries + rollups),
        beside: format!(
            "points {points:.2}, summaries {summaries:.3}, rollups {rollups:.2}; {} points in {files} segments; 24 as plain columns",
            millions(report.points as f64)
        ),
    }])
}

/// A thousand runs of a thousand metrics, all of them live.
pub(super) fn million_series(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[])?;
    let shape = Shape { runs: 1_000, metrics: 1_000, steps: 10_000 };
    let sending = Sending { batch: 10_000, connections: 4, rate: None, pipeline: None, duration: stage.load };
    let report = running.send("million", shape, &sending)?;
    let resident = running.server.resident_bytes_max()? as f64 / f64::from(1 << 30);
    Ok(vec![Figure {
        name: "T6",
        work: format!("a million active series, {:.0} s of 10,000-point batches", report.seconds),
        target: "≤ 2 GiB resident, ≥ half of T1's rate",
        measured: format!("{resident:.2} GiB, {} points/s", millions(report.points_per_second())),
        beside: format!("acknowledged p99 {}", ms(report.latency.quantile(0.99))),
    }])
}

/// The same series, ten points of each, none of them in a segment.
pub(super) fn live(stage: &Stage) -> Result<Vec<Figure>> {
    let running =
        stage.start(&["--memory-bytes", GIB_24, "--memtable-bytes", GIB_4, "--flush-age-seconds", "86400"])?;
    let shape = Shape { runs: 1_000, metrics: 1_000, steps: 10 };
    running.send("live", shape, &ALL)?;
    let series = running.server.metric("stepwell_memtable_series")?;
    let dataset = Dataset::new("live", shape, 0);
    let metric = dataset.metric(shape.metrics - 1);
    let clock = SystemClock::new();
    let http = running.server.http();
    let mut times = Vec::new();
    // Another run each time: nothing is read twice.
    for run in (0..shape.runs).step_by(20) {
        let path = format!("/api/v1/series?project={PROJECT}&run_ids={}&metrics={metric}", dataset.run_id(run));
        let begin = clock.monotonic();
        let reply = http.get(&path)?;
        times.push(clock.monotonic() - begin);
        ensure!(reply.status == 200, "{}", reply.text());
    }
    times.sort();
    let worst = times.last().copied().context("a time")?;
    Ok(vec![Figure {
        name: "T14",
        work: "live read over HTTP: one of a million series in memory".to_owned(),
        target: "≤ 5 ms",
        measured: format!("median {}, slowest of {} {}", ms(times[times.len() / 2]), times.len(), ms(worst)),
        beside: format!("{} series in memory, none in a segment", millions(series)),
    }])
}

/// The best of ten thousand runs.
pub(super) fn leaderboard(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[])?;
    let shape = Shape { runs: 10_000, metrics: 5, steps: 200 };
    running.send("leaderboard", shape, &Sending { batch: 1_000, ..ALL })?;
    let running = running.flush()?;
    let metric = Dataset::new("leaderboard", shape, 0).metric(0);
    let query = format!(
        "SELECT r.run_id, s.min, s.min_step FROM summaries s JOIN runs r ON r.run_id = s.run_id \
         WHERE s.metric = '{metric}' AND r.params['lr'] < 0.01 ORDER BY s.min LIMIT 20"
    );
    let http = running.server.http();
    let time = median(|| http.sql_arrow(PROJECT, &query).map(drop))?;
    let over_points = format!(
        "SELECT run_id, min(value) AS best FROM points WHERE metric = '{metric}' GROUP BY run_id ORDER BY best LIMIT 20"
    );
    Ok(vec![Figure {
        name: "T7",
        work: "leaderboard: best value of one metric over 10,000 runs with a param filter".to_owned(),
        target: "≤ 20 ms",
        measured: ms(time),
        beside: beside(stage, &running, "over the points, no param filter", &over_points)?,
    }])
}

/// Windows of many widths in one long series.
pub(super) fn zoom(stage: &Stage) -> Result<Vec<Figure>> {
    const STEPS: u64 = 10_000_000;
    let running = stage.start(&[])?;
    let shape = Shape { runs: 1, metrics: 1, steps: STEPS };
    running.send("zoom", shape, &Sending { connections: 1, ..ALL })?;
    let running = running.flush()?;
    running.wait_for_compaction()?;
    let dataset = Dataset::new("zoom", shape, 0);
    let (run, metric) = (dataset.run_id(0), dataset.metric(0));
    let http = running.server.http();
    let mut times = Vec::new();
    for (window, from) in
        [STEPS, STEPS / 3, 1_000_000, 100_000, 10_000].into_iter().zip([0, 123_457, 7_654_321, 3_141_592, 9_000_001])
    {
        let body = json!({"project": PROJECT, "run_ids": [run], "metrics": [metric], "buckets": 2_000,
                          "from_step": from, "to_step": from + window});
        let body = body.to_string();
        times.push(median(|| {
            let reply = http.send("POST", "/api/v1/series", &ARROW, body.as_bytes())?;
            ensure!(reply.status == 200, "{}", reply.text());
            Ok(())
        })?);
    }
    let worst = times.iter().max().copied().context("a time")?;
    let all: Vec<String> = times.iter().map(|time| ms(*time)).collect();
    let bucketed = format!(
        "SELECT step // 5000 AS bucket, min(value), max(value), avg(value), count(*) FROM points WHERE metric = '{metric}' GROUP BY 1"
    );
    Ok(vec![Figure {
        name: "T9",
        work: "zoom in one 10,000,000-point series → 2,000 buckets, Arrow over HTTP: the slowest of five windows"
            .to_owned(),
        target: "≤ 10 ms",
        measured: ms(worst),
        beside: format!(
            "all to ten thousand steps: {}; {}",
            all.join(", "),
            beside(stage, &running, "the whole series", &bucketed)?
        ),
    }])
}

fn beside(stage: &Stage, running: &Running, what: &str, query: &str) -> Result<String> {
    let Some(python) = &stage.python else {
        return Ok("no Python with DuckDB: run `cargo xtask test` or give --python".to_owned());
    };
    let time = duckdb::median(python, &running.dir().join("segments"), query)?;
    Ok(format!("DuckDB on the same segments, {what}: {}", ms(time)))
}
