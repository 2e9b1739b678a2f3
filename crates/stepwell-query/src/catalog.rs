//! What a query can name: a schema per project, five tables in each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider},
    error::DataFusionError,
};
use stepwell_engine::{Reader, Snapshot};
use stepwell_metadata::{Metadata, Project, Run};

use crate::{
    error::QueryError, field_access::ParamTypes, metadata_tables::ProjectRows, points_table::PointsTable,
    summaries_table::SummariesTable,
};

/// Name of the one catalog.
pub(crate) const CATALOG: &str = "stepwell";
/// Tables of each project.
pub(crate) const TABLES: [&str; 5] = ["params", "points", "runs", "summaries", "tags"];
/// Projects whose rows are kept between queries.
const CACHED_PROJECTS_MAX: usize = 64;

/// Rows of projects by the version of the metadata they were read at.
#[derive(Default)]
pub(crate) struct RowsCache {
    rows: Mutex<HashMap<String, (u64, Arc<ProjectRows>)>>,
}

impl RowsCache {
    async fn get(&self, metadata: &Metadata, project_id: &str) -> Result<Arc<ProjectRows>, QueryError> {
        // Read before the rows, so that a change in between makes them stale, never fresh.
        let version = metadata.version();
        let cached = self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(project_id).cloned();
        if let Some((known, rows)) = cached
            && known == version
        {
            return Ok(rows);
        }
        let all = metadata.cached_runs(project_id).await?;
        let mut runs: Vec<&Run> = all.iter().map(Arc::as_ref).filter(|run| run.deleted_at_us.is_none()).collect();
        runs.sort_by(|a, b| (a.created_at_us, &a.run_id).cmp(&(b.created_at_us, &b.run_id)));
        let rows = ProjectRows::new(&runs).map_err(|error| QueryError::from_datafusion(error, 0, true))?;
        let rows = Arc::new(rows);
        let mut cache = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_PROJECTS_MAX {
            cache.clear();
        }
        cache.insert(project_id.to_owned(), (version, rows.clone()));
        Ok(rows)
    }
}

/// What all schemas of one query share.
pub(crate) struct QueryContext {
    pub(crate) snapshot: Snapshot,
    /// Holds what is read before the first batch.
    pub(crate) reader: Arc<Reader>,
    pub(crate) metadata: Metadata,
    pub(crate) cache: Arc<RowsCache>,
    pub(crate) projects: Vec<Project>,
    pub(crate) param_types: ParamTypes,
}

#[derive(Clone)]
pub(crate) struct Catalog(pub(crate) Arc<QueryContext>);

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Catalog")
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.0.projects.iter().map(|project| project.name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let project = self.0.projects.iter().find(|project| project.name == name)?;
        Some(Arc::new(ProjectSchema { context: self.0.clone(), project_id: project.project_id.clone() }))
    }
}

struct ProjectSchema {
    context: Arc<QueryContext>,
    project_id: String,
}

impl std::fmt::Debug for ProjectSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProjectSchema({})", self.project_id)
    }
}

impl ProjectSchema {
    async fn rows(&self) -> Result<Arc<ProjectRows>, DataFusionError> {
        let rows = self.context.cache.get(&self.context.metadata, &self.project_id).await;
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let mut types = self.context.param_types.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, data_type) in &rows.param_types {
            types
                .entry(key.clone())
                .and_modify(|known| *known = crate::field_access::common_type(known, data_type))
                .or_insert_with(|| data_type.clone());
        }
        Ok(rows)
    }
}

#[async_trait]
impl SchemaProvider for ProjectSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.map(str::to_owned).to_vec()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let in_memory = |batch: &datafusion::arrow::array::RecordBatch| {
            MemTable::try_new(batch.schema(), vec![vec![batch.clone()]])
                .map(|table| Arc::new(table) as Arc<dyn TableProvider>)
        };
        Ok(Some(match name {
            "points" => Arc::new(PointsTable::new(self.context.snapshot.clone(), &self.project_id)),
            "summaries" => {
                let (snapshot, reader) = (self.context.snapshot.clone(), self.context.reader.clone());
                Arc::new(SummariesTable::new(snapshot, reader, &self.project_id))
            }
            "runs" => in_memory(&self.rows().await?.runs)?,
            "params" => in_memory(&self.rows().await?.params)?,
            "tags" => in_memory(&self.rows().await?.tags)?,
            _ => return Ok(None),
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}
