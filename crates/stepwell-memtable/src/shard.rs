//! The memtable: one writer inserts, any number of readers take views.

use std::sync::{Arc, PoisonError, RwLock};

use stepwell_types::{Batch, Lsn};

use crate::{
    chunk::{CHUNK_ROWS, Chunk, ROW_BYTES},
    series::SeriesTable,
    view::MemtableView,
};

/// Which rows of a batch to insert.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    All,
    /// Positions in the batch, rising.
    Some(&'a [u32]),
}

/// Points of one shard. Invariant: rows are in LSN order, because the one writer inserts batches in LSN order.
#[derive(Default)]
pub struct Memtable {
    pub(crate) state: RwLock<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) first_lsn: u64,
    pub(crate) full: Vec<Arc<Chunk>>,
    pub(crate) filling: Chunk,
    pub(crate) series: SeriesTable,
}

impl State {
    pub(crate) fn len(&self) -> usize {
        self.full.len() * CHUNK_ROWS + self.filling.len()
    }

    fn push(&mut self, series: u32, lsn: u64, step: i64, timestamp_us: i64, value: f64) {
        if self.filling.len() == CHUNK_ROWS || self.filling.series.capacity() == 0 {
            let full = std::mem::replace(&mut self.filling, Chunk::with_room());
            if full.len() > 0 {
                self.full.push(Arc::new(full));
            }
        }
        let row = self.len() as u32;
        let chunk = &mut self.filling;
        chunk.series.push(series);
        chunk.previous.push(std::mem::replace(&mut self.series.last_row[series as usize], row));
        chunk.lsn_offset.push((lsn - self.first_lsn) as u32);
        chunk.step.push(step);
        chunk.timestamp_us.push(timestamp_us);
        chunk.value.push(value);
        self.series.note_step(series, step);
    }
}

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts the chosen rows; row `i` of the batch has LSN `first_lsn + i`. One caller at a time, in LSN order; a memtable
    /// takes fewer than 2^32 LSNs, which its owner's budget of bytes ensures.
    pub fn insert(&self, batch: &Batch, first_lsn: Lsn, rows: Rows<'_>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.len() == 0 {
            state.first_lsn = first_lsn.0;
        }
        // Resolved once per series of the batch, and only for series that have a row here.
        let mut known: Vec<Option<u32>> = vec![None; batch.series().len()];
        let mut push = |row: usize| {
            let of_batch = batch.series_index()[row] as usize;
            let series = match known[of_batch] {
                Some(series) => series,
                None => *known[of_batch].insert(state.series.intern(&batch.series()[of_batch])),
            };
            let lsn = first_lsn.0 + row as u64;
            state.push(series, lsn, batch.step()[row], batch.timestamp_us()[row], batch.value()[row]);
        };
        match rows {
            Rows::All => (0..batch.len()).for_each(&mut push),
            Rows::Some(rows) => rows.iter().for_each(|&row| push(row as usize)),
        }
    }

    /// Approximate heap bytes, for budgets.
    pub fn heap_bytes(&self) -> usize {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.len() * ROW_BYTES + state.series.heap_bytes()
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of distinct series.
    pub fn series_len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).series.len()
    }

    /// The points with an LSN below `visible_below`, as they are now; later inserts do not change the view.
    pub fn view(self: &Arc<Self>, visible_below: Lsn) -> MemtableView {
        MemtableView::new(self, visible_below)
    }
}
