//! The memtable: one writer inserts, any number of readers take views.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use stepwell_types::{Batch, Lsn};

use crate::{
    rows::{Row, RowStore, SlabPool},
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
pub struct Memtable {
    state: RwLock<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) first_lsn: u64,
    pub(crate) rows: RowStore,
    pub(crate) series: SeriesTable,
}

impl Memtable {
    /// An empty memtable, that takes its memory from `pool` and gives it back there.
    pub fn new(pool: SlabPool) -> Self {
        Self { state: RwLock::new(State { rows: RowStore::new(pool), ..State::default() }) }
    }

    /// Inserts the chosen rows; row `i` of the batch has LSN `first_lsn + i`. One caller at a time, in LSN order; a memtable
    /// takes fewer than 2^32 rows, which its owner's budget of bytes ensures.
    pub fn insert(&self, batch: &Batch, first_lsn: Lsn, rows: Rows<'_>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if state.rows.len() == 0 {
            state.first_lsn = first_lsn.0;
        }
        // Resolved once per series of the batch, and only for series that have a row here.
        const UNKNOWN: u32 = u32::MAX;
        let mut known: Vec<u32> = vec![UNKNOWN; batch.series().len()];
        let (index, step, timestamp_us, value) =
            (batch.series_index(), batch.step(), batch.timestamp_us(), batch.value());
        let mut push = |row: usize| {
            let of_batch = index[row] as usize;
            let mut series = known[of_batch];
            if series == UNKNOWN {
                series = state.series.intern(&batch.series()[of_batch]);
                known[of_batch] = series;
            }
            let point = Row {
                step: step[row],
                timestamp_us: timestamp_us[row],
                value: value[row],
                lsn: first_lsn.0 + row as u64,
            };
            state.rows.push(&mut state.series.chains[series as usize], point);
        };
        match rows {
            Rows::All => (0..batch.len()).for_each(&mut push),
            Rows::Some(rows) => rows.iter().for_each(|&row| push(row as usize)),
        }
    }

    /// Approximate heap bytes, for budgets.
    pub fn heap_bytes(&self) -> usize {
        let state = self.read();
        state.rows.heap_bytes() + state.series.heap_bytes()
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.read().rows.len()
    }

    /// Whether it holds no point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of distinct series.
    pub fn series_len(&self) -> usize {
        self.read().series.len()
    }

    /// The points with an LSN below `visible_below`. Later inserts, which have larger LSNs, do not change the view.
    pub fn view(self: &Arc<Self>, visible_below: Lsn) -> MemtableView {
        MemtableView::new(self, visible_below)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}
