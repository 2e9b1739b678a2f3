//! Layout of the Parquet file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowSchemaConverter,
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::WriterProperties,
    },
    schema::types::SchemaDescriptor,
};
use stepwell_types::points_schema;

/// The version written; those before are read too.
pub const FORMAT_VERSION: &str = "2";
/// Its summaries lack what [`SUMMARY_COLUMNS_V1`] does not count.
pub(crate) const FORMAT_VERSION_1: &str = "1";
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
    /// Rows of a row group of points, of which a writer holds one in memory. Those of summaries and rollups, which have five times the
    /// columns, and the names that a row group may have are in proportion to it, so that it bounds the memory of a writer: see
    /// [`SegmentOptions::within`].
    pub row_group_rows: usize,
    /// Rows of a page; the unit of pruning within a row group.
    pub page_rows: usize,
    /// 1 (fastest) to 22 (smallest).
    pub zstd_level: i32,
}

impl SegmentOptions {
    /// Memory of a writer at most, bytes for each row of a row group.
    const BYTES_PER_ROW: usize = 64;
    /// Larger row groups save nothing.
    const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
    /// Smaller ones cost more in footers than in memory.
    const ROW_GROUP_ROWS_MIN: usize = 1 << 15;

    /// Row groups as large as they may be for a writer to do with `bytes` of memory; two MiB it takes in any case.
    pub fn within(bytes: usize) -> Self {
        let rows = bytes / Self::BYTES_PER_ROW;
        Self { row_group_rows: rows.clamp(Self::ROW_GROUP_ROWS_MIN, Self::ROW_GROUP_ROWS_MAX), ..Self::default() }
    }

    /// Bytes of names at which a row group ends early: its dictionaries are held in memory, and a reader holds them too.
    pub(crate) fn row_group_name_bytes(&self) -> usize {
        (self.row_group_rows * 8).clamp(1 << 18, 8 << 20)
    }

    /// Rows of a row group of one table.
    pub(crate) fn row_group_rows_of(&self, kind: Kind) -> usize {
        let rows = self.row_group_rows;
        match kind {
            Kind::Points => rows,
            Kind::Rollups => (rows / 8).max(rows.min(1 << 12)),
            Kind::Summaries => (rows / 16).max(rows.min(1 << 12)),
        }
    }
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { row_group_rows: Self::ROW_GROUP_ROWS_MAX, page_rows: 8_192, zstd_level: 1 }
    }
}

/// The tables of a segment: a file each, of one name, in directories of their own, so that each is read by `*.parquet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Points,
    Summaries,
    Rollups,
}

/// Directories of a data directory that hold the files of segments.
pub const SEGMENT_DIRS: [&str; 3] = ["segments", "summaries", "rollups"];

impl Kind {
    /// Its directory below the data directory.
    pub(crate) fn dir(self) -> &'static str {
        SEGMENT_DIRS[self as usize]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Summaries => "summaries",
            Self::Rollups => "rollups",
        }
    }

    /// Project, metric and run, then columns of integers, times and doubles.
    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Self::Points => points_schema(),
            Self::Summaries => stored_schema(&SUMMARY_COLUMNS),
            Self::Rollups => stored_schema(&ROLLUP_COLUMNS),
        }
    }

    /// The same as a version has it; `None` of one that is not known here.
    pub(crate) fn schema_of(self, version: &str) -> Option<SchemaRef> {
        match (self, version) {
            (Self::Summaries, FORMAT_VERSION_1) => Some(stored_schema(&SUMMARY_COLUMNS[..SUMMARY_COLUMNS_V1])),
            (_, FORMAT_VERSION_1 | FORMAT_VERSION) => Some(self.schema()),
            _ => None,
        }
    }

    /// Columns by whose ranges rows are found.
    pub(crate) fn has_statistics(self, column: &str) -> bool {
        match self {
            Self::Points => column != "value",
            Self::Summaries => false,
            Self::Rollups => matches!(column, "level" | "first_step" | "last_step"),
        }
    }
}

/// Columns of a stored summary after the names; see `stepwell_kernels::SummaryState`.
pub(crate) const SUMMARY_COLUMNS: [(&str, StoredType); 23] = {
    use StoredType::{Count, Integer, Time, Value};
    [
        ("finite", Count),
        ("nan", Count),
        ("pos_inf", Count),
        ("neg_inf", Count),
        ("first_step", Integer),
        ("first_time", Time),
        ("first", Value),
        ("first_lsn", Count),
        ("last_step", Integer),
        ("last_time", Time),
        ("last", Value),
        ("last_lsn", Count),
        ("min", Value),
        ("min_step", Integer),
        ("max", Value),
        ("max_step", Integer),
        ("sum", Value),
        ("sum_compensation", Value),
        ("rollup_finest", Integer),
        ("rollup_coarsest", Integer),
        ("latest_time", Time),
        ("latest", Value),
        ("latest_lsn", Count),
    ]
};

/// How many of them the first version has.
const SUMMARY_COLUMNS_V1: usize = 20;

/// Columns of a stored rollup after the names; see `stepwell_kernels::BucketState`.
pub(crate) const ROLLUP_COLUMNS: [(&str, StoredType); 17] = {
    use StoredType::{Count, Integer, Time, Value};
    [
        ("level", Integer),
        ("first_step", Integer),
        ("last_step", Integer),
        ("first_time", Time),
        ("last_time", Time),
        ("finite", Count),
        ("nan", Count),
        ("pos_inf", Count),
        ("neg_inf", Count),
        ("min", Value),
        ("min_step", Integer),
        ("max", Value),
        ("max_step", Integer),
        ("sum", Value),
        ("sum_compensation", Value),
        ("first", Value),
        ("last", Value),
    ]
};

/// What a stored column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredType {
    Count,
    Integer,
    /// Microseconds since the Unix epoch, UTC.
    Time,
    Value,
}

fn stored_schema(columns: &[(&str, StoredType)]) -> SchemaRef {
    let points = points_schema();
    let names = points.fields().iter().take(STEP).cloned();
    let stored = columns.iter().map(|(name, kind)| {
        let data_type = match kind {
            StoredType::Count => DataType::UInt64,
            StoredType::Integer => DataType::Int64,
            StoredType::Time => points.field(TIMESTAMP).data_type().clone(),
            StoredType::Value => DataType::Float64,
        };
        Arc::new(Field::new(*name, data_type, false))
    });
    Arc::new(Schema::new(names.chain(stored).collect::<Vec<_>>()))
}

/// The Parquet schema of a table.
pub(crate) fn parquet_schema(kind: Kind) -> Result<SchemaDescriptor, ParquetError> {
    ArrowSchemaConverter::new().convert(&kind.schema())
}

/// What the footer says beside the columns, which are encoded without the library's writer.
pub(crate) fn writer_properties(kind: Kind) -> Arc<WriterProperties> {
    let key_value = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let sorted = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let sorting: &[usize] = match kind {
        Kind::Points => &[PROJECT, METRIC, RUN, STEP, LSN],
        Kind::Summaries => &[PROJECT, METRIC, RUN],
        // Level and first step.
        Kind::Rollups => &[PROJECT, METRIC, RUN, STEP, STEP + 1],
    };
    let properties = WriterProperties::builder()
        .set_created_by(concat!("stepwell ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(Some(sorting.iter().map(|column| sorted(*column as i32)).collect()))
        .set_key_value_metadata(Some(vec![key_value(VERSION_KEY, FORMAT_VERSION), key_value(KIND_KEY, kind.name())]));
    Arc::new(properties.build())
}
