//! The targets, a module for each door that bytes come in by.

#[cfg(feature = "server")]
mod bodies;
mod event_file;
#[cfg(feature = "server")]
mod flight;
mod manifest;
#[cfg(feature = "server")]
mod mlflow;
#[cfg(feature = "server")]
mod points;
mod segment;
mod spool;
#[cfg(feature = "server")]
mod sql;
mod wal;

use stepwell_types::Batch;

use crate::Target;

/// All of them.
pub const TARGETS: &[&Target] = &[
    &wal::FILE,
    &wal::PAYLOAD,
    &manifest::FILE,
    &manifest::BODY,
    &segment::POINTS,
    &segment::SUMMARIES,
    &segment::ROLLUPS,
    &event_file::FILE,
    &spool::FILE,
    #[cfg(feature = "server")]
    &points::ARROW,
    #[cfg(feature = "server")]
    &points::NDJSON,
    #[cfg(feature = "server")]
    &points::LOG,
    #[cfg(feature = "server")]
    &flight::STREAM,
    #[cfg(feature = "server")]
    &flight::METADATA,
    #[cfg(feature = "server")]
    &bodies::CONTENT_ENCODING,
    #[cfg(feature = "server")]
    &bodies::SERIES,
    #[cfg(feature = "server")]
    &mlflow::REQUEST,
    #[cfg(feature = "server")]
    &sql::REQUEST,
];

/// Project, metric, run, step, timestamp, bits of the value.
type Row<'a> = (&'a str, &'a str, &'a str, i64, i64, u64);

/// The points of a batch, by which batches are compared: the order of its series does not matter, every bit of a value does.
fn rows(batch: &Batch) -> Vec<Row<'_>> {
    let row = |at: usize| {
        let key = &batch.series()[batch.series_index()[at] as usize];
        let value = batch.value()[at].to_bits();
        (&*key.project_id, &*key.metric, &*key.run_id, batch.step()[at], batch.timestamp_us()[at], value)
    };
    (0..batch.len()).map(row).collect()
}
