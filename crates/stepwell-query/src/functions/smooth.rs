//! `smooth`: exponential smoothing over a window.

use std::{ops::Range, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, Float64Array},
        datatypes::{DataType, Field, FieldRef, Float64Type},
    },
    common::{Result, ScalarValue, exec_datafusion_err},
    logical_expr::{
        PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
};
use stepwell_kernels::Smoothing;

use super::column;

/// `smooth(value, weight) OVER (PARTITION BY … ORDER BY step)`.
pub(super) fn smooth() -> WindowUDF {
    let signature = Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable);
    WindowUDF::from(Smooth { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Smooth {
    signature: Signature,
}

impl WindowUDFImpl for Smooth {
    fn name(&self) -> &'static str {
        "smooth"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::<Partition>::default())
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }
}

/// It looks back only, so that an operator needs to keep none of its rows.
#[derive(Debug, Default)]
struct Partition {
    /// `None` before the first row, which has the weight.
    smoothing: Option<Smoothing>,
}

impl Partition {
    fn smoothing(&mut self, weight: &Float64Array, row: usize) -> Result<&mut Smoothing> {
        let given = weight.is_valid(row).then(|| weight.value(row));
        match &mut self.smoothing {
            Some(smoothing) => Ok(smoothing),
            begins => Ok(begins.insert(
                given
                    .and_then(Smoothing::new)
                    .ok_or_else(|| exec_datafusion_err!("smooth takes a weight from 0 to below 1, not {given:?}"))?,
            )),
        }
    }
}

impl PartitionEvaluator for Partition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let (value, weight) = (column::<Float64Type>(values, 0), column::<Float64Type>(values, 1));
        if rows == 0 {
            return Ok(Arc::new(Float64Array::from(Vec::<f64>::new())));
        }
        let smoothing = self.smoothing(weight, 0)?;
        let smoothed = value.iter().map(|value| value.map(|value| smoothing.next(value)));
        Ok(Arc::new(smoothed.collect::<Float64Array>()))
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let (value, weight) = (column::<Float64Type>(values, 0), column::<Float64Type>(values, 1));
        let smoothing = self.smoothing(weight, range.start)?;
        let smoothed = value.is_valid(range.start).then(|| smoothing.next(value.value(range.start)));
        Ok(ScalarValue::Float64(smoothed))
    }

    fn is_causal(&self) -> bool {
        true
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }
}
