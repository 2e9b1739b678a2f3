//! Arrow schemas of what leaves the engine.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

fn utc_us() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Columns of a segment and of a scan, in the order of segment files: project_id, metric, run_id (Utf8View), step (Int64),
/// timestamp (Timestamp µs UTC), value (Float64), lsn (UInt64); none is nullable.
pub fn points_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    Arc::new(Schema::new(vec![
        text("project_id"),
        text("metric"),
        text("run_id"),
        Field::new("step", DataType::Int64, false),
        Field::new("timestamp", utc_us(), false),
        Field::new("value", DataType::Float64, false),
        Field::new("lsn", DataType::UInt64, false),
    ]))
}

/// Columns of the table `summaries`, see [`crate::Summary`].
pub fn summaries_schema() -> SchemaRef {
    let count = |name: &str| Field::new(name, DataType::UInt64, false);
    let step = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    let value = |name: &str, nullable| Field::new(name, DataType::Float64, nullable);
    Arc::new(Schema::new(vec![
        Field::new("run_id", DataType::Utf8View, false),
        Field::new("metric", DataType::Utf8View, false),
        count("count"),
        count("finite"),
        count("nan"),
        count("pos_inf"),
        count("neg_inf"),
        step("first_step", false),
        Field::new("first_time", utc_us(), false),
        value("first", false),
        step("last_step", false),
        Field::new("last_time", utc_us(), false),
        value("last", false),
        Field::new("latest_time", utc_us(), false),
        value("latest", false),
        value("min", true),
        step("min_step", true),
        value("max", true),
        step("max_step", true),
        value("mean", true),
        value("sum", false),
    ]))
}
