//! The series of a segment in key order, a batch of them in memory.

use std::{collections::VecDeque, path::PathBuf};

use arrow::array::RecordBatch;
use stepwell_types::SeriesKey;

use crate::{
    error::{SegmentError, guarded},
    filter::RowFilter,
    format::{METRIC, PROJECT, RUN, STEP},
    scan::{Names, SegmentScan},
    stored::StoredRows,
    table::Table,
    writer::SeriesExtent,
};

/// Series, or points, read at a time.
const BATCH_ROWS: usize = 8_192;

/// One series of a segment and the number of its rows, which stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesInFile {
    pub key: SeriesKey,
    /// `points` is exact.
    pub extent: SeriesExtent,
}

/// Reads the list from the summaries; from the points where there are none.
pub struct SeriesList {
    path: PathBuf,
    scan: SegmentScan,
    of_points: bool,
    ready: VecDeque<SeriesInFile>,
}

impl SeriesList {
    pub(crate) fn of_summaries(table: &Table) -> Result<Self, SegmentError> {
        // The names, the four counts, first and last step.
        let columns = [PROJECT, METRIC, RUN, STEP, STEP + 1, STEP + 2, STEP + 3, STEP + 4, STEP + 8];
        let scan = SegmentScan::new(table, RowFilter::default(), &columns, Names::Numbers, BATCH_ROWS)?;
        Ok(Self { path: table.path().to_owned(), scan, of_points: false, ready: VecDeque::new() })
    }

    pub(crate) fn of_points(table: &Table) -> Result<Self, SegmentError> {
        let columns = [PROJECT, METRIC, RUN, STEP];
        let scan = SegmentScan::new(table, RowFilter::default(), &columns, Names::Numbers, BATCH_ROWS)?;
        Ok(Self { path: table.path().to_owned(), scan, of_points: true, ready: VecDeque::new() })
    }

    fn take_in(&mut self, batch: &RecordBatch) {
        let rows = StoredRows::new(batch);
        if self.of_points {
            let step = rows.integers(0);
            rows.for_each_series(0..batch.num_rows(), |key, range| {
                let (points, first_step, last_step) = (range.len() as u64, step[range.start], step[range.end - 1]);
                match self.ready.back_mut() {
                    // A series may go on in the next batch.
                    Some(last) if last.key == key => {
                        last.extent.points += points;
                        last.extent.last_step = last_step;
                    }
                    _ => {
                        let extent = SeriesExtent { points, first_step, last_step };
                        self.ready.push_back(SeriesInFile { key, extent });
                    }
                }
            });
        } else {
            let counts = [0, 1, 2, 3].map(|at| rows.counts(at));
            let (first, last) = (rows.integers(4), rows.integers(5));
            rows.for_each_series(0..batch.num_rows(), |key, range| {
                let row = range.start;
                let points = counts.iter().map(|count| count[row]).sum();
                let extent = SeriesExtent { points, first_step: first[row], last_step: last[row] };
                self.ready.push_back(SeriesInFile { key, extent });
            });
        }
    }
}

impl Iterator for SeriesList {
    type Item = Result<SeriesInFile, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The last one read may go on in the next batch.
        while self.ready.len() < 2 {
            match self.scan.next() {
                Some(batch) => {
                    let path = self.path.clone();
                    if let Err(error) = guarded(&path, || batch.map(|batch| self.take_in(&batch))) {
                        return Some(Err(error));
                    }
                }
                None => break,
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
