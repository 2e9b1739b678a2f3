//! Writing one file of a segment: rows in the order of series, one row group in memory.

use std::{path::Path, sync::Arc};

use arrow::datatypes::DataType as ArrowType;
use parquet::{
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
};
use stepwell_env::Disk;
use stepwell_types::{FileMeta, SeriesKey};

use crate::{
    checksums,
    error::SegmentError,
    file::NewFile,
    format::{Kind, METRIC, PROJECT, RUN, STEP, SegmentOptions, parquet_schema, writer_properties},
    integer_column::{self, Layout},
    text_column::{self, NameRun},
    time_column, value_column,
};

/// What a series of the open row group takes beside the text of its names, bytes: handles to them, and their place in dictionaries.
const SERIES_BYTES: usize = 96;

/// Values of one column after the names. Parquet stores unsigned integers and times as integers of the same bits.
pub(crate) enum Column {
    Integers(Vec<i64>),
    Values(Vec<f64>),
}

/// A file being written.
pub(crate) struct TableWriter {
    kind: Kind,
    options: SegmentOptions,
    writer: SerializedFileWriter<NewFile>,
    /// Series of the rows of the open row group, and how many rows each has.
    series: Vec<(SeriesKey, usize)>,
    name_bytes: usize,
    columns: Vec<Column>,
    /// Rows in `columns`.
    rows: usize,
    /// Of all pages written.
    page_crcs: Vec<u32>,
}

impl TableWriter {
    /// Starts the file, under a temporary name.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        kind: Kind,
        file_name: &str,
        options: &SegmentOptions,
    ) -> Result<Self, SegmentError> {
        let file = NewFile::create(disk, &data_dir.join(kind.dir()), file_name)?;
        let path = file.path().to_owned();
        let writer = parquet_schema(kind)
            .and_then(|schema| SerializedFileWriter::new(file, schema.root_schema_ptr(), writer_properties(kind)))
            .map_err(|source| SegmentError::Parquet { path, source })?;
        let column = |data_type: &ArrowType| match data_type {
            ArrowType::Float64 => Column::Values(Vec::new()),
            _ => Column::Integers(Vec::new()),
        };
        let columns = kind.schema().fields().iter().skip(RUN + 1).map(|field| column(field.data_type())).collect();
        Ok(Self {
            kind,
            options: options.clone(),
            writer,
            series: Vec::new(),
            name_bytes: 0,
            columns,
            rows: 0,
            page_crcs: Vec::new(),
        })
    }

    /// Rows that the open row group still takes.
    pub(crate) fn room(&self) -> usize {
        self.row_group_rows().saturating_sub(self.rows).max(1)
    }

    fn row_group_rows(&self) -> usize {
        self.options.row_group_rows_of(self.kind)
    }

    /// Adds `rows` rows of one series; `fill` appends so many values to each column.
    pub(crate) fn append(
        &mut self,
        key: &SeriesKey,
        rows: usize,
        fill: impl FnOnce(&mut [Column]),
    ) -> Result<(), SegmentError> {
        match self.series.last_mut() {
            Some((last, count)) if last == key => *count += rows,
            _ => {
                self.name_bytes += SERIES_BYTES + key.project_id.len() + key.metric.len() + key.run_id.len();
                self.series.push((key.clone(), rows));
            }
        }
        fill(&mut self.columns);
        self.rows += rows;
        if self.rows >= self.row_group_rows() || self.name_bytes >= self.options.row_group_name_bytes() {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), SegmentError> {
        if self.rows == 0 {
            return Ok(());
        }
        let path = self.writer.inner().path().to_owned();
        let Self { kind, options, writer, series, columns, page_crcs, .. } = self;
        let written = writer.next_row_group().and_then(|mut group| {
            write_names(&mut group, *kind, options, series, page_crcs)?;
            write_columns(&mut group, *kind, options, columns, page_crcs)?;
            group.close().map(drop)
        });
        self.series.clear();
        self.name_bytes = 0;
        self.rows = 0;
        for column in &mut self.columns {
            match column {
                Column::Integers(values) => values.clear(),
                Column::Values(values) => values.clear(),
            }
        }
        written.map_err(|source| SegmentError::Parquet { path, source })
    }

    /// Completes the file: when this returns, it is durable under its name.
    pub(crate) fn finish(mut self) -> Result<FileMeta, SegmentError> {
        self.write_group()?;
        let path = self.writer.inner().path().to_owned();
        let sums = KeyValue::new(checksums::PAGES_KEY.to_owned(), checksums::to_text(&self.page_crcs));
        self.writer.append_key_value_metadata(sums);
        self.writer.flush().map_err(|source| SegmentError::Io { what: "write", path: path.clone(), source })?;
        self.writer.inner_mut().begin_tail();
        // Not by taking the file out of the writer, which would tell a full disk as a mere text.
        self.writer.finish().map_err(|source| SegmentError::Parquet { path, source })?;
        self.writer.inner_mut().publish()
    }
}

fn write_names(
    group: &mut SerializedRowGroupWriter<'_, NewFile>,
    kind: Kind,
    options: &SegmentOptions,
    series: &[(SeriesKey, usize)],
    page_crcs: &mut Vec<u32>,
) -> Result<(), ParquetError> {
    let schema = parquet_schema(kind)?;
    let names: [fn(&SeriesKey) -> &Arc<str>; 3] = [|key| &key.project_id, |key| &key.metric, |key| &key.run_id];
    for (column, name) in [PROJECT, METRIC, RUN].into_iter().zip(names) {
        let runs: Vec<NameRun<'_>> =
            series.iter().map(|(key, rows)| NameRun { name: name(key), rows: *rows }).collect();
        let encoded = text_column::encode(schema.column(column), &runs, options.page_rows, options.zstd_level)?;
        page_crcs.extend(encoded.page_crcs);
        group.append_column(&encoded.bytes, encoded.close)?;
    }
    Ok(())
}

fn write_columns(
    group: &mut SerializedRowGroupWriter<'_, NewFile>,
    kind: Kind,
    options: &SegmentOptions,
    columns: &[Column],
    page_crcs: &mut Vec<u32>,
) -> Result<(), ParquetError> {
    let (schema, fields) = (parquet_schema(kind)?, kind.schema());
    for (number, column) in (STEP..).zip(columns) {
        let (descr, field) = (schema.column(number), fields.field(number));
        let encoded = match column {
            Column::Values(values) => value_column::encode(descr, values, options.page_rows, options.zstd_level),
            Column::Integers(values) => {
                let has_statistics = kind.has_statistics(field.name());
                let layout =
                    Layout { descr, page_rows: options.page_rows, zstd_level: options.zstd_level, has_statistics };
                match field.data_type() {
                    ArrowType::Timestamp(..) => time_column::encode(&layout, values),
                    _ => integer_column::encode(&layout, values),
                }
            }
        }?;
        page_crcs.extend(encoded.page_crcs);
        group.append_column(&encoded.bytes, encoded.close)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
