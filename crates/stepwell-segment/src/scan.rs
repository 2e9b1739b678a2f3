//! Reading the rows that pass a filter.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, RecordBatch, RecordBatchOptions, StringArray,
        StringViewArray, make_view,
    },
    buffer::{BooleanBuffer, Buffer},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection},
        parquet_to_arrow_field_levels,
    },
    errors::ParquetError,
};

use crate::{
    error::{SegmentError, guarded},
    filter::RowFilter,
    footers::Footer,
    format::{METRIC, PROJECT, RUN, STEP},
    health::{Health, Place},
    pages::Pages,
    prune::{GroupRows, known_name, matching_rows},
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
    /// The wanted columns.
    output: Vec<Output>,
    schema: SchemaRef,
    source: Source,
}

/// The file that is read, for when that fails.
struct Source {
    health: Arc<Health>,
    /// Whether each page is checked when it is read: what does not decode then is no damage.
    has_sums: bool,
    /// The damage that this reader has met.
    met: Arc<OnceLock<Place>>,
}

impl Source {
    /// The damage that is why reading failed; `None` if it failed for another reason. A file without checksums of pages was whole when
    /// it was first looked at, so that what does not decode now has been damaged since.
    fn damage(&self, error: &dyn std::fmt::Display) -> Option<SegmentError> {
        if !self.has_sums {
            self.health.note(0, format!("it was whole when it was first read, and does not decode now: {error}"));
            return self.health.error();
        }
        let (offset, detail) = self.met.get()?.clone();
        Some(SegmentError::Damaged { path: self.health.path().to_owned(), offset, detail })
    }
}

/// Rows as they are read, and which of them pass if not all do.
pub(crate) type Unfiltered = (RecordBatch, Option<BooleanBuffer>);

/// Where a wanted column comes from.
enum Output {
    /// The place in what the reader yields.
    Read(usize),
    Known(KnownName),
}

impl SegmentScan {
    pub(crate) fn new(
        table: &Table,
        filter: RowFilter,
        projection: &[usize],
        names: Names,
        batch_rows: usize,
    ) -> Result<Self, SegmentError> {
        let footer = table.footer()?;
        let groups = matching_rows(footer.metadata(), &filter);
        Self::of_groups(table, (&footer, &groups), filter, projection, names, batch_rows)
    }

    /// Reads those of the rows `groups` that pass `filter`.
    pub(crate) fn of_groups(
        table: &Table,
        (footer, groups): (&Footer, &[GroupRows]),
        mut filter: RowFilter,
        projection: &[usize],
        names: Names,
        batch_rows: usize,
    ) -> Result<Self, SegmentError> {
        let (file, pages) = table.pages(footer)?;
        let source = Source { health: pages.health.clone(), has_sums: pages.sums.is_some(), met: pages.met.clone() };
        let metadata = footer.metadata();
        // Names that the index of pages tells are not decoded. Those of pages that can match and have one name are wanted.
        let known = [PROJECT, METRIC, RUN].map(|column| known_name(metadata, groups, column));
        filter.names.iter_mut().zip(&known).filter(|(_, known)| known.is_some()).for_each(|(wanted, _)| *wanted = None);
        let known = |column: usize| known.get(column).and_then(Option::as_ref);
        let is_read = |c: &usize| (projection.contains(c) && known(*c).is_none()) || filter.restricts(*c);
        let read: Vec<usize> = (0..footer.schema().fields().len()).filter(is_read).collect();
        // Names that are only asked about need no view per row.
        let numbered = |column: usize| column < STEP && (names == Names::Numbers || !projection.contains(&column));
        let schema = with_numbers(footer.schema(), numbered);
        let reader = guarded(table.path(), || {
            let row_groups = groups.iter().map(|group| group.row_group).collect();
            Pages::new(file, pages, metadata, row_groups)
                .and_then(|pages| open(&pages, footer, &schema, &read, groups, batch_rows))
                .map_err(|error| {
                    let other = |error| SegmentError::Parquet { path: table.path().to_owned(), source: error };
                    source.damage(&error).unwrap_or_else(|| other(error))
                })
        })?;
        let output = |wanted: &usize| match known(*wanted) {
            Some(name) => Some(Output::Known(KnownName::new(name, names))),
            None => read.iter().position(|column| column == wanted).map(Output::Read),
        };
        let output = projection.iter().filter_map(output).collect();
        let schema = schema
            .project(projection)
            .map_err(|source| SegmentError::Arrow { path: table.path().to_owned(), source })?;
        Ok(Self { reader, filter, read, output, schema: Arc::new(schema), source })
    }

    /// The next rows as they are read, and which of them pass if not all do: for who takes rows apart anyway.
    pub(crate) fn next_unfiltered(&mut self) -> Option<Result<Unfiltered, SegmentError>> {
        let health = self.source.health.clone();
        guarded(health.path(), || self.read_on()).inspect_err(|error| health.note_error(error)).transpose()
    }

