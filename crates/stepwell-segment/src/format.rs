//! Layout of the Parquet file.

use arrow::datatypes::SchemaRef;
use parquet::{
    arrow::arrow_writer::ArrowWriterOptions,
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

/// The version written; the one read.
pub const FORMAT_VERSION: &str = "1";
pub(crate) const VERSION_KEY: &str = "stepwell.format_version";
const KIND_KEY: &str = "stepwell.kind";

/// Positions of the columns in [`stepwell_types::points_schema`].
pub(crate) const PROJECT: usize = 0;
pub(crate) const METRIC: usize = 1;
pub(crate) const RUN: usize = 2;
pub(crate) const STEP: usize = 3;
pub(crate) const TIMESTAMP: usize = 4;
pub(crate) const LSN: usize = 6;

/// How segments are written.
#[derive(Debug, Clone)]
pub struct SegmentOptions {
    /// Rows of a row group; a writer holds one in memory, encoded.
    pub row_group_rows: usize,
    /// Rows of a page; the unit of pruning within a row group.
    pub page_rows: usize,
    /// 1 (fastest) to 22 (smallest).
    pub zstd_level: i32,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { row_group_rows: 1 << 20, page_rows: 8_192, zstd_level: 1 }
    }
}

pub(crate) fn writer_options(options: &SegmentOptions, schema: &SchemaRef) -> Result<ArrowWriterOptions, ParquetError> {
    let path = |name: &str| ColumnPath::from(name);
    let key_value = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let sorted = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("stepwell ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_data_page_row_count_limit(options.page_rows)
        .set_write_batch_size(options.page_rows.clamp(1, 1_024))
        .set_column_index_truncate_length(None)
        .set_statistics_truncate_length(None)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some([PROJECT, METRIC, RUN, STEP, LSN].map(|column| sorted(column as i32)).to_vec()))
        .set_key_value_metadata(Some(vec![key_value(VERSION_KEY, FORMAT_VERSION), key_value(KIND_KEY, "points")]))
        .set_column_statistics_enabled(path("value"), EnabledStatistics::None);
    for field in schema.fields().iter().skip(STEP) {
        let encoding = match field.name().as_str() {
            "value" => Encoding::BYTE_STREAM_SPLIT,
            _ => Encoding::DELTA_BINARY_PACKED,
        };
        properties = properties
            .set_column_dictionary_enabled(path(field.name()), false)
            .set_column_encoding(path(field.name()), encoding);
    }
    // Without the embedded Arrow schema readers see plain strings.
    Ok(ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true))
}
