//! The calls, a module each: read the request, call the application layer, shape the answer.

pub(crate) mod artifacts;
pub(crate) mod health;
pub(crate) mod ingest;
pub(crate) mod log;
pub(crate) mod mlflow;
pub(crate) mod mlflow_artifacts;
pub(crate) mod projects;
mod query_string;
pub(crate) mod run_json;
pub(crate) mod runs;
pub(crate) mod series;
pub(crate) mod series_arrow;
pub(crate) mod series_json;
pub(crate) mod sql;
pub(crate) mod trash;
