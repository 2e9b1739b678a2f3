//! Reading points as a physical plan: one partition per sorted part of the snapshot.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::{compute::SortOptions, datatypes::SchemaRef},
    common::{DataFusionError, Result, Statistics, internal_err, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, expressions::Column},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchReceiverStreamBuilder,
    },
};
use stepwell_engine::ScanPartition;
use stepwell_types::{PointFilter, points_schema};

/// Order of every partition, as columns of [`points_schema`] after the project.
const ORDER: [usize; 4] = [1, 2, 3, 6];
/// Batches that wait between the reading thread and the plan.
const BATCHES_AHEAD: usize = 2;

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
        let ordering = ORDER.iter().map_while(|column| {
            let place = projection.iter().position(|projected| projected == column)?;
            let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(place).name(), place));
            Some(PhysicalSortExpr::new(expr, SortOptions { descending: false, nulls_first: false }))
        });
        let ordering: Vec<PhysicalSortExpr> = ordering.collect();
        let equivalences = match ordering.is_empty() {
            true => EquivalenceProperties::new(schema),
            false => EquivalenceProperties::new_with_orderings(schema, [ordering]),
        };
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
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema(), BATCHES_AHEAD);
        if let Some(part) = self.partitions.get(partition).cloned() {
            let (projection, limit) = (self.projection.clone(), self.limit);
            let batch_rows = context.session_config().batch_size();
            let out = stream.tx();
            stream.spawn_blocking(move || {
                let external = |error| DataFusionError::External(Box::new(error));
                let mut rows = 0;
                for batch in part.open(&projection, batch_rows).map_err(external)? {
                    let batch = batch.map_err(external)?;
                    rows += batch.num_rows();
                    // The other end is gone when the query is cancelled: reading stops here.
                    if out.blocking_send(Ok(batch)).is_err() || limit.is_some_and(|limit| rows >= limit) {
                        break;
                    }
                }
                Ok(())
            });
        }
        Ok(stream.build())
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
