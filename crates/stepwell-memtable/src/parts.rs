//! Reading a series in the order of its steps, a part of it in memory.

use stepwell_types::{PointFilter, SeriesColumns};

use crate::{rows::Row, shard::State, view::MemtableView};

/// Rows of a part at most, of a series whose steps came in order: two MiB.
pub const PART_ROWS: usize = 1 << 16;
/// Parts of a series whose steps came in another order, at most: each takes a look at all of its rows.
const PASSES_MAX: usize = 32;

/// The points of a series that a view shows and that pass a filter, sorted by (step, LSN), part by part. Inserts that come between two
/// parts do not show.
pub struct SeriesParts {
    view: MemtableView,
    number: u32,
    filter: PointFilter,
    next: Next,
    /// [`PART_ROWS`]; less in tests.
    pub(crate) part_rows: usize,
}

/// Where the next part begins.
enum Next {
    Unknown,
    /// Steps came in order: behind so many rows.
    Row(usize),
    /// They did not: above that (step, LSN), with at most so many rows.
    Above(Option<(i64, u64)>, usize),
    Nothing,
}

impl SeriesParts {
    pub(crate) fn new(view: MemtableView, number: u32, filter: &PointFilter) -> Self {
        let filter = PointFilter { step: filter.step, timestamp_us: filter.timestamp_us, ..PointFilter::default() };
        Self { view, number, filter, next: Next::Unknown, part_rows: PART_ROWS }
    }

    /// Appends the next part; false, and nothing is appended, once there is none.
    pub fn read(&mut self, out: &mut SeriesColumns) -> bool {
        if self.is_done() {
            return false;
        }
        let begin = out.len();
        let view = self.view.clone();
        let state = view.lock();
        if let Next::Unknown = self.next {
            self.next = self.first(&state);
        }
        self.next = match self.next {
            Next::Row(row) => self.in_order(&state, row, out),
            Next::Above(last, rows_max) => self.sorted(&state, last, rows_max, out),
            Next::Unknown | Next::Nothing => return false,
        };
        out.len() > begin
    }

    /// Whether all has been read, which may show with the last part or only after it.
    pub fn is_done(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    fn first(&self, state: &State) -> Next {
        if state.series.chains[self.number as usize].is_in_order {
            return Next::Row(0);
        }
        let rows: usize = self.view.shown(state, self.number).map(<[Row]>::len).sum();
        Next::Above(None, self.part_rows.max(rows.div_ceil(PASSES_MAX)))
    }

    fn in_order(&self, state: &State, begin: usize, out: &mut SeriesColumns) -> Next {
        let (mut passed, end) = (0, out.len() + self.part_rows);
        for rows in self.view.shown(state, self.number) {
            let skipped = begin.saturating_sub(passed).min(rows.len());
            passed += skipped;
            let mut rows = &rows[skipped..];
            while !rows.is_empty() {
                let room = end - out.len();
                if room == 0 {
                    return Next::Row(passed);
                }
                // Not all of them need pass.
                let (now, later) = rows.split_at(rows.len().min(room));
                self.append(now, out);
                passed += now.len();
                rows = later;
            }
        }
        Next::Nothing
    }

    fn append(&self, rows: &[Row], out: &mut SeriesColumns) {
        if self.filter.restricts_points() {
            for row in rows.iter().filter(|row| self.filter.accepts_point(row.step, row.timestamp_us)) {
                out.push(row.step, row.timestamp_us, row.value, row.lsn);
            }
        } else {
            out.step.extend(rows.iter().map(|row| row.step));
            out.timestamp_us.extend(rows.iter().map(|row| row.timestamp_us));
            out.value.extend(rows.iter().map(|row| row.value));
            out.lsn.extend(rows.iter().map(|row| row.lsn));
        }
    }

    /// The `rows_max` smallest rows above `last`: those seen so far and as many again, of which the larger half goes when there is no
    /// more room.
    fn sorted(&self, state: &State, last: Option<(i64, u64)>, rows_max: usize, out: &mut SeriesColumns) -> Next {
        let key = |row: &Row| (row.step, row.lsn);
        let mut kept: Vec<Row> = Vec::new();
        // Rows from here on are of a later part.
        let mut bound: Option<(i64, u64)> = None;
        for row in self.view.shown(state, self.number).flatten() {
            let is_wanted = last.is_none_or(|last| key(row) > last)
                && bound.is_none_or(|bound| key(row) < bound)
                && self.filter.accepts_point(row.step, row.timestamp_us);
            if !is_wanted {
                continue;
            }
            if kept.len() == 2 * rows_max {
                bound = Some(key(kept.select_nth_unstable_by_key(rows_max, key).1));
                kept.truncate(rows_max);
                if bound.is_some_and(|bound| key(row) >= bound) {
                    continue;
                }
            }
            kept.push(*row);
        }
        if kept.len() > rows_max {
            bound = Some(key(kept.select_nth_unstable_by_key(rows_max, key).1));
            kept.truncate(rows_max);
        }
        kept.sort_unstable_by_key(key);
        // Filtered already.
        kept.iter().for_each(|row| out.push(row.step, row.timestamp_us, row.value, row.lsn));
        match (bound, kept.last()) {
            (Some(_), Some(last)) => Next::Above(Some(key(last)), rows_max),
            _ => Next::Nothing,
        }
    }
}
