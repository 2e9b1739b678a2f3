//! The application: what it is made of, its start and its end.

use std::{path::PathBuf, sync::Arc};

use stepwell_engine::{Engine, EngineStats, Health, Progress, Reader};
use stepwell_env::{DiskSpace, Env};
use stepwell_metadata::{Metadata, Project};
use stepwell_query::{QueryEngine, QueryRequest, QueryStats, QueryStream};

use crate::{
    artifacts::{Artifacts, place, sweep_unnamed},
    care::refuse_lost_metadata,
    code::ErrorCode,
    config::AppConfig,
    error::AppError,
    history::Histories,
    known_runs::KnownRuns,
    log::NextSteps,
    once::Recent,
    queueing::Queueing,
    readiness::{Watch, keep_watching},
    trash::keep_expiring,
    webhooks::{Outbox, keep_delivering},
};

/// All use cases. Clones share the parts.
#[derive(Clone)]
pub struct App {
    pub(crate) parts: Arc<Parts>,
}

pub(crate) struct Parts {
    pub(crate) env: Env,
    pub(crate) engine: Engine,
    pub(crate) metadata: Metadata,
    pub(crate) query: QueryEngine,
    pub(crate) known_runs: KnownRuns,
    pub(crate) histories: Histories,
    pub(crate) recent: Arc<Recent>,
    /// Held for a whole change of the trash, from the metadata to what the engine hides.
    pub(crate) trash: tokio::sync::Mutex<()>,
    pub(crate) queueing: Queueing,
    pub(crate) next_steps: NextSteps,
    pub(crate) is_read_only: bool,
    pub(crate) watch: Watch,
    pub(crate) outbox: Outbox,
    pub(crate) artifacts: Artifacts,
    pub(crate) data_dir: PathBuf,
}

/// What keeps and finds data.
struct Stores {
    engine: Engine,
    metadata: Metadata,
    query: QueryEngine,
    artifacts: Artifacts,
}

impl App {
    /// Recovers the data directory; its lock is the caller's. Blocks while the log is replayed.
    pub async fn open(env: Env, config: AppConfig) -> Result<Self, AppError> {
        Self::open_watched(env, config, &Progress::default()).await
    }

    /// The same, telling `progress` how far the replay is.
    pub async fn open_watched(env: Env, config: AppConfig, progress: &Progress) -> Result<Self, AppError> {
        let io = |error: std::io::Error| AppError::new(ErrorCode::Internal, error.to_string());
        refuse_lost_metadata(&env, &config)?;
        env.disk.create_dir_all(&config.query.spill_dir).map_err(io)?;
        let metadata = Metadata::open(&config.metadata_path()).await?.with_run_cache(config.run_cache_bytes);
        let data_dir = config.engine.data_dir.clone();
        let wanted =
            place::Wanted { url: config.artifacts_url.as_deref(), take_over: config.artifacts_take_over.as_deref() };
        let blobs = place::settle(&env, &data_dir, &metadata, wanted).await?;
        blobs.prepare()?;
        let engine = Engine::open_watched(env.clone(), config.engine, progress)?;
        let query = QueryEngine::new(config.query, metadata.clone())?;
        let outbox = Outbox::new(config.webhooks);
        let stores = Stores { engine, metadata, query, artifacts: Artifacts::new(blobs) };
        let app = Self::new(env, data_dir, stores, outbox, false);
        app.hide_trash().await?;
        tokio::spawn(keep_expiring(Arc::downgrade(&app.parts)));
        tokio::spawn(keep_watching(Arc::downgrade(&app.parts)));
        tokio::spawn(keep_delivering(Arc::downgrade(&app.parts)));
        tokio::spawn(sweep_unnamed(Arc::downgrade(&app.parts)));
        Ok(app)
    }

    /// Reads a data directory without changing it, also beside the server that owns it.
    pub async fn open_read_only(env: Env, mut config: AppConfig) -> Result<Self, AppError> {
        refuse_lost_metadata(&env, &config)?;
        let metadata = Metadata::open_read_only(&config.metadata_path()).await?;
        let data_dir = config.engine.data_dir.clone();
        let engine = Engine::open_read_only(env.clone(), config.engine)?;
        // The directory is left alone, the spill included.
        config.query.spill_dir = std::env::temp_dir();
        let query = QueryEngine::new(config.query, metadata.clone())?;
        let outbox = Outbox::new(config.webhooks);
        let artifacts = Artifacts::new(place::find(&env, &data_dir, &metadata).await?);
        let app = Self::new(env, data_dir, Stores { engine, metadata, query, artifacts }, outbox, true);
        app.hide_trash().await?;
        Ok(app)
    }

