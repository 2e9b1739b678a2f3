//! One segment as the merge reads it: its series in key order, and the rows of each.

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use stepwell_segment::{Names, Segment, SegmentScan, SeriesInFile, SeriesList};
use stepwell_types::{PointFilter, SeriesColumns};

use crate::error::EngineError;

/// Rows read at a time.
const BATCH_ROWS: usize = 8_192;

/// Names come from the list of series, so that of the rows only the numbers are decoded.
pub(crate) struct Input {
    series: SeriesList,
    rows: Rows,
}

impl Input {
    pub(crate) fn open(segment: &Segment) -> Result<Self, EngineError> {
        let rows = segment.scan(&PointFilter::default(), &[3, 4, 5, 6], Names::Views, BATCH_ROWS)?;
        Ok(Self { series: segment.series_list()?, rows: Rows::new(rows) })
    }

    pub(crate) fn next_series(&mut self) -> Result<Option<SeriesInFile>, EngineError> {
        Ok(self.series.next().transpose()?)
    }

    /// As [`Rows::read`]: the rows of a series are read wholly before those of the next.
    pub(crate) fn read(&mut self, rows_max: u64, out: &mut SeriesColumns) -> Result<usize, EngineError> {
        self.rows.read(rows_max, out)
    }
}

/// The rows of a segment without their names, a batch of them in memory.
pub(crate) struct Rows {
    scan: SegmentScan,
    batch: Option<RecordBatch>,
    /// Rows of `batch` that are read already.
    taken: usize,
}

impl Rows {
    /// Of a scan of step, timestamp, value and LSN.
    pub(crate) fn new(scan: SegmentScan) -> Self {
        Self { scan, batch: None, taken: 0 }
    }

    /// Appends the next rows, at least one and at most `rows_max`; returns how many.
    pub(crate) fn read(&mut self, rows_max: u64, out: &mut SeriesColumns) -> Result<usize, EngineError> {
        if self.batch.as_ref().is_none_or(|batch| self.taken == batch.num_rows()) {
            self.batch = self.scan.next().transpose()?;
            self.taken = 0;
        }
        let Some(batch) = &self.batch else { return Err(EngineError::RowsMissing) };
        let rows = (batch.num_rows() - self.taken).min(usize::try_from(rows_max).unwrap_or(usize::MAX));
        let range = self.taken..self.taken + rows;
        out.step.extend_from_slice(&batch.column(0).as_primitive::<Int64Type>().values()[range.clone()]);
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().values();
        out.timestamp_us.extend_from_slice(&times[range.clone()]);
        out.value.extend_from_slice(&batch.column(2).as_primitive::<Float64Type>().values()[range.clone()]);
        out.lsn.extend_from_slice(&batch.column(3).as_primitive::<UInt64Type>().values()[range]);
        self.taken += rows;
        Ok(rows)
    }
}
