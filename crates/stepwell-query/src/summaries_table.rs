//! The table `summaries`: one row per series.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::{
    arrow::{
        array::{
            ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt64Array,
        },
        datatypes::SchemaRef,
        error::ArrowError,
    },
    catalog::{MemTable, Session, TableProvider},
    common::{DataFusionError, Result},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use stepwell_engine::{EngineError, Reader, Snapshot};
use stepwell_types::{PointFilter, SeriesKey, Summary, summaries_schema};

use crate::pushdown::{narrow, of_project, support};

pub(crate) struct SummariesTable {
    snapshot: Snapshot,
    reader: Arc<Reader>,
    project_id: Arc<str>,
}

impl std::fmt::Debug for SummariesTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SummariesTable({})", self.project_id)
    }
}

impl SummariesTable {
    /// What is read of it is held by `reader`, who stays until the query has ended.
    pub(crate) fn new(snapshot: Snapshot, reader: Arc<Reader>, project_id: &str) -> Self {
        Self { snapshot, reader, project_id: project_id.into() }
    }
}

#[async_trait]
impl TableProvider for SummariesTable {
    fn schema(&self) -> SchemaRef {
        summaries_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(support(filters))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = of_project(&self.project_id);
        for expr in filters {
            // All that were accepted above narrow; `step` and `timestamp` are no columns of this table.
            let _ = narrow(&mut filter, expr);
        }
        let summaries = read_summaries(&self.snapshot, &self.reader, filter).await?;
        let table = MemTable::try_new(summaries_schema(), vec![vec![to_batch(&summaries)?]])?;
        table.scan(state, projection, &[], limit).await
    }
}

/// Summaries of the series whose names pass, read on a thread that may block.
pub(crate) async fn read_summaries(
    snapshot: &Snapshot,
    reader: &Arc<Reader>,
    filter: PointFilter,
) -> Result<Vec<(SeriesKey, Summary)>> {
    let snapshot = snapshot.clone().read_by(reader.clone());
    tokio::task::spawn_blocking(move || snapshot.summaries(&filter))
        .await
        .map_err(|error| DataFusionError::External(Box::new(error)))?
        .map_err(|error| match error {
            EngineError::ReadTooLarge { .. } | EngineError::ReadersBusy { .. } => {
                DataFusionError::ResourcesExhausted(error.to_string())
            }
            error => DataFusionError::External(Box::new(error)),
        })
}

fn to_batch(rows: &[(SeriesKey, Summary)]) -> Result<RecordBatch, ArrowError> {
    let counts = |get: fn(&Summary) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, summary)| get(summary))))
    };
    let steps = |get: fn(&Summary) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(rows.iter().map(|(_, summary)| get(summary))))
    };
    let values = |get: fn(&Summary) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|(_, summary)| get(summary))))
    };
    let times = |get: fn(&Summary) -> i64| -> ArrayRef {
        let micros = rows.iter().map(|(_, summary)| get(summary));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(key, _)| &key.run_id))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|(key, _)| &key.metric))),
        counts(|s| s.count),
        counts(|s| s.finite),
        counts(|s| s.nan),
        counts(|s| s.pos_inf),
        counts(|s| s.neg_inf),
        steps(|s| Some(s.first_step)),
        times(|s| s.first_time_us),
        values(|s| Some(s.first)),
        steps(|s| Some(s.last_step)),
        times(|s| s.last_time_us),
        values(|s| Some(s.last)),
        times(|s| s.latest_time_us),
        values(|s| Some(s.latest)),
        values(|s| s.min.map(|(value, _)| value)),
        steps(|s| s.min.map(|(_, step)| step)),
        values(|s| s.max.map(|(value, _)| value)),
        steps(|s| s.max.map(|(_, step)| step)),
        values(Summary::mean),
        values(|s| Some(s.sum)),
    ];
    RecordBatch::try_new(summaries_schema(), columns)
}
