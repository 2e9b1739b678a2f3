//! The targets, a module for each door that bytes come in by.

mod bodies;
mod event_file;
mod flight;
mod manifest;
mod points;
mod segment;
mod spool;
mod sql;
mod wal;

use stepwell_types::Batch;

use crate::Target;

/// All of them.
pub const TARGETS: [&Target; 17] = [
    &wal::FILE,
    &wal::PAYLOAD,
    &manifest::FILE,
    &manifest::BODY,
    &segment::POINTS,
    &segment::SUMMARIES,
    &segment::ROLLUPS,
    &points::ARROW,
    &points::NDJSON,
    &points::LOG,
    &flight::STREAM,
    &flight::METADATA,
    &bodies::CONTENT_ENCODING,
    &bodies::SERIES,
    &event_file::FILE,
    &sql::REQUEST,
    &spool::FILE,
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
