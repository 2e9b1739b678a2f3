//! What is asked of a server, and how long the answers take over HTTP: medians of several.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::stage::{PROJECT, Running, median};

const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/vnd.apache.arrow.stream")];

/// A request for series, answered in Arrow.
pub(super) fn chart(running: &Running, request: &Value) -> Result<Duration> {
    let (http, body) = (running.server.http(), request.to_string());
    median(|| {
        let reply = http.send("POST", "/api/v1/series", &HEADERS, body.as_bytes())?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    })
}

/// A query, answered in Arrow.
pub(super) fn sql(running: &Running, query: &str) -> Result<Duration> {
    let http = running.server.http();
    median(|| http.sql_arrow(PROJECT, query).map(drop))
}

/// The best runs by one metric, of those with a small learning rate.
pub(super) fn leaderboard(metric: &str) -> String {
    format!(
        "SELECT r.run_id, s.min, s.min_step FROM summaries s JOIN runs r ON r.run_id = s.run_id \
         WHERE s.metric = '{metric}' AND r.params['lr'] < 0.01 ORDER BY s.min LIMIT 20"
    )
}

/// The mean over runs and their deviation, step by step.
pub(super) fn mean_by_step(metric: &str) -> String {
    format!("SELECT step, avg(value), stddev(value) FROM points WHERE metric = '{metric}' GROUP BY step")
}
