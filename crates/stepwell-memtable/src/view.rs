//! What a reader sees of a memtable.

use std::sync::{Arc, RwLockReadGuard};

use stepwell_types::{Lsn, PointFilter, SeriesKey};

use crate::{
    parts::SeriesParts,
    rows::{Chain, Row},
    shard::{Memtable, State},
};

/// A series found in a view.
#[derive(Debug, Clone)]
pub struct SeriesHandle {
    key: SeriesKey,
    number: u32,
}

impl SeriesHandle {
    /// The names of the series.
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }
}

/// The points of a memtable below an LSN. Cheap to take and to clone; valid while inserts go on.
#[derive(Clone)]
pub struct MemtableView {
    memtable: Arc<Memtable>,
    visible_below: u64,
    rows_max: usize,
}

impl MemtableView {
    pub(crate) fn new(memtable: &Arc<Memtable>, visible_below: Lsn) -> Self {
        let state = memtable.read();
        let rows_max = if state.first_lsn < visible_below.0 { state.rows.len() } else { 0 };
        drop(state);
        Self { memtable: memtable.clone(), visible_below: visible_below.0, rows_max }
    }

    /// Number of points, or a few more: those inserted and not yet visible when the view was taken.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Whether it shows no point.
    pub fn is_empty(&self) -> bool {
        self.rows_max == 0
    }

    /// The series whose names pass and of which the view shows a point, sorted by key.
    pub fn series(&self, filter: &PointFilter) -> Vec<SeriesHandle> {
        let state = self.memtable.read();
        let handle = |number: u32| SeriesHandle { key: state.series.key(number), number };
        let numbers = state.series.matching(filter).into_iter().filter(|number| self.shows(&state, *number));
        let mut found: Vec<SeriesHandle> = numbers.map(handle).collect();
        drop(state);
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found
    }

    /// All series of which the view shows a point, sorted by key. One at a time: a flush of a million of them holds their
    /// numbers, not their names.
    pub fn in_key_order(&self) -> impl Iterator<Item = SeriesHandle> + use<> {
        let view = self.clone();
        let numbers = self.memtable.read().series.in_key_order();
        numbers.into_iter().filter_map(move |number| {
            let state = view.memtable.read();
            view.shows(&state, number).then(|| SeriesHandle { key: state.series.key(number), number })
        })
    }

    /// Whether a series began within the view.
    fn shows(&self, state: &State, number: u32) -> bool {
        let first_lsn = state.rows.first_lsn(&state.series.chains[number as usize]);
        first_lsn.is_some_and(|lsn| lsn < self.visible_below)
    }

    /// Reads the points of a series that pass the step and timestamp ranges, part by part. `series` comes from this view.
    pub fn parts(&self, series: &SeriesHandle, filter: &PointFilter) -> SeriesParts {
        SeriesParts::new(self.clone(), series.number, filter)
    }

    /// Smallest and largest step of a series that the view shows; `None` if it shows no point.
    pub fn steps(&self, series: &SeriesHandle) -> Option<(i64, i64)> {
        let state = self.memtable.read();
        let steps = self.shown(&state, series.number).flatten().map(|row| row.step);
        steps.fold(None, |bounds, step| match bounds {
            None => Some((step, step)),
            Some((low, high)) => Some((step.min(low), step.max(high))),
        })
    }

    /// Number of points of a series that the view shows.
    pub fn rows(&self, series: &SeriesHandle) -> u64 {
        self.shown(&self.memtable.read(), series.number).map(|rows| rows.len() as u64).sum()
    }

    pub(crate) fn lock(&self) -> RwLockReadGuard<'_, State> {
        self.memtable.read()
    }

    /// The rows of a series that the view shows, block by block, in the order of LSNs.
    pub(crate) fn shown<'a>(&self, state: &'a State, number: u32) -> impl Iterator<Item = &'a [Row]> + use<'a> {
        let below = self.visible_below;
        let blocks = state.rows.blocks(&state.series.chains[number as usize]);
        // LSNs rise along a series: what is not visible is at its end.
        blocks
            .map(move |block| match block.last() {
                Some(last) if last.lsn < below => block,
                _ => &block[..block.partition_point(|row| row.lsn < below)],
            })
            .take_while(|rows| !rows.is_empty())
    }

    /// LSN of the last point of a series that the view shows; 0 if it shows none.
    pub fn last_lsn(&self, series: &SeriesHandle) -> u64 {
        let state = self.memtable.read();
        let shown = |block: &[Row]| block.partition_point(|row| row.lsn < self.visible_below);
        let last = |block: &[Row]| shown(block).checked_sub(1).map(|at| block[at].lsn);
        state.rows.blocks(&state.series.chains[series.number as usize]).filter_map(last).last().unwrap_or(0)
    }

    /// The largest step of any metric of a run.
    pub fn last_step(&self, project_id: &str, run_id: &str) -> Option<i64> {
        let state = self.memtable.read();
        let last = |chain: &Chain| {
            let shown = |row: &&Row| row.lsn < self.visible_below;
            match state.rows.blocks(chain).last()?.last() {
                // All of its points are shown, the largest step of which it knows.
                Some(row) if shown(&row) => Some(chain.max_step),
                _ => state.rows.blocks(chain).flatten().take_while(shown).map(|row| row.step).max(),
            }
        };
        state.series.of_run(project_id, run_id).filter_map(last).max()
    }
}
