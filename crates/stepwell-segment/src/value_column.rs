//! A column of doubles: Parquet's `BYTE_STREAM_SPLIT` encoding, the first bytes of all values, then the second ones, and so on.
//!
//! The streams are unlike each other: of values born as 32-bit floats three are zero, the next has three bits of eight, two are
//! noise, and two repeat. So each is compressed by itself.

use parquet::{basic::Encoding, errors::ParquetError, schema::types::ColumnDescPtr};

use crate::{
    chunk::{ChunkWriter, EncodedColumn},
    compress::Compressor,
};

/// Encodes a row group into pages of at most `page_rows` rows.
pub(crate) fn encode(
    descr: ColumnDescPtr,
    values: &[f64],
    page_rows: usize,
    zstd_level: i32,
) -> Result<EncodedColumn, ParquetError> {
    let mut compressor = Compressor::new(zstd_level)?;
    let mut chunk = ChunkWriter::new(descr, Encoding::BYTE_STREAM_SPLIT, zstd_level)?;
    let mut streams: [Vec<u8>; size_of::<f64>()] = Default::default();
    for page in values.chunks(page_rows.max(1)) {
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.clear();
            stream.extend(page.iter().map(|value| (value.to_bits() >> (8 * number)) as u8));
        }
        chunk.page(page.len(), compressor.compress_parts(&streams)?, None)?;
    }
    chunk.close(None)
}
