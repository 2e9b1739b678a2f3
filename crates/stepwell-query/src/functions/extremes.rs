//! `min` and `max`: the planner's own, with infinities.
//!
//! Of groups the planner's begin with the largest and the smallest finite number, which a group of nothing but infinities never
//! leaves.

use std::{cmp::Ordering, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray},
        compute::nullif,
        datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float32Type, Float64Type},
    },
    common::{Result, ScalarValue},
    functions_aggregate::min_max::{max_udaf, min_udaf},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
        SetMonotonicity, Signature, StatisticsArgs,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    physical_expr::NullState,
};

/// `min(value)`.
pub(super) fn min() -> AggregateUDF {
    AggregateUDF::new_from_impl(Extreme { inner: min_udaf(), is_min: true })
}

/// `max(value)`.
pub(super) fn max() -> AggregateUDF {
    AggregateUDF::new_from_impl(Extreme { inner: max_udaf(), is_min: false })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    is_min: bool,
}

impl AggregateUDFImpl for Extreme {
    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match (args.return_field.data_type(), self.is_min) {
            (DataType::Float64, true) => Box::new(Floats::<Float64Type, true>::new(f64::INFINITY)),
            (DataType::Float64, false) => Box::new(Floats::<Float64Type, false>::new(f64::NEG_INFINITY)),
            (DataType::Float32, true) => Box::new(Floats::<Float32Type, true>::new(f32::INFINITY)),
            (DataType::Float32, false) => Box::new(Floats::<Float32Type, false>::new(f32::NEG_INFINITY)),
            _ => return self.inner.create_groups_accumulator(args),
        })
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arg_fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The extreme of each group. NaNs are taken in the order of rows, as the planner's own do.
struct Floats<T: ArrowPrimitiveType, const IS_MIN: bool> {
    extremes: Vec<T::Native>,
    nulls: NullState,
    /// Where each group begins; no value is worse.
    worst: T::Native,
}

impl<T: ArrowPrimitiveType, const IS_MIN: bool> Floats<T, IS_MIN> {
    fn new(worst: T::Native) -> Self {
        Self { extremes: Vec::new(), nulls: NullState::new(), worst }
    }
}

impl<T: ArrowPrimitiveType + Send, const IS_MIN: bool> GroupsAccumulator for Floats<T, IS_MIN> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_of_row: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        const BETTER: [Ordering; 2] = [Ordering::Greater, Ordering::Less];
        let extremes = &mut self.extremes;
        extremes.resize(groups, self.worst);
        let values = values[0].as_primitive::<T>();
        self.nulls.accumulate(group_of_row, values, filter, groups, |group, value| {
            let known = &mut extremes[group];
            if value.partial_cmp(known).is_none_or(|order| order == BETTER[usize::from(IS_MIN)]) {
                *known = value;
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let extremes = emit_to.take_needed(&mut self.extremes);
        Ok(Arc::new(PrimitiveArray::<T>::new(extremes.into(), self.nulls.build(emit_to))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_of_row: &[usize], groups: usize) -> Result<()> {
        self.update_batch(states, group_of_row, None, groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(filter) = filter else { return Ok(vec![values[0].clone()]) };
        let is_out: BooleanArray = filter.iter().map(|is_in| Some(is_in != Some(true))).collect();
        Ok(vec![nullif(&values[0], &is_out)?])
    }

    fn size(&self) -> usize {
        self.extremes.capacity() * size_of::<T::Native>() + self.nulls.size()
    }
}
