//! Reading points as Arrow batches, or series by series.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
        StringViewArray, TimestampMicrosecondArray, UInt64Array, make_view,
    },
    buffer::{Buffer, ScalarBuffer},
    compute::filter_record_batch,
    datatypes::{Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType, UInt64Type},
};
use stepwell_memtable::{MemtableView, SeriesHandle, SeriesParts};
use stepwell_segment::{Names, Segment};
use stepwell_types::{PointFilter, SeriesColumns, SeriesKey, points_schema};

use crate::{error::EngineError, exclusions::Exclusions};

#[derive(Clone)]
pub(crate) enum Source {
    Segment(Segment),
    Memory { view: MemtableView, series: Arc<Vec<SeriesHandle>> },
}

impl Source {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Segment(segment) => segment.meta().rows == 0,
            Self::Memory { series, .. } => series.is_empty(),
        }
    }
}

/// One sorted part of a scan. Cheap to clone; opening it does the reading.
#[derive(Clone)]
pub struct ScanPartition {
    pub(crate) source: Source,
    pub(crate) filter: Arc<PointFilter>,
    /// `None` if there is nothing to leave out.
    exclusions: Option<Arc<Exclusions>>,
}

/// Batches of one partition, in order. Blocks on memory and disk.
pub type PointScan = Box<dyn Iterator<Item = Result<RecordBatch, EngineError>> + Send>;

impl ScanPartition {
    pub(crate) fn new(source: Source, filter: Arc<PointFilter>, exclusions: &Arc<Exclusions>) -> Self {
        let spares = match &source {
            Source::Segment(segment) => exclusions.spare(segment.meta()),
            Source::Memory { .. } => exclusions.is_empty(),
        };
        Self { source, filter, exclusions: (!spares).then(|| exclusions.clone()) }
    }

    /// An upper estimate of the rows it yields, for planning.
    pub fn rows_estimate(&self) -> u64 {
        match &self.source {
            Source::Segment(segment) => segment.scan_rows_estimate(&self.filter),
            Source::Memory { view, .. } => view.rows_max() as u64,
        }
    }

