//! The answer of one call as a table: which series it is about.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    arrow::datatypes::{Schema, SchemaRef},
    catalog::{Session, TableProvider},
    common::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use stepwell_engine::{Reader, Snapshot};
use stepwell_types::{PointFilter, points_schema};

use super::{Call, Work, exec::SeriesExec};
use crate::{
    pushdown::{narrow, of_project},
    summaries_table::read_summaries,
};

/// run_id, step, timestamp, value of [`points_schema`].
const CHOSEN: [usize; 4] = [2, 3, 4, 5];
/// The same of series that are aligned: a grid step has no time.
const ALIGNED: [usize; 3] = [2, 3, 5];

pub(crate) struct SeriesTable {
    snapshot: Snapshot,
    reader: Arc<Reader>,
    project_id: Arc<str>,
    call: Call,
    schema: SchemaRef,
}

impl std::fmt::Debug for SeriesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SeriesTable({:?})", self.call)
    }
}

impl SeriesTable {
    pub(super) fn new(snapshot: Snapshot, reader: Arc<Reader>, project_id: Arc<str>, call: Call) -> Self {
        let columns: &[usize] = if matches!(call.work, Work::Align { .. }) { &ALIGNED } else { &CHOSEN };
        let fields = points_schema();
        let schema = Schema::new(columns.iter().map(|column| fields.fields()[*column].clone()).collect::<Vec<_>>());
        Self { snapshot, reader, project_id, call, schema: Arc::new(schema) }
    }
}

/// Whether an expression says something of runs and of nothing else: those of steps and times are about what comes out, not about
/// what is read.
fn is_of_runs(expr: &Expr) -> bool {
    let mut filter = PointFilter::default();
    narrow(&mut filter, expr).is_some()
        && filter == PointFilter { run_ids: filter.run_ids.clone(), ..PointFilter::default() }
}

#[async_trait]
impl TableProvider for SeriesTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match is_of_runs(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = of_project(&self.project_id);
        filter.metrics = Some([self.call.metric.clone()].into());
        filter.run_ids = self.call.run_ids.as_ref().map(|runs| runs.iter().cloned().collect());
        for expr in filters {
            // All that were accepted above narrow.
            let _ = narrow(&mut filter, expr);
        }
        let summaries = read_summaries(&self.snapshot, &self.reader, filter).await?;
        let mut series: Vec<_> = summaries.into_iter().map(|(key, summary)| (key, summary.count)).collect();
        series.sort();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all).clone();
        Ok(Arc::new(SeriesExec::new(self.snapshot.clone(), self.call.clone(), series, &self.schema, projection)?))
    }
}
