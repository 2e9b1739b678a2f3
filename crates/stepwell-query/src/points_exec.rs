//! Reading points as a physical plan: one partition per sorted part of the snapshot.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    arrow::{compute::SortOptions, datatypes::SchemaRef},
    common::{
        DataFusionError, Result, Statistics, internal_err, runtime::SpawnedTask, stats::Precision,
        tree_node::TreeNodeRecursion,
    },
    config::ConfigOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{
        AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, expressions::Column,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        filter_pushdown::{ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation},
        metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use stepwell_engine::ScanPartition;
use stepwell_segment::Names;
use stepwell_types::{PointFilter, points_schema};

use crate::points_read::{ReadPlan, Reading};

/// Order of every partition, as columns of [`points_schema`] after the project.
const ORDER: [usize; 4] = [METRIC, RUN_ID, 3, 6];
const METRIC: usize = 1;
const RUN_ID: usize = 2;

#[derive(Clone)]
pub(crate) struct PointsExec {
    /// Those of memory go to whoever reads them, so that they are given back when they are read, and not when the query ends.
    partitions: Arc<Vec<Mutex<Option<ScanPartition>>>>,
    /// Of each partition, at most; planning asks often, and statistics of pages take a while to look through.
    rows_max: Vec<usize>,
    filter: String,
    projection: Vec<usize>,
    /// Rows after which each partition may stop.
    limit: Option<usize>,
    /// Filters that operators above find while they run; looked at once, when a partition begins to be read, and not exactly:
    /// those operators do not rely on them.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for PointsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointsExec({} partitions, {})", self.partitions.len(), self.filter)
    }
}

impl PointsExec {
    pub(crate) fn new(
        partitions: Vec<ScanPartition>,
        filter: &PointFilter,
        projection: Vec<usize>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema: SchemaRef = Arc::new(points_schema().project(&projection)?);
        let place = |column: usize| projection.iter().position(|projected| *projected == column);
        let expr = |place: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(schema.field(place).name(), place)) };
        // A column of one value sorts nothing: what comes after it is in order by itself.
        let is_fixed = |column: usize| match column {
            METRIC => filter.metrics.as_ref().is_some_and(|names| names.len() == 1),
            RUN_ID => filter.run_ids.as_ref().is_some_and(|names| names.len() == 1),
            _ => false,
        };
        let sorting = ORDER.iter().copied().filter(|column| !is_fixed(*column)).map_while(place);
        let options = SortOptions { descending: false, nulls_first: false };
        let ordering: Vec<PhysicalSortExpr> = sorting.map(|at| PhysicalSortExpr::new(expr(at), options)).collect();
        let fixed = [METRIC, RUN_ID].into_iter().filter(|column| is_fixed(*column)).filter_map(place);
        let fixed: Vec<ConstExpr> = fixed.map(|at| ConstExpr::new(expr(at), AcrossPartitions::Uniform(None))).collect();
        let mut equivalences = match ordering.is_empty() {
            true => EquivalenceProperties::new(schema.clone()),
            false => EquivalenceProperties::new_with_orderings(schema.clone(), [ordering]),
        };
        equivalences.add_constants(fixed)?;
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(partitions.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            rows_max: partitions.iter().map(|part| part.rows_estimate() as usize).collect(),
            partitions: Arc::new(partitions.into_iter().map(|part| Mutex::new(Some(part))).collect()),
            filter: describe(filter),
            projection,
            limit,
            dynamic: Vec::new(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The column of [`points_schema`] that stands at a place of what it yields.
    pub(crate) fn column_at(&self, place: usize) -> Option<usize> {
        self.projection.get(place).copied()
    }

    /// Begins to read a partition; `None` if there is no such one. A snapshot without points has one without rows. What is in
    /// memory is read once.
    pub(crate) fn read(&self, partition: usize, names: Names, batch_rows: usize) -> Result<Option<Reading>> {
        let Some(part) = self.partitions.get(partition) else { return Ok(None) };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = if part.as_ref().is_some_and(ScanPartition::is_in_memory) { part.take() } else { part.clone() };
        drop(part);
        let Some(taken) = taken else { return internal_err!("partition {partition} of points is read twice") };
        let plan = ReadPlan {
            projection: self.projection.clone(),
            names,
            batch_rows,
            rows_max: self.limit.unwrap_or(usize::MAX),
            dynamic: self.dynamic.clone(),
            rows_read: MetricBuilder::new(&self.metrics).output_rows(partition),
        };
        Ok(Some(Reading::new(taken, plan)))
    }
}

fn describe(filter: &PointFilter) -> String {
    let names = |what: &str, set: &Option<std::collections::BTreeSet<Arc<str>>>| match set {
        Some(set) if set.len() <= 3 => format!(" {what}={set:?}"),
        Some(set) => format!(" {what} in {} names", set.len()),
        None => String::new(),
    };
    let range = |what: &str, range: (i64, i64)| {
        if range == (i64::MIN, i64::MAX) { String::new() } else { format!(" {what}={}..={}", range.0, range.1) }
    };
    let mut text = names("metric", &filter.metrics) + &names("run_id", &filter.run_ids);
    text += &(range("step", filter.step) + &range("timestamp", filter.timestamp_us));
    text.trim_start().to_owned()
}

impl DisplayAs for PointsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointsExec: partitions={}, filter=[{}]", self.partitions.len(), self.filter)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        if !self.dynamic.is_empty() {
            // Not what they are: the keys of a join can be thousands.
            write!(f, ", dynamic_filters={}", self.dynamic.len())?;
        }
        Ok(())
    }
}

impl ExecutionPlan for PointsExec {
    fn name(&self) -> &str {
        "PointsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.dynamic.iter().try_fold(TreeNodeRecursion::Continue, |_, expr| f(expr))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("PointsExec has no children") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(reading) = self.read(partition, Names::Views, context.session_config().batch_size())? else {
            return Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())));
        };
        let batches = futures::stream::try_unfold(reading, |mut reading| async move {
            // A thread is taken for one batch at a time: a merge waits for a batch of every partition, and of more partitions
            // than threads the last would never start if each kept its thread while it waits to be read.
            let next = move || Ok(reading.next_batch()?.map(|batch| (batch, reading)));
            SpawnedTask::spawn_blocking(next)
                .join_unwind()
                .await
                .map_err(|error| DataFusionError::External(Box::new(error)))?
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        filters: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // Those known when planning were offered to the table.
        let dynamic = match phase {
            FilterPushdownPhase::Pre => Vec::new(),
            FilterPushdownPhase::Post => filters.parent_filters.iter().map(|offered| offered.filter.clone()).collect(),
        };
        let answer = FilterPushdownPropagation::all_unsupported(filters);
        Ok(match dynamic.is_empty() {
            true => answer,
            false => answer.with_updated_node(Arc::new(Self { dynamic, ..self.clone() })),
        })
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = match partition {
            Some(partition) => self.rows_max.get(partition).copied().unwrap_or(0),
            None => self.rows_max.iter().sum(),
        };
        let unknown = Statistics::new_unknown(&self.schema());
        Ok(Arc::new(Statistics { num_rows: Precision::Inexact(rows), ..unknown }))
    }
}
