//! `auc`: the area under each group's curve.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, BinaryArray},
        datatypes::{DataType, Float64Type, Int64Type, UInt64Type},
    },
    common::{Result, ScalarValue},
    logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf},
};
use stepwell_kernels::area_under;

use super::column;

/// `auc(value, step, lsn)`: the trapezoidal integral over step; of points at one step the one written last counts.
pub(super) fn auc() -> AggregateUDF {
    create_udaf(
        "auc",
        vec![DataType::Float64, DataType::Int64, DataType::UInt64],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Area::default()))),
        Arc::new(vec![DataType::Binary]),
    )
}

/// Bytes of a point in a state: step, LSN, value.
const POINT_BYTES: usize = 24;
/// What a point takes in the map, about.
const NODE_BYTES: usize = 48;

#[derive(Debug, Default)]
struct Area {
    /// By step, the LSN and value of the point written last.
    points: BTreeMap<i64, (u64, f64)>,
}

impl Area {
    fn offer(&mut self, step: i64, lsn: u64, value: f64) {
        let known = self.points.entry(step).or_insert((lsn, value));
        if known.0 < lsn {
            *known = (lsn, value);
        }
    }
}

impl Accumulator for Area {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (value, step, lsn) =
            (column::<Float64Type>(values, 0), column::<Int64Type>(values, 1), column::<UInt64Type>(values, 2));
        for row in (0..value.len()).filter(|row| values.iter().all(|column| column.is_valid(*row))) {
            self.offer(step.value(row), lsn.value(row), value.value(row));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states: &BinaryArray = states[0].as_binary();
        for state in states.iter().flatten() {
            let (points, _) = state.as_chunks::<POINT_BYTES>();
            for point in points {
                let word = |at: usize| point[at..].first_chunk::<8>().copied().unwrap_or_default();
                let (step, lsn) = (i64::from_le_bytes(word(0)), u64::from_le_bytes(word(8)));
                self.offer(step, lsn, f64::from_bits(u64::from_le_bytes(word(16))));
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.points.len() * POINT_BYTES);
        for (step, (lsn, value)) in &self.points {
            bytes.extend_from_slice(&step.to_le_bytes());
            bytes.extend_from_slice(&lsn.to_le_bytes());
            bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(area_under(self.points.iter().map(|(step, (_, value))| (*step, *value)))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.points.len() * NODE_BYTES
    }
}