    /// The next rows of which some pass.
    fn read_on(&mut self) -> Result<Option<Unfiltered>, SegmentError> {
        while let Some(read) = self.reader.next() {
            let batch = read.and_then(|read| {
                let keep = self.keep(&read);
                let none_passes = keep.as_ref().is_some_and(|keep| keep.count_set_bits() == 0);
                Ok((!none_passes).then_some((self.output(&read)?, keep)))
            });
            match batch {
                Ok(None) => {}
                Ok(batch) => return Ok(batch),
                Err(source) => return Err(self.error(source)),
            }
        }
        Ok(None)
    }

    fn error(&self, error: ArrowError) -> SegmentError {
        let other = |source| SegmentError::Arrow { path: self.source.health.path().to_owned(), source };
        self.source.damage(&error).unwrap_or_else(|| other(error))
    }

    /// Which rows pass; `None` if all do.
    fn keep(&self, read: &RecordBatch) -> Option<BooleanBuffer> {
        let tests = self.read.iter().zip(read.columns()).filter_map(|(column, array)| self.test(*column, array));
        tests.reduce(|a, b| &a & &b).filter(|keep| keep.count_set_bits() < read.num_rows())
    }

    /// The wanted columns.
    fn output(&self, read: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = read.num_rows();
        let column = |output: &Output| match output {
            Output::Read(place) => Ok(read.column(*place).clone()),
            Output::Known(name) => name.column(rows),
        };
        let columns = self.output.iter().map(column).collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    /// Which rows pass the filter on one column; `None` if it is free.
    fn test(&self, column: usize, array: &ArrayRef) -> Option<BooleanBuffer> {
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
        Some(BooleanBuffer::collect_bool(values.len(), |i| low <= values[i] && values[i] <= high))
    }
}

/// A column of one name.
enum KnownName {
    View(u128, Buffer),
    /// The dictionary that holds it.
    Number(ArrayRef),
}

impl KnownName {
    fn new(name: &str, names: Names) -> Self {
        match names {
            Names::Views => Self::View(make_view(name.as_bytes(), 0, 0), Buffer::from(name.as_bytes())),
            Names::Numbers => Self::Number(Arc::new(StringArray::from(vec![name]))),
        }
    }

    fn column(&self, rows: usize) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::View(view, name) => {
                Arc::new(StringViewArray::try_new(vec![*view; rows].into(), vec![name.clone()], None)?)
            }
            Self::Number(dictionary) => {
                Arc::new(DictionaryArray::<Int32Type>::try_new(vec![0; rows].into(), dictionary.clone())?)
            }
        })
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
    pages: &Pages,
    footer: &Footer,
    schema: &Schema,
    columns: &[usize],
    groups: &[GroupRows],
    batch_rows: usize,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let metadata = footer.metadata();
    let descr = metadata.file_metadata().schema_descr();
    let mask = ProjectionMask::roots(descr, columns.iter().copied());
    let levels = parquet_to_arrow_field_levels(descr, mask, Some(schema.fields()))?;
    let selection: Vec<_> = groups.iter().flat_map(|group| Vec::from(group.selection())).collect();
    // Buffers are as long as a batch.
    let batch_rows = batch_rows.clamp(1, pages.num_rows().max(1));
    ParquetRecordBatchReader::try_new_with_row_groups(&levels, pages, batch_rows, Some(RowSelection::from(selection)))
}

/// Whether the name of each row is wanted. Equal names stand together, so that the set is asked once per run of them.
fn one_of_numbered(names: &DictionaryArray<Int32Type>, wanted: &BTreeSet<Arc<str>>) -> BooleanBuffer {
    let numbers = names.keys().values();
    let texts = names.values().as_string::<i32>();
    let is_wanted = |number: i32| usize::try_from(number).is_ok_and(|number| wanted.contains(texts.value(number)));
    let Some(first) = numbers.first().copied() else { return BooleanBuffer::new_unset(0) };
    let mut last = (first, is_wanted(first));
    // Most batches are of one name; that is seen faster without a branch per row.
    match numbers.iter().fold(true, |all, number| all & (*number == first)) {
        true if last.1 => BooleanBuffer::new_set(numbers.len()),
        true => BooleanBuffer::new_unset(numbers.len()),
        false => BooleanBuffer::collect_bool(numbers.len(), |i| {
            if numbers[i] != last.0 {
                last = (numbers[i], is_wanted(numbers[i]));
            }
            last.1
        }),
    }
}

/// Equal names stand together, so that the set is asked once per run of them.
fn one_of(names: &StringViewArray, wanted: &BTreeSet<Arc<str>>) -> BooleanBuffer {
    let mut last: Option<(&str, bool)> = None;
    BooleanBuffer::collect_bool(names.len(), |i| {
        let name = names.value(i);
        match last {
            Some((known, answer)) if known == name => answer,
            _ => {
                let answer = wanted.contains(name);
                last = Some((name, answer));
                answer
            }
        }
    })
}

impl Iterator for SegmentScan {
    type Item = Result<RecordBatch, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (batch, keep) = match self.next_unfiltered()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let Some(keep) = keep else { return Some(Ok(batch)) };
        let filtered = filter_record_batch(&batch, &BooleanArray::new(keep, None));
        Some(filtered.map_err(|source| self.error(source)))
    }
}