    /// Whether it holds points in memory, until it and what was opened of it are dropped.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.source, Source::Memory { .. })
    }

    /// What its points pass.
    pub fn filter(&self) -> &PointFilter {
        &self.filter
    }

    /// Of the points of this partition those that pass `filter`, which must be no wider than its own; `None` if there are
    /// none for sure.
    pub fn narrowed(&self, filter: PointFilter) -> Option<Self> {
        let source = match &self.source {
            Source::Segment(segment) if !segment.meta().might_match(&filter) => return None,
            Source::Segment(segment) => Source::Segment(segment.clone()),
            Source::Memory { view, .. } => {
                Source::Memory { view: view.clone(), series: Arc::new(view.series(&filter)) }
            }
        };
        (!source.is_empty()).then(|| Self { source, filter: Arc::new(filter), exclusions: self.exclusions.clone() })
    }

    /// Starts reading. `projection` picks columns of [`points_schema`] by index, in the order wanted; batches have at most
    /// `batch_rows` rows. With [`Names::Numbers`] the names of some batches are numbers into a dictionary, of others views.
    pub fn open(&self, projection: &[usize], names: Names, batch_rows: usize) -> Result<PointScan, EngineError> {
        match &self.source {
            Source::Segment(segment) => {
                if let Some(exclusions) = &self.exclusions {
                    return without(segment, &self.filter, exclusions.clone(), projection, batch_rows);
                }
                let scan = segment.scan(&self.filter, projection, names, batch_rows)?;
                Ok(Box::new(scan.map(|batch| batch.map_err(EngineError::from))))
            }
            Source::Memory { view, series } => Ok(Box::new(MemoryScan {
                schema: Arc::new(points_schema().project(projection)?),
                projection: projection.to_vec(),
                batch_rows: batch_rows.max(1),
                view: view.clone(),
                series: series.clone(),
                filter: self.filter.clone(),
                exclusions: self.exclusions.clone(),
                next_series: 0,
                parts: None,
                current: SeriesColumns::default(),
                taken: 0,
            })),
        }
    }

    /// Calls `visit` with consecutive parts of each series, each part sorted by (step, LSN), until it fails.
    pub(crate) fn for_each_series(
        &self,
        batch_rows: usize,
        mut visit: impl FnMut(&SeriesKey, &SeriesColumns) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        match &self.source {
            Source::Segment(segment) => {
                #[cfg(test)]
                SEGMENT_SCANS.with(|scans| scans.set(scans.get() + 1));
                for batch in segment.scan(&self.filter, &[0, 1, 2, 3, 4, 5, 6], Names::Numbers, batch_rows)? {
                    let mut visited = Ok(());
                    split_by_series(&batch?, &mut |key, points| match &self.exclusions {
                        _ if visited.is_err() => {}
                        None => visited = visit(key, points),
                        Some(exclusions) => {
                            let mut points = points.clone();
                            exclusions.apply(key, &mut points);
                            if !points.is_empty() {
                                visited = visit(key, &points);
                            }
                        }
                    });
                    visited?;
                }
            }
            Source::Memory { view, series } => {
                let mut columns = SeriesColumns::default();
                for handle in series.iter() {
                    let mut parts = view.parts(handle, &self.filter);
                    while parts.read(&mut columns) {
                        if let Some(exclusions) = &self.exclusions {
                            exclusions.apply(handle.key(), &mut columns);
                        }
                        if !columns.is_empty() {
                            visit(handle.key(), &columns)?;
                        }
                        columns.clear();
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
std::thread_local! {
    /// Scans of a segment, series by series, that this thread has begun.
    pub(crate) static SEGMENT_SCANS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Batches of a segment without the excluded points. All columns are read, for names, timestamp and LSN decide.
fn without(
    segment: &Segment,
    filter: &PointFilter,
    exclusions: Arc<Exclusions>,
    projection: &[usize],
    batch_rows: usize,
) -> Result<PointScan, EngineError> {
    let all: Vec<usize> = (0..points_schema().fields().len()).collect();
    let projection = projection.to_vec();
    let scan = segment.scan(filter, &all, Names::Views, batch_rows)?;
    let filtered = scan.map(move |batch| -> Result<RecordBatch, EngineError> {
        let batch = batch?;
        let mut keep: Vec<bool> = Vec::with_capacity(batch.num_rows());
        split_by_series(&batch, &mut |key, points| {
            let tombstones: Vec<_> = exclusions.of_series(key).collect();
            let is_kept = |i: usize| !tombstones.iter().any(|t| t.covers(points.timestamp_us[i], points.lsn[i]));
            keep.extend((0..points.len()).map(is_kept));
        });
        Ok(filter_record_batch(&batch.project(&projection)?, &BooleanArray::from(keep))?)
    });
    Ok(Box::new(filtered.filter(|batch| !matches!(batch, Ok(batch) if batch.num_rows() == 0))))
}

/// A column of names.
enum NameColumn<'a> {
    Views(&'a StringViewArray),
    Numbers(&'a [i32], &'a StringArray),
}

impl<'a> NameColumn<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        match array.as_dictionary_opt::<Int32Type>() {
            Some(numbers) => Self::Numbers(numbers.keys().values(), numbers.values().as_string()),
            None => Self::Views(array.as_string_view()),
        }
    }

    fn value(&self, row: usize) -> &'a str {
        match self {
            Self::Views(names) => names.value(row),
            Self::Numbers(numbers, names) => names.value(numbers[row] as usize),
        }
    }

    /// Whether two rows have one name for sure.
    fn is_same(&self, a: usize, b: usize) -> bool {
        match self {
            Self::Views(names) => names.value(a) == names.value(b),
            Self::Numbers(numbers, _) => numbers[a] == numbers[b],
        }
    }
}

pub(crate) fn split_by_series(batch: &RecordBatch, visit: &mut impl FnMut(&SeriesKey, &SeriesColumns)) {
    let names = [0, 1, 2].map(|column| NameColumn::of(batch.column(column)));
    let step = batch.column(3).as_primitive::<Int64Type>().values();
    let timestamp_us = batch.column(4).as_primitive::<TimestampMicrosecondType>().values();
    let value = batch.column(5).as_primitive::<Float64Type>().values();
    let lsn = batch.column(6).as_primitive::<UInt64Type>().values();
    let mut start = 0;
    for end in 1..=batch.num_rows() {
        if end < batch.num_rows() && names.iter().all(|column| column.is_same(end, start)) {
            continue;
        }
        let key = SeriesKey::new(names[0].value(start), names[1].value(start), names[2].value(start));
        let part = SeriesColumns {
            step: step[start..end].to_vec(),
            timestamp_us: timestamp_us[start..end].to_vec(),
            value: value[start..end].to_vec(),
            lsn: lsn[start..end].to_vec(),
        };
        visit(&key, &part);
        start = end;
    }
}

struct MemoryScan {
    schema: SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
    view: MemtableView,
    series: Arc<Vec<SeriesHandle>>,
    filter: Arc<PointFilter>,
    exclusions: Option<Arc<Exclusions>>,
    next_series: usize,
    /// The parts to come of the series before `next_series`.
    parts: Option<SeriesParts>,
    /// A part of that series; points before `taken` are out already.
    current: SeriesColumns,
    taken: usize,
}

/// Rows of one batch that belong to one series.
struct Run {
    series: usize,
    rows: usize,
}

impl Iterator for MemoryScan {
    type Item = Result<RecordBatch, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut points = SeriesColumns::default();
        let mut runs = Vec::new();
        while points.len() < self.batch_rows {
            if self.taken == self.current.len() {
                if !self.read_on() {
                    break;
                }
                continue;
            }
            let rows = (self.batch_rows - points.len()).min(self.current.len() - self.taken);
            let range = self.taken..self.taken + rows;
            points.step.extend_from_slice(&self.current.step[range.clone()]);
            points.timestamp_us.extend_from_slice(&self.current.timestamp_us[range.clone()]);
            points.value.extend_from_slice(&self.current.value[range.clone()]);
            points.lsn.extend_from_slice(&self.current.lsn[range.clone()]);
            self.taken = range.end;
            runs.push(Run { series: self.next_series - 1, rows });
        }
        (!points.is_empty()).then(|| self.to_batch(points, &runs))
    }
}

impl MemoryScan {
    /// Reads the next part, of the series at hand or of the next one; false at the end.
    fn read_on(&mut self) -> bool {
        self.current.clear();
        self.taken = 0;
        let has_more = |parts: &mut SeriesParts| parts.read(&mut self.current);
        if !self.parts.as_mut().is_some_and(has_more) {
            let Some(handle) = self.series.get(self.next_series) else { return false };
            self.parts = Some(self.view.parts(handle, &self.filter));
            self.next_series += 1;
            return true;
        }
        if let Some(exclusions) = &self.exclusions {
            exclusions.apply(self.series[self.next_series - 1].key(), &mut self.current);
        }
        true
    }

    fn to_batch(&self, mut points: SeriesColumns, runs: &[Run]) -> Result<RecordBatch, EngineError> {
        let rows = points.len();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.projection.len());
        for &column in &self.projection {
            columns.push(match column {
                0 => self.names(runs, rows, |key| &key.project_id)?,
                1 => self.names(runs, rows, |key| &key.metric)?,
                2 => self.names(runs, rows, |key| &key.run_id)?,
                3 => Arc::new(Int64Array::from(std::mem::take(&mut points.step))),
                4 => {
                    let micros = TimestampMicrosecondArray::from(std::mem::take(&mut points.timestamp_us));
                    Arc::new(micros.with_timezone("UTC"))
                }
                5 => Arc::new(Float64Array::from(std::mem::take(&mut points.value))),
                _ => Arc::new(UInt64Array::from(std::mem::take(&mut points.lsn))),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// One view per row into one buffer that holds each name once.
    fn names(
        &self,
        runs: &[Run],
        rows: usize,
        name: impl Fn(&SeriesKey) -> &Arc<str>,
    ) -> Result<ArrayRef, EngineError> {
        let mut text = Vec::new();
        let mut views: Vec<u128> = Vec::with_capacity(rows);
        for run in runs {
            let bytes = name(self.series[run.series].key()).as_bytes();
            // Names are at most a few hundred bytes and runs at most `batch_rows`, so offsets stay far below 2^32.
            let view = make_view(bytes, 0, text.len() as u32);
            text.extend_from_slice(bytes);
            views.extend(std::iter::repeat_n(view, run.rows));
        }
        let buffers = vec![Buffer::from(text)];
        let array = StringViewArray::try_new(ScalarBuffer::from(views), buffers, None)?;
        debug_assert_eq!(array.len(), rows);
        Ok(Arc::new(array))
    }
}
