//! Reading points as a physical plan: one partition per sorted part of the snapshot.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{array::RecordBatch, compute::SortOptions, datatypes::SchemaRef},
    common::{
        DataFusionError, Result, Statistics, internal_err, runtime::SpawnedTask, stats::Precision,
        tree_node::TreeNodeRecursion,
    },
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{
        AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, expressions::Column,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use stepwell_engine::{PointScan, ScanPartition};
use stepwell_types::{PointFilter, points_schema};

/// Order of every partition, as columns of [`points_schema`] after the project.
const ORDER: [usize; 4] = [METRIC, RUN_ID, 3, 6];
const METRIC: usize = 1;
const RUN_ID: usize = 2;

#[derive(Clone)]
pub(crate) struct PointsExec {
    partitions: Vec<ScanPartition>,
    filter: String,
    projection: Vec<usize>,
    /// Rows after which each partition may stop.
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
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
        Ok(Self { partitions, filter: describe(filter), projection, limit, properties: Arc::new(properties) })
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
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("PointsExec has no children") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(part) = self.partitions.get(partition).cloned() else {
            return Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())));
        };
        let reading = Reading {
            source: Source::Closed { part, projection: self.projection.clone() },
            batch_rows: context.session_config().batch_size(),
            rows_left: self.limit.unwrap_or(usize::MAX),
        };
        let batches = futures::stream::try_unfold(reading, |reading| async move {
            // A thread is taken for one batch at a time: a merge waits for a batch of every partition, and of more partitions
            // than threads the last would never start if each kept its thread while it waits to be read.
            let next = SpawnedTask::spawn_blocking(move || reading.next()).join_unwind().await;
            next.map_err(|error| DataFusionError::External(Box::new(error)))?
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let rows = |part: &ScanPartition| part.rows_estimate() as usize;
        let rows = match partition {
            Some(partition) => self.partitions.get(partition).map_or(0, rows),
            None => self.partitions.iter().map(rows).sum(),
        };
        let unknown = Statistics::new_unknown(&self.schema());
        Ok(Arc::new(Statistics { num_rows: Precision::Inexact(rows), ..unknown }))
    }
}

enum Source {
    Closed { part: ScanPartition, projection: Vec<usize> },
    Open(PointScan),
}

/// A partition while it is read. Blocks on memory and disk.
struct Reading {
    source: Source,
    batch_rows: usize,
    rows_left: usize,
}

impl Reading {
    /// The next batch, and what is to be read after it.
    fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let external = |error| DataFusionError::External(Box::new(error));
        if self.rows_left == 0 {
            return Ok(None);
        }
        let mut scan = match self.source {
            Source::Closed { part, projection } => part.open(&projection, self.batch_rows).map_err(external)?,
            Source::Open(scan) => scan,
        };
        let Some(batch) = scan.next() else { return Ok(None) };
        let batch = batch.map_err(external)?;
        self.rows_left = self.rows_left.saturating_sub(batch.num_rows());
        Ok(Some((batch, Self { source: Source::Open(scan), ..self })))
    }
}
