//! T12: coming back after a crash.

use anyhow::{Context, Result, ensure};

use super::{
    Figure, millions,
    stage::{ALL, PROJECT, ROOMY, Stage},
};
use crate::Shape;

const DAY: &str = "86400";

/// Kills a server with all its points in the log only.
pub(super) fn replay(stage: &Stage) -> Result<Vec<Figure>> {
    let running = stage.start(&[&ROOMY[..], &["--flush-age-seconds", DAY]].concat())?;
    let shape = Shape { runs: 20, metrics: 1_000, steps: 1_000 };
    let report = running.send("replay", shape, &ALL)?;
    let (bytes, _) = running.bytes_below("wal")?;
    let (empty, idle) = stage.start(&[])?.crash()?;
    drop(empty);
    let (running, time) = running.crash()?;
    let rows = running.server.http().sql(PROJECT, "SELECT count(*) AS points FROM points")?;
    let found = rows.first().and_then(|row| row["points"].as_u64()).context("a count")?;
    ensure!(found == report.points, "{} points were acknowledged, {found} came back", report.points);
    Ok(vec![Figure {
        name: "T12",
        work: format!("restart after a crash with {} points in the log", millions(report.points as f64)),
        target: "≥ 10 M points/s replayed",
        measured: format!(
            "{} points/s; ready after {:.2} s",
            millions(report.points as f64 / time.as_secs_f64()),
            time.as_secs_f64()
        ),
        beside: format!(
            "{:.0} MB of log; an empty directory is ready after {:.2} s",
            bytes as f64 / 1e6,
            idle.as_secs_f64()
        ),
    }])
}
