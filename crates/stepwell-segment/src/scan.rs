//! Reading the rows that pass a filter.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, RecordBatch, RecordBatchOptions, StringViewArray,
    },
    buffer::BooleanBuffer,
    compute::{and, filter_record_batch},
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
            RowSelection,
        },
    },
    errors::ParquetError,
};

use crate::{
    error::SegmentError,
    filter::RowFilter,
    format::STEP,
    prune::{GroupRows, matching_rows},
    table::Table,
};

/// How the wanted columns of names come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A view per row, as in the table's schema.
    Views,
    /// As they are stored: a number per row into the names of a dictionary, which may hold others too.
    Numbers,
}

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
        names: Names,
        batch_rows: usize,
    ) -> Result<Self, SegmentError> {
        let path = table.path().to_owned();
        let metadata = table.footer()?.metadata();
        let groups = matching_rows(metadata, &filter);
        let columns = table.schema().fields().len();
        let read: Vec<usize> = (0..columns).filter(|c| projection.contains(c) || filter.restricts(*c)).collect();
        // Names that are only asked about need no view per row.
        let numbered = |column: usize| column < STEP && (names == Names::Numbers || !projection.contains(&column));
        let schema = with_numbers(table.schema(), numbered);
        let options = ArrowReaderOptions::new().with_schema(schema.clone());
        let reader = ArrowReaderMetadata::try_new(metadata.clone(), options)
            .and_then(|metadata| open(table.bytes(), metadata, &read, &groups, batch_rows))
            .map_err(|source| SegmentError::Parquet { path: path.clone(), source })?;
        let output = projection.iter().filter_map(|wanted| read.iter().position(|column| column == wanted)).collect();
        let schema = schema.project(projection).map_err(|source| SegmentError::Arrow { path: path.clone(), source })?;
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
            return Some(match array.as_dictionary_opt::<Int32Type>() {
                Some(numbers) => one_of_numbered(numbers, names),
                None => one_of(array.as_string_view(), names),
            });
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

/// The schema of a table with the names of some columns as numbers into a dictionary.
fn with_numbers(schema: &Schema, numbered: impl Fn(usize) -> bool) -> SchemaRef {
    let numbers = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let field = |(column, field): (usize, &Arc<Field>)| match numbered(column) {
        true => Arc::new(field.as_ref().clone().with_data_type(numbers.clone())),
        false => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn open(
    bytes: &Bytes,
    metadata: ArrowReaderMetadata,
    columns: &[usize],
    groups: &[GroupRows],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let mask = ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied());
    let selection: Vec<_> = groups.iter().flat_map(|group| Vec::from(group.selection())).collect();
    ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata)
        .with_projection(mask)
        .with_row_groups(groups.iter().map(|group| group.row_group).collect())
        .with_row_selection(RowSelection::from(selection))
        .with_batch_size(batch_rows.max(1))
        .build()
}

/// Whether the name of each row is wanted. Equal names stand together, so that the set is asked once per run of them.
fn one_of_numbered(names: &DictionaryArray<Int32Type>, wanted: &BTreeSet<Arc<str>>) -> BooleanArray {
    let numbers = names.keys().values();
    let texts = names.values().as_string::<i32>();
    let is_wanted = |number: i32| usize::try_from(number).is_ok_and(|number| wanted.contains(texts.value(number)));
    let Some(first) = numbers.first().copied() else { return BooleanArray::new(BooleanBuffer::new_unset(0), None) };
    let mut last = (first, is_wanted(first));
    // Most batches are of one name; that is seen faster without a branch per row.
    let keep = match numbers.iter().fold(true, |all, number| all & (*number == first)) {
        true if last.1 => BooleanBuffer::new_set(numbers.len()),
        true => BooleanBuffer::new_unset(numbers.len()),
        false => BooleanBuffer::collect_bool(numbers.len(), |i| {
            if numbers[i] != last.0 {
                last = (numbers[i], is_wanted(numbers[i]));
            }
            last.1
        }),
    };
    BooleanArray::new(keep, None)
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
