//! T5 to T7, T9 and T14: size on disk, a million series, leaderboards, zooming.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use stepwell_env::{Clock, SystemClock};

use super::{
    Figure, ask, duckdb, millions, ms,
    stage::{ALL, PROJECT, ROOMY, Running, Sending, Stage},
    stored::Stored,
};
use crate::{Dataset, Resident, Shape};

const MIB_64: &str = "67108864";

/// Curves long enough for rollups, flushed often enough to be merged; and the same written at once, which is what merging
/// comes to in the end.
pub(super) fn size(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&["--memtable-bytes", MIB_64])?;
    let merged = stored(running)?;
    let running = stage.start(&[&ROOMY[..], &["--flush-age-seconds", "86400"]].concat())?;
    let whole = stored(running)?;
    ensure!(whole.files == 1, "{} segments where one was due", whole.files);
    Ok(vec![Figure {
        name: "T5",
        work: "bytes on disk per point after compaction, rollups and summaries included".to_owned(),
        target: "≤ 5.0",
        measured: format!("{:.2}; {:.2} with all in one segment", merged.total(), whole.total()),
        beside: format!("{merged}; {whole}; 24 as plain columns"),
    }])
}

fn stored(running: Running) -> Result<Stored> {
    let report = running.send("size", Shape { runs: 20, metrics: 30, steps: 50_000 }, &ALL)?;
    let running = running.flush()?;
    running.wait_for_compaction()?;
    Stored::of(&running, report.points)
}

/// A thousand runs of a thousand metrics, all of them live.
pub(super) fn million_series(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[])?;
    let shape = Shape { runs: 1_000, metrics: 1_000, steps: 10_000 };
    let sending = Sending { batch: 10_000, connections: 4, rate: None, pipeline: None, duration: stage.load };
    let report = running.send("million", shape, &sending)?;
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let most = gib(running.server.resident_bytes_max()?);
    let Resident { all, anon, file } = Resident::of(running.server.id())?;
    Ok(vec![Figure {
        name: "T6",
        work: format!("a million active series, {:.0} s of 10,000-point batches", report.seconds),
        target: "≤ 2 GiB resident, ≥ half of T1's rate",
        measured: format!("{most:.2} GiB, {} points/s", millions(report.points_per_second())),
        beside: format!(
            "VmRSS {:.2} GiB at the end: RssAnon {:.2}, RssFile {:.2}; acknowledged p99 {}",
            gib(all),
            gib(anon),
            gib(file),
            ms(report.latency.quantile(0.99))
        ),
    }])
}

/// The same series, ten points of each, none of them in a segment.
pub(super) fn live(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[&ROOMY[..], &["--flush-age-seconds", "86400"]].concat())?;
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
    let time = ask::sql(&running, &ask::leaderboard(&metric))?;
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
    let mut times = Vec::new();
    for (window, from) in
        [STEPS, STEPS / 3, 1_000_000, 100_000, 10_000].into_iter().zip([0, 123_457, 7_654_321, 3_141_592, 9_000_001])
    {
        let body = json!({"project": PROJECT, "run_ids": [run], "metrics": [metric], "buckets": 2_000,
                          "from_step": from, "to_step": from + window});
        times.push(ask::chart(&running, &body)?);
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
