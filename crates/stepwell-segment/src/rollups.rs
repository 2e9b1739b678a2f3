//! Rows of the table of rollups: the buckets of long series on grids of several widths.

use std::ops::Range;

use arrow::array::RecordBatch;
use stepwell_kernels::{BucketState, CompensatedSum};
use stepwell_types::{Bucket, SeriesKey};

use crate::{
    error::SegmentError,
    format::STEP,
    stored::{Stored, StoredRows, push},
    table_writer::TableWriter,
};

/// Positions of the columns that rows are found by.
pub(crate) const LEVEL: usize = STEP;
pub(crate) const FIRST_STEP: usize = STEP + 1;
pub(crate) const LAST_STEP: usize = STEP + 2;

/// Adds the next cells of one level of a series; without a table (no series is long enough) there is none to add.
pub(crate) fn append(
    table: Option<&mut TableWriter>,
    key: &SeriesKey,
    level: u32,
    cells: &[BucketState],
) -> Result<(), SegmentError> {
    let Some(table) = table else { return Ok(()) };
    for cell in cells {
        let (b, sum) = cell.parts();
        let (sum, compensation) = sum.parts();
        let row: [Stored; 17] = [
            i64::from(level).into(),
            b.first_step.into(),
            b.last_step.into(),
            b.first_time_us.into(),
            b.last_time_us.into(),
            b.finite.into(),
            b.nan.into(),
            b.pos_inf.into(),
            b.neg_inf.into(),
            b.min.into(),
            b.min_step.into(),
            b.max.into(),
            b.max_step.into(),
            sum.into(),
            compensation.into(),
            b.first.into(),
            b.last.into(),
        ];
        table.append(key, 1, |columns| push(columns, row))?;
    }
    Ok(())
}

/// The cells of rows of a batch of the whole table, series by series.
pub(crate) fn decode(batch: &RecordBatch, wanted: Range<usize>, out: &mut Vec<(SeriesKey, Vec<BucketState>)>) {
    let rows = StoredRows::new(batch);
    let [first_step, last_step, first_time, last_time, min_step, max_step] =
        [1, 2, 3, 4, 10, 12].map(|at| rows.integers(at));
    let [finite, nan, pos_inf, neg_inf] = [5, 6, 7, 8].map(|at| rows.counts(at));
    let [min, max, sum, compensation, first, last] = [9, 11, 13, 14, 15, 16].map(|at| rows.values(at));
    rows.for_each_series(wanted, |key, range| {
        let cells = range.map(|i| {
            let bucket = Bucket {
                first_step: first_step[i],
                last_step: last_step[i],
                first_time_us: first_time[i],
                last_time_us: last_time[i],
                count: finite[i] + nan[i] + pos_inf[i] + neg_inf[i],
                finite: finite[i],
                nan: nan[i],
                pos_inf: pos_inf[i],
                neg_inf: neg_inf[i],
                min: min[i],
                min_step: min_step[i],
                max: max[i],
                max_step: max_step[i],
                sum: 0.0,
                first: first[i],
                last: last[i],
            };
            BucketState::from_parts(bucket, CompensatedSum::from_parts(sum[i], compensation[i]))
        });
        match out.last_mut() {
            Some((last, known)) if *last == key => known.extend(cells),
            _ => out.push((key, cells.collect())),
        }
    });
}
