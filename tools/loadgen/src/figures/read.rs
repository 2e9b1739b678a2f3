//! T8, T10, T11: charts and aggregations over segments, beside DuckDB on the same files.

use anyhow::Result;
use serde_json::json;

use super::{
    Figure, ask, duckdb, millions, ms,
    stage::{ALL, PROJECT, Running, Stage},
};
use crate::{Dataset, Shape};

const CHART: Shape = Shape { runs: 100, metrics: 1, steps: 100_000 };
const SWEEP: Shape = Shape { runs: 2_000, metrics: 20, steps: 1_000 };
const BUCKETS: u64 = 1_000;

pub(super) fn queries(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[])?;
    running.send("chart", CHART, &ALL)?;
    let running = running.flush()?;
    let mut figures = vec![chart(stage, &running)?];
    drop(running);
    let running = stage.start(&[])?;
    let report = running.send("sweep", SWEEP, &ALL)?;
    let running = running.flush()?;
    let metric = Dataset::new("sweep", SWEEP, 0).metric(0);
    let points = millions(report.points as f64);
    let by_step = ask::mean_by_step(&metric);
    let by_metric =
        "SELECT metric, count(*), avg(value), min(value), max(value) FROM points GROUP BY metric".to_owned();
    figures.push(Figure {
        name: "T10",
        work: format!("mean and deviation by step over 2,000 runs × 1,000 steps of one metric, out of {points}"),
        target: "≤ 60 ms, no slower than DuckDB",
        ..against_duckdb(stage, &running, &by_step)?
    });
    figures.push(Figure {
        name: "T11",
        work: format!("full scan, group by metric, {points} points"),
        target: "no slower than DuckDB",
        ..against_duckdb(stage, &running, &by_metric)?
    });
    Ok(figures)
}

fn chart(stage: &Stage, running: &Running) -> Result<Figure> {
    let dataset = Dataset::new("chart", CHART, 0);
    let run_ids: Vec<String> = (0..CHART.runs).map(|run| dataset.run_id(run)).collect();
    let metric = dataset.metric(0);
    let body = json!({"project": PROJECT, "run_ids": run_ids, "metrics": [metric], "buckets": BUCKETS});
    let time = ask::chart(running, &body)?;
    let bucketed = format!(
        "SELECT run_id, step * {BUCKETS} // {} AS bucket, min(value), max(value), avg(value), count(*) FROM points \
         WHERE metric = '{metric}' GROUP BY ALL",
        CHART.steps
    );
    Ok(Figure {
        name: "T8",
        work: "chart: 100 runs × 1 metric × 100,000 steps → 1,000 buckets each, Arrow over HTTP".to_owned(),
        target: "≤ 50 ms",
        measured: ms(time),
        beside: beside(stage, running, &bucketed)?,
    })
}

fn against_duckdb(stage: &Stage, running: &Running, query: &str) -> Result<Figure> {
    let time = ask::sql(running, query)?;
    Ok(Figure { name: "", work: String::new(), target: "", measured: ms(time), beside: beside(stage, running, query)? })
}

fn beside(stage: &Stage, running: &Running, query: &str) -> Result<String> {
    let Some(python) = &stage.python else {
        return Ok("no Python with DuckDB: run `cargo xtask test` or give --python".to_owned());
    };
    let time = duckdb::median(python, &running.dir().join("segments"), query)?;
    Ok(format!("DuckDB on the same segments: {}", ms(time)))
}
