//! `smooth`: exponential smoothing over a window.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, Float64Array},
        datatypes::{DataType, Field, FieldRef, Float64Type},
    },
    common::{Result, exec_datafusion_err},
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
        Ok(Box::new(Partition))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }
}

#[derive(Debug)]
struct Partition;

impl PartitionEvaluator for Partition {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let (value, weight) = (column::<Float64Type>(values, 0), column::<Float64Type>(values, 1));
        if rows == 0 {
            return Ok(Arc::new(Float64Array::from(Vec::<f64>::new())));
        }
        let given = weight.is_valid(0).then(|| weight.value(0));
        let mut smoothing = given
            .and_then(Smoothing::new)
            .ok_or_else(|| exec_datafusion_err!("smooth takes a weight from 0 to below 1, not {given:?}"))?;
        let smoothed = value.iter().map(|value| value.map(|value| smoothing.next(value)));
        Ok(Arc::new(smoothed.collect::<Float64Array>()))
    }
}