    fn new(env: Env, data_dir: PathBuf, stores: Stores, outbox: Outbox, is_read_only: bool) -> Self {
        let Stores { engine, metadata, query, artifacts } = stores;
        let parts = Parts {
            env,
            engine,
            metadata,
            histories: Histories::new(query.memory()),
            query,
            known_runs: KnownRuns::default(),
            recent: Arc::default(),
            trash: tokio::sync::Mutex::default(),
            queueing: Queueing::default(),
            next_steps: NextSteps::default(),
            is_read_only,
            watch: Watch::default(),
            outbox,
            artifacts,
            data_dir,
        };
        Self { parts: Arc::new(parts) }
    }

    /// Finishes what is queued, flushes for a few seconds at most, and closes the files.
    pub async fn shutdown(&self) -> Result<(), AppError> {
        let engine = self.parts.engine.clone();
        let ended = tokio::task::spawn_blocking(move || engine.shutdown()).await;
        self.parts.metadata.close().await;
        ended.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))??;
        Ok(())
    }

    /// Whether batches are taken.
    pub fn health(&self) -> Health {
        self.parts.engine.health()
    }

    /// Gauges and totals of the engine; damage to metadata counts as well.
    pub fn stats(&self) -> EngineStats {
        let stats = self.parts.engine.stats();
        EngineStats { damaged: stats.damaged + self.parts.metadata.damaged_pages(), ..stats }
    }

    /// Bytes of runs in memory, and how many there may be.
    pub fn cached_run_bytes(&self) -> (u64, u64) {
        let (used, limit) = self.parts.metadata.cached_run_bytes();
        (used as u64, limit as u64)
    }

    /// What became of queries so far.
    pub fn query_stats(&self) -> QueryStats {
        self.parts.query.stats()
    }

    /// Room of the file system with the data directory; `None` where nobody knows.
    pub fn disk_space(&self) -> Option<DiskSpace> {
        self.parts.env.disk.space(&self.parts.data_dir).ok()
    }

    /// Runs a query over what is visible now.
    pub async fn sql(&self, request: QueryRequest) -> Result<QueryStream, AppError> {
        let engine = self.parts.engine.clone();
        Ok(self.parts.query.query(move || engine.snapshot(), request).await?)
    }

    /// One more who reads: what it holds counts against `query_memory_bytes` until it is dropped.
    pub fn reader(&self) -> Arc<Reader> {
        self.parts.query.memory().reader()
    }

    /// The wall clock, microseconds since the Unix epoch.
    pub fn now_us(&self) -> i64 {
        self.parts.env.clock.now_us()
    }

    pub(crate) fn check_writable(&self) -> Result<(), AppError> {
        match self.parts.is_read_only {
            true => Err(AppError::new(ErrorCode::ReadOnly, "the data directory is open for reading only")),
            false => Ok(()),
        }
    }

    /// The project of that name, or a refusal that offers near names.
    pub(crate) async fn project(&self, name: &str) -> Result<Project, AppError> {
        match self.parts.metadata.project_by_name(name).await? {
            Some(project) => Ok(project),
            None => Err(AppError::new(
                ErrorCode::ProjectNotFound,
                format!("there is no project {name:?}; create it with POST /api/v1/projects"),
            )
            .field("project")),
        }
    }

    /// The project of a run, `None` if there is no such run.
    pub(crate) async fn project_id_of_run(&self, run_id: &Arc<str>) -> Result<Option<Arc<str>>, AppError> {
        let known = &self.parts.known_runs;
        if let Some(project_id) = known.get(run_id) {
            return Ok(Some(project_id));
        }
        let since = known.since();
        let Some(project_id) = self.parts.metadata.project_id_of_run(run_id).await? else { return Ok(None) };
        let project_id: Arc<str> = project_id.into();
        known.remember(since, run_id.clone(), project_id.clone());
        Ok(Some(project_id))
    }
}

/// Runs what must not be left half done to its end, though its caller goes away.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, AppError>> + Send + 'static,
) -> Result<T, AppError> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| AppError::new(ErrorCode::Internal, error.to_string()))?
}
