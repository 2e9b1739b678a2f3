//! The nouns: ids, `Step`, `Lsn`, `Batch`, Arrow schemas, limits, error kinds, invariant ids; no I/O.

mod batch;
mod bucket;
mod error_kind;
mod filter;
mod ids;
mod invariant;
mod json;
pub mod limits;
mod schema;
mod segment_meta;
mod series_columns;
mod time;
mod tombstone;

pub use batch::{Batch, BatchError, PointRef};
pub use bucket::{Bucket, LatestPoint, Summary};
pub use error_kind::ErrorKind;
pub use filter::PointFilter;
pub use ids::{
    Lsn, NameError, ProducerSequence, SeriesKey, check_artifact_path, check_metric, check_producer, check_project_name,
    check_run_id,
};
pub use invariant::Invariant;
pub use json::json_tree_bytes;
pub use schema::{points_schema, summaries_schema};
pub use segment_meta::{FileMeta, SegmentMeta, TailMeta};
pub use series_columns::SeriesColumns;
pub use time::{format_utc_us, parse_utc_us};
pub use tombstone::Tombstone;
