//! The table `points`: its filters are `pushdown`, its reading `points_exec`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    arrow::datatypes::{Schema, SchemaRef},
    catalog::{Session, TableProvider},
    common::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use stepwell_engine::Snapshot;
use stepwell_types::points_schema;

use crate::{
    points_exec::PointsExec,
    pushdown::{narrow, of_project, support},
};

/// Columns of [`points_schema`] that the table shows: all but the project, which is the table's schema.
const FIRST_COLUMN: usize = 1;

pub(crate) struct PointsTable {
    snapshot: Snapshot,
    project_id: Arc<str>,
    schema: SchemaRef,
}

impl std::fmt::Debug for PointsTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PointsTable({})", self.project_id)
    }
}

impl PointsTable {
    pub(crate) fn new(snapshot: Snapshot, project_id: &str) -> Self {
        let schema = Arc::new(Schema::new(points_schema().fields()[FIRST_COLUMN..].to_vec()));
        Self { snapshot, project_id: project_id.into(), schema }
    }
}

#[async_trait]
impl TableProvider for PointsTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(support(filters))
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = of_project(&self.project_id);
        let mut is_exact = true;
        for expr in filters {
            is_exact &= narrow(&mut filter, expr).is_some();
        }
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all).iter().map(|column| column + FIRST_COLUMN).collect();
        let partitions = self.snapshot.scan(&filter);
        Ok(Arc::new(PointsExec::new(partitions, &filter, projection, limit.filter(|_| is_exact))?))
    }
}
