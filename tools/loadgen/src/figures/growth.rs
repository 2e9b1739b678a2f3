//! Growth curves: how throughput, size on disk and the time of queries change as series, runs and points become more.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    Options, ask,
    stage::{ALL, PROJECT, Running, Stage},
    stored::Stored,
};
use crate::{Dataset, Shape};

/// How far to go; each axis starts small and grows by factors of ten up to here.
#[derive(Debug, Clone)]
pub struct GrowthOptions {
    /// Points of a table that is asked. Ingest sends twice as many for each number of series.
    pub points: u64,
    /// Runs that are compared.
    pub runs: u64,
    /// Series that are written.
    pub series: u64,
    /// Data directories are made below it.
    pub dir: PathBuf,
}

/// Metrics of a run where the number of series grows: what a batch is like stays the same.
const INGEST_METRICS: u64 = 250;
/// Where the number of runs grows.
const SWEEP: Shape = Shape { runs: 1, metrics: 5, steps: 1_000 };
/// Buckets of each series of a chart: five thousand runs may have twenty each.
const BUCKETS_MANY: u64 = 20;
/// Runs of the table whose points grow.
const TABLE_RUNS: u64 = 100;
const BUCKETS: u64 = 1_000;

/// Measures, and prints a line of CSV for each: curve, where on its axis, value.
pub fn growth(options: &GrowthOptions) -> Result<()> {
    let stage = Stage::new(&Options {
        only: Vec::new(),
        load: Duration::ZERO,
        sustained: None,
        dir: options.dir.clone(),
        python: None,
    });
    println!("curve,x,y");
    for series in decades(1_000, options.series) {
        of_series(&stage, series, 2 * options.points).with_context(|| format!("{series} series"))?;
    }
    for runs in decades(10, options.runs) {
        of_runs(&stage, runs).with_context(|| format!("{runs} runs"))?;
    }
    for points in decades(100_000, options.points) {
        of_points(&stage, points).with_context(|| format!("a table of {points} points"))?;
        of_long_series(&stage, points).with_context(|| format!("a series of {points} points"))?;
    }
    Ok(())
}

/// `from`, ten times that, and so on below `to`; then `to` itself.
fn decades(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let powers = std::iter::successors(Some(from), |last| last.checked_mul(10));
    powers.take_while(move |power| *power < to).chain([to])
}

fn line(curve: &str, x: u64, y: f64) {
    println!("{curve},{x},{y:.4}");
}

fn milliseconds(curve: &str, x: u64, time: Duration) {
    line(curve, x, time.as_secs_f64() * 1e3);
}

/// The same number of points over more and more series.
fn of_series(stage: &Stage, series: u64, points: u64) -> Result<()> {
    let shape =
        Shape { runs: series / INGEST_METRICS, metrics: INGEST_METRICS, steps: (points / series.max(1)).max(1) };
    let running = stage.start(&[])?;
    let report = running.send("growth", shape, &ALL)?;
    line("ingest_points_per_second_by_series", series, report.points_per_second());
    let running = running.flush()?;
    running.wait_for_compaction()?;
    line("bytes_per_point_by_series", series, Stored::of(&running, report.points)?.total());
    Ok(())
}

/// More and more runs of the same kind, all of them asked for.
fn of_runs(stage: &Stage, runs: u64) -> Result<()> {
    let (dataset, running, _) = filled(stage, Shape { runs, ..SWEEP })?;
    milliseconds("chart_ms_by_runs", runs, chart(&running, &dataset, BUCKETS_MANY)?);
    milliseconds("leaderboard_ms_by_runs", runs, ask::sql(&running, &ask::leaderboard(&dataset.metric(0)))?);
    milliseconds("mean_by_step_ms_by_runs", runs, ask::sql(&running, &ask::mean_by_step(&dataset.metric(0)))?);
    Ok(())
}

/// The same runs with more and more steps.
fn of_points(stage: &Stage, points: u64) -> Result<()> {
    let shape = Shape { runs: TABLE_RUNS, metrics: 1, steps: points / TABLE_RUNS };
    let (dataset, running, points) = filled(stage, shape)?;
    milliseconds("chart_ms_by_points", points, chart(&running, &dataset, BUCKETS)?);
    milliseconds("leaderboard_ms_by_points", points, ask::sql(&running, &ask::leaderboard(&dataset.metric(0)))?);
    milliseconds("mean_by_step_ms_by_points", points, ask::sql(&running, &ask::mean_by_step(&dataset.metric(0)))?);
    Ok(())
}

/// One series that becomes longer and longer.
fn of_long_series(stage: &Stage, points: u64) -> Result<()> {
    let (dataset, running, points) = filled(stage, Shape { runs: 1, metrics: 1, steps: points })?;
    milliseconds("chart_of_one_series_ms_by_points", points, chart(&running, &dataset, BUCKETS)?);
    Ok(())
}

/// A server that has all of a data set in segments, and how many points it was.
fn filled(stage: &Stage, shape: Shape) -> Result<(Dataset, Running, u64)> {
    let running = stage.start(&[])?;
    let report = running.send("growth", shape, &ALL)?;
    let running = running.flush()?;
    running.wait_for_compaction()?;
    Ok((Dataset::new("growth", shape, 0), running, report.points))
}

/// One metric of all runs.
fn chart(running: &Running, dataset: &Dataset, buckets: u64) -> Result<Duration> {
    let run_ids: Vec<String> = (0..dataset.shape().runs).map(|run| dataset.run_id(run)).collect();
    let metrics = [dataset.metric(0)];
    let request = json!({"project": PROJECT, "run_ids": run_ids, "metrics": metrics, "buckets": buckets});
    ask::chart(running, &request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_grows_by_tens_and_ends_where_it_is_told_to() {
        assert_eq!(decades(10, 5_000).collect::<Vec<_>>(), [10, 100, 1_000, 5_000]);
        assert_eq!(decades(1_000, 1_000_000).collect::<Vec<_>>(), [1_000, 10_000, 100_000, 1_000_000]);
        assert_eq!(decades(10, 10).collect::<Vec<_>>(), [10]);
    }
}
