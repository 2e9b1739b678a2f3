//! Rows of the table of summaries: one per series of the segment.

use std::ops::Range;

use arrow::array::RecordBatch;
use stepwell_kernels::{CompensatedSum, Edge, SummaryState};
use stepwell_types::SeriesKey;

use crate::{
    error::SegmentError,
    format::{METRIC, PROJECT, RUN, STEP},
    stored::{Stored, StoredRows, push},
    table_writer::TableWriter,
};

/// What a segment says of one of its series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    pub key: SeriesKey,
    pub state: SummaryState,
    /// The finest and the coarsest level of its rollups.
    pub rollup_levels: Option<(u32, u32)>,
}

/// The part of a summary that says where points and rollups of a series are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredExtent {
    pub key: SeriesKey,
    pub first_step: i64,
    pub last_step: i64,
    /// The finest and the coarsest level of its rollups.
    pub rollup_levels: Option<(u32, u32)>,
}

/// Columns of the table that extents are made of.
pub(crate) const EXTENT_COLUMNS: [usize; 7] = [PROJECT, METRIC, RUN, STEP + 4, STEP + 8, STEP + 18, STEP + 19];

/// Columns of the table that tell the latest point of each series.
pub(crate) const LATEST_COLUMNS: [usize; 7] = [PROJECT, METRIC, RUN, STEP + 8, STEP + 20, STEP + 21, STEP + 22];

/// Stands where there is no level.
const NO_LEVEL: i64 = -1;

pub(crate) fn append(
    table: &mut TableWriter,
    key: &SeriesKey,
    state: &SummaryState,
    levels: Option<(u32, u32)>,
) -> Result<(), SegmentError> {
    let none = Edge { step: 0, lsn: 0, time_us: 0, value: f64::NAN };
    let (first, last) = (state.first.unwrap_or(none), state.last.unwrap_or(none));
    let (min, max) = (state.min.unwrap_or((f64::NAN, 0)), state.max.unwrap_or((f64::NAN, 0)));
    let (sum, compensation) = state.sum.parts();
    let (finest, coarsest) = levels.map_or((NO_LEVEL, NO_LEVEL), |(a, b)| (i64::from(a), i64::from(b)));
    let latest = state.latest.unwrap_or(last);
    let row: [Stored; 23] = [
        state.finite.into(),
        state.nan.into(),
        state.pos_inf.into(),
        state.neg_inf.into(),
        first.step.into(),
        first.time_us.into(),
        first.value.into(),
        first.lsn.into(),
        last.step.into(),
        last.time_us.into(),
        last.value.into(),
        last.lsn.into(),
        min.0.into(),
        min.1.into(),
        max.0.into(),
        max.1.into(),
        sum.into(),
        compensation.into(),
        finest.into(),
        coarsest.into(),
        latest.time_us.into(),
        latest.value.into(),
        latest.lsn.into(),
    ];
    table.append(key, 1, |columns| push(columns, row))
}

/// Rows of a batch of the whole table.
pub(crate) fn decode(batch: &RecordBatch, wanted: Range<usize>, out: &mut Vec<SeriesSummary>) {
    let rows = StoredRows::new(batch);
    let [finite, nan, pos_inf, neg_inf, first_lsn, last_lsn, latest_lsn] =
        [0, 1, 2, 3, 7, 11, 22].map(|at| rows.counts(at));
    let [first_step, first_time, last_step, last_time, min_step, max_step, finest, coarsest, latest_time] =
        [4, 5, 8, 9, 13, 15, 18, 19, 20].map(|at| rows.integers(at));
    let [first, last, min, max, sum, compensation, latest] = [6, 10, 12, 14, 16, 17, 21].map(|at| rows.values(at));
    rows.for_each_series(wanted, |key, range| {
        let i = range.start;
        let extreme = |value: &[f64], step: &[i64]| (finite[i] > 0).then(|| (value[i], step[i]));
        let state = SummaryState {
            finite: finite[i],
            nan: nan[i],
            pos_inf: pos_inf[i],
            neg_inf: neg_inf[i],
            first: Some(Edge { step: first_step[i], lsn: first_lsn[i], time_us: first_time[i], value: first[i] }),
            last: Some(Edge { step: last_step[i], lsn: last_lsn[i], time_us: last_time[i], value: last[i] }),
            latest: Some(Edge { step: last_step[i], lsn: latest_lsn[i], time_us: latest_time[i], value: latest[i] }),
            min: extreme(min, min_step),
            max: extreme(max, max_step),
            sum: CompensatedSum::from_parts(sum[i], compensation[i]),
        };
        out.push(SeriesSummary { key, state, rollup_levels: levels(finest[i], coarsest[i]) });
    });
}

/// Rows of a batch of [`EXTENT_COLUMNS`].
pub(crate) fn decode_extents(batch: &RecordBatch, wanted: Range<usize>, out: &mut Vec<StoredExtent>) {
    let rows = StoredRows::new(batch);
    let [first_step, last_step, finest, coarsest] = [0, 1, 2, 3].map(|at| rows.integers(at));
    rows.for_each_series(wanted, |key, range| {
        let i = range.start;
        let rollup_levels = levels(finest[i], coarsest[i]);
        out.push(StoredExtent { key, first_step: first_step[i], last_step: last_step[i], rollup_levels });
    });
}

/// Rows of a batch of [`LATEST_COLUMNS`].
pub(crate) fn decode_latest(batch: &RecordBatch, wanted: Range<usize>, out: &mut Vec<(SeriesKey, Edge)>) {
    let rows = StoredRows::new(batch);
    let (step, time_us, value, lsn) = (rows.integers(0), rows.integers(1), rows.values(2), rows.counts(3));
    rows.for_each_series(wanted, |key, range| {
        let i = range.start;
        out.push((key, Edge { step: step[i], time_us: time_us[i], value: value[i], lsn: lsn[i] }));
    });
}

fn levels(finest: i64, coarsest: i64) -> Option<(u32, u32)> {
    u32::try_from(finest).ok().zip(u32::try_from(coarsest).ok())
}
