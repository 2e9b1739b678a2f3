//! Arrow streams as a client writes and reads them.

use std::{io::Cursor, sync::Arc};

use anyhow::{Context, Result};
use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray},
    record_batch::RecordBatch,
};
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};

/// Media type of Arrow streams.
pub const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

/// One point as a client has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub run_id: String,
    pub metric: String,
    pub step: i64,
    pub timestamp_us: i64,
    pub value: f64,
}

/// Rows as the columns of the ingest schema.
pub fn record_batch(rows: &[Row]) -> Result<RecordBatch> {
    let text =
        |of: fn(&Row) -> &str| Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>()) as ArrayRef;
    let timestamps: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.timestamp_us)).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("run_id", text(|row| &row.run_id)),
        ("metric", text(|row| &row.metric)),
        ("step", Arc::new(rows.iter().map(|row| row.step).collect::<Int64Array>())),
        ("timestamp", Arc::new(timestamps.with_timezone("UTC"))),
        ("value", Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter(columns).context("columns")
}

/// Batches of one schema as a stream.
pub fn encode(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let schema = batches.first().context("no batch")?.schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The rows as one stream.
pub fn encode_rows(rows: &[Row]) -> Result<Vec<u8>> {
    encode(&[record_batch(rows)?])
}

/// All batches of a stream.
pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).context("stream")?;
    reader.collect::<Result<_, _>>().context("batches")
}
