//! What an operator may set, all layers together.

use std::path::{Path, PathBuf};

use stepwell_engine::EngineConfig;
use stepwell_query::QueryConfig;

use crate::webhooks::WebhookConfig;

/// Settings of one application over one data directory.
#[derive(Debug, Clone)]
pub struct AppConfig {
    pub engine: EngineConfig,
    pub query: QueryConfig,
    pub webhooks: WebhookConfig,
    /// Runs that searches keep in memory, with their params and tags.
    pub run_cache_bytes: usize,
    /// The object store that artifacts go to, such as `s3://bucket/prefix`, instead of the data directory.
    pub artifacts_url: Option<String>,
    /// The owner of that store in whose place this data directory is to be its owner.
    pub artifacts_take_over: Option<String>,
}

impl AppConfig {
    /// The defaults.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            engine: EngineConfig::new(data_dir),
            query: QueryConfig::new(data_dir.join("spill")),
            webhooks: WebhookConfig::default(),
            run_cache_bytes: 64 << 20,
            artifacts_url: None,
            artifacts_take_over: None,
        }
    }

    pub(crate) fn metadata_path(&self) -> PathBuf {
        metadata_path(&self.engine.data_dir)
    }
}

/// Where the metadata of a data directory are.
pub(crate) fn metadata_path(data_dir: &Path) -> PathBuf {
    data_dir.join("metadata.sqlite")
}
