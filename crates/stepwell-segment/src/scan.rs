//! Reading the rows that pass a filter.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringViewArray},
    buffer::BooleanBuffer,
    compute::{and, filter_record_batch},
    datatypes::{DataType, Int64Type, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection},
};

use crate::{error::SegmentError, filter::RowFilter, prune::matching_rows, table::Table};

/// Batches of the matching rows of one table, in file order.
pub struct SegmentScan {
    reader: ParquetRecordBatchReader,
    filter: RowFilter,
    /// Column of the table that stands at each place of what the reader yields.
    read: Vec<usize>,
    /// Places of the wanted columns in what the reader yields.
    output: Vec<usize>,
    schema: SchemaRef,
    path: PathBuf,
}

impl SegmentScan {
    pub(crate) fn new(
        table: &Table,
        filter: RowFilter,
        projection: &[usize],
        batch_rows: usize,
    ) -> Result<Self, SegmentError> {
        let path = table.path().to_owned();
        let footer = table.footer()?;
        let groups = matching_rows(footer.metadata(), &filter);
        let columns = table.schema().fields().len();
        let read: Vec<usize> = (0..columns).filter(|c| projection.contains(c) || filter.restricts(*c)).collect();
        let selection: Vec<_> = groups.iter().flat_map(|group| Vec::from(group.selection())).collect();
        let mask = ProjectionMask::roots(footer.parquet_schema(), read.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(table.bytes().clone(), footer.clone())
            .with_projection(mask)
            .with_row_groups(groups.iter().map(|group| group.row_group).collect())
            .with_row_selection(RowSelection::from(selection))
            .with_batch_size(batch_rows.max(1))
            .build()
            .map_err(|source| SegmentError::Parquet { path: path.clone(), source })?;
        let output = projection.iter().filter_map(|wanted| read.iter().position(|column| column == wanted)).collect();
        let schema =
            table.schema().project(projection).map_err(|source| SegmentError::Arrow { path: path.clone(), source })?;
        Ok(Self { reader, filter, read, output, schema: Arc::new(schema), path })
    }

    fn finish(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let keep = self.read.iter().zip(batch.columns()).filter_map(|(column, array)| self.test(*column, array));
        let keep = keep.map(Ok).reduce(|a, b| and(&a?, &b?)).transpose()?;
        let batch = match keep {
            Some(keep) if keep.true_count() < batch.num_rows() => filter_record_batch(batch, &keep)?,
            _ => batch.clone(),
        };
        let columns: Vec<ArrayRef> = self.output.iter().map(|&place| batch.column(place).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    /// Which rows pass the filter on one column; `None` if it is free.
    fn test(&self, column: usize, array: &ArrayRef) -> Option<BooleanArray> {
        if let Some(names) = self.filter.names_of(column) {
            return Some(one_of(array.as_string_view(), names));
        }
        let (low, high) = self.filter.range_of(column)?;
        let values = match array.data_type() {
            DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().values(),
            _ => array.as_primitive::<Int64Type>().values(),
        };
        let inside = BooleanBuffer::collect_bool(values.len(), |i| low <= values[i] && values[i] <= high);
        Some(BooleanArray::new(inside, None))
    }
}

/// Equal names stand together, so that the set is asked once per run of them.
fn one_of(names: &StringViewArray, wanted: &BTreeSet<Arc<str>>) -> BooleanArray {
    let mut last: Option<(&str, bool)> = None;
    let keep = BooleanBuffer::collect_bool(names.len(), |i| {
        let name = names.value(i);
        match last {
            Some((known, answer)) if known == name => answer,
            _ => {
                let answer = wanted.contains(name);
                last = Some((name, answer));
                answer
            }
        }
    });
    BooleanArray::new(keep, None)
}

impl Iterator for SegmentScan {
    type Item = Result<RecordBatch, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = self.reader.next()?.and_then(|batch| self.finish(&batch));
            match batch {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => return Some(Ok(batch)),
                Err(source) => return Some(Err(SegmentError::Arrow { path: self.path.clone(), source })),
            }
        }
    }
}
