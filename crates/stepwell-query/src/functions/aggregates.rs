//! `value_at`, `best_min`, `best_max`: one point of each group.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, Float64Array, Int64Array, StructArray},
        datatypes::{DataType, Field, Fields, Float64Type, Int64Type, UInt64Type},
    },
    common::{Result, ScalarValue},
    logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf},
};

use super::column;

/// `value_at(value, step, lsn, wanted)`: the value at the largest step that is not above `wanted`; of points at one step the one
/// written last.
pub(super) fn value_at() -> AggregateUDF {
    create_udaf(
        "value_at",
        vec![DataType::Float64, DataType::Int64, DataType::UInt64, DataType::Int64],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(ValueAt::default()))),
        Arc::new(vec![DataType::Float64, DataType::Int64, DataType::UInt64]),
    )
}

#[derive(Debug, Default)]
struct ValueAt {
    /// (step, LSN) and the value there.
    best: Option<((i64, u64), f64)>,
}

impl ValueAt {
    fn offer(&mut self, order: (i64, u64), value: f64) {
        if self.best.is_none_or(|(known, _)| known < order) {
            self.best = Some((order, value));
        }
    }
}

impl Accumulator for ValueAt {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (value, step, lsn) =
            (column::<Float64Type>(values, 0), column::<Int64Type>(values, 1), column::<UInt64Type>(values, 2));
        let wanted = column::<Int64Type>(values, 3);
        for row in (0..value.len()).filter(|row| values.iter().all(|column| column.is_valid(*row))) {
            if step.value(row) <= wanted.value(row) {
                self.offer((step.value(row), lsn.value(row)), value.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (value, step, lsn) =
            (column::<Float64Type>(states, 0), column::<Int64Type>(states, 1), column::<UInt64Type>(states, 2));
        for row in (0..value.len()).filter(|row| step.is_valid(*row)) {
            self.offer((step.value(row), lsn.value(row)), value.value(row));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (order, value) = self.best.unzip();
        let (step, lsn) = order.unzip();
        Ok(vec![ScalarValue::Float64(value), ScalarValue::Int64(step), ScalarValue::UInt64(lsn)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.best.map(|(_, value)| value)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// `best_min(value, step)`, `best_max(value, step)`: the smallest or largest finite value and the first step that has it.
pub(super) fn best(name: &'static str, is_min: bool) -> AggregateUDF {
    create_udaf(
        name,
        vec![DataType::Float64, DataType::Int64],
        Arc::new(DataType::Struct(fields())),
        Volatility::Immutable,
        Arc::new(move |_| Ok(Box::new(Best { is_min, best: None }))),
        Arc::new(vec![DataType::Float64, DataType::Int64]),
    )
}

fn fields() -> Fields {
    Fields::from(vec![Field::new("value", DataType::Float64, true), Field::new("step", DataType::Int64, true)])
}

#[derive(Debug)]
struct Best {
    is_min: bool,
    best: Option<(f64, i64)>,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (value, step) = (column::<Float64Type>(values, 0), column::<Int64Type>(values, 1));
        for row in (0..value.len()).filter(|row| value.is_valid(*row) && step.is_valid(*row)) {
            let (value, step) = (value.value(row), step.value(row));
            let is_better = |(known, at): (f64, i64)| match self.is_min {
                true => value < known || (value == known && step < at),
                false => value > known || (value == known && step < at),
            };
            if value.is_finite() && self.best.is_none_or(is_better) {
                self.best = Some((value, step));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (value, step) = self.best.unzip();
        Ok(vec![ScalarValue::Float64(value), ScalarValue::Int64(step)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (value, step) = self.best.unzip();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(vec![value])), Arc::new(Int64Array::from(vec![step]))];
        Ok(ScalarValue::Struct(Arc::new(StructArray::try_new(fields(), columns, None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
