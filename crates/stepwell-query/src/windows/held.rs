//! The memory of one partition of a window operator.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, RecordBatch},
        datatypes::DataType,
    },
    common::{Result, utils::memory::RecordBatchMemoryCounter},
    execution::memory_pool::MemoryReservation,
};

use super::keeps::Keeps;
use crate::pieces::bytes_of;

/// The longest value of a column of answers: as a value, and in two arrays.
const ANSWER_COPIES: usize = 3;

/// What is counted for an operator. Given back when both of its sides have let go.
#[derive(Debug)]
pub(super) struct Held {
    reservation: MemoryReservation,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// The number of the row behind each batch, and its bytes.
    batches: VecDeque<(usize, usize)>,
    /// Of operators that keep all: batches may show parts of the same buffers.
    seen: RecordBatchMemoryCounter,
    bytes: usize,
    longest_answer: usize,
    taken: usize,
    let_go: usize,
    answered: usize,
}

impl Held {
    pub(super) fn new(reservation: MemoryReservation) -> Self {
        Self { reservation, rows: Mutex::default() }
    }

    /// Counts what goes in.
    pub(super) fn take(&self, batch: &RecordBatch, keeps: &Keeps) -> Result<()> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let copied =
            keeps.copies.iter().zip(batch.columns()).map(|(copies, column)| copies * bytes_of(column)).sum::<usize>();
        let own = match keeps.behind {
            None => rows.seen.count_batch(batch),
            Some(_) => batch.columns().iter().map(bytes_of).sum(),
        };
        let bytes = own + copied + keeps.row_bytes * batch.num_rows();
        let longest = keeps.answers.iter().filter_map(|at| batch.columns().get(*at)).map(longest).sum();
        rows.taken += batch.num_rows();
        rows.bytes += bytes;
        rows.longest_answer = rows.longest_answer.max(longest);
        let end = rows.taken;
        rows.batches.push_back((end, bytes));
        self.reservation.try_resize(rows.all())
    }

    /// Lets go of what was kept for rows that are answered.
    pub(super) fn answer(&self, answered: usize, keeps: &Keeps) {
        let Some(behind) = keeps.behind else { return };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.answered += answered;
        let needless = rows.answered.saturating_sub(behind);
        while let Some((end, bytes)) = rows.batches.front().copied().filter(|(end, _)| *end <= needless) {
            rows.batches.pop_front();
            rows.bytes -= bytes;
            rows.let_go = end;
        }
        // Never more than it was.
        self.reservation.resize(rows.all());
    }
}

impl Rows {
    fn all(&self) -> usize {
        let answers = ANSWER_COPIES.saturating_mul(self.longest_answer).saturating_mul(self.taken - self.let_go);
        self.bytes.saturating_add(answers)
    }
}

/// Bytes of the longest value, at most.
fn longest(column: &ArrayRef) -> usize {
    let text = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().flatten().map(str::len).max(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().flatten().map(str::len).max(),
        DataType::Utf8View => column.as_string_view().iter().flatten().map(str::len).max(),
        _ => Some(bytes_of(column)),
    };
    text.unwrap_or(0)
}
