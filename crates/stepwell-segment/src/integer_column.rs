//! A column of 64-bit integers: pages in any encoding, with their bounds.

use parquet::{
    basic::{Encoding, SortOrder},
    errors::ParquetError,
    file::statistics::{Statistics, ValueStatistics},
    schema::types::ColumnDescPtr,
};

use crate::{
    chunk::{ChunkWriter, EncodedColumn},
    compress::Compressor,
    delta,
};

/// How integers are stored.
pub(crate) struct Layout {
    pub(crate) descr: ColumnDescPtr,
    /// Rows of a page at most.
    pub(crate) page_rows: usize,
    pub(crate) zstd_level: i32,
    /// Whether row group and pages tell their bounds.
    pub(crate) has_statistics: bool,
}

/// Encodes a row group by differences.
pub(crate) fn encode(layout: &Layout, values: &[i64]) -> Result<EncodedColumn, ParquetError> {
    let compressor = Compressor::new(layout.zstd_level)?;
    encode_as(layout, Encoding::DELTA_BINARY_PACKED, compressor, values, delta::encode)
}

/// Encodes a row group into pages, the bytes of each made by `encode_page`.
pub(crate) fn encode_as(
    layout: &Layout,
    encoding: Encoding,
    mut compressor: Compressor,
    values: &[i64],
    encode_page: impl Fn(&[i64]) -> Vec<u8>,
) -> Result<EncodedColumn, ParquetError> {
    let is_signed = layout.descr.sort_order() != SortOrder::UNSIGNED;
    // Integers without a sign compare as those with one do whose highest bit is turned.
    let turn = if is_signed { 0 } else { i64::MIN };
    let mut chunk = ChunkWriter::new(layout.descr.clone(), encoding, layout.zstd_level)?;
    let mut of_all: Option<(i64, i64)> = None;
    for page in values.chunks(layout.page_rows.max(1)) {
        let turned = layout.has_statistics.then(|| bounds(page, turn));
        let of_page = turned.map(|(low, high)| ((low ^ turn).to_le_bytes().into(), (high ^ turn).to_le_bytes().into()));
        chunk.page(page.len(), compressor.compress(&encode_page(page))?, of_page)?;
        of_all = [of_all, turned].into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    }
    let statistics = of_all.map(|(low, high)| {
        let values = ValueStatistics::new(Some(low ^ turn), Some(high ^ turn), None, Some(0), false);
        Statistics::Int64(values.with_backwards_compatible_min_max(is_signed))
    });
    chunk.close(statistics)
}

/// The smallest and the largest of values whose bits `turn` are turned.
fn bounds(values: &[i64], turn: i64) -> (i64, i64) {
    let turned = values.iter().map(|value| value ^ turn);
    turned.fold((i64::MAX, i64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}
