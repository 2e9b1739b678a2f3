//! The operator.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::array::RecordBatch,
    common::{DataFusionError, Result, internal_datafusion_err, runtime::SpawnedTask, tree_node::TreeNodeRecursion},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::{PhysicalExpr, aggregate::AggregateFunctionExpr, expressions::Column, utils::collect_columns},
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, InputOrderMode,
        PlanProperties, ReplaceChildrenOptions,
        aggregates::{AggregateExec, AggregateMode},
        metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use stepwell_segment::Names;

use super::table::Table;
use crate::{points_exec::PointsExec, points_read::Reading};

/// Columns of `points_schema` before this one are names.
const STEP: usize = 3;
/// Functions whose state over some rows is the same whether they came as rows of many groups or as a run of one.
const FUNCTIONS: [&str; 9] = ["avg", "count", "max", "min", "stddev", "stddev_pop", "sum", "var", "var_pop"];
/// Rows read at a time.
const BATCH_ROWS: usize = 16_384;
/// Batches after which a thread is given back, so that a query that is cancelled ends.
const BATCHES_AT_ONCE: usize = 16;
/// Groups at which what is known of them is handed on. The next stage merges what comes again.
const GROUPS_MAX: usize = 1 << 20;

/// What rows are grouped by, as places in what the scan yields.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Names(Vec<usize>),
    Step(usize),
}

/// The first stage of an aggregation, right above a scan of points.
#[derive(Debug)]
pub(super) struct RunAggregateExec {
    /// What it stands for. Its input is a [`PointsExec`].
    aggregate: AggregateExec,
    key: Key,
    metrics: ExecutionPlanMetricsSet,
}

impl RunAggregateExec {
    /// Of an aggregation that it can do in place of the planner's operator.
    pub(super) fn of(aggregate: &AggregateExec) -> Option<Self> {
        let points = aggregate.input().downcast_ref::<PointsExec>()?;
        let is_first_stage = *aggregate.mode() == AggregateMode::Partial && aggregate.limit_options().is_none();
        let is_whole = aggregate.filter_expr().iter().all(Option::is_none);
        let can_do = |function: &Arc<AggregateFunctionExpr>| can_do(function, points);
        if !is_first_stage || !is_whole || !aggregate.aggr_expr().iter().all(can_do) {
            return None;
        }
        let key = key(aggregate, points)?;
        Some(Self { aggregate: aggregate.clone(), key, metrics: ExecutionPlanMetricsSet::new() })
    }
}

fn key(aggregate: &AggregateExec, points: &PointsExec) -> Option<Key> {
    let group_by = aggregate.group_expr();
    if !group_by.is_single() || group_by.is_empty() {
        return None;
    }
    let place = |(expr, _): &(Arc<dyn PhysicalExpr>, String)| Some(expr.downcast_ref::<Column>()?.index());
    let places: Vec<usize> = group_by.expr().iter().map(place).collect::<Option<_>>()?;
    let columns: Vec<usize> = places.iter().map(|place| points.column_at(*place)).collect::<Option<_>>()?;
    match columns[..] {
        // Of one series each step is a group of its own; the planner knows by the order.
        [STEP] => (*aggregate.input_order_mode() == InputOrderMode::Linear).then(|| Key::Step(places[0])),
        _ => columns.iter().all(|column| *column < STEP).then_some(Key::Names(places)),
    }
}

fn can_do(function: &AggregateFunctionExpr, points: &PointsExec) -> bool {
    let is_plain = !function.is_distinct() && function.order_bys().is_empty() && !function.ignore_nulls();
    // Names come as numbers, which other expressions do not know.
    let is_number = |column: &Column| points.column_at(column.index()).is_some_and(|column| column >= STEP);
    is_plain
        && FUNCTIONS.contains(&function.fun().name())
        && function.groups_accumulator_supported()
        && function.expressions().iter().flat_map(collect_columns).all(|column| is_number(&column))
}

impl DisplayAs for RunAggregateExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Run")?;
        self.aggregate.fmt_as(format, f)
    }
}

impl ExecutionPlan for RunAggregateExec {
    fn name(&self) -> &str {
        "RunAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.aggregate.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let aggregate = Arc::new(self.aggregate.clone()).replace_children(children, options)?;
        let by_runs = aggregate.downcast_ref::<AggregateExec>().and_then(Self::of);
        Ok(by_runs.map_or(aggregate, |by_runs| Arc::new(by_runs)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let points = self.aggregate.input().downcast_ref::<PointsExec>();
        let points = points.ok_or_else(|| internal_datafusion_err!("RunAggregateExec reads points only"))?;
        let Some(reading) = points.read(partition, Names::Numbers, BATCH_ROWS)? else {
            return Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())));
        };
        let consumer = MemoryConsumer::new(format!("RunAggregateExec[{partition}]"));
        let work = Work {
            reading,
            table: Table::new(&self.aggregate, &self.key)?,
            reservation: consumer.register(context.memory_pool()),
            rows_out: MetricBuilder::new(&self.metrics).output_rows(partition),
        };
        let batches = futures::stream::try_unfold(work, |mut work| async move {
            loop {
                let advance = move || work.advance().map(|step| (step, work));
                let done = SpawnedTask::spawn_blocking(advance).join_unwind().await;
                let (step, back) = done.map_err(|error| DataFusionError::External(Box::new(error)))??;
                match step {
                    Step::Read => work = back,
                    Step::Out(batch) => return Ok(Some((batch, back))),
                    Step::End => return Ok(None),
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

enum Step {
    Read,
    Out(RecordBatch),
    End,
}

/// One partition at work. Blocks on memory and disk.
struct Work {
    reading: Reading,
    table: Table,
    reservation: MemoryReservation,
    rows_out: Count,
}

impl Work {
    fn advance(&mut self) -> Result<Step> {
        for _ in 0..BATCHES_AT_ONCE {
            let Some(batch) = self.reading.next_batch()? else {
                return Ok(self.hand_on()?.map_or(Step::End, Step::Out));
            };
            self.table.take_in(&batch)?;
            let has_room = self.reservation.try_resize(self.table.size_bytes());
            if has_room.is_err() || self.table.len() >= GROUPS_MAX {
                return Ok(self.hand_on()?.map_or(Step::Read, Step::Out));
            }
        }
        Ok(Step::Read)
    }

    fn hand_on(&mut self) -> Result<Option<RecordBatch>> {
        let batch = self.table.take()?;
        self.reservation.try_resize(self.table.size_bytes())?;
        self.rows_out.add(batch.as_ref().map_or(0, RecordBatch::num_rows));
        Ok(batch)
    }
}
