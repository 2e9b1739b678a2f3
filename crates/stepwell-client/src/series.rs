//! Series requests and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which series, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SeriesRequest {
    /// Name of the project.
    pub project: String,
    pub run_ids: Vec<String>,
    pub metrics: Vec<String>,
    /// First step wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_step: Option<i64>,
    /// Last step wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_step: Option<i64>,
    /// `step` (if absent) or `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// 1,000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buckets: Option<u64>,
    /// `last` (if absent): of points at one step the one written last; `all`: every point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<String>,
}

/// Series at one snapshot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SeriesResponse {
    /// LSN of the last point that the snapshot holds.
    pub snapshot_lsn: u64,
    pub series: Vec<Series>,
}

/// One series as parallel columns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    pub run_id: String,
    pub metric: String,
    /// Points that the columns stand for.
    pub points: u64,
    /// Whether the columns are `step, timestamp, value` of each point rather than of buckets.
    pub raw: bool,
    pub columns: BTreeMap<String, Vec<Value>>,
}

impl Series {
    /// A column as floats; empty if there is none of that name, NaN where a bucket has no value.
    pub fn floats(&self, column: &str) -> Vec<f64> {
        let float = |value: &Value| match value {
            // Rust reads the API's NaN, Infinity and -Infinity.
            Value::String(text) => text.parse().unwrap_or(f64::NAN),
            other => other.as_f64().unwrap_or(f64::NAN),
        };
        self.columns.get(column).into_iter().flatten().map(float).collect()
    }

    /// A column of integers; empty if there is none of that name. Entries that are not integers are left out.
    pub fn integers(&self, column: &str) -> Vec<i64> {
        self.columns.get(column).into_iter().flatten().filter_map(Value::as_i64).collect()
    }
}
