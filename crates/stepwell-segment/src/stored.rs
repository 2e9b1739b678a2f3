//! Reading and writing rows of a table by the names of its columns.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt64Type},
};
use stepwell_types::SeriesKey;

use crate::{
    format::{METRIC, PROJECT, RUN, STEP},
    table_writer::Column,
};

/// One value of a row to be stored.
pub(crate) enum Stored {
    Integer(i64),
    Value(f64),
}

impl From<u64> for Stored {
    fn from(count: u64) -> Self {
        Self::Integer(count as i64)
    }
}

impl From<i64> for Stored {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for Stored {
    fn from(value: f64) -> Self {
        Self::Value(value)
    }
}

/// Appends one row; its values have the types of the columns.
pub(crate) fn push(columns: &mut [Column], row: impl IntoIterator<Item = Stored>) {
    for (column, stored) in columns.iter_mut().zip(row) {
        match (column, stored) {
            (Column::Integers(values), Stored::Integer(integer)) => values.push(integer),
            (Column::Values(values), Stored::Value(value)) => values.push(value),
            // A row that does not fit its schema would be a bug; the bits are kept so that columns stay of one length.
            (Column::Integers(values), Stored::Value(value)) => values.push(value.to_bits() as i64),
            (Column::Values(values), Stored::Integer(integer)) => values.push(f64::from_bits(integer as u64)),
        }
    }
}

/// Columns of a batch that begins with the names, as numbers.
pub(crate) struct StoredRows<'a> {
    batch: &'a RecordBatch,
}

impl<'a> StoredRows<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> Self {
        Self { batch }
    }

    /// Counts of the `at`-th column after the names.
    pub(crate) fn counts(&self, at: usize) -> &'a [u64] {
        self.batch.column(STEP + at).as_primitive::<UInt64Type>().values()
    }

    /// Integers or times of the `at`-th column after the names.
    pub(crate) fn integers(&self, at: usize) -> &'a [i64] {
        let column = self.batch.column(STEP + at);
        match column.as_primitive_opt::<Int64Type>() {
            Some(integers) => integers.values(),
            None => column.as_primitive::<TimestampMicrosecondType>().values(),
        }
    }

    /// Values of the `at`-th column after the names.
    pub(crate) fn values(&self, at: usize) -> &'a [f64] {
        self.batch.column(STEP + at).as_primitive::<Float64Type>().values()
    }

    /// Calls `visit` for each series with its rows of `wanted`; rows of a series stand together.
    pub(crate) fn for_each_series(&self, wanted: Range<usize>, mut visit: impl FnMut(SeriesKey, Range<usize>)) {
        let names = [PROJECT, METRIC, RUN].map(|column| self.batch.column(column).as_dictionary::<Int32Type>());
        let numbers = names.map(|names| &**names.keys().values());
        let texts = names.map(|names| names.values().as_string::<i32>());
        let mut key: Option<SeriesKey> = None;
        let mut start = wanted.start;
        for end in wanted.start + 1..=wanted.end {
            if end < wanted.end && numbers.iter().all(|numbers| numbers[end] == numbers[start]) {
                continue;
            }
            let [project, metric, run] = [0, 1, 2].map(|name| texts[name].value(numbers[name][start] as usize));
            let shared = |name: &str, last: Option<&Arc<str>>| match last {
                Some(last) if **last == *name => last.clone(),
                _ => name.into(),
            };
            let next = SeriesKey {
                project_id: shared(project, key.as_ref().map(|key| &key.project_id)),
                metric: shared(metric, key.as_ref().map(|key| &key.metric)),
                run_id: run.into(),
            };
            key = Some(next.clone());
            visit(next, start..end);
            start = end;
        }
    }
}
