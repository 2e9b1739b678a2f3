//! What a reader sees of a memtable.

use std::sync::{Arc, PoisonError};

use stepwell_types::{Lsn, PointFilter, SeriesColumns, SeriesKey};

use crate::{
    chunk::{CHUNK_ROWS, Chunk, NO_ROW},
    shard::Memtable,
};

/// A series found in a view.
#[derive(Debug, Clone)]
pub struct SeriesHandle {
    key: SeriesKey,
    /// A row at or after the last one of the series that the view shows; the walk starts here.
    last_row: u32,
}

impl SeriesHandle {
    /// The names of the series.
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }
}

/// The first `rows` rows of a memtable. Cheap to clone; valid while inserts go on.
#[derive(Clone)]
pub struct MemtableView {
    memtable: Arc<Memtable>,
    chunks: Arc<Vec<Arc<Chunk>>>,
    first_lsn: u64,
    rows: usize,
}

impl MemtableView {
    pub(crate) fn new(memtable: &Arc<Memtable>, visible_below: Lsn) -> Self {
        let state = memtable.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = state.full.clone();
        if state.filling.len() > 0 {
            chunks.push(Arc::new(state.filling.clone()));
        }
        let first_lsn = state.first_lsn;
        let is_visible =
            |row: usize| first_lsn + u64::from(chunks[row / CHUNK_ROWS].lsn_offset[row % CHUNK_ROWS]) < visible_below.0;
        // Nearly always all rows are visible; else LSNs rise with rows, so that a binary search finds the end.
        let (mut low, mut high) = (0, state.len());
        if high > 0 && is_visible(high - 1) {
            low = high;
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_visible(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Self { memtable: memtable.clone(), chunks: Arc::new(chunks), first_lsn, rows: low }
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it shows no point.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The series whose names pass and of which the view may show a point, sorted by key.
    pub fn series(&self, filter: &PointFilter) -> Vec<SeriesHandle> {
        let state = self.memtable.state.read().unwrap_or_else(PoisonError::into_inner);
        let handle = |series: u32| SeriesHandle {
            key: state.series.key(series).clone(),
            last_row: state.series.last_row[series as usize],
        };
        let mut found: Vec<SeriesHandle> = state.series.matching(filter).into_iter().map(handle).collect();
        drop(state);
        // A series that began after the view has no row in it.
        found.retain_mut(|handle| {
            handle.last_row = self.visible(handle.last_row);
            handle.last_row != NO_ROW
        });
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// Walks back from `row` to the first row of its series that the view shows. Rows after the view are read under the
    /// memtable's lock, since the chunks held here end before them.
    fn visible(&self, mut row: u32) -> u32 {
        if row == NO_ROW || (row as usize) < self.rows {
            return row;
        }
        let state = self.memtable.state.read().unwrap_or_else(PoisonError::into_inner);
        while row != NO_ROW && row as usize >= self.rows {
            let chunk = row as usize / CHUNK_ROWS;
            let chunk = state.full.get(chunk).map_or(&state.filling, |chunk| chunk);
            row = chunk.previous[row as usize % CHUNK_ROWS];
        }
        row
    }

    /// Appends the points of a series that pass the step and timestamp ranges, sorted by (step, LSN). `series` comes from
    /// this view.
    pub fn read(&self, series: &SeriesHandle, filter: &PointFilter, out: &mut SeriesColumns) {
        let mut points = SeriesColumns::default();
        let mut row = series.last_row;
        while row != NO_ROW {
            let chunk = &self.chunks[row as usize / CHUNK_ROWS];
            let at = row as usize % CHUNK_ROWS;
            if filter.accepts_point(chunk.step[at], chunk.timestamp_us[at]) {
                let lsn = self.first_lsn + u64::from(chunk.lsn_offset[at]);
                points.push(chunk.step[at], chunk.timestamp_us[at], chunk.value[at], lsn);
            }
            row = chunk.previous[at];
        }
        // The walk went backwards; most series are in step order already, so that the sort then has nothing to do.
        points.step.reverse();
        points.timestamp_us.reverse();
        points.value.reverse();
        points.lsn.reverse();
        points.sort();
        out.append(&points);
    }

    /// The largest step that any metric of the run has had, points after the view included.
    pub fn last_step(&self, project_id: &str, run_id: &str) -> Option<i64> {
        let state = self.memtable.state.read().unwrap_or_else(PoisonError::into_inner);
        state.series.last_step(project_id, run_id)
    }
}
