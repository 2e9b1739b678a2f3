//! Reading one partition of points, batch by batch.

use std::sync::Arc;

use datafusion::{
    arrow::array::RecordBatch,
    common::{DataFusionError, Result},
    physical_expr::PhysicalExpr,
    physical_plan::metrics::Count,
};
use stepwell_engine::{PointScan, ScanPartition};
use stepwell_segment::Names;

use crate::dynamic_filter::{both, bounds_of};

/// What of a partition is to be read, and how.
pub(crate) struct ReadPlan {
    pub(crate) projection: Vec<usize>,
    pub(crate) names: Names,
    pub(crate) batch_rows: usize,
    pub(crate) rows_max: usize,
    /// Filters that are looked at when reading begins.
    pub(crate) dynamic: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) rows_read: Count,
}

enum Source {
    Closed(ScanPartition),
    Open(PointScan),
    Ended,
}

/// A partition while it is read. Blocks on memory and disk.
pub(crate) struct Reading {
    source: Source,
    plan: ReadPlan,
    rows_left: usize,
}

impl Reading {
    pub(crate) fn new(partition: ScanPartition, plan: ReadPlan) -> Self {
        Self { source: Source::Closed(partition), rows_left: plan.rows_max, plan }
    }

    /// The next batch; `None` at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let external = |error| DataFusionError::External(Box::new(error));
        if self.rows_left == 0 {
            return Ok(None);
        }
        if let Source::Closed(partition) = &self.source {
            self.source = match self.narrowed(partition) {
                Some(partition) => {
                    let ReadPlan { projection, names, batch_rows, .. } = &self.plan;
                    Source::Open(partition.open(projection, *names, *batch_rows).map_err(external)?)
                }
                None => Source::Ended,
            };
        }
        let Source::Open(scan) = &mut self.source else { return Ok(None) };
        let Some(batch) = scan.next().transpose().map_err(external)? else {
            self.source = Source::Ended;
            return Ok(None);
        };
        self.rows_left = self.rows_left.saturating_sub(batch.num_rows());
        self.plan.rows_read.add(batch.num_rows());
        Ok(Some(batch))
    }

    /// What is left of the partition by the filters found since the query was planned.
    fn narrowed(&self, partition: &ScanPartition) -> Option<ScanPartition> {
        if self.plan.dynamic.is_empty() {
            return Some(partition.clone());
        }
        let mut bounds = self.plan.dynamic.iter().map(bounds_of);
        let filter = bounds.try_fold(partition.filter().clone(), |all, bounds| Some(both(all, bounds?)))?;
        partition.narrowed(filter)
    }
}
