//! Parquet for results of queries: here, because no other crate knows Parquet.

use std::io::Write;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

/// Writes batches of any schema as one zstd-compressed Parquet file.
pub struct ParquetExport<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetExport<W> {
    /// Starts a file in `out`.
    pub fn new(out: W, schema: SchemaRef) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        Ok(Self { writer: ArrowWriter::try_new(out, schema, Some(properties))? })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(batch)
    }

    /// Where the bytes go; those written so far may be taken out of it.
    pub fn out_mut(&mut self) -> &mut W {
        self.writer.inner_mut()
    }

    /// Completes the file.
    pub fn finish(self) -> Result<W, ParquetError> {
        self.writer.into_inner()
    }
}
