//! Groups and what is known of each.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{ArrayRef, AsArray, RecordBatch},
        datatypes::{Float64Type, SchemaRef},
    },
    common::{Result, ScalarValue},
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_expr::aggregate::AggregateFunctionExpr,
    physical_plan::aggregates::AggregateExec,
};

use super::{
    exec::Key,
    keys::{NameKeys, Run, StepKeys},
};

/// Rows that a run must have on average to be worth an accumulator of its own.
const RUN_ROWS_MIN: usize = 64;

enum Keys {
    Names { keys: NameKeys, places: Vec<usize> },
    Steps { keys: StepKeys, place: usize },
}

/// The first stage of an aggregation of one partition.
pub(super) struct Table {
    keys: Keys,
    aggregates: Vec<Aggregate>,
    /// Of a batch; kept for its memory.
    group_of_row: Vec<usize>,
    schema: SchemaRef,
}

impl Table {
    pub(super) fn new(plan: &AggregateExec, key: &Key) -> Result<Self> {
        let keys = match key {
            Key::Names(places) => Keys::Names { keys: NameKeys::new(places.len()), places: places.clone() },
            Key::Step(place) => Keys::Steps { keys: StepKeys::default(), place: *place },
        };
        let aggregates = plan.aggr_expr().iter().map(Aggregate::new).collect::<Result<_>>()?;
        let schema = datafusion::physical_plan::ExecutionPlan::schema(plan);
        Ok(Self { keys, aggregates, group_of_row: Vec::new(), schema })
    }

    pub(super) fn take_in(&mut self, batch: &RecordBatch) -> Result<()> {
        let runs = match &mut self.keys {
            Keys::Names { keys, places } => {
                let columns: Vec<ArrayRef> = places.iter().map(|place| batch.column(*place).clone()).collect();
                let runs = keys.runs(&columns)?;
                self.group_of_row.clear();
                for run in &runs {
                    self.group_of_row.resize(run.rows.end, run.group);
                }
                runs
            }
            Keys::Steps { keys, place } => {
                keys.groups(batch.column(*place), &mut self.group_of_row)?;
                Vec::new()
            }
        };
        let has_runs = !runs.is_empty() && runs.len() * RUN_ROWS_MIN <= batch.num_rows();
        let groups = self.len();
        for aggregate in &mut self.aggregates {
            let arguments = aggregate.arguments(batch)?;
            if has_runs && aggregate.works_on_runs(&arguments) {
                aggregate.take_in_runs(&arguments, &runs, groups)?;
            } else {
                aggregate.groups.update_batch(&arguments, &self.group_of_row, None, groups)?;
            }
        }
        Ok(())
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        match &self.keys {
            Keys::Names { keys, .. } => keys.len(),
            Keys::Steps { keys, .. } => keys.len(),
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::Names { keys, .. } => keys.size_bytes(),
            Keys::Steps { keys, .. } => keys.size_bytes(),
        };
        keys + self.aggregates.iter().map(|aggregate| aggregate.groups.size()).sum::<usize>()
    }

    /// What is known of each group, in the order in which they came; after it there are none. `None` if there were none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>> {
        if self.len() == 0 {
            return Ok(None);
        }
        let mut columns = match &mut self.keys {
            Keys::Names { keys, .. } => keys.take(),
            Keys::Steps { keys, .. } => vec![keys.take()],
        };
        for aggregate in &mut self.aggregates {
            columns.extend(aggregate.groups.state(EmitTo::All)?);
        }
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}

struct Aggregate {
    function: Arc<AggregateFunctionExpr>,
    groups: Box<dyn GroupsAccumulator>,
    /// Of runs and of rows, NaNs are ordered differently.
    orders_values: bool,
}

impl Aggregate {
    fn new(function: &Arc<AggregateFunctionExpr>) -> Result<Self> {
        let groups = function.create_groups_accumulator()?;
        let orders_values = matches!(function.fun().name(), "min" | "max");
        Ok(Self { function: function.clone(), groups, orders_values })
    }

    fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let evaluate =
            |expr: Arc<dyn datafusion::physical_expr::PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
        self.function.expressions().into_iter().map(evaluate).collect()
    }

    fn works_on_runs(&self, arguments: &[ArrayRef]) -> bool {
        let has_nan = |array: &ArrayRef| {
            let values = array.as_primitive_opt::<Float64Type>();
            values.is_some_and(|values| values.values().iter().fold(false, |any, value| any | value.is_nan()))
        };
        !self.orders_values || !arguments.iter().any(has_nan)
    }

    /// Aggregates each run by itself, which needs no look-up per row, and adds the results to the groups.
    fn take_in_runs(&mut self, arguments: &[ArrayRef], runs: &[Run], groups: usize) -> Result<()> {
        let mut states: Vec<Vec<ScalarValue>> = Vec::new();
        for Run { rows, .. } in runs {
            let mut of_run = self.function.create_accumulator()?;
            let part: Vec<ArrayRef> = arguments.iter().map(|argument| argument.slice(rows.start, rows.len())).collect();
            of_run.update_batch(&part)?;
            let state = of_run.state()?;
            states.resize_with(state.len(), Vec::new);
            states.iter_mut().zip(state).for_each(|(column, value)| column.push(value));
        }
        let states: Vec<ArrayRef> = states.into_iter().map(ScalarValue::iter_to_array).collect::<Result<_>>()?;
        let group_of_run: Vec<usize> = runs.iter().map(|run| run.group).collect();
        self.groups.merge_batch(&states, &group_of_run, groups)
    }
}
