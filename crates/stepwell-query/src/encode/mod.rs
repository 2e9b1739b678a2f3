//! Results as bytes: JSON, NDJSON, CSV, Arrow stream, Parquet; batch by batch, so that they can be streamed.

mod arrow_stream;
mod cell;
mod names;

use std::io;

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use stepwell_segment::ParquetExport;

use arrow_stream::ArrowEncoder;
use cell::{write_csv, write_json, write_json_string};
use names::told_apart;

/// What a result is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFormat {
    /// `{"schema":[{"name","type","nullable"}],"rows":[{…}]}`; columns that repeat a name are `name:1`, `name:2`, …
    Json,
    /// One object per line, names as in [`Self::Json`].
    Ndjson,
    /// With a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    Parquet,
}

/// A result that does not encode.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("encoding the result: {0}")]
    Arrow(#[from] ArrowError),
    #[error("encoding the result: {0}")]
    Io(#[from] io::Error),
    #[error("encoding the result as Parquet: {message}")]
    Parquet { message: String },
}

/// Turns batches into bytes. Floats that JSON lacks are the strings `NaN`, `Infinity`, `-Infinity`; -0.0 keeps its sign.
pub struct ResultEncoder {
    schema: SchemaRef,
    kind: Kind,
    is_started: bool,
    rows: u64,
}

enum Kind {
    Json,
    Ndjson,
    Csv,
    Arrow(Box<ArrowEncoder>),
    Parquet(Box<ParquetExport<Vec<u8>>>),
}

impl ResultEncoder {
    /// Starts a result with these columns.
    pub fn new(format: ResultFormat, schema: SchemaRef) -> Result<Self, EncodeError> {
        let kind = match format {
            ResultFormat::Json => Kind::Json,
            ResultFormat::Ndjson => Kind::Ndjson,
            ResultFormat::Csv => Kind::Csv,
            ResultFormat::Arrow => Kind::Arrow(Box::new(ArrowEncoder::new(&schema)?)),
            ResultFormat::Parquet => {
                let export = ParquetExport::new(Vec::new(), schema.clone());
                Kind::Parquet(Box::new(export.map_err(|error| EncodeError::Parquet { message: error.to_string() })?))
            }
        };
        // Readers of an object keep one value of each name.
        let schema = if matches!(kind, Kind::Json | Kind::Ndjson) { told_apart(schema) } else { schema };
        Ok(Self { schema, kind, is_started: false, rows: 0 })
    }

    /// The bytes that come before any row, once.
    fn start(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if std::mem::replace(&mut self.is_started, true) {
            return out;
        }
        match &mut self.kind {
            Kind::Json => {
                out.extend_from_slice(b"{\"schema\":[");
                for (i, field) in self.schema.fields().iter().enumerate() {
                    out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
                    write_json_string(field.name(), &mut out);
                    out.extend_from_slice(b",\"type\":");
                    write_json_string(&field.data_type().to_string(), &mut out);
                    out.extend_from_slice(format!(",\"nullable\":{}}}", field.is_nullable()).as_bytes());
                }
                out.extend_from_slice(b"],\"rows\":[");
            }
            Kind::Csv => {
                for (i, field) in self.schema.fields().iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    cell::write_csv_text(field.name(), &mut out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Kind::Arrow(encoder) => out.append(encoder.writer.get_mut()),
            Kind::Ndjson | Kind::Parquet(_) => {}
        }
        out
    }

    /// The bytes of a batch; for Parquet, those of the row groups that are full.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
        let mut out = self.start();
        match &mut self.kind {
            Kind::Json | Kind::Ndjson => {
                let is_lines = matches!(self.kind, Kind::Ndjson);
                for row in 0..batch.num_rows() {
                    if !is_lines && self.rows > 0 {
                        out.push(b',');
                    }
                    self.rows += 1;
                    self.json_row(batch, row, &mut out)?;
                    if is_lines {
                        out.push(b'\n');
                    }
                }
            }
            Kind::Csv => {
                for row in 0..batch.num_rows() {
                    for (i, column) in batch.columns().iter().enumerate() {
                        if i > 0 {
                            out.push(b',');
                        }
                        write_csv(column, row, &mut out)?;
                    }
                    out.extend_from_slice(b"\r\n");
                }
            }
            Kind::Arrow(encoder) => {
                encoder.write(batch)?;
                out.append(encoder.writer.get_mut());
            }
            Kind::Parquet(export) => {
                export.write(batch).map_err(|error| EncodeError::Parquet { message: error.to_string() })?;
                out.append(export.out_mut());
            }
        }
        Ok(out)
    }

    fn json_row(&self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(b'{');
        for (i, (field, column)) in self.schema.fields().iter().zip(batch.columns()).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_json_string(field.name(), out);
            out.push(b':');
            write_json(column, row, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// The bytes that come after the last row.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        let mut out = self.start();
        match self.kind {
            Kind::Json => out.extend_from_slice(b"]}"),
            Kind::Ndjson | Kind::Csv => {}
            Kind::Arrow(mut encoder) => {
                encoder.writer.finish()?;
                out.append(encoder.writer.get_mut());
            }
            Kind::Parquet(export) => {
                out.append(&mut export.finish().map_err(|error| EncodeError::Parquet { message: error.to_string() })?);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
